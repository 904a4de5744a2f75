"""Cross-spectra and measurements against scipy, and against seismograms whose traits are known."""

import shutil
from dataclasses import asdict

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray
from scipy import signal

import foreshap
from benchmarks import sequences
from foreshap.preprocessing import cross_spectra as cs
from foreshap.preprocessing.cross_spectra.measurements import MEASUREMENTS, measure_batch
from foreshap.preprocessing.cross_spectra.windows import (
    SPECTRUM_WINDOWS,
    high_passed,
    packed_cross_spectra,
    unpack,
)
from foreshap.preprocessing.waveforms import write_waveforms


def made_event(rng, s_p=2.0, p=5.0, samples=2200, p_size=20.0, s_size=60.0):
    """Noise of deviation 1 on a 0.2 Hz swell, and two decaying bursts at known times [s]."""
    times = np.arange(samples) / 100
    trace = rng.normal(size=(3, samples)) + 50 * np.sin(2 * np.pi * 0.2 * times)
    for arrival, size in ((p, p_size), (p + s_p, s_size)):
        late = times >= arrival
        envelope = late * np.exp(-(times - arrival) * late / 1.5)
        trace += size * envelope * rng.normal(size=(3, samples))
    return trace


def by_scipy(trace, first, length):
    """Matrices (F, 3, 3) of one window by scipy.signal.csd."""
    sos = signal.butter(2, 1.0, "highpass", fs=100, output="sos")
    part = signal.sosfilt(sos, trace - trace[:, :1], axis=-1)[:, first : first + length]
    matrices = np.empty((33, 3, 3), complex)
    for a in range(3):
        for b in range(3):
            _, matrices[:, a, b] = signal.csd(
                part[a], part[b], 100, "hann", 64, 48, detrend="constant"
            )
    return matrices


def cross_spectra_of(samples, s_p, p=5.0):
    """Matrices (n, window, F, 3, 3) of events (n, 3, samples)."""
    p = np.full(len(samples), p)
    lengths = np.full(len(samples), samples.shape[2])
    filtered = high_passed(samples, 100.0)
    return unpack(packed_cross_spectra(filtered, p, p + s_p, lengths, 100.0))


@pytest.mark.parametrize("s_p", [0.9, 2.0, 6.0])
def test_cross_spectra_are_those_of_scipy(s_p):
    trace = 100 * made_event(np.random.default_rng(1), s_p)
    values = cross_spectra_of(trace[None], s_p)[0]
    assert values.shape == (6, 33, 3, 3) and values.dtype == np.complex64
    for window, (phase, after, until) in enumerate(SPECTRUM_WINDOWS.values()):
        arrival = 5.0 if phase == "P" else 5.0 + s_p
        first = round(100 * (arrival + after))
        length = round(100 * (until - after))
        if window == 1:
            length = min(length, round(100 * (5.0 + s_p - 0.05)) - first)
        if first + length > trace.shape[1]:
            assert np.isnan(values[window]).all()
            continue
        expected = by_scipy(trace, first, length)
        np.testing.assert_allclose(
            values[window], expected, rtol=1e-3, atol=1e-3 * abs(expected).max()
        )
        np.testing.assert_allclose(
            np.einsum("fii->fi", values[window]).real,
            np.einsum("fii->fi", expected).real,
            rtol=2e-3,
        )


def test_batch_gives_what_single_events_give():
    rng = np.random.default_rng(2)
    s_p = np.array([0.8, 1.7, 4.0])
    batch = np.stack([made_event(rng, value) for value in s_p])
    together = cross_spectra_of(batch, s_p)
    for event in range(3):
        alone = cross_spectra_of(batch[event : event + 1], s_p[event])[0]
        np.testing.assert_allclose(together[event], alone, rtol=1e-4, equal_nan=True)


def test_windows_that_do_not_fit_are_nan():
    trace = made_event(np.random.default_rng(3), 0.4, samples=1150)
    values = cross_spectra_of(trace[None], 0.4)[0]
    is_missing = np.isnan(values).all(axis=(1, 2, 3))  # of P: S comes before a frame is over
    assert is_missing.tolist() == [False, True, False, False, True, True]


def test_unpack_turns_nine_numbers_into_a_hermitian_matrix():
    packed = np.arange(9, dtype=np.float32)
    matrix = unpack(packed)
    np.testing.assert_array_equal(matrix, matrix.conj().T)
    assert matrix[0, 1] == 3 + 6j and matrix[0, 2] == 4 + 7j and matrix[1, 2] == 5 + 8j
    np.testing.assert_array_equal(np.diag(matrix), [0, 1, 2])


def test_onsets_are_found_where_the_catalogue_is_wrong():
    rng = np.random.default_rng(4)
    truth = rng.uniform(-0.3, 0.3, 40)
    later = rng.uniform(-0.3, 0.3, 40)
    traces = [made_event(rng, 2.0 + d - e, 5.0 + e) for e, d in zip(truth, later)]
    found = measure_batch(np.stack(traces), np.full(40, 2.0))[1]
    assert np.median(np.abs(found["p_onset"] - truth)) <= 0.015
    assert np.median(np.abs(found["s_onset"] - later)) <= 0.03
    assert np.quantile(np.abs(found["p_onset"] - truth), 0.9) <= 0.04


def test_second_event_is_found():
    rng = np.random.default_rng(5)
    late = rng.uniform(3.0, 8.0, 20)
    single = np.stack([made_event(rng) for _ in late])
    double = single.copy()
    for event, seconds in zip(double, late):
        event += made_event(rng, 20.0, 7.0 + seconds, p_size=60.0)
    alone = measure_batch(single, np.full(20, 2.0))[1]
    found = measure_batch(double, np.full(20, 2.0))[1]
    assert np.median(alone["second_contrast"]) < 2.5
    assert (found["second_contrast"] > 10).all()
    assert np.abs(found["second_onset"] - late).max() < 0.2


def test_level_below_the_corner_follows_the_size_and_not_the_corner():
    traces = []
    sharp = signal.butter(1, 15.0, fs=100, output="sos")
    for size in (30.0, 300.0):
        trace = made_event(np.random.default_rng(6), s_size=size)
        traces += [trace, signal.sosfilt(sharp, trace)]
    levels = measure_batch(np.stack(traces), np.full(4, 2.0))[1]["level_below_corner"]
    assert levels[2] - levels[0] == pytest.approx(1.0, abs=0.1)
    assert levels[1] - levels[0] == pytest.approx(0.0, abs=0.1)


def test_raw_counts_are_counted():
    rng = np.random.default_rng(7)
    clean = np.rint(1000 * made_event(rng)).astype(np.int32)
    most = int(0.5 * np.abs(clean[0]).max())
    clipped = clean.copy()
    clipped[0] = np.clip(clipped[0], -most, most)
    coarse = 16 * (clean // 16)
    found = measure_batch(np.stack([clean, clipped, coarse]), np.full(3, 2.0))[1]
    assert found["peaks_near_extreme"][1] >= 5 > found["peaks_near_extreme"][0]
    steps = [np.abs(np.diff(counts))[np.diff(counts) != 0].min() for counts in (clean, coarse)]
    assert found["smallest_step"][[0, 2]].tolist() == steps and steps[1] % 16 == 0


def test_traces_of_several_lengths_are_measured_as_alone():
    rng = np.random.default_rng(8)
    traces = [
        np.rint(100 * made_event(rng, samples=n)).astype(np.int32) for n in (1300, 2200, 1800)
    ]
    s_p = np.array([1.0, 2.0, 3.0])
    packed, measured = measure_batch(traces, s_p)
    for event, trace in enumerate(traces):
        alone, of_one = measure_batch([trace], s_p[event : event + 1])
        np.testing.assert_allclose(packed[event], alone[0], rtol=1e-4, equal_nan=True)
        for name in MEASUREMENTS:
            np.testing.assert_allclose(measured[name][event], of_one[name][0], rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_hostile_traces_give_nan_and_no_exception():
    flat = np.zeros((3, 2000), np.int16)
    dead = np.rint(100 * made_event(np.random.default_rng(9), samples=2000)).astype(np.int16)
    dead[1] = 7
    short = dead[:, :700]
    packed, measured = measure_batch([flat, dead, short], np.array([2.0, 0.02, 300.0]))
    assert np.isnan(measured["p_onset"][0]) and np.isnan(measured["smallest_step"][0])
    assert measured["peaks_near_extreme"][0] == 0
    assert np.isnan(measured["s_onset"][2]) and np.isnan(packed[2, 2:]).all()


def test_file_holds_all_events_beside_the_tensors(demo):
    spectra = cs.load_cross_spectra(demo.folder)
    path = spectra.path
    assert path == demo.folder / "cross_spectra.h5"
    tensors = foreshap.load_spectrograms(demo.folder / "P64.h5")
    assert list(spectra.table["trace_name"]) == list(tensors.table["trace_name"])
    for name in ("dataset", "unit", "source_sha256", "history"):
        assert spectra.attributes[name] == tensors.attributes[name]
    assert spectra.values.shape == (len(spectra.table), 6, 33, 3, 3)
    np.testing.assert_array_equal(spectra.frequencies, np.fft.rfftfreq(64, 0.01))
    assert set(MEASUREMENTS) <= set(spectra.table)
    assert spectra.attributes["simulated"].startswith("yes")
    assert 5000 < path.stat().st_size / len(spectra.table) < 9500  # small files have a large head
    row = 7
    event = spectra.table.iloc[row]
    offered = foreshap.offered_traces(demo.waveforms).set_index("trace_name", drop=False)
    known = offered.loc[event["trace_name"]]
    trace = foreshap.load_trace(demo.waveforms, known)
    p = 5.0 + event["p_onset"]
    s_p = known["p_s_diff_sec"] + event["s_onset"] - event["p_onset"]
    values = cross_spectra_of(trace[None], s_p, p)[0]
    np.testing.assert_allclose(spectra.values[row], values, rtol=1e-3, equal_nan=True)
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        assert opened["cross_spectrum"].dims == ("trace_name", "window", "frequency", "element")
        assert list(opened["window"].values) == list(SPECTRUM_WINDOWS)
        assert opened["p_onset"].attrs["units"] == "s"


def write_layout(folder, traces, s_p=2.0):
    """Write a folder of events in the waveform layout, one after the other before and after."""
    for place, period in enumerate(("pre", "post")):
        names = list(traces)[place::2]
        rows = {"trace_name": names, "p_s_diff_sec": s_p}
        rows["trace_start_time"] = f"201{6 + place}-01-01T00:00:00"
        parts = [(name, traces[name]) for name in names]
        write_waveforms(folder, "TST", period, parts, pd.DataFrame(rows))
    return folder


def test_events_are_those_of_any_variant(tmp_path):
    rng = np.random.default_rng(10)
    traces = {}
    for name in "ABCDEF":
        traces[name] = np.rint(100 * made_event(rng, samples=2600)).astype(np.int32)
    traces["C"][1] = 7
    traces["D"] = traces["D"][:, :2100]  # too short for P, not for a P window of 15 s
    short = foreshap.Variant("short", "P", 5.0, 10.0, 64, 32)
    long = foreshap.Variant("long", "P", 5.0, 20.0, 64, 32)
    reports = foreshap.preprocess(write_layout(tmp_path, traces), tmp_path, [short, long])
    assert reports["short"].written == 5 and reports["long"].written == 4
    spectra = cs.load_cross_spectra(tmp_path)
    assert list(spectra.table["trace_name"]) == ["A", "E", "B", "D", "F"]
    assert spectra.table["label"].tolist() == [0, 0, 1, 1, 1]
    for name, values in zip(spectra.table["trace_name"], spectra.values):
        packed, _ = measure_batch([traces[name]], [2.0])
        np.testing.assert_allclose(values, unpack(packed)[0], rtol=1e-5)


def test_numbers_beyond_a_digitiser_outside_the_tensors_give_nan(tmp_path):
    rng = np.random.default_rng(11)
    traces = {name: 100 * made_event(rng, samples=3000) for name in "ABC"}
    traces["B"][0, 1400] = 1e200
    short = foreshap.Variant("short", "P", 5.0, 5.0, 64, 32)
    assert foreshap.preprocess(write_layout(tmp_path, traces), tmp_path, [short])["short"].written
    spectra = cs.load_cross_spectra(tmp_path)
    for name, values in zip(spectra.table["trace_name"], spectra.values):
        assert np.isnan(values).all() == (name == "B")


@pytest.mark.filterwarnings("error")
def test_without_s_the_noise_and_p_alone_are_measured():
    trace = np.rint(100 * made_event(np.random.default_rng(12), 4.0)).astype(np.int32)
    packed, measured = measure_batch([trace, trace], [np.nan, 4.0])
    assert np.isnan(packed[0, 2:]).all()
    expected = packed[1, :2]  # as where S comes late
    np.testing.assert_allclose(packed[0, :2], expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert measured["p_onset"][0] == measured["p_onset"][1]
    for name in ("s_onset", "second_onset", "level_below_corner"):
        assert np.isnan(measured[name][0]) and np.isfinite(measured[name][1])


@pytest.mark.parametrize("rate", [2.0, 31.0, 32.0, 200.0])
def test_other_sampling_rates(tmp_path, rate):
    rng = np.random.default_rng(13)
    traces = {name: rng.integers(-99, 99, (3, round(30 * rate))) for name in "AB"}
    folder = write_layout(tmp_path / "in", traces)
    for path in folder.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            file.attrs["sampling_rate"] = rate
    variant = foreshap.Variant("X", "P", 5.0, 20.0, 32, 16, rate)
    foreshap.preprocess(folder, tmp_path, [variant])
    if rate < 32:  # there is nothing to write
        assert not (tmp_path / "cross_spectra.h5").exists()
        return
    spectra = cs.load_cross_spectra(tmp_path)
    assert spectra.frequencies[-1] == rate / 2
    assert np.isfinite(spectra.values).any(axis=(0, 2, 3, 4)).all()


def test_the_file_is_no_variant(demo, tmp_path):
    (tmp_path / "datasets.toml").write_text('[demo]\nsource = "simulated"\n')
    (tmp_path / "demo").symlink_to(demo.folder)
    assert set(foreshap.tensor_files("demo", tmp_path)) == set(foreshap.VARIANTS)


def test_file_is_refused_in_a_sentence(demo, tmp_path):
    with pytest.raises(foreshap.ForeshapError, match="is no file of cross-spectra"):
        cs.load_cross_spectra(demo.folder / "P64.h5")
    with pytest.raises(foreshap.ForeshapError, match="can't be read as HDF5"):
        cs.load_cross_spectra(tmp_path / "none.h5")
    path = shutil.copy(demo.folder / "cross_spectra.h5", tmp_path)
    with h5py.File(path, "a") as file:
        del file["p_onset"]
        file["p_onset"] = np.zeros(3)
    with pytest.raises(foreshap.ForeshapError, match="p_onset has 3 values"):
        cs.load_cross_spectra(path)


def test_second_simulator_knows_its_causes():
    innocent = [cause for cause in sequences.CAUSES.values() if cause.innocent]
    assert len(innocent) >= 25 and len(sequences.CAUSES) - len(innocent) >= 10
    for name, cause in sequences.CAUSES.items():
        assert set(cause.effects) <= set(sequences.EFFECTS), name
        assert set(cause.verdicts) <= {
            "path/source",
            "station/background",
            "catalogue",
            "mixed",
            "undecided",
        }
        assert not (cause.innocent and {"path/source", "mixed"} & set(cause.verdicts)), name
    with pytest.raises(foreshap.ForeshapError, match="choose from"):
        sequences.build_sequence("nowhere", "no such cause", "PB01", 1)


@pytest.mark.skipif(
    not sequences.available_grounds(), reason="no real noise: shared/data is not beside this clone"
)
def test_second_simulator_writes_the_layout(tmp_path):
    ground = sequences.available_grounds()[-1]
    folders = [tmp_path / name for name in ("first", "again")]
    for folder in folders:
        sequences.build_sequence(folder, "t* of S", ground, 1, "1 to 5", n_events=120)
    for path in sorted(folders[0].iterdir()):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
    offered = foreshap.offered_traces(folders[0])
    foreshap.preprocess(folders[0], tmp_path, [foreshap.VARIANTS["P64"]])
    assert (offered["reason"] == "").all() and (offered["label"] == 1).sum() == 100
    spectra = cs.load_cross_spectra(tmp_path)
    truth = pd.read_csv(folders[0] / "truth.csv").set_index("trace_name")
    truth = truth.loc[spectra.table["trace_name"]]
    clear = truth["magnitude"].to_numpy() > 1.6
    error = spectra.table["p_onset"].to_numpy() + truth["p_pick"].to_numpy()
    assert np.median(np.abs(error[clear])) < 0.03
    level = spectra.table["level_below_corner"].to_numpy()
    heard = np.isfinite(level)
    assert np.corrcoef(level[heard], truth["magnitude"].to_numpy()[heard])[0, 1] > 0.8
    assert set(asdict(sequences.SHAPES["gaps"])) == {"n_events", "share_before", "c_days", "gaps"}
