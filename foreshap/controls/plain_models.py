"""How well a plain model tells the classes apart: logistic regression on held-out events, with its error."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from ..files import ForeshapError
from ..preprocessing.variants import CLASSES
from ..preprocessing.waveforms import known_times
from ..training.splits import co_located_groups, hypocentre_clusters, neighbours, time_blocks

PENALTY = 0.01  # C of the regression on spectra: hundreds of correlated columns
FOLDS = 5
LEAST = 30  # events of a class (or effective ones), below which a score says nothing
INSIDE = 3  # placebo dates inside the classes, below which nothing can be said to stand out
RESAMPLES = 500


def folds(table, kind, seed):
    """Who is held out in turn: groups of events never stand on both sides.

    table: DataFrame of a tensor file, with label
    kind: "random" (events whose windows overlap stay together), "time blocks" (ten of each class), "clusters" (of
        hypocentres), "co-located groups" or "weeks" (leave one out)
    seed: int

    returns: list of (train, test), int arrays of rows
    raises: ForeshapError where the table can't be split so
    """
    labels = table["label"].to_numpy()
    if kind == "weeks":
        return _weeks(table, labels)
    group = {
        "random": neighbours,
        "time blocks": lambda t: time_blocks(t, 10),
        "clusters": lambda t: hypocentre_clusters(t, seed, 20),
        "co-located groups": co_located_groups,
    }
    groups = group[kind](table)
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
    parts = [(np.flatnonzero(week != w), np.flatnonzero(week == w)) for w in np.unique(week)]
    parts = [
        (train, test)
        for train, test in parts
        if np.bincount(labels[train], minlength=2).min() >= LEAST / 2
    ]
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
        model = _fitted(
            x[train], labels[train], None if weights is None else weights[train], penalty
        )
        scores[test] = model.decision_function(x[test])
    return scores


def _columns(features):
    """Features as float64 columns (N, columns) without NaN; a column without any value is left out."""
    x = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    x = x[:, np.isfinite(x).any(axis=0)]
    if x.shape[1] == 0:
        raise ForeshapError("no event has a frame there")
    return np.where(np.isfinite(x), x, np.nanmean(x, axis=0))


def _fitted(x, labels, weights, penalty):
    model = LogisticRegression(
        C=penalty, max_iter=1000, class_weight="balanced" if weights is None else None
    )
    with threadpool_limits(1):  # many small products: threads cost more than they bring
        return make_pipeline(StandardScaler(), model).fit(
            x, labels, logisticregression__sample_weight=weights
        )


def roc_auc(scores, labels, weights=None, seed=0):
    """Chance that an aftershock scores higher than a foreshock, with its bootstrap 95 % interval over events.

    Mann and Whitney's U (1947) over the number of pairs, each event with its weight; of equal scores half count. The
    interval is that of other events before the same models: what other training events change is not in it.

    scores: array (N,), NaN left out
    labels: array (N,), 0 or 1
    weights: array (N,), 1 where left out
    seed: int

    returns: dict of value, low, high, chance (0.5) and n_events
    raises: ForeshapError where a class has fewer than LEAST events
    """
    kept = np.isfinite(scores)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights)
    scores, labels, weights = scores[kept], np.asarray(labels)[kept], weights[kept]
    check_enough(np.bincount(labels, minlength=2))
    order = np.argsort(scores, kind="stable")
    drawn = np.random.default_rng(seed).multinomial(
        len(order), np.full(len(order), 1 / len(order)), RESAMPLES
    )
    counts = np.vstack([np.ones((1, len(order))), drawn]) * weights[order]
    equal = np.flatnonzero(
        np.diff(scores[order], prepend=np.nan) != 0
    )  # where each run of equal scores begins
    after, fore = (np.add.reduceat(counts * (labels[order] == k), equal, axis=1) for k in (1, 0))
    auc = (after * (np.cumsum(fore, axis=1) - fore / 2)).sum(axis=1) / (
        after.sum(axis=1) * fore.sum(axis=1)
    )
    low, high = np.percentile(auc[1:], (2.5, 97.5))
    return {"measured": auc[0], "low": low, "high": high, "chance": 0.5, "n_events": len(order)}


def check_enough(counts):
    """Raise ForeshapError unless both classes have LEAST events (counts: two numbers)."""
    if min(counts) < LEAST:
        raise ForeshapError(
            f"too few events: {counts[0]:.0f} foreshocks, {counts[1]:.0f} aftershocks, {LEAST} are needed"
        )


def overlap_weights(covariates, labels):
    """Weights under which the classes have the same means of all covariates and of their products.

    Each event counts with the chance of belonging to the other class, by a logistic regression on the covariates
    (overlap weights: Li, Morgan and Zaslavsky, 2018).

    covariates: DataFrame (N rows), of features.catalogue(); without columns all events count alike
    labels: array (N,), 0 or 1

    returns: float array (N,)
    raises: ForeshapError where fewer than LEAST effective events of a class remain
    """
    if covariates.shape[1] == 0:
        return np.ones(len(labels))
    x = PolynomialFeatures(2, include_bias=False).fit_transform(
        StandardScaler().fit_transform(covariates)
    )
    chance = _fitted(x, labels, None, 10.0).predict_proba(x)
    weights = np.where(labels == 1, chance[:, 0], chance[:, 1])
    shared = 2 * np.bincount(labels, weights)  # events that could as well be of the other class
    check_enough(np.minimum(shared, effective_events(weights, labels)))
    return weights


def effective_events(weights, labels):
    """How many events of equal weight would scatter as these do, of each class, float (2,) (Kish, 1965)."""
    of = [weights[np.asarray(labels) == k] for k in (0, 1)]
    return np.array([w.sum() ** 2 / (w**2).sum() for w in of])


def shuffled(features, labels, parts, repeats, seed):
    """ROC AUC of the same model for shuffled labels: the chance level and its spread.

    repeats: int; others as in held_out_scores()

    returns: float array (repeats,)
    """
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(labels) for _ in range(repeats)]
    return np.array(
        [roc_auc(held_out_scores(features, y, parts), y, seed=seed)["measured"] for y in drawn]
    )


def placebo_dates(table, seed, n_inside=8):
    """Dividing dates, with as many events on both sides, all from equally long spans before and after.

    Dates lie at equal steps of the number of events inside each class (spans stay in it) and around the mainshock
    (sides mix the classes), each with the longest span that its class has room for; none has a longer one than the
    dates inside, lest a steady drift separate most around the mainshock. On a side stand a quarter of the smaller
    class's events at most, drawn at random, so that scores of different dates compare.

    table: DataFrame of a tensor file, with label
    seed: int, of the draw of events
    n_inside: int, dates in each class

    returns: DataFrame, a row a date: time [UTC; of the mainshock the middle of the gap], kind, before, after (int
        arrays of rows); dates with fewer than LEAST events on a side are left out
    raises: ForeshapError where times are missing, the classes overlap in time, the mainshock has too few events, or
        fewer than INSIDE dates inside the classes remain
    """
    labels, days = table["label"].to_numpy(), days_from_gap(table)
    rng, most = np.random.default_rng(seed), max(LEAST, np.bincount(labels).min() // 4)
    steps = np.linspace(0, 1, n_inside + 2)[1:-1]
    inside = [(f"inside {name}s", day, labels == k) for k, name in enumerate(CLASSES)
              for day in np.quantile(days[labels == k], steps)]  # fmt: skip
    dates = (
        inside
        + [("across", day, labels >= 0) for day in _around(days)]
        + [("mainshock", 0.0, labels >= 0)]
    )
    longest = max(_room(days[which], day) for _, day, which in inside)
    middle = known_times(table).iloc[0] - pd.Timedelta(days=days[0])
    found = [(middle + pd.Timedelta(days=day), kind, *_sides(np.flatnonzero(which), days, day, longest, most, rng))
             for kind, day, which in dates]  # fmt: skip
    found = pd.DataFrame(found, columns=["time", "kind", "before", "after"])
    found = found[found["before"].str.len() >= LEAST].reset_index(drop=True)
    if "mainshock" not in found["kind"].to_numpy():
        raise ForeshapError(
            f"fewer than {LEAST} events lie within {longest:.1f} days before or after the mainshock"
        )
    if found["kind"].str.startswith("inside").sum() < INSIDE:
        raise ForeshapError(
            f"fewer than {INSIDE} dates inside the classes have {LEAST} events on both sides"
        )
    return found


def days_from_gap(table):
    """Days of each event after the middle of the gap between the last foreshock and the first aftershock, float (N,).

    raises: ForeshapError where times are missing or the classes overlap in time
    """
    times, labels = known_times(table), table["label"].to_numpy()
    if times.isna().any():
        raise ForeshapError("some events have no time")
    days = (times - times.min()).dt.total_seconds().to_numpy() / 86400
    last, first = days[labels == 0].max(), days[labels == 1].min()
    if last > first:
        raise ForeshapError("foreshocks and aftershocks overlap in time")
    return days - (last + first) / 2


def gaps(times, longest=10):
    """Spans without events that are far longer than the waits around them, and than two days: perhaps without data.

    times: Series of datetimes [UTC], of the events
    longest: float, times the median wait of the 20 events around

    returns: list of (start, end), datetimes
    """
    times = times.sort_values(ignore_index=True)
    waits = times.diff().dt.total_seconds()[1:] / 86400
    usual = waits.rolling(21, center=True, min_periods=5).median()
    return [(times[k - 1], times[k]) for k in waits.index[(waits > longest * usual) & (waits > 2)]]


def _around(days):
    """Dates an eighth and a sixteenth of all events before and after the mainshock [days]."""
    order, step = np.sort(days), len(days) // 16
    places = np.searchsorted(order, 0) + step * np.array([-2, -1, 1, 2])
    return order[places[(places > 0) & (places < len(days))]]


def _room(days, date):
    """The longest span that days with events have room for on both sides of a date [days]."""
    return min(date - days.min(), days.max() - date)


def _sides(rows, days, date, longest, most, rng):
    """Rows before and after a date: the same number, at most `most`, from the same span of days."""
    span = min(longest, _room(days[rows], date))
    sides = [
        rows[(sign * (days[rows] - date) >= 0) & (np.abs(days[rows] - date) <= span)]
        for sign in (-1, 1)
    ]
    count = min(most, *map(len, sides))
    return [np.sort(rng.choice(side, count, replace=False)) for side in sides]
