"""Two stations: does the change appear at each, for the same earthquakes?"""

from dataclasses import replace
from itertools import combinations

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..day_blocks import blocked_auc
from ..evidence import LEAST, stations_of
from .finding import in_words, mute
from .matching import judged
from .signal import blocked_folds, change, match, signal_features

CHANGES = 0.55  # ROC AUC that the lower end must exceed where the signal changes
SAME = 0.65  # ROC AUC that the upper end must not exceed where it does not
SHRINKAGE = 0.1  # of the discriminant's covariance


def examine_stations(evidence):
    """Ask whether the change appears at both stations, and a model of one holds at the other."""
    name = "one station alone"
    pair = paired_events(evidence)
    if pair is None:
        return mute(name, f"no two stations share {LEAST} earthquakes of each class")
    names, first, second = pair
    changes = [change(side) for side in (first, second)]
    for found in changes:
        if found.reason:
            return mute(name, found.reason)
    found = [found.interval for found in changes]
    across = [transfer(second, first), transfer(first, second)]
    parts = []
    for station, own, other in zip(names, found, across):
        parts.append(f"{station} {in_words(*own)}, by the other's model {in_words(*other)}")
    saw = f"ROC AUC at {'; at '.join(parts)}"
    weakest = min(found + across, key=lambda interval: interval[1])
    if weakest[1] > CHANGES:
        could_see = f"a change at one alone, by {len(first.labels)} earthquakes at both"
        return judged(name, weakest, saw, could_see)
    answer = mute(name, "the stations do not agree, nor clearly differ", saw, weakest)
    unchanged, changed = sorted(found, key=lambda interval: interval[1])
    if unchanged[1] <= CHANGES < changed[1] and unchanged[2] < min(SAME, changed[1]):
        return replace(answer, state="shown", could_see="a change at one station alone")
    return answer


def earthquakes_of(table):
    """Name of the earthquake of each event, array (N,) of str; None where the table has none."""
    for column in ("source_id", "source_origin_time"):
        if column in table and table[column].notna().all():
            return table[column].astype(str).to_numpy()
    return None


def paired_events(evidence):
    """The two stations that share most earthquakes, Evidence of these at each; or None."""
    earthquakes = earthquakes_of(evidence.table)
    if earthquakes is None:
        return None
    stations, best, most = stations_of(evidence), None, 0
    for names in combinations(np.unique(stations), 2):
        shared = np.intersect1d(*(earthquakes[stations == name] for name in names))
        rows = np.isin(earthquakes, shared)
        counts = np.bincount(evidence.labels[rows & (stations == names[0])], minlength=2)
        if counts.min() >= LEAST and len(shared) > most:
            best, most = (names, rows), len(shared)
    if best is None:
        return None
    names, rows = best
    sides = []
    for name in names:
        side = evidence.only(rows & (stations == name))
        sides.append(replace(side, catalogue=side.catalogue.filter(regex="^(?!station_)")))
    return names, *sides


def transfer(learnt, tested):
    """ROC AUC, low, high of a station by the other's model, earthquakes unseen at both."""
    (values, weights), (others, _) = _matched(tested), _matched(learnt)
    equal = [0.5, 0.5]
    earthquakes, known = earthquakes_of(tested.table), earthquakes_of(learnt.table)
    scores = np.full(len(values), np.nan)
    for rows in blocked_folds(tested.labels, tested.blocks, tested.seed):
        train = ~np.isin(known, earthquakes[rows])
        if len(np.unique(learnt.labels[train])) == 2:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=equal)
            model.fit(others[train], learnt.labels[train])
            scores[rows] = model.decision_function(values[rows])
    return blocked_auc(scores, tested.labels, tested.blocks, weights, tested.seed)


def _matched(evidence):
    """The signal without the catalogue, standardised, and the weights that match the classes."""
    values, weights = match(evidence, evidence.catalogue, signal_features(evidence))
    return values / np.maximum(values.std(axis=0), 1e-12), weights
