"""How well a plain model tells the classes apart: logistic regression on held-out events."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from ..files import ForeshapError
from ..preprocessing.waveforms import known_times
from ..training.scores import roc_auc, roc_auc_interval
from ..training.splits import co_located_groups, hypocentre_clusters, neighbours, time_blocks

PENALTY = 0.01  # C of the regression on spectra: hundreds of correlated columns
FOLDS = 5
LEAST = 30  # events of a class (or effective ones), below which a score says nothing


def folds(table, kind, seed):
    """Decide who is held out in turn: groups of events never stand on both sides.

    table: DataFrame of a tensor file, with label
    kind: "random" (events whose windows overlap stay together), "time blocks" (ten of each class),
        "clusters" (of hypocentres), "co-located groups" or "weeks" (leave one out)
    seed: int

    returns: list of (train, test), int arrays of rows
    raises: ForeshapError where the table can't be split so
    """
    labels = table["label"].to_numpy()
    if kind == "weeks":
        return _weeks(table, labels)
    if kind == "random":
        groups = neighbours(table)
    elif kind == "time blocks":
        groups = time_blocks(table, 10)
    elif kind == "clusters":
        groups = hypocentre_clusters(table, seed, 20)
    else:
        groups = co_located_groups(table)
    if len(np.unique(groups)) < FOLDS:
        raise ForeshapError(f"fewer than {FOLDS} groups of events can be held out ({kind})")
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = list(splitter.split(labels, labels, groups))
    if any(len(np.unique(labels[train])) < 2 for train, _ in parts):
        raise ForeshapError(
            f"a class lies in one group of events, which can't be on both sides ({kind})"
        )
    return parts


def _weeks(table, labels):
    """Leave one week out; weeks are counted from the first event."""
    times = known_times(table)
    if times.isna().any():
        raise ForeshapError(
            "Some events have no time, so no week can be left out: split at random instead."
        )
    week = ((times - times.min()).dt.days // 7).to_numpy()
    parts = []
    for left_out in np.unique(week):
        train, test = np.flatnonzero(week != left_out), np.flatnonzero(week == left_out)
        if np.bincount(labels[train], minlength=2).min() >= LEAST / 2:
            parts.append((train, test))
    if len(parts) < 3:
        raise ForeshapError(
            "Fewer than three weeks can be left out with both classes in the others."
        )
    return parts


def held_out_scores(features, labels, parts, weights=None, penalty=PENALTY):
    """Log-odds of aftershock for each event by a logistic regression that never saw its fold.

    features: array (N, ...); NaN counts as the column's mean
    labels: array (N,), 0 or 1
    parts: list of (train, test), of folds()
    weights: array (N,), of the events; classes count alike where left out
    penalty: float, inverse strength of the quadratic penalty on standardised columns

    returns: float array (N,), NaN for an event that no fold held out
    raises: ForeshapError where no event has a value
    """
    x = _columns(features)
    scores = np.full(len(x), np.nan)
    for train, test in parts:
        chosen = None if weights is None else weights[train]
        model = _fitted(x[train], labels[train], chosen, penalty)
        scores[test] = model.decision_function(x[test])
    return scores


def _columns(features):
    """Features as float64 columns (N, columns) without NaN; a column without values is left out."""
    x = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    x = x[:, np.isfinite(x).any(axis=0)]
    if x.shape[1] == 0:
        raise ForeshapError("no event has a frame there")
    return np.where(np.isfinite(x), x, np.nanmean(x, axis=0))


def _fitted(x, labels, weights, penalty, solver="lbfgs"):
    balance = "balanced" if weights is None else None
    model = LogisticRegression(C=penalty, max_iter=1000, class_weight=balance, solver=solver)
    pipeline = make_pipeline(StandardScaler(), model)
    with threadpool_limits(1):  # many small products: threads cost more than they bring
        return pipeline.fit(x, labels, logisticregression__sample_weight=weights)


def measure_auc(scores, labels, weights=None, seed=0):
    """Measure how well scores tell the classes apart: ROC AUC with its bootstrap interval.

    scores: array (N,), NaN left out
    labels: array (N,), 0 or 1
    weights: array (N,), 1 where left out
    seed: int

    returns: dict of measured, low, high, chance (0.5) and n_events
    raises: ForeshapError where a class has fewer than LEAST events
    """
    known = np.isfinite(scores)
    scores, labels = scores[known], np.asarray(labels)[known]
    weights = None if weights is None else weights[known]
    check_enough(np.bincount(labels, minlength=2))
    value, low, high = roc_auc_interval(scores, labels == 1, weights, seed)
    return {"measured": value, "low": low, "high": high, "chance": 0.5, "n_events": len(scores)}


def check_enough(counts):
    """Raise ForeshapError unless both classes have LEAST events (counts: two numbers)."""
    if min(counts) < LEAST:
        raise ForeshapError(
            f"too few events: {counts[0]:.0f} foreshocks, {counts[1]:.0f} aftershocks, {LEAST} are "
            "needed"
        )


def overlap_weights(covariates, labels):
    """Weights under which the classes have the same means of all covariates and their products.

    Each event counts with the chance of belonging to the other class, by a logistic regression on
    the covariates (overlap weights: Li, Morgan and Zaslavsky, 2018).

    covariates: DataFrame (N rows), of features.catalogue(); without columns all count alike
    labels: array (N,), 0 or 1

    returns: float array (N,)
    raises: ForeshapError where fewer than LEAST effective events of a class remain
    """
    if covariates.shape[1] == 0:
        return np.ones(len(labels))
    x = StandardScaler().fit_transform(covariates)
    x = PolynomialFeatures(2, include_bias=False).fit_transform(x)
    chance = _fitted(x, labels, None, 10.0, "newton-cholesky").predict_proba(x)
    weights = np.where(labels == 1, chance[:, 0], chance[:, 1])
    shared = 2 * np.bincount(labels, weights)  # events that could as well be of the other class
    check_enough(np.minimum(shared, effective_events(weights, labels)))
    return weights


def effective_events(weights, labels):
    """Events of equal weight that would scatter as these do, of each class (Kish, 1965), (2,)."""
    classes = [weights[np.asarray(labels) == k] for k in (0, 1)]
    return np.array([mine.sum() ** 2 / (mine**2).sum() for mine in classes])


def shuffled(features, labels, parts, repeats, seed):
    """ROC AUC of the same model for shuffled labels, float array (repeats,)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        drawn = rng.permutation(labels)
        found.append(roc_auc(held_out_scores(features, drawn, parts), drawn == 1))
    return np.array(found)


def gaps(times, longest=10):
    """Find spans without events, over two days and far longer than the waits around: no data?

    times: Series of datetimes [UTC], of the events
    longest: float, times the median wait of the 20 events around

    returns: list of (start, end), datetimes
    """
    times = times.sort_values(ignore_index=True)
    waits = times.diff().dt.total_seconds()[1:] / 86400
    usual = waits.rolling(21, center=True, min_periods=5).median()
    return [(times[k - 1], times[k]) for k in waits.index[(waits > longest * usual) & (waits > 2)]]
