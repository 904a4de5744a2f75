"""SeisBench's format, in and out: metadata.csv and waveforms.hdf5, whole or in chunks."""

import math
import re
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError, check_machine, finish_moves, folder_written_whole
from ..hdf5 import OutputFile, check_stored
from ..preprocessing.clipping import as_recorded, filled_gap
from ..preprocessing.periods import classes, iso_times, periods
from ..preprocessing.variants import CLASSES, COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import (
    COLUMNS,
    REJECTED_COLUMNS,
    offered_traces,
    open_waveforms,
    read_root,
    read_trace,
    waveform_file,
)
from .continuous import MARGIN
from .instruments import check_choice, check_networks
from .recordings import LEAST_RATE
from .resampling import FILTER, resampled, smallest_step
from .writer import Imported, Offer, trace_name, write_layout

NAMES = {  # the layout's column: SeisBench's, of which the first is written
    "trace_start_time": ("trace_start_time",),
    "network_code": ("station_network_code",),
    "receiver_name": ("station_code",),
    "receiver_type": ("trace_channel", "station_channels"),
    "receiver_elevation_m": ("station_elevation_m",),
    "receiver_latitude": ("station_latitude_deg",),
    "receiver_longitude": ("station_longitude_deg",),
    "source_id": ("source_id",),
    "source_depth_km": ("source_depth_km",),
    "source_latitude": ("source_latitude_deg",),
    "source_longitude": ("source_longitude_deg",),
    "source_magnitude": ("source_magnitude",),
    "source_origin_time": ("source_origin_time",),
    "p_travel_sec": ("path_p_travel_sec", "path_travel_time_P_s"),
    "s_travel_sec": ("path_s_travel_sec", "path_travel_time_S_s"),
}
KNOWN = {"trace_name", "trace_sampling_rate_hz", "trace_dt_s", "trace_component_order"}
KNOWN = KNOWN.union(["station_location_code"], *NAMES.values())
KNOWN |= {"trace_unit"}
STEAD = {  # columns of its own table
    "network_code": "station_network_code",
    "receiver_code": "station_code",
    "receiver_type": "trace_channel",
    "receiver_elevation_m": "station_elevation_m",
    "receiver_latitude": "station_latitude_deg",
    "receiver_longitude": "station_longitude_deg",
    "source_latitude": "source_latitude_deg",
    "source_longitude": "source_longitude_deg",
    "p_travel_sec": "path_p_travel_sec",
    "p_arrival_sample": "trace_p_arrival_sample",
    "s_arrival_sample": "trace_s_arrival_sample",
}
NEEDED = ("trace_name", "trace_start_time", "station_code")
P_COLUMN = "^trace_[Pp][gnb1]?_arrival_sample$"  # direct and refracted waves, no depth phases
S_COLUMN = "^trace_[Ss][gnb1]?_arrival_sample$"
CATEGORIES = "trace_", "source_", "station_", "path_"  # other columns are kept under their names
COMPONENT_OF = {"1": "N", "2": "E"}  # two horizontal components that are nearly north and east
RATES = 1.0, 1000.0  # Hz that can be resampled to 100 Hz
VELOCITY = r"([kcmuµμn]?)m(?:/s|/sec|ps|[ *]?s(?:\^|\*\*)?-1)"  # units, in lower case
NANOMETRES = {"k": 1e12, "": 1e9, "c": 1e7, "m": 1e6, "u": 1e3, "µ": 1e3, "μ": 1e3, "n": 1.0}
ROWS = 20_000  # of metadata that are read before the selection
TOGETHER = 1000  # rows that are dicts at a time
LONGEST = 3600.0  # s of one trace
LONGEST_RECORDING = 1e8  # s from its start, whatever its picks say
MOST_EXPORTED = 10**7  # samples


def from_seisbench(
    folder,
    output,
    mainshock,
    stations=None,
    seconds_after_p=20.0,
    seconds_after_s=15.0,
    instrument="*",
):
    """Cut the traces of a data set in SeisBench's format and write them in the waveform layout.

    The earliest P and the earliest S count. Components 1 and 2 are taken for N and E. Other rates
    are resampled to 100 Hz, and `clipped` is 1 where the samples before were clipped. Velocities
    (m/s, km/s...) become nm/s; other units stay. Columns outside SeisBench's categories trace,
    source, station and path, such as split, are kept.

    A row with S alone is joined with the row of its event and station that has P alone. Rows of one
    trace without a source_id are told apart by their P. Traces in another unit than most
    (trace_unit) are rejected.

    folder: str or Path, with metadata.csv and waveforms.hdf5, or with chunks of them; or INSTANCE
        or STEAD as their authors distribute them
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods
    stations: str or sequence of str, "NRCA" or with the network "IV.NRCA"; None: all
    seconds_after_p, seconds_after_s: float, how far each trace reaches, if its recording does [s];
        the former is the least
    instrument: str, which location and channel to use, with wildcards ("00.HH", "*.HH"); one is
        chosen a station: seismometers first, then the one with most traces

    returns: Imported
    raises: ForeshapError where a file is missing, damaged or lacks what is needed, or no trace is
        selected
    """
    spans, folder = periods(mainshock), Path(folder)
    check_choice(instrument, seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s)
    stations = [stations] if isinstance(stations, str) else stations
    finish_moves(folder)
    with ExitStack() as stack:
        files = {}
        chunks = _as_downloaded(folder) or _chunks(folder)
        for chunk, (_, path, _) in chunks.items():
            files[chunk] = stack.enter_context(open_waveforms(path))
        table, plan = _select(folder, chunks, files, stations)
        rows, plan = _judge(table, plan, spans, instrument)
        usable = rows.loc[plan["reason"] == "", ["network_code", "receiver_name"]]
        codes = usable.itertuples(index=False, name=None)
        check_networks(codes, 'name one, like stations=["IV.NRCA"]')
        columns = [*rows, "recorded_rate_hz", "recorded_step"]
        if (plan["rate"] != SAMPLING_RATE).any():
            columns.append("clipped")
        offers = _offers(rows, plan, files, (seconds_after_p, seconds_after_s))
        return write_layout(output, offers, spans, columns, unit=_common_unit(plan))


def _as_downloaded(folder):
    """What _chunks() returns of INSTANCE and STEAD in their authors' form, {} for other sets."""
    chunks = {}
    for path in sorted(folder.glob("*.csv")):
        known = {"component_order": "ENZ", "sampling_rate": 100.0, "unit": "counts"}
        instance = re.fullmatch(r"metadata_(Instance_\w+?)(_v\d+)?", path.stem)
        if instance:
            waveforms = sorted(folder.glob(f"{instance[1]}_*.hdf5"))[:1]  # counts before gm
            if waveforms and waveforms[0].stem.endswith("_gm"):
                known["unit"] = "m/s by channel"
        else:
            waveforms = [path.with_suffix(".hdf5")]
            known["dimension_order"] = "WC"
            with open(path, errors="replace") as file:
                is_stead = "receiver_code" in file.readline()
            waveforms = [path for path in waveforms if path.exists() and is_stead]
        if waveforms:
            chunks[path.stem] = path, waveforms[0], known
    return chunks


def _chunks(folder):
    """Name of each chunk of a data set -> its table, waveforms, and what these don't say (dict)."""
    listed = folder / "chunks"
    try:
        chunks = listed.read_text().split("\n") if listed.exists() else []
    except (OSError, ValueError) as error:
        check_machine(listed, error)
        raise ForeshapError(
            f"{listed} can't be read ({error}): it names one chunk a line."
        ) from error
    chunks = [chunk.strip() for chunk in chunks if chunk.strip()]
    if not chunks:
        files = [*folder.glob("metadata*.csv"), *folder.glob("waveforms*.hdf5")]
        chunks = sorted({re.sub("^(metadata|waveforms)", "", path.stem) for path in files})
        chunks = [""] if "" in chunks else chunks
    if not chunks:
        raise ForeshapError(
            f"{folder} holds no metadata.csv and waveforms.hdf5: give one in SeisBench's format."
        )
    for chunk in chunks:
        if re.search(r"[/\\\0]", chunk):
            raise ForeshapError(f"{listed} names the chunk {chunk!r}: its name can hold no path.")
        for name in (f"metadata{chunk}.csv", f"waveforms{chunk}.hdf5"):
            if not (folder / name).exists():
                raise ForeshapError(
                    f"{folder} lacks {name}: SeisBench's format needs both files of each chunk."
                )
    paths = {}
    for chunk in chunks:
        paths[chunk] = folder / f"metadata{chunk}.csv", folder / f"waveforms{chunk}.hdf5", {}
    return paths


def _select(folder, chunks, files, stations):
    """The metadata of the stations in all chunks, and how each trace is read."""
    tables, plans = [], []
    for chunk, (path, _, known) in chunks.items():
        table = _read_metadata(path, stations)
        tables.append(table)
        plans.append(_plan(table, files[chunk], known).assign(chunk=chunk))
    table = pd.concat(tables, ignore_index=True).fillna("")
    plan = pd.concat(plans, ignore_index=True)
    absent = set(stations or ()).difference(*_codes(table))
    if absent or table.empty:
        names = ", ".join(sorted(absent)) or "any station"
        raise ForeshapError(f"{folder} holds no trace of {names}: check the station codes.")
    units = sorted(plan.loc[~plan["has_unit"], "unit"].unique())
    if len(units) > 1:
        raise ForeshapError(
            f"{folder} has chunks in {' and '.join(units)}: import them one at a time."
        )
    return table, plan


def _read_metadata(path, stations):
    """The rows of the stations and the columns that are used, all text, "" where it is missing."""
    options = {"dtype": str, "keep_default_na": False, "na_values": ["nan", "NaN", "None"]}
    options |= {"encoding": "utf-8-sig", "usecols": _is_used, "chunksize": ROWS}
    found = []
    try:
        with pd.read_csv(path, **options) as parts:
            for part in parts:
                if "receiver_code" in part:
                    part = part.rename(columns=STEAD)
                _check_columns(part, path)
                if stations is not None:
                    alone, with_network = _codes(part)
                    part = part[alone.isin(stations) | with_network.isin(stations)]
                found.append(part)
        return pd.concat(found, ignore_index=True).fillna("")
    except (ValueError, OSError) as error:
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as a comma-separated table ({error})."
        ) from error


def _is_used(column):
    """Whether a column of metadata is read."""
    is_arrival = re.search(f"{P_COLUMN}|{S_COLUMN}", column)
    return bool(
        column in KNOWN or column in STEAD or is_arrival or not column.startswith(CATEGORIES)
    )


def _check_columns(table, path):
    """Raise ForeshapError where a table of metadata lacks what is needed."""
    if not isinstance(table.index, pd.RangeIndex):  # a comma at each row's end shifts all columns
        raise ForeshapError(
            f"{path} has rows with more fields than its first line has names: save it without them."
        )
    missing = [name for name in NEEDED if name not in table]
    if table.filter(regex=P_COLUMN).columns.empty:
        missing.append("trace_p_arrival_sample")
    if missing:
        raise ForeshapError(
            f"{path} lacks the columns {', '.join(missing)}: separate them by commas."
        )


def _codes(table):
    """Each row's station, alone and with its network: two Series of str."""
    network = _first_of(table, ["station_network_code"]).fillna("")
    return table["station_code"], network + "." + table["station_code"]


def _first_of(table, names):
    """The first of these columns that a table has, else one of ""."""
    for name in names:
        if name in table:
            return table[name]
    return pd.Series("", table.index)


def _plan(table, file, stated):
    """How each trace is read: its name there, rate [Hz], arrivals p, s [samples] and more."""
    known = _data_format(file, stated)
    own = _first_of(table, ["trace_unit"]).str.strip()
    recorded = own.where(own != "", known["unit"])
    if known["unit"] == "m/s by channel":
        is_velocity = _first_of(table, NAMES["receiver_type"]).str.contains("^.[HL]")
        recorded = pd.Series(np.where(is_velocity, "m/s", "m/s**2"), table.index)
    units = {unit: _nanometres(unit) for unit in recorded.unique()}
    order = _first_of(table, ["trace_component_order"])
    rate = _least_number(table.reindex(columns=["trace_sampling_rate_hz"]))
    rate = rate.fillna(1 / _least_number(table.reindex(columns=["trace_dt_s"])))
    for name, given in (("component_order", order != ""), ("sampling_rate", rate.notna())):
        if name not in known and len(table) and not given.any():
            raise ForeshapError(
                f"{file.filename} lacks data_format/{name}: write it there, as SeisBench does."
            )
    plan = pd.DataFrame({"stored": table["trace_name"]})
    return plan.assign(
        dimensions=known["dimension_order"],
        recorded_unit=recorded,
        unit=[units[unit][0] for unit in recorded],
        factor=[units[unit][1] for unit in recorded],
        has_unit=(own != "") | (known["unit"] == "m/s by channel"),
        order=order.where(order != "", known.get("component_order", "")),
        rate=rate.fillna(known.get("sampling_rate", np.nan)).round(3),
        p=_least_number(table.filter(regex=P_COLUMN)),
        s=_least_number(table.filter(regex=S_COLUMN)),
    )


def _least_number(table):
    """The least finite number of each row, NaN where there is none."""
    numbers = table.apply(pd.to_numeric, errors="coerce").astype(float)
    return numbers.replace([np.inf, -np.inf], np.nan).min(axis=1)


def _data_format(file, stated):
    """What a file states of its traces, or else we know of them, dict."""
    known = {"dimension_order": "CW", "unit": "counts"} | stated  # CW is SeisBench's default
    try:
        group = file.get("data_format", {})
        for name in group:
            known[name] = "".join(map(_as_text, np.ravel(group[name][()])))  # may be a list
        if "sampling_rate" in known:
            known["sampling_rate"] = float(known["sampling_rate"])
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        check_machine(file.filename, error)
        raise ForeshapError(
            f"{file.filename} has a data_format that can't be read ({error}): download it again."
        ) from error
    order = known["dimension_order"].replace("N", "")  # one trace at a time
    if order not in ("CW", "WC"):
        raise ForeshapError(
            f"{file.filename} has the dimension order {order}: only components (C) and samples (W) "
            "can be read."
        )
    known["dimension_order"] = order
    return known


def _nanometres(unit):
    """What a unit becomes, and by which factor: velocities nm/s, the others themselves."""
    velocity = re.fullmatch(VELOCITY, unit.strip().lower())
    return ("nm/s", NANOMETRES[velocity[1]]) if velocity else (unit, 1.0)


def _common_unit(plan):
    """The unit of most traces, nm/s where two have as many."""
    counts = plan["unit"].value_counts()
    return max(counts.index, key=lambda unit: (counts[unit], unit == "nm/s"))


def _as_text(value):
    """Text of what HDF5 holds."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _judge(table, plan, spans, instrument):
    """The layout's rows by station, and how each is read, with the reason why it isn't, else ""."""
    rows = pd.DataFrame({ours: _first_of(table, theirs) for ours, theirs in NAMES.items()})
    for name in table:
        if not name.startswith(CATEGORIES) and name not in COLUMNS:
            rows[name] = table[name]
    rate = plan["rate"].where(plan["rate"].between(*RATES))
    start = iso_times(rows["trace_start_time"])
    has_id = rows["source_id"] != ""
    rows["source_id"] = rows["source_id"].where(has_id, _ids(plan))
    codes = rows["receiver_name"], rows["network_code"], rows["source_id"]
    rows["trace_name"] = list(map(trace_name, *codes))
    location = _first_of(table, ["station_location_code"])
    if (location != "").any():
        rows["receiver_location_code"] = location
    if plan["has_unit"].any():
        rows["recorded_unit"] = plan["recorded_unit"]
    joined = _join_halves(rows["trace_name"].where(has_id), start, rate, plan)
    rows, plan, table = rows.loc[joined.index], joined, table.loc[joined.index]
    rate, start = rate.loc[joined.index], start.loc[joined.index]
    rows["p_s_diff_sec"] = (plan["s"] - plan["p"]) / rate
    seconds = (plan["p"] / rate).clip(-LONGEST_RECORDING, LONGEST_RECORDING)
    p_time = start + pd.to_timedelta(seconds, unit="s")
    names = _first_of(table, ["station_location_code"]) + "." + rows["receiver_type"]
    reasons = {
        "another instrument": ~_is_of_one_instrument(rows, names, instrument),
        "sampling rate missing": rate.isna(),
        "recorded below 40 Hz": rate.round() < LEAST_RATE,
        "P missing": plan["p"].isna(),
        "another unit": plan["unit"] != _common_unit(plan),
        "S-P zero or negative": plan["s"] <= plan["p"],
    }
    by_time = classes(p_time, spans)[1].astype(str)
    reason = np.select(list(reasons.values()), list(reasons), default=by_time)
    plan = plan.assign(s_p=rows["p_s_diff_sec"], start=start, p_time=p_time, reason=reason)
    order = rows["receiver_name"].sort_values(kind="stable").index
    return rows.loc[order], plan.loc[order]


def _ids(plan):
    """Ids of events for rows that have none: their trace's name, and what tells them apart."""
    clean = plan["stored"].str.replace(r"\s*\$\s*(-?\d*).*", r"_\1", regex=True)
    shared = plan.groupby("stored")["chunk"].transform("nunique") > 1
    ids = clean.mask(shared, plan["chunk"].str.strip("_") + "_" + clean)
    again = pd.DataFrame({"id": ids, "p": plan["p"]}).drop_duplicates().duplicated("id")
    later = again.reindex(ids.index, fill_value=False)
    return ids.mask(later, ids + "_p" + plan["p"].astype(str))


def _join_halves(names, start, rate, plan):
    """Give rows with P alone the S of the row of their name with S alone, which goes; returns plan.

    names: Series of trace names, NaN where an event has no id
    start: Series of times, rate: Series [Hz], both of the rows of plan
    """
    has_p, has_s = plan["p"].notna(), plan["s"].notna()
    firsts, seconds = names[has_p & ~has_s].dropna(), names[has_s & ~has_p].dropna()
    firsts, seconds = firsts.drop_duplicates(keep=False), seconds.drop_duplicates(keep=False)
    pairs = firsts.rename_axis("p_row").reset_index(name="name")
    pairs = pairs.merge(seconds.rename_axis("s_row").reset_index(name="name"), on="name")
    p_row, s_row = pairs["p_row"], pairs["s_row"]
    later = (start[s_row].reset_index(drop=True) - start[p_row].reset_index(drop=True)).dt
    seconds_later = later.total_seconds() + (plan["s"] / rate)[s_row].to_numpy()
    s = plan["s"].copy()
    s[p_row] = seconds_later.to_numpy() * rate[p_row].to_numpy()
    return plan.assign(s=s).drop(index=s_row)


def _is_of_one_instrument(rows, names, pattern):
    """Whether a trace is of its station's chosen instrument, by the rule of from_seisbench()."""
    stations = ["network_code", "receiver_name"]
    table = rows[stations].assign(name=names)
    matching = table[[fnmatch(name, pattern) for name in names]]
    counts = matching.value_counts(sort=False).rename("count").reset_index()
    counts["seismometer"] = counts["name"].str.fullmatch(r".*\.[A-Z]H.?")
    counts = counts.sort_values(["seismometer", "count"], kind="stable")
    best = counts.groupby(stations)["name"].last().rename("best")
    return names == table.join(best, on=stations)["best"]


def _offers(rows, plan, files, lengths):
    """Yield an Offer of each row."""

    @lru_cache(maxsize=64)
    def find_block(chunk, name):
        return _block(files[chunk], name)

    with tqdm(desc="cutting", unit="trace", total=len(rows)) as progress:
        for first in range(0, len(rows), TOGETHER):
            part = slice(first, first + TOGETHER)
            for row, how in zip(rows[part].to_dict("records"), plan[part].to_dict("records")):
                row["trace_start_time"] = _text(how["p_time"], -SECONDS_BEFORE_P)
                samples, reason = None, how["reason"]
                try:
                    if not reason:
                        samples, seconds, about = _cut(how, find_block, *lengths)
                        row["trace_start_time"] = _text(how["start"], seconds)
                        row = about | {k: v for k, v in row.items() if v != ""}
                except ForeshapError as error:
                    check_machine(how["stored"], error)
                    reason = str(error)
                yield Offer(row, samples, reason)
                progress.update()


def _text(time, seconds):
    """A time some seconds later as text, "" where there is none."""
    if pd.isna(time):
        return ""
    later = (time + pd.Timedelta(seconds=seconds)).tz_localize(None)
    return later.isoformat(timespec="microseconds") + "Z"


def _cut(how, find_block, seconds_after_p, seconds_after_s):
    """Samples (3, n) at 100 Hz with P at 5 s, the time of the first [s from the recording's start],
    and the columns (dict) that tell what recorded them."""
    rate, p = how["rate"], how["p"]
    is_resampled = rate != SAMPLING_RATE
    reach = max(seconds_after_p, np.nan_to_num(how["s_p"] + seconds_after_s))
    seconds = min(reach + MARGIN, LONGEST)
    spare = 1.2 * FILTER * max(1, rate / SAMPLING_RATE) if is_resampled else 0
    first = max(0, math.floor(p - SECONDS_BEFORE_P * rate - spare))
    last = max(0, math.ceil(p + seconds * rate + spare))
    recorded = _read(how, find_block, first, last)
    samples, start = recorded, first / rate
    if is_resampled:
        if recorded.shape[1] <= 2 * FILTER * max(1, rate / SAMPLING_RATE):
            raise ForeshapError("window runs beyond the recording")
        samples, edge = resampled(recorded, rate)
        start += edge
    begin = round(p * (SAMPLING_RATE / rate) - (SECONDS_BEFORE_P + start) * SAMPLING_RATE)
    end = begin + math.ceil((SECONDS_BEFORE_P + seconds) * SAMPLING_RATE)
    samples = samples[:, max(begin, 0) : end]
    least = math.ceil((SECONDS_BEFORE_P + seconds_after_p) * SAMPLING_RATE)
    if begin < 0 or samples.shape[1] < least:
        raise ForeshapError("window runs beyond the recording")
    ends = round(p - SECONDS_BEFORE_P * rate) - first, round(p + seconds * rate) - first
    window = recorded[:, slice(*ends)]
    about = {"recorded_rate_hz": rate, "recorded_step": smallest_step(window)}
    for component in window if is_resampled else ():
        mark = as_recorded(component, rate)
        if mark == "flat":
            raise ForeshapError("component flat")
        if filled_gap(component, rate, at_edges=True):
            raise ForeshapError("gap inside the window")
        if mark:
            about["clipped"] = 1
    if how["factor"] != 1:
        with np.errstate(over="ignore"):  # infinite is no sample either
            samples = samples.astype(np.result_type(samples, np.float32)) * how["factor"]
    return samples, start + begin / SAMPLING_RATE, about


def _read(how, find_block, first, last):
    """Samples first to last of a trace, components E, N, Z; no more is read."""
    name, dollar, location = how["stored"].partition("$")
    dataset = find_block(how["chunk"], name)
    place = _place(location if dollar else ":", dataset.shape)
    axes = [axis for axis, part in enumerate(place) if isinstance(part, range)]
    if len(axes) == 3 and len(place[axes[0]]) == 1:  # one trace, with a dimension of its own
        place[axes.pop(0)] = 0
    if len(axes) != 2:
        raise ForeshapError("not of shape (3, samples)")
    component, sample = axes if how["dimensions"] == "CW" else axes[::-1]
    number = len(place[component])
    if number != len(how["order"]):
        raise ForeshapError("component missing" if number < 3 else "not of shape (3, samples)")
    if re.search("[3UVW]", how["order"].upper()):
        raise ForeshapError("direction of a component unknown")
    letters = [COMPONENT_OF.get(letter, letter) for letter in how["order"].upper()]
    place[sample] = place[sample][first:last]
    for axis in axes:
        place[axis] = slice(place[axis].start, place[axis].stop)
    try:
        samples = dataset[tuple(place)]
    except (OSError, RuntimeError) as error:
        check_machine(how["stored"], error)
        raise ForeshapError("samples can't be read: the file is damaged here") from error
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise ForeshapError("samples not finite")
    if not set(COMPONENTS) <= set(letters):
        raise ForeshapError("component missing")
    samples = samples if component < sample else samples.T
    return samples[[letters.index(letter) for letter in COMPONENTS]]


def _block(file, name):
    """The dataset of this name, which holds one trace or many."""
    try:
        dataset = file["data"][name]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        check_machine(file.filename, error)
        raise ForeshapError("no waveform in the file") from error
    try:
        is_stored_here = dataset.file.filename == file.filename and dataset.shape is not None
        check_stored(dataset.id)
    except (OSError, TypeError, AttributeError):
        is_stored_here = False
    if not is_stored_here:
        raise ForeshapError("no array of samples")
    if dataset.dtype.kind not in "iuf":
        raise ForeshapError("samples are no numbers")
    return dataset


def _place(location, shape):
    """The part of a block that "12,:3,:2500" means, a list of int and range."""
    parts = re.sub(r"\s", "", location).split(",")
    parts += [":"] * (len(shape) - len(parts))
    if len(parts) > len(shape):
        raise ForeshapError("no waveform in the file")
    place = []
    for part, size in zip(parts, shape):
        if re.fullmatch(r"-?\d{1,9}", part) and -size <= int(part) < size:
            place.append(int(part) % size)
        elif re.fullmatch(r"(-?\d{1,9})?:(-?\d{1,9})?", part):
            ends = [int(number) if number else None for number in part.split(":")]
            place.append(range(*slice(*ends).indices(size)))
        else:
            raise ForeshapError("no waveform in the file")
    return place


def to_seisbench(folder, output):
    """Write waveforms in SeisBench's format: seisbench.data.WaveformDataset(output) opens them.

    folder: str or Path, in the waveform layout
    output: str or Path, folder for metadata.csv and waveforms.hdf5; trace_category names the class,
        and columns that SeisBench has no name for keep theirs

    returns: Imported, how many traces were written, and those that could not be
    raises: ForeshapError as offered_traces() does, where no trace can be used or units differ, or
        where SeisBench is not installed
    """
    try:
        from seisbench.data import WaveformDataWriter
    except ImportError as error:
        raise ForeshapError(
            'to_seisbench() needs SeisBench: run pip install "foreshap[seisbench]".'
        ) from error
    traces = offered_traces(folder)
    has_dollar = traces["trace_name"].str.contains("$", regex=False)  # SeisBench's own sign
    traces.loc[has_dollar & (traces["reason"] == ""), "reason"] = "name that can't be used"
    good = traces[traces["reason"] == ""]
    records = dict(zip(good.index, _metadata(good).to_dict("records")))
    data_format = {"dimension_order": "CW", "component_order": "".join(COMPONENTS)}
    data_format |= {"sampling_rate": SAMPLING_RATE, "unit": _unit(folder, good)}
    with folder_written_whole(output) as partial, ExitStack() as stack:
        target = stack.enter_context(OutputFile(partial / "waveforms.hdf5", "w+"))
        with WaveformDataWriter(partial / "metadata.csv", partial / "waveforms.hdf5") as writer:
            writer.waveforms_path = target
            stack.callback(_close, writer)
            writer.bucket_size = 1  # each trace keeps its name
            writer.data_format = data_format
            for group, rows in good.groupby(["station", "side"], sort=False):
                with open_waveforms(waveform_file(folder, *group)) as source:
                    for row, name in rows["trace_name"].items():
                        samples, reason = read_trace(source, name, MOST_EXPORTED)
                        if reason:
                            traces.loc[row, "reason"] = reason
                        else:
                            writer.add_trace(records[row], samples)
        rejected = traces.loc[traces["reason"] != "", list(REJECTED_COLUMNS)]
        if len(rejected) == len(traces):
            raise ForeshapError(f"{folder} holds no trace that can be used: nothing is exported.")
    return Imported(len(traces) - len(rejected), rejected.reset_index(drop=True))


def _close(writer):
    """Close a writer's HDF5 file, which it leaves open where its table can't be written."""
    if writer._waveform_file is not None:
        writer._waveform_file.close()


def _unit(folder, traces):
    """The one unit of all traces."""
    groups = traces[["station", "side"]].drop_duplicates().itertuples(index=False)
    paths = [waveform_file(folder, *group) for group in groups]
    units = sorted({str(read_root(path)[1].get("unit", "counts")) for path in paths})
    if len(units) > 1:
        raise ForeshapError(
            f"{folder} holds traces in {' and '.join(units)}: export one unit at a time."
        )
    return "".join(units)


def _metadata(traces):
    """SeisBench's table of traces, without columns of its names that tell of other recordings."""
    traces = traces.assign(receiver_name=traces["station"])
    own = {ours: theirs[0] for ours, theirs in NAMES.items() if ours in traces}
    left = ["reason", "side", "p_s_diff_sec", "station", "label"]
    for name in set(traces).difference(own, ["trace_name"]):
        if name in own.values() or (name.startswith("trace_") and _is_used(name)):
            left.append(name)
    if "source_origin_time" in traces:  # SeisBench wants one form
        options = {"utc": True, "format": "ISO8601", "errors": "coerce"}
        origin = pd.to_datetime(traces["source_origin_time"], **options)
        traces["source_origin_time"] = origin.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    p = SECONDS_BEFORE_P * SAMPLING_RATE
    traces["trace_p_arrival_sample"] = p
    traces["trace_s_arrival_sample"] = p + SAMPLING_RATE * traces["p_s_diff_sec"]
    traces["trace_category"] = np.array(CLASSES)[traces["label"]]
    return traces.drop(columns=left).rename(columns=own)
