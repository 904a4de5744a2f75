"""Cross-spectra of windows of each event, and measurements of its raw samples, for the controls."""

from .file import FILE_NAME, CrossSpectra, load_cross_spectra

__all__ = ["FILE_NAME", "CrossSpectra", "load_cross_spectra"]
