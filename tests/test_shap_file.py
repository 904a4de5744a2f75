"""The SHAP file: what it holds, what it refuses, and that no kill, worker or full disk harms it."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress

import h5py
import numpy as np
import pytest
import torch
import xarray

import foreshap
from foreshap.explainability.background import Background

TENSORS = (
    "shap",
    "output",
    "base_value",
    "additivity_error",
    "mean",
    "mean_absolute",
    "standard_error",
)


def explained(trained, path, n=6, **changes):
    checkpoint = changes.pop("checkpoint", None) or foreshap.load_checkpoint(trained.path)
    kind = {"n": changes.pop("background", 10), "kind": changes.pop("kind", "both")}
    rows = changes.pop("rows", foreshap.chosen_test_rows(checkpoint, n, seed=0))
    background = foreshap.choose_background(checkpoint, trained.spectrograms, seed=0, **kind)
    return foreshap.explain_events(
        checkpoint, trained.spectrograms, rows, background, path, **changes
    )


def tensors(path):
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in TENSORS}


def test_the_file_holds_what_shap_tensors_gives(trained, tmp_path):
    found = explained(trained, tmp_path / "P64.h5", n=16)
    checkpoint, rows = foreshap.load_checkpoint(trained.path), found.table["row"].to_numpy()
    background = foreshap.choose_background(checkpoint, trained.spectrograms, 10, seed=0)
    x, b = (checkpoint.scaling(trained.spectrograms.values[:][r]) for r in (rows, background.rows))
    direct = foreshap.shap_tensors(checkpoint.model, x, b)
    np.testing.assert_array_equal(found.values[:], direct.values)
    np.testing.assert_allclose(found.table["output"], direct.outputs, atol=1e-5)
    assert found.base_value == pytest.approx(direct.base_value)
    assert found.table["additivity_error"].max() < 1e-5
    assert (found.table["correct"] == ((found.table["output"] > 0) == found.table["label"])).all()
    with xarray.open_dataset(found.path, engine="h5netcdf", phony_dims="access") as data:
        assert data["shap"].dims == ("trace_name", "channel", "frequency", "time")
        assert data["mean"].dims == ("class", "channel", "frequency", "time")
        assert (
            data.attrs["checkpoint_sha256"] == checkpoint.card["sha256"]
            and len(data["background"]) == 10
        )
        assert data.attrs["simulated"].startswith("yes")
        names = trained.spectrograms.table["trace_name"].to_numpy()
        assert data["background"].values.tolist() == names[background.rows].tolist()
        for label in (0, 1):
            events = direct.values[found.table["label"] == label]
            np.testing.assert_allclose(data["mean"][label], events.mean(axis=0), atol=1e-6)
            np.testing.assert_allclose(
                data["mean_absolute"][label], np.abs(events).mean(axis=0), atol=1e-6
            )
            assert data["n_events"][label] == len(events)


def test_tiles_follow_each_events_arrivals_and_keep_their_error(trained, tmp_path):
    found = explained(trained, tmp_path / "tiles.h5", n=2, method="tiles", evaluations=200)
    checkpoint = foreshap.load_checkpoint(trained.path)
    for values, s_p in zip(found.values, found.table["p_s_diff_sec"]):
        tiles = foreshap.physical_tiles(checkpoint.variant, s_p)
        for number in np.unique(tiles):
            assert np.ptp(values[tiles == number]) == 0
    with h5py.File(found.path) as file:
        assert (file["shap_standard_error"][:] > 0).any()


def test_an_events_own_noise_as_background(trained, tmp_path):
    found = explained(trained, tmp_path / "noise.h5", n=2, kind="own noise")
    before = found.variant.times + 0.32 <= 0
    assert np.abs(found.values[:][..., before]).max() == 0  # those frames are the background's own
    assert len(set(found.table["base_value"])) == 2 and found.table["additivity_error"].max() < 1e-5


def test_an_empty_or_one_class_background_gets_a_sentence(trained, tmp_path):
    checkpoint, s = foreshap.load_checkpoint(trained.path), trained.spectrograms
    foreshocks = np.flatnonzero(s.labels == 0)
    for rows, words in (
        (foreshocks, "of one class"),
        (foreshocks[:0], "empty"),
        (None, "no Background"),
    ):
        background = foreshocks if rows is None else Background("both", rows, len(rows), 0)
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.explain_events(checkpoint, s, np.arange(3), background, tmp_path / "P64.h5")
    assert not list(tmp_path.iterdir())


def test_work_from_something_else_is_refused_and_kept(trained, tmp_path):
    path = tmp_path / "P64.h5"
    explained(trained, path)
    before = path.read_bytes()
    other = foreshap.train(
        trained.spectrograms, trained.result.split, foreshap.TrainingConfig(max_epochs=1, seed=9)
    )
    foreshap.save_checkpoint(other, tmp_path / "other.pt")
    for words, change in {
        "P64.h5 was made with another background": {"background": 8},
        "another background:": {"kind": "foreshocks"},
        "another events": {"n": 5},
        "another checkpoint": {"checkpoint": foreshap.load_checkpoint(tmp_path / "other.pt")},
        "another method": {"method": "deep-shap"},
        "another output": {"output": "aftershock"},
    }.items():
        with pytest.raises(foreshap.ForeshapError, match=words):
            explained(trained, path, **change)
    assert path.read_bytes() == before


def in_another_process(trained_path, tensor_path, path, ready):
    """Explain 60 events, as a notebook would."""
    checkpoint, spectrograms = (
        foreshap.load_checkpoint(trained_path),
        foreshap.load_spectrograms(tensor_path),
    )
    background = foreshap.choose_background(checkpoint, spectrograms, 40, 0)
    ready.send("go")
    foreshap.explain_events(checkpoint, spectrograms, np.arange(60), background, path)


@pytest.fixture(scope="module")
def start(trained):
    """Starts in_another_process(); the server it forks from has imported the package already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["foreshap", "numba"])

    def run(path):
        ours, theirs = context.Pipe()
        places = trained.path, trained.spectrograms.path, path, theirs
        process = context.Process(target=in_another_process, args=places)
        process.start()
        assert ours.recv() == "go"
        return process

    return run


def test_killed_twenty_times_it_ends_with_the_same_bytes(trained, tmp_path, start):
    undisturbed = tmp_path / "whole.h5"
    process, begun = start(undisturbed), time.monotonic()
    process.join()
    needed = time.monotonic() - begun  # on a busy machine longer
    path, rng, found = tmp_path / "killed.h5", np.random.default_rng(0), []
    unfinished = tmp_path / "killed.h5.unfinished"
    for _ in range(20):
        process = start(path)
        time.sleep(rng.uniform(0.1, 0.6) * needed)
        process.kill()
        process.join()
        if unfinished.exists():
            with h5py.File(unfinished) as file:
                found.append(int(np.isfinite(file["additivity_error"][:]).sum()))
    explained(trained, path, rows=np.arange(60), background=40)
    assert tensors(path) == tensors(undisturbed) and not list(tmp_path.glob("*unfinished*"))
    assert found == sorted(found) and len(set(found)) > 1, (
        found
    )  # some were killed between two batches


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
            time.sleep(0.5)  # what is done so far gets written
            with suppress(OSError), self.ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        return function(rows)


def test_a_full_disk_keeps_what_is_done(trained, tmp_path, small_disk):
    undisturbed = explained(trained, tmp_path / "whole.h5", rows=np.arange(60)).path
    path, unfinished, ballast = (
        small_disk / name for name in ("P64.h5", "P64.h5.unfinished", "ballast")
    )
    with pytest.raises(
        foreshap.ForeshapError,
        match="P64.h5.unfinished can't be written on .* events done are kept",
    ):
        explained(trained, path, rows=np.arange(60), executor=FillsTheDisk(ballast))
    with h5py.File(unfinished) as file:
        assert 8 <= np.isfinite(file["additivity_error"][:]).sum() < 60
    ballast.unlink()
    assert tensors(explained(trained, path, rows=np.arange(60)).path) == tensors(undisturbed)
    with pytest.raises(foreshap.ForeshapError, match="needs 2.3 MiB and its disk has"):
        explained(trained, small_disk / "more.h5", rows=np.arange(80))


def test_unfinished_work_is_resumed_not_repeated(trained, tmp_path):
    path = tmp_path / "P64.h5"
    explained(trained, path)
    unfinished = tmp_path / "P64.h5.unfinished"
    path.rename(unfinished)
    with h5py.File(
        unfinished, "r+"
    ) as file:  # as after a kill: one event to do, another marked by hand
        file["additivity_error"][2], file["shap"][4] = np.nan, 5.0
        wanted = file["shap"][2]
        file["shap"][2] = 0.0
    found = explained(trained, path)
    np.testing.assert_array_equal(found.values[2], wanted)
    assert (found.values[4] == 5).all()
    found.values.file.close()
    path.rename(unfinished)  # as after a kill between the last event and the end
    assert (explained(trained, path).values[4] == 5).all()


def test_other_processes_give_the_same_bytes(trained, tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        for method, options in {"deep": {}, "expected-gradients": {"samples": 20}}.items():
            alone, pool = (tmp_path / f"{method}-{kind}.h5" for kind in ("alone", "pool"))
            explained(trained, alone, n=16, method=method, **options)
            explained(trained, pool, n=16, method=method, executor=executor, **options)
            assert tensors(pool) == tensors(alone)


def test_a_dask_cluster_gives_the_same_bytes(trained, tmp_path):
    distributed = pytest.importorskip("distributed")
    alone = explained(trained, tmp_path / "alone.h5", n=16).path
    with (
        distributed.LocalCluster(2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert tensors(
            explained(trained, tmp_path / "dask.h5", n=16, executor=client).path
        ) == tensors(alone)


def test_torch_keeps_its_threads(trained, tmp_path):
    before = torch.get_num_threads()
    explained(trained, tmp_path / "P64.h5")
    assert torch.get_num_threads() == before
