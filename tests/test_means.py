"""Means of SHAP tensors over events, against numpy."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

import foreshap


def test_means_are_those_of_numpy():
    values = np.random.default_rng(0).standard_normal((60, 3, 4, 5)).astype("f4")
    rows = np.arange(1, 51)
    mean, part = foreshap.batch_mean(values, rows), values[rows]
    np.testing.assert_allclose(mean.signed, part.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.absolute, np.abs(part).mean(axis=0), atol=1e-6)
    expected = part.std(axis=0, ddof=1) / np.sqrt(50)
    assert (
        abs(np.mean(mean.standard_error / expected) - 1) < 0.05
    )  # the bootstrap divides by n, not n - 1
    assert np.abs(mean.standard_error / expected - 1).max() < 0.25
    kept = np.abs(part.mean(axis=0)).sum() / np.abs(part).mean(axis=0).sum()
    assert np.isclose(mean.cancellation, kept) and mean.n_events == 50
    again = foreshap.batch_mean(values, rows)
    np.testing.assert_array_equal(mean.standard_error, again.standard_error)


def test_several_networks_are_averaged_event_by_event():
    values = np.random.default_rng(3).standard_normal((2, 40, 3, 2, 2))
    found, expected = (
        foreshap.batch_mean(list(values), range(40)),
        foreshap.batch_mean(values.mean(axis=0), range(40)),
    )
    np.testing.assert_allclose(found.standard_error, expected.standard_error)
    np.testing.assert_allclose(found.absolute, np.abs(values.mean(axis=0)).mean(axis=0))


def test_means_of_none_and_of_one():
    values = np.ones((3, 3, 2, 2))
    assert np.isnan(foreshap.batch_mean(values, []).signed).all()
    one = foreshap.batch_mean(values, [1])
    assert (one.signed == 1).all() and np.isnan(one.standard_error).all() and one.cancellation == 1


def test_groups_are_the_users_and_a_loud_event_can_be_scaled_down():
    values = np.random.default_rng(1).standard_normal((6, 3, 2, 2))
    values[0] *= 1000
    table = pd.DataFrame({"output": [1000.0, 1, -1, 2, 1, 1], "base_value": 0.0})
    shap, week = SimpleNamespace(values=values, table=table), [1, 1, 0, None, 0, 1]
    means = foreshap.group_means(shap, week)
    assert list(means) == [0, 1] and [m.n_events for m in means.values()] == [2, 3]
    np.testing.assert_allclose(means[0].signed, values[[2, 4]].mean(axis=0))
    scaled = foreshap.group_means(shap, week, per_output=True)
    np.testing.assert_allclose(scaled[1].signed, (values[0] / 1000 + values[1] + values[5]) / 3)


def test_profiles_are_sums():
    values, rows = (
        np.random.default_rng(2).standard_normal((9, 3, 4, 5)).astype("f4"),
        np.array([1, 4, 7, 8]),
    )
    over_frequency, over_time = foreshap.profiles(values, rows)
    np.testing.assert_allclose(over_frequency, values[rows].sum(axis=(1, 3)), atol=1e-5)
    np.testing.assert_allclose(over_time, values[rows].sum(axis=(1, 2)), atol=1e-5)


def test_trainings_are_averaged_and_their_disagreement_is_named():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((6, 3, 4, 5))
    means = foreshap.training_means([one, -one], np.arange(6))
    np.testing.assert_allclose(means.signed, 0, atol=1e-12)
    deviation = np.abs(one.mean(axis=0).sum(axis=0))
    np.testing.assert_allclose(means.deviation, deviation)
    assert means.clear == 0 and means.absolute.max() == 0
    alike = foreshap.training_means([one, one], np.arange(6))
    np.testing.assert_allclose(alike.signed, one.mean(axis=0))
    assert alike.deviation.max() == 0 and alike.clear > 0


def test_the_difference_of_classes_is_twice_the_push_toward_the_own_class():
    labels = np.array([0, 1, 0, 1])
    worth = np.where(labels == 1, 0.5, -0.5)[None, :, None] * np.ones((2, 1, 3))
    difference, half = foreshap.class_difference(worth, labels)
    np.testing.assert_allclose(difference, 1)
    np.testing.assert_allclose(half, 0)
    worth[0] += 1.0  # one training calls everything an aftershock: nothing is gained, less is sure
    difference, half = foreshap.class_difference(worth, labels)
    np.testing.assert_allclose(difference, 1)
    assert (half > 0).all()
