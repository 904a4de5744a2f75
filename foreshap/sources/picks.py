"""Picked arrivals and hypocentres from QuakeML, NonLinLoc, Nordic or a .csv, as pairs of P and S."""

import re
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import obspy
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.periods import iso_times
from .quakeml import event_id
from .safe_xml import open_xml
from .writer import trace_name

PICK_COLUMNS = ("event_id", "network", "station", "p_time", "s_time")
ORIGIN_COLUMNS = (
    "source_origin_time", "source_latitude", "source_longitude", "source_depth_km", "source_magnitude",
)  # fmt: skip
PLACE = ["receiver_latitude", "receiver_longitude", "receiver_elevation_m"]
FORMATS = {  # file name, in lower case -> what ObsPy calls the format; never by looking at the content
    r".*\.(xml|quakeml|qml)": "QUAKEML",
    r".*\.hyp": "NLLOC_HYP",
    r".*\.(nor|nordic|out|sfile)|.*\.s\d{6}": "NORDIC",
    r".*\.csv": "CSV",
}
KNOWN = "QuakeML (.xml, .quakeml, .qml), NonLinLoc (.hyp), Nordic (.nor, .nordic, .out, .sfile) or a .csv"
NAMELESS = ("NORDIC", "NLLOC_HYP")  # ObsPy gives their events another id each time


def read_picks(path, pickless=False):
    """Pairs of a P and an S pick of one event at one station.

    P, Pg, Pn, Pb count as P, S, Sg, Sn, Sb as S, the earliest of each that was not rejected by an analyst. QuakeML
    events keep the eventid or last part of their id, or all of it where several would share that; those of NonLinLoc
    and Nordic are named after their origin time.

    path: str or Path, QuakeML (.xml, .quakeml, .qml), NonLinLoc (.hyp), Nordic (.nor, .nordic, .out, .sfile or
        .S201403), a .csv with event_id, network, station, p_time, s_time [UTC], or a folder of such files
    pickless: bool, whether events without any pick are returned too, with an empty station

    returns: DataFrame sorted by station and P time: event_id, network (blank where the file has none), station as
        text, p_time, s_time as UTC times (NaT where missing), trace_name, and the .csv's further columns or, where
        the file has any, source_origin_time (text) [UTC], source_latitude, source_longitude [degree],
        source_depth_km [km], source_magnitude
    raises: ForeshapError where a file can't be read, lacks a column or holds no pick
    """
    files = (
        sorted(file for file in Path(path).rglob("*") if _format(file))
        if Path(path).is_dir()
        else [Path(path)]
    )
    if not files:
        raise ForeshapError(f"{path} holds no file of picks: give {KNOWN}.")
    tables = [_read(file) for file in files]
    public = np.repeat(
        [_format(file) == "QUAKEML" for file in files], [len(table) for table in tables]
    )
    pairs = pd.concat(tables, ignore_index=True)
    pairs = pairs.assign(
        event_id=pairs["event_id"].where(~public, _short(pairs["event_id"][public]))
    )
    pairs = pairs.fillna({"network": "", "station": ""})
    if not (pairs["station"] != "").any() and not pickless:
        raise ForeshapError(
            f"{path} holds no P or S pick: give picks with the phase hints P and S."
        )
    if not pairs["station"].str.fullmatch("[A-Za-z0-9_-]*").all():
        raise ForeshapError(
            f"{path} holds a station code that is no file name: use letters and digits only."
        )
    times = {name: utc_times(pairs[name]) for name in ("p_time", "s_time")}
    numbers = {
        name: pd.to_numeric(pairs[name], errors="coerce")
        for name in (*ORIGIN_COLUMNS[1:], *PLACE)
        if name in pairs
    }
    if ((pairs["station"] == "") & (times["p_time"].notna() | times["s_time"].notna())).any():
        raise ForeshapError(
            f"{path} holds a pick without a station code: write it there, or remove the pick."
        )
    pairs = named(pairs.assign(**times, **numbers)).sort_values(
        ["station", "p_time"], ignore_index=True
    )
    return pairs if pickless else pairs[pairs["station"] != ""].reset_index(drop=True)


def utc_times(texts):
    """Times (Series) of datetime64[ns, UTC] as iso_times() reads them; NaT for a date alone, too."""
    return iso_times(texts.where(texts.astype(str).str.contains(r"\d[T ]\d")))


def named(pairs):
    """The pairs with their trace names, DataFrame: a network that was blank may be known by now."""
    parts = zip(pairs["station"], pairs["network"], pairs["event_id"])
    return pairs.assign(trace_name=[trace_name(*each) for each in parts])


def _short(ids):
    """The ids that the services know events by, of publicIDs (Series); whole where several events would share one."""
    short = ids.map(event_id)
    return short.where(ids.groupby(short).transform("nunique") == 1, ids)


def _format(path):
    """What a file's name says about its format, None where nothing."""
    return next(
        (kind for name, kind in FORMATS.items() if re.fullmatch(name, path.name.lower())), None
    )


def _read(path):
    """One file's pairs as text, and its further columns."""
    kind = _format(path)
    if kind is None:
        raise ForeshapError(f"{path} has a name that tells no format of picks: give {KNOWN}.")
    try:
        if kind == "CSV":
            text, empty = (
                dict.fromkeys((*PICK_COLUMNS, "source_origin_time"), str),
                ["", "nan", "NaN"],
            )  # NA is a code
            pairs = pd.read_csv(
                path, dtype=text, keep_default_na=False, na_values=empty, encoding="utf-8-sig"
            )
            if not isinstance(pairs.index, pd.RangeIndex):
                raise ValueError("its rows have more fields than its first line has names")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file = open_xml(path) if kind == "QUAKEML" else BytesIO(path.read_bytes())
                rows = [
                    row
                    for event in obspy.read_events(file, format=kind)
                    for row in _pairs(event, kind)
                ]
            pairs = pd.DataFrame(rows, columns=[*PICK_COLUMNS, *ORIGIN_COLUMNS])
            pairs = pairs.drop(
                columns=[name for name in ORIGIN_COLUMNS if pairs[name].isna().all()]
            )
    except ForeshapError:
        raise
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise ForeshapError(f"{path} can't be read as picks ({error}): give {KNOWN}.") from error
    if missing := set(PICK_COLUMNS) - set(pairs):
        raise ForeshapError(
            f"{path} lacks the columns {', '.join(sorted(missing))}: they are needed."
        )
    if (blank := pairs["event_id"].fillna("").str.strip() == "").any():
        raise ForeshapError(
            f"{path} has no event_id in row {blank.argmax() + 1}: give each event one of its own."
        )
    return pairs


def _pairs(event, kind):
    """One tuple (PICK_COLUMNS, ORIGIN_COLUMNS) a station of an event; an empty station where it has no pick.

    A pick that names no network is of the one that the event's other picks at that station name.
    """
    origin = _origin(event)
    name = str(event.resource_id)
    if kind in NAMELESS and origin[0]:
        name = pd.Timestamp(origin[0]).strftime("%Y%m%dT%H%M%S.%f")[:-4]
    picks = [(*_codes(pick), phase, pick.time) for pick, phase in _phases(event)]
    found, networks = {}, {}
    for network, station, *_ in picks:
        networks.setdefault(station, set()).add(network)
    for network, station, phase, time in sorted(picks, key=lambda one: one[-1]):
        known = networks[station] - {""}
        network = network or "".join(known if len(known) == 1 else ())
        found.setdefault((network, station), {}).setdefault(phase, str(time))
    for codes, times in (found or {("", ""): {}}).items():
        yield name, *codes, times.get("P"), times.get("S"), *origin


def _codes(pick):
    """Network and station of a pick, "" where missing."""
    place = pick.waveform_id or obspy.core.event.WaveformStreamID()
    return (place.network_code or "").strip(), (place.station_code or "").strip()


def _phases(event):
    """Yield (pick, "P" or "S") of the picks that count; the phase of an arrival stands in for a missing hint."""
    phases = {
        str(arrival.pick_id): arrival.phase
        for origin in event.origins
        for arrival in origin.arrivals
    }
    for pick in event.picks:
        hint = pick.phase_hint or phases.get(str(pick.resource_id)) or ""
        phase = re.fullmatch("([PS])[GNB]?", hint.strip().upper())
        if phase and pick.evaluation_status != "rejected":
            yield pick, phase[1]


def _origin(event):
    """Time, latitude, longitude, depth [km], magnitude of the preferred or else the first origin and magnitude."""
    origin = event.preferred_origin() or next(iter(event.origins), None)
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    known = lambda value: np.nan if value is None else value
    size = known(magnitude and magnitude.mag)
    if origin is None or origin.time is None:
        return None, np.nan, np.nan, np.nan, size
    depth = known(origin.depth) / 1000
    return str(origin.time), known(origin.latitude), known(origin.longitude), depth, size
