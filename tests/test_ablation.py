"""Parts of the input, on tensors that say where each value comes from."""

from dataclasses import replace

import numpy as np
import pytest

import foreshap
from foreshap.controls.ablation import PARTS, part_of
from foreshap.preprocessing.variants import frame_windows


@pytest.fixture(scope="module", params=["P64", "S32"])
def counted(request, demo):
    """A tensor file's events with each value the number of its frame."""
    s = foreshap.load_spectrograms(demo.folder / f"{request.param}.h5")
    return replace(
        s,
        values=np.broadcast_to(
            np.arange(s.variant.shape[2], dtype=np.float32), (len(s.labels), *s.variant.shape)
        ),
    )


@pytest.mark.parametrize("part, window", [("before P", 0), ("P to S", 1), ("S", 2), ("coda", 3)])
def test_a_window_holds_its_own_frames_and_their_mean(counted, part, window):
    found = part_of(counted, part)
    assert (
        found.values.shape == (len(counted.labels), *found.variant.shape)
        and found.variant.shape[2] >= 4
    )
    first = round((found.variant.times[0] - counted.variant.times[0]) * 100 / counted.variant.hop)
    np.testing.assert_allclose(
        found.variant.times, counted.variant.times[first:][: found.variant.shape[2]], atol=1e-9
    )
    for value, s_p in zip(found.values, counted.table["p_s_diff_sec"]):
        frames = np.flatnonzero(frame_windows(counted.variant, s_p) == window)
        inside = np.isin(np.arange(first, first + value.shape[2]), frames)
        np.testing.assert_array_equal(value[2, 5, inside], frames)
        np.testing.assert_allclose(value[..., ~inside], frames.mean(), rtol=1e-5)


def test_a_gain_of_the_recording_cancels_relative_to_noise_and_coda(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    gain = (
        np.random.default_rng(0).normal(size=(len(s.labels), 3, 33, 1)).astype(np.float32)
    )  # each component and frequency
    louder = replace(s, values=s.values[:] + gain)
    for part in ("minus own noise", "minus own coda"):
        before, after = part_of(s, part), part_of(louder, part)
        np.testing.assert_allclose(before.values, after.values, atol=1e-4)
        assert before.variant.times[0] + 0.32 > 0  # no frame that ends before P
    assert np.abs(part_of(louder, "S").values - part_of(s, "S").values).max() > 1


def test_without_s_p_only_what_needs_none(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    bare = replace(s, table=s.table.drop(columns="p_s_diff_sec"))
    np.testing.assert_array_equal(part_of(bare, "before P").values, part_of(s, "before P").values)
    assert part_of(bare, "minus own noise").variant.shape[2] < 77
    with pytest.raises(foreshap.ForeshapError, match="S-P times are not known"):
        part_of(bare, "coda")


def test_networks_are_trained_once(demo, tmp_path):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    split, config = foreshap.random_split(s.table, 0), foreshap.TrainingConfig(max_epochs=1)
    foreshap.kept_training(s, tmp_path / "P64.pt", split, config)
    checkpoint = foreshap.load_checkpoint(tmp_path / "P64.pt")
    first = foreshap.train_parts(s, split, config, tmp_path, {"everything": checkpoint})
    assert list(first.index) == list(PARTS) and first.attrs["skipped"] == {}
    assert first.loc["everything", "accuracy"] == checkpoint.card["metrics"]["accuracy"]
    times = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = foreshap.train_parts(
        s, split, config, tmp_path, {"everything": foreshap.load_checkpoint(tmp_path / "P64.pt")}
    )
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    np.testing.assert_array_equal(first.to_numpy(float), again.to_numpy(float))


def test_a_network_on_a_part_never_sees_an_event_with_anothers_coda_before_p(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    split, values = foreshap.random_split(s.table, 0), s.values[:]
    disturbed = np.concatenate([split.train[:2], split.test[:1]])
    values[disturbed, ..., :14] += 4
    found = foreshap.train_parts(
        replace(s, values=values), split, foreshap.TrainingConfig(max_epochs=1)
    )
    assert (found["n_events"] == len(split.test) - 1).all()
