"""The cross-spectra file, beside the tensor files and in their style.

A log-spectrogram holds the power of each component and nothing between two of them. The pass over
the seismograms therefore also writes, for each event, the cross-spectra of the components in six
windows, and a table: own onsets, the level below the corner, the recorder's traits.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ...files import ForeshapError, check_machine, finish_moves, first_line
from ...hdf5 import create_hdf5, open_dataset, open_hdf5
from ..tensor_file import (
    append_events,
    as_factor,
    attach_axes,
    check_seal,
    read_columns,
    seal,
    write_columns,
)
from ..variants import SAMPLING_RATE
from .measurements import MEASUREMENTS
from .windows import ELEMENTS, HIGH_PASS, HOP, NPERSEG, SPECTRUM_WINDOWS, unpack

FILE_NAME = "cross_spectra.h5"
DIMENSIONS = ("trace_name", "window", "frequency", "element")
BYTES = 8000  # of an event, rounded up
BATCH = 32  # events of a chunk


@dataclass(frozen=True)
class CrossSpectra:
    """The events of a cross-spectra file."""

    path: Path
    values: np.ndarray  # complex64 (event, window, frequency, channel, channel), NaN: no frame
    frequencies: np.ndarray  # float64 (F,) [Hz]
    table: pd.DataFrame  # one row an event: trace_name, label, station and MEASUREMENTS
    attributes: dict


@contextmanager
def create_file(path, sampling_rate=SAMPLING_RATE, unit="counts"):
    """Create a cross-spectra file with its axes and no events yet (unit: of the waveforms)."""
    frequencies = np.fft.rfftfreq(NPERSEG, 1 / sampling_rate)
    with create_hdf5(path) as file:
        file["window"] = np.array(tuple(SPECTRUM_WINDOWS), dtype=h5py.string_dtype())
        file["frequency"] = frequencies
        file["frequency"].attrs["units"] = "Hz"
        file["element"] = np.array(ELEMENTS, dtype=h5py.string_dtype())
        for name in DIMENSIONS[1:]:
            file[name].make_scale(name)
        shape = len(SPECTRUM_WINDOWS), len(frequencies), len(ELEMENTS)
        options = {"maxshape": (None, *shape), "chunks": (BATCH, *shape), "fletcher32": True}
        values = file.create_dataset("cross_spectrum", (0, *shape), "f4", **options)
        values.attrs["units"] = f"{as_factor(unit)}^2 Hz^-1"
        values.attrs["long_name"] = "cross-spectral density of the components, conj(first) second"
        windows = json.dumps(SPECTRUM_WINDOWS)
        file.attrs.update(Conventions="CF-1.11", windows=windows)
        file.attrs.update(nperseg=NPERSEG, hop=HOP, high_pass_hz=HIGH_PASS)
        yield file


def append_batch(file, batch):
    """Append what measure_batch() returns of a batch to a file; returns its measurements, table."""
    packed, measured = batch
    append_events(file["cross_spectrum"], packed)
    return pd.DataFrame(measured)


def complete_file(file, events, measured, unit, about):
    """Write what a file lacks when its spectra are written: columns, axes, attributes, checksum.

    events: DataFrame with trace_name, label and station; measured: list of DataFrame, of batches
    """
    columns = events[["trace_name", "label", "station"]].reset_index(drop=True)
    write_columns(file, columns.join(pd.concat(measured, ignore_index=True)))
    for name, (units, meaning) in MEASUREMENTS.items():
        units = units.replace("counts", as_factor(unit))
        file[name].attrs.update(units=units, long_name=meaning)
    attach_axes(file["cross_spectrum"], DIMENSIONS)
    file.attrs.update(about)
    seal(file, len(columns), DIMENSIONS[1:])


def load_cross_spectra(path):
    """Read a cross-spectra file.

    path: str or Path, of the file or of the folder that holds cross_spectra.h5

    returns: CrossSpectra
    raises: ForeshapError where it is missing, damaged or another file
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    finish_moves(path.parent)
    with open_hdf5(path) as file:
        try:
            frequencies = h5py.Dataset(open_dataset(file, "frequency"))[:]
            packed = h5py.Dataset(open_dataset(file, "cross_spectrum"))
            expected = len(packed), len(SPECTRUM_WINDOWS), len(frequencies), len(ELEMENTS)
            if packed.shape != expected or packed.dtype != np.float32:
                raise ValueError(f"its cross-spectra are {packed.shape}, not {expected}")
            table = read_columns(file, len(packed), DIMENSIONS[1:])
            attributes = dict(file.attrs)
            check_seal(file, table, attributes)
            values = unpack(packed[:])
        except Exception as error:  # numpy and h5py raise a dozen kinds for damaged files
            check_machine(path, error)
            raise ForeshapError(
                f"{path} is no file of cross-spectra ({first_line(error)}): "
                "make it again with foreshap.preprocess."
            ) from error
    return CrossSpectra(path, values, frequencies, table, attributes)
