"""The explorer: which events it shows, in which order, and what its widgets change."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap.explorer import EventCollection, Explorer, View

matplotlib.use("agg")


@pytest.fixture(scope="module")
def events(tmp_path_factory, demo, trained):
    data = tmp_path_factory.mktemp("explore")
    (data / "datasets.toml").write_text('[tiny]\nsource = "simulated"\nn_events = 80\nseed = 3\n')
    folder = foreshap.waveform_folder("tiny", data)
    foreshap.preprocess(folder, data / "tiny", [foreshap.VARIANTS["P64"]])
    spectrograms = foreshap.load_spectrograms(data / "tiny" / "P64.h5")
    split = foreshap.random_split(spectrograms.table, 0)
    result = foreshap.train(spectrograms, split, foreshap.TrainingConfig(max_epochs=1))
    foreshap.save_checkpoint(result, data / "checkpoints" / "tiny" / "P64.pt")
    collection = EventCollection("tiny", "P64", data, data / "checkpoints", background=8)
    collection.predictions = result.predictions
    return collection


@pytest.fixture
def explorer(events, monkeypatch):
    monkeypatch.setattr("foreshap.explorer.display", lambda *args, **options: Shown())
    monkeypatch.setattr("foreshap.explorer.SHARED_EVENTS", 3)
    explorer = Explorer(events)
    explorer.show(explorer.row)
    return explorer


class Shown:
    """Stands for the handle of a displayed picture."""

    pictures = ()

    def update(self, picture):
        self.pictures = (*self.pictures, picture.data)


def test_misclassified_events_are_those_of_the_training(events):
    wrong = events.predictions[~events.predictions["correct"]]
    assert sorted(events.choose(misclassified=True)) == sorted(wrong["row"])
    assert sorted(events.choose()) == sorted(events.predictions["row"])


@pytest.mark.parametrize(
    ("sort", "column"),
    [("magnitude", "source_magnitude"), ("S-P time", "p_s_diff_sec"), ("margin", "margin")],
)
def test_events_are_filtered_and_sorted(events, sort, column):
    rows = events.choose(side="all", label="aftershock", sort=sort)
    table = events.table.loc[rows]
    assert len(rows) == (events.table["label"] == 1).sum() and (table["label"] == 1).all()
    assert table[column].is_monotonic_increasing
    week = int(table["week"].mode()[0])
    in_week = events.choose(side="all", label="aftershock", week=week, sort=sort)
    assert in_week == [row for row in rows if events.table["week"][row] == week]


def test_an_event_without_a_map_is_explained_and_kept(events):
    row = events.choose(side="train")[0]
    shap = events.shap_map(row)
    output = events.table["margin"][row]
    stored = foreshap.load_shap(foreshap.find_shap(events.store, events.checkpoint)[0])
    place = np.flatnonzero(stored.table["row"] == row)[0]
    assert stored.table["output"][place] == pytest.approx(output, abs=1e-4)
    np.testing.assert_array_equal(stored.values[place], shap)


def test_next_previous_slider_and_name_move_through_the_events(explorer):
    first, second = explorer.rows[:2]
    assert explorer.row == first
    explorer.widgets["next"].click()
    assert explorer.row == second and explorer.widgets["place"].value == 1
    assert len(explorer.picture.pictures) == 1
    explorer.widgets["previous"].click()
    assert explorer.row == first
    explorer.widgets["place"].value = 3
    assert explorer.row == explorer.rows[3] and len(explorer.picture.pictures) == 3
    outside = explorer.events.choose(side="train")[0]
    explorer.widgets["name"].value = explorer.events.table["trace_name"][outside]
    assert explorer.row == outside and "not in this choice" in explorer.widgets["count"].value
    explorer.widgets["name"].value = "DEMO.XX.100000_EV"
    assert explorer.row == outside and "DEMO.XX.100000" in explorer.widgets["count"].value


def test_filters_and_views_change_the_picture(explorer):
    explorer.widgets["label"].value = "aftershock"
    labels = explorer.events.table["label"][explorer.rows]
    assert (labels == 1).all() and explorer.row in explorer.rows
    before = len(explorer.picture.pictures)
    explorer.widgets["component"].value = "N"
    explorer.widgets["opacity"].value = 0.5
    explorer.widgets["scale"].value = "shared"
    explorer.widgets["frequency"].value = 25.0
    pictures = explorer.picture.pictures
    assert len(pictures) == before + 4 and len(set(pictures)) == len(pictures)
    assert ", N: log10 PSD" in explorer.widgets["read-out"].value


def test_the_read_out_says_the_pixels_values(events):
    row = events.choose()[0]
    text = events.read_out(row, View(component="Z", time=0.6, frequency=14.1))
    shap, psd = events.shap_map(row)[2], events.spectrograms.values[row, 2]
    i = np.abs(events.variant.times - 0.6).argmin()
    assert f"PSD {psd[9, i]:.2f}, SHAP {shap[9, i]:+.4f}" in text and "14.06 Hz" in text


def test_the_picture_rings_the_event_and_names_it(events):
    row = events.choose()[1]
    fig = events.draw(row, View(), events.choose())
    event = events.table.loc[row]
    rings = [ax.collections[-1].get_offsets()[0] for ax in fig.axes[:2]]
    assert list(rings[0]) == [event["source_longitude"], event["source_latitude"]]
    assert rings[1][1] == event["margin"]
    assert event["trace_name"] in fig.texts[0].get_text() and "test" in fig.texts[0].get_text()


def test_a_dataset_without_places_times_or_seismograms_is_shown(events, monkeypatch):
    row = events.choose()[0]
    never = pd.to_datetime([None] * len(events.table), utc=True)
    bare = events.table.assign(source_longitude=np.nan, week=np.nan, time=never)
    monkeypatch.setattr(events, "table", bare)
    monkeypatch.setattr(events, "traces", None)
    fig = events.draw(row, View(), events.choose())
    labels = [ax.get_xlabel() for ax in fig.axes]
    assert labels[0] == "row" and "time after P [s]" in labels
    assert not any("counts]" in ax.get_ylabel() and "PSD" not in ax.get_ylabel() for ax in fig.axes)
