"""Scores and intervals against scikit-learn, formulas and known answers."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import logit
from sklearn import metrics

import foreshap
from foreshap.training.scores import auc_interval, bootstrap_interval, evaluate


def test_a_calibrated_network_has_no_calibration_error():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    table, error = foreshap.reliability(logit(probability), rng.random(20_000) < probability)
    assert error < 0.02 and table["n_events"].sum() == 20_000
    assert ((table["low"] < table["predicted"]) & (table["predicted"] < table["high"])).mean() > 0.7
    sure, error = foreshap.reliability(np.full(100, logit(0.9)), np.repeat([1, 0], [60, 40]))
    assert len(sure) == 1 and error == pytest.approx(0.3)


def test_wilsons_interval_by_its_formula():
    table = foreshap.accuracy_by(np.arange(50.0), np.arange(50) % 5 > 0, bins=1)
    z, n, p = NormalDist().inv_cdf(0.975), 50, 0.8
    middle, half = (
        (p + z**2 / 2 / n) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2),
    )
    assert table.loc[0, ["value", "low", "high", "centre"]].to_list() == pytest.approx(
        [p, middle - half, middle + half, 24.5]
    )


def test_accuracy_falls_where_it_falls():
    values = np.r_[np.linspace(0, 1, 100), np.nan]
    table = foreshap.accuracy_by(values, values < 0.4)
    assert (
        table["value"].to_list() == pytest.approx([1, 1, 0, 0, 0])
        and table["n_events"].sum() == 100
    )
    with pytest.raises(foreshap.ForeshapError, match="too few to bin"):
        foreshap.accuracy_by(values[:9], values[:9] < 1)


def test_values_that_are_all_the_same_are_one_bin():
    table = foreshap.accuracy_by(np.full(20, 2.5), np.arange(20) < 15)
    assert table[["centre", "value", "n_events"]].to_numpy().tolist() == [[2.5, 0.75, 20]]


def test_bootstrap_interval_shrinks_with_the_root_of_the_events():
    rng = np.random.default_rng(5)
    for n in (100, 1600):
        per_event = rng.standard_normal(n)
        mean, low, high = bootstrap_interval(per_event, seed=1)
        assert mean == pytest.approx(per_event.mean()) and low < mean < high
        assert high - low == pytest.approx(2 * 1.96 * per_event.std() / np.sqrt(n), rel=0.1)
    assert bootstrap_interval(per_event, seed=1) == (mean, low, high)
    assert bootstrap_interval(np.append(per_event, np.nan), seed=1) == (mean, low, high)
    assert (
        np.isnan(bootstrap_interval([2.0, np.nan])[1:]).all() and bootstrap_interval([2.0])[0] == 2
    )
    assert np.isnan(bootstrap_interval([np.nan])).all()


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 150)
    margins = np.round(labels - 0.4 + rng.standard_normal(150), 1)  # with ties
    found, intervals = evaluate(labels, margins)
    predicted = margins > 0
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted),
        "roc_auc": metrics.roc_auc_score(labels, margins),
    }
    assert found == pytest.approx(expected)
    half_width = 1.96 * np.sqrt(found["accuracy"] * (1 - found["accuracy"]) / 150)  # binomial
    assert np.subtract(*intervals["accuracy"][::-1]) / 2 == pytest.approx(half_width, rel=0.15)
    assert all(low < found[name] < high for name, (low, high) in intervals.items())


def test_the_interval_of_a_roc_auc_by_its_formula_and_near_one():
    rng = np.random.default_rng(2)
    positive = np.arange(50) < 20
    values = np.round(rng.standard_normal(50) + 2 * positive, 1)
    pairs = np.sign(values[positive][:, None] - values[~positive]) / 2 + 0.5
    area = pairs.mean()
    variance = pairs.mean(axis=1).var(ddof=1) / 20 + pairs.mean(axis=0).var(ddof=1) / 30
    half = 2.093024 * np.sqrt(variance) / area / (1 - area)  # t of 19 degrees of freedom
    expected = [area, *(1 / (1 + np.exp(-logit(area) - side * half)) for side in (-1, 1))]
    assert auc_interval(values, positive) == pytest.approx(expected)
    apart = np.arange(50.0)
    area, low, high = auc_interval(apart, apart >= 20)
    assert (area, high) == (1, 1) and low == pytest.approx(20 / (20 + 1.959964**2))  # Wilson
    assert np.isnan(auc_interval(apart, apart < 0)).all()


def test_scores_without_events_are_nan():
    found, intervals = evaluate([0, 0, 0], [-1.0, -2.0, -3.0])
    assert found["accuracy"] == 1 and intervals["accuracy"][0] < 0.5
    for name in ("precision", "recall", "f1", "roc_auc"):
        assert np.isnan(found[name]) and np.isnan(intervals[name]).all()
