"""Witnesses of catalogue, recorder and stations: known answers, and when they are mute."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap.controls.day_blocks import day_blocks
from foreshap.controls.evidence import Evidence, gather_evidence
from foreshap.controls.features import catalogue
from foreshap.controls.joined_rule import examine_catalogue
from foreshap.controls.witnesses import place
from foreshap.controls.witnesses.catalogue import (
    examine_completeness,
    examine_hours,
    examine_picks,
    examine_size,
    scale_shift,
)
from foreshap.controls.witnesses.finding import STATES
from foreshap.controls.witnesses.physical_units import measure_units
from foreshap.controls.witnesses.recorder import (
    examine_clipping,
    examine_instrument,
    examine_native_rate,
    examine_record_length,
    examine_sample_step,
)
from foreshap.controls.witnesses.second_events import examine_second_events
from foreshap.controls.witnesses.station_record import examine_station_record
from foreshap.controls.witnesses.stations import examine_stations, paired_events
from foreshap.preprocessing.cross_spectra import load_cross_spectra

VARIANT = foreshap.VARIANTS["P64"]
PER_HZ = 2 * np.pi * np.log10(np.e)  # log10 of power that a t* of 1 s takes, for each Hz


def made(n=600, t_star=0.0, scale=0.0, larger=0.0, station="AA", seed=1, signal_seed=2):
    """Evidence of n events whose aftershocks differ by what is asked for.

    t_star: of S [s]; scale: magnitudes that mean more; larger: magnitude
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n // 2)
    lag = np.sort(rng.uniform(0.1, 60, (2, n // 2)))
    days = np.concatenate([-lag[0][::-1], lag[1]])
    times = pd.Timestamp("2016-10-30", tz="UTC") + pd.to_timedelta(days, unit="D")
    magnitude = rng.exponential(0.5, n) + 1 + larger * labels
    east, north = rng.normal(4, 4, n), rng.normal(5, 4, n)
    depth = np.abs(rng.normal(8, 2, n))
    km = np.sqrt(east**2 + north**2 + depth**2) + rng.normal(0, 0.3, n)
    s_p = km / 8
    table = pd.DataFrame(
        {
            "trace_name": [f"{station}.XX.{i:04d}_EV" for i in range(n)],
            "trace_start_time": times.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "receiver_name": station,
            "receiver_latitude": 42.0,
            "receiver_longitude": 13.0,
            "source_id": [f"{i:04d}" for i in range(n)],
            "source_magnitude": magnitude,
            "source_depth_km": depth,
            "source_latitude": 42.0 + north / 111.19,
            "source_longitude": 13.0 + east / (111.19 * np.cos(np.radians(42))),
            "p_s_diff_sec": s_p,
            "label": labels,
        }
    )
    columns = catalogue(table)
    columns["east"] = columns["distance"] * columns["azimuth, sine"]
    columns["north"] = columns["distance"] * columns["azimuth, cosine"]
    own = 1.2 * (magnitude + scale * labels) + 0.1 * rng.normal(size=n)
    rng = np.random.default_rng(signal_seed)
    frequencies = VARIANT.frequencies
    spectra = 0.1 * rng.normal(size=(n, 6, 3, len(frequencies)))
    spectra[:, 1:] += np.array([3.0, 4.0, 3.5, 3.2, 3.0])[:, None, None]
    spectra[:, 1:] += own[:, None, None, None] + 0.1 * rng.normal(size=(n, 5, 1, 1))
    spectra[:, 2] -= (t_star * labels)[:, None, None] * PER_HZ * frequencies
    measurements = pd.DataFrame(
        {
            "p_onset": 0.02 * rng.normal(size=n),
            "s_onset": 0.05 * rng.normal(size=n),
            "second_onset": rng.uniform(1, 9, n),
            "second_contrast": np.where(rng.random(n) < 0.1, 9.0, 1.5),
            "level_below_corner": own,
            "peaks_near_extreme": 1,
            "smallest_step": 1.0,
        }
    )
    return Evidence(
        labels=labels,
        days=days,
        blocks=day_blocks(days, labels),
        table=table,
        catalogue=columns,
        measurements=measurements,
        cross=None,
        cross_frequencies=None,
        tensor_spectra=spectra.astype(np.float32),
        own_size=own,
        clean=np.ones(n, bool),
        left_out={},
        variant=VARIANT,
        calibrated=True,
    )


def with_columns(evidence, **columns):
    """The evidence with other measurements."""
    return replace(evidence, measurements=evidence.measurements.assign(**columns))


def without(evidence, *names):
    """The evidence without columns of the catalogue."""
    return replace(evidence, catalogue=evidence.catalogue.drop(columns=list(names)))


@pytest.fixture(scope="module")
def nothing():
    return made()


@pytest.fixture(scope="module")
def attenuated():
    return made(t_star=0.010)


def test_nothing_is_excluded_by_all_and_each_says_what_it_could_have_seen(nothing):
    findings = examine_catalogue(nothing)
    assert {finding.alternative for finding in findings} == {
        "second events", "size", "completeness", "picks", "place", "depth", "hours", "clipping",
        "sample step", "record length", "native rate",
    }  # fmt: skip
    for finding in findings:
        assert finding.state == "excluded", finding
        assert finding.saw and finding.could_see and not finding.decides


def test_a_change_of_the_path_excludes_all(attenuated):
    assert {finding.state for finding in examine_catalogue(attenuated)} <= {"excluded", "survived"}


# ------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("scale", [0.3, -0.3])
def test_another_magnitude_scale_is_shown_with_its_shift(scale):
    evidence = made(scale=scale)
    value, low, high = scale_shift(evidence)
    assert abs(value - scale) < 0.05 and low < value < high
    finding = examine_size(evidence)
    assert finding.state == "shown" and finding.group == "catalogue"
    assert "a second station" in finding.decides


def test_larger_events_with_true_magnitudes_keep_their_scale_and_show_in_completeness():
    evidence = made(larger=0.4)
    assert examine_size(evidence).state == "excluded"
    assert examine_completeness(evidence).state == "shown"


def test_a_change_of_the_path_survives_larger_events():
    evidence = made(larger=0.4, t_star=0.010)
    finding = examine_completeness(evidence)
    assert finding.state == "survived" and finding.acquits


def test_without_magnitudes_own_sizes_show_and_never_acquit(attenuated):
    larger = without(made(larger=0.4), "magnitude")
    assert examine_size(larger).state == "shown"
    path = without(made(larger=0.4, t_star=0.010), "magnitude")
    for evidence in (path, without(attenuated, "magnitude")):
        finding = examine_size(evidence)
        assert finding.state == "open" and "without magnitudes" in finding.could_see


def test_without_an_own_size_the_witness_is_mute(nothing):
    for own in (None, np.full(len(nothing.labels), np.nan)):
        finding = examine_size(replace(nothing, own_size=own))
        assert finding.state == "open" and "mute" in finding.could_see and finding.decides
    neither = without(replace(nothing, own_size=None), "magnitude")
    assert examine_completeness(neither).state == "open"


# -------------------------------------------------------------------------- second events and picks


def test_second_events_are_left_out_and_weighed_by_those_unseen(nothing):
    often = np.where(nothing.labels == 1, 0.9, 0.05)
    rng = np.random.default_rng(0)
    second = rng.random(len(often)) < often
    evidence = with_columns(nothing, second_contrast=np.where(second, 9.0, 1.5))
    quiet = evidence.tensor_spectra.copy()
    quiet[:, 3:] -= 2
    finding = examine_second_events(replace(evidence, tensor_spectra=quiet))
    assert finding.state == "excluded" and (finding.keep == ~second).all()  # all are seen here
    finding = examine_second_events(evidence)  # in this coda a tenth of them drowns
    assert finding.state == "shown" and finding.low > 0.03
    loud = evidence.tensor_spectra.copy()
    loud[:, 3:] += 3.0
    finding = examine_second_events(replace(evidence, tensor_spectra=loud))
    assert finding.state == "open" and finding.could_see.startswith("mute")


def test_a_change_survives_second_events_that_are_named_beside_it(attenuated):
    rng = np.random.default_rng(0)
    second = rng.random(len(attenuated.labels)) < np.where(attenuated.labels == 1, 0.8, 0.05)
    contrast = np.where(second, 9.0, 1.5)
    finding = examine_second_events(with_columns(attenuated, second_contrast=contrast))
    assert finding.state == "survived" and finding.named and finding.low > 0.03


@pytest.mark.parametrize(
    ("column", "late", "state"),
    [("p_onset", 0.25, "shown"), ("s_onset", -0.3, "shown"), ("p_onset", 0.03, "excluded")],
)
def test_picks_of_one_class_that_are_off(nothing, column, late, state):
    values = nothing.measurements[column] + late * nothing.labels
    assert examine_picks(with_columns(nothing, **{column: values})).state == state


def test_at_own_onsets_a_change_survives_bad_picks(attenuated):
    early = attenuated.measurements["p_onset"] + 0.25 * attenuated.labels
    assert examine_picks(with_columns(attenuated, p_onset=early)).state == "survived"


# ------------------------------------------------------------------------------------ place, hours


def moved(evidence, east=0.0, depth=0.0, error=0.0, seed=0):
    """The evidence with aftershocks elsewhere, whose place the signal follows; then with errors."""
    columns = evidence.catalogue.copy()
    columns["east"] += east * evidence.labels
    columns["depth"] += depth * evidence.labels
    spectra = evidence.tensor_spectra.copy()
    follows = 0.1 * (columns["east"] - 4 + columns["depth"] - 8).to_numpy()
    spectra[:, 2] += follows[:, None, None] * VARIANT.frequencies / 50
    km = np.linalg.norm(columns[list(place.PLACE)], axis=1)
    columns["S-P"] = np.log10(km / 8)
    rng = np.random.default_rng(seed)
    for name in place.PLACE:
        columns[name] += error * rng.normal(size=len(columns))
    return replace(evidence, catalogue=columns, tensor_spectra=spectra)


def test_location_error_is_that_of_the_hypocentres(nothing):
    assert place.location_error(moved(nothing)) < 0.05
    assert abs(place.location_error(moved(nothing, error=1.0)) - 1.0) < 0.2


def test_other_places_and_depths_are_shown(nothing):
    nothing = nothing.only(np.arange(600) % 2 == 0)
    assert place.examine_place(moved(nothing, east=6.0)).state == "shown"
    evidence = moved(nothing, depth=3.0)
    finding = place.examine_depth(evidence)
    assert finding.state == "shown" and finding.low > 0.6
    assert place.examine_place(evidence).state == "shown"


def test_poor_hypocentres_acquit_nobody(nothing, attenuated):
    poor = moved(nothing, error=6.0)
    finding = place.examine_place(poor)
    assert finding.state == "open" and "errors of" in finding.could_see
    shown = place.examine_place(moved(attenuated, east=9.0, error=6.0))
    assert shown.state == "shown"
    nowhere = without(nothing, "east", "north", "depth")
    assert place.examine_place(nowhere).state == "open"
    assert place.examine_depth(nowhere).state == "open"


def test_hours_that_make_the_signal_are_shown(nothing):
    hour = np.where(nothing.labels == 1, 12.0, np.arange(len(nothing.labels)) % 24)
    times = pd.to_datetime(nothing.table["trace_start_time"]).dt.normalize()
    times = times + pd.to_timedelta(hour, unit="h")
    table = nothing.table.assign(trace_start_time=times.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    spectra = nothing.tensor_spectra.copy()
    spectra[:, 2] += 0.3 * np.cos(2 * np.pi * hour / 24)[:, None, None]
    columns = nothing.catalogue.drop(columns=["hour, sine", "hour, cosine"])
    evidence = replace(nothing, table=table, catalogue=columns, tensor_spectra=spectra)
    finding = examine_hours(evidence)
    assert finding.state == "shown" and finding.low > 0.55
    table = nothing.table.drop(columns="trace_start_time")
    assert examine_hours(replace(nothing, table=table)).state == "open"


# ------------------------------------------------------------------------------------ the recorder


def test_clipped_records_of_one_class(nothing, attenuated):
    rng = np.random.default_rng(0)
    clipped = (rng.random(len(nothing.labels)) < 0.3) & (nothing.labels == 1)
    peaks = np.where(clipped, 8, 1)
    finding = examine_clipping(with_columns(nothing, peaks_near_extreme=peaks))
    assert finding.state == "shown" and (finding.keep == ~clipped).all()
    finding = examine_clipping(with_columns(attenuated, peaks_near_extreme=peaks))
    assert finding.state == "survived"


def test_another_sample_step_is_shown(nothing):
    step = np.where(nothing.labels == 1, 16.0, 1.0)
    finding = examine_sample_step(with_columns(nothing, smallest_step=step))
    assert finding.state == "shown" and finding.measured == pytest.approx(16)


def test_records_that_end_early_are_shown(nothing):
    spectra = nothing.tensor_spectra.copy()
    spectra[nothing.labels == 1, 5] = np.nan
    finding = examine_record_length(replace(nothing, tensor_spectra=spectra))
    assert finding.state == "shown" and finding.measured == pytest.approx(1)


def test_a_digital_filters_edge_is_shown_and_a_steep_path_is_not(nothing):
    spectra = nothing.tensor_spectra.copy()
    after = nothing.labels == 1
    spectra[after] -= np.where(VARIANT.frequencies > 22.5, 4.0, 0.0).astype(np.float32)
    finding = examine_native_rate(replace(nothing, tensor_spectra=spectra))
    assert finding.state == "shown" and "22 Hz" in finding.saw or "19 Hz" in finding.saw
    assert examine_native_rate(made(n=200, t_star=0.03)).state == "excluded"


def test_without_measurements_those_that_need_them_are_mute(nothing):
    findings = examine_catalogue(replace(nothing, measurements=None, calibrated=False))
    mute = {finding.alternative for finding in findings if finding.state == "open"}
    assert mute == {"second events", "picks", "clipping", "sample step", "native rate"}
    for finding in findings:
        assert finding.state in STATES
        assert finding.state != "open" or ("mute" in finding.could_see and finding.decides)


def test_no_column_is_needed(nothing):
    table = nothing.table[["trace_name", "label"]]
    bare = replace(
        nothing,
        table=table,
        catalogue=catalogue(table),
        measurements=None,
        own_size=None,
        days=np.full(len(table), np.nan),
    )
    findings = examine_catalogue(bare)
    assert {f.alternative for f in findings if f.state == "excluded"} == {
        "record length",
        "native rate",
    }
    assert len(measure_units(bare)) == 9


# ---------------------------------------------------------------------------- the station's record

XML = (
    '<FDSNStationXML xmlns="http://www.fdsn.org/xml/station/1"><Network code="XX">'
    '<Station code="AA">{}</Station></Network></FDSNStationXML>'
)
EPOCH = '<Channel code="HHZ" startDate="{}"{}/>'


@pytest.mark.parametrize(
    ("text", "state", "says"),
    [
        ("start,end\n2010-01-01,\n", "excluded", "covers all events"),
        ("station,start,end\nBB,2010-01-01,\n", "open", "does not cover"),
        ("start,end\n2010-01-01,2016-10-30\n2016-10-30,\n", "open", "between the classes"),
        ("start,end\n2010-01-01,\n,\n", "excluded", "covers all events"),
        ("date\n2016-01-01\n2017-03-01\n", "excluded", "covers all events"),
        ("date\n2016-01-01\n2016-10-05\n2017-03-01\n", "open", "among the events: 2016-10-05"),
        ("date\n2016-01-01\n", "open", "does not cover"),
        (XML.format(EPOCH.format("2010-01-01T00:00:00", "")), "excluded", "covers all events"),
        (
            XML.format(
                EPOCH.format("2010-01-01T00:00:00", ' endDate="2016-10-30T00:00:00"')
                + EPOCH.format("2016-10-30T00:00:00", ' endDate="2599-12-31T23:59:59"')
            ),
            "open",
            "between the classes: 2016-10-30",
        ),
    ],
)
def test_a_stations_record_closes_the_response_or_leaves_it_open(
    nothing, tmp_path, text, state, says
):
    path = tmp_path / "record"
    path.write_text(text)
    finding = examine_station_record(replace(nothing, station_record=path))
    assert finding.alternative == "response" and finding.state == state
    assert says in finding.saw + finding.could_see


@pytest.mark.parametrize(
    "text",
    ["", "name\nx\n", "start,end\nsoon,\n", "<a", '<!DOCTYPE a [<!ENTITY b "c">]><a/>', "<a/>"],
)
def test_a_record_that_is_none_is_refused_in_one_sentence(nothing, tmp_path, text):
    path = tmp_path / "record.csv"
    path.write_text(text)
    with pytest.raises(foreshap.ForeshapError, match="record.csv"):
        examine_station_record(replace(nothing, station_record=path))
    with pytest.raises(foreshap.ForeshapError, match="can't be read"):
        examine_station_record(replace(nothing, station_record=tmp_path / "absent.xml"))


def test_without_times_the_response_stays_open(nothing, tmp_path):
    path = tmp_path / "record.csv"
    path.write_text("start,end\n2010-01-01,\n")
    table = nothing.table.drop(columns="trace_start_time")
    assert (
        examine_station_record(replace(nothing, table=table, station_record=path)).state == "open"
    )


# ---------------------------------------------------------------------------------------- stations


def joined(*parts):
    """Evidence of several stations."""
    joined = {}
    for field in fields(Evidence):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], pd.DataFrame):
            joined[field.name] = pd.concat(values, ignore_index=True)
        elif isinstance(values[0], np.ndarray):
            joined[field.name] = np.concatenate(values)
    return replace(parts[0], **joined)


def test_the_same_change_at_two_stations_excludes_one_alone(attenuated):
    other = made(t_star=0.010, station="BB", signal_seed=3)
    rows = np.random.default_rng(0).permutation(len(other.labels))[:500]
    evidence = joined(attenuated, other.only(np.isin(np.arange(len(other.labels)), rows)))
    names, first, second = paired_events(evidence)
    assert names == ("AA", "BB") and len(first.labels) == len(second.labels) == 500
    assert (first.table["source_id"].to_numpy() == second.table["source_id"].to_numpy()).all()
    finding = examine_stations(evidence)
    assert finding.state == "excluded" and finding.low > 0.55


def test_a_change_at_one_station_alone_is_the_stations(attenuated):
    finding = examine_stations(joined(attenuated, made(station="BB", signal_seed=3)))
    assert finding.state == "shown" and finding.group == "station"


def test_one_station_or_no_shared_earthquakes_are_mute(nothing):
    assert examine_stations(nothing).state == "open"
    other = made(station="BB")
    other = replace(other, table=other.table.assign(source_id=other.table["source_id"] + "b"))
    assert "mute" in examine_stations(joined(nothing, other)).could_see


# ----------------------------------------------------------------------------------- physical units


def test_t_star_of_s_is_measured_in_milliseconds_per_component(attenuated):
    table = measure_units(attenuated).set_index(["quantity", "component"])
    for component in ("together", "E", "N", "Z"):
        row = table.loc[("t* of S", component)]
        assert row["low"] < 10 < row["high"] and row["high"] - row["low"] < 2
        assert row["unexplained"] < 0.05
    row = table.loc[("t* of P", "together")]
    assert row["low"] < 0.3 and row["high"] > -0.3
    assert np.isfinite(table.loc[("kappa", "together"), "measured"])


def test_the_default_simulations_t_star_lies_in_the_interval(demo):
    tensors = foreshap.load_spectrograms(demo.folder / "P64.h5")
    evidence = gather_evidence(tensors, load_cross_spectra(demo.folder))
    table = measure_units(evidence.only(evidence.clean)).set_index(["quantity", "component"])
    relative = np.median(evidence.table["p_s_diff_sec"]) / 1.2  # the path's t* grows with S-P
    known = {"t* of S": 10.0 * relative, "t* of P": 6.0 * relative, "kappa": 0.0}
    for name, milliseconds in known.items():
        row = table.loc[(name, "together")]
        assert row["low"] < milliseconds < row["high"], name
    assert table.loc[("t* of S", "together"), "low"] > 8


def test_another_rate_that_the_source_states_is_shown(nothing):
    assert examine_instrument(nothing) is None  # nothing is stated
    table = nothing.table.assign(recorded_rate_hz=100.0, recorded_step=nothing.labels + 1.0)
    assert examine_instrument(replace(nothing, table=table)).state == "excluded"
    table["recorded_rate_hz"] = np.where(nothing.labels == 1, 125.0, 100.0)
    finding = examine_instrument(replace(nothing, table=table))
    assert finding.state == "shown" and finding.group == "station"
    assert "recorded_rate_hz is 100.0 in foreshocks, 125.0 in aftershocks" in finding.saw


def test_what_is_no_attenuation_remains_unexplained(nothing):
    spectra = nothing.tensor_spectra.copy()
    hump = np.exp(-0.5 * ((VARIANT.frequencies - 15) / 3) ** 2)
    spectra[nothing.labels == 1, 2] += 0.3 * hump.astype(np.float32)
    table = measure_units(replace(nothing, tensor_spectra=spectra))
    of_s = table[table["quantity"] == "t* of S"]
    assert (of_s["unexplained"] > 0.5).all()
