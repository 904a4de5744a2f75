"""Decide who trains and who tests: at random, by blocks of time, by place, by co-located groups."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans

from ..files import ForeshapError
from ..preprocessing.variants import CLASSES
from ..preprocessing.waveforms import known_times

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
SECONDS_APART = 25.0  # events closer than this share samples: they stay on one side
KM_PER_DEGREE = 111.2


@dataclass(frozen=True)
class Split:
    """Rows of the events that train, validate and test: int arrays, sorted, without a common event.

    name: str, "random", "time blocks", "clusters" or "co-located groups"
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def rows(self):
        """Rows of each side, dict from train, validation and test to an int array."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def only(self, chosen):
        """The same split of some events alone (chosen: bool array, a value a row of the table)."""
        sides = {side: rows[chosen[rows]] for side, rows in self.rows().items()}
        return Split(self.name, **sides)


def random_split(table, seed):
    """Split at random by event, in each class alike: the habit of the literature.

    table: DataFrame of a tensor file, one row an event
    seed: int

    returns: Split
    raises: ForeshapError where a class has too few events for three sides
    """
    return _deal("random", table, neighbours(table), seed)


def time_block_split(table, seed, blocks=10):
    """Split into contiguous blocks of time, `blocks` of equally many events in each class.

    Arguments, return and errors as in random_split(); events without a time are an error.
    """
    return _deal("time blocks", table, time_blocks(table, blocks), seed)


def cluster_split(table, seed, clusters=10):
    """Split into clusters of nearby hypocentres, so that no one's neighbours train and test.

    Arguments, return and errors as in random_split(); the table needs source_latitude,
    source_longitude [degrees] and source_depth_km.
    """
    groups = hypocentre_clusters(table, seed, clusters)
    return _deal("clusters", table, groups, seed, by_class=False)


def co_located_split(table, seed):
    """Split into groups of co-located events, so that no repeated rupture trains and tests.

    Arguments, return and errors as in random_split(); the table needs co_located_group, text, ""
    for an event of no group.
    """
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
        raise ForeshapError(
            "Some events have no hypocentre: split at random or by time blocks instead."
        )
    east = longitude * np.cos(np.radians(latitude.mean()))
    place = np.stack([KM_PER_DEGREE * latitude, KM_PER_DEGREE * east, depth], axis=1)
    clusters = min(clusters, len(np.unique(place, axis=0)))
    return KMeans(clusters, random_state=seed, n_init=4).fit_predict(place)


def co_located_groups(table):
    """Number groups of events linked, even through others, by place or overlapping windows."""
    if "co_located_group" not in table:
        raise ForeshapError(
            "The events have no co_located_group: split at random or by time blocks instead."
        )
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
    """Deal whole groups to the three sides, each side getting its share of the events."""
    rng = np.random.default_rng(seed)
    labels = table["label"].to_numpy()
    side = np.full(len(table), "", dtype=object)
    for chosen in [labels == 0, labels == 1] if by_class else [labels >= 0]:
        side[chosen] = _sides(groups[chosen], rng)
    split = Split(name, *(np.flatnonzero(side == one) for one in SHARES))
    for rows in split.rows().values():
        for label, kind in enumerate(CLASSES):
            if label not in labels[rows]:
                count = (labels == label).sum()
                raise ForeshapError(
                    f"The split '{name}' leaves a side without a {kind}: {count} are too few."
                )
    return split


def _sides(groups, rng):
    """A side for each event: groups in random order fill test, then validation, then train."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    filled = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
    bounds = [SHARES["test"], SHARES["test"] + SHARES["validation"]]
    in_order = np.array(["test", "validation", "train"], dtype=object)
    sides = np.empty(len(names), dtype=object)
    sides[order] = in_order[np.searchsorted(bounds, filled)]
    return sides[inverse]
