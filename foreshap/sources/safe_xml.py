"""XML from outside: refused where it declares a document type, the way to entity attacks."""

from io import BytesIO
from pathlib import Path
from xml.parsers import expat

from ..files import ForeshapError, check_machine


def open_xml(path):
    """Open a QuakeML or StationXML file that is whole and has no DOCTYPE, as a BytesIO."""
    try:
        content = Path(path).read_bytes()
        check_xml(content)
    except OSError as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read ({error}): check the path.") from error
    except ForeshapError as error:
        raise ForeshapError(f"{path} {error}: download or write it again.") from error
    return BytesIO(content)


def check_xml(content, root=None):
    """Raise ForeshapError unless bytes are whole XML without DOCTYPE; root: its element's name."""
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
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ForeshapError(f"is no whole XML ({error})") from error
    if root not in (None, names[0]):
        raise ForeshapError(f"is XML of {names[0]}, not of {root}")
