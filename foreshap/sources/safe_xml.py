"""XML from outside: refused where it declares a document type, the door to entities that read files or fill memory."""

from io import BytesIO
from pathlib import Path
from xml.parsers import expat

from ..files import ForeshapError


def open_xml(path):
    """An XML file's content, once it is known to be whole and to declare no entities and no external documents.

    path: str or Path, QuakeML or StationXML: neither ever needs a DOCTYPE

    returns: BytesIO
    raises: ForeshapError where the file is missing, no whole XML, or has a DOCTYPE
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ForeshapError(f"{path} can't be read ({error}): check the path.") from error
    if fault := fault_of(content):
        raise ForeshapError(f"{path} {fault}: download or write it again.")
    return BytesIO(content)


def fault_of(content, root=None):
    """Why XML can't be used, "" where it can.

    content: bytes
    root: str, name that the root element must have, without its namespace; None: any

    returns: str, to be read after the document's name
    """
    parser, roots, doctypes = expat.ParserCreate(namespace_separator=" "), [], []
    parser.StartElementHandler = lambda name, attributes: roots or roots.append(name.split(" ")[-1])

    def refuse(*declaration):
        doctypes.append(declaration[0])
        raise ValueError

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        doctype = f"has a DOCTYPE ({', '.join(doctypes)}), which seismological formats never need"
        return doctype if doctypes else f"is no whole XML ({error})"
    return f"is XML of {roots[0]}, not of {root}" if root not in (None, roots[0]) else ""
