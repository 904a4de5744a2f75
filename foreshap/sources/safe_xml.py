"""XML from outside: refused where it declares a document type, the way to entity attacks."""

from io import BytesIO
from pathlib import Path
from xml.parsers import expat

from ..files import ForeshapError


def open_xml(path):
    """Open a QuakeML or StationXML file that is whole and has no DOCTYPE, as a BytesIO."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ForeshapError(f"{path} can't be read ({error}): check the path.") from error
    fault = find_fault(content)
    if fault:
        raise ForeshapError(f"{path} {fault}: download or write it again.")
    return BytesIO(content)


def find_fault(content, root=None):
    """Return why XML (bytes) with a root element of this name can't be used, "" where it can."""
    parser = expat.ParserCreate(namespace_separator=" ")
    names = []

    def note_root(name, attributes):
        names.append(name.split(" ")[-1])
        parser.StartElementHandler = None

    def refuse_doctype(name, *declaration):
        raise ForeshapError(f"has a DOCTYPE ({name}), which seismological formats never need")

    parser.StartElementHandler = note_root
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(content, True)
    except ForeshapError as error:
        return str(error)
    except (expat.ExpatError, ValueError, LookupError) as error:
        return f"is no whole XML ({error})"
    return f"is XML of {names[0]}, not of {root}" if root not in (None, names[0]) else ""
