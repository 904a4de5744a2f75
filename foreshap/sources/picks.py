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
from .writer import trace_name

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
ALIASES = {  # our columns' names in tables of PhaseNet, GaMMA, PyOcto and QuakeMigrate
    "event_id": ["event_index", "event_idx", "eventid", "evid", "event"],
    "network": ["network_code", "net"],
    "station": ["station_id", "station_code", "sta", "id"],
    "phase": ["phase_type", "phase_hint", "type"],
    "time": ["picktime", "pick_time", "phase_time", "peak_time", "timestamp"],
    "p_time": [],
    "s_time": [],
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
NAMELESS = "event id missing"
EARTHQUAKES = ["", "earthquake", "induced or triggered event", "not reported", "not locatable"]
DAY_OF_YEAR = r"^(\d{4})[-,. ]?(\d{3})[T, ](\d\d?:\d\d(?::\d\d(?:\.\d*)?)?)Z?$"


class NoPicks(ForeshapError):
    """A file holds something else than picks."""


def read_picks(path, pickless=False):
    """Read pairs of a P and an S pick of one event at one station.

    The format is known by a file's content. P, Pg, Pn, Pb, P*, P1 count as P, the same of S, with
    or without onset, polarity and weight (iPc0). Of several picks those count first that the
    preferred origin used, then manual ones, then the earliest; an S before P comes last, and what
    an analyst rejected never counts. QuakeML events keep the eventid or last part of their id, or
    all of it where several would share that; those of NonLinLoc, Nordic and hypoDD are named after
    their origin time. Station labels NET.STA and NET_STA are taken apart.

    path: str or Path, a file that ObsPy reads events and picks from; a table of PICK_COLUMNS [UTC],
        or of one pick a row, as PhaseNet, GaMMA, PyOcto (.parquet, too) and QuakeMigrate (.picks
        beside .event) write them; or a folder of such files
    pickless: bool, whether events without any pick are returned too, with an empty station

    returns: DataFrame sorted by station and P time: event_id, network (blank where unknown),
        station, p_time, s_time [UTC] (NaT where missing), trace_name, and a table's further columns
        or what the file has of ORIGIN_COLUMNS: the origin's time (text), place [degree], depth
        [km], magnitude; source_type and source_status where it says them; reason where a row can't
        be used
    raises: ForeshapError where a file can't be read, lacks a column or holds no pick
    """
    path = Path(path)
    if path.is_dir():
        tables = _read_folder(path)
    else:
        tables = [_read(path)]
    pairs = _judge(_join_halves(_split_labels(pd.concat(tables, ignore_index=True))))
    public = pairs.pop("_public").fillna(False).astype(bool) if "_public" in pairs else ()
    ids = pairs["event_id"][public] if len(public) else pairs["event_id"][:0]
    short = ids.map(event_id)
    pairs.loc[ids.index, "event_id"] = short.where(
        ids.groupby(short).transform("nunique") == 1, ids
    )
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
    """Read times (Series): ISO 8601, day of year, seconds since 1970, second 60; a date is none.

    returns: Series of datetime64[ns, UTC], NaT for any other text
    """
    texts = texts.astype(str).str.strip().str.replace(r"\s*(UTC|GMT)$", "Z", regex=True)
    texts = texts.str.replace(r"^(\d{4})/(\d\d?)/(\d\d?)(?=[T ])", r"\1-\2-\3", regex=True)
    year, day, clock = (part for _, part in texts.str.extract(DAY_OF_YEAR).items())
    days = pd.to_timedelta(pd.to_numeric(day) - 1, unit="D")
    dates = pd.to_datetime(year, format="%Y", errors="coerce") + days
    is_day = dates.notna() & (dates.dt.year == pd.to_numeric(year)) & (pd.to_numeric(day) > 0)
    texts = texts.mask(is_day, dates.dt.strftime("%Y-%m-%dT") + clock)
    sixty = texts.str.contains(r":60(?:\.\d*)?Z?$")
    texts = texts.mask(sixty, texts.str.replace(r":60(?=[.\d]*Z?$)", ":59", regex=True))
    times = iso_times(texts.where(texts.str.contains(r"\d[T ]\d")))
    times = times.mask(sixty, times + pd.Timedelta("1s"))
    seconds = pd.to_numeric(texts.where(texts.str.fullmatch(r"\d{9,10}(\.\d*)?")))
    return times.fillna(pd.to_datetime(seconds.round(6), unit="s", utc=True))


def with_trace_names(pairs):
    """Add each pair's trace_name by its station, network and event."""
    codes = zip(pairs["station"], pairs["network"], pairs["event_id"])
    return pairs.assign(trace_name=[trace_name(*code) for code in codes])


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
            return _read_events(path, content, XML_FORMATS[root])
        kind = _text_format(path)
        if kind in CATALOGUES:
            raise NoPicks(f"{path} is {kind}, a catalogue: {OTHER_TABLES['magnitude']}.")
        if kind:
            return _read_events(path, glob.escape(str(path)), kind)
        return _from_table(_read_csv(path), path)
    except ForeshapError:
        raise
    except Exception as error:  # ObsPy and pandas raise whatever their parsers raise
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as picks ({first_line(error)}): {GIVE}."
        ) from error


def _text_format(path):
    """Name ObsPy's format of a file of events by what it holds, None where it is none of ours."""
    for kind in (*TEXT_FORMATS, *CATALOGUES):
        check = buffered_load_entry_point("obspy", f"obspy.plugin.event.{kind}", "isFormat")
        with suppress(Exception), warnings.catch_warnings(action="ignore"):
            if check(str(path)):
                return kind
    return None


def _read_csv(path):
    """Read a table as text, whatever character separates its columns."""
    with open(path, encoding="utf-8-sig") as file:
        header = file.readline()
    separator = next((sign for sign in ",;\t|" if sign in header), ",")
    options = {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}  # NA is a network code
    table = pd.read_csv(
        path, sep=separator, dtype=str, encoding="utf-8-sig", skipinitialspace=True, **options
    )
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its first line has names")
    return table


def _from_table(table, path):
    """Turn a table of pairs, or of one pick a row, into pairs with its further columns."""
    table = table.rename(columns=_own_names(table, PICK_COLUMNS))
    are_pairs = {"p_time", "s_time"} & set(table)
    if not are_pairs:
        table = table.rename(columns=_own_names(table, ["phase", "time"]))
    if path.suffix == ".picks" and "event_id" not in table:  # QuakeMigrate's, a file an event
        table["event_id"] = path.stem
        if path.with_suffix(".event").exists():
            origin = _read_csv(path.with_suffix(".event")).iloc[0]
            for ours, theirs in QUAKEMIGRATE.items():
                table[ours] = origin.get(theirs)
    is_one_a_row = {"phase", "time"} <= set(table) and not are_pairs
    if not are_pairs and not is_one_a_row:
        lower = [str(name).lower() for name in table]
        for column, what in OTHER_TABLES.items():
            if any(name.startswith(column) for name in lower):
                raise NoPicks(f"{path} is {what}.")
    needed = ["station", "phase", "time"] if is_one_a_row else ["event_id", "station", "p_time"]
    missing = [name for name in needed if name not in table]
    if missing:
        raise NoPicks(
            f"{path} lacks the columns {', '.join(missing)}: {GIVE}; a catalogue or a list of "
            "stations alone holds no pick."
        )
    if "event_id" not in table:
        raise NoPicks(
            f"{path} holds picks that belong to no event: associate them, with GaMMA or PyOcto, "
            "say, and give the table with its column event_index or event_idx."
        )
    table = table.reindex(columns=list(dict.fromkeys([*table, "network"])))
    if not is_one_a_row:
        return table.reindex(columns=list(dict.fromkeys([*table, "s_time"])))
    table["event_id"] = table["event_id"].astype(str).str.replace(r"\.0$", "", regex=True)
    phases = table["phase"].astype(str).str.strip().str.upper().str.extract(f"^{PHASE}$")[0]
    texts = table["time"].astype(str)
    picks = _split_labels(table.assign(phase=phases, text=texts, rank=0))
    picks = picks[phases.notna() & (picks["event_id"] != "-1")]
    about = [name for name in picks if name.startswith("source_")]
    events = picks.drop_duplicates("event_id")[["event_id", *about]]
    return pair_picks(picks).merge(events, on="event_id", how="left")


def _own_names(table, wanted):
    """Our wanted names (list of str) of a table's columns, dict; the others keep theirs."""
    names = {str(name).strip().lower(): name for name in reversed(list(table))}
    own = {name: str(name).strip() for name in table}
    for ours in wanted:
        found = [names[name] for name in (ours, *ALIASES[ours]) if name in names]
        if found:
            own[found[0]] = ours
    return own


def _split_labels(table):
    """Take station labels NET.STA, with what follows, and NET_STA apart."""
    station = table["station"].astype(object).fillna("").astype(str).str.strip()
    network = table["network"].astype(object).fillna("").astype(str).str.strip()
    parts = station.str.extract(r"^(\w{1,2})(?:\.(\w+)(?:\.\S*)?|_(\w{1,5}))$")
    code = parts[1].fillna(parts[2])
    split = code.notna() & ((network == "") | (network == parts[0]))
    return table.assign(network=network.mask(split, parts[0]), station=station.mask(split, code))


def pair_picks(picks):
    """Pair picks: the best P and S of each event and station, an S before the P as the last.

    picks: DataFrame event_id, network ("" where unknown: that which the station's other picks of
        the event name), station, phase ("P" or "S"), text of its time, rank (the least is best)

    returns: DataFrame PICK_COLUMNS
    """
    known = picks["network"].where(picks["network"] != "")
    groups = known.groupby([picks["event_id"], picks["station"]])
    other = groups.transform("first").where(groups.transform("nunique") == 1)
    picks = picks.assign(network=known.fillna(other).fillna(""), time=utc_times(picks["text"]))
    picks = picks[~picks["text"].str.strip().str.lower().isin(NO_TIME)]
    picks = picks.sort_values(["rank", "time"], kind="stable")
    sides = {}
    for phase in "PS":
        names = {"text": f"{phase.lower()}_time", "time": phase}
        side = picks.loc[picks["phase"] == phase, [*KEYS, "text", "time"]]
        sides[phase] = side.rename(columns=names)
    first = sides["P"].drop_duplicates(KEYS)
    second = sides["S"].merge(first[[*KEYS, "P"]], on=KEYS, how="left")
    second = second.assign(early=second["S"] <= second["P"]).sort_values("early", kind="stable")
    second = second.drop_duplicates(KEYS)
    return first.merge(second[[*KEYS, "s_time"]], on=KEYS, how="outer")[PICK_COLUMNS]


def _join_halves(pairs):
    """Join a row that has P alone with the one of its event and station that has S alone."""
    has_p = ~_is_blank(pairs["p_time"])
    has_s = ~_is_blank(pairs["s_time"])
    halves = pairs[KEYS].assign(has_p=has_p)[has_p != has_s]
    alone = halves.drop_duplicates(keep=False)
    both = alone[alone.duplicated(KEYS, keep=False)]
    of_s = pairs.loc[both.index[~both["has_p"]]]
    found = of_s.set_index(KEYS)["s_time"].reindex(pd.MultiIndex.from_frame(pairs[KEYS]))
    is_half = pairs.index.isin(both.index)
    s_time = pairs["s_time"].astype(object).mask(is_half, found.to_numpy(object))
    return pairs.assign(s_time=s_time).drop(index=of_s.index).reset_index(drop=True)


def _is_blank(texts):
    """Whether texts (Series) of times say that there is none."""
    return texts.fillna("").astype(str).str.strip().str.lower().isin(NO_TIME)


def _judge(pairs):
    """Turn texts into times, and give the rows that can't be used a reason."""
    ids = pairs["event_id"].fillna("").astype(str).str.strip()
    nameless = ids == ""
    rows = pd.Series([f"row {number + 1}" for number in range(len(pairs))], pairs.index)
    reason = pairs.get("reason", pd.Series("", pairs.index)).fillna("").where(~nameless, NAMELESS)
    for name in ("p_time", "s_time"):
        blank = _is_blank(pairs[name])
        times = utc_times(pairs[name])
        reason = reason.mask((reason == "") & ~blank & times.isna(), "time that can't be read")
        pairs = pairs.assign(**{name: times})
    timed = pairs[["p_time", "s_time"]].notna().any(axis=1)
    station = pairs["station"].mask((pairs["station"] == "") & timed, "?")
    pairs = pairs.assign(event_id=ids.mask(nameless, rows), station=station)
    return pairs.assign(reason=reason) if (reason != "").any() else pairs


def _read_events(path, content, kind):
    """Read pairs from a file of events in one of ObsPy's formats; content: what ObsPy opens."""
    picks, events = [], []
    with warnings.catch_warnings(action="ignore"):
        for number, event in enumerate(obspy.read_events(content, format=kind)):
            origin = _origin(event)
            name = str(event.resource_id)
            if kind in NAMED_BY_TIME and origin[0]:
                name = pd.Timestamp(origin[0]).strftime("%Y%m%dT%H%M%S.%f")[:-4]
            events.append((number, name, *origin))
            picks += [(number, *pick) for pick in _phases(event)]
    events = pd.DataFrame(events, columns=["number", "event_id", *EVENT_COLUMNS])
    picks = pd.DataFrame(picks, columns=[*KEYS, "phase", "text", "rank"]).astype(
        {"event_id": int, "rank": float}
    )
    pairs = pair_picks(_split_labels(picks)).rename(columns={"event_id": "number"})
    pairs = events.merge(pairs, on="number", how="left").drop(columns="number")
    unknown = [name for name in EVENT_COLUMNS if pairs[name].isna().all()]
    return pairs.drop(columns=unknown).assign(_public=kind not in NAMED_BY_TIME)


def _phases(event):
    """Picks that count: network, station ("" where missing), "P" or "S", text of time, rank."""
    arrivals, used = {}, set()
    for origin in event.origins:
        for arrival in origin.arrivals:
            arrivals[str(arrival.pick_id)] = arrival.phase
    origin = event.preferred_origin() or next(iter(event.origins), None)
    if origin is not None:
        used = {str(arrival.pick_id) for arrival in origin.arrivals}
    picks = []
    for pick in event.picks:
        name = str(pick.resource_id)
        found = None
        for hint in (pick.phase_hint, arrivals.get(name)):
            found = found or re.fullmatch(PHASE, (hint or "").strip().upper())
        if found and pick.time is not None and pick.evaluation_status != "rejected":
            place = pick.waveform_id or obspy.core.event.WaveformStreamID()
            codes = [(code or "").strip() for code in (place.network_code, place.station_code)]
            rank = 2 * (name not in used) + (pick.evaluation_mode == "automatic")
            picks.append((*codes, found[1], str(pick.time), rank))
    return picks


def _origin(event):
    """EVENT_COLUMNS of the preferred or else first origin that was not rejected, and magnitude."""
    origins = [event.preferred_origin(), *event.origins]
    origins = [origin for origin in origins if origin is not None]
    good = [origin for origin in origins if origin.evaluation_status != "rejected"]
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    size = None if magnitude is None else magnitude.mag
    status = (
        good[0].evaluation_status if good else origins[0].evaluation_status if origins else None
    )
    about = event.event_type, status
    if not origins or origins[0].time is None:
        return None, None, None, None, size, *about
    if not good:
        return str(origins[0].time), None, None, None, size, *about
    depth = None if good[0].depth is None else good[0].depth / 1000
    return str(good[0].time), good[0].latitude, good[0].longitude, depth, size, *about
