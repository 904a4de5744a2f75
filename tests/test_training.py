"""Training that repeats itself, checkpoints that carry everything and run nothing."""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import foreshap
from foreshap.files import MachineError
from foreshap.parallel import call_side_by_side
from foreshap.training.fitting import fit_scaling, logits_in_training
from foreshap.training.model import min_max

CONFIG = foreshap.TrainingConfig(max_epochs=2)
WAITS = """
import torch
from foreshap.parallel import call_side_by_side
CODE = "import time; print('here', flush=True); time.sleep(600)"
if __name__ == "__main__":
    torch.set_num_threads(2)
    call_side_by_side(exec, [(CODE,), (CODE,)], "waiting")
"""


def test_scaling_follows_its_definition(trained):
    values, rows = trained.spectrograms.values, trained.result.split.train
    scaled = np.stack([(v - v.min()) / (v.max() - v.min()) for v in values[:][rows]])
    scaling = fit_scaling(values, rows)
    np.testing.assert_allclose(scaling.mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(scaling.std, scaled.std(axis=(0, 2, 3)), rtol=1e-5)
    whole = scaling(values[:][rows])
    np.testing.assert_allclose(whole.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(min_max(values[:2]).reshape(2, -1).max(axis=1), 1)


@pytest.mark.parametrize("name", foreshap.VARIANTS)
def test_the_network_is_the_one_described(name):
    shape = foreshap.VARIANTS[name].shape
    model = foreshap.SpectrogramCNN(shape)
    flat = 128 * (shape[1] // 4) * (shape[2] // 4)
    convolutions = (3 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 128 + 2 * (32 + 64 + 128)
    assert sum(p.numel() for p in model.parameters()) == convolutions + (flat + 1) * 128 + 129 * 2
    assert model(torch.zeros(2, *shape)).shape == (2, 2)
    modules = [m for m in model.modules() if not list(m.children())]
    seen = []
    for module in modules:
        module.register_forward_hook(lambda m, x, y: seen.append(m))
        assert not getattr(module, "inplace", False)
    model.eval()(torch.zeros(1, *shape))
    assert seen == modules  # each once, and nothing besides modules computes


def test_training_repeats_itself_and_touches_no_global_state(trained):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again = (
        foreshap.train(trained.spectrograms, trained.result.split, CONFIG) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(again.model.state_dict().values(), first.model.state_dict().values()):
        assert torch.equal(a, b)
    other = foreshap.train(trained.spectrograms, trained.result.split, replace(CONFIG, seed=1))
    assert not torch.equal(
        other.model.state_dict()["classifier.2.weight"],
        again.model.state_dict()["classifier.2.weight"],
    )


def test_the_best_epoch_is_kept_and_patience_ends_training(trained):
    config = foreshap.TrainingConfig(max_epochs=12, patience=2, learning_rate=3e-3)
    result = foreshap.train(trained.spectrograms, trained.result.split, config)
    losses = result.history["validation_loss"]
    assert len(losses) == min(losses.idxmin() + 3, 12)
    rows, labels = result.split.validation, trained.spectrograms.labels
    with torch.no_grad():
        logits = result.model(result.scaling(trained.spectrograms.values[:][rows]))
    counts = np.bincount(labels[result.split.train])
    weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)
    loss = torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels[rows], dtype=torch.long), weights
    )
    assert loss.item() == pytest.approx(losses.min(), rel=1e-3)


def test_a_checkpoint_carries_everything(trained):
    checkpoint, s, result = (
        foreshap.load_checkpoint(trained.path),
        trained.spectrograms,
        trained.result,
    )
    rows = result.split.test
    np.testing.assert_allclose(
        checkpoint.outputs(s.values[:][rows]), result.predictions["margin"], atol=1e-5
    )
    assert not checkpoint.model.training
    card = json.loads(trained.path.with_suffix(".json").read_text())
    assert (
        card["metrics"] == result.metrics
        and card["variant"]["name"] == "P64"
        and card["config"]["seed"] == 0
    )
    assert card["test_events"] == s.table["trace_name"].iloc[rows].tolist()
    assert {"split", "scaling", "intervals_95", "tensor_file", "versions"} <= set(card)
    first = trained.path.read_bytes()
    foreshap.save_checkpoint(result, trained.path)
    assert trained.path.read_bytes() == first


def test_a_kept_training_is_found_by_everything_it_depends_on(trained, tmp_path):
    s, split = trained.spectrograms, trained.result.split
    config, path = foreshap.TrainingConfig(max_epochs=1), tmp_path / "P64.pt"
    first = foreshap.kept_training(s, path, split, config)
    written = path.stat().st_mtime_ns
    again = foreshap.kept_training(s, path, split, config)
    assert path.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(again.history, first.history)
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    assert again.metrics == first.metrics and again.intervals == first.intervals
    kept = foreshap.load_checkpoint(path)
    other_split = foreshap.random_split(s.table, 1)
    for changed in ((other_split, config), (split, replace(config, seed=1)), (split, CONFIG)):
        foreshap.kept_training(s, path, *changed)
        found = foreshap.load_checkpoint(path)
        assert found.card["sha256"] != kept.card["sha256"]
        assert found.card["config"]["seed"] == changed[1].seed
        assert found.card["split"]["train"] == changed[0].train.tolist()
        kept = found
    path.write_bytes(b"x")
    foreshap.kept_training(s, path, split, CONFIG)
    assert foreshap.load_checkpoint(path).card["config"] == kept.card["config"]


def test_trainings_side_by_side_give_the_same_bytes_and_what_is_kept_stays(trained, tmp_path):
    s, split = trained.spectrograms, trained.result.split
    in_memory = replace(s, values=s.values[:], labels=1 - s.labels)
    config, threads = foreshap.TrainingConfig(max_epochs=1), torch.get_num_threads()
    written = {}
    for n in (1, 2):
        folder = tmp_path / str(n)
        jobs = [(s, folder / f"{k}.pt", split, replace(config, seed=k)) for k in range(2)]
        jobs.append((in_memory, folder / "2.pt", split, config))
        torch.set_num_threads(n)
        try:
            results = foreshap.kept_trainings(jobs)
        finally:
            torch.set_num_threads(threads)
        assert [result.key["config"]["seed"] for result in results] == [0, 1, 0]
        written[n] = [path.read_bytes() for _, path, *_ in jobs]
    assert written[1] == written[2] and len(set(written[1])) == 3
    times = [path.stat().st_mtime_ns for _, path, *_ in jobs]
    foreshap.kept_trainings(jobs)
    assert times == [path.stat().st_mtime_ns for _, path, *_ in jobs]


def test_a_process_opens_the_same_tensors_or_none(trained, tmp_path):
    path = tmp_path / trained.spectrograms.path.name
    path.write_bytes(trained.spectrograms.path.read_bytes())
    opened = foreshap.load_spectrograms(path)
    again = pickle.loads(pickle.dumps(opened))
    np.testing.assert_array_equal(again.values[:], opened.values[:])
    path.unlink()
    path.write_bytes(trained.spectrograms.path.read_bytes() + b" ")
    with pytest.raises(foreshap.ForeshapError, match="changed after it was opened: load it again"):
        pickle.loads(pickle.dumps(opened))


def test_an_edit_is_noticed_though_its_time_was_put_back(trained, tmp_path):
    path, content = tmp_path / "P64.h5", trained.spectrograms.path.read_bytes()
    path.write_bytes(content)
    opened = foreshap.load_spectrograms(path)
    before, state = opened.sha256, path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # in place
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert opened.sha256 != before


def test_each_training_needs_a_path_of_its_own(trained, tmp_path):
    s, split = trained.spectrograms, trained.result.split
    jobs = [(s, tmp_path / "P64.pt", split, replace(CONFIG, seed=k)) for k in range(2)]
    with pytest.raises(foreshap.ForeshapError, match="have one path"):
        foreshap.kept_trainings(jobs)


def test_dropout_keeps_the_mean():
    only = SimpleNamespace(features=[], classifier=[torch.nn.Dropout(0.3)])
    found = logits_in_training(only, torch.ones(2**22))
    assert (found == 0).float().mean().item() == pytest.approx(76 / 256, abs=2e-3)
    assert found.mean().item() == pytest.approx(1, abs=2e-3)


def test_a_killed_process_is_told():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(MachineError, match="A process for nothing was ended.*__main__"):
            call_side_by_side(os._exit, [(9,), (9,)], "nothing")
    finally:
        torch.set_num_threads(threads)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert [parent.stdout.readline() for _ in range(2)] == ["here\n"] * 2
        parent.kill()
        killed = time.monotonic()
        parent.stdout.read()  # ends when nobody is there who could write
    assert time.monotonic() - killed < 60


def test_products_in_bfloat16_are_close_and_found_by_their_key(trained, tmp_path):
    s, split = trained.spectrograms, trained.result.split
    cards = {}
    for bfloat16 in (False, True):
        config = foreshap.TrainingConfig(max_epochs=1, bfloat16=bfloat16)
        result = foreshap.kept_training(s, tmp_path / "P64.pt", split, config)
        assert {weight.dtype for weight in result.model.parameters()} == {torch.float32}
        cards[bfloat16] = foreshap.load_checkpoint(tmp_path / "P64.pt").card
        assert cards[bfloat16]["config"]["bfloat16"] is bfloat16
    assert cards[True]["sha256"] != cards[False]["sha256"]
    losses = [cards[kind]["history"]["train_loss"][0] for kind in cards]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("name", foreshap.VARIANTS)
def test_a_maximum_before_the_relu_changes_nothing(name):
    torch.manual_seed(0)
    model = foreshap.SpectrogramCNN(foreshap.VARIANTS[name].shape, dropout=0).train()
    x = torch.randn(4, *foreshap.VARIANTS[name].shape)
    gradients = []
    for logits in (model, partial(logits_in_training, model)):
        model.zero_grad()
        logits(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for gradient, other in zip(*gradients):
        torch.testing.assert_close(gradient, other)


def test_checkpoints_of_other_shapes_load(tmp_path, trained):
    from foreshap.training.model import write_checkpoint

    variant = foreshap.VARIANTS["S32"]
    model = foreshap.SpectrogramCNN(variant.shape, n_outputs=3, widths=(4, 8), hidden=16)
    card = foreshap.load_checkpoint(trained.path).card
    write_checkpoint(tmp_path / "S32.pt", model, variant, trained.result.scaling, card)
    found = foreshap.load_checkpoint(tmp_path / "S32.pt")
    assert found.variant == variant and found.model(torch.zeros(1, *variant.shape)).shape == (1, 3)
    with pytest.raises(foreshap.ForeshapError, match="S32.pt.*P64.h5"):
        found.check(trained.spectrograms)


class Payload:
    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize("damage", ["payload", "truncated", "text", "other"])
def test_damaged_or_hostile_checkpoints_give_one_sentence_and_run_nothing(
    trained, tmp_path, monkeypatch, damage
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "P64.pt"
    whole = trained.path.read_bytes()
    path.write_bytes(
        {"payload": pickle.dumps(Payload()), "truncated": whole[:9999], "text": b"x"}.get(
            damage, b""
        )
    )
    if damage == "other":
        torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    with pytest.raises(foreshap.ForeshapError, match="P64.pt is no checkpoint") as error:
        foreshap.load_checkpoint(path)
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_sides_need_both_classes(trained):
    split = trained.result.split
    bad = replace(
        split, validation=split.validation[trained.spectrograms.labels[split.validation] == 0]
    )
    with pytest.raises(foreshap.ForeshapError, match="validation side of the split 'random'"):
        foreshap.train(trained.spectrograms, bad, CONFIG)


@pytest.mark.parametrize(
    ["settings", "words"],
    [
        ({"max_epochs": 0}, "max_epochs is 0: give at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5: give at least 1, a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": float("nan")}, "learning rate of nan"),
        ({"dropout": 1.5}, "dropout of 1.5"),
        ({"learning_rate": 1e12, "max_epochs": 1}, "loss is not finite .* lower the learning rate"),
    ],
)
def test_what_can_not_be_trained_gets_a_sentence(trained, settings, words):
    config = foreshap.TrainingConfig(**settings)
    with pytest.raises(foreshap.ForeshapError, match=words):
        foreshap.train(trained.spectrograms, trained.result.split, config)
