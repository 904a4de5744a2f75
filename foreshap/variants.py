"""The spectrogram variants: which window, around which arrival, at which resolution."""

from dataclasses import dataclass

import numpy as np

from .files import ForeshapError


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
