"""The spectrogram variants: which window, around which arrival, at which resolution."""

from dataclasses import dataclass

import numpy as np

from ..files import ForeshapError

CLASSES = ("foreshock", "aftershock")  # label 0 and 1
PERIODS = ("pre", "post")  # the files of label 0 and 1
COMPONENTS = ("E", "N", "Z")
SECONDS_BEFORE_P = 5.0
SAMPLING_RATE = 100.0
WINDOWS = ("before P", "P to S", "S", "coda")


@dataclass(frozen=True)
class Variant:
    """A log-spectrogram's window and resolution.

    name: str
    phase: "P" or "S", the arrival that the window is aligned on
    seconds_before, seconds_after: float, the window around the arrival [s]
    nperseg, noverlap: int, samples of a frame and of the overlap of two frames
    sampling_rate: float [Hz]

    raises: ForeshapError where no spectrogram can be made so
    """

    name: str
    phase: str
    seconds_before: float
    seconds_after: float
    nperseg: int
    noverlap: int
    sampling_rate: float = 100.0

    def __post_init__(self):
        if self.phase not in ("P", "S") or not 0 <= self.noverlap < self.nperseg <= self.samples:
            raise ForeshapError(
                f"{self} can't be: give phase 'P' or 'S', noverlap below nperseg, and nperseg within the window."
            )

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
        return 3, self.nperseg // 2 + 1, (self.samples - self.noverlap) // self.hop

    @property
    def frequencies(self):
        """Frequency of each row, float64 (F,) [Hz]."""
        return np.fft.rfftfreq(self.nperseg, 1 / self.sampling_rate)

    @property
    def times(self):
        """Centre of each frame relative to the arrival, float64 (T,) [s]."""
        centres = self.nperseg / 2 + self.hop * np.arange(self.shape[2])
        return centres / self.sampling_rate - self.seconds_before


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("P64", "P", 5.0, 20.0, nperseg=64, noverlap=32),
        Variant("P32", "P", 5.0, 20.0, nperseg=32, noverlap=25),
        Variant("S64", "S", 5.0, 15.0, nperseg=64, noverlap=32),
        Variant("S32", "S", 5.0, 15.0, nperseg=32, noverlap=25),
    )
}


def frame_windows(variant, s_p):
    """Window of each frame of an event: that in which the frame ends, on an arrival still the one before it.

    S is as long as P to S.

    variant: Variant
    s_p: float, S-P time of the event [s]

    returns: int array (T,), places in WINDOWS
    raises: ForeshapError where S-P is not positive
    """
    if not s_p > 0:
        raise ForeshapError(
            f"An S-P time of {s_p} s has no window from P to S: leave the event out."
        )
    p_arrival = 0 if variant.phase == "P" else -s_p
    edges = p_arrival + s_p * np.arange(3)
    ends = variant.times + variant.nperseg / variant.sampling_rate / 2
    return np.searchsorted(
        edges.round(6), ends.round(6)
    )  # catalogues give hundredths: frames do end on arrivals
