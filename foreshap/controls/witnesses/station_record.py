"""The station's record: does it say that the station changed between the classes?"""

from pathlib import Path
from xml.parsers import expat

import numpy as np
import pandas as pd

from ...files import ForeshapError, check_machine
from ...preprocessing.waveforms import known_times
from ..evidence import stations_of
from .finding import RECORD, UNKNOWN, mute
from .matching import judged

FUTURE = "2261-01-01"  # stands for the end of an epoch that goes on
WANTED = f"{RECORD}: StationXML with its epochs, or a CSV of its services"


def examine_station_record(evidence):
    """Ask the station's record whether an epoch or a service divides the events: the response."""
    about = {"witness": RECORD, "decides": WANTED}
    times = known_times(evidence.table)
    stated, name = read_station_record(evidence.station_record), Path(evidence.station_record).name
    if times.isna().any():
        return mute("response", "some events have no time", **about)
    boundaries = set()
    for station in np.unique(stations_of(evidence)):
        rows = stated[stated["station"].isin(["", station])]
        if not _covers(rows, times.min(), times.max()):
            span = f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}"
            return mute("response", f"{name} does not cover {station} from {span}", **about)
        boundaries |= {*rows["start"], *rows["end"]}
    inside = sorted(time for time in boundaries if times.min() < time < times.max())
    if not inside:
        saw = f"{name} covers all events without a boundary"
        return judged("response", UNKNOWN, saw, "changes that were written down", **about)
    before, after = times[evidence.labels == 0].max(), times[evidence.labels == 1].min()
    between = any(before <= time <= after for time in inside)
    dates = ", ".join(sorted({f"{time:%Y-%m-%d}" for time in inside}))
    saw = f"a boundary {'between the classes' if between else 'among the events'}: {dates}"
    about["decides"] = "the responses before and after, or a calibration pulse"
    return mute("response", f"{name} does not say that nothing changed", saw, **about)


def read_station_record(path):
    """Read StationXML, or a CSV with the columns start and end or date, and perhaps station.

    returns: DataFrame, a row an epoch or a service: station ("" for any), start, end [UTC]; an
        epoch without an end goes on, a service ends when it starts
    raises: ForeshapError where it can't be read
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read ({error}): check the path.") from error
    table = _read_xml(content, path) if content.lstrip()[:1] == b"<" else _read_csv(path)
    for column in ("start", "end"):
        table[column] = pd.to_datetime(table[column], utc=True, errors="coerce", format="ISO8601")
    if len(table) == 0 or table.isna().any(axis=None):
        raise ForeshapError(f"{path} holds no epoch, or a date that is none: write 2016-08-24.")
    return table


def _read_xml(content, path):
    """Epochs of the channels of StationXML, DataFrame of texts."""
    parser, rows, station = expat.ParserCreate(namespace_separator=" "), [], [""]

    def begin(name, attributes):
        kind = name.split(" ")[-1]
        if kind == "Station":
            station[0] = attributes.get("code", "")
        elif kind == "Channel":
            end = min(attributes.get("endDate", FUTURE), FUTURE)
            rows.append((station[0], attributes.get("startDate"), end))

    parser.StartElementHandler = begin
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:
        raise ForeshapError(f"{path} is no StationXML ({error}): download it again.") from error
    return pd.DataFrame(rows, columns=["station", "start", "end"])


def _read_csv(path):
    """Epochs and services of a CSV table, DataFrame of texts."""
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise ForeshapError(f"{path} is no CSV table ({error}): save it as one.") from error
    table.columns = table.columns.str.strip().str.lower()
    if not {"start", "end"} <= set(table) and "date" not in table:
        raise ForeshapError(f"{path} has neither the columns start and end nor date: add them.")
    table = table.reindex(columns=["station", "start", "end", "date"]).astype(object)
    start = table["start"].fillna(table["date"])
    end = table["end"].fillna(table["date"]).fillna(FUTURE)
    station = table["station"].fillna("").str.strip()
    return pd.DataFrame({"station": station, "start": start, "end": end})[start.notna()]


def _covers(rows, first, last):
    """Whether epochs cover a span without a hole, or services lie before and after it."""
    epochs = rows[rows["start"] < rows["end"]].sort_values("start")
    if len(epochs) == 0:
        return len(rows) > 0 and rows["start"].min() <= first and rows["start"].max() >= last
    reached = first
    for start, end in zip(epochs["start"], epochs["end"]):
        if start <= reached:
            reached = max(reached, end)
    return epochs["start"].min() <= first and reached >= last
