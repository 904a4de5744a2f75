"""Cross-spectra of windows of each event, and measurements of its raw samples, for the controls.

A log-spectrogram holds the power of each component and nothing between two of them. The pass over
the seismograms therefore also keeps, for each event, the cross-spectra of the components in six
windows (noise, P, S and three of coda), and a table: own onsets of P and S, a second onset,
the level below the corner, and what the raw counts say about the recorder.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import fft, signal
from tqdm.auto import tqdm

from ..files import ForeshapError, check_room, finish_moves, first_line, written_whole
from .hdf5 import open_dataset, open_hdf5
from .tensor_file import write_columns
from .variants import SAMPLING_RATE, SECONDS_BEFORE_P
from .waveforms import attributes_of, offered_traces, open_waveforms, read_trace, waveform_file

FILE_NAME = "cross_spectra.h5"
NPERSEG, HOP = 64, 16  # samples of a frame, and from one to the next
HIGH_PASS = 1.0  # Hz, causal: one without delay would put signal before P
SPECTRUM_WINDOWS = {  # name: the arrival, and the window after it [s]
    "noise": ("P", -3.5, -0.5),
    "P": ("P", -0.05, 2.0),
    "S": ("S", -0.05, 2.0),
    "coda 1": ("S", 2.0, 4.0),
    "coda 2": ("S", 4.5, 6.5),
    "coda 3": ("S", 7.0, 9.0),
}
SECONDS_AFTER_S = 10.0  # that are read: an own S may come later
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
ELEMENTS = ("EE", "NN", "ZZ", "Re EN", "Re EZ", "Re NZ", "Im EN", "Im EZ", "Im NZ")
BATCH = 32  # events computed together: small enough to stay in the processor's cache
LEAST_CONTRAST = 0.3  # log10: an onset at which the power doesn't double is none
LARGEST = 1e15  # of a sample: no digitiser's
MEASUREMENTS = {  # column: unit, what it is
    "p_onset": ("s", "own onset of P after the catalogue's; NaN where none is clear"),
    "s_onset": ("s", "own onset of S after the catalogue's; NaN where none is clear"),
    "p_contrast": ("1", "log10 of the power in 0.5 s after over before the own onset of P"),
    "s_contrast": ("1", "log10 of the power in 0.5 s after over before the own onset of S"),
    "second_onset": ("s", "time after S of the sharpest rise later than 0.9 s after S"),
    "second_contrast": ("1", "power in 0.5 s after over before that rise"),
    "level_below_corner": (
        "log10(counts s Hz^-0.5)",
        "log10 of the ground displacement of S between 2 and 6 Hz, of the amplitude's density",
    ),
    "samples_at_extreme": ("1", "raw samples of one component at its largest or smallest value"),
    "peaks_near_extreme": ("1", "raw peaks of one component within 0.1 % of its largest value"),
    "smallest_step": ("counts", "smallest difference of two raw samples in a row"),
    "noise_of_differences": ("log10(counts)", "log10 of the raw differences' deviation before P"),
}


# ----------------------------------------------------------------------------- of a batch of events


def event_cross_spectra(samples, s_p, sampling_rate=SAMPLING_RATE, p_seconds=SECONDS_BEFORE_P):
    """Compute the cross-spectra of six windows of each event, as scipy.signal.csd defines them.

    Frames of 64 samples begin every 16 inside a window; each loses its mean and is tapered (Hann).
    The P window ends where S begins. A window without a frame inside the trace gives NaN.

    samples: array (n, 3, samples) [counts], or (3, samples) of one event
    s_p: float or array (n,), S-P [s]
    sampling_rate: float [Hz]
    p_seconds: float or array (n,), P arrival after the first sample [s]

    returns: complex64 array (n, window, frequency, channel, channel), mean of conj(X_a) X_b,
        one-sided density [counts^2/Hz]; int16 array (n, window), the frames. One event: without n
    """
    one = np.ndim(samples) == 2
    samples = np.asarray(samples)[None] if one else np.asarray(samples)
    filtered = _high_passed(samples, sampling_rate)
    p = np.broadcast_to(np.asarray(p_seconds, float), len(filtered))
    s = p + np.broadcast_to(np.asarray(s_p, float), len(filtered))
    lengths = np.full(len(filtered), filtered.shape[-1])
    packed, frames = _packed_cross_spectra(filtered, p, s, lengths, sampling_rate)
    values = unpack(packed)
    return (values[0], frames[0]) if one else (values, frames)


def unpack(packed):
    """Turn packed cross-spectra (..., 9), as ELEMENTS, into complex64 matrices (..., 3, 3)."""
    packed = np.asarray(packed, np.float32)
    matrices = np.empty((*packed.shape[:-1], 3, 3), np.complex64)
    for place, (first, second) in enumerate(PAIRS):
        imaginary = packed[..., place + 3] if place > 2 else 0.0
        matrices[..., first, second] = packed[..., place] + 1j * imaginary
        matrices[..., second, first] = packed[..., place] - 1j * imaginary
    return matrices


def measure_batch(traces, s_p, sampling_rate=SAMPLING_RATE):
    """Compute what the file holds of a batch of events, for a pass over the seismograms.

    traces: list of n arrays (3, samples) of raw counts, P at 5 s, to samples_needed() or their end
    s_p: array (n,), the catalogue's S-P [s]
    sampling_rate: float [Hz]

    returns: float32 array (n, window, frequency, 9), packed; int16 array (n, window), frames;
        dict, name of MEASUREMENTS -> array (n,)
    """
    s_p = np.asarray(s_p, float)
    raw, lengths = _stack(traces)
    filtered = _high_passed(raw, sampling_rate)
    measured = event_measurements(raw, s_p, sampling_rate, lengths, filtered)
    p = SECONDS_BEFORE_P + np.nan_to_num(measured["p_onset"])
    s = SECONDS_BEFORE_P + s_p + np.nan_to_num(measured["s_onset"])
    packed, frames = _packed_cross_spectra(filtered, p, s, lengths, sampling_rate)
    return packed, frames, measured


def event_measurements(samples, s_p, sampling_rate=SAMPLING_RATE, lengths=None, filtered=None):
    """Measure onsets, level and the recorder's traits in raw samples.

    samples: array (n, 3, samples) [counts], P at 5 s
    s_p: array (n,), the catalogue's S-P [s]
    sampling_rate: float [Hz]
    lengths: int array (n,), samples of each trace; the rest repeats its last one
    filtered: array like samples, after the high-pass, where it is there already

    returns: dict, name of MEASUREMENTS -> array (n,); NaN where nothing can be measured
    """
    samples, s_p = np.asarray(samples), np.asarray(s_p, float)
    if lengths is None:
        lengths = np.full(len(samples), samples.shape[-1])
    if filtered is None:
        filtered = _high_passed(samples, sampling_rate)
    seconds = lengths / sampling_rate
    banded = _band_passed(filtered, sampling_rate)
    horizontal = np.einsum("ncs,ncs->ns", banded[:, :2], banded[:, :2])
    vertical = np.square(banded[:, 2])
    catalogue_p = np.full(len(s_p), SECONDS_BEFORE_P)
    catalogue_s = catalogue_p + s_p
    last = np.minimum(catalogue_p + 0.9, catalogue_s - np.minimum(0.15, 0.2 * s_p))
    p = _onset([vertical, horizontal], catalogue_p, catalogue_p - 2, last, sampling_rate)
    energy = horizontal + vertical
    p_contrast = _contrast(energy, p, sampling_rate)
    p = np.where(p_contrast >= LEAST_CONTRAST, p, np.nan)
    known_p = np.where(np.isnan(p), catalogue_p, p)
    first = np.maximum(catalogue_s - 1.5, known_p + np.minimum(0.3, 0.3 * s_p))
    last = np.minimum(catalogue_s + 1, seconds)
    s = _onset([horizontal], catalogue_s, first, last, sampling_rate)
    s_contrast = _contrast(energy, s, sampling_rate)
    s = np.where(s_contrast >= LEAST_CONTRAST, s, np.nan)
    known_s = np.where(np.isnan(s), catalogue_s, s)
    second, second_contrast = _second_onset(energy, known_s, lengths, sampling_rate)
    columns = {
        "p_onset": p - SECONDS_BEFORE_P,
        "s_onset": s - catalogue_s,
        "p_contrast": p_contrast,
        "s_contrast": s_contrast,
        "second_onset": second,
        "second_contrast": second_contrast,
        "level_below_corner": _level_below_corner(filtered, known_p, known_s, sampling_rate),
    }
    columns |= _recorder_traits(samples, lengths, known_p, sampling_rate)
    return columns


def _stack(traces):
    """Traces of several lengths in one array, the last sample repeated; and their lengths."""
    lengths = np.array([trace.shape[1] for trace in traces])
    if (lengths == lengths[0]).all():
        return np.stack(traces), lengths
    kind = np.result_type(*(trace.dtype for trace in traces))
    samples = np.empty((len(traces), 3, lengths.max()), kind)
    for row, trace in zip(samples, traces):
        row[:, : trace.shape[1]] = trace
        row[:, trace.shape[1] :] = trace[:, -1:]
    return samples, lengths


def _high_passed(samples, sampling_rate):
    """The samples after a causal high-pass that had been running before the first one, float32."""
    moved = np.subtract(samples, samples[..., :1], dtype=float)
    return signal.sosfilt(_high_pass(sampling_rate), moved).astype(np.float32)


@cache
def _high_pass(sampling_rate):
    """Second-order section of the high-pass."""
    return signal.butter(2, HIGH_PASS, "highpass", fs=sampling_rate, output="sos")


def _band_passed(filtered, sampling_rate):
    """Second differences over 0.04 s of means of three samples: causal, 5 to 20 Hz at 100 Hz."""
    lag = max(1, round(0.04 * sampling_rate))
    smooth = filtered.copy()
    smooth[..., 1:] += filtered[..., :-1]
    smooth[..., 2:] += filtered[..., :-2]
    banded = np.zeros_like(filtered)
    banded[..., 2 * lag :] = smooth[..., 2 * lag :] + smooth[..., : -2 * lag]
    banded[..., 2 * lag :] -= 2 * smooth[..., lag:-lag]
    return banded


def _onset(energy, expected, first, last, sampling_rate):
    """Onsets [s] at the least of Akaike's criterion, summed over the series; NaN where no room is.

    Maeda (1985): k log var(x[:k]) + (N - k - 1) log var(x[k:]), between first and last, at most
    0.7 s from the expected time. energy: list of arrays (n, samples); the times: arrays (n,) [s].
    """
    rate, total = sampling_rate, energy[0].shape[1]
    begin = np.clip(np.rint(first * rate), 0, total - 1).astype(int)[:, None]
    end = np.clip(np.rint(last * rate), 0, total).astype(int)[:, None]
    before = np.arange(1, max(int((end - begin).max(initial=0)), 2) + 1)
    after = end - begin - before
    margin = 0.1 * rate
    allowed = (before >= margin) & (after >= margin)
    allowed &= np.abs((begin + before) / rate - expected[:, None]) <= 0.7
    places = np.minimum(begin + before - 1, total - 1)
    criterion = np.zeros(places.shape)
    for series in energy:
        part = np.take_along_axis(series, places, axis=1)
        part[after < 0] = 0
        sums = np.cumsum(part, axis=1, dtype=float)
        tiny = 1e-9 * sums[:, -1:] + 1e-30
        variance = (sums + tiny) / before
        criterion += before * np.log(variance, dtype=np.float32, casting="same_kind")
        variance = (sums[:, -1:] - sums + tiny) / np.maximum(after, 1)
        criterion += after * np.log(variance, dtype=np.float32, casting="same_kind")
        allowed &= sums[:, -1:] > 0
    found = np.where(allowed, criterion, np.inf).argmin(axis=1)
    return np.where(allowed.any(axis=1), (begin[:, 0] + before[found]) / rate, np.nan)


def _contrast(energy, onset, sampling_rate):
    """log10 of the power in 0.5 s after over before an onset [s], (n,)."""
    half = round(0.5 * sampling_rate)
    first = np.rint(np.nan_to_num(onset, nan=-1.0) * sampling_rate).astype(int) - half
    fits = (first >= 0) & (first + 2 * half <= energy.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(energy, 2 * half, axis=1)
    parts = windows[np.arange(len(energy)), np.where(fits, first, 0)].astype(float)
    before, after = parts[:, :half].sum(axis=1), parts[:, half:].sum(axis=1)
    good = fits & (before > 0) & (after > 0)
    return np.log10(np.where(good, after, np.nan) / np.where(good, before, 1.0))


def _second_onset(energy, s, lengths, sampling_rate):
    """Time after S [s] and contrast of the sharpest rise later than 0.9 s after S, (n,) each."""
    step, half = round(0.1 * sampling_rate), 5  # blocks of 0.1 s; five of them before and after
    count = energy.shape[1] // step
    if count < 2 * half:
        return np.full((2, len(energy)), np.nan)
    blocks = energy[:, : count * step].reshape(len(energy), count, step).sum(axis=2, dtype=float)
    power = np.lib.stride_tricks.sliding_window_view(blocks, half, axis=1).sum(axis=2)
    before, after = power[:, :-half], power[:, half:]
    place = half + np.arange(before.shape[1])
    times = place * step / sampling_rate - s[:, None]
    good = (times >= 0.9) & (step * (place + half) <= lengths[:, None]) & (before > 0)
    ratio = np.where(good, after, 0.0) / np.where(good, before, 1.0)
    best = np.arange(len(energy)), ratio.argmax(axis=1)
    some = good.any(axis=1)
    return np.where(some, times[best], np.nan), np.where(some, ratio[best], np.nan)


def _level_below_corner(filtered, p, s, sampling_rate):
    """log10 of the displacement density of S less the noise's, mean of 2 to 6 Hz, (n,)."""
    length = 2 ** round(np.log2(2.56 * sampling_rate))
    frequencies = fft.rfftfreq(length, 1 / sampling_rate)
    below = (frequencies >= 2) & (frequencies <= 6)
    taper = np.sqrt(2) * _taper(length, sampling_rate)
    spectra = []
    for first in (s - 0.3, p - 0.5 - length / sampling_rate):
        first = np.rint(first * sampling_rate).astype(int)
        fits = (first >= 0) & (first + length <= filtered.shape[-1])
        parts = _cut(filtered, np.where(fits, first, 0), length) * taper
        power = np.square(np.abs(fft.rfft(parts)[..., below])).sum(axis=1)
        spectra.append(np.where(fits[:, None], power, np.nan))
    of_s, noise = spectra
    rest = of_s - noise
    heard = of_s.sum(axis=1) > 2 * noise.sum(axis=1)
    displacement = np.where(rest > 0.1 * of_s, rest, 0.1 * of_s)
    displacement = displacement / np.square(2 * np.pi * frequencies[below])
    good = heard[:, None] & (displacement > 0)
    logs = 0.5 * np.log10(np.where(good, displacement, 1.0))
    return np.where(good.all(axis=1), logs.mean(axis=1), np.nan)


def _recorder_traits(samples, lengths, p, sampling_rate):
    """The columns of MEASUREMENTS that the raw counts give, dict of arrays (n,)."""
    low, high = samples.min(axis=-1, keepdims=True), samples.max(axis=-1, keepdims=True)
    flat = (low == high).any(axis=(1, 2))
    margin = 0.0005 * (high.astype(float) - low)
    near_low, near_high = low + margin, high - margin
    if samples.dtype.kind in "iu":
        near_low = np.floor(near_low).astype(samples.dtype)
        near_high = np.ceil(near_high).astype(samples.dtype)
    inside = np.arange(samples.shape[-1]) < lengths[:, None]
    near = ((samples >= near_high) | (samples <= near_low)) & inside[:, None]
    trace, at = np.divmod(np.flatnonzero(near), samples.shape[-1])  # ten times as fast as nonzero
    event, component = np.divmod(trace, 3)
    values = samples[event, component, at]
    apart = np.diff(at, prepend=-2) != 1
    apart |= np.diff(trace, prepend=-1) != 0
    apart |= np.diff(values > (low + margin)[event, component, 0], prepend=False) != 0
    peaks = np.bincount(trace[apart], minlength=3 * len(samples)).reshape(-1, 3)
    at_extreme = []
    for edge in (low, high):
        equal = values == edge[event, component, 0]
        at_extreme.append(np.bincount(trace[equal], minlength=3 * len(samples)).reshape(-1, 3))
    steps = np.abs(np.diff(_signed(samples)))
    before = np.rint((p - 0.5) * sampling_rate).astype(int)
    early = steps[..., : max(before.max(initial=1), 1)].astype(float)
    early *= (np.arange(early.shape[-1]) < before[:, None])[:, None]
    power = np.einsum("ncs,ncs->n", early, early) / (3 * np.maximum(before, 1))
    still = steps.max(axis=(1, 2)) == 0
    steps[steps == 0] = steps.max()
    smallest = steps.min(axis=(1, 2))
    return {
        "samples_at_extreme": np.where(flat, 0, np.max(at_extreme, axis=(0, 2))).astype(np.int32),
        "peaks_near_extreme": np.where(flat, 0, peaks.max(axis=1)).astype(np.int32),
        "smallest_step": np.where(still, np.nan, smallest),
        "noise_of_differences": 0.5 * np.log10(np.where(power > 0, power, np.nan)),
    }


def _signed(samples):
    """The samples in a type that holds their differences."""
    if samples.dtype.kind == "f" or samples.dtype in (np.int32, np.int64):
        return samples
    return samples.astype(np.int64)


def _cut(samples, first, length):
    """Parts (n, 3, length) of the samples that begin at another sample in each event."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, length, axis=-1)
    return windows[np.arange(len(samples)), :, first]


@cache
def _taper(length, sampling_rate):
    """Hann's taper, scaled so that squares of the transform are a two-sided density, float32."""
    taper = signal.get_window("hann", length)
    return (taper / np.sqrt(sampling_rate * np.square(taper).sum())).astype(np.float32)


def _packed_cross_spectra(filtered, p, s, lengths, sampling_rate):
    """Compute packed cross-spectra float32 (n, window, F, 9) and frames int16 (n, window).

    filtered: float32 array (n, 3, samples); p, s: arrival times (n,) [s]; lengths: samples (n,)
    """
    starts, used, edges = _frame_starts(p, s, lengths, sampling_rate)
    cut = np.lib.stride_tricks.sliding_window_view(filtered.swapaxes(0, 1), NPERSEG, axis=-1)
    cut = cut[:, np.arange(len(filtered)), starts]  # (3, frame, n, 64)
    cut[:, ~used] = 0
    cut -= cut.mean(axis=-1, keepdims=True)
    cut *= _taper(NPERSEG, sampling_rate)
    spectra = fft.rfft(cut)
    spectra[..., 1:-1] *= np.sqrt(2)
    shape = len(filtered), len(edges), spectra.shape[-1], len(ELEMENTS)
    packed = np.empty(shape, np.float32)
    frames = np.empty(shape[:2], np.int16)
    for place, (a, b) in enumerate(PAIRS):
        product = spectra[a].conj() * spectra[b]
        for window, (first, last) in enumerate(edges):
            total = product[first:last].sum(axis=0)
            packed[:, window, :, place] = total.real
            if a != b:
                packed[:, window, :, place + 3] = total.imag
    for window, (first, last) in enumerate(edges):
        frames[:, window] = used[first:last].sum(axis=0)
    packed /= np.where(frames > 0, frames, np.nan).astype(np.float32)[..., None, None]
    return packed, frames


def _frame_starts(p, s, lengths, sampling_rate):
    """First sample of each frame (K, n), whether it counts, and each window's range of frames."""
    starts, used, edges = [], [], []
    for name, (phase, after, until) in SPECTRUM_WINDOWS.items():
        arrival = p if phase == "P" else s
        first = np.rint((arrival + after) * sampling_rate).astype(int)
        length = round((until - after) * sampling_rate)
        end = first + length
        if name == "P":
            end = np.minimum(end, np.rint((s - 0.05) * sampling_rate).astype(int))
        places = first + HOP * np.arange((length - NPERSEG) // HOP + 1)[:, None]
        inside = (first >= 0) & (end <= lengths) & (places + NPERSEG <= end)
        edges.append((len(starts), len(starts) + len(places)))
        starts.extend(np.where(inside, places, 0))
        used.extend(inside)
    return np.array(starts), np.array(used), edges


# ---------------------------------------------------------------------------------------- the file


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


def write_cross_spectra(source, output):
    """Write the cross-spectra and measurements of all events of a waveform folder that can be read.

    source: str or Path, folder in the waveform layout
    output: str or Path, the file, or a folder for cross_spectra.h5

    returns: Path of the file
    raises: ForeshapError where the folder is not in the waveform layout or no trace can be used
    """
    output = Path(output)
    if output.suffix != ".h5":
        output = output / FILE_NAME
    offered = offered_traces(source)
    good = offered[offered["reason"] == ""]
    check_room(output, 8000 * len(good))
    with written_whole(output) as partial, h5py.File(partial, "w") as file:
        parts = []
        create_axes(file)
        for rows, results in _measured(source, good):
            append_batch(file, *results[:2])
            columns = good.loc[rows, ["trace_name", "label", "station"]].reset_index(drop=True)
            parts.append(columns.assign(**results[2]))
        if not parts:
            raise ForeshapError(
                f"No trace of {source} can be read for cross-spectra: see foreshap.REASONS."
            )
        first = good.iloc[0]
        stated = attributes_of(waveform_file(source, first["station"], first["period"]))
        finish_file(file, pd.concat(parts, ignore_index=True), stated)
    return output


def _measured(source, good):
    """Yield (rows, measure_batch()) of the traces that can be read."""
    with tqdm(total=len(good), desc="cross-spectra", unit="event") as progress:
        for (station, period), part in good.groupby(["station", "period"], sort=False):
            path = waveform_file(source, station, period)
            rate = float(attributes_of(path).get("sampling_rate", SAMPLING_RATE))
            with open_waveforms(path) as file:
                for first in range(0, len(part), BATCH):
                    batch = part.iloc[first : first + BATCH]
                    rows, traces = _read(file, batch, rate)
                    if traces:
                        s_p = good.loc[rows, "p_s_diff_sec"].to_numpy()
                        yield rows, measure_batch(traces, s_p, rate)
                    progress.update(len(batch))


def _read(file, batch, rate):
    """Rows and traces of those of a batch that can be read and reach 2 s past P."""
    rows, traces = [], []
    for row, name, s_p in zip(batch.index, batch["trace_name"], batch["p_s_diff_sec"]):
        samples, reason = read_trace(file, name, samples_needed(s_p, rate))
        if reason or samples.shape[1] < (SECONDS_BEFORE_P + 2.0) * rate:
            continue
        if samples.dtype.kind == "f" and np.abs(samples).max() > LARGEST:
            continue
        rows.append(row)
        traces.append(samples)
    return rows, traces


def samples_needed(s_p, rate=SAMPLING_RATE):
    """Samples of a trace that its cross-spectra need: to a second past its last window, int."""
    return int(np.ceil((SECONDS_BEFORE_P + s_p + SECONDS_AFTER_S) * rate))


def create_axes(file, sampling_rate=SAMPLING_RATE):
    """Write the axes and empty datasets of a cross-spectra file (h5py.File open for writing)."""
    frequencies = fft.rfftfreq(NPERSEG, 1 / sampling_rate)
    file["window"] = np.array(tuple(SPECTRUM_WINDOWS), dtype=h5py.string_dtype())
    file["frequency"] = frequencies
    file["frequency"].attrs["units"] = "Hz"
    file["element"] = np.array(ELEMENTS, dtype=h5py.string_dtype())
    for name in ("window", "frequency", "element"):
        file[name].make_scale(name)
    shape = len(SPECTRUM_WINDOWS), len(frequencies), len(ELEMENTS)
    for name, kind, tail in (("cross_spectrum", "f4", shape), ("frames", "i2", shape[:1])):
        file.create_dataset(name, (0, *tail), kind, maxshape=(None, *tail), chunks=(BATCH, *tail))
    file["frames"].attrs["long_name"] = "frames that a window's mean is of"


def append_batch(file, packed, frames):
    """Append a batch of events, as measure_batch() returns them, to a file of create_axes()."""
    for name, values in (("cross_spectrum", packed), ("frames", frames)):
        dataset = file[name]
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[-len(values) :] = values


def finish_file(file, table, stated):
    """Complete a file with its events' columns and the attributes that the waveforms state.

    file: h5py.File of create_axes()
    table: DataFrame, one row an event: trace_name, label, others, the columns of MEASUREMENTS
    stated: dict, attributes of the waveforms
    """
    write_columns(file, table.astype({"label": np.int8}))
    unit = str(stated.get("unit", "counts"))
    unit = unit if unit.isalpha() else f"({unit})"
    for name, (units, meaning) in MEASUREMENTS.items():
        file[name].attrs.update(units=units.replace("counts", unit), long_name=meaning)
    values = file["cross_spectrum"]
    values.attrs["units"] = f"{unit}^2 Hz^-1"
    values.attrs["long_name"] = "cross-spectral density of the components, conj(first) second"
    for dimension, name in zip(values.dims, ("trace_name", "window", "frequency", "element")):
        dimension.attach_scale(file[name])
    for dimension, name in zip(file["frames"].dims, ("trace_name", "window")):
        dimension.attach_scale(file[name])
    file.attrs.update(stated)
    file.attrs.update(
        Conventions="CF-1.11",
        nperseg=NPERSEG,
        hop=HOP,
        high_pass_hz=HIGH_PASS,
        windows=json.dumps(SPECTRUM_WINDOWS),
        history=f"foreshap.write_cross_spectra: {len(table)} events",
    )


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
            packed = h5py.Dataset(open_dataset(file, "cross_spectrum"))
            frames = h5py.Dataset(open_dataset(file, "frames"))[:]
            windows = tuple(h5py.Dataset(open_dataset(file, "window")).asstr()[:])
            frequencies = h5py.Dataset(open_dataset(file, "frequency"))[:]
            expected = len(frames), len(windows), len(frequencies), len(ELEMENTS)
            if packed.shape != expected or packed.dtype != np.float32:
                raise ValueError(f"its cross-spectra are {packed.shape}, not {expected}")
            table = _read_table(file, len(frames))
            values = unpack(packed[:])
            attributes = dict(file.attrs)
        except Exception as error:  # numpy and h5py raise a dozen kinds for damaged files
            raise ForeshapError(
                f"{path} is no file of cross-spectra ({first_line(error)}): "
                "make it again with foreshap.preprocess."
            ) from error
    return CrossSpectra(path, values, frames, windows, frequencies, table, attributes)


def _read_table(file, n):
    """The columns of a file of n events, DataFrame."""
    columns = {}
    for name in file:
        dataset = h5py.Dataset(open_dataset(file, name))
        if dataset.ndim != 1 or name in ("window", "frequency", "element"):
            continue
        if dataset.shape != (n,):
            raise ValueError(f"{name} has {len(dataset)} values for {n} events")
        text = h5py.check_string_dtype(dataset.dtype)
        columns[name] = dataset.asstr()[:] if text else dataset[:]
    return pd.DataFrame(columns)
