"""The waveform layout: three-component seismograms of one station before and after a mainshock.

A folder holds <STATION>_pre.hdf5 and <STATION>_post.hdf5, one root dataset (3, samples) a trace in
counts, components E, N, Z, the P arrival 5 s into the trace, and beside each file a table
<STATION>_{pre,post}_attributes.csv with one row a trace (that of doi:10.5281/zenodo.15683047).
"""

import io
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..files import ForeshapError, check_machine, file_states, finish_moves, reading, written_whole
from ..hdf5 import create_hdf5, open_dataset
from ..hdf5 import open_hdf5 as open_waveforms
from .periods import iso_times
from .variants import CLASSES, COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P, SIDES

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
    "gap inside the window": "samples are missing, or files differ, or they stand still for 0.5 s",
    "window runs beyond the recording": "the recording begins or ends inside the window",
    "recordings can't be joined": "pieces differ in rate, type or channel",
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
    attributes: dict  # (station, side) -> dict of the attributes of an HDF5 file with traces
    states: list  # of the files when they were opened first: file_states()

    @property
    def is_good(self):
        """Whether nothing is known against a trace, bool array (N,)."""
        return (self.offered["reason"] == "").to_numpy()


def stations(folder):
    """List the stations of a folder in the waveform layout, sorted; each has both of its files."""
    folder = Path(folder)
    for place in (folder.parent, folder):  # noise/ is written with the folder around it
        finish_moves(place)
    pre = {path.name.removesuffix("_pre.hdf5") for path in folder.glob("*_pre.hdf5")}
    post = {path.name.removesuffix("_post.hdf5") for path in folder.glob("*_post.hdf5")}
    if not pre | post:
        names = "<STATION>_pre.hdf5 and <STATION>_post.hdf5"
        raise ForeshapError(f"{folder} holds no {names}: give a folder in the waveform layout.")
    for station in sorted(pre ^ post):
        names = f"{station}_pre.hdf5 and {station}_post.hdf5"
        raise ForeshapError(f"{folder} holds only one of {names}: both classes are needed.")
    return sorted(pre)


def waveform_file(folder, station, side):
    """Return the path of the HDF5 file of one station and side of the mainshock."""
    return Path(folder) / f"{station}_{side}.hdf5"


def read_table(folder, station, side):
    """Read the table of one station and side, one row a trace: numbers as float64, NaN where
    missing or none, times as text; ForeshapError where it is missing or of another station."""
    usual = Path(folder) / f"{station}_{side}_attributes.csv"
    path = usual if usual.exists() else usual.with_name(f"{station}_{side}_attribute.csv")
    if not path.exists():
        raise ForeshapError(f"{folder} lacks {usual.name}, the table of {station}_{side}.hdf5.")
    table = read_table_file(path)
    receivers = table.get("receiver_name", pd.Series(dtype=str)).dropna().str.strip()
    others = receivers[receivers != station]
    if len(others):
        rows = f"in {len(others)} of {len(table)} rows a table of station {others.iloc[0]}"
        raise ForeshapError(f"{path} is {rows}, not of {station}: put that of {station} there.")
    return table


def read_table_file(path):
    """Read a table of traces from a file (str or Path), as read_table() returns it."""
    kinds = ValueError, OSError, OverflowError, MemoryError
    with reading(path, "is no comma-separated table in UTF-8", "save it as one", *kinds):
        content = Path(path).read_bytes()
        if b"\0" in content:
            raise ValueError("a byte is zero")
        table = pd.read_csv(
            io.BytesIO(content),
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
    missing = {"p_s_diff_sec", "trace_name", "trace_start_time"}.difference(table.columns)
    if missing:
        raise ForeshapError(f"{path} lacks the columns {', '.join(sorted(missing))}: add them.")
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
    """Return event_times(), or NaT for all events where the table (DataFrame) has no times."""
    if "trace_start_time" in table:
        return event_times(table)
    return pd.Series(pd.NaT, table.index, "datetime64[ns, UTC]")


def known_s_p(table):
    """Return S-P times [s], float array (N,); NaN where one is unknown or not positive."""
    s_p = table.get("p_s_diff_sec", pd.Series(np.nan, table.index)).to_numpy(float)
    return np.where(s_p > 0, s_p, np.nan)


def instrument_differences(table):
    """Say which of INSTRUMENT_COLUMNS differ between the classes at a station, list of str."""
    sentences = []
    for column in [name for name in INSTRUMENT_COLUMNS if name in table]:
        for station, rows in table.groupby(known_stations(table)):
            values = []
            for label in range(len(CLASSES)):
                known = rows.loc[rows["label"] == label, column].dropna()
                if column == "recorded_step":  # depends on the event, too
                    known = pd.Series(known.median()).dropna()
                values.append(", ".join(sorted(known.astype(str).unique())))
            if all(values) and values[0] != values[1]:
                sentences.append(
                    f"{station}: {column} is {values[0]} in foreshocks, {values[1]} in aftershocks"
                )
    return sentences


def known_stations(table):
    """Return the station of each event (row of a DataFrame), Series of str; "" without one."""
    for name in ("receiver_name", "station"):
        if name in table:
            return table[name].astype(object).fillna("").astype(str)
    return pd.Series("", table.index).astype(str)


def station_rows(table, station=None):
    """List the rows of a table (DataFrame) that are of a station (str; None: of all), int array.

    raises: ForeshapError where the table has no such station
    """
    names = known_stations(table)
    rows = np.flatnonzero(names == station) if station is not None else np.arange(len(table))
    if len(rows) == 0:
        known = " or ".join(sorted(names.unique()))
        raise ForeshapError(f"There is no station {station!r}: give {known}, or None.")
    return rows


def write_waveforms(folder, station, side, traces, table, **attributes):
    """Write the HDF5 file (traces: iterable of trace_name and array (3, samples); attributes) of
    one station and side, and its table (DataFrame, one row a trace); each appears when whole."""
    path = waveform_file(folder, station, side)
    with written_whole(path) as partial:
        with create_hdf5(partial) as file:
            file.attrs.update(STANDARD_ATTRIBUTES | attributes)
            for name, samples in traces:
                write_trace(file, name, samples)
        with written_whole(path.with_name(f"{path.stem}_attributes.csv")) as partial_table:
            table.to_csv(partial_table, index=False)


def write_trace(file, name, samples):
    """Write samples (3, samples) as a dataset of an HDF5 file."""
    file.create_dataset(name, data=np.ascontiguousarray(samples), track_times=False)


def offered_traces(folder):
    """List every trace that a folder offers, in its files or tables, and why some can't be used.

    folder: str or Path, in the waveform layout
    returns: DataFrame, one row a trace name: the tables' columns, station, side, label (-1: of
        neither class), and reason (of REASONS), "" where the row is good
    raises: ForeshapError where files or columns are missing, or components are not E, N, Z
    """
    return read_folder(folder).offered


def read_folder(folder):
    """Read what a folder offers and states, but no samples; returns WaveformFolder."""
    parts, attributes = [], {}
    names = stations(folder)
    states = file_states(folder)
    for station, (label, side) in product(names, enumerate(SIDES)):
        path = waveform_file(folder, station, side)
        table = read_table(folder, station, side)
        stored, stated = read_root(path)
        order = stated.get("component_order", "ENZ")  # one text or several, or bytes
        if re.findall("[A-Z]", str(np.ravel(order).tolist())) != list(COMPONENTS):
            stated = f"states the components {order}, not ENZ"
            raise ForeshapError(f"{path} {stated}: reorder its traces and state ENZ.")
        table = _compare(table, stored, path)
        parts.append(table.assign(station=station, side=side, label=label))
        if len(table):
            attributes[station, side] = stated
    offered = pd.concat(parts, ignore_index=True)
    s_p = offered["p_s_diff_sec"]
    reasons = {  # the first that applies counts
        "start time missing": event_times(offered).isna(),
        "S-P zero or negative": s_p <= 0,
        "S-P longer than 1000 s": s_p > LONGEST_S_P,
    }
    for reason, applies in reasons.items():
        offered.loc[applies & (offered["reason"] == ""), "reason"] = reason
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
            f"{path} and its table name no trace in common ({stored[0]}, {listed[0]}): put the "
            "table of this file beside it."
        )
    table["reason"] = np.where(is_stored, "", "no waveform in the file")
    table.loc[nameless, "reason"] = "name that can't be used"
    strays = pd.DataFrame({"trace_name": stored.difference(listed, sort=False)})
    return pd.concat([table, strays.assign(reason="no row in the table")], ignore_index=True)


def _rejected_by_source(folder):
    """Read what a source rejected: DataFrame with REJECTED_COLUMNS; label -1 for neither class."""
    path = Path(folder) / REJECTED_FILE
    if not path.exists():
        return pd.DataFrame(columns=REJECTED_COLUMNS)
    kinds = ValueError, KeyError, OSError
    with reading(path, "can't be read", "import the source again", *kinds):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[list(REJECTED_COLUMNS)]
        labels = table["label"].map({"-1": -1, "0": 0, "1": 1}).astype(int)
        unknown = set(table["reason"]) - set(REASONS)
        if unknown:
            raise ValueError(f"'{unknown.pop()}' is no reason")
    return table.assign(label=labels, side="")


def read_root(path):
    """Read the names in an HDF5 file's root (Index of str, no text as \\x..) and its attributes."""
    with open_waveforms(path) as file, reading(path, "is damaged", "make or download it again"):
        names, attributes = list(file), dict(file.attrs)
    names = pd.Index(names, dtype=object).str.encode("utf-8", "surrogateescape")
    return pd.Index(names.str.decode("utf-8", "backslashreplace"), dtype=str), attributes


def read_batches(folder, ends, size):
    """Read the good traces in batches of some size, ends (N,) samples of each row at most; yields
    their rows in folder.offered, int (n,), and a list of what read_trace() returns."""
    good = folder.offered[folder.is_good]
    for (station, side), part in good.groupby(["station", "side"], sort=False):
        with open_waveforms(waveform_file(folder.path, station, side)) as file:
            for first in range(0, len(part), size):
                batch = part["trace_name"].iloc[first : first + size]
                rows = batch.index.to_numpy()
                yield rows, [read_trace(file, *one) for one in zip(batch, ends[rows])]


def read_trace(file, name, most=MOST_SAMPLES):
    """Read (array (3, samples), "") of a trace, its first samples at most, or (None, why not)."""
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
    return "" if kind in "iuf" else "samples are no numbers"


def load_trace(folder, event):
    """Read the seismogram of one event.

    folder: str or Path, in the waveform layout
    event: row (Series) of offered_traces()
    returns: array (3, samples), its first 2,000 s at most [counts]
    raises: ForeshapError where the trace can't be used
    """
    path = waveform_file(folder, event["station"], event["side"])
    with open_waveforms(path) as file:
        samples, reason = read_trace(file, event["trace_name"])
    if reason:
        raise ForeshapError(f"{event['trace_name']} in {path} can't be used: {reason}.")
    return samples
