"""Seismograms at 100 Hz, whatever the rate they were recorded at."""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.signal import firwin, resample_poly

from ..waveforms import SAMPLING_RATE

FILTER = 50  # half length of the anti-alias filter, in samples of the lower rate
DRIFT = 2e-5  # part by which a sampling rate may be off: 0.2 samples in a window of 100 s


def ratio_to_100_hz(rate):
    """100 Hz over a sampling rate [Hz], as Fraction of numbers up to 1000; None where none is near enough."""
    ratio = Fraction(SAMPLING_RATE / rate).limit_denominator(1000)
    return ratio if abs(ratio * rate / SAMPLING_RATE - 1) <= DRIFT else None


def resampled(samples, ratio):
    """Samples at 100 Hz, without the filter's edges.

    samples: array (..., n), without a gap, longer than both edges
    ratio: Fraction, of ratio_to_100_hz()

    returns: float32 array (..., m), and the seconds that were cut off at its beginning
    """
    taps, mean = _filter(max(ratio.numerator, ratio.denominator)), samples.mean(axis=-1, keepdims=True)
    found = mean + resample_poly(samples - mean, ratio.numerator, ratio.denominator, axis=-1, window=taps)
    edge = math.ceil(FILTER * max(1, ratio))
    return np.ascontiguousarray(found[..., edge : found.shape[-1] - edge], np.float32), edge / SAMPLING_RATE


@lru_cache(maxsize=8)
def _filter(slower):
    """Taps of the anti-alias filter, -87 dB at the slower Nyquist frequency."""
    return firwin(2 * FILTER * slower + 1, 0.94 / slower, window=("kaiser", 8.6))
