"""QuakeML as it stands in a file: one <event> element in memory at a time, those of a catalogue never together."""

import re

import pandas as pd
from lxml import etree

BED, QUAKEML = "http://quakeml.org/xmlns/bed/1.2", "http://quakeml.org/xmlns/quakeml/1.2"


def of_station(event, network, station):
    """An event without what belongs to other stations; of the picks of this one those that located it, if any did.

    Some catalogues leave the network out: picks without one are kept.
    """
    here = [
        pick.get("publicID") for pick in event.iterfind("{*}pick")
        if (code := pick.find("{*}waveformID")) is not None
        and code.get("stationCode") == station and (code.get("networkCode") or "").strip() in (network, "")
    ]  # fmt: skip
    origin = preferred_origin(event)
    used = {
        pick.text.strip() for pick in event.iterfind("{*}origin/{*}arrival/{*}pickID") if pick.text
    }
    kept = used.intersection(here) or set(here)
    for name in ("amplitude", "stationMagnitude"):
        for element in event.findall(f"{{*}}{name}"):
            event.remove(element)
    for pick in [pick for pick in event.findall("{*}pick") if pick.get("publicID") not in kept]:
        event.remove(pick)
    for place in event.findall("{*}origin") if origin is not None else ():
        for arrival in place.findall("{*}arrival"):
            if arrival.findtext("{*}pickID", "").strip() not in kept:
                place.remove(arrival)
    return event


def preferred_origin(event):
    """An event's preferred origin, its first one where none is preferred; None where there is none."""
    preferred = event.findtext("{*}preferredOriginID", "").strip()
    origins = {origin.get("publicID"): origin for origin in event.findall("{*}origin")}
    return origins.get(preferred, next(iter(origins.values()), None))


def event_id(public_id):
    """The id that a service knows an event by, str: what its publicID names eventid or evid, or else the last part."""
    found = re.search("(?i)[?&/]ev(?:ent)?id=([^&]+)", public_id)
    return found[1] if found else re.split("[/=]", public_id)[-1]


def utc_of(text):
    """Timestamp [UTC]; ValueError where the text is no time."""
    if pd.isna(time := pd.to_datetime(text.strip(), utc=True, format="ISO8601")):
        raise ValueError(f"{text} is no time")
    return time


def read_events(path, to=lambda event: event):
    """Yield what a function makes of each <event> of a QuakeML file."""
    for _, event in etree.iterparse(
        path, tag=f"{{{BED}}}event", resolve_entities=False, load_dtd=False
    ):
        yield to(event)
        event.clear(keep_tail=True)
        while event.getprevious() is not None:
            del event.getparent()[0]


def write_events(path, events):
    """Write <event> elements as a QuakeML file (path or binary file), in a stream."""
    with etree.xmlfile(path, encoding="utf-8") as file:
        file.write_declaration()
        with file.element(f"{{{QUAKEML}}}quakeml", nsmap={"q": QUAKEML, None: BED}):
            with file.element(f"{{{BED}}}eventParameters", publicID="smi:local/foreshap/events"):
                for event in events:
                    file.write("\n", event, with_tail=False)
