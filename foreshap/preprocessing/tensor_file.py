"""The tensor file: one HDF5 file a variant, with named axes and a column for each property."""

import hashlib
import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from html import escape
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..files import ForeshapError, finish_moves, reading, sha256
from ..hdf5 import StoredArray, create_hdf5, memory_size, open_dataset, open_hdf5, opened_sha256
from .variants import CLASSES, COMPONENTS, Variant

AXES = ("channel", "frequency", "time", "background")  # no columns of events
TAKEN = {  # names that a tensor file or a SHAP store gives to something else
    *("spectrogram", "shap", "shap_standard_error", "made_from", "row", "output", "predicted"),
    *("correct", "base_value", "additivity_error", "seconds", "path", "place", "."),
    *AXES,
}
LARGEST_TABLE = 2**28  # bytes of all columns of a file together
TENSOR_DIMENSIONS = ("trace_name", "channel", "frequency", "time")


@contextmanager
def create_tensor_file(path, variant, unit="counts"):
    """Create a tensor file with its axes and no events yet (unit: of the waveforms)."""
    with create_hdf5(path) as file:
        write_axes(file, variant)
        shape = variant.shape
        # Chunks of 4 events or more read faster as a whole, and 4 times slower one by one.
        options = {"chunks": (1, *shape), "fillvalue": None, "fletcher32": True}
        options["maxshape"] = (None, *shape)
        values = file.create_dataset("spectrogram", (0, *shape), "f4", **options)
        values.attrs["units"] = f"log10({as_factor(unit)}^2 Hz^-1)"
        values.attrs["long_name"] = "log10 of the power spectral density"
        yield file


def as_factor(unit):
    """Return a unit as it stands in a product, str."""
    return unit if unit.isalpha() else f"({unit})"


def write_axes(file, variant):
    """Write the axes of a variant's tensors as HDF5 dimension scales."""
    file.attrs.update(variant=json.dumps(asdict(variant)), Conventions="CF-1.11")
    file["channel"] = np.array(COMPONENTS, dtype=h5py.string_dtype())
    file["frequency"] = variant.frequencies
    file["time"] = variant.times
    file["frequency"].attrs["units"] = "Hz"
    file["time"].attrs.update(units="s", long_name=f"time after the {variant.phase} arrival")
    for name in TENSOR_DIMENSIONS[1:]:
        file[name].make_scale(name)


def can_be_column(name):
    """Whether a tensor file can give this name to a column of its events."""
    return name not in TAKEN and "/" not in name


def write_columns(file, table):
    """Write a table's columns (one row an event; trace_name and label at least), with scales."""
    for name, column in table.items():
        if column.dtype == object or pd.api.types.is_string_dtype(column):
            texts = column.fillna("").astype(str).to_numpy(object)
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
        else:
            kind = np.int8 if column.dtype == bool else None
            file.create_dataset(name, data=column.to_numpy(), dtype=kind)
    file["trace_name"].make_scale("trace_name")
    for name in table.columns.drop("trace_name"):
        attach_axes(file[name], ["trace_name"])
    flags = np.arange(len(CLASSES), dtype=np.int8)
    file["label"].attrs.update(flag_values=flags, flag_meanings=" ".join(CLASSES))


def attach_axes(dataset, names=TENSOR_DIMENSIONS):
    """Name the dimensions of a dataset, event first, after the file's axes."""
    for dimension, name in zip(dataset.dims, names):
        dimension.attach_scale(dataset.file[name])


def append_events(dataset, values):
    """Append the values of some events, arrays (n, ...), to a dataset (N, ...)."""
    if len(values):
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[-len(values) :] = values


def complete(file, events, attributes):
    """Write the columns (events: DataFrame, one row an event) and attributes of a tensor file."""
    write_columns(file, events)
    attach_axes(file["spectrogram"])
    file.attrs.update(attributes)
    seal(file, len(events))


def seal(file, n, axes=AXES):
    """State the checksum of a file's columns (of n events) and attributes in it, at the end."""
    table = read_columns(file, n, axes, most=None)
    file.attrs["checksum"] = _checksum(file, table, dict(file.attrs))


def check_seal(file, table, attributes):
    """Raise ValueError where a file's columns (table) or attributes are not those of its seal."""
    if attributes.get("checksum", "") not in ("", _checksum(file, table, attributes)):
        raise ValueError("it was changed after it was written: its checksum is another")


def _checksum(file, table, attributes):
    """Hash everything that is read of a file but its tensors, which HDF5 checks itself."""
    digest = hashlib.sha256()
    for name, value in sorted(attributes.items()):
        if name != "checksum":
            digest.update(f"{name}={value};".encode(errors="surrogateescape"))
    if "made_from" in file:
        digest.update(file["made_from"][()])
    for name, column in table.items():
        digest.update(f"{name},{column.dtype};".encode())
        if column.dtype.kind in "biuf":
            digest.update(column.to_numpy().tobytes())
        else:
            digest.update("\0".join(column.to_numpy(object)).encode(errors="surrogateescape"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Spectrograms:
    """The events of a tensor file."""

    path: Path
    variant: Variant
    values: h5py.Dataset  # (N, 3, F, T), read by slices [log10(counts^2/Hz), or as its units say]
    labels: np.ndarray  # int8 (N,), 0 foreshock, 1 aftershock
    table: pd.DataFrame  # one row an event
    attributes: dict  # of the file

    @property
    def sha256(self):
        """SHA-256 of the file that was opened, though another may have its name by now."""
        if isinstance(self.values, h5py.Dataset) and self.values:
            return opened_sha256(self.values.file)
        return sha256(self.path)

    def to_xarray(self):
        """Open as xarray.Dataset with named axes and a coordinate for each column of the table."""
        return as_xarray(self.values, "spectrogram", self.variant, self.table, self.attributes)

    def _repr_html_(self):
        unit = self.values.attrs["units"]
        return summary_html(self.path, self.variant, self.values.shape, self.labels, unit)


def as_xarray(values, name, variant, table, attributes):
    """Make an xarray.Dataset of tensors (N, 3, F, T) of some name, which are read here."""
    import xarray  # optional: only whoever asks for it needs it

    events = {column: ("trace_name", table[column].to_numpy()) for column in table}
    axes = {"channel": list(COMPONENTS), "frequency": variant.frequencies, "time": variant.times}
    content = {name: (TENSOR_DIMENSIONS, np.asarray(values[:]))}
    return xarray.Dataset(content, {**events, **axes}, attributes)


def summary_html(path, variant, shape, labels, unit):
    """Describe tensors of events in a small HTML table: file, variant, shape, classes, unit."""
    counts = np.bincount(labels, minlength=2)
    classes = ", ".join(f"{n} {name}s" for n, name in zip(counts, CLASSES))
    rows = {"file": path, "variant": variant.name, "shape": shape, "classes": classes, "unit": unit}
    cells = [f"<tr><th>{key}</th><td>{escape(str(value))}</td></tr>" for key, value in rows.items()]
    return f"<table>{''.join(cells)}</table>"


def load_spectrograms(path):
    """Open a tensor file; the tensors stay on disk until they are sliced.

    path: str or Path
    returns: Spectrograms
    raises: ForeshapError where the file is damaged or not a tensor file
    """
    what = "tensor file of foreshap.preprocess"
    variant, values, table, attributes = open_events(path, "spectrogram", what)
    return Spectrograms(Path(path), variant, values, table["label"].to_numpy(), table, attributes)


def open_events(path, name, what):
    """Open a file of tensors (what it should be, name of their dataset): Variant, array, table,
    attributes; ForeshapError where the file is damaged or another."""
    finish_moves(Path(path).parent)
    file = open_hdf5(path)
    # json, numpy and h5py raise a dozen kinds for damaged files.
    with reading(path, f"is no {what}", "make it again"), ExitStack() as stack:
        stack.callback(file.close)
        variant = Variant(**json.loads(file.attrs["variant"]))
        values = StoredArray(open_dataset(file, name))
        expected = (len(values), *variant.shape)
        is_whole = values.id.get_storage_size() >= values.nbytes
        if values.shape != expected or values.dtype != np.float32 or not is_whole:
            found = f"{values.dtype} {values.shape}, or less"
            raise ValueError(f"its tensors are {found}, not float32 {expected}")
        table = read_columns(file, len(values))
        if not table["label"].isin(range(len(CLASSES))).all():
            raise ValueError("a label is neither 0 nor 1")
        attributes = dict(file.attrs)
        check_seal(file, table, attributes)
        stack.pop_all()
        return variant, values, table, attributes


def read_columns(file, n, axes=AXES, most=LARGEST_TABLE):
    """Read the per-event columns of a file of n events but its axes, at most so many bytes."""
    columns, size = {}, 0
    for name in file:
        dataset = h5py.Dataset(open_dataset(file, name))
        if dataset.ndim != 1 or name in axes:
            continue
        if dataset.shape != (n,):
            raise ValueError(f"{name} has {len(dataset)} values for {n} events")
        if most is not None:
            size += memory_size(dataset)
            if size > most:
                raise ValueError(f"its columns are larger than {most // 2**20} MiB")
        is_text = h5py.check_string_dtype(dataset.dtype)
        columns[name] = dataset.asstr()[:] if is_text else dataset[:]
    return pd.DataFrame(columns)


def read_events(values, rows):
    """Read rows (int) of tensors (N, 3, F, T), one by one: faster than a list of indices."""
    return np.stack([values[row] for row in rows])


def event_row(table, event):
    """Find an event in a table by its trace name or its row.

    table: DataFrame of a tensor file
    event: str, trace name; or int, row
    returns: int, row
    raises: ForeshapError where the table holds no such event
    """
    names = table["trace_name"].tolist()
    if isinstance(event, str) and event in names:
        return names.index(event)
    if not isinstance(event, str) and 0 <= event < len(names):
        return int(event)
    near = ", ".join(get_close_matches(str(event), names, 3, 0.3) or names[:1])
    choice = f"a trace name such as {near}, or a row from 0 to {len(names) - 1}"
    raise ForeshapError(f"There is no event {event!r}: give {choice}.")
