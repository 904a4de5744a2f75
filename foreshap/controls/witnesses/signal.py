"""Does the signal change, at equal catalogue and size, and at the mainshock's date?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from ...files import ForeshapError
from ...training.scores import roc_auc
from ..day_blocks import blocked_auc, resample_blocks
from ..evidence import LEAST
from ..features import USABLE, fill_unknown
from ..plain_models import overlap_weights

FLOOR_QUANTILE = 0.99  # of the noise: one floor for all events, in each bin
ABOVE_FLOOR = 0.3  # log10 of power, that the floor lies above it
RIDGE = 1e-3  # penalty of regressions on the catalogue, per event
FOLDS = 5


@dataclass(frozen=True)
class Change:
    """How well the signal tells the classes apart on held-out blocks of days."""

    scores: np.ndarray  # (N,), log-odds of aftershock
    weights: np.ndarray  # (N,), under which the classes match
    auc: float = np.nan
    low: float = np.nan
    high: float = np.nan
    reason: str = ""  # why the classes can't be matched

    @property
    def interval(self):
        """ROC AUC and its 95 % interval over blocks of days."""
        return self.auc, self.low, self.high

    @property
    def distance(self):
        """Distance of the classes' means, in their common deviation, float."""
        return distance_of(self.auc)


def distance_of(auc):
    """Distance of two normal distributions in their deviation that gives a ROC AUC, float."""
    return float(np.sqrt(2) * ndtri(np.clip(auc, 1e-4, 1 - 1e-4)))


def signal_features(evidence, power=None):
    """About 20 numbers of an event's power above one common floor, log10, DataFrame (N rows)."""
    frequencies = evidence.frequencies
    usable = (frequencies >= USABLE[0]) & (frequencies <= USABLE[1])
    power = (evidence.power if power is None else power)[..., usable].astype(float)
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
    """Subtract what covariates and their products predict within the classes, (N, columns)."""
    values = np.asarray(values, float)
    if covariates.shape[1] == 0:
        return values - values.mean(axis=0)
    x = StandardScaler().fit_transform(covariates)
    x = np.clip(PolynomialFeatures(2, include_bias=False).fit_transform(x), -6, 6)
    inside = centred(x, labels)
    penalty = RIDGE * len(x) * np.eye(x.shape[1])
    slopes = np.linalg.solve(inside.T @ inside + penalty, inside.T @ centred(values, labels))
    return values - values.mean(axis=0) - (x - x.mean(axis=0)) @ slopes


def centred(values, labels):
    """Values (N, ...) less the mean of their class."""
    values = values.copy()
    for label in np.unique(labels):
        values[labels == label] -= values[labels == label].mean(axis=0)
    return values


def blocked_folds(labels, blocks, seed=0):
    """Hold out a fifth of each class's blocks of days in turn: list of bool arrays (N,), tested."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rows = labels == label
        names, place = np.unique(blocks[rows], return_inverse=True)
        fold[rows] = (np.argsort(rng.permutation(len(names))) % FOLDS)[place]
    return [fold == k for k in range(FOLDS)]


def held_out(values, labels, blocks, weights=None, seed=0, penalty=0.1):
    """Score events by Fisher's (1936) linear discriminant of the other blocks of days, (N,)."""
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


def match(evidence, covariates, values):
    """Values (N, columns) without what covariates explain; weights that match the classes (N,)."""
    folds = blocked_folds(evidence.labels, evidence.blocks, evidence.seed)
    weights = overlap_weights(covariates, evidence.labels, folds)
    return without_catalogue(values, covariates, evidence.labels), weights


def change(evidence, covariates=None, values=None):
    """Measure how well the signal, or other values, tell the classes apart at equal catalogue."""
    labels, n = evidence.labels, len(evidence.labels)
    covariates = evidence.catalogue if covariates is None else covariates
    try:
        if np.bincount(labels, minlength=2).min() < LEAST:
            raise ForeshapError(f"fewer than {LEAST} events of a class remain")
        values = signal_features(evidence) if values is None else values
        values, weights = match(evidence, covariates, values)
    except ForeshapError as error:
        return Change(np.full(n, np.nan), np.ones(n), reason=str(error))
    scores = held_out(values, labels, evidence.blocks, weights, evidence.seed)
    found = blocked_auc(scores, labels, evidence.blocks, weights, evidence.seed)
    return Change(scores, weights, *found)


def class_means(values, evidence, weights=1.0):
    """Means of each class, of all events and resampled: two arrays (1 + resamples, columns)."""
    counts = resample_blocks(evidence.blocks, evidence.labels, evidence.seed)
    counts = np.vstack([np.ones(len(values)), counts]) * weights
    means = []
    for label in (0, 1):
        of_class = counts * (evidence.labels == label)
        means.append(of_class @ values / of_class.sum(axis=1, keepdims=True))
    return means
