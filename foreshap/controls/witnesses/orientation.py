"""Was the sensor turned, or were its horizontals exchanged?"""

from dataclasses import replace
from itertools import combinations

import numpy as np

from ...training.scores import interval_95
from ..day_blocks import resample_blocks
from .finding import Finding
from .matching import in_words
from .response import HEARD, OWN, band_rows, ground_of_all
from .signal import signal_features, try_change

SEPARATES = 0.55  # lower end of the ROC AUC of E + N, above which a turn can't be all
LEAST_ANGLE = 8.0  # degrees
AGREE = 18.0  # degrees, within which two witnesses agree
PRECISE = 20.0  # degrees, half of an interval's width
STILL = 30.0  # degrees, within which the whole interval of P or S lies where nothing turned


def examine_orientation(evidence, covariates):
    """Ask the horizontals' sum, the noise's polarisation, S and P whether the sensor turned.

    evidence: Evidence
    covariates: DataFrame (N rows), that the classes are matched on

    returns: Finding
    """
    found = {"alternative": "orientation", "group": "station"}
    decides = "teleseismic polarisation, the station's record, a second station"
    summed = try_change(evidence, covariates, _summed_features(evidence))
    changes = summed.low > SEPARATES
    excluded = changes and evidence.calibrated and ground_of_all(evidence) >= OWN
    saw = f"E + N: ROC AUC {in_words(summed.auc, summed.low, summed.high)}"
    shown, witness = False, "E and N added up in power"
    if evidence.cross is not None:
        turns = [turn_of_window(evidence, 0), turn_of_window(evidence, 2), turn_of_p(evidence)]
        shown = any(_agree(first, second) for first, second in combinations(turns, 2))
        excluded |= changes and any(_still(turn) for turn in turns[1:])
        texts = ["not known"] * 3
        for k, (angle, low, high, *_) in enumerate(turns):
            if np.isfinite(angle):
                texts[k] = f"{angle:.0f} ({low:.0f} to {high:.0f})"
        saw += "; turned by degrees: noise {}, S {}, P {}".format(*texts)
        witness += "; polarisation of noise, P and S"
    state = "excluded" if excluded else "open"
    could_see = "a turn or exchange of the horizontals leaves their sum"
    if changes and not excluded:
        could_see = "mute: the noise may be the recorder's own, P and S have no steady polarisation"
    if shown:
        state = "survived" if changes else "shown"
    return Finding(
        **found,
        state=state,
        witness=witness,
        saw=saw,
        could_see=could_see,
        decides=decides if state == "open" else "",
        measured=summed.auc,
        low=summed.low,
        high=summed.high,
    )


def _summed_features(evidence):
    """signal_features() with E and N both replaced by the mean of their powers."""
    power = 10 ** evidence.power.astype(float)
    power[:, :, :2] = power[:, :, :2].mean(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        power = np.log10(power)
    table = signal_features(
        replace(evidence, cross=None, tensor_spectra=power), evidence.frequencies
    )
    return table[[name for name in table if "E/N" not in name]]


def turn_of_window(evidence, window):
    """Angle by which the horizontals' polarisation in a window turns from before to after.

    evidence: Evidence with cross-spectra
    window: int, 0 noise, 1 P, 2 S

    returns: angle, low, high [degrees], and the share of the change that the turn explains
    """
    stokes = _polarisation(evidence, window)
    return _turn(stokes, evidence)


def turn_of_p(evidence):
    """The same of P against the back azimuth; NaN where no hypocentres are known."""
    if not {"azimuth, sine", "azimuth, cosine"} <= set(evidence.catalogue):
        return np.nan, np.nan, np.nan, 0.0
    sine, cosine = (evidence.catalogue[f"azimuth, {n}"].to_numpy() for n in ("sine", "cosine"))
    radial = (sine + 1j * cosine) ** 2
    stokes = _polarisation(evidence, 1) * np.conj(radial)[:, None]
    return _turn(stokes, evidence)


def _polarisation(evidence, window):
    """(EE - NN + 2i Re EN) / (EE + NN) in bands, complex (N, bands); 0 where it is unknown."""
    cross = evidence.cross[:, window].astype(complex)
    bands = [cross[:, rows].mean(axis=1) for rows in band_rows(evidence.cross_frequencies)]
    east = np.stack([band[:, 0, 0].real for band in bands], axis=1)
    north = np.stack([band[:, 1, 1].real for band in bands], axis=1)
    both = np.stack([band[:, 0, 1].real for band in bands], axis=1)
    total = east + north
    with np.errstate(invalid="ignore", divide="ignore"):
        stokes = (east - north + 2j * both) / total
    stokes[~np.isfinite(stokes)] = 0
    if window:
        noise = evidence.power[:, 0, :2]
        loud = evidence.power[:, window, :2] - noise > np.log10(HEARD)
        heard = [loud[..., rows].all(axis=(1, 2)) for rows in band_rows(evidence.cross_frequencies)]
        stokes = np.where(np.stack(heard, axis=1), stokes, 0)
    return stokes


def _turn(stokes, evidence):
    """Angle between the classes' mean polarisations, its interval, and what it explains."""
    counts = resample_blocks(evidence.blocks, evidence.labels, evidence.seed)
    counts = np.vstack([np.ones(len(stokes)), counts])
    means = []
    for label in (0, 1):
        of_class = counts * (evidence.labels == label)
        means.append(of_class @ stokes / of_class.sum(axis=1, keepdims=True))
    before, after = means
    scatter = before[1:].var(axis=0) + after[1:].var(axis=0) + 1e-9
    product = (np.conj(before) * after / scatter).sum(axis=1)
    angle = np.degrees(np.angle(product * np.exp(-1j * np.angle(product[0])))) / 2
    value = np.degrees(np.angle(product[0])) / 2
    low, high = interval_95(angle[1:])
    turned = before[0] * np.exp(1j * np.angle(product[0]))
    still = (np.abs(after[0] - before[0]) ** 2 / scatter).sum()
    if still == 0:  # nothing is heard
        return np.nan, np.nan, np.nan, 0.0
    rest = (np.abs(after[0] - turned) ** 2 / scatter).sum()
    return value, value + low, value + high, 1 - rest / still


def _still(turn):
    """Whether a polarisation stands still, beyond doubt."""
    _, low, high, _ = turn
    return -STILL < low and high < STILL


def _agree(first, second):
    """Whether two witnesses find the same turn, each beyond doubt."""
    for value, low, high, explained in (first, second):
        if not (abs(value) > LEAST_ANGLE and low * high > 0 and explained > 0.5):
            return False
        if not (high - low) / 2 < PRECISE:
            return False
    apart = abs(first[0] - second[0])
    return min(apart, 180 - apart) < AGREE
