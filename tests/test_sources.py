"""Known answers for the import of continuous recordings and for the declared datasets."""

import datetime
import shutil
from pathlib import Path

import h5py
import numpy as np
import obspy
import pandas as pd
import pytest
from obspy.core import event as quakeml
from scipy.signal import resample

from foreshap import from_continuous, to_seisbench
from foreshap.files import ForeshapError
from foreshap.preprocessing.periods import periods
from foreshap.preprocessing.variants import SIDES
from foreshap.preprocessing.waveforms import (
    COLUMNS,
    INSTRUMENT_COLUMNS,
    REASONS,
    event_times,
    offered_traces,
    read_table,
    stations,
)
from foreshap.sources.datasets import datasets, mainshock_time, waveform_folder

START = obspy.UTCDateTime("2020-01-01T00:00:00")
MAINSHOCK = "2020-01-01T00:05:00"
IQUIQUE = Path(__file__).parents[2] / "shared/data/iquique"


def counts(seed, seconds=600, rate=100):
    return np.random.default_rng(seed).integers(-(2**20), 2**20, seconds * rate, dtype=np.int32)


def record(folder, channels, start=START, rate=100.0, name="all.mseed", station="TST", location=""):
    """Write channels (code -> samples, or pieces as (seconds, samples)) as one miniSEED file."""
    stream = obspy.Stream()
    for code, pieces in channels.items():
        for later, samples in pieces if isinstance(pieces, list) else [(0, pieces)]:
            header = {"network": "NA", "station": station, "location": location, "channel": code}
            stream += obspy.Trace(
                samples, header | {"starttime": start + later, "sampling_rate": rate}
            )
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    stream.write(str(folder / name), format="MSEED")
    return {
        code: np.asarray(samples)
        for code, samples in channels.items()
        if not isinstance(samples, list)
    }


def three(folder, **options):
    return record(folder, {"HHE": counts(1), "HHN": counts(2), "HHZ": counts(3)}, **options)


def picks_csv(path, *pairs, station="TST", **columns):
    """Write pairs (event, P, S) in seconds after START, None for a missing time."""
    times = [[None if t is None else str(START + t) for t in pair[1:]] for pair in pairs]
    table = {"event_id": [pair[0] for pair in pairs], "network": "NA", "station": station}
    table |= {"p_time": [p for p, _ in times], "s_time": [s for _, s in times]} | columns
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def picks_xml(path, *pairs):
    catalog = quakeml.Catalog()
    for name, *times in pairs:
        where = quakeml.WaveformStreamID("NA", "TST")
        picks = []
        for hint, t in zip(("Pn", "s"), times):
            if t is not None:
                picks.append(quakeml.Pick(time=START + t, phase_hint=hint, waveform_id=where))
        catalog.append(quakeml.Event(resource_id=f"smi:local/{name}", picks=picks[::-1]))
    catalog.write(str(path), format="QUAKEML")
    return path


def layout(folder, station="TST"):
    """All traces (name -> array) and both tables of a station."""
    traces = {}
    for period in SIDES:
        with h5py.File(folder / f"{station}_{period}.hdf5") as file:
            traces |= {name: file[name][:] for name in file}
    return traces, [read_table(folder, station, period) for period in SIDES]


@pytest.mark.parametrize("p, first", [(100.0, 9500), (100.004, 9500), (100.006, 9501)])
def test_samples_are_the_recorded_ones(tmp_path, p, first):
    data = three(tmp_path / "in")
    picks = picks_csv(tmp_path / "picks.csv", ("007", p, p + 12), snr=[4.5])
    report = from_continuous(tmp_path / "in", picks, tmp_path / "out", MAINSHOCK)
    traces, (table, _) = layout(tmp_path / "out")
    assert (report.written, len(report.rejected), list(traces)) == (1, 0, ["TST.NA.007_EV"])
    samples = traces["TST.NA.007_EV"]
    assert samples.dtype == np.int32 and samples.shape == (3, 3300)  # 5 s + 12 s + 15 s + 1 s
    expected = [data[f"HH{component}"][first : first + 3300] for component in "ENZ"]
    np.testing.assert_array_equal(samples, expected)
    assert table["trace_start_time"][0] == str(START + first / 100)
    assert abs((event_times(table)[0] - pd.Timestamp(str(START + p))).total_seconds()) <= 0.005
    instrument = [name for name in INSTRUMENT_COLUMNS if name not in COLUMNS]
    assert list(table) == [*COLUMNS, *instrument, "clipped", "snr"]
    assert table["recorded_rate_hz"][0] == 100 and table["recorded_step"][0] > 0
    assert table["snr"][0] == 4.5 and table["p_s_diff_sec"][0] == 12
    assert (
        ",NA,TST,HH," in (tmp_path / "out/TST_pre_attributes.csv").read_text()
        and table["source_id"][0] == "007"
    )


def test_components_off_by_a_part_of_a_sample_stay_within_half_a_sample(tmp_path):
    east, north, vertical = counts(1), counts(2), counts(3)
    record(tmp_path / "in", {"HHE": [(0.004, east)], "HHN": [(-0.004, north)], "HHZ": vertical})
    from_continuous(
        tmp_path / "in",
        picks_csv(tmp_path / "p.csv", ("a", 100.0045, 101)),
        tmp_path / "out",
        MAINSHOCK,
    )
    samples = layout(tmp_path / "out")[0]["TST.NA.a_EV"]
    np.testing.assert_array_equal(samples[:, 0], [east[9500], north[9500], vertical[9500]])


def test_csv_and_quakeml_give_the_same_layout(tmp_path):
    three(tmp_path / "in")
    pairs = ("b", 400.123, 405), ("a", 100.456, 103), ("c", 200, None)
    from_continuous(
        tmp_path / "in", picks_csv(tmp_path / "picks.csv", *pairs), tmp_path / "1", MAINSHOCK
    )
    from_continuous(
        tmp_path / "in", picks_xml(tmp_path / "picks.xml", *pairs), tmp_path / "2", MAINSHOCK
    )
    (one, tables), (two, others) = layout(tmp_path / "1"), layout(tmp_path / "2")
    assert list(one) == list(two) == ["TST.NA.a_EV", "TST.NA.c_EV", "TST.NA.b_EV"]
    assert tables[0]["p_s_diff_sec"].isna().tolist() == [False, True]  # P alone serves P
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    for table, other in zip(tables, others):
        pd.testing.assert_frame_equal(table, other)
    assert (tmp_path / "1/import_rejected.csv").read_text() == (
        tmp_path / "2/import_rejected.csv"
    ).read_text()


def test_each_pair_that_cannot_be_cut_has_its_reason(tmp_path):
    north = counts(2)
    pieces = {
        "HHE": counts(1),
        "HHN": [(0, north[:20000]), (200.05, north[20005:50000])],
        "HHZ": counts(3),
    }
    record(tmp_path / "in", pieces)
    (tmp_path / "in/README.md").write_text("no recording")
    reasons = {
        "gap": (190, 192, "gap inside the window"),
        "late": (480, 485, "window runs beyond the recording"),
        "early": (4.9, 9, "window runs beyond the recording"),
        "two": (550, 552, "component missing"),
        "never": (5000, 5002, "no waveform at this time"),
        "swapped": (100, 99, "S-P zero or negative"),
        "same": (100, 100, "S-P zero or negative"),
        "long": (100, 1101, "S-P longer than 1000 s"),
        "no_p": (None, 99, "P missing"),
    }
    pairs = [(name, p, s) for name, (p, s, _) in reasons.items()] + [
        ("good", 50, 52),
        ("good", 51, 53),
    ]
    report = from_continuous(
        tmp_path / "in", picks_csv(tmp_path / "p.csv", *pairs), tmp_path / "out", MAINSHOCK
    )
    expected = {f"TST.NA.{name}_EV": reason for name, (_, _, reason) in reasons.items()}
    expected["TST.NA.good_EV (2)"] = "duplicate name"
    assert report.written == 1 and len(report.rejected) == len(pairs) - 1
    assert dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == expected
    offered = offered_traces(tmp_path / "out").set_index("trace_name")
    assert offered["reason"].to_dict() == expected | {"TST.NA.good_EV": ""} and set(
        expected.values()
    ) < set(REASONS)
    assert list(layout(tmp_path / "out")[0]) == ["TST.NA.good_EV"]
    elsewhere = picks_csv(tmp_path / "p.csv", ("x", 100, 102), station="ELSE")
    report = from_continuous(tmp_path / "in", elsewhere, tmp_path / "else", MAINSHOCK)
    assert report.written == 0 and list(report.rejected["reason"]) == [
        "no waveform of this station",
        "P missing",
    ]


def test_a_window_that_just_fits_is_written(tmp_path):
    data = three(tmp_path / "in")
    picks = picks_csv(tmp_path / "p.csv", ("first", 5, 6), ("last", 579, 580))
    assert from_continuous(tmp_path / "in", picks, tmp_path / "out", MAINSHOCK).written == 2
    np.testing.assert_array_equal(
        layout(tmp_path / "out")[0]["TST.NA.last_EV"][0], data["HHE"][-2600:]
    )


def test_stations_of_two_imports_are_not_mixed(tmp_path):
    three(tmp_path / "in")
    three(tmp_path / "in", name="other.mseed", station="TWO")
    here, there = (
        picks_csv(tmp_path / f"{s}.csv", ("a", 100, 102), station=s) for s in ("TST", "TWO")
    )
    from_continuous(tmp_path / "in", here, tmp_path / "out", MAINSHOCK)
    before = {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()
    }
    with pytest.raises(ForeshapError, match="TST_p.*another import"):
        from_continuous(tmp_path / "in", there, tmp_path / "out", MAINSHOCK)
    assert before == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()
    }
    from_continuous(
        tmp_path / "in", here, tmp_path / "out", MAINSHOCK
    )  # the same again is no mixture


def test_the_mainshock_parts_the_classes(tmp_path):
    three(tmp_path / "in")
    picks = picks_csv(
        tmp_path / "p.csv", ("before", 299.9, 302), ("at", 300, 302), ("after", 310, 312)
    )
    from_continuous(tmp_path / "in", picks, tmp_path / "out", MAINSHOCK)
    pre, post = layout(tmp_path / "out")[1]
    assert (list(pre["source_id"]), list(post["source_id"])) == (["before"], ["at", "after"])


@pytest.mark.parametrize("rate, top", [(200, 80), (50, 18), (40, 15), (125, 55)])
def test_other_rates_agree_with_fourier_resampling(tmp_path, rate, top):
    frequency = np.fft.rfftfreq(600 * rate, 1 / rate)
    rng = np.random.default_rng(0)
    spectrum = (
        np.exp(2j * np.pi * rng.random(len(frequency)))
        * (frequency > 0.5)
        * (frequency < 20 * top / 80)
    )
    spectrum[round(600 * top)] = 0.3 * np.abs(spectrum).sum()  # above 50 Hz it must vanish
    signal = np.fft.irfft(spectrum, 600 * rate)
    data = np.rint(1e6 * signal / np.abs(signal).max()).astype(np.int32) + 500_000
    record(tmp_path / "in", dict.fromkeys(("HHE", "HHN", "HHZ"), data), rate=rate)
    from_continuous(
        tmp_path / "in",
        picks_csv(tmp_path / "p.csv", ("a", 100.013, 103)),
        tmp_path / "out",
        MAINSHOCK,
    )
    traces, (table, _) = layout(tmp_path / "out")
    first = obspy.UTCDateTime(table["trace_start_time"][0]) - START
    expected = resample(resample(data.astype(float), 60000), 600_000)[round(1000 * first) :: 10][
        :2600
    ]
    assert abs(first - 95.013) <= 0.005 + 1e-9
    assert np.abs(traces["TST.NA.a_EV"] - expected).max() < 0.01 * np.abs(expected - 500_000).max()


def test_a_window_crosses_from_one_day_file_to_the_next(tmp_path):
    midnight = START + 300
    codes = dict(zip(("HHE", "HHN", "HHZ"), (counts(1), counts(2), counts(3))))
    for code, samples in codes.items():
        record(tmp_path, {code: samples[:30000]}, name=f"in/{code}.D/NA.TST..{code}.D.2019.365")
        record(
            tmp_path,
            {code: samples[30000:]},
            midnight,
            name=f"in/{code}.D/NA.TST..{code}.D.2020.001",
        )
    picks = picks_csv(tmp_path / "p.csv", ("a", 298, 301))
    assert from_continuous(tmp_path / "in", picks, tmp_path / "out", MAINSHOCK).written == 1
    expected = [samples[29300:31900] for samples in codes.values()]
    np.testing.assert_array_equal(layout(tmp_path / "out")[0]["TST.NA.a_EV"], expected)


def test_one_instrument_serves_all_events(tmp_path):
    strong = {f"EN{c}": counts(7) for c in "ENZ"} | {"EHZ": counts(8)}
    data = record(tmp_path / "in", strong | {f"HH{c}": counts(1) for c in "ENZ"}, location="10")
    record(tmp_path / "in", {f"HH{c}": counts(9, 200) for c in "ENZ"}, name="short", location="00")
    picks = picks_csv(tmp_path / "p.csv", ("a", 100, 102), ("b", 400, 402))
    from_continuous(tmp_path / "in", picks, tmp_path / "out", MAINSHOCK)
    traces = layout(tmp_path / "out")[0]
    np.testing.assert_array_equal(traces["TST.NA.a_EV"][0], data["HHE"][9500:12100])
    from_continuous(tmp_path / "in", picks, tmp_path / "strong", MAINSHOCK, instrument="10.E*")
    traces, (pre, _) = layout(tmp_path / "strong")
    assert traces["TST.NA.a_EV"][0, 0] == counts(7)[9500] and pre["receiver_type"][0] == "EN"


def test_declared_datasets_are_built_once(tmp_path):
    three(tmp_path / "in")
    picks_csv(tmp_path / "picks.csv", ("a", 100, 102), ("b", 100, 99))
    (tmp_path / "datasets.toml").write_text(
        '[real]\nsource = "continuous"\nwaveforms = "in"\npicks = "picks.csv"\n'
        "mainshock = 2020-01-01T00:05:00Z\n"
        '[demo]\nsource = "simulated"\nseed = 1\n'
        '[own]\nsource = "layout"\nwaveforms = "own"\nmainshock = 2020-01-01\n'
        '[odd]\nsource = "web"\n[poor]\nsource = "layout"\n'
    )
    folder = waveform_folder("real", tmp_path)
    assert folder == tmp_path / "real/waveforms" and stations(folder) == ["TST"]
    assert list(pd.read_csv(folder / "import_rejected.csv")["reason"]) == ["S-P zero or negative"]
    (folder / "TST_pre.hdf5").write_bytes(b"kept")
    assert (waveform_folder("real", tmp_path) / "TST_pre.hdf5").read_bytes() == b"kept"
    stale = tmp_path / "demo/noise/P64.h5"
    for n_events in (4, 6):  # another request is another dataset
        demo = waveform_folder("demo", tmp_path, n_events=n_events)
        assert sum(len(read_table(demo, "DEMO", period)) for period in SIDES) == n_events
        assert not stale.exists()
        stale.parent.mkdir(exist_ok=True)
        stale.touch()
    waveform_folder("demo", tmp_path, n_events=6)  # what was made of the same waveforms stays
    assert stale.exists()
    shutil.rmtree(stale.parent)
    assert mainshock_time("real", tmp_path) == pd.Timestamp(MAINSHOCK, tz="UTC")
    assert mainshock_time("demo", tmp_path) == pd.Timestamp("2016-10-30T06:40:17", tz="UTC")
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "waveforms"
    }  # nothing half done is left
    said = {"own": "_pre.hdf5", "none": "real, demo, own", "odd": "web", "poor": "mainshock"}
    for name, words in said.items():
        with pytest.raises(ForeshapError, match=words):
            waveform_folder(name, tmp_path)


def test_a_dataset_is_built_anew_when_its_files_change_and_stays_when_they_are_gone(tmp_path):
    three(tmp_path / "in")
    (tmp_path / "datasets.toml").write_text(
        '[real]\nsource = "continuous"\nwaveforms = "in"\npicks = "picks.csv"\n'
        "mainshock = 2020-01-01T00:05:00Z\n"
    )

    def written():
        folder = waveform_folder("real", tmp_path)
        return [len(read_table(folder, "TST", period)) for period in SIDES]

    picks_csv(tmp_path / "picks.csv", ("a", 100, 102))
    assert written() == [1, 0]
    picks_csv(tmp_path / "picks.csv", ("a", 100, 102), ("b", 400, 402))
    assert written() == [1, 1]
    shutil.rmtree(tmp_path / "in")
    assert written() == [1, 1]


CONTINUOUS = 'source = "continuous"\nwaveforms = "in"\npicks = "p.csv"\nmainshock = 2020-01-01\n'


@pytest.mark.parametrize(
    "declared, words",
    [
        (CONTINUOUS + "left_ou = [2019-12-31, 2020-01-02]", "unknown field `left_ou`.* left_out, "),
        (
            'source = "layout"\nwaveforms = "own"\nmainshock = 2020-01-01\nend = 2020-01-02',
            "end.* its classes with it",
        ),
        ('source = "simulated"\nmainshock = 2020-01-01', "unknown field `mainshock`.* n_events"),
        (CONTINUOUS + 'left_out = "2020-01-01"', r"Expected `array`, got `str` - at `\$.left_out`"),
        (
            CONTINUOUS + "left_out = [2020-01-01]",
            r"Expected `array` of length 2, got 1 - at `\$.left_out`",
        ),
        (CONTINUOUS + "instrument = 5", r"Expected `str`, got `int` - at `\$.instrument`"),
        (CONTINUOUS.replace('"in"', '["in"]'), r"Expected `str`, got `array` - at `\$.waveforms`"),
        ('source = "simulated"\nn_events = true', r"Expected `int`, got `bool` - at `\$.n_events`"),
        ("source = [1]", r"source \[1\]: choose from simulated"),
    ],
)
def test_a_declaration_that_is_not_understood_is_refused(tmp_path, declared, words):
    three(tmp_path / "in")
    picks_csv(tmp_path / "p.csv", ("a", 100, 102))
    (tmp_path / "datasets.toml").write_text(f"[mine]\n{declared}\n")
    with pytest.raises(ForeshapError, match=f"(?s)^Dataset mine in .*datasets.toml.*{words}"):
        waveform_folder("mine", tmp_path)


NO_TIMES = "now", "2016", "2016-10", "06:40:17", "05/06/2016 10:00", "3016-09-01T00:00:00", ""


@pytest.mark.parametrize(
    "times", [(None,), (5,), (["2020-01-01"],), ("2020-01-01", None, None, ("2019-12-31", None))]
)
def test_periods_are_made_of_times_alone(times):
    with pytest.raises(ForeshapError, match="time"):
        periods(*times)


def test_what_is_no_time_is_none_in_a_table_and_refused_as_a_mainshock():
    assert event_times(pd.DataFrame({"trace_start_time": NO_TIMES})).isna().all()
    for text in NO_TIMES:
        with pytest.raises(ForeshapError, match=f"'{text}' is no time"):
            periods(text)


def test_a_time_may_be_of_any_type():
    text = "2016-10-30T06:40:17"
    for time in (
        text,
        obspy.UTCDateTime(text),
        np.datetime64(text),
        pd.Timestamp(text),
        "2016-10-30T08:40:17+02:00",
    ):
        assert periods(time).mainshock == pd.Timestamp(text, tz="UTC")
    for day in ("2016-10-30", datetime.date(2016, 10, 30)):
        assert periods(day).mainshock == pd.Timestamp("2016-10-30", tz="UTC")


def test_a_folder_in_the_layout_agrees_with_the_mainshock(tmp_path, demo):
    declared = f'[mine]\nsource = "layout"\nwaveforms = "{demo.waveforms}"\n'
    declared += "mainshock = 2016-10-30T06:40:17Z\n"
    (tmp_path / "datasets.toml").write_text(declared)
    assert waveform_folder("mine", tmp_path) == demo.waveforms
    for day, file in (("10-29", "pre"), ("10-31", "post")):
        (tmp_path / "datasets.toml").write_text(declared.replace("10-30", day))
        with pytest.raises(
            ForeshapError, match=f"DEMO.XX.*_EV in .*DEMO_{file}.hdf5 has its P at .*2016-{day}"
        ):
            waveform_folder("mine", tmp_path)


def test_a_set_in_seisbench_format_is_declared_and_read(tmp_path, demo):
    to_seisbench(demo.waveforms, tmp_path / "set")
    declared = '[mine]\nsource = "seisbench"\narchive = "set"\nstations = ["XX.DEMO"]\n'
    declared += "mainshock = 2016-10-30T06:40:17Z\n"
    left_out = "left_out = [2016-10-29T00:00:00Z, 2016-10-31T00:00:00Z]\n"
    (tmp_path / "datasets.toml").write_text(declared + left_out)
    offered = offered_traces(waveform_folder("mine", tmp_path))
    near = event_times(offered).between("2016-10-29T00:00:00Z", "2016-10-31T00:00:00Z").sum()
    counts = offered["reason"].value_counts()
    assert (
        len(offered) == 80
        and counts["inside the window left out around the mainshock"] == 80 - counts[""] > near == 0
    )
    with h5py.File(tmp_path / "mine/waveforms/DEMO_pre.hdf5") as file:
        assert file.attrs["left_out"] == "2016-10-29 00:00:00+00:00 to 2016-10-31 00:00:00+00:00"


def test_the_project_declares_its_datasets():
    assert {"demo", "iquique", "nrca", "nine_stations", "frames", "norcia"} <= set(
        datasets(Path(__file__).parents[1] / "data")
    )


def test_iquique_agrees_with_obspy(tmp_path):
    if not IQUIQUE.exists():
        pytest.skip(f"{IQUIQUE} is absent: real seismograms are not part of the project")
    report = from_continuous(
        IQUIQUE / "waveforms", IQUIQUE / "picks.xml", tmp_path, "2014-04-01T23:46:47"
    )
    assert report.written + len(report.rejected) == 374 and report.written > 350
    assert report.rejected["reason"].str.len().gt(5).all()
    for station, period, day in (("PB01", "pre", "2014-03-01"), ("PB02", "post", "2014.121")):
        row = read_table(tmp_path, station, period).iloc[0]
        with h5py.File(tmp_path / f"{station}_{period}.hdf5") as file:
            samples = file[row["trace_name"]][:]
        stream = obspy.Stream()
        for path in (IQUIQUE / "waveforms").glob(f"CX.{station}*{day}*"):
            stream += obspy.read(str(path))
        start = obspy.UTCDateTime(row["trace_start_time"])
        stream.trim(start, start + (samples.shape[1] - 1) / 100).sort(["channel"])
        np.testing.assert_array_equal(samples, [trace.data for trace in stream])
