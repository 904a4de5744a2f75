"""The verdict: its rules on made-up numbers, and the whole on simulated causes."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap.controls import data_checks, verdict
from foreshap.controls.data_checks import stands_out

CAUSES = {
    "path/source": {"path": 0.01},
    "station/background": {"gain": 0.2, "noise_band": 0.5},
    "catalogue": {"magnitude": 0.5},
    "mixed": {"path": 0.01, "noise_level": 0.2},
    "undecided": {},
}
GAIN = {"gain": 0.2, "noise_level": -0.2}  # of a sensor before a recorder's constant noise


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """600 simulated events a cause, P64."""
    folder = tmp_path_factory.mktemp("causes")
    for name, effects in (CAUSES | {"gain": GAIN}).items():
        place = folder / name.replace("/", " ")
        waveforms = foreshap.simulate_sequence(place / "waveforms", 600, 7, effects)
        foreshap.preprocess(waveforms, place, [foreshap.VARIANTS["P64"]])
        foreshap.preprocess(waveforms / "noise", place / "noise", [foreshap.VARIANTS["P64"]])

    def load(name):
        place = folder / name.replace("/", " ")
        events = foreshap.load_spectrograms(place / "P64.h5")
        return events, foreshap.load_spectrograms(place / "noise/P64.h5")

    return load


@pytest.mark.parametrize("cause", CAUSES)
def test_simulated_causes_are_found(sequences, cause):
    spectrograms, noise = sequences(cause)
    controls = foreshap.run_controls(spectrograms, seed=1, noise=noise)
    assert controls.verdict == cause, controls.reasons
    assert list(controls.skipped) == ["9 stations"] and controls.table["measured"].notna().all()
    assert {"control", "measured", "low", "high", "n_events", "if_path", "if_station"} <= set(
        controls.table
    )
    null = controls.table.set_index("control").loc["shuffled labels (20 times)"]
    assert null["low"] < 0.5 < null["high"]
    without_events = controls.table.set_index("control").loc["noise without events"]
    assert without_events["n_events"] == 300 and (without_events["low"] > 0.55) == (
        cause in ("station/background", "mixed")
    )


def table(noise, catalogue, floor, relative, inside=0.5, drift=(-0.1, 0.1), shape=0.5):
    names = (verdict.NOISE, verdict.CATALOGUE, *verdict.SIGNAL, verdict.SHAPE)
    rows = [
        {"control": n, "measured": v + 0.02, "low": v, "high": v + 0.04}
        for n, v in zip(names, (noise, catalogue, floor, relative, shape))
    ]
    placebo = pd.DataFrame(
        {
            "what": "signal",
            "kind": ["mainshock", "inside foreshocks"],
            "measured": [floor, inside],
            "low": [floor, inside],
        }
    )
    return pd.DataFrame(rows), {"6 placebo": placebo, "6 drift": pd.DataFrame({"low": drift})}


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ((0.5, 0.5, 0.9, 0.9), "path/source"),
        ((0.9, 0.5, 0.5, 0.9), "station/background"),  # more noise: only relative to it
        ((0.9, 0.5, 0.9, 0.5), "station/background"),  # other gain: only above the floor
        ((0.9, 0.5, 0.9, 0.6), "station/background"),  # what a site change leaves
        ((0.5, 0.9, 0.5, 0.5), "catalogue"),
        ((0.9, 0.5, 0.9, 0.9), "mixed"),
        ((0.5, 0.9, 0.9, 0.9), "mixed"),
        ((0.5, 0.5, 0.5, 0.5), "undecided"),
        ((0.54, 0.54, 0.54, 0.9), "undecided"),
        ((0.5, 0.5, 0.7, 0.7, 0.8), "undecided"),  # another date does as well
        ((0.5, 0.5, 0.9, 0.9, 0.5, (0.1, 0.1)), "undecided"),  # it drifts through both classes
        ((0.5, 0.5, 0.9, 0.9, 0.5, (-0.1, 0.1), 0.1), "undecided"),  # as much everywhere: a gain
    ],
)
def test_the_rules(numbers, expected):
    rows, details = table(*numbers)
    found, reasons = verdict.judge(rows, details, {})
    assert found == expected and any("0.5" in line for line in reasons)


def test_no_dates_no_claim_about_the_fault():
    rows, _ = table(0.5, 0.5, 0.9, 0.9)
    found, reasons = verdict.judge(rows, {}, {"6 placebo": "some events have no time"})
    assert (
        found == "undecided"
        and "lacks: 6 placebo" in reasons[-1]
        and "Path or source: can't be said" in reasons[2]
    )
    rows, details = table(0.5, 0.5, np.nan, 0.9)
    assert verdict.judge(rows.dropna(), details, {})[0] == "undecided"


def test_noise_of_catalogues_that_cannot_be_matched_says_nothing():
    rows, details = table(0.9, 0.9, 0.5, 0.5)
    rows["control"] = rows["control"].replace(verdict.NOISE, "noise before P")
    found, reasons = verdict.judge(
        rows, details, {"4 matched": "the classes' catalogues hardly overlap"}
    )
    assert (
        found == "catalogue"
        and "Station or background: can't be said" in reasons[0]
        and verdict.NOISE in reasons[-1]
    )
    rows["low"] = [0.9, 0.5, 0.5, 0.5, 0.5]  # catalogues that do not differ, or none
    assert verdict.judge(rows, details, {})[0] == "station/background"


def test_a_steady_drift_is_no_change_at_the_mainshock(sequences):
    """Simulated: each event between foreshock and aftershock, by its place in time."""
    s = sequences("path/source")[0]
    foreshap.preprocess(s.path.parent / "waveforms/truth", s.path.parent / "truth", [s.variant])
    other = foreshap.load_spectrograms(s.path.parent / "truth/P64.h5")
    row = pd.Series(range(len(other.labels)), other.table["trace_name"])[
        s.table["trace_name"]
    ].to_numpy()
    rank = pd.Series(foreshap.known_times(s.table)).rank(pct=True).to_numpy()
    share = np.abs(rank - (s.labels == 1))[:, None, None, None]  # of the other class
    values = ((1 - share) * s.values[:] + share * other.values[:][row]).astype("f4")
    start = pd.Timestamp("2016-09-01", tz="UTC") + pd.to_timedelta(120 * rank, unit="D")
    steady = replace(s, values=values, table=s.table.assign(trace_start_time=start.astype(str)))
    controls = foreshap.run_controls(steady, seed=1)
    signal = controls.table.set_index("control").loc[list(verdict.SIGNAL)]
    assert controls.verdict == "undecided" and (signal["low"] > 0.55).all()
    assert (controls.details["6 drift"]["low"] > 0).all()


def test_a_gain_under_a_constant_noise_is_no_change_of_the_path(sequences):
    controls = foreshap.run_controls(sequences("gain")[0], seed=1)
    rows = controls.table.set_index("control")
    assert controls.verdict == "undecided" and (rows.loc[list(verdict.SIGNAL), "low"] > 0.55).all()
    assert rows.loc[verdict.SHAPE, "measured"] < 0.1
    gathered = foreshap.gather(sequences("path/source")[0], 1)
    assert data_checks.shape(gathered)["measured"][0] > 0.3
    with pytest.raises(foreshap.ForeshapError, match="levels can't be compared"):
        data_checks.shape(replace(gathered, calibrated=False))
    with pytest.raises(foreshap.ForeshapError, match="0 bins stand above the noise"):
        data_checks.shape(replace(gathered, spectra=gathered.spectra * 0))


def test_a_placebo_that_separates_nothing_does_not_count():
    _, details = table(0.5, 0.5, 0.6, 0.6, inside=0.7)
    assert not stands_out(details["6 placebo"], 0.55)
    assert stands_out(details["6 placebo"].assign(low=[0.6, 0.4]), 0.55)
    assert not stands_out(
        details["6 placebo"].assign(low=[0.49, 0.4]), 0.55
    )  # the mainshock itself is at chance


def test_a_window_that_no_event_has_takes_no_other_away(sequences):
    s, _ = sequences("undecided")
    far = foreshap.run_controls(replace(s, table=s.table.assign(p_s_diff_sec=25.0)), seed=1)
    assert far.skipped["1 S"] == far.skipped["1 coda"] == "no event has a frame there"
    assert far.table.set_index("control").loc["noise before P", "n_events"] > 590


def test_bad_data_are_skipped_with_a_reason(sequences, tmp_path):
    s, noise = sequences("path/source")
    bare = replace(s, table=s.table[["trace_name", "label", "p_s_diff_sec", "trace_start_time"]])
    controls = foreshap.run_controls(bare, seed=1)
    assert verdict.CATALOGUE in controls.table["control"].to_numpy()  # S-P and the hour are known
    splits = controls.details["5 splits"].set_index("control")
    assert "split: clusters" not in splits.index and splits.loc["split: weeks", "measured"] > 0.8
    assert "no hypocentre" in controls.skipped["5 split: clusters"]
    odd = s.table.assign(
        source_latitude=42.8, source_longitude=13.1, source_depth_km=5.0, receiver_name=np.nan
    )
    odd.loc[0, "source_magnitude"] = np.inf
    controls = foreshap.run_controls(replace(s, table=odd), 1, notches=[(0, 50), (10.1, 10.2)])
    assert (
        controls.verdict == "path/source"
        and "fewer than 5 groups" in controls.skipped["5 split: clusters"]
    )
    assert len(controls.details["7 bands"]) == 6
    few = replace(noise, labels=noise.labels[:4], table=noise.table[:4], values=noise.values[:4])
    assert "too few" in foreshap.run_controls(s, 1, noise=few).skipped["1 noise without events"]
    one = replace(s, labels=np.zeros_like(s.labels))
    controls = foreshap.run_controls(one)
    assert controls.verdict == "undecided" and len(controls.table) == 0
    assert (
        all("0 aftershocks" in reason for reason in controls.skipped.values())
        and "lacks" in controls.reasons[-1]
    )
    foreshap.write_verdict(controls, tmp_path / "empty.json")


def test_nothing_is_computed_twice_and_programs_can_read_it(sequences, tmp_path):
    first = foreshap.run_controls(sequences("undecided")[0], 1, tmp_path / "kept")
    files = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "kept").iterdir()}
    second = foreshap.run_controls(sequences("undecided")[0], 1, tmp_path / "kept")
    assert files == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "kept").iterdir()}
    pd.testing.assert_frame_equal(first.table, second.table, check_dtype=False)
    other = foreshap.run_controls(sequences("catalogue")[0], 1, tmp_path / "kept")
    assert other.verdict == "catalogue"  # kept for another file: computed anew
    bare = replace(
        sequences("catalogue")[0],
        table=sequences("catalogue")[0].table.drop(columns="trace_start_time"),
    )
    assert (
        "6 placebo" in foreshap.run_controls(bare, 1, tmp_path / "kept").skipped
    )  # and for another table
    s, _ = sequences("undecided")
    louder = replace(
        s, values=s.values[:] + 2 * (s.labels == 1)[:, None, None, None]
    )  # other values, other classes
    assert foreshap.run_controls(louder, 1, tmp_path / "kept").verdict != "undecided"
    turned = replace(s, labels=1 - s.labels)
    kept, anew = (
        foreshap.run_controls(turned, 1, folder).table for folder in (tmp_path / "kept", None)
    )
    pd.testing.assert_frame_equal(kept, anew, check_dtype=False)
    foreshap.write_verdict(second, tmp_path / "verdict.json", dataset="simulated")
    content = json.loads((tmp_path / "verdict.json").read_text())
    assert content["verdict"] == "undecided" and content["dataset"] == "simulated"
    assert len(content["rows"]) == len(second.table)
