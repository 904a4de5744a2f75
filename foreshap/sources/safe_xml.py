"""XML from outside: refused where it declares a document type, the way to entity attacks."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from xml.parsers import expat

from ..files import ForeshapError, check_machine

NO_XML = expat.ExpatError, ValueError, LookupError


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


def root_name(content):
    """Name the root element of XML (bytes) without its namespace; None where it is no XML."""
    names = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, attributes: names.append(name.split(" ")[-1])
    with suppress(*NO_XML):
        parser.Parse(content[:10_000], False)
    return names[0] if names else None


def check_xml(content, root=None):
    """Raise ForeshapError unless bytes are whole XML without DOCTYPE; root: its element's name."""
    parser = expat.ParserCreate()

    def refuse_doctype(name, *declaration):
        raise ForeshapError(f"has a DOCTYPE ({name}), which seismological formats never need")

    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(content, True)
    except NO_XML as error:
        raise ForeshapError(f"is no whole XML ({error})") from error
    if root not in (None, root_name(content)):
        raise ForeshapError(f"is XML of {root_name(content)}, not of {root}")
