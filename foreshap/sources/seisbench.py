"""SeisBench's format, in and out: metadata.csv and waveforms.hdf5, whole or in chunks."""

import math
import re
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError, finish_moves, folder_written_whole
from ..preprocessing.clipping import as_recorded
from ..preprocessing.hdf5 import check_stored
from ..preprocessing.periods import classes, iso_times, periods
from ..preprocessing.variants import CLASSES, COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import (
    COLUMNS,
    MOST_SAMPLES,
    REJECTED_COLUMNS,
    offered_traces,
    open_waveforms,
    read_trace,
    waveform_file,
    write_trace,
)
from .continuous import MARGIN
from .instruments import check_choice, check_networks
from .resampling import FILTER, resampled
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
OF_THE_TRACE = (
    "trace_name", "trace_sampling_rate_hz", "trace_dt_s", "trace_component_order", "station_location_code",
)  # fmt: skip
NEEDED = ("trace_name", "trace_start_time", "station_code")
ARRIVAL = "trace_[{phase}][gnb1]?_arrival_sample"  # direct and refracted waves, no depth phases
CATEGORIES = (
    "trace_",
    "source_",
    "station_",
    "path_",
)  # a column without one is kept under its name
COMPONENT_OF = {"1": "N", "2": "E"}  # Z12: two horizontal components that are nearly north and east
ROWS, BATCH = 20_000, 1000  # of metadata in memory before the selection, and as dicts
RATES = (1.0, 1000.0)  # Hz that can be resampled to 100 Hz
VELOCITY = r"([kcmuµμn]?)m(?:/s|/sec|ps|[ *]?s(?:\^|\*\*)?-1)"  # units, in lower case
NANOMETRES = {
    "k": 1e12,
    "": 1e9,
    "c": 1e7,
    "m": 1e6,
    "u": 1e3,
    "µ": 1e3,
    "μ": 1e3,
    "n": 1.0,
}  # in km, m, cm...
LONGEST, LONGEST_RECORDING = (
    3600.0,
    1e8,
)  # s of one trace, s from its recording's start, whatever its picks say


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

    folder: str or Path, with metadata.csv and waveforms.hdf5, or with chunks of them
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods
    stations: str or sequence of str, "NRCA" or with the network "IV.NRCA"; None: all
    seconds_after_p, seconds_after_s: float, how far each trace reaches, if its recording does [s]; the
        former is the least
    instrument: str, which location and channel to use, with wildcards ("00.HH", "*.HH"); one is chosen a
        station: seismometers first, then the one with most traces

    The earliest P and the earliest S count. Components 1 and 2 are taken for N and E. Other rates are
    resampled to 100 Hz, and `clipped` is 1 where the samples before were clipped. Velocities (m/s, km/s...)
    become nm/s; other units stay as they are. Columns outside SeisBench's categories trace, source, station
    and path, such as split, are kept.

    returns: Imported
    raises: ForeshapError where a file is missing, damaged or lacks what is needed, or no trace is selected
    """
    spans, folder = periods(mainshock), Path(folder)
    check_choice(instrument, seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s)
    finish_moves(folder)
    with ExitStack() as stack:
        paths = {chunk: folder / f"waveforms{chunk}.hdf5" for chunk in _chunks(folder)}
        files = {chunk: stack.enter_context(open_waveforms(path)) for chunk, path in paths.items()}
        rows, plan = _judged(*_selected(folder, files, stations), spans, instrument)
        usable = rows.loc[plan["reason"] == "", ["network_code", "receiver_name"]]
        check_networks(
            usable.itertuples(index=False, name=None), 'name one, like stations=["IV.NRCA"]'
        )
        window = partial(_window, seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s)
        offers = _offers(rows, plan, files, window)
        marked = [] if (plan["rate"] == SAMPLING_RATE).all() else ["clipped"]
        return write_layout(output, offers, spans, [*rows, *marked], unit=plan["unit"].iloc[0])


def _selected(folder, files, stations):
    """The metadata of the stations in all chunks, and how each trace is read."""
    stations = [stations] if isinstance(stations, str) else stations
    tables = {chunk: _read_metadata(folder / f"metadata{chunk}.csv", stations) for chunk in files}
    plans = [_plan(tables[chunk], file).assign(chunk=chunk) for chunk, file in files.items()]
    table, plan = (
        pd.concat(tables.values(), ignore_index=True).fillna(""),
        pd.concat(plans, ignore_index=True),
    )
    absent = sorted(set(stations or ()).difference(*_codes(table)))
    if absent or table.empty:
        raise ForeshapError(
            f"{folder} holds no trace of {', '.join(absent) or 'any station'}: check the station codes."
        )
    if len(units := sorted(plan["unit"].unique())) > 1:
        raise ForeshapError(
            f"{folder} has chunks in {' and '.join(units)}: import them one at a time."
        )
    return table, plan


def _chunks(folder):
    """Names of a data set's chunks, [""] where it is whole."""
    try:
        named = [
            line.strip() for line in (folder / "chunks").read_text().splitlines() if line.strip()
        ]
    except FileNotFoundError:
        named = []
    except (OSError, ValueError) as error:
        raise ForeshapError(
            f"{folder / 'chunks'} can't be read ({error}): it names one chunk a line."
        ) from error
    if bad := [name for name in named if re.search(r"[/\\\0]", name)]:
        raise ForeshapError(
            f"{folder / 'chunks'} names the chunk {bad[0]!r}: a chunk's name holds no path."
        )
    if (folder / "waveforms.hdf5").exists() or (folder / "metadata.csv").exists():
        named = named or [""]
    found = {path.name[8:-4] for path in folder.glob("metadata*.csv")}
    found |= {path.name[9:-5] for path in folder.glob("waveforms*.hdf5")}
    for chunk in (chunks := named or sorted(found)):
        for name in (f"metadata{chunk}.csv", f"waveforms{chunk}.hdf5"):
            if not (folder / name).exists():
                raise ForeshapError(
                    f"{folder} lacks {name}: SeisBench's format needs both files of each chunk."
                )
    if not chunks:
        raise ForeshapError(
            f"{folder} holds no metadata.csv and waveforms.hdf5: give a folder in SeisBench's format."
        )
    return chunks


def _read_metadata(path, stations):
    """The rows of the stations and the columns that are used, all text, "" where it is missing."""
    try:
        with pd.read_csv(
            path, dtype=str, keep_default_na=False, na_values=["nan", "NaN"], encoding="utf-8-sig",
            usecols=_used, chunksize=ROWS,
        ) as parts:  # fmt: skip
            table = pd.concat(
                [_of_stations(_complete(part, path), stations) for part in parts], ignore_index=True
            )
    except (ValueError, OSError) as error:
        raise ForeshapError(
            f"{path} can't be read as a comma-separated table ({error})."
        ) from error
    return table.fillna("")


def _used(column):
    """Whether a column of metadata is read."""
    known = column in OF_THE_TRACE or any(column in names for names in NAMES.values())
    return known or bool(_arrivals([column], "PpSs")) or not column.startswith(CATEGORIES)


def _arrivals(columns, phase):
    """The columns with arrivals of a phase ("Pp" or "Ss")."""
    return [name for name in columns if re.fullmatch(ARRIVAL.format(phase=phase), name)]


def _complete(table, path):
    """The table, if it has what is needed."""
    if not isinstance(
        table.index, pd.RangeIndex
    ):  # a comma at the end of each row would shift all columns
        raise ForeshapError(
            f"{path} has rows with more fields than its first line has names: save it without them."
        )
    missing = [name for name in NEEDED if name not in table]
    missing += [] if _arrivals(table, "Pp") else ["trace_p_arrival_sample"]
    missing += [] if _arrivals(table, "Ss") else ["trace_s_arrival_sample"]
    if missing:
        raise ForeshapError(
            f"{path} lacks the columns {', '.join(missing)}: give a comma-separated table with them."
        )
    return table


def _of_stations(table, stations):
    """The rows of the stations."""
    if stations is None:
        return table
    alone, with_network = _codes(table)
    return table[alone.isin(stations) | with_network.isin(stations)]


def _codes(table):
    """Each row's station, alone and with its network: two Series of str."""
    network = table.get("station_network_code", pd.Series("", table.index)).fillna("")
    return table["station_code"], network + "." + table["station_code"]


def _plan(table, file):
    """How each trace is read: stored (its name there), dimensions, order, rate [Hz], unit and factor to it, arrivals
    p, s [samples]."""
    known, empty = _data_format(file), pd.Series("", table.index)
    order = table.get("trace_component_order", empty)
    number = lambda name: pd.to_numeric(table.get(name, empty), errors="coerce").astype(float)
    rate = number("trace_sampling_rate_hz").fillna(1 / number("trace_dt_s"))
    for name, said in (("component_order", order != ""), ("sampling_rate", rate.notna())):
        if name not in known and len(table) and not said.any():
            raise ForeshapError(
                f"{file.filename} lacks data_format/{name}: write it there, as SeisBench does."
            )
    arrivals = {
        phase[1]: [number(name) for name in _arrivals(table, phase)] for phase in ("Pp", "Ss")
    }
    finite = {
        phase: pd.concat(columns, axis=1).replace([np.inf, -np.inf], np.nan)
        for phase, columns in arrivals.items()
    }
    return pd.DataFrame({
        "stored": table["trace_name"], "dimensions": known["dimension_order"],
        "unit": known["unit"], "factor": known["factor"],
        "order": order.where(order != "", known.get("component_order", "")),
        "rate": rate.fillna(known.get("sampling_rate", np.nan)).round(3),
    } | {phase: columns.min(axis=1) for phase, columns in finite.items()})  # fmt: skip


def _data_format(file):
    """What a file says of its traces: dict of component_order, sampling_rate where given, dimension_order, the unit
    that they become, and the factor to it."""
    try:
        group = file.get("data_format", {})
        known = {name: _plain(group[name][()]) for name in group}
        known |= (
            {"sampling_rate": float(known["sampling_rate"])} if "sampling_rate" in known else {}
        )
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ForeshapError(
            f"{file.filename} has a data_format that can't be read ({error}): download it again."
        ) from error
    known = {"dimension_order": "CW", "unit": "counts"} | known  # CW is SeisBench's default
    known["dimension_order"] = known["dimension_order"].replace("N", "")  # one trace at a time
    velocity = re.fullmatch(VELOCITY, known["unit"].strip().lower())
    known |= {"unit": "nm/s", "factor": NANOMETRES[velocity[1]]} if velocity else {"factor": 1.0}
    if known["dimension_order"] not in ("CW", "WC"):
        raise ForeshapError(
            f"{file.filename} has the dimension order {known['dimension_order']}: only components (C) and samples (W) "
            "can be read."
        )
    return known


def _plain(value):
    """A value of data_format as text; SeisBench allows lists of letters."""
    values = [
        one.decode(errors="replace") if isinstance(one, bytes) else str(one)
        for one in np.ravel(value)
    ]
    return "".join(values)


def _judged(table, plan, spans, instrument):
    """The layout's rows by station, and how each is read with the reason why it isn't, "" where it is."""
    column = lambda names: next(
        (table[name] for name in names if name in table), pd.Series("", table.index)
    )
    further = [name for name in table if not name.startswith(CATEGORIES) and name not in COLUMNS]
    rows = pd.DataFrame(
        {ours: column(theirs) for ours, theirs in NAMES.items()} | dict(table[further].items())
    )
    rows["source_id"] = rows["source_id"].where(rows["source_id"] != "", table["trace_name"])
    rows["trace_name"] = list(
        map(trace_name, rows["receiver_name"], rows["network_code"], rows["source_id"])
    )
    rate = plan["rate"].where(plan["rate"].between(*RATES))
    rows["p_s_diff_sec"] = (plan["s"] - plan["p"]) / rate
    start = iso_times(rows["trace_start_time"])
    p_time = start + pd.to_timedelta(
        (plan["p"] / rate).clip(-LONGEST_RECORDING, LONGEST_RECORDING), unit="s"
    )
    reasons = {
        "another instrument": ~_one_instrument(rows, column(["station_location_code"]), instrument),
        "sampling rate missing": rate.isna(), "P missing": plan["p"].isna(), "S-P missing": plan["s"].isna(),
        "S-P zero or negative": plan["s"] <= plan["p"],
    }  # fmt: skip
    reason = np.select(
        list(reasons.values()), list(reasons), default=classes(p_time, spans)[1].astype(str)
    )
    plan = plan.assign(s_p=rows["p_s_diff_sec"], start=start, p_time=p_time, reason=reason)
    order = rows["receiver_name"].sort_values(kind="stable").index
    return rows.loc[order], plan.loc[order]


def _one_instrument(rows, location, pattern):
    """Whether a trace is of its station's chosen instrument, bool Series, by the rule of from_seisbench."""
    table = rows[["network_code", "receiver_name"]].assign(
        name=location + "." + rows["receiver_type"]
    )
    stations = ["network_code", "receiver_name"]
    counts = table[[fnmatch(name, pattern) for name in table["name"]]].value_counts(sort=False)
    counts = counts.rename("count").reset_index()
    counts["seismometer"] = counts["name"].str.fullmatch(r".*\.[A-Z]H.?")
    best = (
        counts.sort_values(["seismometer", "count"], kind="stable").groupby(stations)["name"].last()
    )
    return table["name"] == table.join(best.rename("best"), on=stations)["best"]


def _offers(rows, plan, files, window):
    """Yield an Offer of each row."""
    block = lru_cache(maxsize=64)(lambda chunk, name: _block(files[chunk], name))
    with tqdm(desc="cutting", unit="trace", total=len(rows)) as progress:
        for first in range(0, len(rows), BATCH):
            batch = (table[first : first + BATCH].to_dict("records") for table in (rows, plan))
            for row, how in zip(*batch):
                yield _offer(row, how, window, partial(block, how["chunk"]))
                progress.update()


def _offer(row, how, window, block):
    """The Offer of one row."""
    try:
        if how["reason"]:
            raise ForeshapError(how["reason"])
        samples, seconds, at_edge = window(how, block)
        mark = {"clipped": 1} if at_edge else {}
        return Offer(row | mark | {"trace_start_time": _text(how["start"], seconds)}, samples)
    except ForeshapError as reason:
        return Offer(
            row | {"trace_start_time": _text(how["p_time"], -SECONDS_BEFORE_P)}, None, str(reason)
        )


def _text(time, seconds):
    """A time some seconds later as text, "" where there is none."""
    if time is pd.NaT:
        return ""
    return (time + pd.Timedelta(seconds=seconds)).tz_localize(None).isoformat(
        timespec="microseconds"
    ) + "Z"


def _window(how, block, seconds_after_p, seconds_after_s):
    """Samples (3, n) at 100 Hz with P at 5 s, the first one's time [s from the start of the recording], and whether
    samples that had another rate were clipped as recorded."""
    rate, p = how["rate"], how["p"]
    seconds = min(max(seconds_after_p, how["s_p"] + seconds_after_s) + MARGIN, LONGEST)
    spare = 0 if rate == SAMPLING_RATE else 1.2 * FILTER * max(1, rate / SAMPLING_RATE)
    first = max(0, math.floor(p - SECONDS_BEFORE_P * rate - spare))
    last = max(0, math.ceil(p + seconds * rate + spare))
    recorded = _components(_slice(how, block, first, last), how["order"])
    samples, start = _resampled(recorded, first, rate)
    begin = round(p * (SAMPLING_RATE / rate) - (SECONDS_BEFORE_P + start) * SAMPLING_RATE)
    samples = samples[
        :, max(begin, 0) : begin + math.ceil((SECONDS_BEFORE_P + seconds) * SAMPLING_RATE)
    ]
    if begin < 0 or samples.shape[1] < math.ceil(
        (SECONDS_BEFORE_P + seconds_after_p) * SAMPLING_RATE
    ):
        raise ForeshapError("window runs beyond the recording")
    begun, ended = (round(p + after * rate) - first for after in (-SECONDS_BEFORE_P, seconds))
    marks = (
        [as_recorded(one[begun:ended], rate) for one in recorded] if rate != SAMPLING_RATE else []
    )
    if "flat" in marks:
        raise ForeshapError("component flat")
    return _scaled(samples, how["factor"]), start + begin / SAMPLING_RATE, "clipped" in marks


def _scaled(samples, factor):
    """Samples in the unit of the plan, as floats where that isn't the one recorded."""
    if factor == 1:
        return samples
    with np.errstate(over="ignore"):  # infinite is no sample either
        return samples.astype(np.result_type(samples, np.float32)) * factor


def _slice(how, block, first, last):
    """Samples first to last of a trace, (components, samples); no more is read."""
    name, _, location = how["stored"].partition("$")
    dataset = block(name)
    ranges = _ranges(location if "$" in how["stored"] else ":", dataset.shape)
    axes = [axis for axis, one in enumerate(ranges) if isinstance(one, range)]
    if len(axes) == 3 and len(ranges[axes[0]]) == 1:  # one trace, with a dimension of its own
        ranges[axes.pop(0)] = 0
    if len(axes) != 2:
        raise ForeshapError("not of shape (3, samples)")
    component, sample = axes if how["dimensions"] == "CW" else axes[::-1]
    if len(ranges[component]) != len(how["order"]):
        raise ForeshapError(
            "component missing" if len(ranges[component]) < 3 else "not of shape (3, samples)"
        )
    ranges[sample] = ranges[sample][first:last]
    try:
        samples = dataset[
            tuple(slice(one.start, one.stop) if isinstance(one, range) else one for one in ranges)
        ]
    except (OSError, RuntimeError) as error:
        raise ForeshapError("samples can't be read: the file is damaged here") from error
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise ForeshapError("samples not finite")
    return samples if component < sample else samples.T


def _block(file, name):
    """The dataset of this name, which holds one trace or many."""
    try:
        dataset = file["data"][name]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        raise ForeshapError("no waveform in the file") from error
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ForeshapError("no array of samples")
    if dataset.file.filename != file.filename:  # a link led there
        raise ForeshapError("no array of samples")
    try:
        check_stored(dataset.id)
    except (OSError, TypeError) as error:
        raise ForeshapError("no array of samples") from error
    if dataset.dtype.kind not in "iuf":
        raise ForeshapError("samples are no numbers")
    return dataset


def _ranges(location, shape):
    """The part of a block that a trace name such as "bucket3$12,:3,:2500" says, a list of int and range."""
    parts, ranges = re.sub(r"\s", "", location).split(","), []
    if len(parts) > max(len(shape), 1):
        raise ForeshapError("no waveform in the file")
    for part, size in zip_longest(parts, shape, fillvalue=":"):
        if not re.fullmatch(r"-?\d{1,9}|(-?\d{1,9})?:(-?\d{1,9})?", part) or size == ":":
            raise ForeshapError("no waveform in the file")
        ends = [int(number) if number else None for number in part.split(":")]
        if len(ends) == 1 and not -size <= ends[0] < size:
            raise ForeshapError("no waveform in the file")
        ranges.append(range(*slice(*ends).indices(size)) if len(ends) == 2 else ends[0] % size)
    return ranges


def _components(samples, order):
    """The rows E, N, Z."""
    found = [COMPONENT_OF.get(letter, letter) for letter in order.upper()]
    if not set(COMPONENTS) <= set(found):
        raise ForeshapError("component missing")
    return samples[[found.index(letter) for letter in COMPONENTS]]


def _resampled(samples, first, rate):
    """Samples at 100 Hz of samples from the first on, and the time of the first [s from the recording's start]."""
    if rate == SAMPLING_RATE:
        return samples, first / rate
    if samples.shape[1] <= 2 * FILTER * max(1, rate / SAMPLING_RATE):
        raise ForeshapError("window runs beyond the recording")
    found, cut = resampled(samples, rate)
    return found, first / rate + cut


def to_seisbench(folder, output):
    """Write waveforms in SeisBench's format: seisbench.data.WaveformDataset(output) opens them.

    folder: str or Path, in the waveform layout
    output: str or Path, folder for metadata.csv and waveforms.hdf5; trace_category says the class, and columns
        that SeisBench has no name for keep theirs

    returns: Imported, how many traces were written, and those that could not be
    raises: ForeshapError as offered_traces() does, and where no trace can be used or units differ
    """
    traces = offered_traces(folder)
    dollar = traces["trace_name"].str.contains("$", regex=False) & (traces["reason"] == "")
    traces.loc[dollar, "reason"] = (
        "name that can't be used"  # SeisBench reads a place in a block after it
    )
    with folder_written_whole(output) as partial_folder:
        with h5py.File(partial_folder / "waveforms.hdf5", "w") as file:
            reasons = _copy_traces(folder, traces[traces["reason"] == ""], file)
        traces.loc[list(reasons), "reason"] = list(reasons.values())
        good = traces["reason"] == ""
        if not good.any():
            raise ForeshapError(f"{folder} holds no trace that can be used: nothing is exported.")
        _metadata(traces[good]).to_csv(partial_folder / "metadata.csv", index=False)
    return Imported(
        int(good.sum()), traces.loc[~good, list(REJECTED_COLUMNS)].reset_index(drop=True)
    )


def _copy_traces(folder, traces, file):
    """Write the traces and data_format; returns a dict, row -> reason, of those that can't be read."""
    data, reasons, units = file.create_group("data"), {}, set()
    progress = tqdm(desc="exporting", unit="trace", total=len(traces))
    for (station, period), rows in traces.groupby(["station", "period"], sort=False):
        with open_waveforms(waveform_file(folder, station, period)) as source:
            units.add(str(source.attrs.get("unit", "counts")))
            for row, name in rows["trace_name"].items():
                if reason := _copied(source, name, data):
                    reasons[row] = reason
                progress.update()
    progress.close()
    if len(units) > 1:
        raise ForeshapError(
            f"{folder} holds traces in {' and '.join(sorted(units))}: export one unit at a time."
        )
    about = {
        "dimension_order": "CW",
        "component_order": "".join(COMPONENTS),
        "sampling_rate": SAMPLING_RATE,
    }
    for name, value in (about | dict.fromkeys(["unit"], *units) if units else about).items():
        file[f"data_format/{name}"] = value
    return reasons


def _copied(source, name, data):
    """Copy one trace, however long it is; "" or the reason why it can't be."""
    samples, reason = read_trace(source, name)
    if not reason and samples.shape[1] < MOST_SAMPLES:
        write_trace(data, name, samples)
    elif not reason:  # there may be more
        try:
            h5py.h5o.copy(source.id, name.encode(), data.id, name.encode())
        except (OSError, RuntimeError, ValueError):
            reason = "samples can't be read: the file is damaged here"
    return reason


def _metadata(traces):
    """SeisBench's table of traces in the layout; columns that speak of another recording under its names are left."""
    traces = traces.drop(columns=["reason", "period"]).assign(receiver_name=traces["station"])
    own = {ours: theirs[0] for ours, theirs in NAMES.items() if ours in traces}
    others = [name for name in traces if name not in own and name != "trace_name"]
    stale = [
        name for name in others if name in own.values() or name.startswith("trace_") and _used(name)
    ]
    if "source_origin_time" in traces:  # SeisBench wants one form
        origin = pd.to_datetime(
            traces["source_origin_time"], utc=True, format="ISO8601", errors="coerce"
        )
        traces["source_origin_time"] = origin.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    p = SECONDS_BEFORE_P * SAMPLING_RATE
    times = {
        "trace_p_arrival_sample": p,
        "trace_s_arrival_sample": p + SAMPLING_RATE * traces["p_s_diff_sec"],
    }
    category = np.array(CLASSES)[traces["label"]]
    left = traces.drop(columns=[*stale, "p_s_diff_sec", "station", "label"])
    return left.rename(columns=own).assign(**times, trace_category=category)
