"""Picked arrivals and hypocentres from QuakeML, NonLinLoc, Nordic or a .csv, as P and S pairs."""

import re
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import obspy
import pandas as pd

from ..files import ForeshapError, check_machine
from ..preprocessing.periods import iso_times
from .quakeml import event_id
from .responses import PLACE
from .safe_xml import open_xml
from .writer import trace_name

PICK_COLUMNS = ["event_id", "network", "station", "p_time", "s_time"]
NUMBERS = ["source_latitude", "source_longitude", "source_depth_km", "source_magnitude"]
ORIGIN_COLUMNS = ["source_origin_time", *NUMBERS]
FORMATS = {".hyp": "NLLOC_HYP", ".csv": "CSV"}  # by a file's name, never by its content
FORMATS |= dict.fromkeys([".xml", ".quakeml", ".qml"], "QUAKEML")
FORMATS |= dict.fromkeys([".nor", ".nordic", ".out", ".sfile"], "NORDIC")
KNOWN = "QuakeML (.xml, .quakeml, .qml), NonLinLoc (.hyp), Nordic (.nor, .nordic, .out, .sfile)"
GIVE = f"give {KNOWN} or a .csv"


def read_picks(path, pickless=False):
    """Read pairs of a P and an S pick of one event at one station.

    P, Pg, Pn, Pb count as P, S, Sg, Sn, Sb as S, the earliest of each that was not rejected by an
    analyst. QuakeML events keep the eventid or last part of their id, or all of it where several
    would share that; those of NonLinLoc and Nordic are named after their origin time.

    path: str or Path, QuakeML (.xml, .quakeml, .qml), NonLinLoc (.hyp), Nordic (.nor, .nordic,
        .out, .sfile or .S201403), a .csv with PICK_COLUMNS [UTC], or a folder of such files
    pickless: bool, whether events without any pick are returned too, with an empty station

    returns: DataFrame sorted by station and P time: event_id, network (blank where unknown),
        station, p_time, s_time [UTC] (NaT where missing), trace_name, and the .csv's further
        columns or what the file has of ORIGIN_COLUMNS: the origin's time (text), place [degree],
        depth [km], magnitude
    raises: ForeshapError where a file can't be read, lacks a column or holds no pick
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _format(file))
    if not files:
        raise ForeshapError(f"{path} holds no file of picks: {GIVE}.")
    tables = [_read(file) for file in files]
    is_quakeml = [_format(file) == "QUAKEML" for file in files]
    public = np.repeat(is_quakeml, [len(table) for table in tables])
    pairs = pd.concat(tables, ignore_index=True).fillna({"network": "", "station": ""})
    short = _short_ids(pairs["event_id"][public])
    pairs["event_id"] = pairs["event_id"].where(~public, short)
    for name in ("p_time", "s_time"):
        pairs[name] = utc_times(pairs[name])
    for name in (*NUMBERS, *PLACE):
        if name in pairs:
            pairs[name] = pd.to_numeric(pairs[name], errors="coerce")
    with_station = pairs["station"] != ""
    if not with_station.any() and not pickless:
        raise ForeshapError(
            f"{path} holds no P or S pick: give picks with the phase hints P and S."
        )
    if not pairs["station"].str.fullmatch("[A-Za-z0-9_-]*").all():
        raise ForeshapError(
            f"{path} holds a station code that is no file name: use letters and digits only."
        )
    if pairs.loc[~with_station, ["p_time", "s_time"]].notna().any(axis=None):
        raise ForeshapError(
            f"{path} holds a pick without a station code: write it there, or remove the pick."
        )
    pairs = pairs if pickless else pairs[with_station]
    return with_trace_names(pairs).sort_values(["station", "p_time"], ignore_index=True)


def utc_times(texts):
    """Read times (Series) as iso_times() does, but a date alone as NaT; datetime64[ns, UTC]."""
    return iso_times(texts.where(texts.astype(str).str.contains(r"\d[T ]\d")))


def with_trace_names(pairs):
    """Add each pair's trace_name by its station, network and event."""
    codes = zip(pairs["station"], pairs["network"], pairs["event_id"])
    return pairs.assign(trace_name=[trace_name(*code) for code in codes])


def _short_ids(ids):
    """The ids that services know events by (Series), whole where several events would share one."""
    short = ids.map(event_id)
    return short.where(ids.groupby(short).transform("nunique") == 1, ids)


def _format(path):
    """What ObsPy calls the format that a file's name stands for, None where it stands for none."""
    suffix = path.suffix.lower()
    return "NORDIC" if re.fullmatch(r"\.s\d{6}", suffix) else FORMATS.get(suffix)


def _read(path):
    """Read one file's pairs as text, with its further columns."""
    kind = _format(path)
    if kind is None:
        raise ForeshapError(f"{path} has a name that tells no format of picks: {GIVE}.")
    pairs = _read_csv(path) if kind == "CSV" else _read_events(path, kind)
    missing = sorted(set(PICK_COLUMNS) - set(pairs))
    if missing:
        raise ForeshapError(f"{path} lacks the columns {', '.join(missing)}: they are needed.")
    blank = pairs["event_id"].fillna("").str.strip() == ""
    if blank.any():
        raise ForeshapError(
            f"{path} has no event_id in row {blank.argmax() + 1}: give each event one of its own."
        )
    return pairs


def _read_csv(path):
    """Read a .csv of pairs."""
    text = dict.fromkeys([*PICK_COLUMNS, "source_origin_time"], str)
    options = {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}  # NA is a network code
    try:
        pairs = pd.read_csv(path, dtype=text, encoding="utf-8-sig", **options)
    except Exception as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read as picks ({error}): {GIVE}.") from error
    if not isinstance(pairs.index, pd.RangeIndex):
        raise ForeshapError(
            f"{path} has rows with more fields than its first line has names: write it again."
        )
    return pairs


def _read_events(path, kind):
    """Read pairs from a file of events in one of ObsPy's formats."""
    rows = []
    try:
        with warnings.catch_warnings(action="ignore"):
            content = open_xml(path) if kind == "QUAKEML" else BytesIO(path.read_bytes())
            for event in obspy.read_events(content, format=kind):
                rows += _pairs(event, kind)
    except ForeshapError:
        raise
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read as picks ({error}): {GIVE}.") from error
    pairs = pd.DataFrame(rows, columns=[*PICK_COLUMNS, *ORIGIN_COLUMNS])
    unknown = [name for name in ORIGIN_COLUMNS if pairs[name].isna().all()]
    return pairs.drop(columns=unknown)


def _pairs(event, kind):
    """Rows (PICK_COLUMNS, ORIGIN_COLUMNS) of an event; an empty station where it has no pick."""
    origin = _origin(event)
    name = str(event.resource_id)
    if kind != "QUAKEML" and origin[0]:  # ObsPy gives these events another id each time
        name = pd.Timestamp(origin[0]).strftime("%Y%m%dT%H%M%S.%f")[:-4]
    picks = sorted(_phases(event), key=lambda pick: pick[-1])
    networks, times = {}, {}
    for network, station, _, _ in picks:
        networks.setdefault(station, set()).add(network)
    for network, station, phase, time in picks:
        others = networks[station] - {""}
        if not network and len(others) == 1:  # the one that the station's other picks name
            (network,) = others
        times.setdefault((network, station), {}).setdefault(phase, str(time))
    if not picks:
        times = {("", ""): {}}
    return [(name, *codes, pair.get("P"), pair.get("S"), *origin) for codes, pair in times.items()]


def _phases(event):
    """Picks that count: network, station ("" where missing), "P" or "S", time."""
    arrival_phases = {}
    for origin in event.origins:
        for arrival in origin.arrivals:
            arrival_phases[str(arrival.pick_id)] = arrival.phase
    picks = []
    for pick in event.picks:
        hint = pick.phase_hint or arrival_phases.get(str(pick.resource_id)) or ""
        phase = re.fullmatch("([PS])[GNB]?", hint.strip().upper())
        if phase and pick.evaluation_status != "rejected":
            place = pick.waveform_id or obspy.core.event.WaveformStreamID()
            codes = [(code or "").strip() for code in (place.network_code, place.station_code)]
            picks.append((*codes, phase[1], pick.time))
    return picks


def _origin(event):
    """ORIGIN_COLUMNS of the preferred or else the first origin and magnitude."""
    origin = event.preferred_origin() or next(iter(event.origins), None)
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    size = None if magnitude is None else magnitude.mag
    if origin is None or origin.time is None:
        return None, None, None, None, size
    depth = None if origin.depth is None else origin.depth / 1000
    return str(origin.time), origin.latitude, origin.longitude, depth, size
