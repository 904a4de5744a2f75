"""Decide who trains and who tests: at random, by blocks of time, by place, by co-located groups."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans

from ..files import ForeshapError
from ..preprocessing.waveforms import known_times

SIDES = ("train", "validation", "test")
TEST, VALIDATION = 0.2, 0.1  # shares of the events
SECONDS_APART = 25.0  # events closer than this share samples: they stay on one side
KM_PER_DEGREE = 111.2


@dataclass(frozen=True)
class Split:
    """Rows of the events that train, validate and test: int arrays, sorted, no event in two."""

    name: str  # "random", "time blocks", "clusters" or "co-located groups"
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def rows(self):
        """Rows of each side, dict from train, validation and test to an int array."""
        return {side: getattr(self, side) for side in SIDES}

    def only(self, chosen):
        """The same split of some events alone (chosen: bool array, a value a row of the table)."""
        sides = {side: rows[chosen[rows]] for side, rows in self.rows().items()}
        return Split(self.name, **sides)


def random_split(table, seed):
    """Split at random by event, in each class alike: the habit of the literature.

    table, seed: DataFrame of a tensor file, one row an event; int

    returns: Split, 0.7 of the events to train, 0.1 to validate, 0.2 to test
    raises: ForeshapError where a class has too few events for three sides
    """
    return _deal("random", table, neighbours(table), seed)


def time_block_split(table, seed, blocks=10):
    """Split as random_split() does, whole blocks of time: `blocks` equal ones in each class."""
    return _deal("time blocks", table, time_blocks(table, blocks), seed)


def cluster_split(table, seed, clusters=10):
    """Split as random_split() does, whole clusters of hypocentres: no one's neighbours test."""
    groups = hypocentre_clusters(table, seed, clusters)
    return _deal("clusters", table, groups, seed, by_class=False)


def co_located_split(table, seed):
    """Split as random_split() does, whole groups of the column co_located_group ("": of none)."""
    return _deal("co-located groups", table, co_located_groups(table), seed, by_class=False)


def neighbours(table):
    """Number groups of events whose windows overlap, ascending in time; without times all alone."""
    time = known_times(table)
    if time.isna().any():
        return np.arange(len(table))
    order = np.argsort(time.to_numpy(), kind="stable")
    begins_group = time.iloc[order].diff().dt.total_seconds().to_numpy() > SECONDS_APART
    groups = np.empty(len(table), int)
    groups[order] = np.cumsum(begins_group)
    return groups


def time_blocks(table, blocks):
    """Number blocks of time, each class in `blocks` of about equally many events, int (N,)."""
    if known_times(table).isna().any():
        raise ForeshapError("Some events have no time: split at random instead.")
    labels = table["label"].to_numpy(int)
    rank = pd.Series(neighbours(table)).groupby(labels).rank(method="min", pct=True)
    return np.ceil(rank.to_numpy() * blocks).astype(int) + (blocks + 1) * labels


def hypocentre_clusters(table, seed, clusters):
    """Number clusters of hypocentres by k-means, int (N,)."""
    names = ["source_latitude", "source_longitude", "source_depth_km"]
    latitude, longitude, depth = table.reindex(columns=names).to_numpy(float).T
    if not np.isfinite([latitude, longitude, depth]).all():
        raise ForeshapError("Some events have no hypocentre: split at random or by time instead.")
    east = longitude * np.cos(np.radians(latitude.mean()))
    place = np.stack([KM_PER_DEGREE * latitude, KM_PER_DEGREE * east, depth], axis=1)
    clusters = min(clusters, len(np.unique(place, axis=0)))
    return KMeans(clusters, random_state=seed, n_init=4).fit_predict(place)


def co_located_groups(table):
    """Number groups of events linked, even through others, by place or overlapping windows."""
    if "co_located_group" not in table:
        raise ForeshapError("There is no co_located_group: split at random or by time instead.")
    n = len(table)
    names = table["co_located_group"].fillna("").astype(str).to_numpy()
    names = np.where(names == "", [f"alone {event}" for event in range(n)], names)
    events = pd.Series(np.arange(n))
    first_nearby = events.groupby(names).transform("first")
    first_in_time = events.groupby(neighbours(table)).transform("first")
    linked = np.tile(events, 2), np.concatenate([first_in_time, first_nearby])
    graph = coo_array((np.ones(2 * n), linked), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _deal(name, table, groups, seed, by_class=True):
    """Deal whole groups in random order: to test, then validation, then train, by their shares."""
    rng = np.random.default_rng(seed)
    labels = table["label"].to_numpy()
    side = np.empty(len(table), int)  # place in SIDES
    for chosen in [labels == 0, labels == 1] if by_class else [labels >= 0]:
        _, group, counts = np.unique(groups[chosen], return_inverse=True, return_counts=True)
        order = rng.permutation(len(counts))
        filled = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
        side_of_group = np.empty(len(counts), int)
        side_of_group[order] = 2 - np.searchsorted([TEST, TEST + VALIDATION], filled)
        side[chosen] = side_of_group[group]
    split = Split(name, *[np.flatnonzero(side == k) for k in range(len(SIDES))])
    for rows in split.rows().values():
        if len(np.unique(labels[rows])) < 2:
            counts = np.bincount(labels, minlength=2)
            raise ForeshapError(
                f"The split '{name}' leaves a side without a class: {counts[0]} foreshocks and "
                f"{counts[1]} aftershocks are too few."
            )
    return split
