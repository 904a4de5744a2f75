"""Measurements of an event's raw samples: onsets, a level, and the recorder's traits."""

from functools import cache

import numpy as np

from ..variants import SAMPLING_RATE, SECONDS_BEFORE_P
from .windows import as_samples, cut, frame_transform, high_passed, packed_cross_spectra

SECONDS_AFTER_S = 10.0  # that are used: an own S may come later
LEAST_RATE = 32.0  # Hz: below it windows of 2 s hold no frame of 64 samples
LEAST_CONTRAST = 0.3  # log10: an onset at which the power doesn't double is none
LARGEST = 1e15  # of a sample: no digitiser's
MEASUREMENTS = {  # column: unit, what it is
    "p_onset": ("s", "own onset of P after the catalogue's; NaN where none is clear"),
    "s_onset": ("s", "own onset of S after the catalogue's; NaN where none is clear"),
    "second_onset": ("s", "time after S of the sharpest rise later than 0.9 s after S"),
    "second_contrast": ("1", "power in 0.5 s after over before that rise"),
    "level_below_corner": (
        "log10(counts s Hz^-0.5)",
        "log10 of the ground displacement of S between 2 and 6 Hz, of the amplitude's density",
    ),
    "peaks_near_extreme": ("1", "raw peaks of one component within 0.1 % of its largest value"),
    "smallest_step": ("counts", "smallest difference of two raw samples in a row"),
}


def measure_batch(traces, s_p, sampling_rate=SAMPLING_RATE):
    """Compute what the file holds of a batch of events.

    traces: list of n arrays (3, samples) of raw counts, P at 5 s, to 10 s after S or further
    s_p: array (n,), the catalogue's S-P [s]; NaN where no S is known
    returns: packed spectra float32 (n, window, frequency, 9); dict, of MEASUREMENTS -> array (n,)
    """
    s_p = np.asarray(s_p, float)
    samples, lengths = _stack(traces, s_p, sampling_rate)
    filtered = high_passed(samples, sampling_rate)
    horizontal, vertical = _energies(filtered, sampling_rate)
    energy = horizontal + vertical
    early_p = np.full(len(s_p), SECONDS_BEFORE_P)  # the catalogue's
    early_s = early_p + s_p
    last = early_p + np.fmin(0.9, s_p - np.fmin(0.15, 0.2 * s_p))
    p = _onset([vertical, horizontal], energy, early_p, (early_p - 2, last), sampling_rate)
    known_p = np.where(np.isnan(p), early_p, p)
    first = np.maximum(early_s - 1.5, known_p + np.minimum(0.3, 0.3 * s_p))
    last = np.minimum(early_s + 1, lengths / sampling_rate)
    s = _onset([horizontal], energy, early_s, (first, last), sampling_rate)
    known_s = np.where(np.isnan(s), early_s, s)
    measured = {"p_onset": p - early_p, "s_onset": s - early_s}
    second = _second_onset(energy, known_s, lengths, sampling_rate)
    measured["second_onset"], measured["second_contrast"] = second
    level = _level_below_corner(filtered, known_p, known_s, lengths, sampling_rate)
    measured["level_below_corner"] = level
    measured |= _recorder_traits(samples, lengths)
    packed = packed_cross_spectra(filtered, known_p, known_s, lengths, sampling_rate)
    return packed, measured


def _stack(traces, s_p, sampling_rate):
    """Stack traces (n, 3, samples), the last sample repeated, and count those of each, int (n,).

    A trace with numbers that no digitiser gives counts none.
    """
    seconds = SECONDS_BEFORE_P + np.nan_to_num(s_p) + SECONDS_AFTER_S
    needed = np.ceil(seconds * sampling_rate).astype(int)
    lengths = np.minimum(needed, [trace.shape[1] for trace in traces])
    kind = np.result_type(np.int32, *(trace.dtype for trace in traces))  # holds differences too
    longest = max(lengths.max(), round(2 * SECONDS_BEFORE_P * sampling_rate))
    samples = np.empty((len(traces), 3, longest), kind)
    for row, trace, length in zip(samples, traces, lengths):
        row[:, :length] = trace[:, :length]
        row[:, length:] = trace[:, length - 1 : length]
    if kind.kind == "f":
        is_useless = np.abs(samples).max(axis=(1, 2)) > LARGEST
        samples[is_useless] = 0
        lengths[is_useless] = 0
    return samples, lengths


def _energies(filtered, sampling_rate):
    """Sum the energy from the first sample on, horizontal and vertical, float64 (n, samples + 1).

    The band is 5 to 20 Hz at 100 Hz, causal: second differences over 0.04 s of means of three.
    """
    lag = round(0.04 * sampling_rate)
    smooth = filtered[..., 2:] + filtered[..., 1:-1]
    smooth += filtered[..., :-2]
    banded = -2 * smooth[..., lag:-lag]
    banded += smooth[..., 2 * lag :]
    banded += smooth[..., : -2 * lag]
    banded *= banded
    sums = np.zeros((2, len(filtered), filtered.shape[-1] + 1))
    np.add(banded[:, 0], banded[:, 1], out=sums[0, :, 2 * lag + 3 :])
    sums[1, :, 2 * lag + 3 :] = banded[:, 2]
    return np.cumsum(sums, axis=-1, out=sums)


def _onset(energies, energy, expected, limits, sampling_rate):
    """Find clear onsets [s] at the least of Akaike's criterion, summed over energies; else NaN.

    Maeda (1985): k log var(x[:k]) + (N - k - 1) log var(x[k:]), between the limits, at most 0.7 s
    from the expected time (n,). energies, energy: sums (n, samples + 1), the last for the contrast.
    """
    longest = energy.shape[1] - 1
    begin, end = (np.clip(as_samples(t, sampling_rate), 0, longest)[:, None] for t in limits)
    end = np.maximum(end, begin)
    reach = round(0.7 * sampling_rate)
    places = as_samples(expected, sampling_rate)[:, None] + np.arange(-reach, reach + 1)
    before, after = places - begin, end - places
    margin = 0.1 * sampling_rate
    is_allowed = (before >= margin) & (after >= margin)
    within = np.clip(places, 0, longest)
    before, after = np.maximum(before, 1), np.maximum(after, 1)
    events = np.arange(len(energy))
    criterion = np.zeros(places.shape)
    for sums in energies:
        start = sums[events[:, None], begin]
        total = sums[events[:, None], end] - start
        part = sums[events[:, None], within] - start
        tiny = 1e-9 * total + 1e-30
        for share, count in ((part, before), (total - part, after)):
            variance = (np.maximum(share, 0) + tiny) / count
            criterion += count * np.log(variance.astype(np.float32))
        is_allowed &= total > 0
    place = places[events, np.where(is_allowed, criterion, np.inf).argmin(axis=1)]
    half = round(0.5 * sampling_rate)
    fits = is_allowed.any(axis=1) & (place >= half) & (place + half <= longest)
    rise = np.where(fits, place, half) + np.array([[-half], [0], [half]])
    before, after = np.diff(energy[events, rise], axis=0)
    is_good = fits & (before > 0) & (after > 0)
    contrast = np.log10(np.where(is_good, after, np.nan) / np.where(is_good, before, 1.0))
    return np.where(contrast >= LEAST_CONTRAST, place / sampling_rate, np.nan)


def _second_onset(sums, s, lengths, sampling_rate):
    """Find the sharpest rise later than 0.9 s after S: time after S [s], contrast, (n,) each."""
    step, half = round(0.1 * sampling_rate), 5  # steps of 0.1 s; five of them before and after
    power = sums[:, half * step :: step] - sums[:, : -half * step : step]
    before, after = power[:, :-half], power[:, half:]
    place = step * (half + np.arange(before.shape[1]))
    times = place / sampling_rate - s[:, None]
    is_good = (times >= 0.9) & (place + half * step <= lengths[:, None]) & (before > 0)
    ratio = np.where(is_good, after, 0.0) / np.where(is_good, before, 1.0)
    best = np.arange(len(sums)), ratio.argmax(axis=1)
    has_one = is_good.any(axis=1)
    return np.where(has_one, times[best], np.nan), np.where(has_one, ratio[best], np.nan)


def _level_below_corner(filtered, p, s, lengths, sampling_rate):
    """Compute log10 of the displacement density of S less the noise's, mean of 2 to 6 Hz, (n,)."""
    frequencies, transform = _transform_below_corner(sampling_rate)
    length = len(transform)
    first = as_samples(np.array([s - 0.3, p - 0.5 - length / sampling_rate]), sampling_rate)
    fits = (first >= 0) & (first + length <= lengths)
    parts = np.square(cut(filtered, np.where(fits, first, 0), length) @ transform)
    power = parts.reshape(3, *fits.shape, 2, -1).sum(axis=(0, 3))
    of_s, noise = np.where(fits[..., None], power, np.nan)
    displacement = np.maximum(of_s - noise, 0.1 * of_s) / np.square(2 * np.pi * frequencies)
    is_heard = of_s.sum(axis=1) > 2 * noise.sum(axis=1)
    is_good = is_heard[:, None] & (displacement > 0)
    logs = 0.5 * np.log10(np.where(is_good, displacement, 1.0))
    return np.where(is_good.all(axis=1), logs.mean(axis=1), np.nan)


@cache
def _transform_below_corner(sampling_rate):
    """Compute the frequencies of 2 to 6 Hz (F,), and the transform to them (samples, 2 F)."""
    length = 2 ** round(np.log2(2.56 * sampling_rate))
    frequencies = np.fft.rfftfreq(length, 1 / sampling_rate)
    below = (frequencies >= 2) & (frequencies <= 6)
    parts = [matrix[:, below] for matrix in frame_transform(length, sampling_rate)]
    return frequencies[below], np.hstack(parts)


def _recorder_traits(samples, lengths):
    """Measure the peaks near the extremes and the smallest step of raw counts, dict of (n,)."""
    low, high = samples.min(axis=-1, keepdims=True), samples.max(axis=-1, keepdims=True)
    margin = 0.0005 * (high.astype(float) - low)
    near_low, near_high = low + margin, high - margin
    if samples.dtype.kind in "iu":
        near_low = np.floor(near_low).astype(samples.dtype)
        near_high = np.ceil(near_high).astype(samples.dtype)
    is_real = np.arange(samples.shape[-1]) < lengths[:, None, None]
    peaks = 0
    for is_near in (samples >= near_high, samples <= near_low):
        is_near &= is_real
        is_new = is_near[..., 1:] & ~is_near[..., :-1]
        peaks = peaks + is_near[..., 0] + np.count_nonzero(is_new, axis=-1)
    is_flat = (low == high).any(axis=(1, 2))
    steps = np.diff(samples)
    np.abs(steps, out=steps)
    largest = steps.max(axis=(1, 2))
    smallest = steps.min(axis=(1, 2), where=steps > 0, initial=largest.max())
    return {
        "peaks_near_extreme": np.where(is_flat, 0, peaks.max(axis=1)).astype(np.int32),
        "smallest_step": np.where(largest > 0, smallest, np.nan),
    }
