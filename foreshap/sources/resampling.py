"""Seismograms at 100 Hz, whatever the rate they were recorded at."""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import firwin, resample_poly

from ..preprocessing.variants import SAMPLING_RATE
from ..preprocessing.waveforms import MOST_SAMPLES

FILTER = 50  # half length of the anti-alias filter, in samples of the lower rate
SLACK = 0.005 / MOST_SAMPLES  # part by which a rate may be off: 0.005 samples in the longest trace
FINE = 8  # times 100 Hz, from which a spline takes what no ratio of small numbers gives


def smallest_step(components):
    """Smallest step between two values of arrays (n,) of samples, NaN where none changes."""
    least = np.nan
    for samples in components:
        steps = np.diff(np.unique(samples))
        if len(steps):
            least = np.fmin(least, steps.min())
    return least


def is_100_hz(rate):
    """Whether samples at this rate [Hz] can stay as they are."""
    return abs(rate / SAMPLING_RATE - 1) <= SLACK


def resampled(samples, rate):
    """Resample to 100 Hz and cut the filter's edges off.

    samples: array (..., n), without a gap, longer than both edges
    rate: float [Hz]

    returns: float32 array (..., m), and the seconds that were cut off at its beginning
    """
    ratio = Fraction(SAMPLING_RATE / rate).limit_denominator(1000)
    reached = float(ratio) * rate  # Hz
    fine = 1 if is_100_hz(reached) else FINE
    up, down = (ratio * fine).as_integer_ratio()
    taps = _filter(max(up, fine * down))
    mean = samples.mean(axis=-1, keepdims=True)
    result = resample_poly(samples - mean, up, down, axis=-1, window=taps)
    if fine > 1:
        times = np.arange(result.shape[-1]) / (fine * reached)
        spline = CubicSpline(times, result, axis=-1)
        result = spline(np.arange(0, times[-1], 1 / SAMPLING_RATE))
    edge = math.ceil(FILTER * max(1, SAMPLING_RATE / rate))
    inner = (mean + result)[..., edge : result.shape[-1] - edge]
    return np.ascontiguousarray(inner, np.float32), edge / SAMPLING_RATE


@lru_cache(maxsize=8)
def _filter(slower):
    """Taps of the anti-alias filter, -87 dB at the slower Nyquist frequency."""
    return firwin(2 * FILTER * slower + 1, 0.94 / slower, window=("kaiser", 8.6))
