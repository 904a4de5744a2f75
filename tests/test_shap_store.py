"""The SHAP store: what parts hold, what is computed; no kill, worker or full disk harms it."""

import multiprocessing
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import xarray

import foreshap
from foreshap.explainability import shap_store
from foreshap.explainability.background import Background

COLUMNS = ["row", "output", "predicted", "correct", "base_value", "additivity_error"]


def explained(trained, folder, n=6, **changes):
    checkpoint = changes.pop("checkpoint", None) or foreshap.load_checkpoint(trained.path)
    rows = changes.pop("rows", foreshap.chosen_test_rows(checkpoint, n, seed=0))
    size, seed = changes.pop("background", 10), changes.pop("background_seed", 0)
    background = foreshap.choose_background(checkpoint, trained.spectrograms, size, seed)
    return foreshap.explain_events(
        checkpoint, trained.spectrograms, rows, background, folder, **changes
    )


def tensors(shap):
    """Bytes of everything that must not depend on who computed it."""
    maps = [shap.values[:].tobytes(), shap.table[COLUMNS].to_csv()]
    if shap.standard_error is not None:
        maps.append(shap.standard_error[:].tobytes())
    return maps


def parts_of(folder):
    """Whole parts; what a killed writer left lies in a hidden folder."""
    return sorted(path for path in folder.rglob("*.h5") if path.parent.name[0] != ".")


def test_the_store_holds_what_shap_tensors_gives(trained, tmp_path):
    found = explained(trained, tmp_path, n=16)
    checkpoint = foreshap.load_checkpoint(trained.path)
    rows = found.table["row"].to_numpy()
    background = foreshap.choose_background(checkpoint, trained.spectrograms, 10, seed=0)
    values = trained.spectrograms.values[:]
    x = checkpoint.scaling(values[rows])
    direct = foreshap.shap_tensors(checkpoint.model, x, checkpoint.scaling(values[background.rows]))
    np.testing.assert_array_equal(found.values[:], direct.values)
    np.testing.assert_allclose(found.table["output"], direct.outputs, atol=1e-5)
    assert found.base_value == pytest.approx(direct.base_value)
    assert found.table["additivity_error"].max() < 1e-5
    assert (found.table["correct"] == ((found.table["output"] > 0) == found.table["label"])).all()
    means = foreshap.group_means(found, found.table["label"])
    for label in (0, 1):
        events = direct.values[found.table["label"] == label]
        np.testing.assert_allclose(means[label].signed, events.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(means[label].absolute, np.abs(events).mean(axis=0), atol=1e-6)
        assert means[label].n_events == len(events)
    names = trained.spectrograms.table["trace_name"].to_numpy()
    for part in parts_of(tmp_path):
        with xarray.open_dataset(part, engine="h5netcdf", phony_dims="access") as data:
            assert data["shap"].dims == ("trace_name", "channel", "frequency", "time")
            assert data["shap"].attrs["units"] == "1" and len(data["shap"]) <= 8
            assert data.attrs["checkpoint_sha256"] == checkpoint.card["sha256"]
            assert data.attrs["simulated"].startswith("yes")
            assert data["background"].values.tolist() == names[background.rows].tolist()


def test_values_are_sliced_like_an_array(trained, tmp_path):
    shap = explained(trained, tmp_path, n=7)
    values, whole = shap.values, shap.values[:]
    assert len(values) == 7 and values.shape == whole.shape and values.dtype == whole.dtype
    mask = np.arange(7) % 2 == 0
    for key in (3, -1, slice(2, 5), [3, 1, 1], mask, (2, 0), (slice(None), 0), (..., 5)):
        np.testing.assert_array_equal(values[key], whole[key])
    np.testing.assert_array_equal(np.asarray(values), whole)
    np.testing.assert_array_equal(np.stack(list(values)), whole)
    with pytest.raises(IndexError):
        values[7]


def test_events_come_in_the_order_in_which_they_are_asked_for(trained, tmp_path):
    rows = [9, 2, 30, 4]
    shap = explained(trained, tmp_path, rows=rows)
    assert shap.table["row"].tolist() == rows
    again = explained(trained, tmp_path, rows=rows[::-1])
    assert again.values[:].tobytes() == shap.values[::-1].tobytes()
    everything = foreshap.load_shap(shap.path)
    assert everything.table["row"].tolist() == sorted(rows)
    assert everything.values[2].tobytes() == shap.values[0].tobytes()
    checkpoint = foreshap.load_checkpoint(trained.path)
    assert foreshap.find_shap(tmp_path, checkpoint) == [shap.path]
    assert foreshap.find_shap(tmp_path, checkpoint, "tiles") == []


def test_forty_after_twenty_computes_twenty(trained, tmp_path, monkeypatch):
    computed = []
    write = shap_store._explain_part
    monkeypatch.setattr(
        shap_store,
        "_explain_part",
        lambda task, rows, **more: computed.extend(rows) or write(task, rows, **more),
    )
    twenty = explained(trained, tmp_path / "a", rows=np.arange(20))
    before = {part: part.read_bytes() for part in parts_of(tmp_path)}
    computed.clear()
    forty = explained(trained, tmp_path / "a", rows=np.arange(40))
    assert sorted(computed) == list(range(20, 40))
    assert all(part.read_bytes() == content for part, content in before.items())
    computed.clear()
    assert tensors(explained(trained, tmp_path / "a", rows=np.arange(20))) == tensors(twenty)
    assert not computed
    at_once = explained(trained, tmp_path / "b", rows=np.arange(39, -1, -1))
    assert at_once.values[::-1].tobytes() == forty.values[:].tobytes()


def test_nothing_is_refused_and_nothing_is_mixed_up(trained, tmp_path):
    other = foreshap.train(
        trained.spectrograms, trained.result.split, foreshap.TrainingConfig(max_epochs=1, seed=9)
    )
    (tmp_path / "other").mkdir()
    foreshap.save_checkpoint(other, tmp_path / "other" / "P64.pt")
    changes = [
        {},
        {"background": 8},
        {"background_seed": 1},
        {"checkpoint": foreshap.load_checkpoint(tmp_path / "other" / "P64.pt")},
        {"method": "deep-shap"},
        {"output": "aftershock"},
        {"method": "expected-gradients", "samples": 20},
        {"method": "expected-gradients", "samples": 21},
    ]
    folder = tmp_path / "shap"
    found = [explained(trained, folder, n=2, **change) for change in changes]
    assert len({shap.path for shap in found}) == len({shap.values[:].tobytes() for shap in found})
    assert len({shap.path for shap in found}) == len(changes)
    assert found[0].path.name.startswith("P64-deep-") and len(found[0].path.name) == 21
    assert explained(trained, folder, n=5).path == found[0].path
    count = len(parts_of(folder))
    for shap, change in zip(found, changes):
        assert tensors(explained(trained, folder, n=2, **change)) == tensors(shap)
    named = explained(trained, folder, n=2, method="expected-gradients", samples=20, seed=0)
    assert named.path == found[6].path and len(parts_of(folder)) == count


def test_tiles_follow_each_events_arrivals_and_keep_their_error(trained, tmp_path):
    found = explained(trained, tmp_path, n=2, method="tiles", evaluations=200)
    checkpoint = foreshap.load_checkpoint(trained.path)
    for values, s_p in zip(found.values, found.table["p_s_diff_sec"]):
        tiles = foreshap.physical_tiles(checkpoint.variant, s_p)
        for number in np.unique(tiles):
            assert np.ptp(values[tiles == number]) == 0
    assert (found.standard_error[:] > 0).any()


def test_what_can_not_be_explained_gets_a_sentence(trained, tmp_path):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    foreshocks = np.flatnonzero(s.labels == 0)
    good = foreshap.choose_background(checkpoint, s, 10)
    old = tmp_path.with_suffix(".h5")
    old.write_bytes(b"")
    few = np.arange(3)
    for rows, background, folder, options, words in (
        (few, Background(foreshocks), tmp_path, {}, "of one class"),
        (few, Background(foreshocks[:0]), tmp_path, {}, "empty"),
        (few, foreshocks, tmp_path, {}, "no Background"),
        (few[:0], good, tmp_path, {}, "one or more rows, 0 to 79"),
        ([80], good, tmp_path, {}, "one or more rows, 0 to 79"),
        (few, good, old, {}, "SHAP files of before are not read: give a folder"),
        (few, good, tmp_path, {"method": "tiles", "tiles": few}, "can't keep the option 'tiles'"),
        (few, good, tmp_path, {"method": "guess"}, "no method 'guess'"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.explain_events(checkpoint, s, rows, background, folder, **options)
    assert not list(tmp_path.iterdir())
    for folder, words in ((old, "of before are not read"), (tmp_path, "holds no SHAP maps")):
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.load_shap(folder)


def test_a_damaged_part_is_named_and_computed_again_where_it_can_not_be_opened(trained, tmp_path):
    shap = explained(trained, tmp_path, n=8)
    wanted = tensors(shap)
    path = parts_of(tmp_path)[1]
    content = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["shap"][0, 0, 0, 0] += 1
    for read in (
        lambda: shap.values[:],
        lambda: explained(trained, tmp_path, n=8).values[:],
        lambda: foreshap.load_shap(shap.path).values[:],
    ):
        with pytest.raises(foreshap.ForeshapError, match=f"{path.name} is .* place 0 doesn't add"):
            read()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(foreshap.ForeshapError, match=f"{path.name} is a damaged part"):
        foreshap.load_shap(shap.path)
    with pytest.raises(foreshap.ForeshapError, match=f"{path.name} is a damaged part"):
        shap.values[:]
    with pytest.warns(UserWarning, match=f"{path.name} is a damaged part .* computed anew"):
        assert tensors(explained(trained, tmp_path, n=8)) == wanted
    path.unlink()
    assert tensors(foreshap.load_shap(shap.path)) == wanted


def test_what_was_loaded_is_explained_whatever_has_its_name_by_now(trained, tmp_path):
    wanted = explained(trained, tmp_path / "a", n=2)
    path = tmp_path / "P64.h5"
    shutil.copy(trained.spectrograms.path, path)
    opened = SimpleNamespace(path=trained.path, spectrograms=foreshap.load_spectrograms(path))
    path.unlink()
    shutil.copy(trained.spectrograms.path.with_name("P32.h5"), path)
    assert tensors(explained(opened, tmp_path / "b", n=2)) == tensors(wanted)
    with ThreadPoolExecutor(1) as worker:
        with pytest.raises(foreshap.ForeshapError, match="P64.h5 has changed since it was loaded"):
            explained(opened, tmp_path / "c", n=2, executor=worker)


def test_a_part_of_something_else_is_named(trained, tmp_path):
    shap = explained(trained, tmp_path / "a", n=2)
    explained(trained, tmp_path / "b", n=2, background=8)
    stranger = parts_of(tmp_path / "b")[0].rename(shap.path / "zzz.h5")
    with pytest.raises(foreshap.ForeshapError, match="zzz.h5 was made from something else"):
        explained(trained, tmp_path / "a", n=2)
    stranger.unlink()
    assert tensors(explained(trained, tmp_path / "a", n=2)) == tensors(shap)


def forks():
    """Context of a server that has imported torch and numba when it forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["foreshap.explainability.shap_store", "numba"])
    return context


def in_another_process(trained_path, tensor_path, folder, rows, ready):
    """Explain events, as a notebook would."""
    checkpoint = foreshap.load_checkpoint(trained_path)
    spectrograms = foreshap.load_spectrograms(tensor_path)
    background = foreshap.choose_background(checkpoint, spectrograms, 40, 0)
    ready.send("go")
    foreshap.explain_events(checkpoint, spectrograms, rows, background, folder)


@pytest.fixture(scope="module")
def start(trained):
    """Starts in_another_process(), as a child of forks()."""
    context = forks()

    def run(folder, rows=np.arange(60)):
        ours, theirs = context.Pipe()
        places = trained.path, trained.spectrograms.path, folder, rows, theirs
        process = context.Process(target=in_another_process, args=places)
        process.start()
        assert ours.recv() == "go"
        return process

    return run


def test_killed_six_times_it_ends_with_the_same_bytes(trained, tmp_path, start):
    process, begun = start(tmp_path / "whole"), time.monotonic()
    process.join()
    needed = time.monotonic() - begun  # on a busy machine longer
    folder, rng, found = tmp_path / "killed", np.random.default_rng(0), []
    for k in range(6):
        process = start(folder)
        if k == 1:  # after a part, on a machine of any speed
            while process.is_alive() and not parts_of(folder):
                time.sleep(0.01)
        elif k > 1:
            time.sleep(rng.uniform(0.1, 0.6) * needed)
        process.kill()
        process.join()
        count = 0
        for part in parts_of(folder):
            with h5py.File(part) as file:
                count += len(file["shap"])
        found.append(count)
    for left in folder.rglob(".*.partial"):
        os.utime(left, (0, 0))  # as if an hour had passed
    last = explained(trained, folder, rows=np.arange(60), background=40)
    undisturbed = explained(trained, tmp_path / "whole", rows=np.arange(60), background=40)
    assert tensors(last) == tensors(undisturbed)
    assert found == sorted(found) and len(set(found)) > 1, found  # some between two parts
    if found[-1] < 60:
        assert not list(folder.rglob("*.partial*"))


def test_processes_and_threads_explain_overlapping_events_at_once(trained, tmp_path, start):
    folder, alone = tmp_path / "shared", tmp_path / "alone"
    processes = [start(folder, np.arange(30)), start(folder, np.arange(10, 40)[::-1])]
    few = {"rows": np.arange(20, 26), "samples": 20}
    methods = {"deep": {"rows": np.arange(20, 50)}, "expected-gradients": few}
    mine = []
    with ThreadPoolExecutor(2) as pool:
        for method, options in methods.items():
            options = {"background": 40, "method": method} | options
            job = pool.submit(explained, trained, folder, **options)
            mine.append((job, options))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for job, options in mine:
        assert tensors(job.result()) == tensors(explained(trained, alone, **options))
    shared = explained(trained, folder, rows=np.arange(50), background=40)
    assert tensors(shared) == tensors(explained(trained, alone, rows=np.arange(50), background=40))
    assert len(foreshap.load_shap(shared.path).table) == 50 and not list(folder.rglob("*partial*"))


class FillsTheDisk(ThreadPoolExecutor):
    """One thread that fills a disk before its fourth batch."""

    def __init__(self, ballast):
        super().__init__(1)
        self.ballast, self.batches = ballast, 0

    def submit(self, function, rows):
        self.batches += 1
        return super().submit(self.fill_and_call, self.batches == 4, function, rows)

    def fill_and_call(self, now, function, rows):
        if now:
            with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        return function(rows)


def test_a_full_disk_keeps_what_is_done(trained, tmp_path, small_disk):
    undisturbed = explained(trained, tmp_path / "whole", rows=np.arange(60))
    folder, ballast = small_disk / "shap", small_disk / "ballast"
    with pytest.raises(
        foreshap.ForeshapError, match="can't be written .*: make room .* was there is as it was"
    ):
        explained(trained, folder, rows=np.arange(60), executor=FillsTheDisk(ballast))
    assert len(parts_of(folder)) == 3 and not list(folder.rglob("*partial*"))
    ballast.unlink()
    assert tensors(explained(trained, folder, rows=np.arange(60))) == tensors(undisturbed)
    with pytest.raises(foreshap.ForeshapError, match="needs 2.3 MiB and its disk has"):
        explained(trained, folder, rows=np.arange(80), background=9)


def test_other_processes_give_the_same_bytes(trained, tmp_path):
    with ProcessPoolExecutor(2, mp_context=forks()) as executor:
        for method, options in {"deep": {}, "expected-gradients": {"samples": 20}}.items():
            options = options | {"n": 16, "method": method}
            alone = explained(trained, tmp_path / "alone", **options)
            pool = explained(trained, tmp_path / "pool", executor=executor, **options)
            assert tensors(pool) == tensors(alone)


def test_a_dask_cluster_gives_the_same_bytes(trained, tmp_path):
    distributed = pytest.importorskip("distributed")
    alone = explained(trained, tmp_path / "alone", n=16)
    with (
        distributed.LocalCluster(2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = explained(trained, tmp_path / "dask", n=16, executor=client)
        assert tensors(found) == tensors(alone)


def test_torch_keeps_its_threads(trained, tmp_path):
    before = torch.get_num_threads()
    explained(trained, tmp_path)
    assert torch.get_num_threads() == before
