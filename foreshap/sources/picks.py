"""Picked arrivals and hypocentres, of files of events or tables of picks, as P and S pairs."""

import glob
import re
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import obspy
import pandas as pd
from obspy.core.util.base import buffered_load_entry_point

from ..files import ForeshapError, check_machine, first_line
from ..preprocessing.periods import iso_times
from .quakeml import event_id
from .responses import PLACE
from .safe_xml import open_xml, root_name
from .writer import match_halves, own_columns, trace_name

KEYS = ["event_id", "network", "station"]
PICK_COLUMNS = [*KEYS, "p_time", "s_time"]
NUMBERS = ["source_latitude", "source_longitude", "source_depth_km", "source_magnitude"]
ORIGIN_COLUMNS = ["source_origin_time", *NUMBERS]
EVENT_COLUMNS = [*ORIGIN_COLUMNS, "source_type", "source_status"]
XML_STARTS = b"<", b"\xff\xfe", b"\xfe\xff"
XML_FORMATS = {"quakeml": "QUAKEML", "seiscomp": "SCML"}  # name of the root: ObsPy's format
TEXT_FORMATS = ["NLLOC_HYP", "HYPODDPHA", "GSE2", "IMS10BULLETIN", "MCHEDR", "NORDIC", "EVT"]
CATALOGUES = ["NDK", "CMTSOLUTION", "ZMAP", "FNETMT", "EVENTTXT", "CSV"]  # ObsPy's, without picks
NAMED_BY_TIME = ["NLLOC_HYP", "HYPODDPHA", "NORDIC"]  # whose ids ObsPy makes up
SUFFIXES = r"\.(xml|quakeml|qml|hyp|nor|nordic|out|sfile|csv|pha|picks|parquet|s\d{6})$"
GIVE = (
    "give QuakeML, SeisComp's XML, NonLinLoc, Nordic, hypoDD's .pha, or a table with the columns "
    "event_id, network, station and p_time, s_time, or phase, time"
)
PAIRS = {  # our columns of pairs: their names in tables of PhaseNet, GaMMA, PyOcto, QuakeMigrate
    "event_id": ["event_id", "event_index", "event_idx", "eventid", "evid", "event"],
    "network": ["network", "network_code", "net"],
    "station": ["station", "station_id", "station_code", "sta", "id"],
    "p_time": ["p_time"],
    "s_time": ["s_time"],
}
ONE_A_ROW = {  # and of single picks
    "phase": ["phase", "phase_type", "phase_hint", "type"],
    "time": ["time", "picktime", "pick_time", "phase_time", "peak_time", "timestamp"],
}
OTHER_TABLES = {  # a column: what a table with it, but without picks, is
    "idx_p": "sample numbers of PhaseNet's picks, which need the times that the traces begin at: "
    "give its table with phase_time",
    "p_arrival_sample": "a table of traces like STEAD's: give its folder to from_seisbench()",
    "magnitude": "a catalogue without picks: give the table of the picks that belong to it",
    "coa": "a table of QuakeMigrate's events: give the folder with its .picks",
    "longitude": "a list of stations: give the table of the picks",
}
QUAKEMIGRATE = dict(zip(ORIGIN_COLUMNS, ["DT", "Y", "X", "Z", "ML"]))  # of its .event
PHASE = r"[IEQ]?([PS])[GNB*1]?[CDUR+-]?[0-4]?"  # onset, phase, polarity, weight; in upper case
NO_TIME = ["", "nan", "nat", "none", "-1", "-1.0"]
EARTHQUAKES = ["", "earthquake", "induced or triggered event", "not reported", "not locatable"]
DAY_OF_YEAR = r"^(\d{4})[-,. ]?(\d{3})[T, ](\d\d?:\d\d(?::\d\d(?:\.\d*)?)?)Z?$"


class NoPicks(ForeshapError):
    """A file holds something else than picks."""


def read_picks(path, pickless=False):
    """Read pairs of a P and an S pick of one event at one station.

    The format is known by a file's content. P, Pg, Pn, Pb, P*, P1 count as P, the same of S, with
    or without onset, polarity and weight (iPc0). Of several picks those count first that the
    preferred origin used, then manual ones, then the earliest; an S before P comes last, and what
    an analyst rejected never counts. Public ids are shortened to their eventid or last part where
    that is unique; events of NonLinLoc, Nordic and hypoDD are named after their origin time.

    path: str or Path, a file that ObsPy reads events and picks from; a table of PICK_COLUMNS [UTC],
        or of one pick a row, as PhaseNet, GaMMA, PyOcto (.parquet, too) and QuakeMigrate (.picks
        beside .event) write them; or a folder of such files
    pickless: bool, whether events without any pick are returned too, with an empty station

    returns: DataFrame sorted by station and P time: PICK_COLUMNS (network blank where unknown, NaT
        where a time is missing), trace_name, and a table's further columns or what the file has of
        EVENT_COLUMNS (time as text, place [degree], depth [km]); reason where a row can't be used
    raises: ForeshapError where a file can't be read, lacks a column or holds no pick
    """
    path = Path(path)
    tables = _read_folder(path) if path.is_dir() else [_read(path)]
    pairs = _split_labels(pd.concat(tables, ignore_index=True))
    has_p, has_s = ~_is_blank(pairs["p_time"]), ~_is_blank(pairs["s_time"])
    p_rows, s_rows = match_halves(pairs, KEYS, has_p, has_s)
    pairs["s_time"] = pairs["s_time"].astype(object)
    pairs.loc[p_rows, "s_time"] = pairs.loc[s_rows, "s_time"].to_numpy()
    pairs = _judge(pairs.drop(index=s_rows).reset_index(drop=True))
    public = pairs["event_id"].str.match("(smi|quakeml):")
    short = pairs["event_id"].map(event_id)
    is_unique = pairs["event_id"].groupby(short).transform("nunique") == 1
    pairs["event_id"] = pairs["event_id"].mask(public & is_unique, short)
    for name in (*NUMBERS, *PLACE):
        if name in pairs:
            pairs[name] = pd.to_numeric(pairs[name], errors="coerce")
    with_station = pairs["station"] != ""
    if not with_station.any() and not pickless:
        raise ForeshapError(
            f"{path} holds no P or S pick: give picks with the phase hints P and S."
        )
    pairs = pairs if pickless else pairs[with_station]
    return with_trace_names(pairs).sort_values(["station", "p_time"], ignore_index=True)


def utc_times(texts):
    """Read times (Series): ISO 8601, day of year, seconds since 1970, second 60; a date is none."""
    texts = texts.astype(str).str.strip().str.replace(r"\s*(UTC|GMT)$", "Z", regex=True)
    texts = texts.str.replace(r"^(\d{4})/(\d\d?)/(\d\d?)(?=[T ])", r"\1-\2-\3", regex=True)
    days = texts.str.extract(DAY_OF_YEAR)
    dates = pd.to_datetime(days[0] + days[1], format="%Y%j", errors="coerce")
    is_day = dates.dt.strftime("%Y") == days[0]  # no day 366 of other years
    texts = texts.mask(is_day, dates.dt.strftime("%Y-%m-%dT") + days[2])
    sixty = texts.str.contains(r":60(?:\.\d*)?Z?$")
    texts = texts.mask(sixty, texts.str.replace(r":60(?=[.\d]*Z?$)", ":59", regex=True))
    times = iso_times(texts.where(texts.str.contains(r"\d[T ]\d")))
    times = times.mask(sixty, times + pd.Timedelta("1s"))
    seconds = pd.to_numeric(texts.where(texts.str.fullmatch(r"\d{9,10}(\.\d*)?")))
    return times.fillna(pd.to_datetime(seconds.round(6), unit="s", utc=True))


def with_trace_names(pairs):
    """Add each pair's trace_name by its station, network and event."""
    codes = pairs["station"], pairs["network"], pairs["event_id"]
    return pairs.assign(trace_name=list(map(trace_name, *codes)))


def why_unusable(pair):
    """Say why a row of read_picks() can't be used, "" where nothing is against it."""
    reason = pair.get("reason")
    if isinstance(reason, str) and reason:
        return reason
    kind, status = pair.get("source_type"), pair.get("source_status")
    if isinstance(kind, str) and kind.strip().lower() not in EARTHQUAKES:
        return "not an earthquake"
    return "location rejected" if status == "rejected" else ""


def _read_folder(path):
    """Read all files of picks in a folder and its subfolders, as a list of tables."""
    tables, others = [], []
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        try:
            tables.append(_read(file))
        except ForeshapError as error:
            check_machine(file, error)
            if not isinstance(error, NoPicks) and re.search(SUFFIXES, file.name.lower()):
                raise
            others.append(error)
    if not tables:
        about = f" ({first_line(others[0])})" if others else ""
        raise ForeshapError(f"{path} holds no file of picks{about}: {GIVE}.")
    return tables


def _read(path):
    """Read one file's pairs, with their further columns; NoPicks where it holds something else."""
    try:
        with open(path, "rb") as file:
            start = file.read(1000)
        if start.startswith(b"PAR1"):
            return _from_table(pd.read_parquet(path).astype(object), path)
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(XML_STARTS):
            content = open_xml(path).getvalue()
            root = root_name(content)
            if root not in XML_FORMATS:
                raise NoPicks(f"{path} can't be read as picks, it is XML of {root}: {GIVE}.")
            content = content.replace(b"quakeml-rt/1.2", b"quakeml/1.2")  # the real-time schema
            content = BytesIO(content.replace(b"bed-rt/1.2", b"bed/1.2"))
            return _read_events(content, XML_FORMATS[root])
        for kind in (*TEXT_FORMATS, *CATALOGUES):
            check = buffered_load_entry_point("obspy", f"obspy.plugin.event.{kind}", "isFormat")
            with suppress(Exception), warnings.catch_warnings(action="ignore"):
                if check(str(path)):
                    break
        else:
            return _from_table(_read_csv(path), path)
        if kind in CATALOGUES:
            raise NoPicks(f"{path} is {kind}, a catalogue: {OTHER_TABLES['magnitude']}.")
        return _read_events(glob.escape(str(path)), kind)
    except ForeshapError:
        raise
    except Exception as error:  # ObsPy and pandas raise whatever their parsers raise
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as picks ({first_line(error)}): {GIVE}."
        ) from error


def _read_csv(path):
    """Read a table as text, whatever character separates its columns."""
    with open(path, encoding="utf-8-sig") as file:
        header = file.readline()
    separator = next((sign for sign in ",;\t|" if sign in header), ",")
    options = {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}  # NA is a network code
    options |= {"dtype": str, "encoding": "utf-8-sig", "skipinitialspace": True}
    table = pd.read_csv(path, sep=separator, **options)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its first line has names")
    return table


def _from_table(table, path):
    """Turn a table of pairs, or of one pick a row, into pairs with its further columns."""
    table = own_columns(table, PAIRS)
    are_pairs = {"p_time", "s_time"} & set(table)
    table = table if are_pairs else own_columns(table, ONE_A_ROW)
    if path.suffix == ".picks" and "event_id" not in table:  # QuakeMigrate's, a file an event
        table["event_id"] = path.stem
        if path.with_suffix(".event").exists():
            origin = _read_csv(path.with_suffix(".event")).iloc[0]
            for ours, theirs in QUAKEMIGRATE.items():
                table[ours] = origin.get(theirs)
    is_one_a_row = not are_pairs and {"phase", "time"} <= set(table)
    names = " ".join(str(name).lower() for name in table)
    for column, what in OTHER_TABLES.items():
        if not are_pairs and not is_one_a_row and re.search(rf"(^| ){column}", names):
            raise NoPicks(f"{path} is {what}.")
    needed = ["station", "phase", "time"] if is_one_a_row else ["event_id", "station", "p_time"]
    missing = [name for name in needed if name not in table]
    if missing:
        raise NoPicks(f"{path} lacks the columns {', '.join(missing)}: {GIVE}.")
    if "event_id" not in table:
        raise NoPicks(
            f"{path} holds picks that belong to no event: associate them, with GaMMA or PyOcto, "
            "say, and give the table with its column event_index or event_idx."
        )
    table = table.reindex(columns=list(dict.fromkeys([*table, "network"])))
    if are_pairs:
        return table.reindex(columns=list(dict.fromkeys([*table, "s_time"])))
    table["event_id"] = table["event_id"].astype(str).str.replace(r"\.0$", "", regex=True)
    phases = table["phase"].astype(str).str.strip().str.upper().str.extract(f"^{PHASE}$")[0]
    picks = _split_labels(table.assign(phase=phases, text=table["time"].astype(str), rank=0))
    picks = picks[phases.notna() & (picks["event_id"] != "-1")]
    events = picks.drop_duplicates("event_id").filter(regex="^(event_id$|source_)")
    return _pair_picks(picks).merge(events, on="event_id", how="left")


def _split_labels(table):
    """Take station labels NET.STA, with what follows, and NET_STA apart."""
    station = table["station"].astype(object).fillna("").astype(str).str.strip()
    network = table["network"].astype(object).fillna("").astype(str).str.strip()
    parts = station.str.extract(r"^(\w{1,2})(?:\.(\w+)(?:\.\S*)?|_(\w{1,5}))$")
    code = parts[1].fillna(parts[2])
    split = code.notna() & ((network == "") | (network == parts[0]))
    return table.assign(network=network.mask(split, parts[0]), station=station.mask(split, code))


def _pair_picks(picks):
    """Pair picks: the best P and S of each event and station, an S before the P as the last."""
    known = picks["network"].where(picks["network"] != "")
    groups = known.groupby([picks["event_id"], picks["station"]])
    other = groups.transform("first").where(groups.transform("nunique") == 1)
    picks = picks.assign(network=known.fillna(other).fillna(""), time=utc_times(picks["text"]))
    picks = picks[~_is_blank(picks["text"])].sort_values(["rank", "time"], kind="stable")
    first = picks[picks["phase"] == "P"].drop_duplicates(KEYS).set_index(KEYS)
    second = picks[picks["phase"] == "S"].join(first["time"].rename("p"), on=KEYS)
    second = second.assign(early=second["time"] <= second["p"]).sort_values("early", kind="stable")
    second = second.drop_duplicates(KEYS).set_index(KEYS)
    pairs = pd.concat({"p_time": first["text"], "s_time": second["text"]}, axis=1)
    return pairs.rename_axis(KEYS).reset_index()


def _is_blank(texts):
    """Whether texts (Series) of times say that there is none."""
    return texts.fillna("").astype(str).str.strip().str.lower().isin(NO_TIME)


def _judge(pairs):
    """Turn texts into times, and give the rows that can't be used a reason."""
    ids = pairs["event_id"].fillna("").astype(str).str.strip()
    rows = "row " + pd.Series(range(1, len(pairs) + 1), pairs.index).astype(str)
    reason = pairs.get("reason", pd.Series("", pairs.index)).fillna("")
    reason = reason.mask(ids == "", "event id missing")
    for name in ("p_time", "s_time"):
        times = utc_times(pairs[name])
        unread = (reason == "") & ~_is_blank(pairs[name]) & times.isna()
        reason = reason.mask(unread, "time that can't be read")
        pairs = pairs.assign(**{name: times})
    timed = pairs[["p_time", "s_time"]].notna().any(axis=1)
    station = pairs["station"].mask((pairs["station"] == "") & timed, "?")
    pairs = pairs.assign(event_id=ids.mask(ids == "", rows), station=station)
    return pairs.assign(reason=reason) if (reason != "").any() else pairs


def _read_events(content, kind):
    """Read pairs from what ObsPy opens, a file of events in one of its formats."""
    picks, events = [], []
    with warnings.catch_warnings(action="ignore"):
        for number, event in enumerate(obspy.read_events(content, format=kind)):
            about = _about(event)
            name, time = str(event.resource_id), about["source_origin_time"]
            if kind in NAMED_BY_TIME and time:
                name = pd.Timestamp(time).strftime("%Y%m%dT%H%M%S.%f")[:-4]
            events.append({"number": number, "event_id": name, **about})
            picks += [(number, *pick) for pick in _phases(event)]
    events = pd.DataFrame(events, columns=["number", "event_id", *EVENT_COLUMNS])
    picks = pd.DataFrame(picks, columns=[*KEYS, "phase", "text", "rank"])
    picks = picks.astype({"event_id": int, "rank": float})
    pairs = _pair_picks(_split_labels(picks)).rename(columns={"event_id": "number"})
    pairs = events.merge(pairs, on="number", how="left").drop(columns="number")
    unknown = [name for name in EVENT_COLUMNS if pairs[name].isna().all()]
    return pairs.drop(columns=unknown)


def _phases(event):
    """Picks that count: network, station ("" where missing), "P" or "S", text of time, rank."""
    hints = {}
    for origin in event.origins:
        for arrival in origin.arrivals:
            hints[str(arrival.pick_id)] = arrival.phase
    origin = event.preferred_origin() or next(iter(event.origins), None)
    used = set() if origin is None else {str(arrival.pick_id) for arrival in origin.arrivals}
    picks = []
    for pick in event.picks:
        name = str(pick.resource_id)
        found = None
        for hint in (pick.phase_hint, hints.get(name)):
            found = found or re.fullmatch(PHASE, (hint or "").strip().upper())
        if found and pick.time is not None and pick.evaluation_status != "rejected":
            place = pick.waveform_id or obspy.core.event.WaveformStreamID()
            codes = [(code or "").strip() for code in (place.network_code, place.station_code)]
            rank = 2 * (name not in used) + (pick.evaluation_mode == "automatic")
            picks.append((*codes, found[1], str(pick.time), rank))
    return picks


def _about(event):
    """EVENT_COLUMNS of the preferred or else first origin that was not rejected, and magnitude."""
    about = dict.fromkeys(EVENT_COLUMNS) | {"source_type": event.event_type}
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    if magnitude is not None:
        about["source_magnitude"] = magnitude.mag
    origins = [origin for origin in (event.preferred_origin(), *event.origins) if origin]
    good = [origin for origin in origins if origin.evaluation_status != "rejected"]
    for origin in (good or origins)[:1]:
        about["source_status"] = origin.evaluation_status
        about["source_origin_time"] = origin.time and str(origin.time)
    for origin in good[:1]:
        about["source_latitude"], about["source_longitude"] = origin.latitude, origin.longitude
        about["source_depth_km"] = None if origin.depth is None else origin.depth / 1000
    return about
