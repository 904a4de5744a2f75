"""Evidence made of random numbers, whose truth is known."""

import numpy as np
import pandas as pd

import foreshap
from foreshap.controls.day_blocks import day_blocks
from foreshap.controls.evidence import Evidence

FREQUENCIES = np.fft.rfftfreq(64, 0.01)
SNR = 2.0  # log10 of the signal's power over the noise's


def cross_of(power, rng, frames=8):
    """Cross-spectra (N, F, 3, 3) of `frames` frames of independent components of this power.

    power: array (N, F, 3)
    """
    shape = (frames, *power.shape)
    waves = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    waves *= np.sqrt(power / 2)
    return np.einsum("knfa,knfb->nfab", waves.conj(), waves) / frames


def make_evidence(n=400, seed=0, noise=None, signal=None, turn=0.0, with_cross=True, level=0.25):
    """Evidence of n events over 100 days; half of them aftershocks.

    noise, signal: array (F,), change of log10 of power after the mainshock; none when left out
    turn: float [degrees], by which the horizontals turn after the mainshock
    level: float, scatter of the noise's log10 of power: the ground's varies, a recorder's does not
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n // 2)
    days = np.where(labels == 1, 1, -1) * rng.uniform(0.1, 50, n)
    magnitude = rng.exponential(0.45, n)
    tail = len(FREQUENCIES)
    level = rng.normal(0, level, (n, 1))
    logs = np.zeros((n, 6, tail))
    logs[:, 0] = level
    logs[:, 1:] = SNR + magnitude[:, None, None] + rng.normal(0, 0.1, (n, 1, 1))
    for change, windows in ((noise, slice(0, 1)), (signal, slice(1, 6))):
        if change is not None:
            logs[labels == 1, windows] += change
    shares = np.array([1.0, 0.4, 0.7])  # east is the louder one: polarised
    cross = np.empty((n, 6, tail, 3, 3), complex)
    for window in range(6):
        cross[:, window] = cross_of(10 ** logs[:, window, :, None] * shares, rng)
    angle = np.radians(np.where(labels == 1, turn, 0.0))
    turned = np.zeros((n, 3, 3))
    turned[:, 0, 0] = turned[:, 1, 1] = np.cos(angle)
    turned[:, 1, 0], turned[:, 0, 1] = np.sin(angle), -np.sin(angle)
    turned[:, 2, 2] = 1
    cross = np.einsum("nab,nwfbc,ndc->nwfad", turned, cross, turned)
    spectra = np.log10(np.einsum("nwfcc->nwcf", cross).real).astype(np.float32)
    start = pd.Timestamp("2016-10-01", tz="UTC") + pd.to_timedelta(days, unit="D")
    return Evidence(
        labels=labels,
        days=days,
        blocks=day_blocks(days, labels),
        table=pd.DataFrame({"trace_start_time": start.astype(str), "label": labels}),
        catalogue=pd.DataFrame({"magnitude": magnitude}),
        measurements=None,
        cross=cross.astype(np.complex64) if with_cross else None,
        cross_frequencies=FREQUENCIES if with_cross else None,
        tensor_spectra=spectra,
        own_size=magnitude + rng.normal(0, 0.1, n),
        clean=np.ones(n, bool),
        left_out={},
        variant=foreshap.VARIANTS["P64"],
        calibrated=True,
    )
