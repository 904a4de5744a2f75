"""The spectrogram variants: which window, around which arrival, in which frames."""

from dataclasses import dataclass

import numpy as np

from ..files import ForeshapError

CLASSES = ("foreshock", "aftershock")  # label 0 and 1
SIDES = ("pre", "post")  # of the mainshock, in names of files: label 0 and 1
COMPONENTS = ("E", "N", "Z")
SECONDS_BEFORE_P = 5.0  # of a trace in the waveform layout
SAMPLING_RATE = 100.0
WINDOWS = ("before P", "P to S", "S", "coda")
NO_S_P = 2.0  # length of the windows after P of an event without S [s]


@dataclass(frozen=True)
class Variant:
    """Window and resolution of a log-spectrogram; ForeshapError where none can be made so."""

    name: str
    phase: str  # "P" or "S", the arrival that the window is aligned on
    seconds_before: float  # of the window, before the arrival
    seconds_after: float  # of the window, after the arrival
    nperseg: int  # samples of a frame
    noverlap: int  # samples that two frames share
    sampling_rate: float = 100.0  # Hz

    def __post_init__(self):
        if self.phase not in ("P", "S") or not 0 <= self.noverlap < self.nperseg <= self.samples:
            needs = "phase 'P' or 'S', noverlap below nperseg, nperseg within the window"
            raise ForeshapError(f"{self} can't be: give {needs}.")

    @property
    def hop(self):
        """Samples from one frame to the next, int."""
        return self.nperseg - self.noverlap

    @property
    def samples(self):
        """Samples of the window, int."""
        return round((self.seconds_before + self.seconds_after) * self.sampling_rate)

    @property
    def shape(self):
        """Shape of one event's tensor, (channel, frequency, time)."""
        n_frames = (self.samples - self.noverlap) // self.hop
        return len(COMPONENTS), self.nperseg // 2 + 1, n_frames

    @property
    def frequencies(self):
        """Frequency of each row, float64 (F,) [Hz]."""
        return np.fft.rfftfreq(self.nperseg, 1 / self.sampling_rate)

    @property
    def times(self):
        """Centre of each frame relative to the arrival, float64 (T,) [s]."""
        centres = self.nperseg / 2 + self.hop * np.arange(self.shape[2])
        return centres / self.sampling_rate - self.seconds_before

    def first_samples(self, s_p):
        """Place of the window's first sample, int (N,), from S-P (N,) [s]; NaN: P stands for S."""
        arrivals = np.full(len(s_p), SECONDS_BEFORE_P)
        if self.phase == "S":
            arrivals += np.nan_to_num(s_p)
        return np.rint((arrivals - self.seconds_before) * self.sampling_rate).astype(int)


VARIANTS = {
    "P64": Variant("P64", "P", 5.0, 20.0, nperseg=64, noverlap=32),
    "P32": Variant("P32", "P", 5.0, 20.0, nperseg=32, noverlap=25),
    "S64": Variant("S64", "S", 5.0, 15.0, nperseg=64, noverlap=32),
    "S32": Variant("S32", "S", 5.0, 15.0, nperseg=32, noverlap=25),
}


def frame_windows(variant, s_p):
    """Find the arrival window in which each frame ends, int array (T,), places in WINDOWS.

    A frame that ends on an arrival belongs to the window before it. The window S is as long as
    P to S. Where S-P (s_p) is NaN, both are NO_S_P long in a variant aligned on P.
    """
    if np.isnan(s_p) and variant.phase == "P":
        s_p = NO_S_P
    if not s_p > 0:
        raise ForeshapError(f"An S-P time of {s_p} s has no window P to S: leave the event out.")
    p_arrival = 0 if variant.phase == "P" else -s_p
    edges = p_arrival + s_p * np.arange(3)
    frame_ends = variant.times + variant.nperseg / variant.sampling_rate / 2
    # Catalogues give hundredths of a second, so frames do end exactly on arrivals.
    return np.searchsorted(edges.round(6), frame_ends.round(6))
