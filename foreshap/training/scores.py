"""Scores and their intervals: ROC AUC, bootstraps, Wilson's interval, calibration."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import binomtest, t

from ..files import ForeshapError


def roc_auc(values, positive, weights=None):
    """Compute the chance that a positive has a larger value than a negative; a tie is half a win.

    Mann and Whitney's U (1947) over the number of pairs. weights: (..., N), how much each value
    counts; the result has the shape (...), NaN without a positive or without a negative.
    """
    if weights is None:
        weights = np.ones(len(values))
    order = np.argsort(values, kind="stable")
    values, positive, weights = values[order], positive[order], weights[..., order]
    first_of_ties = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    positives = np.add.reduceat(weights * positive, first_of_ties, axis=-1)
    negatives = np.add.reduceat(weights * ~positive, first_of_ties, axis=-1)
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    wins = (positives * below).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return wins / (positives.sum(axis=-1) * negatives.sum(axis=-1))


def roc_auc_interval(values, positive, weights=None, seed=0, resamples=500):
    """Compute a weighted ROC AUC and its bootstrap 95 % interval over events: value, low, high."""
    n = len(values)
    if weights is None:
        weights = np.ones(n)
    order = np.argsort(values, kind="stable")  # events are drawn by rank, whatever their order
    values, positive, weights = values[order], positive[order], weights[order]
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    resampled = roc_auc(values, positive, counts * weights)
    return roc_auc(values, positive, weights), *interval_95(resampled)


def evaluate(labels, margins):
    """Score a classifier (label 1, margin above 0: aftershock), with 95 % intervals over events.

    Intervals are those of shares (Wilson, 1927; f1 / (2 - f1) is one, too) and of auc_interval():
    near 1 they hold what they claim, and bootstraps don't. Returns two dicts with the keys
    accuracy, precision, recall, f1, roc_auc: values, (low, high); NaN where not defined.
    """
    actual, margins = np.asarray(labels) == 1, np.asarray(margins)
    predicted = margins > 0
    right = {
        "accuracy": predicted == actual,
        "precision": actual[predicted],
        "recall": predicted[actual],
        "f1": (predicted & actual)[predicted | actual],
    }
    scores = {name: np.array(_share(events)[:3]) for name, events in right.items()}
    scores["f1"] = 2 * scores["f1"] / (1 + scores["f1"])
    scores["roc_auc"] = auc_interval(margins, actual)
    metrics, intervals = {}, {}
    for name, (value, low, high) in scores.items():
        metrics[name] = float(value)
        intervals[name] = (float(low), float(high))
    return metrics, intervals


def auc_interval(values, positive):
    """Compute a ROC AUC and its 95 % interval over events: value, low, high; NaN for one class.

    DeLong et al. (1988) on the logistic scale, with Student's t for the smaller class (Qin and
    Hotilovac, 2008); where all pairs of events agree, Wilson's for so many events.
    """
    positives, negatives = values[positive], values[~positive]
    smaller = min(len(positives), len(negatives))
    if smaller == 0:
        return np.nan, np.nan, np.nan
    wins = _share_below(positives, negatives)
    losses = _share_below(negatives, positives)
    area = wins.mean()
    if smaller > 1 and 0 < area < 1:
        variance = wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses)
        half = t.ppf(0.975, smaller - 1) * np.sqrt(variance) / (area * (1 - area))
        if half > 0:
            return area, expit(logit(area) - half), expit(logit(area) + half)
    interval = binomtest(round(area * smaller), smaller).proportion_ci(method="wilson")
    return area, interval.low, interval.high


def _share_below(values, others):
    """Share of the others below each value, ties counting half."""
    others = np.sort(others)
    below = np.searchsorted(others, values) + np.searchsorted(others, values, "right")
    return below / (2 * len(others))


def interval_95(resampled):
    """Take the 2.5th and the 97.5th percentile of a score over resamples, NaN left out."""
    known = resampled[~np.isnan(resampled)]
    if len(known) == 0:
        return np.nan, np.nan
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def bootstrap_interval(per_event, seed=0, resamples=1000):
    """Compute a mean over events (NaN: left out) and its bootstrap 95 % interval (Efron, 1979)."""
    values = np.asarray(per_event, dtype=np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return values[0] if n else np.nan, np.nan, np.nan
    rows = np.random.default_rng(seed).integers(n, size=(resamples, n))
    return values.mean(), *interval_95(values[rows].mean(axis=1))


def interval_table(scores, seed=0, resamples=1000):
    """Tabulate means of scores (dict, name -> (N,)): value, low, high, n_events, a row a name."""
    rows = []
    for score in scores.values():
        known = np.isfinite(score).sum()
        rows.append((*bootstrap_interval(score, seed, resamples), known))
    return pd.DataFrame(rows, index=list(scores), columns=["value", "low", "high", "n_events"])


def reliability(margins, labels, bins=10):
    """Compare the probability that a network gives with the share of aftershocks.

    margins: array (N,), logit(aftershock) - logit(foreshock): its logistic is the probability
    labels, bins: array (N,), 0 or 1; int, bins of equal width

    returns: DataFrame, a row a bin with events: predicted (mean probability), observed (share of
        aftershocks), low, high (Wilson's 95 % interval), n_events; and the expected calibration
        error, the mean |observed - predicted| over events (Naeini et al., 2015)
    """
    probability = expit(np.asarray(margins, dtype=float))
    place = np.minimum((probability * bins).astype(int), bins - 1)
    table = _binned(place, probability, np.asarray(labels) == 1, np.mean)
    table = table.set_axis(["predicted", "observed", "low", "high", "n_events"], axis=1)
    apart = (table["observed"] - table["predicted"]).abs()
    return table, float((apart * table["n_events"]).sum() / len(probability))


def accuracy_by(values, correct, bins=5):
    """Compute the accuracy in bins of a quantity with about equally many events.

    values, correct, bins: array (N,), NaN left out; bool array (N,); int

    returns: DataFrame, a row a bin: centre (median), value, low, high (Wilson's 95 % interval),
        n_events
    raises: ForeshapError for fewer than ten known values
    """
    values, correct = np.asarray(values, dtype=float), np.asarray(correct, dtype=bool)
    known = np.isfinite(values)
    values, correct = values[known], correct[known]
    if len(values) < 10:
        raise ForeshapError(f"{len(values)} known values are too few to bin: ten are needed.")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))  # equal values: one bin
    table = _binned(np.searchsorted(edges[1:-1], values), values, correct, np.median)
    return table.set_axis(["centre", "value", "low", "high", "n_events"], axis=1)


def _binned(place, values, hits, centre):
    """Centre of the values in each bin, and the share of hits with its interval and number."""
    rows = []
    for k in np.unique(place):
        rows.append((centre(values[place == k]), *_share(hits[place == k])))
    return pd.DataFrame(rows)


def _share(hits):
    """Share of true ones, its 95 % interval (Wilson, 1927), and their number; NaN for none."""
    if len(hits) == 0:
        return np.nan, np.nan, np.nan, 0
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return hits.mean(), interval.low, interval.high, len(hits)
