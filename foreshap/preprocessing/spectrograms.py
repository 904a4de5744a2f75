"""Log-spectrograms, the tensor file that holds them, and reading it back."""

import json
import math
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft, signal
from tqdm.auto import tqdm

from ..files import ForeshapError, check_room, folder_written_whole, sha256
from .clipping import clipped, flagged
from .tensor_file import AXES, append_events, attach_axes, create_tensor_file, write_columns
from .variants import SAMPLING_RATE, SECONDS_BEFORE_P, VARIANTS, Variant
from .waveforms import (
    attributes_of,
    offered_traces,
    open_waveforms,
    read_trace,
    table_file,
    waveform_file,
)

FLOOR = 1e-10  # added to the power before the logarithm
LARGEST = 1e15  # of a sample: no digitiser's, and its power would not fit into float32
BATCH = 16  # events transformed together: small enough to stay in the processor's cache


def log_spectrogram(waveforms, variant):
    """Log10 of the power spectral density of frames, as scipy.signal.spectrogram defines it.

    Each frame loses its mean, is tapered (Tukey, 0.25) and Fourier-transformed; one-sided density.

    waveforms: array (..., 3, samples) [counts], cut to the variant's window
    variant: Variant

    returns: float32 array (..., 3, F, T), log10(density + 1e-10) [log10(counts^2/Hz)]
    raises: ForeshapError where the number of samples is not the variant's
    """
    waveforms = np.asarray(waveforms, dtype=np.float64)
    if waveforms.shape[-1] != variant.samples:
        raise ForeshapError(
            f"{variant.name} needs windows of {variant.samples} samples, these have {waveforms.shape[-1]}: cut them."
        )
    frames = np.lib.stride_tricks.sliding_window_view(waveforms, variant.nperseg, axis=-1)[
        ..., :: variant.hop, :
    ]
    parts = _frame_transform(variant) @ np.ascontiguousarray(frames.swapaxes(-1, -2))
    real, imaginary = np.split(np.square(parts, out=parts), 2, axis=-2)
    power = np.add(real, imaginary, out=real)
    power += FLOOR
    power = power.astype(np.float32)
    return np.log10(power, out=power)


@cache
def _frame_transform(variant):
    """Detrending, tapering and the scaled Fourier transform of a frame: one linear map, (2 F, nperseg).

    Its upper half gives the real, its lower half the imaginary part of the root of the density.
    """
    taper = signal.get_window(("tukey", 0.25), variant.nperseg)
    sides = np.full(
        (variant.shape[1], 1), 2.0
    )  # one-sided: what lies between 0 Hz and Nyquist counts twice
    sides[0] = 1.0
    if variant.nperseg % 2 == 0:  # else no row is at Nyquist
        sides[-1] = 1.0
    fourier = fft.rfft(np.eye(variant.nperseg)).T * taper
    fourier *= np.sqrt(sides / (variant.sampling_rate * (taper**2).sum()))
    detrended = fourier - fourier.mean(axis=1, keepdims=True)
    return np.vstack([detrended.real, detrended.imag])


@dataclass(frozen=True)
class Report:
    """What became of the traces offered: written (int) and rejected (DataFrame trace_name, reason)."""

    written: int
    rejected: pd.DataFrame


def preprocess(source, output, variants=tuple(VARIANTS.values())):
    """Turn a waveform folder into one tensor file a variant, all from one reading, in a stream.

    source: str or Path, folder in the waveform layout
    output: str or Path, folder for <variant name>.h5; existing files are replaced when all is done
    variants: sequence of Variant, of the waveforms' sampling rate

    returns: dict, variant name -> Report
    raises: ForeshapError where the folder is not in the waveform layout, no trace can be used, units differ, or
        variants have one name or another sampling rate than the waveforms
    """
    variants, offered = _checked(variants), offered_traces(source)
    _check_columns(source, offered)
    size = sum(4 * np.prod(variant.shape) for variant in variants) * (offered["reason"] == "").sum()
    check_room(output, size)
    reasons = {variant.name: np.array(offered["reason"], dtype=object) for variant in variants}
    with folder_written_whole(output) as folder:
        _write(folder, source, offered, variants, reasons)
    return {name: _report(offered, reason) for name, reason in reasons.items()}


def _checked(variants):
    """Variants as a tuple, each with a name of its own."""
    variants = tuple(variants) if isinstance(variants, Iterable) else (variants,)
    if others := [one for one in variants if not isinstance(one, Variant)]:
        raise ForeshapError(
            f"{others[0]!r} is no Variant: give a list of them, such as [foreshap.VARIANTS['P64']]."
        )
    names = [variant.name for variant in variants]
    if len(set(names)) < len(names):
        raise ForeshapError(
            f"Two of the variants {', '.join(names)} have one name, and so one file: drop one."
        )
    return variants


def _check_columns(source, offered):
    """Raise ForeshapError where a table has a column whose name is taken in tensor files or can't be one in HDF5."""
    for name in [
        name for name in offered if name in ("spectrogram", "shap", ".", *AXES) or "/" in name
    ]:
        rows = offered[offered[name].notna() & (offered["period"] != "")]
        path = (
            table_file(source, *rows[["station", "period"]].iloc[0])
            if len(rows)
            else f"A table in {source}"
        )
        raise ForeshapError(
            f"{path} has a column {name}, a name that tensor files can't give to a column: rename it."
        )


def _write(folder, source, offered, variants, reasons):
    """Write the tensor files, and the reason of each trace that is not in them (into the arrays of reasons)."""
    flags = {variant.name: flagged(offered) for variant in variants}
    with ExitStack() as stack:
        unit = _checked_unit(source, offered, variants)
        files = [
            stack.enter_context(create_tensor_file(folder / f"{v.name}.h5", v, unit))
            for v in variants
        ]
        pool = stack.enter_context(ThreadPoolExecutor(2))
        hashes = {
            path.name: pool.submit(sha256, path) for path in sorted(Path(source).glob("*.hdf5"))
        }
        for rows, results in _transformed(pool, source, offered, variants):
            for variant, file, (values, reason, at_edge) in zip(variants, files, results):
                reasons[variant.name][rows] = reason
                flags[variant.name][rows] |= at_edge
                append_events(file["spectrogram"], values)
        hashes = {name: job.result() for name, job in hashes.items()}
        for variant, file in zip(variants, files):
            written = reasons[variant.name] == ""
            if not written.any():
                raise ForeshapError(_none_usable(source, variant, reasons[variant.name]))
            events = offered[written].assign(clipped=flags[variant.name][written].astype(np.int8))
            _finish(file, events, source, hashes)
            file.flush()  # a full disk is an error here, not in closing


def _none_usable(source, variant, reason):
    """The sentence about a folder none of whose traces can be written, from the reason of each."""
    most = ", ".join(
        f"{n} times '{why}'" for why, n in pd.Series(reason, dtype=str).value_counts().items()
    )
    return f"No trace of {source} can be used for {variant.name} ({most or 'none is there'}): see foreshap.REASONS."


def _checked_unit(source, offered, variants):
    """The one unit of a folder's waveforms, "counts" where a file states none; their rate must be the variants'."""
    units = {}
    for station, period in (
        offered.loc[offered["period"] != "", ["station", "period"]].drop_duplicates().to_numpy()
    ):
        path = waveform_file(source, station, period)
        stated = attributes_of(path)
        _check_rate(path, stated.get("sampling_rate", SAMPLING_RATE), variants)
        units.setdefault(str(stated.get("unit", "counts")), path.name)
    if len(units) > 1:
        named = ", ".join(f"{unit} in {name}" for unit, name in units.items())
        raise ForeshapError(
            f"The waveforms in {source} have several units ({named}): import them in one."
        )
    return next(iter(units), "counts")


def _check_rate(path, stated, variants):
    """Raise ForeshapError where the rate that a file states is not that of each variant."""
    try:
        rate = float(stated)
    except (TypeError, ValueError):
        rate = math.nan
    for variant in variants:
        if not math.isclose(rate, variant.sampling_rate, rel_tol=1e-6):
            raise ForeshapError(
                f"{path} is sampled at {stated} Hz, {variant.name} needs {variant.sampling_rate:g} Hz: "
                "resample the waveforms, or give a Variant of their rate."
            )


def _report(offered, reason):
    """One variant's Report from the reason of each trace offered ("" where written)."""
    rejected = offered[["trace_name"]].assign(reason=reason)[reason != ""]
    return Report(int((reason == "").sum()), rejected.reset_index(drop=True))


def _transformed(pool, source, offered, variants):
    """Read batch after batch while two threads transform those before; yields (rows, a result a variant)."""
    pending = deque()
    s_p = offered["p_s_diff_sec"].to_numpy()
    for rows, traces in _read_batches(source, offered, variants):
        pending.append(
            (rows, [pool.submit(_cut_and_transform, v, s_p[rows], traces) for v in variants])
        )
        if len(pending) > 3:
            rows, jobs = pending.popleft()
            yield rows, [job.result() for job in jobs]
    for rows, jobs in pending:
        yield rows, [job.result() for job in jobs]


def _read_batches(source, offered, variants):
    """Read the traces whose rows are good, as far as a window reaches; yields (rows, list of (samples, reason)).

    The usual variants' windows count always: a trace is as good whichever variants are asked for.
    """
    windows = {*VARIANTS.values(), *variants}
    good = offered[offered["reason"] == ""]
    with tqdm(total=len(good), desc="log-spectrograms", unit="event") as progress:
        for (station, period), part in good.groupby(["station", "period"], sort=False):
            rows, names, s_p = (
                part.index.to_numpy(),
                part["trace_name"].to_numpy(),
                part["p_s_diff_sec"].to_numpy(),
            )
            ends = np.max([_starts(v, s_p) + v.samples for v in windows], axis=0)
            with open_waveforms(waveform_file(source, station, period)) as file:
                for first in range(0, len(rows), BATCH):
                    batch = slice(first, first + BATCH)
                    yield (
                        rows[batch],
                        [
                            read_trace(file, name, end)
                            for name, end in zip(names[batch], ends[batch])
                        ],
                    )
                    progress.update(len(rows[batch]))


def _starts(variant, s_p):
    """First sample of each event's window in its trace, int array like s_p (N,) [s]."""
    onset = SECONDS_BEFORE_P - variant.seconds_before + (s_p if variant.phase == "S" else 0 * s_p)
    return np.rint(onset * variant.sampling_rate).astype(int)


def _cut_and_transform(variant, s_p, traces):
    """Log-spectrograms (n, 3, F, T) of the traces that can serve; of all, a reason ("" if so) and whether clipped."""
    reasons, windows, edges = (
        [],
        np.zeros((len(traces), 3, variant.samples)),
        np.zeros((2, len(traces), 3)),
    )
    for i, (start, window, (samples, reason)) in enumerate(
        zip(_starts(variant, s_p), windows, traces)
    ):
        if not reason and not 0 <= start <= samples.shape[1] - variant.samples:
            reason = "window longer than the trace"
        if not reason:
            with np.errstate(over="ignore"):  # a number too large becomes infinite
                window[:] = samples[:, start : start + variant.samples]
            low, high = edges[:, i] = window.min(axis=1), window.max(axis=1)
            reason = _unfit(window, low, high, variant)
        reasons.append(reason)
    good = [i for i, reason in enumerate(reasons) if not reason]
    windows, at_edge = (
        windows[good] if len(good) < len(traces) else windows,
        np.zeros(len(traces), bool),
    )
    noise = round(SECONDS_BEFORE_P * variant.sampling_rate)
    at_edge[good] = clipped(windows, [traces[i][0][:, :noise] for i in good], edges[:, good])
    return log_spectrogram(windows, variant), reasons, at_edge


def _unfit(window, low, high, variant):
    """Why a window (3, samples) can't serve, "" where it can; low, high: its components' smallest and largest values.

    A mean density below the floor is a standard deviation of 7e-5 at 100 Hz: one step of 1 count in a window is more.
    """
    if not (np.maximum(-low, high) < LARGEST).all():  # NaN is not
        return "samples not finite"
    if (low == high).any():
        return "component flat"
    floored = (high - low < 1).all() and (
        window.var(axis=1) < FLOOR * variant.sampling_rate / 2
    ).all()
    return "below the logarithm's floor: use counts or nm/s" if floored else ""


def _finish(file, events, source, hashes):
    """Complete a tensor file with its events' columns and where it comes from (hashes: file name -> sha256)."""
    write_columns(file, events.drop(columns=["reason", "period"]).astype({"label": np.int8}))
    attach_axes(file["spectrogram"])
    file.attrs.update(attributes_of(waveform_file(source, *events[["station", "period"]].iloc[0])))
    for name, usual in (("dataset", _dataset(source)), ("unit", "counts")):
        file.attrs[name] = file.attrs.get(name, usual)
    file.attrs["source_sha256"] = json.dumps(hashes)
    file.attrs["history"] = f"foreshap.preprocess: {len(events)} events"


def _dataset(source):
    """Name of the dataset that a folder holds: <name> of <name>/waveforms and the folders in it, else the folder's."""
    folder = Path(source).resolve()
    return next(
        (at.parent.name for at in (folder, folder.parent) if at.name == "waveforms"), folder.name
    )
