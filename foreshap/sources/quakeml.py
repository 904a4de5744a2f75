"""QuakeML as it stands in a file."""

import re

from lxml import etree

BED = "http://quakeml.org/xmlns/bed/1.2"
QUAKEML = "http://quakeml.org/xmlns/quakeml/1.2"


def keep_station(event, network, station):
    """Remove from an <event> what belongs to other stations; picks without a network stay."""
    wanted = set()
    for pick in event.iterfind("{*}pick"):
        code = pick.find("{*}waveformID")
        if code is not None and code.get("stationCode") == station:
            if (code.get("networkCode") or "").strip() in (network, ""):
                wanted.add(pick.get("publicID"))
    for element in event.findall("{*}amplitude") + event.findall("{*}stationMagnitude"):
        event.remove(element)
    for pick in event.findall("{*}pick"):
        if pick.get("publicID") not in wanted:
            event.remove(pick)
    for arrival in event.findall("{*}origin/{*}arrival"):
        if arrival.findtext("{*}pickID", "").strip() not in wanted:
            arrival.getparent().remove(arrival)


def preferred_origin(event):
    """Return an event's preferred <origin>, its first one where none is preferred, or None."""
    preferred = event.findtext("{*}preferredOriginID", "").strip()
    for origin in event.iterfind("{*}origin"):
        if origin.get("publicID") == preferred:
            return origin
    return event.find("{*}origin")


def event_id(public_id):
    """Return the id of a publicID: what it names eventid or evid, or else its last part."""
    found = re.search("(?i)[?&/]ev(?:ent)?id=([^&]+)", public_id)
    return found[1] if found else re.split("[/=]", public_id)[-1]


def read_events(*paths):
    """Yield each <event> of QuakeML files once; it is emptied when the next one is asked for."""
    seen = set()
    for path in paths:
        tag = f"{{{BED}}}event"
        for _, event in etree.iterparse(path, tag=tag, resolve_entities=False, load_dtd=False):
            if event.get("publicID") not in seen:
                seen.add(event.get("publicID"))
                yield event
            event.clear(keep_tail=True)
            while event.getprevious() is not None:
                del event.getparent()[0]


def write_events(path, events):
    """Write <event> elements as a QuakeML file, one after the other."""
    with etree.xmlfile(path, encoding="utf-8") as file:
        file.write_declaration()
        with file.element(f"{{{QUAKEML}}}quakeml", nsmap={"q": QUAKEML, None: BED}):
            with file.element(f"{{{BED}}}eventParameters", publicID="smi:local/foreshap/events"):
                for event in events:
                    file.write("\n", event, with_tail=False)
