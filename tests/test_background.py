"""Backgrounds: the training side, both classes alike, how many are enough."""

from dataclasses import replace

import numpy as np
import pytest

import foreshap
from foreshap.explainability.background import background_curve, choose_background


def test_training_events_of_both_classes(trained):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    train = trained.result.split.train
    both = choose_background(checkpoint, s, 20, seed=4).rows
    assert len(set(both)) == len(both) == 20 and (np.diff(both) > 0).all()
    assert np.isin(both, train).all() and s.labels[both].sum() == 10
    np.testing.assert_array_equal(both, choose_background(checkpoint, s, 20, seed=4).rows)
    assert set(both) != set(choose_background(checkpoint, s, 20, seed=5).rows)
    sizes = np.bincount(s.labels[train])
    every = choose_background(checkpoint, s, 1000)
    assert np.bincount(s.labels[every.rows]).tolist() == [sizes.min()] * 2


def test_a_background_that_can_not_be_gets_a_sentence(trained):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    foreshocks = [int(row) for row in trained.result.split.train if s.labels[row] == 0]
    onesided = replace(checkpoint, card={"split": checkpoint.card["split"] | {"train": foreshocks}})
    with pytest.raises(foreshap.ForeshapError, match="n is 1: give at least 2"):
        choose_background(checkpoint, s, n=1)
    with pytest.raises(foreshap.ForeshapError, match="trained on one class only"):
        choose_background(onesided, s)


def test_the_curve_of_a_linear_network_is_the_error_of_a_mean():
    """Maps w (x - mean of background): the mean of n out of 60 has variance s^2 (1/n - 1/60)."""
    rng = np.random.default_rng(0)
    weights, events = rng.standard_normal((3, 8, 9)), rng.standard_normal((5, 3, 8, 9)) + 2
    pool = rng.standard_normal((60, 3, 8, 9))

    def values_of(rows):
        return weights * (events - pool[rows].mean(axis=0))

    sizes = np.array([2, 8, 30, 60])
    found = background_curve(values_of, sizes, 60, draws=40, seed=0)
    squared = (weights**2 * pool.var(axis=0, ddof=1)).sum() * (1 / sizes - 1 / 60)
    norms = np.linalg.norm(values_of(np.arange(60)).reshape(5, -1), axis=1)
    expected = np.sqrt(squared) * (1 / norms).mean()
    np.testing.assert_allclose(found["distance"], expected, rtol=0.05, atol=1e-9)
    assert found["size"].tolist() == sizes.tolist()
    assert (found["low"] <= found["distance"]).all() and (found["distance"] <= found["high"]).all()
    again = background_curve(values_of, sizes, 60, draws=40, seed=0)
    assert found.equals(again)
    with pytest.raises(foreshap.ForeshapError, match="from 60 events"):
        background_curve(values_of, [10, 61], 60, 2, 0)
