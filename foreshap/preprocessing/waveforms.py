"""The waveform layout: three-component seismograms of one station before and after a mainshock.

A folder holds <STATION>_pre.hdf5 and <STATION>_post.hdf5, one root dataset (3, samples) a trace in
counts, components E, N, Z, the P arrival 5 s into the trace, and beside each file a table
<STATION>_{pre,post}_attributes.csv with one row a trace (that of doi:10.5281/zenodo.15683047).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..files import (
    ForeshapError,
    check_machine,
    file_states,
    finish_moves,
    first_line,
    written_whole,
)
from ..hdf5 import create_hdf5, open_dataset
from ..hdf5 import open_hdf5 as open_waveforms
from .clipping import flagged
from .periods import iso_times
from .variants import CLASSES, COMPONENTS, PERIODS, SAMPLING_RATE, SECONDS_BEFORE_P

LONGEST_S_P = 1000.0  # s; the Earth's last direct S, at 100 degrees, comes 11 minutes after its P
MOST_SAMPLES = 200_000  # of a trace that are read: what lies beyond serves no window
STANDARD_ATTRIBUTES = {"component_order": "ENZ", "sampling_rate": SAMPLING_RATE, "unit": "counts"}
COLUMNS = tuple(
    """trace_name trace_start_time network_code receiver_name receiver_type receiver_elevation_m
    receiver_latitude receiver_longitude source_id source_depth_km source_latitude
    source_longitude source_magnitude source_origin_time p_travel_sec s_travel_sec
    p_s_diff_sec""".split()
)
TEXT_COLUMNS = tuple(
    """trace_name trace_start_time network_code receiver_name receiver_type source_id
    source_origin_time receiver_location_code co_located_group recorded_unit response_start
    response_unit source_type source_status""".split()
)
INSTRUMENT_COLUMNS = tuple(  # what recorded a trace, where its source knows
    """receiver_type receiver_location_code recorded_rate_hz recorded_unit recorded_step
    response_start response_gain response_unit""".split()
)
NEEDED_COLUMNS = ("p_s_diff_sec", "trace_name", "trace_start_time")
REASONS = {  # why a trace is not used: what it means
    "no waveform in the file": "the table names a trace that the HDF5 file lacks",
    "no row in the table": "the HDF5 file holds a trace that the table doesn't name",
    "duplicate name": "the name was offered before, with another event",
    "name that can't be used": "a station or trace name that can name no file or HDF5 dataset",
    "start time missing": "no time, or text that is none",
    "P missing": "no pick of P, and none was to be predicted",
    "S-P missing": "no pick of S or no number, which the S variants need",
    "S-P zero or negative": "S is not after P",
    "S-P longer than 1000 s": "no earthquake has it: S of another event, or a damaged number",
    "no array of samples": "a group, a pointer elsewhere, damaged, or chunks above 64 MiB",
    "sampling rate missing": "no number, or none that can be resampled to 100 Hz",
    "time that can't be read": "the text of a pick's time is no time",
    "event id missing": "a row of picks that names no event",
    "not an earthquake": "the catalogue says that it is another kind of event, or none",
    "location rejected": "the locator or an analyst rejected the event's only location",
    "another unit": "most traces are in another unit",
    "recorded below 40 Hz": "nothing was recorded at most frequencies of the spectrogram",
    "direction of a component unknown": "channels 3, U, V, W need StationXML or SAC's cmpaz",
    "components nearly in one plane": "their azimuths and dips can't be turned to east, north, up",
    "epochs of the StationXML disagree": "several hold for the channel at this time",
    "response changes inside the window": "or within 10 s of it: the StationXML begins a new epoch",
    "another instrument": "one instrument a station is used, and this trace is of another",
    "component missing": "fewer than three components at this time",
    "not of shape (3, samples)": "another number of dimensions or of components",
    "samples are no numbers": "text or another type",
    "samples can't be read: the file is damaged here": "damaged, or of an unknown compression",
    "samples not finite": "NaN, infinite or beyond 1e15 in the window: no seismometer gives them",
    "window longer than the trace": "the variant's window begins before or ends after the trace",
    "component flat": "a component is constant in the window, or was before it was changed",
    "below the logarithm's floor: use counts or nm/s": "too little mean power, as in m/s",
    "no waveform of this station": "a pick of a station without any recording",
    "no waveform at this time": "nothing was recorded at the time of the window",
    "gap inside the window": "samples are missing, or stand still for half a second",
    "window runs beyond the recording": "the recording begins or ends inside the window",
    "recordings can't be joined": "pieces differ in rate, type, channel or where they overlap",
    "response can't be removed": "the StationXML lacks this channel's response or direction then",
    "its file and its time disagree on the class": "stored as pre, dated after, or the reverse",
    "inside the window left out around the mainshock": "left out on purpose",
    "outside the span of the study": "left out on purpose",
}
REJECTED_FILE = "import_rejected.csv"  # what a source rejected before it came here
REJECTED_COLUMNS = ("trace_name", "station", "label", "reason")


@dataclass(frozen=True)
class WaveformFolder:
    """What a folder in the waveform layout offers and states."""

    path: Path
    offered: pd.DataFrame  # as offered_traces() returns it
    attributes: dict  # (station, period) -> dict of the attributes of an HDF5 file with traces
    states: list  # of the files when they were opened first: file_states()

    @property
    def is_good(self):
        """Whether nothing is known against a trace, bool array (N,)."""
        return (self.offered["reason"] == "").to_numpy()

    @property
    def is_clipped(self):
        """Whether a trace's row itself says that it is clipped, bool array (N,)."""
        return flagged(self.offered)

    @property
    def dataset(self):
        """Name of <name>/waveforms and of the folders in it, else the folder's own."""
        folder = self.path.resolve()
        for place in (folder, folder.parent):
            if place.name == "waveforms":
                return place.parent.name
        return folder.name


def stations(folder):
    """List the stations of a folder in the waveform layout, sorted.

    raises: ForeshapError where there is none, or where one has a single one of the two files
    """
    folder = Path(folder)
    for place in (folder.parent, folder):  # noise/ is written with the folder around it
        finish_moves(place)
    names = {}
    for period in PERIODS:
        ending = f"_{period}.hdf5"
        names[period] = {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")}
    if not names["pre"] | names["post"]:
        raise ForeshapError(
            f"{folder} holds no <STATION>_pre.hdf5 and <STATION>_post.hdf5: "
            "give a folder in the waveform layout."
        )
    for station in sorted(names["pre"] ^ names["post"]):
        raise ForeshapError(
            f"{folder} holds only one of {station}_pre.hdf5 and {station}_post.hdf5: "
            "both classes are needed."
        )
    return sorted(names["pre"])


def waveform_file(folder, station, period):
    """Return the path of the HDF5 file of one station and period ("pre" or "post")."""
    return Path(folder) / f"{station}_{period}.hdf5"


def table_file(folder, station, period):
    """Return the path of the table of one station and period; ForeshapError where there is none."""
    usual = Path(folder) / f"{station}_{period}_attributes.csv"
    for path in (usual, usual.with_name(f"{station}_{period}_attribute.csv")):
        if path.exists():
            return path
    raise ForeshapError(f"{folder} lacks {usual.name}, the table of {station}_{period}.hdf5.")


def read_table(folder, station, period):
    """Read the table of one station and period ("pre" or "post"), one row a trace.

    returns: DataFrame with the columns of COLUMNS that the file has, numbers as float64 (NaN where
        missing or no number), times as text, and the file's further columns
    raises: ForeshapError where the file or a needed column is missing, or is of another station
    """
    path = table_file(folder, station, period)
    table = read_table_file(path)
    receivers = table.get("receiver_name", pd.Series(dtype=str)).dropna().str.strip()
    others = receivers[receivers != station]
    if len(others):
        raise ForeshapError(
            f"{path} is in {len(others)} of {len(table)} rows a table of station {others.iloc[0]}, "
            f"not of {station}: put that of {station} there, or name both files after "
            f"{others.iloc[0]}."
        )
    return table


def read_table_file(path):
    """Read a table of traces from a file (str or Path), as read_table() returns it."""
    try:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                if b"\0" in piece:
                    raise ValueError("a byte is zero")
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT_COLUMNS, str),
            keep_default_na=False,  # NA is a network code
            na_values=["", "nan", "NaN"],
            encoding="utf-8-sig",
            low_memory=False,
        )
        header = list(table.columns)
        if len(header) == 1 and re.search("[;\t|]", header[0]):
            raise ValueError("another character separates its columns")
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its first line has names")
        for name in header:
            if f"{name}.1" in header:
                raise ValueError(f"two columns are called {name}")
    except (ValueError, OSError, OverflowError, MemoryError) as error:
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as a comma-separated table in UTF-8 ({first_line(error)}): "
            "save it as one."
        ) from error
    missing = [name for name in NEEDED_COLUMNS if name not in table]
    if missing:
        raise ForeshapError(f"{path} lacks the columns {', '.join(missing)}: they are needed.")
    for name in (*COLUMNS, *INSTRUMENT_COLUMNS):
        if name in table and name not in TEXT_COLUMNS:
            table[name] = pd.to_numeric(table[name], errors="coerce")
    return table.drop_duplicates(ignore_index=True)


def event_times(table):
    """Compute the time of each event's P arrival at the station.

    table: DataFrame with trace_start_time, text with or without fractions of a second, or a date

    returns: Series of datetime64[ns, UTC]; NaT where the text is no time of 1900 to 2200
    """
    return iso_times(table["trace_start_time"]) + pd.Timedelta(seconds=SECONDS_BEFORE_P)


def known_times(table):
    """Return event_times(), or NaT for all events where the table has no times."""
    if "trace_start_time" in table:
        return event_times(table)
    return pd.Series(pd.NaT, table.index, "datetime64[ns, UTC]")


def known_s_p(table):
    """Return S-P times [s], float array (N,); NaN where one is unknown or not positive."""
    if "p_s_diff_sec" not in table:
        return np.full(len(table), np.nan)
    s_p = table["p_s_diff_sec"].to_numpy(float)
    return np.where(s_p > 0, s_p, np.nan)


def instrument_differences(table):
    """Say which of INSTRUMENT_COLUMNS differ between the classes at a station, list of str.

    The smallest step counts by its median, for it depends on the event, too.
    """
    sentences = []
    for column in INSTRUMENT_COLUMNS:
        if column not in table:
            continue
        for station, rows in table.groupby(known_stations(table)):
            values = []
            for label in range(len(CLASSES)):
                known = rows.loc[rows["label"] == label, column].dropna()
                if column == "recorded_step":
                    known = pd.Series(known.median()).dropna()
                values.append(", ".join(sorted(known.astype(str).unique())))
            if all(values) and values[0] != values[1]:
                sentences.append(
                    f"{station}: {column} is {values[0]} in foreshocks, {values[1]} in aftershocks"
                )
    return sentences


def known_stations(table):
    """Return the station of each event, Series of str; all "" where the table has none."""
    for name in ("receiver_name", "station"):
        if name in table:
            return table[name].astype(object).fillna("").astype(str)
    return pd.Series("", table.index).astype(str)


def station_rows(table, station=None):
    """List the rows of a table that are of one station, of all where left out, int array.

    raises: ForeshapError where the table has no such station
    """
    names = known_stations(table)
    rows = np.flatnonzero(names == station) if station is not None else np.arange(len(table))
    if len(rows) == 0:
        raise ForeshapError(
            f"There is no station {station!r}: give {' or '.join(sorted(names.unique()))}, or None."
        )
    return rows


def write_waveforms(folder, station, period, traces, table, **attributes):
    """Write the HDF5 file of one station and period, and its table; each appears when whole.

    traces: iterable of (trace_name, array (3, samples) in the unit given), written as it comes
    table: DataFrame, one row a trace
    attributes: str or number, of the HDF5 file; unit defaults to "counts"
    """
    path = waveform_file(folder, station, period)
    with written_whole(path) as partial:
        with create_hdf5(partial) as file:
            file.attrs.update(STANDARD_ATTRIBUTES | attributes)
            for name, samples in traces:
                write_trace(file, name, np.ascontiguousarray(samples))
        with written_whole(path.with_name(f"{path.stem}_attributes.csv")) as partial_table:
            table.to_csv(partial_table, index=False)


def write_trace(file, name, samples):
    """Write contiguous samples (3, samples) by HDF5's own calls: half create_dataset's time."""
    kind = h5py.h5t.py_create(samples.dtype, logical=True)
    space = h5py.h5s.create_simple(samples.shape)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)  # the same traces give the same bytes
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plan)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, samples)


def offered_traces(folder):
    """List every trace that a folder offers, in its files or tables, and why some can't be used.

    folder: str or Path, in the waveform layout

    returns: DataFrame, one row a trace name: the tables' columns, station, period, label (-1: of
        neither class), and reason (of REASONS), "" where the row is good
    raises: ForeshapError where files or columns are missing, or components are not E, N, Z
    """
    return read_folder(folder).offered


def read_folder(folder, can_be_column=None):
    """Read what a folder offers and states, but no samples; returns WaveformFolder.

    can_be_column: function str -> bool, whether a table may have a column of this name; None: any
    """
    parts, attributes = [], {}
    names = stations(folder)
    states = file_states(folder)
    for station in names:
        for label, period in enumerate(PERIODS):
            path = waveform_file(folder, station, period)
            table = read_table(folder, station, period)
            for name in table.columns:
                if can_be_column and not can_be_column(name):
                    raise ForeshapError(
                        f"{table_file(folder, station, period)} has a column {name}, a name that "
                        "tensor files can't give to a column: rename it."
                    )
            stored, stated = read_root(path)
            order = stated.get("component_order", "ENZ")  # one text or several, or bytes
            if re.findall("[A-Z]", str(np.ravel(order).tolist())) != list(COMPONENTS):
                raise ForeshapError(
                    f"{path} states the components {order}, not ENZ: reorder its traces and state "
                    "ENZ."
                )
            table = _compare(table, stored, path)
            parts.append(table.assign(station=station, period=period, label=label))
            if len(table):
                attributes[station, period] = stated
    offered = pd.concat(parts, ignore_index=True)
    _judge_times(offered)
    twice = offered["trace_name"].duplicated(keep=False)
    offered.loc[twice, "reason"] = "duplicate name"
    offered = offered.drop_duplicates("trace_name", ignore_index=True)
    offered = pd.concat([offered, _rejected_by_source(folder)], ignore_index=True)
    return WaveformFolder(Path(folder), offered.astype({"label": np.int8}), attributes, states)


def _compare(table, stored, path):
    """Add the names that an HDF5 file alone holds to its table; column reason: what is alone."""
    nameless = table["trace_name"].isna()
    rows = [f"row {i + 1} of {path.stem}_attributes.csv" for i in np.flatnonzero(nameless)]
    table.loc[nameless, "trace_name"] = rows
    listed = pd.Index(table["trace_name"])
    is_stored = listed.isin(stored)
    if len(stored) and len(listed) and not is_stored.any():
        raise ForeshapError(
            f"{path} and its table name no trace in common ({stored[0]}, {listed[0]}): one of them "
            "is of another station or period, put the one there that belongs to the other."
        )
    table["reason"] = np.where(is_stored, "", "no waveform in the file")
    table.loc[nameless, "reason"] = "name that can't be used"
    strays = pd.DataFrame({"trace_name": stored.difference(listed, sort=False)})
    return pd.concat([table, strays.assign(reason="no row in the table")], ignore_index=True)


def _judge_times(offered):
    """Give the rows that still have no reason one where their times can't be used."""
    s_p = offered["p_s_diff_sec"]
    reasons = {
        "start time missing": event_times(offered).isna(),
        "S-P zero or negative": s_p <= 0,
        "S-P longer than 1000 s": s_p > LONGEST_S_P,
    }
    for reason, applies in reasons.items():
        offered.loc[applies & (offered["reason"] == ""), "reason"] = reason


def _rejected_by_source(folder):
    """Read what a source rejected: DataFrame with REJECTED_COLUMNS; label -1 for neither class."""
    path = Path(folder) / REJECTED_FILE
    if not path.exists():
        return pd.DataFrame(columns=REJECTED_COLUMNS)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[list(REJECTED_COLUMNS)]
        labels = table["label"].map({"-1": -1, "0": 0, "1": 1}).astype(int)
        unknown = set(table["reason"]) - set(REASONS)
        if unknown:
            raise ValueError(f"'{unknown.pop()}' is no reason")
    except (ValueError, KeyError, OSError) as error:
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read ({first_line(error)}): import the source again."
        ) from error
    return table.assign(label=labels, period="")


def trace_names(path):
    """List the names in the root of an HDF5 file, Index of str; bytes that are no text as \\x.."""
    return read_root(path)[0]


def read_root(path):
    """Read the names in the root of an HDF5 file (Index of str) and its attributes (dict)."""
    with open_waveforms(path) as file:
        try:
            names, attributes = list(file), dict(file.attrs)
        except Exception as error:  # h5py raises a dozen kinds for damaged files
            check_machine(path, error)
            raise ForeshapError(
                f"{path} is damaged ({first_line(error)}): make or download it again."
            ) from error
    texts = []
    for name in names:
        texts.append(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return pd.Index(texts, dtype=str), attributes


def read_batches(folder, ends, size):
    """Read the traces whose rows are good, batch after batch of some size, in the order of rows.

    ends: int array (N,), samples a component that are read at most, for each row of folder.offered

    yields: int array (n,), rows of folder.offered; list of what read_trace() returns for each
    """
    good = folder.offered[folder.is_good]
    for (station, period), part in good.groupby(["station", "period"], sort=False):
        rows, names = part.index.to_numpy(), part["trace_name"].to_numpy()
        with open_waveforms(waveform_file(folder.path, station, period)) as file:
            for first in range(0, len(rows), size):
                batch = rows[first : first + size]
                traces = []
                for name, end in zip(names[first : first + size], ends[batch]):
                    traces.append(read_trace(file, name, end))
                yield batch, traces


def read_trace(file, name, most=MOST_SAMPLES):
    """Read one trace as it is stored, at most so many samples a component from the first on.

    returns: (array (3, samples), "") or (None, the reason why the trace can't be used)
    """
    try:
        dataset = open_dataset(file, name)
        shape, kind = dataset.shape, dataset.dtype.kind
    except (KeyError, ValueError, OSError, TypeError, RuntimeError) as error:
        check_machine(file.filename, error)
        return None, "no array of samples"
    reason = unfit(shape, kind)
    if reason:
        return None, reason
    samples = np.empty((shape[0], min(shape[1], most)), dataset.dtype)
    try:
        if samples.shape == shape:  # twice as fast
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, samples)
        else:
            part = dataset.get_space()
            part.select_hyperslab((0, 0), samples.shape)
            dataset.read(h5py.h5s.create_simple(samples.shape), part, samples)
    except (OSError, RuntimeError) as error:
        check_machine(file.filename, error)
        return None, "samples can't be read: the file is damaged here"
    if kind == "f" and not np.isfinite(samples).all():
        return None, "samples not finite"
    return samples, ""


def unfit(shape, kind):
    """Say why an array of this shape and kind of numbers (numpy's letter) is no trace, else ""."""
    if not shape:
        return "no array of samples"
    if len(shape) == 1 or (len(shape) == 2 and shape[0] < len(COMPONENTS)):
        return "component missing"
    if len(shape) != 2 or shape[0] > len(COMPONENTS):
        return "not of shape (3, samples)"
    if kind not in "iuf":
        return "samples are no numbers"
    return ""


def load_trace(folder, event):
    """Read the seismogram of one event.

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
