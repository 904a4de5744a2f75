"""The station's record: does it say that the station changed between the classes?"""

from pathlib import Path
from xml.parsers import expat

import numpy as np
import pandas as pd

from ...files import ForeshapError
from ...preprocessing.waveforms import known_times
from ..evidence import stations_of
from .finding import Finding

FUTURE = pd.Timestamp("2262-01-01", tz="UTC")  # stands for an epoch that has not ended
DECIDES = "the station's record: StationXML with its epochs, or a CSV of its services"


def examine_station_record(evidence, record=None):
    """Ask the station's record whether an epoch or a service divides the classes.

    evidence: Evidence
    record: str or Path, as in read_station_record(); that of the evidence when left out

    returns: Finding on "response": excluded where the record covers all events without a boundary
    """
    record = evidence.station_record if record is None else record
    about = {"alternative": "response", "group": "station", "witness": "the station's record"}
    times = known_times(evidence.table)
    if record is None or times.isna().any():
        missing = "no record was given" if record is None else "some events have no time"
        return Finding(state="open", could_see=f"mute: {missing}", decides=DECIDES, **about)
    stated = read_station_record(record)
    labels, name = evidence.labels, Path(record).name
    first, last = times.min(), times.max()
    gap = times[labels == 0].max(), times[labels == 1].min()
    uncovered, inside, between = [], [], []
    for station in np.unique(stations_of(evidence)):
        covers, boundaries = _of_station(stated, station, first, last)
        if not covers:
            uncovered.append(station)
        inside += [time for time in boundaries if first < time < last]
        between += [time for time in boundaries if gap[0] <= time <= gap[1]]
    could_see = "changes that were written down"
    decides = "the responses before and after, or a calibration pulse"
    if uncovered:
        saw = f"{name} does not cover {first:%Y-%m-%d} to {last:%Y-%m-%d}: {', '.join(uncovered)}"
        return Finding(state="open", saw=saw, could_see="mute", decides=DECIDES, **about)
    if inside:
        dates = ", ".join(sorted({f"{time:%Y-%m-%d}" for time in inside}))
        where = "between the classes" if between else "among the events"
        saw = f"{name} has a boundary {where}: {dates}"
        return Finding(state="open", saw=saw, could_see=could_see, decides=decides, **about)
    saw = f"{name} covers all events without a boundary"
    return Finding(state="excluded", saw=saw, could_see=could_see, **about)


def read_station_record(path):
    """Read a station's epochs and services.

    path: str or Path, StationXML, or a CSV with the columns start and end (an epoch; end may be
        empty) or date (a service), and perhaps station

    returns: DataFrame, a row an epoch or a service: station ("" for any), start, end [UTC]; a
        service has start = end
    raises: ForeshapError where it can't be read
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ForeshapError(f"{path} can't be read ({error}): check the path.") from error
    rows = _read_xml(content, path) if content.lstrip()[:1] == b"<" else _read_csv(path)
    table = pd.DataFrame(rows, columns=["station", "start", "end"])
    for column in ("start", "end"):
        table[column] = pd.to_datetime(table[column], utc=True, errors="coerce", format="ISO8601")
    if len(table) == 0 or table.isna().any(axis=None):
        raise ForeshapError(f"{path} holds no epoch, or a date that is none: write 2016-08-24.")
    return table


def _read_xml(content, path):
    """Epochs of the channels of StationXML: list of (station, start, end)."""
    parser, rows, station = expat.ParserCreate(namespace_separator=" "), [], [""]

    def begin(name, attributes):
        kind = name.split(" ")[-1]
        if kind == "Station":
            station[0] = attributes.get("code", "")
        elif kind == "Channel":
            end = attributes.get("endDate", FUTURE.isoformat())
            rows.append((station[0], attributes.get("startDate"), min(end, FUTURE.isoformat())))

    def refuse(*declaration):
        raise ValueError("it has a DOCTYPE")

    parser.StartElementHandler, parser.StartDoctypeDeclHandler = begin, refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ForeshapError(f"{path} is no StationXML ({error}): download it again.") from error
    return rows


def _read_csv(path):
    """Epochs and services of a CSV table: list of (station, start, end)."""
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise ForeshapError(f"{path} is no CSV table ({error}): save it as one.") from error
    names = {str(name).strip().lower(): name for name in table}
    if not {"start", "end"} <= set(names) and "date" not in names:
        raise ForeshapError(f"{path} has neither the columns start and end nor date: add them.")
    rows = []
    for row in table.to_dict("records"):
        row = {name: row[column] for name, column in names.items()}
        row = {name: "" if pd.isna(value) else value.strip() for name, value in row.items()}
        if row.get("start"):
            rows.append((row.get("station", ""), row["start"], row["end"] or FUTURE.isoformat()))
        elif row.get("date"):
            rows.append((row.get("station", ""), row["date"], row["date"]))
    return rows


def _of_station(stated, station, first, last):
    """Whether a record covers a span without a hole, and its boundaries: bool, list of times."""
    rows = stated[stated["station"].isin(["", station])]
    epochs = rows[rows["start"] < rows["end"]].sort_values("start")
    services = rows[rows["start"] == rows["end"]]["start"].tolist()
    reached = first
    for start, end in zip(epochs["start"], epochs["end"]):
        if start <= reached:
            reached = max(reached, end)
    covers = reached >= last and len(epochs) > 0
    if len(epochs) == 0 and services:  # a log of services covers what lies between two of them
        covers = min(services) <= first and max(services) >= last
    return covers, [*epochs["start"], *epochs["end"], *services]
