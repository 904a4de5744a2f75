"""Seismograms become log-spectrogram tensors."""
