"""How well a plain model tells the classes apart: logistic regression on held-out events."""

from functools import cache

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import ThreadpoolController

from ..files import ForeshapError
from ..preprocessing.waveforms import known_times
from ..training.scores import interval_95, roc_auc, roc_auc_interval
from ..training.splits import co_located_groups, hypocentre_clusters, neighbours, time_blocks

PENALTY = 0.01  # C of the regression on spectra: hundreds of correlated columns
FOLDS = 5
LEAST = 30  # events of a class (or effective ones), below which nothing is said
FEWEST_WEEKS = 3


def folds(table, kind, seed):
    """Hold out groups of events (of a DataFrame with label) in turn: list of (train, test) rows.

    Kinds: "random" (events whose windows overlap stay together), "time blocks" (ten of each class),
    "clusters" (of hypocentres), "co-located groups" and "weeks" (leave one out).
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
    for train, _ in parts:
        if len(np.unique(labels[train])) < 2:
            raise ForeshapError(
                f"a class lies in one group of events, which can't be on both sides ({kind})"
            )
    return parts


def _weeks(table, labels):
    """Leave one week out; weeks are counted from the first event."""
    times = known_times(table)
    if times.isna().any():
        raise ForeshapError("some events have no time, so no week can be left out")
    week = ((times - times.min()).dt.days // 7).to_numpy()
    parts = []
    for train, test in LeaveOneGroupOut().split(labels, labels, week):
        if np.bincount(labels[train], minlength=2).min() >= LEAST / 2:
            parts.append((train, test))
    if len(parts) < FEWEST_WEEKS:
        raise ForeshapError("fewer than three weeks can be left out with both classes in the rest")
    return parts


def held_out_scores(features, labels, parts, weights=None, penalty=PENALTY):
    """Log-odds of aftershock of each event (N,) by models that never saw its fold; NaN in no fold.

    Inputs (N, ...) that are NaN count as the column's mean; without weights classes count alike.
    """
    x = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    x = x[:, np.isfinite(x).any(axis=0)]
    if x.shape[1] == 0:
        raise ForeshapError("no event has a frame there")
    x = np.where(np.isfinite(x), x, np.nanmean(x, axis=0))
    scores = np.full(len(x), np.nan)
    for train, test in parts:
        chosen = None if weights is None else weights[train]
        model = _fitted(x[train], labels[train], chosen, penalty)
        scores[test] = model.decision_function(x[test])
    return scores


def _fitted(x, labels, weights, penalty, solver="lbfgs"):
    """A logistic regression on standardised columns, fitted."""
    balance = "balanced" if weights is None else None
    model = LogisticRegression(C=penalty, max_iter=1000, class_weight=balance, solver=solver)
    pipeline = make_pipeline(StandardScaler(), model)
    with _threads().limit(limits=1):  # many small products: threads cost more than they bring
        return pipeline.fit(x, labels, logisticregression__sample_weight=weights)


@cache
def _threads():
    """The controller of the libraries' threads, found once: to look for them takes 3 ms."""
    return ThreadpoolController()


def measure_auc(scores, labels, weights=None, seed=0):
    """Measure how well scores (N,) tell the classes apart, dict: ROC AUC, interval, n_events."""
    known = np.isfinite(scores)
    scores, labels = scores[known], np.asarray(labels)[known]
    weights = None if weights is None else weights[known]
    check_enough(labels)
    value, low, high = roc_auc_interval(scores, labels == 1, weights, seed)
    return {"measured": value, "low": low, "high": high, "chance": 0.5, "n_events": len(scores)}


def measure_shuffled(features, labels, parts, repeats, seed):
    """Measure the same model for shuffled labels, dict: mean and 95 % range of the ROC AUC."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        drawn = rng.permutation(labels)
        found.append(roc_auc(held_out_scores(features, drawn, parts), drawn == 1))
    low, high = interval_95(np.array(found))
    measured = {"measured": np.mean(found), "low": low, "high": high}
    return measured | {"chance": 0.5, "n_events": len(labels)}


def check_enough(labels, counts=None):
    """Raise ForeshapError unless both classes have LEAST events (or other counts, (2,))."""
    counts = np.bincount(labels, minlength=2) if counts is None else counts
    if min(counts) < LEAST:
        names = f"{counts[0]:.0f} foreshocks, {counts[1]:.0f} aftershocks"
        raise ForeshapError(f"too few events: {names}, {LEAST} are needed")


def overlap_weights(covariates, labels, folds=None):
    """Weigh events until the classes have the same means of all covariates and their products.

    Each counts with the chance of belonging to the other class, by a logistic regression on the
    covariates (overlap weights: Li, Morgan and Zaslavsky, 2018); without columns all count alike.
    With folds (bool arrays (N,)), weights of their events come of a fit without them.
    """
    if covariates.shape[1] == 0:
        return np.ones(len(labels))
    x = StandardScaler().fit_transform(covariates)
    x = PolynomialFeatures(2, include_bias=False).fit_transform(x)
    every = np.ones(len(labels), bool)
    chance = np.empty((len(labels), 2))
    for weighed in folds or [every]:
        fitted = ~weighed if folds else every
        if len(np.unique(labels[fitted])) < 2:
            raise ForeshapError("all events of a class fall into one block of days")
        model = _fitted(x[fitted], labels[fitted], None, 10.0, "newton-cholesky")
        chance[weighed] = model.predict_proba(x[weighed])
    weights = np.where(labels == 1, chance[:, 0], chance[:, 1])
    shared = 2 * np.bincount(labels, weights)  # events that could as well be of the other class
    check_enough(labels, np.minimum(shared, effective_events(weights, labels)))
    return weights


def effective_events(weights, labels):
    """Events of equal weight that would scatter as these do, of each class (Kish, 1965), (2,)."""
    classes = [weights[np.asarray(labels) == k] for k in (0, 1)]
    return np.array([mine.sum() ** 2 / (mine**2).sum() for mine in classes])
