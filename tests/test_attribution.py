"""SHAP tensors: known answers, additivity, a file that survives being killed, means."""

import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import shap
import torch
import xarray
from torch import nn

import foreshap


def explained(trained, path, n=6, **changes):
    checkpoint = changes.get("checkpoint") or foreshap.load_checkpoint(trained.path)
    rows = foreshap.chosen_test_rows(checkpoint, n, seed=0)
    background = foreshap.background_rows(checkpoint, trained.spectrograms, changes.get("background", 10), seed=0)
    return foreshap.explain_events(checkpoint, trained.spectrograms, rows, background, path)


def test_a_linear_network_has_its_known_answer():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, background = (rng.standard_normal((n, 3, 4, 5)).astype("f4") for n in (7, 45))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).eval()
    weights = model[1].weight.detach().numpy()
    expected = (weights[1] - weights[0]).reshape(3, 4, 5) * (x - background.mean(axis=0))
    found = foreshap.shap_tensors(model, x, background)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    logits = model(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found.outputs, logits[:, 1] - logits[:, 0], atol=1e-5)
    assert found.additivity_error.max() < 1e-6 and found.background == 45


def test_one_hidden_unit_follows_the_rescale_rule():
    """DeepLIFT through a ReLU: the difference of outputs, shared like the differences of inputs."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    rng = np.random.default_rng(1)
    x, background = (rng.standard_normal((n, 3, 2, 2)).astype("f4") for n in (3, 8))
    w, b, (low, high) = (p.detach().numpy() for p in (model[1].weight[0], model[1].bias, model[3].weight[:, 0]))
    hidden = lambda a: a.reshape(len(a), -1) @ w + b
    before, reference = hidden(x)[:, None], hidden(background)
    multiplier = (np.maximum(before, 0) - np.maximum(reference, 0)) / (before - reference)  # (N, B)
    difference = x.reshape(3, 1, -1) - background.reshape(1, 8, -1)
    expected = ((high - low) * multiplier[..., None] * w * difference).mean(axis=1).reshape(x.shape)
    np.testing.assert_allclose(foreshap.shap_tensors(model, x, background).values, expected, atol=1e-5)


def test_parts_of_a_background_give_the_numbers_of_the_whole(trained):
    """Events are explained against 20 background events at a time; shap takes them all at once here."""
    checkpoint = foreshap.load_checkpoint(trained.path)
    x = checkpoint.scaling(trained.spectrograms.values[:50])
    state = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    found = foreshap.shap_tensors(checkpoint.model, x[:2], x[5:50])
    both = shap.DeepExplainer(checkpoint.model, x[5:50]).shap_values(x[:2], check_additivity=False)
    expected = both[..., 1] - both[..., 0]
    np.testing.assert_allclose(found.values, expected, atol=1e-4 * np.abs(expected).max())
    fresh = foreshap.load_checkpoint(trained.path).model
    assert fresh.state_dict().keys() == state.keys()
    assert not any(m._forward_hooks or m._backward_hooks for m in fresh.modules())


def test_the_model_is_left_as_it_was(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    before = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    x = checkpoint.scaling(trained.spectrograms.values[:6])
    foreshap.shap_tensors(checkpoint.model, x[:1], x[1:])
    after = checkpoint.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)
    assert not any(m._forward_hooks or m._backward_hooks for m in checkpoint.model.modules())
    assert all(p.requires_grad for p in checkpoint.model.parameters())


@pytest.mark.parametrize("name", foreshap.VARIANTS)
def test_additivity_of_every_variant(demo, name):
    s = foreshap.load_spectrograms(demo.folder / f"{name}.h5")
    torch.manual_seed(0)
    model = foreshap.SpectrogramCNN(s.variant.shape).eval()
    x = foreshap.model.Scaling((0.5,) * 3, (0.2,) * 3)(s.values[:12])
    found = foreshap.shap_tensors(model, x[:2], x[2:])
    assert found.values.shape == (2, *s.variant.shape) and found.additivity_error.max() < 1e-4
    total = found.values.sum(axis=(1, 2, 3)) + found.base_value
    np.testing.assert_allclose(total, found.outputs, atol=1e-4 * np.ptp(found.outputs))


def test_bad_input_gets_a_sentence(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    x = checkpoint.scaling(trained.spectrograms.values[:6])
    model, nan = checkpoint.model, torch.full_like(x[:1], torch.nan)
    for arguments, words in {
        (model, x, x[:0]): "background has shape", (model, x[..., :9], x): "of one variant",
        (model, nan, x): "not finite", (model, x, x, "guess"): "no method 'guess'",
    }.items():  # fmt: skip
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.shap_tensors(*arguments)
    with pytest.raises(foreshap.ForeshapError, match="training mode"):
        foreshap.shap_tensors(foreshap.SpectrogramCNN((3, 33, 77)), x, x)


def test_background_and_sample_are_drawn_from_the_right_side(trained):
    checkpoint, split = foreshap.load_checkpoint(trained.path), trained.result.split
    rows = foreshap.background_rows(checkpoint, trained.spectrograms, 20, seed=4)
    assert np.isin(rows, split.train).all() and len(set(rows)) == 20
    assert trained.spectrograms.labels[rows].sum() == 10
    assert np.array_equal(foreshap.chosen_test_rows(checkpoint), split.test)
    assert np.isin(foreshap.chosen_test_rows(checkpoint, 5), split.test).all()
    every = foreshap.background_rows(checkpoint, trained.spectrograms, 200, seed=4)  # more than there are
    few = np.bincount(trained.spectrograms.labels[split.train]).min()
    assert np.bincount(trained.spectrograms.labels[every]).tolist() == [few, few]


def test_the_file_holds_what_shap_tensors_gives(trained, tmp_path):
    found = explained(trained, tmp_path / "P64.h5")
    checkpoint, rows = foreshap.load_checkpoint(trained.path), found.table["row"].to_numpy()
    background = foreshap.background_rows(checkpoint, trained.spectrograms, 10, seed=0)
    x, b = (checkpoint.scaling(trained.spectrograms.values[:][r]) for r in (rows, background))
    direct = foreshap.shap_tensors(checkpoint.model, x, b)
    np.testing.assert_array_equal(found.values[:], direct.values)
    np.testing.assert_allclose(found.table["output"], direct.outputs, atol=1e-5)
    assert found.base_value == pytest.approx(direct.base_value)
    assert found.table["additivity_error"].max() < 1e-4
    assert (found.table["correct"] == ((found.table["output"] > 0) == found.table["label"])).all()
    with xarray.open_dataset(found.path, engine="h5netcdf", phony_dims="access") as data:
        assert data["shap"].dims == ("trace_name", "channel", "frequency", "time")
        assert data["mean"].dims == ("class", "channel", "frequency", "time")
        assert data.attrs["checkpoint_sha256"] == checkpoint.card["sha256"] and len(data["background"]) == 10
        assert data.attrs["simulated"].startswith("yes")
        for label in (0, 1):
            events = direct.values[found.table["label"] == label]
            np.testing.assert_allclose(data["mean"][label], events.mean(axis=0), atol=1e-6)
            np.testing.assert_allclose(data["mean_absolute"][label], np.abs(events).mean(axis=0), atol=1e-6)
            error = events.std(axis=0, ddof=1) / np.sqrt(len(events)) if len(events) > 1 else np.nan
            np.testing.assert_allclose(data["standard_error"][label], error * np.ones_like(events[0]), atol=1e-6)
            assert data["n_events"][label] == len(events)


def test_work_from_something_else_is_refused_and_kept(trained, tmp_path):
    path = tmp_path / "P64.h5"
    explained(trained, path)
    before = path.read_bytes()
    with pytest.raises(foreshap.ForeshapError, match="P64.h5 was made with another background"):
        explained(trained, path, background=8)
    with pytest.raises(foreshap.ForeshapError, match="another events"):
        explained(trained, path, n=5)
    other = foreshap.train(trained.spectrograms, trained.result.split, foreshap.TrainingConfig(max_epochs=1, seed=9))
    foreshap.save_checkpoint(other, tmp_path / "other.pt")
    with pytest.raises(foreshap.ForeshapError, match="another checkpoint_sha256"):
        explained(trained, path, checkpoint=foreshap.load_checkpoint(tmp_path / "other.pt"))
    assert path.read_bytes() == before


KILLED = """
import sys, numpy as np, foreshap
checkpoint, spectrograms = foreshap.load_checkpoint(sys.argv[1]), foreshap.load_spectrograms(sys.argv[2])
background = foreshap.background_rows(checkpoint, spectrograms, 10, 0)
print("go", flush=True)
foreshap.explain_events(checkpoint, spectrograms, foreshap.chosen_test_rows(checkpoint, 6, 0), background, sys.argv[3])
"""


def test_killed_again_and_again_it_ends_with_the_same_bytes(trained, tmp_path):
    undisturbed = explained(trained, tmp_path / "whole.h5").path.read_bytes()
    path, rng, kills = tmp_path / "killed.h5", np.random.default_rng(0), 0
    while not path.exists() and kills < 12:
        arguments = [sys.executable, "-c", KILLED, trained.path, trained.spectrograms.path, path]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        time.sleep(rng.uniform(0.5, 3.5))  # importing shap takes the first seconds
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    explained(trained, path)
    assert path.read_bytes() == undisturbed and not list(tmp_path.glob("*unfinished*"))


def test_unfinished_work_is_resumed_not_repeated(trained, tmp_path):
    path = tmp_path / "P64.h5"
    explained(trained, path)
    unfinished = tmp_path / "P64.h5.unfinished"
    path.rename(unfinished)
    with h5py.File(unfinished, "r+") as file:  # as after a kill: one event to do, another marked by hand
        file["additivity_error"][2], file["shap"][4] = np.nan, 5.0
        wanted = file["shap"][2]
        file["shap"][2] = 0.0
    found = explained(trained, path)
    np.testing.assert_array_equal(found.values[2], wanted)
    assert (found.values[4] == 5).all()


def test_means_and_profiles_are_those_of_numpy():
    values = np.random.default_rng(0).standard_normal((9, 3, 4, 5)).astype("f4")
    rows = np.array([1, 4, 7, 8])
    mean = foreshap.batch_mean(values, rows)
    np.testing.assert_allclose(mean.signed, values[rows].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.absolute, np.abs(values[rows]).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.standard_error, values[rows].std(axis=0, ddof=1) / 2, atol=1e-6)
    assert mean.n_events == 4 and np.isnan(foreshap.batch_mean(values, rows[:0]).signed).all()
    over_frequency, over_time = foreshap.profiles(values, rows)
    np.testing.assert_allclose(over_frequency, values[rows].sum(axis=(1, 3)), atol=1e-5)
    np.testing.assert_allclose(over_time, values[rows].sum(axis=(1, 2)), atol=1e-5)


def test_share_before_the_arrival():
    variant = foreshap.VARIANTS["P64"]
    values = np.zeros((2, *variant.shape))
    values[0, :, :, variant.times < -0.33] = 1.0
    values[1, 0, 0, [5, 15, 20]] = (-1, 1, 2)  # frames centred at -3.08 s, 0.12 s and 1.72 s
    np.testing.assert_allclose(foreshap.share_before(values, variant), [1.0, 0.25])
