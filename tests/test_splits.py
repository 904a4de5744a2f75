"""No event on two sides, shares, and what keeps together."""

import numpy as np
import pandas as pd
import pytest

import foreshap


@pytest.fixture
def table():
    """600 events: a third of them follow the one before by 10 s."""
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.uniform(0, 5e6, 400))
    seconds = np.concatenate([seconds, seconds[:200] + 10])
    times = pd.Timestamp("2016-09-01") + pd.to_timedelta(seconds, unit="s")
    table = pd.DataFrame(
        {
            "trace_start_time": times.astype(str),
            "label": (seconds > 2.5e6).astype("i1"),
            "source_latitude": 42.8 + 0.05 * rng.standard_normal(600),
            "source_longitude": 13.1 + 0.05 * rng.standard_normal(600),
            "source_depth_km": rng.uniform(3, 10, 600),
            "seconds": seconds,
        }
    )
    return table.sample(frac=1, random_state=0, ignore_index=True)


def splits(table, seed=0):
    return [
        f(table, seed)
        for f in (foreshap.random_split, foreshap.time_block_split, foreshap.cluster_split)
    ]


def test_every_event_on_one_side_and_both_classes_on_each(table):
    before = table.copy()
    for split in splits(table):
        sides = [split.train, split.validation, split.test]
        np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(600))
        assert [len(side) / 600 for side in sides] == pytest.approx([0.7, 0.1, 0.2], abs=0.12)
        assert all(set(table["label"][side]) == {0, 1} for side in sides)
    pd.testing.assert_frame_equal(table, before)


def test_overlapping_windows_stay_together(table):
    for split in splits(table)[:2]:
        side = np.empty(600, int)
        for k, name in enumerate(("train", "validation", "test")):
            side[getattr(split, name)] = k
        order = np.argsort(table["seconds"].to_numpy())
        close = np.diff(table["seconds"].to_numpy()[order]) < 25
        assert close.sum() >= 200
        assert (side[order][1:] == side[order][:-1])[close].all()


def test_time_blocks_are_contiguous_and_random_sides_are_not(table):
    changes = {}
    for split in splits(table)[:2]:
        for label in (0, 1):
            rows = np.flatnonzero(table["label"] == label)
            rows = rows[np.argsort(table["seconds"].to_numpy()[rows])]
            changes[split.name, label] = np.abs(
                np.diff(np.isin(rows, split.test).astype(int))
            ).sum()
    assert (
        max(changes["time blocks", k] for k in (0, 1))
        <= 4
        < 40
        < min(changes["random", k] for k in (0, 1))
    )


def test_clusters_hold_neighbours(table):
    """The nearest neighbour of a test event is a test event far more often than at random."""
    place = np.c_[
        table["source_latitude"] * 111.2, table["source_longitude"] * 81.6, table["source_depth_km"]
    ]
    distance = np.linalg.norm(place[:, None] - place, axis=2) + np.diag(np.full(600, np.inf))
    random, _, clusters = splits(table)
    shares = []
    for split in (random, clusters):
        nearest = distance[split.test].argmin(axis=1)
        shares.append(np.isin(nearest, split.test).mean())
    assert shares[0] < 0.35 and shares[1] > 0.7


def test_seeds_decide(table):
    first, again, other = (splits(table, seed) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other):
        assert np.array_equal(a.test, b.test) and not np.array_equal(a.test, c.test)


def test_too_few_events_or_no_hypocentres_give_one_sentence(table):
    with pytest.raises(foreshap.ForeshapError, match="without a"):
        foreshap.random_split(table.iloc[:3], 0)
    with pytest.raises(foreshap.ForeshapError, match="no hypocentre"):
        foreshap.cluster_split(table.assign(source_depth_km=np.nan), 0)
