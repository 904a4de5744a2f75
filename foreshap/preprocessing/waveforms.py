"""The waveform layout: three-component seismograms of one station before and after a mainshock.

A folder holds <STATION>_pre.hdf5 and <STATION>_post.hdf5, one root dataset (3, samples) a trace in
counts, components E, N, Z, the P arrival 5 s into the trace, and beside each file a table
<STATION>_{pre,post}_attributes.csv with one row a trace (that of doi:10.5281/zenodo.15683047).
"""

import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..files import ForeshapError, finish_moves, first_line, written_whole
from .hdf5 import open_dataset
from .hdf5 import open_hdf5 as open_waveforms
from .periods import iso_times
from .variants import COMPONENTS, PERIODS, SAMPLING_RATE, SECONDS_BEFORE_P

LONGEST_S_P = (
    1000.0  # s; the last direct S of the Earth, at 100 degrees, comes 11 minutes after its P
)
MOST_SAMPLES = (
    200_000  # of a trace that are read: what lies beyond serves no window of an S-P that can be
)
STANDARD_ATTRIBUTES = {
    "component_order": "".join(COMPONENTS),
    "sampling_rate": SAMPLING_RATE,
    "unit": "counts",
}
COLUMNS = (
    "trace_name", "trace_start_time", "network_code", "receiver_name", "receiver_type",
    "receiver_elevation_m", "receiver_latitude", "receiver_longitude", "source_id",
    "source_depth_km", "source_latitude", "source_longitude", "source_magnitude",
    "source_origin_time", "p_travel_sec", "s_travel_sec", "p_s_diff_sec",
)  # fmt: skip
REASONS = {  # why a trace is not used: what it means
    "no waveform in the file": "the table names a trace that the HDF5 file lacks",
    "no row in the table": "the HDF5 file holds a trace that the table doesn't name",
    "duplicate name": "the name was offered before, with another event",
    "name that can't be used": "a station or trace name that can't name a file or an HDF5 dataset",
    "start time missing": "no time, or text that is none",
    "P missing": "no pick of P, and none was to be predicted",
    "S-P missing": "no pick of S or no number, and none was to be predicted",
    "S-P zero or negative": "S is not after P",
    "S-P longer than 1000 s": "no earthquake has it: S is of another event, or the number is damaged",
    "no array of samples": "a group, a damaged dataset or a pointer to another file stands in the place of samples",
    "sampling rate missing": "no number, or none that can be resampled to 100 Hz",
    "another instrument": "one instrument a station is used, and this trace is of another",
    "component missing": "fewer than three components at this time",
    "not of shape (3, samples)": "another number of dimensions or of components",
    "samples are no numbers": "text or another type",
    "samples can't be read: the file is damaged here": "a damaged chunk, one above 64 MiB, or an unknown compression",
    "samples not finite": "NaN, infinite or beyond 1e15 in the variant's window: no seismometer gives them",
    "window longer than the trace": "the variant's window begins before or ends after the trace",
    "component flat": "a component is constant in the variant's window, or was before it was changed",
    "below the logarithm's floor: use counts or nm/s": "the mean power of every component, as of noise in m/s",
    "no waveform of this station": "a pick of a station without any recording",
    "no waveform at this time": "nothing was recorded at the time of the window",
    "gap inside the window": "samples are missing inside the window",
    "window runs beyond the recording": "the recording begins or ends inside the window",
    "recordings can't be joined": "pieces inside the window differ in rate, type, channel or where they overlap",
    "response can't be removed": "the StationXML has no response or no direction for this channel and time",
    "its file and its time disagree on the class": "stored as a foreshock, dated after the mainshock, or the reverse",
    "inside the window left out around the mainshock": "left out on purpose",
    "outside the span of the study": "left out on purpose",
}
REJECTED_FILE, REJECTED_COLUMNS = (
    "import_rejected.csv",
    ("trace_name", "station", "label", "reason"),
)
TEXT_COLUMNS = (
    "trace_name", "trace_start_time", "network_code", "receiver_name", "receiver_type",
    "source_id", "source_origin_time", "receiver_location_code", "co_located_group",
)  # fmt: skip


def stations(folder):
    """Stations of which a folder holds the waveforms before and after the mainshock.

    folder: str or Path, in the waveform layout

    returns: list of str, sorted
    raises: ForeshapError where there is none, or where one has a single one of the two files
    """
    for written in (
        Path(folder).parent,
        Path(folder),
    ):  # noise/ is written with the folder around it
        finish_moves(written)
    found = {
        p: {f.name.removesuffix(f"_{p}.hdf5") for f in Path(folder).glob(f"*_{p}.hdf5")}
        for p in PERIODS
    }
    if not found["pre"] | found["post"]:
        raise ForeshapError(
            f"{folder} holds no <STATION>_pre.hdf5 and <STATION>_post.hdf5: give a folder in the waveform layout."
        )
    for station in sorted(found["pre"] ^ found["post"]):
        raise ForeshapError(
            f"{folder} holds only one of {station}_pre.hdf5 and {station}_post.hdf5: both classes are needed."
        )
    return sorted(found["pre"])


def waveform_file(folder, station, period):
    """Path of the HDF5 file of one station and period ("pre" or "post")."""
    return Path(folder) / f"{station}_{period}.hdf5"


def read_table(folder, station, period):
    """The table of one station and period, one row a trace.

    folder: str or Path
    station: str
    period: "pre" or "post"

    returns: DataFrame with the columns of COLUMNS that the file has, numbers as float64 (NaN where
        missing or no number), times as text, and the file's further columns
    raises: ForeshapError where the file or a column that the package needs is missing, or a row is of another station
    """
    path = table_file(folder, station, period)
    table = read_table_file(path)
    receivers = table.get("receiver_name", pd.Series(dtype=str)).dropna().str.strip()
    if len(others := receivers[receivers != station]):
        raise ForeshapError(
            f"{path} is in {len(others)} of {len(table)} rows a table of station {others.iloc[0]}, not of {station}: "
            f"put that of {station} there, or name both files after {others.iloc[0]}."
        )
    return table


def table_file(folder, station, period):
    """Path of the table of one station and period ("pre" or "post"); ForeshapError where there is none."""
    names = [f"{station}_{period}_attribute{s}.csv" for s in ("s", "")]
    path = next((p for name in names if (p := Path(folder) / name).exists()), None)
    if path is None:
        raise ForeshapError(f"{folder} lacks {names[0]}, the table of {station}_{period}.hdf5.")
    return path


def read_table_file(path):
    """A table of traces as read_table() returns it.

    path: str or Path

    returns: DataFrame
    raises: ForeshapError where it can't be read or lacks a column that the package needs
    """
    table = _comma_separated(path)
    missing = {"trace_name", "trace_start_time", "p_s_diff_sec"} - set(table.columns)
    if missing:
        raise ForeshapError(
            f"{path} lacks the columns {', '.join(sorted(missing))}: they are needed."
        )
    numbers = [name for name in COLUMNS if name in table and name not in TEXT_COLUMNS]
    return table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in numbers}
    ).drop_duplicates(ignore_index=True)


def _comma_separated(path):
    """A table as it stands in a file."""
    text, empty = dict.fromkeys(TEXT_COLUMNS, str), ["", "nan", "NaN"]  # NA is a network code
    try:
        with open(path, "rb") as file:
            if any(b"\0" in piece for piece in iter(lambda: file.read(2**20), b"")):
                raise ValueError("a byte is zero")
        table = pd.read_csv(
            path,
            dtype=text,
            keep_default_na=False,
            na_values=empty,
            encoding="utf-8-sig",
            low_memory=False,
        )
        header = [str(name) for name in table]
        if len(header) == 1 and re.search("[;\t|]", header[0]):
            raise ValueError("another character separates its columns")
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its first line has names")
        if twice := [name for name in header if f"{name}.1" in header]:
            raise ValueError(f"two columns are called {twice[0]}")
    except (ValueError, OSError, OverflowError, MemoryError) as error:
        raise ForeshapError(
            f"{path} can't be read as a comma-separated table in UTF-8 ({first_line(error)}): save it as one."
        ) from error
    return table


def event_times(table):
    """Time of each event's P arrival at the station.

    table: DataFrame with trace_start_time, text with or without fractions of a second, or a date [UTC]

    returns: Series of datetime64[ns, UTC]; NaT where the text is no time of 1900 to 2200
    """
    return iso_times(table["trace_start_time"]) + pd.Timedelta(seconds=SECONDS_BEFORE_P)


def known_times(table):
    """Time of each event's P arrival as event_times() gives it; NaT for all where the table has no times."""
    return (
        event_times(table)
        if "trace_start_time" in table
        else pd.Series(pd.NaT, table.index, "datetime64[ns, UTC]")
    )


def known_s_p(table):
    """S-P time of each event [s], float array (N,); NaN where it is unknown or not positive."""
    s_p = table.get("p_s_diff_sec", pd.Series(np.nan, table.index)).to_numpy(float)
    return np.where(s_p > 0, s_p, np.nan)


def known_stations(table):
    """Station of each event, Series of str; all "" where the table has none."""
    return (
        table.get("receiver_name", table.get("station", pd.Series("", table.index)))
        .astype(object)
        .fillna("")
        .astype(str)
    )


def write_waveforms(folder, station, period, traces, rows, **attributes):
    """Write one station's traces and their table, each file aside and renamed when whole.

    folder: str or Path, made when missing
    station: str
    period: "pre" or "post"
    traces: iterable of (trace_name, array (3, samples) in the unit given), written as it comes
    rows: DataFrame, one row a trace, or a function without arguments that returns it once all
        traces are written
    attributes: str or number, of the HDF5 file; unit defaults to "counts"

    returns: Path of the HDF5 file
    """
    path = waveform_file(folder, station, period)
    with written_whole(path) as partial:
        with h5py.File(partial, "w") as file:
            file.attrs.update(STANDARD_ATTRIBUTES | attributes)
            for name, samples in traces:
                write_trace(file, name, np.ascontiguousarray(samples))
        with written_whole(path.with_name(f"{path.stem}_attributes.csv")) as table:
            (rows() if callable(rows) else rows).to_csv(table, index=False)
    return path


def write_trace(file, name, samples):
    """Write one contiguous dataset by HDF5's own calls: half the time of create_dataset.

    file: h5py.File open for writing
    name: str
    samples: contiguous array (3, samples)
    """
    kind = h5py.h5t.py_create(samples.dtype, logical=True)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)  # the same traces give the same bytes
    dataset = h5py.h5d.create(
        file.id, name.encode(), kind, h5py.h5s.create_simple(samples.shape), dcpl=plan
    )
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, samples)


def offered_traces(folder):
    """Every trace that a folder offers, in its files or tables, and what its row alone or its source rejected.

    folder: str or Path, in the waveform layout

    returns: DataFrame, one row a trace name: the tables' columns, station, period, label, and reason
        (of REASONS), "" where the row is good
    raises: ForeshapError as stations() and read_table() do, or where a file states other components than E, N, Z
    """
    parts = [
        _offered(folder, s, label, period)
        for s in stations(folder)
        for label, period in enumerate(PERIODS)
    ]
    offered = pd.concat(parts, ignore_index=True)
    twice = offered["trace_name"].duplicated(keep=False)
    offered.loc[twice, "reason"] = "duplicate name"
    offered = offered.drop_duplicates("trace_name", ignore_index=True)
    return pd.concat([offered, _rejected_by_source(folder)], ignore_index=True).astype(
        {"label": np.int8}
    )


def _rejected_by_source(folder):
    """What a source rejected before it came here: DataFrame of trace_name, station, label (-1: neither), reason."""
    path = Path(folder) / REJECTED_FILE
    if not path.exists():
        return pd.DataFrame(columns=REJECTED_COLUMNS)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[list(REJECTED_COLUMNS)]
        labels = table["label"].map({"-1": -1, "0": 0, "1": 1}).astype(int)
        if unknown := set(table["reason"]) - set(REASONS):
            raise ValueError(f"'{unknown.pop()}' is no reason")
        return table.assign(label=labels, period="")
    except (ValueError, KeyError, OSError) as error:
        raise ForeshapError(
            f"{path} can't be read ({first_line(error)}): import the source again."
        ) from error


def _offered(folder, station, label, period):
    """One file's part of offered_traces()."""
    table = read_table(folder, station, period)
    path = waveform_file(folder, station, period)
    names = trace_names(path)
    order = attributes_of(path).get("component_order", "ENZ")
    if re.findall("[A-Z]", str(np.ravel(order).tolist())) != list(
        COMPONENTS
    ):  # one text or several, or bytes
        raise ForeshapError(
            f"{path} states the components {order}, not ENZ: reorder its traces and state ENZ."
        )
    nameless = table["trace_name"].isna()
    row = [f"row {i + 1} of {path.stem}_attributes.csv" for i in np.flatnonzero(nameless)]
    table.loc[nameless, "trace_name"] = row
    listed = pd.Index(table["trace_name"])
    if len(names) and len(listed) and not listed.isin(names).any():
        raise ForeshapError(
            f"{path} and its table name no trace in common ({names[0]}, {listed[0]}): one of them is of another "
            "station or period, put the one there that belongs to the other."
        )
    strays = pd.DataFrame({"trace_name": names.difference(listed, sort=False)})
    s_p = table["p_s_diff_sec"]
    reasons = {
        "name that can't be used": nameless,
        "no waveform in the file": ~listed.isin(names),
        "start time missing": event_times(table).isna(),
        "S-P missing": s_p.isna(),
        "S-P zero or negative": s_p <= 0,
        "S-P longer than 1000 s": s_p > LONGEST_S_P,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    table = pd.concat(
        [table.assign(reason=reason), strays.assign(reason="no row in the table")],
        ignore_index=True,
    )
    return table.assign(station=station, period=period, label=label)


def trace_names(path):
    """Names in the root of an HDF5 file.

    path: str or Path

    returns: Index of str; names that are no text keep their bytes as \\x..
    raises: ForeshapError where the file is missing or damaged
    """
    with open_waveforms(path) as file:
        try:
            names = list(file)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise ForeshapError(
                f"{path} has a damaged list of traces ({first_line(error)}): make or download it again."
            ) from error
    return pd.Index(
        [n.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for n in names],
        dtype=str,
    )


def attributes_of(path):
    """What an HDF5 file states of itself, in its attributes.

    path: str or Path

    returns: dict
    raises: ForeshapError where the file is missing or damaged
    """
    with open_waveforms(path) as file:
        try:
            return dict(file.attrs)
        except Exception as error:  # h5py raises a dozen kinds for damaged files
            raise ForeshapError(
                f"{path} has damaged attributes ({first_line(error)}): make or download it again."
            ) from error


def read_trace(file, name, most=MOST_SAMPLES):
    """One trace as it is stored, from its first sample on.

    file: h5py.File
    name: str
    most: int, samples a component that are read at most

    returns: (array (3, samples), "") or (None, the reason why the trace can't be used)
    """
    try:
        dataset = open_dataset(file, name)
        shape, kind = dataset.shape, dataset.dtype.kind
    except (KeyError, ValueError, OSError, TypeError, RuntimeError):
        return None, "no array of samples"
    if reason := unfit(shape, kind):
        return None, reason
    samples = np.empty((shape[0], min(shape[1], most)), dataset.dtype)
    try:
        if samples.shape == shape:  # twice as fast
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, samples)
        else:
            part = dataset.get_space()
            part.select_hyperslab((0, 0), samples.shape)
            dataset.read(h5py.h5s.create_simple(samples.shape), part, samples)
    except (OSError, RuntimeError):
        return None, "samples can't be read: the file is damaged here"
    if kind == "f" and not np.isfinite(samples).all():
        return None, "samples not finite"
    return samples, ""


def unfit(shape, kind):
    """Why an array of this shape and kind of numbers (numpy's letter) is no trace, str of REASONS; "" if it is one."""
    if not shape:
        return "no array of samples"
    if len(shape) == 1 or (len(shape) == 2 and shape[0] < len(COMPONENTS)):
        return "component missing"
    if len(shape) != 2 or shape[0] > len(COMPONENTS):
        return "not of shape (3, samples)"
    return "" if kind in "iuf" else "samples are no numbers"


def load_trace(folder, event):
    """The seismogram of one event.

    folder: str or Path, in the waveform layout
    event: row (Series) of offered_traces()

    returns: array (3, samples), its first 2,000 s at most [counts]
    raises: ForeshapError where the trace can't be used
    """
    path = waveform_file(folder, event["station"], event["period"])
    with open_waveforms(path) as file:
        samples, reason = read_trace(file, event["trace_name"])
    if reason:
        raise ForeshapError(f"{event['trace_name']} in {path} can't be used: {reason}.")
    return samples
