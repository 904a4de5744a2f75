"""Seismograms become log-spectrograms, in a stream from files to files."""

import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft, signal
from tqdm import tqdm

from ..files import ForeshapError, check_room, file_states, folder_written_whole, sha256
from ..parallel import map_in_order
from .clipping import clipped, filled_gap, flagged
from .cross_spectra.file import BYTES, FILE_NAME, append_batch, complete_file, create_file
from .cross_spectra.measurements import LEAST_RATE, measure_batch
from .tensor_file import append_events, can_be_column, complete, create_tensor_file
from .variants import SAMPLING_RATE, SECONDS_BEFORE_P, VARIANTS, Variant
from .waveforms import instrument_differences, read_batches, read_folder, waveform_file

FLOOR = 1e-10  # added to the power before the logarithm
LARGEST = 1e15  # of a sample: no digitiser's, and its power would not fit into float32
TOGETHER = 32  # events transformed together: few enough to stay in the processor's cache


def log_spectrogram(waveforms, variant):
    """Compute log10 of the power spectral density as scipy.signal.spectrogram defines it.

    Each frame loses its mean, is tapered (Tukey, 0.25) and Fourier-transformed; one-sided density.

    waveforms: array (..., 3, samples) [counts], cut to the variant's window
    variant: Variant
    returns: float32 array (..., 3, F, T), log10(density + 1e-10) [log10(counts^2/Hz)]
    raises: ForeshapError where the number of samples is not the variant's
    """
    waveforms = np.asarray(waveforms, dtype=np.float64)
    if waveforms.shape[-1] != variant.samples:
        needed = f"{variant.name} needs windows of {variant.samples} samples"
        raise ForeshapError(f"{needed}, these have {waveforms.shape[-1]}: cut them.")
    frames = np.lib.stride_tricks.sliding_window_view(waveforms, variant.nperseg, axis=-1)
    frames = np.ascontiguousarray(frames[..., :: variant.hop, :].swapaxes(-1, -2))
    parts = _frame_transform(variant) @ frames
    np.square(parts, out=parts)
    real, imaginary = np.split(parts, 2, axis=-2)
    power = np.add(real, imaginary, out=real)
    power += FLOOR
    power = power.astype(np.float32)
    return np.log10(power, out=power)


@cache
def _frame_transform(variant):
    """Detrending, tapering and the scaled Fourier transform of a frame: a matrix (2 F, nperseg).

    Its upper half gives the real, its lower half the imaginary part of the root of the density.
    """
    taper = signal.get_window(("tukey", 0.25), variant.nperseg)
    sides = np.full((variant.shape[1], 1), 2.0)  # between 0 Hz and Nyquist power counts twice
    sides[0] = 1.0
    if variant.nperseg % 2 == 0:  # else no row is at Nyquist
        sides[-1] = 1.0
    fourier = fft.rfft(np.eye(variant.nperseg)).T * taper
    fourier *= np.sqrt(sides / (variant.sampling_rate * (taper**2).sum()))
    detrended = fourier - fourier.mean(axis=1, keepdims=True)
    return np.vstack([detrended.real, detrended.imag])


@dataclass(frozen=True)
class Report:
    """What became of the traces offered."""

    written: int
    rejected: pd.DataFrame  # trace_name and reason, one row a trace
    differences: list  # of str: properties of the instrument that differ between the classes


def preprocess(source, output, variants=tuple(VARIANTS.values()), **attributes):
    """Turn a waveform folder into one tensor file a variant, all from one reading, in a stream.

    The events' cross-spectra are written beside them, at 32 Hz or more.

    source: str or Path, folder in the waveform layout
    output: str or Path, folder for <variant name>.h5 and cross_spectra.h5
    variants: sequence of Variant, of the waveforms' sampling rate
    attributes: str or number, of the tensor files: dataset, mainshock and whatever else the
        waveform files don't state themselves
    returns: dict, variant name -> Report; without a file where a variant has no trace
    raises: ForeshapError where the folder is not in the waveform layout, no trace can be used in
        any variant, units differ, or variants have one name or another rate than the waveforms
    """
    variants = tuple(variants) if isinstance(variants, Iterable) else (variants,)
    folder = read_folder(source)
    unit = _check(folder, variants)
    size = BYTES + sum(4 * math.prod(variant.shape) for variant in variants)
    check_room(output, size * int(folder.is_good.sum()))
    with folder_written_whole(output) as new:
        reasons = _write(new, folder, variants, unit, attributes)
    reports = {}
    for name, reason in reasons.items():
        written = reason == ""
        if not written.any():  # that of an earlier run
            Path(output, f"{name}.h5").unlink(missing_ok=True)
        rejected = folder.offered[["trace_name"]].assign(reason=reason)[~written]
        differences = instrument_differences(folder.offered[written])
        reports[name] = Report(int(written.sum()), rejected.reset_index(drop=True), differences)
    return reports


def _check(folder, variants):
    """Return the one unit of a folder's files, "counts" without a statement; check their rates."""
    for variant in variants or [None]:
        if not isinstance(variant, Variant):
            raise ForeshapError(f"{variant!r} is no Variant: give [foreshap.VARIANTS['P64']], say.")
    names = [variant.name for variant in variants]
    if len(set(names)) < len(names):
        raise ForeshapError(f"Two of the variants {', '.join(names)} have one name: drop one.")
    for name in folder.offered.columns:
        if not can_be_column(name):
            kept = "a name that tensor files keep for something else"
            raise ForeshapError(f"A table in {folder.path} has a column {name}, {kept}: rename it.")
    units = {}
    for (station, side), stated in folder.attributes.items():
        path = waveform_file(folder.path, station, side)
        units.setdefault(str(stated.get("unit", "counts")), path.name)
        stated_rate = stated.get("sampling_rate", SAMPLING_RATE)
        try:
            rate = float(stated_rate)
        except (TypeError, ValueError):
            rate = math.nan
        for variant in variants:
            if not math.isclose(rate, variant.sampling_rate, rel_tol=1e-6):
                needed = f"{variant.name} needs {variant.sampling_rate:g} Hz: give a Variant of it"
                raise ForeshapError(f"{path} is sampled at {stated_rate} Hz, {needed}.")
    if len(units) > 1:
        named = ", ".join(f"{unit} in {name}" for unit, name in units.items())
        raise ForeshapError(f"{folder.path} has several units ({named}): import it in one.")
    return next(iter(units), "counts")


def _write(new, folder, variants, unit, attributes):
    """Write all files; returns dict, variant name -> reason of each trace, "" if written."""
    reasons, at_edge, files, measured = {}, {}, {}, []
    paths = sorted(folder.path.glob("*.hdf5"))
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        hashes = pool.map(sha256, paths)
        results = map_in_order(_transform, _read(folder, variants), pool, ahead=3)
        for variant in variants:
            name = variant.name
            reasons[name] = folder.offered["reason"].to_numpy(object, copy=True)
            at_edge[name] = flagged(folder.offered).copy()
            file = create_tensor_file(new / f"{name}.h5", variant, unit)
            files[name] = stack.enter_context(file)
        rate = variants[0].sampling_rate
        if rate >= LEAST_RATE:
            spectra = stack.enter_context(create_file(new / FILE_NAME, rate, unit))
        for rows, of_variants, of_events in results:
            for name, (values, reason, found) in of_variants.items():
                reasons[name][rows] = reason
                at_edge[name][rows] |= found
                append_events(files[name]["spectrogram"], values)
            if of_events:
                measured.append(append_batch(spectra, of_events))
        digests = json.dumps({path.name: digest for path, digest in zip(paths, hashes)})
        if file_states(folder.path) != folder.states:
            raise ForeshapError(f"{folder.path} was changed while it was read: run again.")
        is_written = np.any([reason == "" for reason in reasons.values()], axis=0)
        if not is_written.any():
            name = variants[0].name
            counts = pd.Series(reasons[name], dtype=str).value_counts()
            most = ", ".join(f"{count} times '{text}'" for text, count in counts.items())
            why = f"{most or 'none is there'}): see foreshap.REASONS"
            raise ForeshapError(f"No trace of {folder.path} can be used for {name} ({why}.")
        about = {"unit": unit, "source_sha256": digests}
        for name, file in files.items():
            written = reasons[name] == ""
            if not written.any():
                (new / f"{name}.h5").unlink()
                continue
            events = folder.offered.assign(clipped=at_edge[name].astype(np.int8))[written]
            stated = _describe(folder, events, about)
            complete(file, events.drop(columns=["reason", "side"]), stated | attributes)
        if measured:
            events = folder.offered[is_written]
            stated = _describe(folder, events, about) | attributes
            complete_file(spectra, events, measured, unit, stated)
    return reasons


def _describe(folder, events, about):
    """Return the attributes of a file of some events: what their source states, and about them."""
    stated = folder.attributes[events["station"].iloc[0], events["side"].iloc[0]]
    place = folder.path.resolve()
    if "waveforms" in (place.name, place.parent.name):  # <dataset>/waveforms or a folder in it
        place = place.parent if place.name == "waveforms" else place.parent.parent
    about = {"dataset": place.name} | stated | about
    about["history"] = f"foreshap.preprocess: {len(events)} events"
    differences = instrument_differences(events)
    if differences:
        about["instrument_differences"] = "\n".join(differences)
    return about


def _read(folder, variants):
    """Read batch after batch, as far as a window reaches; yields (rows, S-P, traces, variants)."""
    s_p = np.where(folder.is_good, folder.offered["p_s_diff_sec"], 1.0)
    # The usual variants always count: a trace is as good whichever variants are asked for.
    windows = {*VARIANTS.values(), *variants}
    ends = np.max([v.first_samples(s_p) + v.samples for v in windows], axis=0)
    with tqdm(total=folder.is_good.sum(), desc="log-spectrograms", unit="event") as progress:
        for rows, traces in read_batches(folder, ends, TOGETHER):
            yield rows, s_p[rows], traces, variants
            progress.update(len(rows))


def _transform(batch):
    """Transform a batch of _read().

    returns: the batch's rows; dict, variant name -> what _cut_and_transform() returns; what
        measure_batch() returns of the events that can serve, or None
    """
    rows, s_p, traces, variants = batch
    of_variants = {}
    serves = np.zeros(len(traces), bool)
    for variant in variants:
        of_variants[variant.name] = _cut_and_transform(variant, s_p, traces)
        serves |= np.array(of_variants[variant.name][1]) == ""
    rate = variants[0].sampling_rate
    if rate < LEAST_RATE or not serves.any():
        return rows, of_variants, None
    samples = [traces[i][0] for i in np.flatnonzero(serves)]
    return rows, of_variants, measure_batch(samples, s_p[serves], rate)


def _cut_and_transform(variant, s_p, traces):
    """Cut and transform the traces that can serve.

    returns: float32 array (n, 3, F, T); of all traces, a reason ("" if so) and whether clipped
    """
    reasons = []
    windows = np.zeros((len(traces), 3, variant.samples))
    edges = np.zeros((2, len(traces), 3))
    starts = variant.first_samples(s_p)
    for i, (samples, reason) in enumerate(traces):
        stop = starts[i] + variant.samples
        if not reason and variant.phase == "S" and np.isnan(s_p[i]):
            reason = "S-P missing"
        if not reason and (starts[i] < 0 or stop > samples.shape[1]):
            reason = "window longer than the trace"
        if not reason:
            with np.errstate(over="ignore"):  # a number too large becomes infinite
                windows[i] = samples[:, starts[i] : stop]
            edges[:, i] = windows[i].min(axis=1), windows[i].max(axis=1)
            reason = _unfit(windows[i], *edges[:, i], variant)
        reasons.append(reason)
    good = np.flatnonzero(np.array(reasons) == "")
    if len(good) < len(traces):
        windows = windows[good]
    noise = round(SECONDS_BEFORE_P * variant.sampling_rate)
    before = [traces[i][0][:, :noise] for i in good]
    at_edge = np.zeros(len(traces), bool)
    at_edge[good] = clipped(windows, before, edges[:, good])
    return log_spectrogram(windows, variant), reasons, at_edge


def _unfit(window, low, high, variant):
    """Say why a window (3, samples) can't serve, else ""; low, high: its components' extremes.

    A mean density below the floor is a standard deviation of 7e-5 at 100 Hz: one step of 1 count
    in a window is more.
    """
    if not (np.maximum(-low, high) < LARGEST).all():  # NaN is not
        return "samples not finite"
    if (low == high).any():
        return "component flat"
    if any(filled_gap(component, variant.sampling_rate) for component in window):
        return "gap inside the window"
    is_quiet = (high - low < 1).all()
    if is_quiet and (window.var(axis=1) < FLOOR * variant.sampling_rate / 2).all():
        return "below the logarithm's floor: use counts or nm/s"
    return ""
