"""The change in physical units: t* of P and of S, and kappa, in milliseconds."""

import numpy as np
import pandas as pd

from ...files import ForeshapError
from ...training.scores import interval_95
from ..day_blocks import resample_blocks
from ..evidence import LEAST
from ..plain_models import overlap_weights

BAND = (3.0, 40.0)  # of the spectra that are fitted [Hz]
HEARD = 0.8  # log10 of power over noise, in most events of both classes
SHARE_HEARD = 0.75
FEWEST = 8  # frequencies of a fit
LEFT_OUT = (0.0, 0.3, 0.5, 0.7, 0.85)  # shares of the smallest events that may be left out
PER_SECOND = -2 * np.pi * np.log10(np.e)  # d log10(power) / df of a t* of 1 s
COLUMNS = "quantity component measured low high unexplained low_hz high_hz n_events".split()
COMPONENTS = {"together": [0, 1, 2], "E": [0], "N": [1], "Z": [2]}


def measure_units(evidence):
    """Measure how t* of P and of S and kappa change between classes of equal catalogue.

    The log10 of an event's power less its noise falls by 2 pi log10(e) t* a Hz. t* is the classes'
    difference at the median S-P and equal size; kappa is what of it remains at S-P = 0 (Anderson
    and Hough, 1984), the mean of P and S.

    returns: DataFrame of COLUMNS, a row a quantity and component: measured, low, high [ms; 95 %
        over blocks of days], unexplained (share of the squared difference of spectra that is no
        straight line); NaN where too few frequencies are heard
    raises: ForeshapError where tensors were scaled event by event and there are no cross-spectra
    """
    if evidence.cross is None and not evidence.calibrated:
        raise ForeshapError("tensors were scaled event by event: they hold no power per Hz")
    labels, covariates = evidence.labels, evidence.catalogue
    size = covariates.get("magnitude")
    if size is None and evidence.own_size is not None:
        size = np.where(
            np.isnan(evidence.own_size), np.nanmedian(evidence.own_size), evidence.own_size
        )
        covariates = covariates.assign(own_size=size)
    try:
        weights = overlap_weights(covariates, labels)
    except ForeshapError:
        weights = np.ones(len(labels))
    drawn = resample_blocks(evidence.blocks, labels, evidence.seed)
    counts = np.vstack([np.ones(len(labels)), drawn]) * weights
    s_p = np.zeros(len(labels))
    if "S-P" in covariates:
        s_p = 10 ** covariates["S-P"].to_numpy(float)
    middle = np.median(s_p)
    design = _design(labels, s_p - middle, size)
    rows, at_zero = [], []
    for name, window in (("P", 1), ("S", 2)):
        for component, channels in COMPONENTS.items():
            row = {"quantity": f"t* of {name}", "component": component}
            rows.append(row)
            spectra, used, large = _heard_spectra(evidence, window, channels)
            if spectra is None:
                continue
            centred = used - used.mean()
            t_star = 1e3 * spectra @ centred / (centred @ centred) / PER_SECOND
            slopes = _fit(design[large], t_star, counts[:, large])
            row |= _with_interval(slopes[:, 1])
            row["unexplained"] = _unexplained(spectra, used, labels[large], weights[large])
            row |= {"low_hz": used[0], "high_hz": used[-1], "n_events": int(large.sum())}
            if component == "together":
                at_zero.append(slopes[:, 1] - middle * slopes[:, 3])
    rows.append({"quantity": "kappa", "component": "together"})
    if len(at_zero) == 2 and s_p.std() > 0:
        rows[-1] |= _with_interval(np.mean(at_zero, axis=0))
    return pd.DataFrame(rows, columns=COLUMNS)


def _heard_spectra(evidence, window, channels):
    """Spectra (n, F) of the largest events that are heard, frequencies, which events; or None."""
    power = 10 ** evidence.power[:, [0, window]][:, :, channels].astype(float)
    noise, signal = power.mean(axis=2).swapaxes(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        heard = np.nan_to_num(np.log10(signal / noise), nan=-9.0) > HEARD
        spectra = np.log10(np.maximum(signal - noise, 0.1 * signal))
    size = evidence.catalogue.get("magnitude", evidence.own_size)
    for share in LEFT_OUT if size is not None else LEFT_OUT[:1]:
        large = np.isfinite(spectra).all(axis=1)
        if share:
            large &= np.asarray(size >= np.nanquantile(size, share))
        if np.bincount(evidence.labels[large], minlength=2).min() < LEAST:
            break
        usable = (evidence.frequencies >= BAND[0]) & (evidence.frequencies <= BAND[1])
        for label in (0, 1):
            usable &= heard[large & (evidence.labels == label)].mean(axis=0) >= SHARE_HEARD
        usable = _longest_run(usable)
        if usable.sum() >= FEWEST:
            return spectra[large][:, usable], evidence.frequencies[usable], large
    return None, None, None


def _longest_run(flags):
    """The longest run of a bool array, bool."""
    number = np.cumsum(~flags)
    lengths = np.bincount(number[flags], minlength=number.max() + 1)
    return flags & (number == lengths.argmax())


def _design(labels, s_p, size):
    """Columns (N, 6): 1, class, S-P, its product with the class, size and its square."""
    size = np.zeros(len(labels)) if size is None else np.asarray(size, float)
    size = (size - size.mean()) / max(size.std(), 1e-12)
    return np.stack([np.ones(len(labels)), labels, s_p, labels * s_p, size, size**2], axis=1)


def _fit(design, values, weights):
    """Least squares under each row of weights (resamples, N): coefficients (resamples, columns)."""
    n, columns = design.shape
    products = (design[:, :, None] * design[:, None]).reshape(n, -1)
    squares = (weights @ products).reshape(-1, columns, columns)
    right = weights @ (values[:, None] * design)
    return np.einsum("rij,rj->ri", np.linalg.pinv(squares, hermitian=True), right)


def _with_interval(resampled):
    """The first of an array, and the 95 % interval of the others, as columns."""
    low, high = interval_95(resampled[1:])
    return {"measured": float(resampled[0]), "low": low, "high": high}


def _unexplained(spectra, used, labels, weights):
    """Share of the classes' squared difference over frequency that is no straight line, float."""
    means = [np.average(spectra[labels == k], axis=0, weights=weights[labels == k]) for k in (0, 1)]
    difference = means[1] - means[0]
    left = difference - np.polyval(np.polyfit(used, difference, 1), used)
    return float((left**2).sum() / (difference**2).sum())
