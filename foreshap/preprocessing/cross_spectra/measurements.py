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


def measure_batch(traces, s_p, sampling_rate=SAMPLING_RATE):
    """Compute what the file holds of a batch of events.

    traces: list of n arrays (3, samples) of raw counts, P at 5 s, to 10 s after S or further
    s_p: array (n,), the catalogue's S-P [s]; NaN where no S is known
    sampling_rate: float [Hz], LEAST_RATE at least

    returns: float32 array (n, window, frequency, 9), packed; int16 array (n, window), frames;
        dict, name of MEASUREMENTS -> array (n,), NaN where nothing can be measured
    """
    s_p = np.asarray(s_p, float)
    samples, lengths = _stack(traces, samples_needed(s_p, sampling_rate), sampling_rate)
    filtered = high_passed(samples, sampling_rate)
    measured = _measure(samples, filtered, s_p, lengths, sampling_rate)
    p = SECONDS_BEFORE_P + np.nan_to_num(measured["p_onset"])
    s = SECONDS_BEFORE_P + s_p + np.nan_to_num(measured["s_onset"])
    packed, frames = packed_cross_spectra(filtered, p, s, lengths, sampling_rate)
    return packed, frames, measured


def samples_needed(s_p, sampling_rate=SAMPLING_RATE):
    """Count the samples of each trace that its cross-spectra need, int (n,), from S-P (n,) [s]."""
    seconds = SECONDS_BEFORE_P + np.nan_to_num(s_p) + SECONDS_AFTER_S
    return np.ceil(seconds * sampling_rate).astype(int)


def _stack(traces, needed, sampling_rate):
    """Stack traces (n, 3, samples), the last sample repeated, and count those of each, int (n,).

    A trace with numbers that no digitiser gives counts none.
    """
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


def _measure(samples, filtered, s_p, lengths, sampling_rate):
    """Measure samples (n, 3, N) and the same after the high-pass: dict of arrays (n,)."""
    horizontal, vertical = _energies(filtered, sampling_rate)
    energy = horizontal + vertical
    catalogue_p = np.full(len(s_p), SECONDS_BEFORE_P)
    catalogue_s = catalogue_p + s_p
    last = catalogue_p + np.fmin(0.9, s_p - np.fmin(0.15, 0.2 * s_p))
    p = _onset([vertical, horizontal], catalogue_p, catalogue_p - 2, last, sampling_rate)
    p_contrast = _contrast(energy, p, sampling_rate)
    p = np.where(p_contrast >= LEAST_CONTRAST, p, np.nan)
    known_p = np.where(np.isnan(p), catalogue_p, p)
    first = np.maximum(catalogue_s - 1.5, known_p + np.minimum(0.3, 0.3 * s_p))
    last = np.minimum(catalogue_s + 1, lengths / sampling_rate)
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
        "level_below_corner": _level_below_corner(
            filtered, known_p, known_s, lengths, sampling_rate
        ),
    }
    return columns | _recorder_traits(samples, lengths, known_p, sampling_rate)


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
    np.cumsum(sums, axis=-1, out=sums)
    return sums


def _onset(energies, expected, first, last, sampling_rate):
    """Find onsets [s] at the least of Akaike's criterion, summed over series; NaN without room.

    Maeda (1985): k log var(x[:k]) + (N - k - 1) log var(x[k:]), between first and last, at most
    0.7 s from the expected time. energies: list of sums (n, samples + 1); times: arrays (n,) [s].
    """
    longest = energies[0].shape[1] - 1
    begin = np.clip(as_samples(first, sampling_rate), 0, longest)[:, None]
    end = np.clip(as_samples(last, sampling_rate), 0, longest)[:, None]
    end = np.maximum(end, begin)
    reach = round(0.7 * sampling_rate)
    places = as_samples(expected, sampling_rate)[:, None] + np.arange(-reach, reach + 1)
    before, after = places - begin, end - places
    margin = 0.1 * sampling_rate
    is_allowed = (before >= margin) & (after >= margin)
    within = np.clip(places, 0, longest)
    before, after = np.maximum(before, 1), np.maximum(after, 1)
    criterion = np.zeros(places.shape)
    for sums in energies:
        events = np.arange(len(sums))[:, None]
        start, total = sums[events, begin], sums[events, end] - sums[events, begin]
        part = sums[events, within] - start
        tiny = 1e-9 * total + 1e-30
        for energy, count in ((part, before), (total - part, after)):
            variance = (np.maximum(energy, 0) + tiny) / count
            criterion += count * np.log(variance.astype(np.float32))
        is_allowed &= total > 0
    found = np.where(is_allowed, criterion, np.inf).argmin(axis=1)
    onset = places[events[:, 0], found] / sampling_rate
    return np.where(is_allowed.any(axis=1), onset, np.nan)


def _contrast(sums, onset, sampling_rate):
    """Compute log10 of the power in 0.5 s after over before an onset [s], (n,)."""
    half = round(0.5 * sampling_rate)
    place = as_samples(onset, sampling_rate)
    fits = (place >= half) & (place + half < sums.shape[1])
    place = np.where(fits, place, half)
    before, at, after = sums[np.arange(len(sums)), place + np.array([[-half], [0], [half]])]
    before, after = at - before, after - at
    is_good = fits & (before > 0) & (after > 0)
    return np.log10(np.where(is_good, after, np.nan) / np.where(is_good, before, 1.0))


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


def _recorder_traits(samples, lengths, p, sampling_rate):
    """Measure the columns of MEASUREMENTS that the raw counts give, dict of arrays (n,)."""
    low, high = samples.min(axis=-1, keepdims=True), samples.max(axis=-1, keepdims=True)
    is_flat = (low == high).any(axis=(1, 2))
    margin = 0.0005 * (high.astype(float) - low)
    near_low, near_high = low + margin, high - margin
    if samples.dtype.kind in "iu":
        near_low = np.floor(near_low).astype(samples.dtype)
        near_high = np.ceil(near_high).astype(samples.dtype)
    is_near = (samples >= near_high) | (samples <= near_low)
    trace, place = np.divmod(np.flatnonzero(is_near), samples.shape[-1])  # quicker than nonzero
    is_real = place < lengths[trace // 3]
    trace, place = trace[is_real], place[is_real]
    event, component = np.divmod(trace, 3)
    values = samples[event, component, place]
    is_new = np.diff(place, prepend=-2) != 1
    is_new |= np.diff(trace, prepend=-1) != 0
    is_new |= np.diff(values > (low + margin)[event, component, 0], prepend=False)
    counts = []
    for chosen in (is_new, values == low[event, component, 0], values == high[event, component, 0]):
        count = np.bincount(trace[chosen], minlength=3 * len(samples)).reshape(-1, 3).max(axis=1)
        counts.append(np.where(is_flat, 0, count).astype(np.int32))
    peaks, at_low, at_high = counts
    steps = np.diff(samples)
    np.abs(steps, out=steps)
    largest = steps.max(axis=(1, 2))
    smallest = steps.min(axis=(1, 2), where=steps > 0, initial=largest.max())
    before = as_samples(p - 0.5, sampling_rate)
    early = steps[..., : before.max(initial=1)].astype(np.float32)
    power = np.einsum("ncs,ncs->ns", early, early)
    power = (power * (np.arange(power.shape[1]) < before[:, None])).sum(axis=1)
    power /= 3 * np.maximum(before, 1)
    return {
        "samples_at_extreme": np.maximum(at_low, at_high),
        "peaks_near_extreme": peaks,
        "smallest_step": np.where(largest > 0, smallest, np.nan),
        "noise_of_differences": 0.5 * np.log10(np.where(power > 0, power, np.nan)),
    }
