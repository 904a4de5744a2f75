"""The tensor file: one HDF5 file a variant, with named axes and a column for each property of an event."""

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..files import ForeshapError, finish_moves, first_line
from .hdf5 import open_dataset, open_hdf5
from .variants import CLASSES, COMPONENTS, Variant

AXES = (
    "channel",
    "frequency",
    "time",
    "class",
    "n_events",
    "background",
)  # one-dimensional and no columns
TENSOR_DIMENSIONS = ("trace_name", "channel", "frequency", "time")


@contextmanager
def create_tensor_file(path, variant, unit="counts"):
    """A new tensor file with its axes and no events yet."""
    unit = unit if unit.isalpha() else f"({unit})"
    with h5py.File(path, "w") as file:
        write_axes(file, variant)
        shape = variant.shape
        values = file.create_dataset(
            "spectrogram",
            (0, *shape),
            "f4",
            maxshape=(None, *shape),
            chunks=(1, *shape),
            fillvalue=None,
        )
        values.attrs["units"] = f"log10({unit}^2 Hz^-1)"
        values.attrs["long_name"] = "log10 of the power spectral density"
        yield file


def write_axes(file, variant):
    """Write the axes that tensor files and SHAP files share, as HDF5 dimension scales.

    file: h5py.File open for writing
    variant: Variant
    """
    file.attrs.update(variant=json.dumps(asdict(variant)), Conventions="CF-1.11")
    file["channel"] = np.array(COMPONENTS, dtype=h5py.string_dtype())
    file["frequency"], file["time"] = variant.frequencies, variant.times
    file["frequency"].attrs["units"] = "Hz"
    file["time"].attrs.update(units="s", long_name=f"time after the {variant.phase} arrival")
    for name in ("channel", "frequency", "time"):
        file[name].make_scale(name)


def write_columns(file, table):
    """Write per-event columns, each along the dimension of the trace names.

    file: h5py.File open for writing, with the axes of write_axes()
    table: DataFrame, one row an event, with trace_name and label
    """
    for name, column in table.items():
        text = column.dtype == object or pd.api.types.is_string_dtype(column)
        values = column.fillna("").astype(str).to_numpy(object) if text else column.to_numpy()
        kind = h5py.string_dtype() if text else np.int8 if values.dtype == bool else None
        file.create_dataset(name, data=values, dtype=kind)
    file["trace_name"].make_scale("trace_name")
    for name in table.columns.drop("trace_name"):
        file[name].dims[0].attach_scale(file["trace_name"])
    file["label"].attrs.update(
        flag_values=np.arange(2, dtype="i1"), flag_meanings=" ".join(CLASSES)
    )


def attach_axes(dataset):
    """Name the dimensions of a dataset (event, channel, frequency, time) after the file's axes."""
    for dimension, name in zip(dataset.dims, TENSOR_DIMENSIONS):
        dimension.attach_scale(dataset.file[name])


def append_events(dataset, values):
    """Append events to a tensor dataset."""
    if len(values):
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[-len(values) :] = values


@dataclass(frozen=True)
class Spectrograms:
    """The events of a tensor file.

    path: Path
    variant: Variant
    values: h5py.Dataset (N, 3, F, T), read by slices [log10(counts^2/Hz), or as its units say]
    labels: int8 array (N,), 0 foreshock, 1 aftershock
    table: DataFrame, one row an event
    attributes: dict, of the file
    """

    path: Path
    variant: Variant
    values: h5py.Dataset
    labels: np.ndarray
    table: pd.DataFrame
    attributes: dict


def load_spectrograms(path):
    """Open a tensor file; the tensors stay on disk until they are sliced.

    path: str or Path

    returns: Spectrograms
    raises: ForeshapError where the file is damaged or not a tensor file
    """
    variant, values, table, attributes = open_events(
        path, "spectrogram", "tensor file of foreshap.preprocess"
    )
    return Spectrograms(Path(path), variant, values, table["label"].to_numpy(), table, attributes)


def open_events(path, name, what):
    """Open a file of tensors, an event each: they stay on disk until they are sliced.

    path: str or Path
    name: str, the tensors' dataset, "spectrogram" or "shap"
    what: str, what the file should be and who makes it

    returns: Variant; h5py.Dataset (N, 3, F, T); DataFrame, one row an event; dict, of the file's attributes
    raises: ForeshapError where the file is damaged or another
    """
    finish_moves(Path(path).parent)
    file = open_hdf5(path)
    try:
        variant = Variant(**json.loads(file.attrs["variant"]))
        values = h5py.Dataset(open_dataset(file, name))
        expected = (len(values), *variant.shape)
        if (
            values.shape != expected
            or values.dtype != np.float32
            or values.id.get_storage_size() < values.nbytes
        ):
            raise ValueError(
                f"its tensors are {values.dtype} {values.shape}, or less, not float32 {expected}"
            )
        table = read_columns(file, len(values))
        if not table["label"].isin(range(len(CLASSES))).all():
            raise ValueError("a label is neither 0 nor 1")
        return variant, values, table, dict(file.attrs)
    except Exception as error:  # json, numpy and h5py raise a dozen kinds for damaged files
        file.close()
        raise ForeshapError(f"{path} is no {what} ({first_line(error)}): make it again.") from error


def read_columns(file, n):
    """The per-event columns of a tensor or SHAP file.

    file: h5py.File
    n: int, number of events

    returns: DataFrame, one row an event
    """
    columns = {}
    for name in file:
        dataset = h5py.Dataset(open_dataset(file, name))
        if dataset.ndim == 1 and name not in AXES:
            if dataset.shape != (n,):
                raise ValueError(f"{name} has {len(dataset)} values for {n} events")
            columns[name] = (
                dataset.asstr()[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]
            )
    return pd.DataFrame(columns)


def read_events(values, rows):
    """Read events one by one, in any order: faster than a list of indices.

    values: h5py.Dataset or array (N, 3, F, T)
    rows: sequence of int

    returns: array (len(rows), 3, F, T)
    """
    return np.stack([values[row] for row in rows])
