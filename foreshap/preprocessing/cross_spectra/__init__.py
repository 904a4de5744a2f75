"""Cross-spectra of windows of each event, and measurements of its raw samples, for the controls.

A log-spectrogram holds the power of each component and nothing between two of them. The pass over
the seismograms therefore also writes, for each event, the cross-spectra of the components in six
windows (noise, P, S and three of coda), and a table: own onsets of P and S, a second onset,
the level below the corner, and what the raw counts say about the recorder.
"""

from .file import FILE_NAME, CrossSpectra, load_cross_spectra, write_cross_spectra
from .windows import event_cross_spectra

__all__ = [
    "FILE_NAME",
    "CrossSpectra",
    "event_cross_spectra",
    "load_cross_spectra",
    "write_cross_spectra",
]
