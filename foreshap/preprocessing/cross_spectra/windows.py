"""Cross-spectra of windows: means over short frames, computed for a batch of events at once.

Frames of 64 samples begin every 16 inside a window; each loses its mean and is tapered (Hann). The
mean of conj(X_a) X_b is the density of scipy.signal.csd. The P window ends where S begins.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import signal

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
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
ELEMENTS = ("EE", "NN", "ZZ", "Re EN", "Re EZ", "Re NZ", "Im EN", "Im EZ", "Im NZ")


def unpack(packed):
    """Turn packed cross-spectra (..., 9), as ELEMENTS, into complex64 matrices (..., 3, 3)."""
    matrices = np.empty((*packed.shape[:-1], 3, 3), np.complex64)
    for place, (a, b) in enumerate(PAIRS):
        matrices[..., a, b] = packed[..., place]
        if a != b:
            matrices[..., a, b] += 1j * packed[..., place + 3]
            matrices[..., b, a] = matrices[..., a, b].conj()
    return matrices


def high_passed(samples, sampling_rate):
    """Filter samples by a causal high-pass that had been running before the first one: float32."""
    sections = signal.butter(2, HIGH_PASS, "highpass", fs=sampling_rate, output="sos")
    state = signal.sosfilt_zi(sections)[:, None, None] * samples[..., :1]
    return signal.sosfilt(sections, samples, zi=state)[0].astype(np.float32)


@cache
def frame_transform(length, sampling_rate):
    """Compute detrending, taper and scaled transform: real and imaginary part, float32 (length, F).

    The sum of their squares is a one-sided density.
    """
    taper = signal.get_window("hann", length)
    fourier = np.fft.rfft(np.eye(length)) * taper[:, None]
    fourier[:, 1:-1] *= np.sqrt(2)  # between 0 Hz and Nyquist power counts twice
    fourier /= np.sqrt(sampling_rate * np.square(taper).sum())
    fourier -= fourier.mean(axis=0)
    return fourier.real.astype(np.float32), fourier.imag.astype(np.float32)


def cut(samples, first, length):
    """Cut parts (3, ..., n, length) of samples (n, 3, N) that begin at samples (..., n)."""
    views = sliding_window_view(samples.reshape(-1), length)
    traces = np.arange(3 * len(samples)).reshape(-1, 3).T * samples.shape[-1]
    return views[first + traces.reshape(3, *[1] * (first.ndim - 1), -1)]


def packed_cross_spectra(filtered, p, s, lengths, sampling_rate):
    """Compute packed cross-spectra float32 (n, window, F, 9); NaN for a window without a frame.

    filtered: float32 array (n, 3, samples); p, s: arrival times (n,) [s]; lengths: samples (n,)
    """
    starts, fits, counts = _place_frames(p, s, lengths, sampling_rate)
    membership = np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=1)  # (window, frame)
    weights = fits.astype(np.float32)
    frames = cut(filtered, starts, NPERSEG)
    parts = []
    for matrix in frame_transform(NPERSEG, sampling_rate):
        part = (frames.reshape(-1, NPERSEG) @ matrix).reshape(*frames.shape[:3], -1)
        part *= weights[..., None]
        parts.append(part)  # (3, frame, n, F)
    real, imaginary = parts
    packed = np.empty((len(counts), *real.shape[2:], len(ELEMENTS)), np.float32)
    for place, (a, b) in enumerate(PAIRS + PAIRS[3:]):
        if place < len(PAIRS):
            product = real[a] * real[b] + imaginary[a] * imaginary[b]
        else:
            product = real[a] * imaginary[b] - imaginary[a] * real[b]
        sums = membership @ product.reshape(len(product), -1)
        packed[..., place] = sums.reshape(packed.shape[:-1])
    used = membership @ weights
    packed /= np.where(used > 0, used, np.nan)[..., None, None]
    return packed.swapaxes(0, 1)


def _place_frames(p, s, lengths, sampling_rate):
    """Find each frame's first sample and whether it counts, (K, n) each; frames of each window."""
    starts, fits, counts = [], [], []
    for name, (phase, after, until) in SPECTRUM_WINDOWS.items():
        first = as_samples((p if phase == "P" else s) + after, sampling_rate)
        length = round((until - after) * sampling_rate)
        end = first + length
        if name == "P":
            end = np.fmin(end, np.rint((s - 0.05) * sampling_rate))  # where an S is known
        places = first + np.arange(0, length - NPERSEG + 1, HOP)[:, None]
        is_inside = (first >= 0) & (end <= lengths) & (places + NPERSEG <= end)
        starts.append(np.where(is_inside, places, 0))
        fits.append(is_inside)
        counts.append(len(places))
    return np.concatenate(starts), np.concatenate(fits), counts


def as_samples(seconds, sampling_rate):
    """Turn times [s] into samples, int; NaN is far before the trace."""
    return np.rint(np.fmax(seconds, -1e6) * sampling_rate).astype(int)
