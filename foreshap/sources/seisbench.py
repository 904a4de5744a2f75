"""SeisBench's format, in and out: metadata.csv and waveforms.hdf5, whole or in chunks."""

import math
import re
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import lru_cache, partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError, check_machine, finish_moves, folder_written_whole
from ..hdf5 import OutputFile, open_dataset
from ..preprocessing import waveforms
from ..preprocessing.periods import classes, iso_times, periods
from ..preprocessing.variants import CLASSES, COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import open_waveforms
from . import writer
from .responses import FILTER, LEAST_RATE, check_recorded, resampled, smallest_step
from .writer import Imported, Offer, Unusable

NAMES = {  # the layout's column, or what tells how a trace is read: SeisBench's, then STEAD's
    "trace_start_time": ["trace_start_time"],
    "network_code": ["station_network_code", "network_code"],
    "receiver_name": ["station_code", "receiver_code"],
    "receiver_type": ["trace_channel", "station_channels", "receiver_type"],
    "receiver_elevation_m": ["station_elevation_m", "receiver_elevation_m"],
    "receiver_latitude": ["station_latitude_deg", "receiver_latitude"],
    "receiver_longitude": ["station_longitude_deg", "receiver_longitude"],
    "source_id": ["source_id"],
    "source_depth_km": ["source_depth_km"],
    "source_latitude": ["source_latitude_deg", "source_latitude"],
    "source_longitude": ["source_longitude_deg", "source_longitude"],
    "source_magnitude": ["source_magnitude"],
    "source_origin_time": ["source_origin_time"],
    "p_travel_sec": ["path_p_travel_sec", "path_travel_time_P_s", "p_travel_sec"],
    "s_travel_sec": ["path_s_travel_sec", "path_travel_time_S_s", "s_travel_sec"],
    "_stored": ["trace_name"],
    "_order": ["trace_component_order"],
    "_rate": ["trace_sampling_rate_hz"],
    "_step": ["trace_dt_s"],
    "_unit": ["trace_unit"],
    "_location": ["station_location_code"],
}
KNOWN = set().union(*NAMES.values())
NEEDED = "_stored", "trace_start_time", "receiver_name"
ARRIVAL = "^(trace_)?[%s][gnb1]?_arrival_sample$"  # direct and refracted waves, no depth phases
BY_CHANNEL = "m/s by channel"
CATEGORIES = "trace_", "source_", "station_", "path_"  # other columns are kept under their names
COMPONENT_OF = {"1": "N", "2": "E"}  # two horizontal components that are nearly north and east
RATES = 1.0, 1000.0  # Hz that can be resampled to 100 Hz
VELOCITY = r"([kcmuµμn]?)m(?:/s|/sec|ps|[ *]?s(?:\^|\*\*)?-1)"  # units, in lower case
NANOMETRES = {"k": 1e12, "": 1e9, "c": 1e7, "m": 1e6, "u": 1e3, "µ": 1e3, "μ": 1e3, "n": 1.0}
ROWS = 20_000  # of metadata that are read before the selection
TOGETHER = 1000  # rows that are dicts at a time
LONGEST = 3600.0  # s of one trace
LEAST_SAMPLES = 2500  # of one trace: those of the P variants
LONGEST_RECORDING = 1e8  # s from its start, whatever its picks say
MOST_EXPORTED = 10**7  # samples
BEYOND = "window runs beyond the recording"


def from_seisbench(folder, output, mainshock, stations=None, instrument="*"):
    """Cut the traces of a data set in SeisBench's format and write them in the waveform layout.

    The earliest P and the earliest S count; a row with S alone is joined with the one of its event
    and station that has P alone. Components 1 and 2 are taken for N and E. Other rates are
    resampled to 100 Hz, and `clipped` is 1 where the samples before were clipped. Velocities (m/s,
    km/s...) become nm/s; traces in another unit than most are rejected. Columns outside SeisBench's
    categories trace, source, station and path, such as split, are kept.

    folder: str or Path, with metadata.csv and waveforms.hdf5, or with chunks of them; or INSTANCE
        or STEAD as their authors distribute them
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods
    stations: str or sequence of str, "NRCA" or with the network "IV.NRCA"; None: all
    instrument: str, which location and channel to use, with wildcards ("00.HH", "*.HH"); one is
        chosen a station: seismometers first, then the one with most traces

    returns: Imported
    raises: ForeshapError where a file is missing or damaged, or no trace is selected
    """
    spans, folder = periods(mainshock), Path(folder)
    stations = [stations] if isinstance(stations, str) else stations
    finish_moves(folder)
    with ExitStack() as stack:
        files, tables = {}, []
        for path, place, known in _as_downloaded(folder) or _chunks(folder):
            file = files[path.stem] = stack.enter_context(open_waveforms(place))
            table = _read_metadata(path, stations).assign(_chunk=path.stem)
            tables.append(_with_format(table, file, known))
        table = pd.concat(tables, ignore_index=True)
        absent = set(stations or ()).difference(table["receiver_name"], table["_code"])
        if absent or table.empty:
            names = ", ".join(sorted(absent)) or "any station"
            raise ForeshapError(f"{folder} holds no trace of {names}: check the station codes.")
        table = _judge(table, spans, instrument)
        columns = [name for name in table if not name.startswith(("_", *CATEGORIES))]
        columns += ["recorded_rate_hz", "recorded_step"]
        if (table["_rate"] != SAMPLING_RATE).any():
            columns.append("clipped")
        offers = _offers(table, files)
        return writer.write_layout(output, offers, spans, columns, unit=_common_unit(table))


def _as_downloaded(folder):
    """List tables, waveforms and what these don't say of INSTANCE and STEAD in their own form."""
    chunks = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, errors="replace") as file:
            is_stead = "receiver_code" in file.readline()
        instance = re.fullmatch(r"metadata_(Instance_\w+?)(_v\d+)?", path.stem)
        known = {"component_order": "ENZ", "sampling_rate": 100.0}
        places = []
        if instance:
            places = sorted(folder.glob(f"{instance[1]}_*.hdf5"))[:1]  # counts before gm
        elif is_stead:
            places = [path.with_suffix(".hdf5")]
            known["dimension_order"] = "WC"
        for place in places:
            if place.stem.endswith("_gm"):
                known["unit"] = BY_CHANNEL
            chunks.append((path, place, known))
    return chunks


def _chunks(folder):
    """List tables and waveforms of a set in SeisBench's format."""
    listed = folder / "chunks"
    chunks = listed.read_text(errors="replace").splitlines() if listed.exists() else []
    chunks = [chunk.strip() for chunk in chunks if chunk.strip()]
    if not chunks:
        files = [*folder.glob("metadata*.csv"), *folder.glob("waveforms*.hdf5")]
        names = {re.sub("^(metadata|waveforms)", "", path.stem) for path in files}
        chunks = [""] if "" in names or not names else sorted(names)
    found = []
    for chunk in chunks:
        paths = [folder / f"metadata{chunk}.csv", folder / f"waveforms{chunk}.hdf5"]
        for path in paths:
            if path.parent != folder or not path.exists():
                raise ForeshapError(
                    f"{folder} lacks {path.relative_to(folder)}: SeisBench's format needs both "
                    "files of each chunk."
                )
        found.append((*paths, {}))
    return found


def _read_metadata(path, stations):
    """The rows of the stations under our names, all text, "" where missing; _p, _s: float."""
    options = {"dtype": str, "keep_default_na": False, "na_values": ["nan", "NaN", "None"]}
    options |= {"encoding": "utf-8-sig", "usecols": _is_used, "chunksize": ROWS}
    found = []
    try:
        with pd.read_csv(path, **options) as parts:
            for part in parts:
                if not isinstance(part.index, pd.RangeIndex):
                    raise ValueError("its rows have more fields than its first line has names")
                part = writer.own_columns(part, NAMES)
                missing = [NAMES[name][0] for name in NEEDED if name not in part]
                if missing:
                    raise ValueError(f"it lacks the columns {', '.join(missing)}")
                p = _least_number(part.filter(regex=ARRIVAL % "Pp"))
                s = _least_number(part.filter(regex=ARRIVAL % "Ss"))
                part = part.drop(columns=part.filter(regex=ARRIVAL % "PpSs"))
                names = part.columns.union(list(NAMES), sort=False)
                part = part.reindex(columns=names, fill_value="").fillna("").assign(_p=p, _s=s)
                part["_code"] = part["network_code"] + "." + part["receiver_name"]
                wanted = part[["receiver_name", "_code"]].isin(stations or []).any(axis=1)
                found.append(part if stations is None else part[wanted])
        return pd.concat(found, ignore_index=True)
    except (ValueError, OSError) as error:
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as a comma-separated table ({error})."
        ) from error


def _is_used(column):
    """Whether a column of metadata is read."""
    is_arrival = re.search(ARRIVAL % "PpSs", column)
    return bool(column in KNOWN or is_arrival or not column.startswith(CATEGORIES))


def _least_number(table):
    """The least finite number of each row, NaN where there is none."""
    numbers = table.apply(pd.to_numeric, errors="coerce").astype(float)
    return numbers.replace([np.inf, -np.inf], np.nan).min(axis=1)


def _with_format(table, file, known):
    """Add what rows or their file state of traces, or else is known: rate [Hz], unit, order."""
    known = {"dimension_order": "CW", "unit": "counts", "component_order": ""} | known
    try:
        group = file.get("data_format", {})
        for name in group:
            values = np.ravel(
                group[name].asstr() if group[name].dtype.kind in "OS" else group[name]
            )
            known[name] = "".join(map(str, values))  # an order may be a list
        rate = float(known.get("sampling_rate", np.nan))
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        check_machine(file.filename, error)
        raise ForeshapError(
            f"{file.filename} has a data_format that can't be read ({error}): download it again."
        ) from error
    unit, order = table["_unit"].str.strip(), table["_order"]
    recorded = unit.mask(unit == "", known["unit"])
    if known["unit"] == BY_CHANNEL:
        is_velocity = table["receiver_type"].str.contains("^.[HL]")
        recorded = recorded.mask(is_velocity, "m/s").where(is_velocity, "m/s**2")
    if known["unit"] == BY_CHANNEL or (unit != "").any():
        table["recorded_unit"] = recorded
    velocity = recorded.str.strip().str.lower().str.extract(f"^{VELOCITY}$")[0]
    own_rate = _least_number(table[["_rate"]]).fillna(1 / _least_number(table[["_step"]]))
    return table.assign(
        _dimensions=known["dimension_order"].replace("N", ""),  # one trace at a time
        _unit=recorded.where(velocity.isna(), "nm/s"),
        _factor=velocity.map(NANOMETRES).fillna(1.0),
        _order=order.mask(order == "", known["component_order"]),
        _rate=own_rate.fillna(rate).round(3),
    )


def _common_unit(table):
    """The unit of most traces, nm/s where two have as many."""
    counts = table["_unit"].value_counts()
    return max(counts.index, key=lambda unit: (counts[unit], unit == "nm/s"))


def _judge(table, spans, instrument):
    """Add names, S-P and _reason, why a trace isn't read, else ""; by station, halves joined."""
    table["_rate"] = table["_rate"].where(table["_rate"].between(*RATES))
    table["_start"] = iso_times(table["trace_start_time"]).dt.tz_localize(None)
    has_id = table["source_id"] != ""
    table["source_id"] = table["source_id"].where(has_id, _ids(table))
    codes = table["receiver_name"], table["network_code"], table["source_id"]
    table["trace_name"] = list(map(writer.trace_name, *codes))
    if (table["_location"] != "").any():
        table["receiver_location_code"] = table["_location"]
    has_p, has_s = table["_p"].notna(), table["_s"].notna()
    p_rows, s_rows = writer.match_halves(table[has_id], ["trace_name"], has_p, has_s)
    of_p, of_s = table.loc[p_rows].reset_index(), table.loc[s_rows].reset_index()
    later = (of_s["_start"] - of_p["_start"]).dt.total_seconds() + of_s["_s"] / of_s["_rate"]
    table.loc[p_rows, "_s"] = (later * of_p["_rate"]).to_numpy()
    table = table.drop(index=s_rows)
    table["p_s_diff_sec"] = (table["_s"] - table["_p"]) / table["_rate"]
    seconds = (table["_p"] / table["_rate"]).clip(-LONGEST_RECORDING, LONGEST_RECORDING)
    table["_p_time"] = table["_start"] + pd.to_timedelta(seconds, unit="s")
    reasons = {
        "another instrument": ~_is_of_one_instrument(table, instrument),
        "sampling rate missing": table["_rate"].isna(),
        "recorded below 40 Hz": table["_rate"].round() < LEAST_RATE,
        "P missing": table["_p"].isna(),
        "another unit": table["_unit"] != _common_unit(table),
        "S-P zero or negative": table["_s"] <= table["_p"],
        "not of shape (3, samples)": ~table["_dimensions"].isin(["CW", "WC"]),
    }
    by_time = classes(table["_p_time"].dt.tz_localize("UTC"), spans)[1].astype(str)
    table["_reason"] = np.select(list(reasons.values()), list(reasons), default=by_time)
    return table.sort_values("receiver_name", kind="stable")


def _ids(table):
    """Ids of events for rows that have none: their trace's name, and what tells them apart."""
    ids = table["_stored"].str.replace(r"\s*\$\s*(-?\d*).*", r"_\1", regex=True)
    shared = table.groupby("_stored")["_chunk"].transform("nunique") > 1
    ids = ids.mask(shared, table["_chunk"] + "_" + ids)
    is_later = table["_p"] != table["_p"].groupby(ids).transform("first")
    return ids.mask(is_later, ids + "_p" + table["_p"].astype(str))


def _is_of_one_instrument(table, pattern):
    """Whether a trace is of its station's chosen instrument, by the rule of from_seisbench()."""
    stations = ["network_code", "receiver_name"]
    names = table["_location"] + "." + table["receiver_type"]
    matching = table[stations].assign(name=names)[[fnmatch(name, str(pattern)) for name in names]]
    counts = matching.value_counts(sort=False).rename("count").reset_index()
    counts["seismometer"] = counts["name"].str.fullmatch(r".*\.[A-Z]H.?")
    counts = counts.sort_values(["seismometer", "count"], kind="stable")
    best = counts.groupby(stations)["name"].last().rename("best")
    return names == table.join(best, on=stations)["best"]


def _offers(table, files):
    """Yield an Offer of each row."""
    find_block = lru_cache(maxsize=64)(partial(_block, files))
    progress = tqdm(desc="cutting", unit="trace", total=len(table))
    for first in range(0, len(table), TOGETHER):
        for row in table[first : first + TOGETHER].to_dict("records"):
            about, samples, reason = row, None, row["_reason"]
            time = row["_p_time"] - pd.Timedelta(seconds=SECONDS_BEFORE_P)
            try:
                if not reason:
                    samples, seconds, recorded = _cut(row, find_block)
                    time = row["_start"] + pd.Timedelta(seconds=seconds)
                    about = recorded | {name: value for name, value in row.items() if value != ""}
            except Unusable as error:
                reason = str(error)
            text = "" if pd.isna(time) else f"{time.isoformat(timespec='microseconds')}Z"
            yield Offer(about | {"trace_start_time": text}, samples, reason)
            progress.update()
    progress.close()


def _cut(row, find_block):
    """Cut (3, n) at 100 Hz, P at 5 s; its start [s from the recording's], columns (dict)."""
    rate, p = row["_rate"], row["_p"]
    is_resampled = rate != SAMPLING_RATE
    edge = FILTER * max(1, rate / SAMPLING_RATE) if is_resampled else 0  # samples
    seconds = min(writer.seconds_after_p(row["p_s_diff_sec"]), LONGEST)
    first = max(0, math.floor(p - SECONDS_BEFORE_P * rate - 1.2 * edge))
    last = max(0, math.ceil(p + seconds * rate + 1.2 * edge))
    samples = recorded = _read(row, find_block, first, last)
    start = first / rate
    if is_resampled:
        if recorded.shape[1] <= 2 * edge:
            raise Unusable(BEYOND)
        samples, cut = resampled(recorded, rate)
        start += cut
    begin = round(p * (SAMPLING_RATE / rate) - (SECONDS_BEFORE_P + start) * SAMPLING_RATE)
    end = begin + math.ceil((SECONDS_BEFORE_P + seconds) * SAMPLING_RATE)
    samples = samples[:, max(begin, 0) : end]
    if begin < 0 or samples.shape[1] < LEAST_SAMPLES:
        raise Unusable(BEYOND)
    ends = round(p - SECONDS_BEFORE_P * rate) - first, round(p + seconds * rate) - first
    window = recorded[:, slice(*ends)]
    about = {"recorded_rate_hz": rate, "recorded_step": smallest_step(window)}
    for component in window if is_resampled else ():
        if check_recorded(component, rate, is_resampled):
            about["clipped"] = 1
    if row["_factor"] != 1:
        with np.errstate(over="ignore"):  # infinite is no sample either
            samples = samples.astype(np.result_type(samples, np.float32)) * row["_factor"]
    return samples, start + begin / SAMPLING_RATE, about


def _read(row, find_block, first, last):
    """Samples first to last of one trace, components E, N, Z; no more is read."""
    name, dollar, location = row["_stored"].partition("$")
    dataset = find_block(row["_chunk"], name)
    place, shape = _place(location if dollar else ":", dataset.shape)
    axes = [axis for axis, part in enumerate(place) if isinstance(part, slice)]
    if len(shape) == 3 and shape[0] == 1:  # one trace, with a dimension of its own
        place[axes[0]] = place[axes[0]].indices(dataset.shape[axes[0]])[0]
        axes, shape = axes[1:], shape[1:]
    component, order = row["_dimensions"].index("C"), row["_order"].upper()
    letters = [COMPONENT_OF.get(letter, letter) for letter in order]
    if len(shape) == 2 and shape[component] < 3:
        raise Unusable("component missing")
    if len(shape) != 2 or (order and shape[component] != len(order)):
        raise Unusable("not of shape (3, samples)")
    if re.search("[3UVW]", order):
        raise Unusable("direction of a component unknown")
    if not set(COMPONENTS) <= set(letters):
        raise Unusable("component missing")
    time = axes[1 - component]
    begin, end, _ = place[time].indices(dataset.shape[time])
    place[time] = slice(min(begin + first, end), min(begin + last, end))
    try:
        samples = dataset[tuple(place)]
    except (OSError, RuntimeError) as error:
        check_machine(row["_stored"], error)
        raise Unusable("samples can't be read: the file is damaged here") from error
    if not np.isfinite(samples).all():
        raise Unusable("samples not finite")
    samples = samples if component == 0 else samples.T
    return samples[[letters.index(letter) for letter in COMPONENTS]]


def _block(files, chunk, name):
    """The dataset of this name, which holds one trace or many."""
    file, reason = files[chunk], "no waveform in the file"
    try:
        if name in file["data"]:
            reason = "no array of samples"
            dataset = h5py.Dataset(open_dataset(file["data"], name))
            reason = "samples are no numbers"
            if dataset.dtype.kind in "iuf" and dataset.file.filename == file.filename:
                return dataset
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        check_machine(file.filename, error)
    raise Unusable(reason)


def _place(location, shape):
    """Read the index "12,:3,:2500" of an array: a list of int and slice, and the part's shape."""
    place = []
    try:
        for part in location.split(","):
            ends = [int(number) if number.strip() else None for number in part.split(":")]
            if len(ends) > 2 or ends == [None]:
                raise ValueError(part)
            place.append(slice(*ends) if len(ends) == 2 else ends[0])
        place += [slice(None)] * (len(shape) - len(place))
        return place, np.broadcast_to(0, shape)[tuple(place)].shape
    except (ValueError, IndexError) as error:
        raise Unusable("no waveform in the file") from error


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
    source = waveforms.read_folder(folder)
    traces = source.offered
    has_dollar = traces["trace_name"].str.contains("$", regex=False)  # SeisBench's own sign
    traces.loc[has_dollar & (traces["reason"] == ""), "reason"] = "name that can't be used"
    good = traces[traces["reason"] == ""]
    groups = good[["station", "side"]].drop_duplicates().itertuples(index=False, name=None)
    units = {str(source.attributes[group].get("unit", "counts")) for group in groups}
    if len(units) > 1:
        raise ForeshapError(
            f"{folder} holds traces in {' and '.join(sorted(units))}: export one unit at a time."
        )
    records = dict(zip(good.index, _metadata(good).to_dict("records")))
    with folder_written_whole(output) as partial, ExitStack() as stack:
        target = stack.enter_context(OutputFile(partial / "waveforms.hdf5", "w+"))
        with WaveformDataWriter(partial / "metadata.csv", partial / "waveforms.hdf5") as exported:
            exported.waveforms_path = target
            stack.callback(lambda: exported._waveform_file and exported._waveform_file.close())
            exported.bucket_size = 1  # each trace keeps its name
            exported.data_format = {"dimension_order": "CW", "component_order": "".join(COMPONENTS)}
            exported.data_format |= {"sampling_rate": SAMPLING_RATE, "unit": "".join(units)}
            ends = np.full(len(traces), MOST_EXPORTED)
            for rows, read in waveforms.read_batches(source, ends, 1):
                for row, (samples, reason) in zip(rows, read):
                    if reason:
                        traces.loc[row, "reason"] = reason
                    else:
                        exported.add_trace(records[row], samples)
        rejected = traces.loc[traces["reason"] != "", list(waveforms.REJECTED_COLUMNS)]
        if len(rejected) == len(traces):
            raise ForeshapError(f"{folder} holds no trace that can be used: nothing is exported.")
    return Imported(len(traces) - len(rejected), rejected.reset_index(drop=True))


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
