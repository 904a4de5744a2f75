"""The verdict: its rule on made-up findings, and the whole on simulated causes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import cross_of

import foreshap
from foreshap.controls.evidence import gather_evidence
from foreshap.controls.joined_rule import examine, explain, judge
from foreshap.preprocessing.cross_spectra import FILE_NAME, load_cross_spectra

CAUSES = {
    "path/source": {"path": 0.01},
    "station/background": {"gain": 0.2, "noise_band": 0.5},
    "catalogue": {"magnitude": 0.5},
    "mixed": {"path": 0.01, "noise_level": 0.2},
    "undecided": {},
}
GATES = {  # an alternative and its group
    "chance": "nothing",
    "another date": "nothing",
    "size": "catalogue",
    "completeness": "catalogue",
    "second events": "catalogue",
    "place": "catalogue",
    "clipping": "station",
    "response": "station",
    "orientation": "station",
    "noise": "station",
    "coda of the sequence": "station",
}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """600 simulated events a cause, P64, with cross-spectra beside them."""
    folder = tmp_path_factory.mktemp("causes")
    for name, effects in CAUSES.items():
        place = folder / name.replace("/", " ")
        waveforms = foreshap.simulate_sequence(place / "waveforms", 600, 7, effects)
        foreshap.preprocess(waveforms, place, [foreshap.VARIANTS["P64"]])
        foreshap.preprocess(waveforms / "noise", place / "noise", [foreshap.VARIANTS["P64"]])

    def load(name):
        place = folder / name.replace("/", " ")
        events = foreshap.load_spectrograms(place / "P64.h5")
        return events, foreshap.load_spectrograms(place / "noise/P64.h5")

    return load


@pytest.fixture(scope="module")
def bare(sequences, tmp_path_factory):
    """A function that gives the tensors of a cause in a folder without cross-spectra."""

    def load(name):
        spectrograms = sequences(name)[0]
        return replace(spectrograms, path=tmp_path_factory.mktemp("bare") / "P64.h5")

    return load


def heard(spectrograms, cross=None, **others):
    """What the witnesses alone say, without the plain controls: findings, verdict, open."""
    findings = list(examine(gather_evidence(spectrograms, cross, 1, **others)))
    verdict, opened = judge(findings)
    return SimpleNamespace(findings=findings, verdict=verdict, open=opened)


@pytest.mark.parametrize("cause", CAUSES)
def test_simulated_causes_are_found(sequences, cause):
    spectrograms, noise = sequences(cause)
    controls = foreshap.run_controls(spectrograms, seed=1, noise=noise)
    assert controls.verdict == cause, controls.reasons
    assert not controls.skipped and controls.table["measured"].notna().all()
    columns = {"control", "measured", "low", "high", "n_events", "if_path", "if_station"}
    assert columns <= set(controls.table)
    null = controls.table.set_index("control").loc["shuffled labels (20 times)"]
    assert null["low"] < 0.5 < null["high"]
    found = {finding.alternative: finding for finding in controls.findings}
    assert set(GATES) <= set(found)
    if cause == "path/source":
        assert controls.open == [] and all(finding.acquits for finding in controls.findings)
        units = controls.details["10 physical units"].set_index(["quantity", "component"])
        assert units.loc[("t* of S", "together"), "low"] > 0
    if cause == "undecided":
        assert found["chance"].state == "open" and "chance" in controls.open


def made_up(**states):
    """Findings of GATES, all excluded but those given: state, or (state, whether it is named)."""
    findings = []
    for alternative, group in GATES.items():
        state, named = states.get(alternative.replace(" ", "_"), "excluded"), False
        if isinstance(state, tuple):
            state, named = state
        said = ("made up", "saw", "could", "more")
        findings.append(foreshap.Finding(alternative, group, state, *said, low=0.9, named=named))
    return findings


@pytest.mark.parametrize(
    "states, expected, opened",
    [
        ({}, "path/source", []),
        ({"size": "survived"}, "path/source", []),
        ({"completeness": ("survived", True)}, "mixed", []),  # sizes do differ, too
        ({"noise": "shown"}, "mixed", []),
        ({"coda_of_the_sequence": "shown", "noise": "open"}, "path/source", ["noise"]),
        ({"orientation": "survived"}, "mixed", []),
        ({"chance": "open"}, "undecided", ["chance"]),
        ({"another_date": "shown"}, "undecided", []),
        ({"response": "open"}, "undecided", ["response"]),
        ({"response": "open", "size": "open"}, "undecided", ["size", "response"]),
        ({"response": "shown"}, "station/background", []),
        ({"response": "shown", "size": "shown"}, "station/background", []),
        ({"size": "shown"}, "catalogue", []),
        ({"size": "shown", "response": "open"}, "undecided", ["response", "size"]),
        ({"place": "shown", "response": "open"}, "catalogue", ["response"]),
        ({"coda_of_the_sequence": "shown", "chance": "open"}, "station/background", ["chance"]),
        ({"clipping": "shown"}, "station/background", []),
        ({"clipping": "shown", "completeness": "shown"}, "catalogue", []),
        ({"place": "shown", "noise": "shown"}, "station/background", []),
    ],
)
def test_the_joined_rule(states, expected, opened):
    verdict, found = judge(made_up(**states))
    assert verdict == expected and found == opened


def test_each_alternative_but_beside_ones_blocks_the_path():
    for alternative in GATES:
        for state in ("open", "shown"):
            verdict, _ = judge(made_up(**{alternative.replace(" ", "_"): state}))
            beside = alternative in ("noise", "coda of the sequence")
            assert (verdict in ("path/source", "mixed")) == beside
    assert judge([])[0] == "undecided"
    assert judge(made_up()[:2])[0] == "undecided"  # the response was not heard


def test_reasons_name_what_is_shown_and_what_would_decide():
    findings = made_up(response="open", place="shown")
    lines = explain(findings, *judge(findings), {"second event in the window": 3, "other": 0})
    assert lines[0].startswith("The catalogue differs: place")
    assert any("decided by more" in line and line.startswith("Response") for line in lines)
    assert "3 events" in lines[-1] and not any("other" in line for line in lines)


def test_nothing_shown_needs_no_bracket():
    survived = made_up(size="survived")
    assert explain(made_up(), "path/source", [], {})[0].endswith("remains without it.")
    assert "(shown and survived: size)" in explain(survived, "path/source", [], {})[0]


def test_magnitudes_withheld_or_a_recorders_own_noise_leave_a_named_witness_mute(sequences):
    s = sequences("path/source")[0]
    cross = load_cross_spectra(s.path.parent)
    withheld = replace(s, table=s.table.drop(columns="source_magnitude"))
    assert heard(withheld, cross).open == ["size"]
    level = np.median(np.einsum("nfcc->nfc", cross.values[:, 0]).real, axis=0)
    white = cross_of(
        np.broadcast_to(level, (len(s.labels), *level.shape)), np.random.default_rng(0)
    )
    values = cross.values.copy()
    values[:, 0] = white
    controls = heard(s, replace(cross, values=values))
    assert controls.verdict == "undecided" and controls.open == ["orientation"]
    mute = {f.alternative: f.could_see for f in controls.findings if f.state == "open"}
    assert "recorder's own" in mute["orientation"]


def test_tensors_alone_name_the_mute_witnesses(bare):
    controls = heard(bare("path/source"))
    assert controls.verdict == "undecided" and "response" in controls.open
    mute = {f.alternative: f.could_see for f in controls.findings if f.state == "open"}
    assert "cross-spectra" in mute["response"]
    assert heard(bare("undecided")).verdict == "undecided"


def test_scaled_tensors_are_judged_by_the_noises_shape(bare):
    s = bare("mixed")
    peak = 0.4 * np.exp(-((s.variant.frequencies - 16) ** 2) / 8)
    for changes, expected in ((0.0, "undecided"), (1.0, "station/background")):
        values = bare("undecided").values[:]
        values = values + changes * (s.labels == 1)[:, None, None, None] * peak[:, None]
        low = values.min(axis=(1, 2, 3), keepdims=True)
        values = np.rint(255 * (values - low) / (values.max(axis=(1, 2, 3), keepdims=True) - low))
        scaled = replace(
            s, values=values.astype("f4"), table=bare("undecided").table, attributes={"scaled": 1}
        )
        assert heard(scaled).verdict == expected


def test_a_steady_drift_is_no_change_at_the_mainshock(sequences):
    """Simulated: cross-spectra whose change grows with time through both classes."""
    s = sequences("undecided")[0]
    cross = load_cross_spectra(s.path.parent)
    times = foreshap.known_times(s.table)
    rank = pd.Series(times).rank(pct=True).to_numpy()
    values = (
        cross.values * 10 ** (-0.03 * cross.frequencies * rank[:, None])[:, None, :, None, None]
    )
    values[:, 0] = cross.values[:, 0]
    drifting = replace(cross, values=values.astype("c8"))
    start = pd.Timestamp("2016-09-01", tz="UTC") + pd.to_timedelta(120 * rank, unit="D")
    steady = replace(s, table=s.table.assign(trace_start_time=start.astype(str)))
    controls = heard(steady, drifting)
    states = {finding.alternative: finding.state for finding in controls.findings}
    assert states["chance"] == "excluded" and states["another date"] != "excluded"
    assert controls.verdict not in ("path/source", "mixed")


def test_missing_columns_and_short_s_p_leave_witnesses_mute(sequences, bare, tmp_path):
    s, noise = sequences("path/source")
    table = s.table[::2].reset_index(drop=True)
    s = replace(s, labels=s.labels[::2], table=table, values=s.values[:][::2])
    for columns in (
        ["trace_name", "label", "p_s_diff_sec", "trace_start_time"],
        ["trace_name", "label", "p_s_diff_sec"],
        ["trace_name", "label"],
    ):
        controls = foreshap.run_controls(replace(s, table=s.table[columns]), seed=1)
        assert controls.verdict in ("undecided", "mixed", "catalogue") and controls.open
        foreshap.write_verdict(controls, tmp_path / "verdict.json")
    alone = bare("path/source").path
    short = replace(s, path=alone, table=s.table.assign(p_s_diff_sec=0.3))
    controls = foreshap.run_controls(short, seed=1)  # no frame lies between P and S
    assert controls.verdict == "undecided" and controls.open
    far = foreshap.run_controls(replace(short, table=s.table.assign(p_s_diff_sec=25.0)), seed=1)
    assert far.skipped["1 S"] == far.skipped["1 coda"] == "no event has a frame there"
    odd = s.table.assign(
        source_latitude=42.8, source_longitude=13.1, source_depth_km=5.0, receiver_name=np.nan
    )
    odd.loc[0, "source_magnitude"] = np.inf
    controls = foreshap.run_controls(replace(s, table=odd), 1, notches=[(0, 50), (10.1, 10.2)])
    assert "fewer than 5 groups" in controls.skipped["5 split: clusters"]
    assert len(controls.details["7 bands"]) == 6 and "place" in controls.open
    few = replace(noise, labels=noise.labels[:4], table=noise.table[:4], values=noise.values[:4])
    assert "too few" in foreshap.run_controls(s, 1, noise=few).skipped["1 noise without events"]


def test_one_class_or_wrong_cross_spectra_are_said(sequences, tmp_path):
    s = sequences("path/source")[0]
    controls = foreshap.run_controls(replace(s, labels=np.zeros_like(s.labels)))
    assert controls.verdict == "undecided" and len(controls.table) == 0
    assert all("0 aftershocks" in reason for reason in controls.skipped.values())
    assert "lacks all witnesses" in controls.reasons[-1]
    foreshap.write_verdict(controls, tmp_path / "empty.json")
    cross = load_cross_spectra(s.path.parent)
    others = replace(cross, table=cross.table.assign(trace_name=cross.table["trace_name"] + "x"))
    controls = foreshap.run_controls(s, cross_spectra=others)
    assert "none of the tensors' events" in next(iter(controls.skipped.values()))
    (tmp_path / "broken.h5").write_text("no")
    with pytest.raises(foreshap.ForeshapError, match="broken.h5"):
        foreshap.run_controls(s, cross_spectra=tmp_path / "broken.h5")


def test_a_station_record_closes_an_open_response(sequences, bare, tmp_path):
    record = tmp_path / "services.csv"
    record.write_text("start,end\n2000-01-01,2030-01-01\n")
    open_before = heard(bare("path/source")).open
    closed = heard(bare("path/source"), station_record=record)
    assert "response" in open_before and "response" not in closed.open
    found = {finding.alternative: finding for finding in closed.findings}
    assert "record" in found["response"].witness


def test_nothing_is_computed_twice_and_programs_can_read_it(sequences, tmp_path):
    first = foreshap.run_controls(sequences("undecided")[0], 1, tmp_path / "kept")
    files = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "kept").iterdir()}
    second = foreshap.run_controls(sequences("undecided")[0], 1, tmp_path / "kept")
    assert files == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "kept").iterdir()}
    pd.testing.assert_frame_equal(first.table, second.table, check_dtype=False)
    assert [str(f) for f in first.findings] == [str(f) for f in second.findings]
    other = foreshap.run_controls(sequences("catalogue")[0], 1, tmp_path / "kept")
    assert other.verdict == "catalogue"  # kept for another file: computed anew
    s = sequences("undecided")[0]
    turned = replace(s, labels=1 - s.labels)
    kept = foreshap.run_controls(turned, 1, tmp_path / "kept").table
    pd.testing.assert_frame_equal(kept, foreshap.run_controls(turned, 1).table, check_dtype=False)
    assert (s.path.parent / FILE_NAME).exists()
    foreshap.write_verdict(second, tmp_path / "verdict.json", dataset="simulated")
    content = json.loads((tmp_path / "verdict.json").read_text())
    assert content["verdict"] == "undecided" and content["dataset"] == "simulated"
    assert len(content["rows"]) == len(second.table) and content["open"] == second.open
    assert len(content["findings"]) == len(second.findings)
    assert {"alternative", "state", "saw", "could_see", "decides"} <= set(content["findings"][0])
