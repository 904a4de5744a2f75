"""Backgrounds: the training side, one class alone, an event's own noise, how many are enough."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import foreshap
from foreshap.explainability import background
from foreshap.explainability.background import background_curve, choose_background, own_noise
from foreshap.preprocessing.variants import CLASSES

P64, S64 = foreshap.VARIANTS["P64"], foreshap.VARIANTS["S64"]


def test_training_events_of_both_classes_or_one(trained):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    train = trained.result.split.train
    both = choose_background(checkpoint, s, 20, seed=4)
    assert (
        both.n == len(set(both.rows)) == 20
        and np.isin(both.rows, train).all()
        and s.labels[both.rows].sum() == 10
    )
    assert (np.diff(both.rows) > 0).all()
    np.testing.assert_array_equal(both.rows, choose_background(checkpoint, s, 20, seed=4).rows)
    assert set(both.rows) != set(choose_background(checkpoint, s, 20, seed=5).rows)
    sizes = np.bincount(s.labels[train])
    every = choose_background(checkpoint, s, 1000)
    assert np.bincount(s.labels[every.rows]).tolist() == [sizes.min()] * 2
    for label, kind in enumerate(("foreshocks", "aftershocks")):
        one = choose_background(checkpoint, s, 21, kind=kind)
        assert one.n == len(set(one.rows)) == 21 and np.isin(one.rows, train).all()
        assert (s.labels[one.rows] == label).all()
        whole = choose_background(checkpoint, s, 1000, kind=kind)
        np.testing.assert_array_equal(whole.rows, train[s.labels[train] == label])
    noise = choose_background(checkpoint, s, 7, seed=3, kind="own noise")
    assert (noise.kind, noise.n, noise.seed, len(noise.rows)) == ("own noise", 7, 3, 0)


def test_a_background_that_can_not_be_gets_a_sentence(trained):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    foreshocks = [int(row) for row in trained.result.split.train if s.labels[row] == 0]
    onesided = replace(checkpoint, card={"split": checkpoint.card["split"] | {"train": foreshocks}})
    with pytest.raises(
        foreshap.ForeshapError, match="no background 'zeros': choose from both, foreshocks"
    ):
        choose_background(checkpoint, s, kind="zeros")
    with pytest.raises(foreshap.ForeshapError, match="background of 1 "):
        choose_background(checkpoint, s, n=1)
    for kind in ("both", "aftershocks"):
        with pytest.raises(foreshap.ForeshapError, match="without any aftershock"):
            choose_background(onesided, s, kind=kind)
    assert choose_background(onesided, s, 4, kind="foreshocks").n == 4


@pytest.mark.parametrize(
    "variant, s_p, before", [(P64, 2.0, 14), (S64, 2.0, 8), (S64, 3.4, 4), (S64, 3.5, 3)]
)
def test_noise_is_made_of_whole_frames_before_p(variant, s_p, before):
    """Frame k ends 0.64 + 0.32 k s into the window; P is at 5 s, in an S window at 5 s - S-P."""
    event = np.random.default_rng(0).standard_normal(variant.shape).astype("f4")
    event[0, 0] = np.arange(variant.shape[2])  # one pixel names its frame
    original = event.copy()
    found = own_noise(event, variant, s_p, 30, seed=1)
    assert found.shape == (30, *variant.shape) and found.dtype == torch.float32
    frames = found[:, 0, 0].numpy().astype(int)
    np.testing.assert_array_equal(frames[:, :before], np.tile(np.arange(before), (30, 1)))
    assert set(frames.ravel()) == set(range(before))
    for draw, names in zip(found.numpy(), frames):
        np.testing.assert_array_equal(draw, event[..., names])
    assert len({tuple(names) for names in frames}) == 30
    run = before // 3
    steps = np.diff(frames[:, before:]).reshape(30, -1)
    inside = np.arange(steps.shape[1]) % run < run - 1
    assert (steps[:, inside] == 1).all() and (steps[:, ~inside] != 1).any()
    np.testing.assert_array_equal(event, original)
    assert torch.equal(found, own_noise(torch.tensor(event), variant, s_p, 30, seed=1))
    assert not torch.equal(found, own_noise(event, variant, s_p, 30, seed=2))
    found[:] = 0
    np.testing.assert_array_equal(event, original)


def test_no_noise_before_p_gets_a_sentence():
    with pytest.raises(
        foreshap.ForeshapError,
        match="S-P time of 4 s 2 frames of S64 end before P.*another background",
    ):
        own_noise(np.zeros(S64.shape), S64, 4.0, 5, seed=0)
    own_noise(np.zeros(P64.shape), P64, 4.0, 5, seed=0)


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


def test_every_kind_has_a_name_and_a_class_in_order():
    assert background.KINDS[1:3] == tuple(f"{name}s" for name in CLASSES)
