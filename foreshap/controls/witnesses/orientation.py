"""Was the sensor turned, or were its horizontals exchanged?"""

from itertools import combinations

import numpy as np

from ...training.scores import interval_95
from .finding import UNKNOWN, finding, in_words
from .noise import OWN, band_rows, ground_of_all
from .response import HEARD
from .signal import change, class_means, signal_features

SEPARATES = 0.55  # lower end of the ROC AUC of E + N, above which a turn can't be all
LEAST_ANGLE = 8.0  # degrees
AGREE = 18.0  # degrees, within which two witnesses agree
PRECISE = 20.0  # degrees, half of an interval's width
STILL = 30.0  # degrees, within which the whole interval of P or S lies where nothing turned


def examine_orientation(evidence):
    """Ask the horizontals' sum, the noise's polarisation, S and P whether the sensor turned."""
    summed = change(evidence, values=_summed_features(evidence))
    changes = summed.low > SEPARATES
    excluded = changes and evidence.calibrated and ground_of_all(evidence) >= OWN
    saw = f"E + N: ROC AUC {in_words(*summed.interval)}"
    shown, others = False, {}
    if evidence.cross is not None:
        turns = {"noise": turn_of_window(evidence, 0), "S": turn_of_window(evidence, 2)}
        turns["P"] = turn_of_p(evidence)
        shown = any(_agree(*pair) for pair in combinations(turns.values(), 2))
        for name in "SP":  # their polarisation stands still, beyond doubt
            excluded |= changes and -STILL < turns[name][1] and turns[name][2] < STILL
        degrees = [f"{name} {in_words(*turn[:3], digits=0)}" for name, turn in turns.items()]
        saw += f"; turned by degrees: {', '.join(degrees)}"
        others["witness"] = "E and N added up in power; polarisation of noise, P and S"
    state = "excluded" if excluded else "open"
    could_see = "a turn or exchange of the horizontals leaves their sum"
    if changes and not excluded:
        could_see = "mute: the noise may be the recorder's own, P and S have no steady polarisation"
    if shown:
        state = "survived" if changes else "shown"
    return finding("orientation", state, saw, could_see, summed.interval, **others)


def _summed_features(evidence):
    """signal_features() with E and N both replaced by the mean of their powers."""
    power = 10 ** evidence.power.astype(float)
    power[:, :, :2] = power[:, :, :2].mean(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        table = signal_features(evidence, np.log10(power))
    return table[[name for name in table if "E/N" not in name]]


def turn_of_window(evidence, window):
    """Angle by which a window's polarisation turns, low, high [degrees]; share it explains."""
    return _turn(_polarisation(evidence, window), evidence)


def turn_of_p(evidence):
    """The same of P against the back azimuth; NaN where no hypocentres are known."""
    if not {"azimuth, sine", "azimuth, cosine"} <= set(evidence.catalogue):
        return *UNKNOWN, 0.0
    sine, cosine = (evidence.catalogue[f"azimuth, {n}"].to_numpy() for n in ("sine", "cosine"))
    radial = (sine + 1j * cosine) ** 2
    return _turn(_polarisation(evidence, 1) * np.conj(radial)[:, None], evidence)


def _polarisation(evidence, window):
    """(EE - NN + 2i Re EN) / (EE + NN) in bands, complex (N, bands); 0 where it is unknown."""
    cross = evidence.cross[:, window].astype(complex)
    bands = band_rows(evidence.cross_frequencies)
    means = np.stack([cross[:, rows].mean(axis=1) for rows in bands], axis=1)
    east, north, both = means[..., 0, 0].real, means[..., 1, 1].real, means[..., 0, 1].real
    with np.errstate(invalid="ignore", divide="ignore"):
        stokes = (east - north + 2j * both) / (east + north)
    stokes[~np.isfinite(stokes)] = 0
    if window:
        loud = evidence.power[:, window, :2] - evidence.power[:, 0, :2] > np.log10(HEARD)
        heard = [loud[..., rows].all(axis=(1, 2)) for rows in bands]
        stokes = np.where(np.stack(heard, axis=1), stokes, 0)
    return stokes


def _turn(stokes, evidence):
    """Angle between the classes' mean polarisations, its interval, and what it explains."""
    before, after = class_means(stokes, evidence)
    scatter = before[1:].var(axis=0) + after[1:].var(axis=0) + 1e-9
    product = (np.conj(before) * after / scatter).sum(axis=1)
    angle = np.degrees(np.angle(product * np.exp(-1j * np.angle(product[0])))) / 2
    value = np.degrees(np.angle(product[0])) / 2
    low, high = interval_95(angle[1:])
    turned = before[0] * np.exp(1j * np.angle(product[0]))
    still = (np.abs(after[0] - before[0]) ** 2 / scatter).sum()
    if still == 0:  # nothing is heard
        return *UNKNOWN, 0.0
    rest = (np.abs(after[0] - turned) ** 2 / scatter).sum()
    return value, value + low, value + high, 1 - rest / still


def _agree(first, second):
    """Whether two witnesses find the same turn, each beyond doubt."""
    for value, low, high, explained in (first, second):
        beyond_doubt = abs(value) > LEAST_ANGLE and low * high > 0 and explained > 0.5
        if not beyond_doubt or not (high - low) / 2 < PRECISE:
            return False
    apart = abs(first[0] - second[0])
    return min(apart, 180 - apart) < AGREE
