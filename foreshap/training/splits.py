"""Who trains and who tests: at random, by blocks of time, by clusters of hypocentres, by co-located groups."""

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


def random_split(table, seed):
    """Split at random by event, in each class alike: the habit of the literature.

    table: DataFrame of a tensor file, one row an event
    seed: int

    returns: Split
    raises: ForeshapError where a class has too few events for three sides
    """
    return _deal("random", table, neighbours(table), seed)


def time_block_split(table, seed, blocks=10):
    """Split into contiguous blocks of time, in each class as many with equally many events.

    table: DataFrame of a tensor file, one row an event
    seed: int, decides which block goes where
    blocks: int, of each class

    returns: Split
    raises: ForeshapError as random_split() does
    """
    return _deal("time blocks", table, time_blocks(table, blocks), seed)


def time_blocks(table, blocks):
    """Number of each event's block of time, int (N,): `blocks` in each class with about equally many events."""
    if known_times(table).isna().any():
        raise ForeshapError("Some events have no time: split at random instead.")
    labels = table["label"].to_numpy(int)
    rank = pd.Series(neighbours(table)).groupby(labels).rank(method="min", pct=True)
    return np.ceil(rank.to_numpy() * blocks).astype(int) + (blocks + 1) * labels


def cluster_split(table, seed, clusters=10):
    """Split into clusters of nearby hypocentres (k-means), so that no one's neighbours train and test.

    table: DataFrame with source_latitude, source_longitude [degrees] and source_depth_km
    seed: int
    clusters: int

    returns: Split
    raises: ForeshapError where hypocentres are missing, or as random_split() does
    """
    return _deal(
        "clusters", table, hypocentre_clusters(table, seed, clusters), seed, by_class=False
    )


def hypocentre_clusters(table, seed, clusters):
    """Number of each event's cluster of hypocentres by k-means, int (N,)."""
    names = [f"source_{part}" for part in ("latitude", "longitude", "depth_km")]
    latitude, longitude, depth = table.reindex(columns=names).to_numpy(float).T
    if not np.isfinite([latitude, longitude, depth]).all():
        raise ForeshapError(
            "Some events have no hypocentre: split at random or by time blocks instead."
        )
    east = longitude * np.cos(np.radians(latitude.mean()))
    place = np.stack([KM_PER_DEGREE * latitude, KM_PER_DEGREE * east, depth], axis=1)
    clusters = min(clusters, len(np.unique(place, axis=0)))
    return KMeans(clusters, random_state=seed, n_init=4).fit_predict(place)


def co_located_split(table, seed):
    """Split into groups of co-located events, so that no repeated rupture trains and tests.

    table: DataFrame with co_located_group, text, "" for an event of no group
    seed: int

    returns: Split
    raises: ForeshapError where the column is missing, or as random_split() does
    """
    return _deal("co-located groups", table, co_located_groups(table), seed, by_class=False)


def co_located_groups(table):
    """A number a group of events that are co-located or whose windows overlap, directly or through others, int (N,)."""
    if "co_located_group" not in table:
        raise ForeshapError(
            "The events have no co_located_group: split at random or by time blocks instead."
        )
    events, named = (
        pd.Series(np.arange(len(table))),
        table["co_located_group"].fillna("").astype(str).to_numpy(),
    )
    named = np.where(named == "", [f"alone {event}" for event in events], named)
    first = [events.groupby(groups).transform("first") for groups in (neighbours(table), named)]
    links = coo_array(
        (np.ones(2 * len(table)), (np.tile(events, 2), np.concatenate(first))),
        shape=2 * (len(table),),
    )
    return connected_components(links, directed=False)[1]


def neighbours(table):
    """A number a group of events whose windows overlap, ascending in time, int (N,); each its own without times."""
    time = known_times(table)
    if time.isna().any():
        return np.arange(len(table))
    order = np.argsort(time.to_numpy(), kind="stable")
    starts = time.iloc[order].diff().dt.total_seconds().to_numpy() > SECONDS_APART
    groups = np.empty(len(table), int)
    groups[order] = np.cumsum(starts)
    return groups


def _deal(name, table, groups, seed, by_class=True):
    """Deal whole groups to the three sides, each side getting its share of the events."""
    rng = np.random.default_rng(seed)
    labels = table["label"].to_numpy()
    side = np.full(len(table), "", dtype=object)
    for rows in (
        [np.flatnonzero(labels == k) for k in (0, 1)] if by_class else [np.arange(len(table))]
    ):
        side[rows] = _sides(groups[rows], rng)
    split = Split(name, *(np.flatnonzero(side == s) for s in SHARES))
    for label, kind in enumerate(CLASSES):
        if any((labels[getattr(split, s)] == label).sum() < 1 for s in SHARES):
            raise ForeshapError(
                f"The split '{name}' leaves a side without a {kind}: {(labels == label).sum()} are too few."
            )
    return split


def _sides(groups, rng):
    """A side for each event: groups in random order, test filled first, then validation, then train."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    filled = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
    bounds = [SHARES["test"], SHARES["test"] + SHARES["validation"]]
    sides = np.empty(len(names), dtype=object)
    sides[order] = np.array(["test", "validation", "train"], dtype=object)[
        np.searchsorted(bounds, filled)
    ]
    return sides[inverse]
