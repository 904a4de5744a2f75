"""Scores against scikit-learn's, weights, folds and dates against their promises."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import foreshap
from foreshap.controls import plain_models
from foreshap.controls.evidence import days_after
from foreshap.controls.plain_models import folds, held_out_scores, measure_auc, overlap_weights


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """400 simulated events in the columns of a tensor file."""
    folder = foreshap.simulate_sequence(
        tmp_path_factory.mktemp("table"), 400, seed=5, effects={"magnitude": 0.4}
    )
    return foreshap.offered_traces(folder)


def test_roc_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [70, 130])
    scores, weights = rng.normal(size=200) + 0.8 * labels, rng.random(200)
    for w in (None, weights):
        found = measure_auc(scores, labels, w)
        assert found["measured"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=w))
        assert found["low"] < found["measured"] < found["high"] and found["n_events"] == 200
    assert (
        0.1 < measure_auc(scores, labels)["high"] - measure_auc(scores, labels)["low"] < 0.2
    )  # Hanley-McNeil: 0.15
    with pytest.raises(foreshap.ForeshapError, match="too few events: 5 foreshocks"):
        measure_auc(scores[65:], labels[65:])


def test_equal_scores_count_half_whatever_their_order():
    labels = np.repeat([0, 1], 50)
    assert measure_auc(np.zeros(100), labels) == {
        "measured": 0.5,
        "low": 0.5,
        "high": 0.5,
        "chance": 0.5,
        "n_events": 100,
    }
    scores = np.random.default_rng(0).integers(0, 4, 100) + labels
    for order in (np.arange(100), np.arange(100)[::-1]):
        found = measure_auc(scores[order], labels[order])["measured"]
        assert found == pytest.approx(roc_auc_score(labels, scores))


def test_what_cannot_be_held_out_is_refused(table):
    one_place = table.assign(source_latitude=42.8, source_longitude=13.1, source_depth_km=5.0)
    with pytest.raises(foreshap.ForeshapError, match="fewer than 5 groups"):
        folds(one_place, "clusters", 0)
    fore = table["label"] == 0
    with pytest.raises(foreshap.ForeshapError, match="a class lies in one group"):
        names = ["source_latitude", "source_longitude", "source_depth_km"]
        folds(table.assign(**table[names].where(~fore, 1.0)), "clusters", 0)
    with pytest.raises(foreshap.ForeshapError, match="fewer than 5 groups"):
        folds(table.assign(trace_start_time=table["trace_start_time"].iloc[0]), "time blocks", 0)


def test_what_no_event_has_is_refused(table):
    with pytest.raises(foreshap.ForeshapError, match="no event has a frame there"):
        held_out_scores(
            np.full((len(table), 3), np.nan), table["label"].to_numpy(), folds(table, "random", 0)
        )


def test_a_fold_never_saw_its_events(table):
    rng = np.random.default_rng(0)
    labels = table["label"].to_numpy()
    for kind in ("random", "time blocks", "clusters"):
        parts = folds(table, kind, 0)
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(table)))
        assert not any(set(train) & set(test) for train, test in parts)
    unique = rng.normal(size=(len(table), 30))  # by heart: nothing that carries over
    assert abs(measure_auc(held_out_scores(unique, labels, parts), labels)["measured"] - 0.5) < 0.1
    telling = np.where(labels, 1.0, -1.0)[:, None] + rng.normal(size=(len(table), 1))
    found = measure_auc(held_out_scores(telling, labels, parts), labels)["measured"]
    assert found == pytest.approx(0.921, abs=0.03)  # Phi(sqrt 2)


def test_time_blocks_hold_out_neighbours_a_random_split_does_not(table):
    """Features that change slowly with time and have nothing to do with the class."""
    days = days_after(table, table["label"].to_numpy())
    labels = (np.floor(days) % 2).astype(int)  # each day a class: only a neighbour could tell
    slow = np.stack([np.sin(days * k / 3) for k in range(1, 40)], axis=1)
    scores = {}
    for kind in ("random", "time blocks"):
        held_out = held_out_scores(slow, labels, folds(table, kind, 0), penalty=10.0)
        scores[kind] = measure_auc(held_out, labels)["measured"]
    assert scores["random"] > scores["time blocks"] + 0.1


def test_weeks_are_left_out_whole(table):
    times = pd.to_datetime(table["trace_start_time"], utc=True, format="ISO8601")
    for train, test in folds(table, "weeks", 0):
        week = (times.iloc[test] - times.min()).dt.total_seconds() // (7 * 86400)
        assert week.nunique() == 1 and len(train) + len(test) == len(table)


def test_overlap_weights_balance_every_mean(table):
    covariates = table[["source_magnitude", "p_s_diff_sec", "source_depth_km"]]
    labels = table["label"].to_numpy()
    weights = overlap_weights(covariates, labels)

    def mean(x, k):
        return np.average(x[labels == k], axis=0, weights=weights[labels == k])

    for x in (covariates.to_numpy(), covariates.to_numpy() ** 2):
        apart = x[labels == 1].mean(axis=0) - x[labels == 0].mean(axis=0)
        assert (
            np.abs((mean(x, 1) - mean(x, 0)) / x.std(axis=0)).max()
            < 0.03
            < np.abs(apart / x.std(axis=0)).max()
        )
    assert (plain_models.effective_events(weights, labels) < 200).all()
    with pytest.raises(foreshap.ForeshapError, match="too few"):
        overlap_weights(pd.DataFrame({"told": labels + 0.01 * covariates["p_s_diff_sec"]}), labels)
