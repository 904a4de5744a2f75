"""Tensors and maps in other people's hands: xarray, torch, shap, a notebook's own display."""

import numpy as np
import pytest
import torch

import foreshap


@pytest.fixture(scope="module")
def explained(trained, tmp_path_factory):
    checkpoint = foreshap.load_checkpoint(trained.path)
    background = foreshap.choose_background(checkpoint, trained.spectrograms, 8)
    rows = foreshap.chosen_test_rows(checkpoint, 3)
    folder = tmp_path_factory.mktemp("citizen")
    return foreshap.explain_events(checkpoint, trained.spectrograms, rows, background, folder)


def test_tensors_and_maps_open_as_xarray(trained, explained):
    tensors = trained.spectrograms.to_xarray()
    assert tensors["spectrogram"].dims == ("trace_name", "channel", "frequency", "time")
    name = tensors["trace_name"].values[5]
    one = tensors["spectrogram"].sel(trace_name=name, channel="N").sel(time=2.0, method="nearest")
    k = np.abs(trained.spectrograms.variant.times - 2.0).argmin()
    np.testing.assert_array_equal(one, trained.spectrograms.values[5, 1, :, k])
    maps = explained.to_xarray()
    np.testing.assert_array_equal(maps["shap"], explained.values[:])
    np.testing.assert_array_equal(maps["output"], explained.table["output"])


def test_events_are_a_torch_dataset(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    rows = [7, 3, 5]
    dataset = foreshap.EventDataset(trained.spectrograms, rows, checkpoint.scaling)
    x, labels = next(iter(torch.utils.data.DataLoader(dataset, batch_size=3)))
    assert labels.tolist() == trained.spectrograms.labels[rows].tolist()
    expected = checkpoint.outputs(np.stack([trained.spectrograms.values[row] for row in rows]))
    with torch.no_grad():
        logits = checkpoint.model(x)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-5)


def test_maps_are_a_shap_explanation(trained, explained):
    explanation = explained.to_explanation(trained.spectrograms)
    sums = explanation.values.sum(axis=1) + explanation.base_values
    np.testing.assert_allclose(sums, explained.table["output"], atol=1e-3)
    shape = explained.variant.shape
    place = np.ravel_multi_index((1, 4, 20), shape)
    label = explanation.feature_names[place]
    assert (
        label == f"N {explained.variant.frequencies[4]:.1f} Hz {explained.variant.times[20]:.2f} s"
    )
    row = explained.table["row"][2]
    assert explanation.data[2, place] == trained.spectrograms.values[row, 1, 4, 20]


def test_objects_describe_themselves(trained, explained):
    text = trained.spectrograms._repr_html_()
    assert "P64.h5" in text and "foreshocks" in text and "counts" in text and "(" in text
    assert "P64" in explained._repr_html_() and "deep" in explained._repr_html_()


def test_nearest_names_and_stations_are_offered(trained):
    table = trained.spectrograms.table
    name = table["trace_name"][4]
    with pytest.raises(foreshap.ForeshapError, match=name):
        foreshap.event_row(table, name[:-3] + "_XV")
    with pytest.raises(foreshap.ForeshapError, match="no station 'PB07': give DEMO"):
        foreshap.station_rows(table, "PB07")
    assert foreshap.station_rows(table, "DEMO").tolist() == list(range(len(table)))


def test_misclassified_rows_are_those_of_the_training(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    rows = foreshap.misclassified_rows(checkpoint, trained.spectrograms)
    wrong = trained.result.predictions[~trained.result.predictions["correct"]]
    assert sorted(rows) == sorted(wrong["row"])
    margins = wrong.set_index("row")["margin"].abs()[rows]
    assert margins.is_monotonic_decreasing
