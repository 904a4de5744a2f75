"""The published spectrograms of IV.NRCA (real, scaled, undated) as tensors and to a network."""

import numpy as np
import pytest
import xarray

import foreshap


@pytest.fixture
def imported(nrca, tmp_path):
    return foreshap.import_spectrograms(
        nrca / "nrca_spectrograms.npz", tmp_path, doi="10.1007/978-3-032-10185-3_25"
    )


def test_the_tensor_file_holds_what_was_published(nrca, imported):
    with (
        np.load(nrca / "nrca_spectrograms.npz", allow_pickle=False) as file,
        xarray.open_dataset(imported, engine="h5netcdf") as found,
    ):
        np.testing.assert_array_equal(found["spectrogram"], file["spectrogram"])
        np.testing.assert_array_equal(found["label"], file["label"])
        np.testing.assert_allclose(found["frequency"], file["frequency"])
        np.testing.assert_allclose(found["time"], file["time"] - 5)
        assert list(found["source_id"].values) == [str(n) for n in file["source_id"]]
        assert found.attrs["doi"] and "0..255" in found.attrs["scaled"]


def test_damaged_files_are_refused_and_nothing_is_written(nrca, tmp_path):
    good = (nrca / "nrca_spectrograms.npz").read_bytes()
    with np.load(nrca / "nrca_spectrograms.npz", allow_pickle=False) as file:
        arrays = dict(file)
    bad = tmp_path / "bad.npz"
    for change in (
        {"label": arrays["label"][:-1]},
        {"label": arrays["label"] + 3},
        {"time": arrays["time"][:-1]},
        {"source_id": np.array([{}] * 400, dtype=object)},
        None,
    ):
        if change is None:
            bad.write_bytes(good[: len(good) // 2])
        else:
            np.savez(bad, **(arrays | change))
        with pytest.raises(foreshap.ForeshapError, match="bad.npz"):
            foreshap.import_spectrograms(bad, tmp_path / "out")
        assert not list(tmp_path.glob("out/*"))


def test_a_network_learns_real_spectrograms(imported):
    spectrograms = foreshap.load_spectrograms(imported)
    split = foreshap.random_split(spectrograms.table, 0)
    result = foreshap.train(spectrograms, split, foreshap.TrainingConfig(max_epochs=4))
    assert result.metrics["accuracy"] >= 0.9  # the published network classified all 400 correctly
    assert len(result.predictions) == 80
    for impossible in (foreshap.time_block_split, foreshap.cluster_split):
        with pytest.raises(foreshap.ForeshapError, match="no (time|hypocentre): split at random"):
            impossible(spectrograms.table, 0)
