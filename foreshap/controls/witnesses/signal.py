"""Does the signal change, at equal catalogue and size, and at the mainshock's date?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from ...files import ForeshapError
from ...training.scores import roc_auc
from ..day_blocks import blocked_auc
from ..evidence import LEAST
from ..features import USABLE, fill_unknown
from ..plain_models import overlap_weights

FLOOR_QUANTILE = 0.99  # of the noise: one floor for all events, in each bin
ABOVE_FLOOR = 0.3  # log10 of power, that the floor lies above it
RIDGE = 1e-3  # penalty of regressions on the catalogue, per event
FOLDS = 5


@dataclass(frozen=True)
class Change:
    """How well the signal tells the classes apart on held-out blocks of days.

    scores: float array (N,), held-out log-odds of aftershock
    weights: float array (N,), under which the classes match; 1 where nothing was matched
    auc, low, high: float, ROC AUC and its 95 % interval over blocks of days
    distance: float, of the classes in deviations: sqrt(2) times the normal quantile of the ROC AUC
    """

    scores: np.ndarray
    weights: np.ndarray
    auc: float
    low: float
    high: float

    @property
    def distance(self):
        """Distance of the classes' means, in their common deviation, float."""
        return distance_of(self.auc)


def signal_features(evidence, frequencies=None):
    """Describe each event's signal above one common floor by about 20 numbers.

    Level, slope and curvature over the logarithm of frequency of the windows P, S and three of
    coda; level and slope of E over N and of Z over E and N, in P and in S.

    evidence: Evidence
    frequencies: float array (F,) [Hz], those of the power; the evidence's own when left out

    returns: DataFrame (N rows), log10 of power
    """
    frequencies = evidence.frequencies if frequencies is None else frequencies
    usable = (frequencies >= USABLE[0]) & (frequencies <= USABLE[1])
    power = evidence.power[..., usable].astype(float)
    floor = np.quantile(fill_unknown(power[:, 0]), FLOOR_QUANTILE, axis=0) + ABOVE_FLOOR
    heard = np.maximum(power[:, 1:], floor)
    place = np.log(frequencies[usable])
    place = 2 * (place - place[0]) / (place[-1] - place[0]) - 1
    shapes = np.linalg.qr(np.vander(place, 3, increasing=True))[0] * np.sign([-1, 1, 1])
    columns = {}
    for window, name in enumerate(("P", "S", "coda 1", "coda 2", "coda 3")):
        of_window = heard[:, window].mean(axis=1) @ shapes
        for order, what in enumerate(("level", "slope", "curvature")):
            columns[f"{name} {what}"] = of_window[:, order]
        if window > 1:
            continue
        east, north, vertical = heard[:, window].swapaxes(0, 1)
        for ratio, difference in (("E/N", east - north), ("Z/H", vertical - (east + north) / 2)):
            columns[f"{name} {ratio} level"] = difference @ shapes[:, 0]
            columns[f"{name} {ratio} slope"] = difference @ shapes[:, 1]
    table = pd.DataFrame(columns)
    return table.fillna(table.median()).dropna(axis=1)


def without_catalogue(values, covariates, labels):
    """Subtract what a regression on covariates and their products predicts within the classes.

    values: array (N, columns)
    covariates: DataFrame (N rows)
    labels: int array (N,)

    returns: float array (N, columns)
    """
    values = np.asarray(values, float)
    if covariates.shape[1] == 0:
        return values - values.mean(axis=0)
    x = StandardScaler().fit_transform(covariates)
    x = np.clip(PolynomialFeatures(2, include_bias=False).fit_transform(x), -6, 6)
    inside, centred = x.copy(), values.copy()
    for label in np.unique(labels):
        rows = labels == label
        inside[rows] -= inside[rows].mean(axis=0)
        centred[rows] -= centred[rows].mean(axis=0)
    penalty = RIDGE * len(x) * np.eye(x.shape[1])
    slopes = np.linalg.solve(inside.T @ inside + penalty, inside.T @ centred)
    return values - values.mean(axis=0) - (x - x.mean(axis=0)) @ slopes


def blocked_folds(labels, blocks, seed=0, folds=FOLDS):
    """Hold out a fifth of each class's blocks of days in turn: list of bool arrays (N,), tested."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(labels), int)
    for label in np.unique(labels):
        names = rng.permutation(np.unique(blocks[labels == label]))
        place = dict(zip(names, np.arange(len(names)) % folds))
        rows = np.flatnonzero(labels == label)
        fold[rows] = [place[block] for block in blocks[rows]]
    return [fold == k for k in range(folds)]


def held_out(values, labels, blocks, weights=None, seed=0, penalty=0.1):
    """Score events by Fisher's linear discriminant of the other blocks of days.

    values: array (N, columns)
    labels, blocks: int arrays (N,)
    weights: float array (N,), 1 where left out
    penalty: float, added to the variance of each standardised column

    returns: float array (N,), larger for aftershocks
    source: Fisher (1936)
    """
    values, scores = np.asarray(values, float), np.full(len(labels), np.nan)
    weights = np.ones(len(labels)) if weights is None else weights
    deviation = np.maximum(values.std(axis=0), 1e-12)
    values = np.clip((values - values.mean(axis=0)) / deviation, -6, 6)
    for tested in blocked_folds(labels, blocks, seed):
        means, inside = [], []
        for label in (0, 1):
            rows = ~tested & (labels == label)
            if weights[rows].sum() <= 0:
                return scores
            means.append(np.average(values[rows], axis=0, weights=weights[rows]))
            root = np.sqrt(weights[rows] / weights[rows].sum())[:, None]
            inside.append(root * (values[rows] - means[label]))
        inside = np.vstack(inside)
        covariance = inside.T @ inside / 2 + penalty * np.eye(values.shape[1])
        direction = np.linalg.solve(covariance, means[1] - means[0])
        scores[tested] = (values[tested] - (means[0] + means[1]) / 2) @ direction
    return scores


def held_out_distance(values, labels, blocks):
    """How far two sides lie apart, held out by blocks, in deviations; NaN where nothing is."""
    scores = held_out(values, labels, blocks, penalty=1.0)
    return distance_of(roc_auc(scores, labels == 1)) if np.isfinite(scores).all() else np.nan


def distance_of(auc):
    """Distance of two normal distributions in their deviation that gives a ROC AUC, float."""
    return float(np.sqrt(2) * ndtri(np.clip(auc, 1e-4, 1 - 1e-4)))


def change(evidence, covariates=None, matched=True, values=None):
    """Measure how well the signal tells the classes apart, at equal covariates.

    evidence: Evidence
    covariates: DataFrame (N rows), what the classes are matched on; the catalogue when left out
    matched: bool, whether the classes are weighted to match, and the signal corrected
    values: array (N, columns), another description of the signal than signal_features()

    returns: Change
    raises: ForeshapError where fewer than LEAST effective events of a class match
    """
    labels = evidence.labels
    covariates = evidence.catalogue if covariates is None else covariates
    values = np.asarray(signal_features(evidence) if values is None else values)
    weights = None
    if matched:
        folds = blocked_folds(labels, evidence.blocks, evidence.seed)
        weights = overlap_weights(covariates, labels, folds)
        values = without_catalogue(values, covariates, labels)
    if np.bincount(labels, minlength=2).min() < LEAST:
        raise ForeshapError(f"fewer than {LEAST} events of a class remain")
    scores = held_out(values, labels, evidence.blocks, weights, evidence.seed)
    found = blocked_auc(scores, labels, evidence.blocks, weights, evidence.seed)
    return Change(scores, np.ones(len(labels)) if weights is None else weights, *found)


def try_change(evidence, covariates, values=None):
    """Measure as change() does; a Change without numbers where the classes can't be matched."""
    try:
        return change(evidence, covariates, values=values)
    except ForeshapError:
        n = len(evidence.labels)
        return Change(np.full(n, np.nan), np.ones(n), np.nan, np.nan, np.nan)
