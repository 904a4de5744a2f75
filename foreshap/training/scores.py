"""Does a network know how sure it is, and what does its accuracy hang on?"""

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest

from ..files import ForeshapError


def reliability(margins, labels, bins=10):
    """Share of aftershocks among test events by the probability the network gives them, and the calibration error.

    margins: array (N,), logit(aftershock) - logit(foreshock): the probability is its logistic function
    labels: array (N,), 0 or 1
    bins: int, of equal width

    returns: DataFrame, a row a bin with events: predicted (mean probability), observed (share of aftershocks), low,
        high (Wilson's 95 % interval), n_events; and the expected calibration error, the mean |observed - predicted|
        over events (Naeini et al., 2015)
    """
    probability, labels = expit(np.asarray(margins, dtype=float)), np.asarray(labels)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    rows = [
        (probability[place == k].mean(), *_share(labels[place == k] == 1)) for k in np.unique(place)
    ]
    table = pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n_events"])
    apart = (table["observed"] - table["predicted"]).abs()
    return table, float((apart * table["n_events"]).sum() / len(labels))


def accuracy_by(values, correct, bins=5):
    """Accuracy in bins of a quantity with about equally many events.

    values: array (N,), NaN left out
    correct: bool array (N,)
    bins: int

    returns: DataFrame, a row a bin: centre (median), value, low, high (Wilson's 95 % interval), n_events
    raises: ForeshapError for fewer than ten known values
    """
    values, correct = np.asarray(values, dtype=float), np.asarray(correct, dtype=bool)
    values, correct = (a[np.isfinite(values)] for a in (values, correct))
    if len(values) < 10:
        raise ForeshapError(f"{len(values)} known values are too few to bin: ten are needed.")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))[
        1:-1
    ]  # one bin of values that are all the same
    place = np.searchsorted(edges, values)
    rows = [(np.median(values[place == k]), *_share(correct[place == k])) for k in np.unique(place)]
    return pd.DataFrame(rows, columns=["centre", "value", "low", "high", "n_events"])


def _share(hits):
    """Share of true ones, Wilson's 95 % interval, and their number (Wilson, 1927)."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return hits.mean(), interval.low, interval.high, len(hits)
