"""Statistics that know about days: events of one day share their weather and their noise."""

import numpy as np
from scipy import stats

from ..training.scores import interval_95, roc_auc

BLOCK_DAYS = 3.0
NEAR_ONE = 0.97  # ROC AUC from which resampling has too little width
RESAMPLES = 400


def day_blocks(days, labels, length=BLOCK_DAYS, pieces=12):
    """Number the blocks of days in which events lie; no block holds both classes.

    A block is full after its length, or when it holds one of so many pieces of its class.

    days: float array (N,), after the mainshock; NaN: an event is a block of its own
    labels: int array (N,)
    length: float [days]
    pieces: int

    returns: int array (N,)
    """
    blocks = np.zeros(len(days), int)
    number = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(days[rows], kind="stable")]
        most = max(len(rows) / pieces, 1)
        held, begun = most, np.nan
        for row in rows:
            if held >= most or not days[row] - begun <= length:
                number, held, begun = number + 1, 0, days[row]
            blocks[row] = number
            held += 1
    return blocks


def resample_blocks(blocks, labels, seed, resamples=RESAMPLES):
    """Draw as many blocks of each class as there are, with replacement, and count events.

    blocks, labels: int arrays (N,)

    returns: float array (resamples, N), how often each event is drawn
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(blocks)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        names, inverse = np.unique(blocks[rows], return_inverse=True)
        equal = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), equal, resamples)
        counts[:, rows] = drawn[:, inverse]
    return counts


def blocked_auc(scores, labels, blocks, weights=None, seed=0):
    """Compute a ROC AUC and its 95 % interval by resampling blocks of days in each class.

    Near 1, where resampling has no width, the interval is at least as wide as Wilson's (1927) with
    as many trials as the smaller class has blocks.

    scores: float array (N,), NaN left out
    labels, blocks: int arrays (N,)
    weights: float array (N,), 1 where left out

    returns: value, low, high; NaN where a class has fewer than three blocks
    """
    known = np.isfinite(scores)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    known &= weights > 0
    scores, labels, blocks = scores[known], np.asarray(labels)[known], blocks[known]
    weights = weights[known]
    n_blocks = [len(np.unique(blocks[labels == label])) for label in (0, 1)]
    if min(n_blocks) < 3:
        return np.nan, np.nan, np.nan
    counts = resample_blocks(blocks, labels, seed) * weights
    counts = np.vstack([weights, counts])
    auc = roc_auc(scores, labels == 1, counts)
    low, high = interval_95(auc[1:])
    value = float(auc[0])
    if value > NEAR_ONE or value < 1 - NEAR_ONE:
        wilson = stats.binomtest(round(value * min(n_blocks)), min(n_blocks)).proportion_ci(
            method="wilson"
        )
        low, high = min(low, wilson.low), max(high, wilson.high)
    return value, low, high


def blocked_mean(values, labels, blocks, weights=None, seed=0):
    """Compute the difference of the classes' means and its 95 % interval over blocks of days.

    values: float array (N,), NaN left out
    labels, blocks: int arrays (N,)
    weights: float array (N,), 1 where left out

    returns: value, low, high
    """
    known = np.isfinite(values)
    values, labels, blocks = values[known], np.asarray(labels)[known], blocks[known]
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)[known]
    counts = np.vstack([np.ones(len(values)), resample_blocks(blocks, labels, seed)]) * weights
    means = []
    for label in (0, 1):
        of_class = counts * (labels == label)
        with np.errstate(invalid="ignore"):
            means.append(of_class @ values / of_class.sum(axis=1))
    difference = means[1] - means[0]
    return float(difference[0]), *interval_95(difference[1:])


def weighted_quantile(values, weights, share):
    """Compute the value below which a share of the weight lies, float."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return values[order][np.searchsorted(reached, share * reached[-1])]
