"""The cross-spectra file, beside the tensor files and in their style."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ...files import ForeshapError, check_machine, finish_moves, first_line, written_whole
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
from ..waveforms import read_batches, read_folder
from .measurements import MEASUREMENTS, measure_batch, samples_needed
from .windows import ELEMENTS, HIGH_PASS, HOP, NPERSEG, SPECTRUM_WINDOWS, unpack

FILE_NAME = "cross_spectra.h5"
DIMENSIONS = ("trace_name", "window", "frequency", "element")
BYTES = 8000  # of an event, rounded up
BATCH = 32  # events of a chunk, and of a batch of the stand-alone pass


@dataclass(frozen=True)
class CrossSpectra:
    """The events of a cross-spectra file.

    path: Path
    values: complex64 array (event, window, frequency, channel, channel) [counts^2/Hz], NaN where a
        window has no frame
    frames: int16 array (event, window)
    windows: tuple of str
    frequencies: float64 array (F,) [Hz]
    table: DataFrame, one row an event: trace_name, label, station and the columns of MEASUREMENTS
    attributes: dict, of the file
    """

    path: Path
    values: np.ndarray
    frames: np.ndarray
    windows: tuple
    frequencies: np.ndarray
    table: pd.DataFrame
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
        for name, kind, tail in (("cross_spectrum", "f4", shape), ("frames", "i2", shape[:1])):
            options = {"chunks": (BATCH, *tail), "fletcher32": True}
            file.create_dataset(name, (0, *tail), kind, maxshape=(None, *tail), **options)
        file["frames"].attrs["long_name"] = "frames that a window's mean is of"
        values = file["cross_spectrum"]
        values.attrs["units"] = f"{as_factor(unit)}^2 Hz^-1"
        values.attrs["long_name"] = "cross-spectral density of the components, conj(first) second"
        file.attrs.update(
            Conventions="CF-1.11",
            nperseg=NPERSEG,
            hop=HOP,
            high_pass_hz=HIGH_PASS,
            windows=json.dumps(SPECTRUM_WINDOWS),
        )
        yield file


def append_batch(file, batch):
    """Append what measure_batch() returns of a batch to a file; returns its measurements, table."""
    packed, frames, measured = batch
    append_events(file["cross_spectrum"], packed)
    append_events(file["frames"], frames)
    return pd.DataFrame(measured)


def complete_file(file, events, measured, unit, about):
    """Write what a cross-spectra file lacks when its spectra are written.

    events: DataFrame, one row an event, with trace_name, label and station
    measured: list of DataFrame, the batches' measurements
    unit: str, of the waveforms
    about: dict, attributes of the file
    """
    columns = events[["trace_name", "label", "station"]].reset_index(drop=True)
    write_columns(file, columns.join(pd.concat(measured, ignore_index=True)))
    for name, (units, meaning) in MEASUREMENTS.items():
        units = units.replace("counts", as_factor(unit))
        file[name].attrs.update(units=units, long_name=meaning)
    attach_axes(file["cross_spectrum"], DIMENSIONS)
    attach_axes(file["frames"], DIMENSIONS)
    file.attrs.update(about)
    seal(file, len(columns), DIMENSIONS[1:])


def write_cross_spectra(source, output):
    """Write the cross-spectra of a waveform folder alone: preprocess() writes them with tensors.

    source: str or Path, folder in the waveform layout
    output: str or Path, the file, or a folder for cross_spectra.h5

    returns: Path of the file
    raises: ForeshapError where the folder is not in the waveform layout or no trace can be used
    """
    path = Path(output)
    if path.suffix != ".h5":
        path = path / FILE_NAME
    folder = read_folder(source)
    stated = next(iter(folder.attributes.values()), {})
    rate, unit = float(stated.get("sampling_rate", SAMPLING_RATE)), stated.get("unit", "counts")
    s_p = folder.offered["p_s_diff_sec"].where(folder.is_good).to_numpy(float)
    rows, measured = [], []
    with written_whole(path) as partial, create_file(partial, rate, unit) as file:
        for batch, traces in read_batches(folder, samples_needed(s_p, rate), BATCH):
            usable = [place for place, (_, reason) in enumerate(traces) if not reason]
            if usable:
                samples = [traces[place][0] for place in usable]
                of_batch = measure_batch(samples, s_p[batch[usable]], rate)
                measured.append(append_batch(file, of_batch))
                rows.extend(batch[usable])
        if not rows:
            raise ForeshapError(f"No trace of {source} can be read: see foreshap.REASONS.")
        complete_file(file, folder.offered.loc[rows], measured, unit, stated)
    return path


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
            windows = tuple(h5py.Dataset(open_dataset(file, "window")).asstr()[:])
            frequencies = h5py.Dataset(open_dataset(file, "frequency"))[:]
            frames = h5py.Dataset(open_dataset(file, "frames"))[:]
            packed = h5py.Dataset(open_dataset(file, "cross_spectrum"))
            expected = len(frames), len(windows), len(frequencies), len(ELEMENTS)
            if packed.shape != expected or packed.dtype != np.float32:
                raise ValueError(f"its cross-spectra are {packed.shape}, not {expected}")
            table = read_columns(file, len(frames), DIMENSIONS[1:])
            attributes = dict(file.attrs)
            check_seal(file, table, attributes)
            values = unpack(packed[:])
        except Exception as error:  # numpy and h5py raise a dozen kinds for damaged files
            check_machine(path, error)
            raise ForeshapError(
                f"{path} is no file of cross-spectra ({first_line(error)}): "
                "make it again with foreshap.preprocess."
            ) from error
    return CrossSpectra(path, values, frames, windows, frequencies, table, attributes)
