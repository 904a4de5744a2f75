"""XML from outside: read once, refused where it declares a document type, the door to entities."""

from io import BytesIO
from pathlib import Path

from lxml import etree

from ..files import ForeshapError


def open_xml(path):
    """An XML file's content, once it is known to declare no entities and no external documents.

    path: str or Path, QuakeML or StationXML: neither ever needs a DOCTYPE

    returns: BytesIO
    raises: ForeshapError where the file is missing, no XML, or has a DOCTYPE
    """
    try:
        content = Path(path).read_bytes()
        safe = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
        _, root = next(etree.iterparse(BytesIO(content), events=("start",), **safe))
        declared = root.getroottree().docinfo.doctype or root.getroottree().docinfo.internalDTD is not None
    except (OSError, etree.XMLSyntaxError, StopIteration) as error:
        raise ForeshapError(f"{path} can't be read as XML ({error}): download or write it again.") from error
    if declared:
        raise ForeshapError(
            f"{path} has a DOCTYPE, by which a file can read others or fill the memory: remove it, seismological "
            "formats need none."
        )
    return BytesIO(content)
