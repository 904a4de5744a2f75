"""SeisBench's format in and out: the real library writes and reads, damaged sets are refused."""

import contextlib
import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.signal import resample

import foreshap
from foreshap import from_seisbench, to_seisbench
from foreshap.files import ForeshapError
from foreshap.preprocessing.clipping import flagged
from foreshap.preprocessing.periods import periods
from foreshap.preprocessing.variants import SIDES
from foreshap.preprocessing.waveforms import (
    COLUMNS,
    REASONS,
    event_times,
    offered_traces,
    read_table,
)

MAINSHOCK = "2016-10-30T06:40:17"
START = pd.Timestamp("2016-10-30T06:00:00Z")


@pytest.fixture
def library():
    return pytest.importorskip(
        "seisbench.data", reason="the optional extra seisbench is not installed"
    )


def noise(seed, length=6000, dtype=np.int32):
    """Three components E, N, Z that are all different."""
    return np.random.default_rng(seed).integers(-(2**20), 2**20, (3, length)).astype(dtype)


def row(name, minutes=0.0, p=2000, s=2300, **columns):
    """One row of metadata, minutes after START."""
    known = {"trace_start_time": str(START + pd.Timedelta(minutes=minutes)), "station_code": "NRCA"}
    known |= {"station_network_code": "IV", "source_id": name, "trace_name": name}
    return known | {"trace_p_arrival_sample": p, "trace_s_arrival_sample": s} | columns


def write(folder, rows, data, chunk="", **data_format):
    """A data set by hand: rows of metadata, name -> array; None in data_format leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"metadata{chunk}.csv", index=False)
    data_format = {
        "dimension_order": "CW",
        "component_order": "ENZ",
        "sampling_rate": 100,
    } | data_format
    with h5py.File(folder / f"waveforms{chunk}.hdf5", "w") as file:
        file.create_group("data")
        for name, samples in data.items():
            file[f"data/{name}"] = samples
        for name, value in data_format.items():
            if value is not None:
                file[f"data_format/{name}"] = value
    return folder


def traces(folder, station="NRCA"):
    """All traces of a station, source_id -> array, and its tables joined by source_id."""
    found, tables = {}, [read_table(folder, station, period) for period in SIDES]
    for period, table in zip(SIDES, tables):
        with h5py.File(folder / f"{station}_{period}.hdf5") as file:
            assert set(file) == set(table["trace_name"])
            found |= {
                name: file[trace][:] for name, trace in zip(table["source_id"], table["trace_name"])
            }
    return found, pd.concat(tables).set_index("source_id")


def reasons(report):
    return dict(zip(report.rejected["trace_name"], report.rejected["reason"]))


def test_layout_to_seisbench_and_back_is_the_same(tmp_path, demo, library):
    traces_before = offered_traces(demo.waveforms)
    assert to_seisbench(demo.waveforms, tmp_path / "out").written == len(traces_before) == 80
    there = library.WaveformDataset(tmp_path / "out", component_order="ENZ")
    assert len(there) == 80 and set(there.metadata["trace_sampling_rate_hz"]) == {100}
    report = from_seisbench(tmp_path / "out", tmp_path / "back", MAINSHOCK)
    assert (report.written, len(report.rejected)) == (80, 0)
    for index, period in enumerate(SIDES):
        before, after = (
            read_table(folder, "DEMO", period) for folder in (demo.waveforms, tmp_path / "back")
        )
        assert (
            set(after.pop("recorded_rate_hz")) == {100} and (after.pop("recorded_step") > 0).all()
        )
        pd.testing.assert_frame_equal(before, after, rtol=1e-12)
        rows = there.metadata.set_index("trace_name").loc[before["trace_name"]]
        assert set(rows["trace_category"]) == {("foreshock", "aftershock")[index]}
        np.testing.assert_allclose(
            rows["trace_s_arrival_sample"], 500 + 100 * before["p_s_diff_sec"]
        )
        assert list(rows["source_magnitude"]) == list(before["source_magnitude"])
        one, two = (
            h5py.File(folder / f"DEMO_{period}.hdf5")
            for folder in (demo.waveforms, tmp_path / "back")
        )
        for name in before["trace_name"]:
            np.testing.assert_array_equal(one[name][:], two[name][:])
            assert one[name].dtype == two[name].dtype
            seen = there.get_waveforms(there.get_idx_from_trace_name(name))
            np.testing.assert_array_equal(seen, one[name][:])
    foreshap.preprocess(tmp_path / "back", tmp_path / "tensors")
    tensors = [
        foreshap.load_spectrograms(folder / "S32.h5")
        for folder in (demo.folder, tmp_path / "tensors")
    ]
    np.testing.assert_array_equal(tensors[0].values[:], tensors[1].values[:])


@pytest.mark.parametrize("buckets", [True, False])
def test_a_set_that_seisbench_wrote_comes_in(tmp_path, library, buckets):
    samples = {f"e{n}": noise(n, 5000 + 10 * n, np.float32) for n in range(6)}
    with library.WaveformDataWriter(
        tmp_path / "in/metadata.csv", tmp_path / "in/waveforms.hdf5"
    ) as writer:
        writer.bucket_size = 3 if buckets else 1
        writer.data_format = {
            "dimension_order": "CW",
            "component_order": "ZNE",
            "sampling_rate": 100,
            "unit": "mps",
        }
        for n, (name, one) in enumerate(samples.items()):
            writer.add_trace(
                row(name, 10.0 * n, p=2000 + n, s=2300, split="train", source_magnitude=n),
                one[::-1],
            )
    names = pd.read_csv(tmp_path / "in/metadata.csv")["trace_name"]
    assert names.str.contains("$", regex=False).all() == buckets
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert (report.written, len(report.rejected)) == (6, 0)
    found, table = traces(tmp_path / "out")
    for n, (name, one) in enumerate(samples.items()):  # 5 s before P to 20 s after it and 1 s
        np.testing.assert_array_equal(found[name], 1e9 * one[:, 1500 + n : 1500 + n + 2600])
        assert found[name].dtype == np.float32
        p_time = START + pd.Timedelta(minutes=10 * n, seconds=20 + n / 100)
        assert abs(event_times(table)[name] - p_time) < pd.Timedelta(microseconds=1)
        assert (
            table["p_s_diff_sec"][name] == pytest.approx(3 - n / 100)
            and table["source_magnitude"][name] == n
        )
    assert set(table["split"]) == {"train"} and list(table) == [
        c for c in COLUMNS if c != "source_id"
    ] + ["split", "recorded_rate_hz", "recorded_step"]
    with h5py.File(tmp_path / "out/NRCA_pre.hdf5") as file:
        assert file.attrs["unit"] == "nm/s" and file.attrs["component_order"] == "ENZ"
    there = library.WaveformDataset(tmp_path / "in", component_order="ENZ")
    np.testing.assert_array_equal(1e9 * there.get_waveforms(4)[:, 1504:4104], found["e4"])


@pytest.mark.parametrize(
    "unit, factor",
    [("m/s", 1e9), ("km/s", 1e12), ("M*S**-1", 1e9), ("cm/s", 1e7), ("µm/s", 1e3), ("nm/s", 1)],
)
def test_velocities_become_nanometres_a_second(tmp_path, unit, factor):
    velocity = np.random.default_rng(0).normal(0, 1000, (3, 6000)) / factor
    write(tmp_path / "in", [row("a")], {"a": velocity}, unit=unit)
    from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    np.testing.assert_allclose(
        traces(tmp_path / "out")[0]["a"], factor * velocity[:, 1500:4100], rtol=1e-12
    )
    with h5py.File(tmp_path / "out/NRCA_pre.hdf5") as file:
        assert file.attrs["unit"] == "nm/s"


@pytest.mark.parametrize("unit", ["m/s^2", "m/s**2", "mps2", "counts", "m", "whatever"])
def test_other_units_stay_and_are_not_mixed(tmp_path, unit):
    write(tmp_path / "in", [row("a")], {"a": noise(1)}, "_1", unit=unit)
    from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    np.testing.assert_array_equal(traces(tmp_path / "out")[0]["a"], noise(1)[:, 1500:4100])
    with h5py.File(tmp_path / "out/NRCA_pre.hdf5") as file:
        assert file.attrs["unit"] == unit
    write(tmp_path / "in", [row("b")], {"b": noise(1)}, "_2", unit="m/s")
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert reasons(report) == {"NRCA.IV.a_EV": "another unit"}


def test_the_mainshock_and_the_periods_decide(tmp_path):
    rows = [row(f"e{m}", m) for m in (0, 30, 39, 40, 50, 90)]
    write(tmp_path / "in", rows, {one["trace_name"]: noise(1) for one in rows})
    spans = periods(
        MAINSHOCK, end="2016-10-30T07:00", left_out=("2016-10-30T06:35", "2016-10-30T06:40:18")
    )
    report = from_seisbench(tmp_path / "in", tmp_path / "out", spans)
    pre, post = (read_table(tmp_path / "out", "NRCA", period) for period in SIDES)
    assert (list(pre["source_id"]), list(post["source_id"])) == (["e0", "e30"], ["e40", "e50"])
    assert reasons(report) == {
        "NRCA.IV.e39_EV": "inside the window left out around the mainshock",
        "NRCA.IV.e90_EV": "outside the span of the study",
    }


@pytest.mark.parametrize("dimensions", ["CW", "WC", "NCW"])
@pytest.mark.parametrize("order", ["ZNE", "ENZ", "Z12", "NZEH", "zne"])
def test_dimensions_and_components_in_any_order(tmp_path, dimensions, order):
    three = dict(zip("ENZ", noise(1))) | {"H": noise(2)[0]}
    stored = np.stack([three[{"1": "N", "2": "E"}.get(letter, letter)] for letter in order.upper()])
    stored = {"CW": stored, "WC": stored.T, "NCW": stored[None]}[dimensions]
    write(tmp_path, [row("a")], {"a": stored}, dimension_order=dimensions, component_order=order)
    from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK)
    np.testing.assert_array_equal(traces(tmp_path / "out")[0]["a"], noise(1)[:, 1500:4100])


def test_metadata_of_a_trace_overrides_the_format(tmp_path):
    rows = [
        row("a", trace_component_order="ZNE", trace_sampling_rate_hz=100),
        row("b", 1),
        row("c", 2, trace_dt_s=0),
    ]
    data = {"a": noise(1)[::-1], "b": noise(2), "c": noise(3)}
    write(tmp_path, rows, data, component_order=list("ENZ"), sampling_rate=100.0000001)
    from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK)
    found = traces(tmp_path / "out")[0]
    np.testing.assert_array_equal(found["a"], noise(1)[:, 1500:4100])
    np.testing.assert_array_equal(found["b"], noise(2)[:, 1500:4100])
    assert found["b"].dtype == np.int32  # 100.0000001 Hz is 100 Hz
    write(tmp_path, rows, data, component_order=None, sampling_rate=None)
    report = from_seisbench(tmp_path, tmp_path / "out2", MAINSHOCK)
    assert reasons(report) == dict.fromkeys(
        ["NRCA.IV.b_EV", "NRCA.IV.c_EV"], "sampling rate missing"
    )
    write(tmp_path, [row("a", trace_dt_s=0.01)], {"a": noise(1)}, sampling_rate=50)
    from_seisbench(tmp_path, tmp_path / "out3", MAINSHOCK)
    np.testing.assert_array_equal(traces(tmp_path / "out3")[0]["a"], noise(1)[:, 1500:4100])


@pytest.mark.parametrize("rate, top", [(200, 80), (50, 18), (125, 55)])
def test_other_rates_agree_with_fourier_resampling(tmp_path, rate, top):
    length = 120 * rate
    frequency = np.fft.rfftfreq(length, 1 / rate)
    rng = np.random.default_rng(0)
    spectrum = (
        np.exp(2j * np.pi * rng.random((3, len(frequency))))
        * (frequency > 0.5)
        * (frequency < top / 4)
    )
    spectrum[:, round(120 * top)] = 0.3 * np.abs(spectrum).sum(axis=1)  # above 50 Hz it must vanish
    signal = 1e6 * np.fft.irfft(spectrum, length) / length * 1000 + 500_000
    p = 60 * rate + 3.3
    write(tmp_path, [row("a", p=p, s=p + 8 * rate)], {"a": signal}, sampling_rate=rate)
    from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK)
    found, table = traces(tmp_path / "out")
    first = (pd.Timestamp(table["trace_start_time"]["a"]) - START).total_seconds()
    assert (
        abs(first + 5 - p / rate) <= 0.005
        and found["a"].shape == (3, 2900)
        and found["a"].dtype == np.float32
    )
    expected = resample(resample(signal, 12_000, axis=1), 120_000, axis=1)[
        :, round(1000 * first) :: 10
    ][:, :2900]
    assert np.abs(found["a"] - expected).max() < 0.01 * np.abs(expected - 500_000).max()
    assert table["p_s_diff_sec"]["a"] == pytest.approx(8)


def test_clipped_and_flat_recordings_are_known_by_their_counts(tmp_path):
    after = np.maximum(np.arange(6000) / 50 - 40, 0)
    wave = noise(1) / 1000 + 3e6 * np.exp(-after / 4) * np.sin(2 * np.pi * 2.3 * after)
    flat = np.where([[True], [False], [False]], 7, wave)
    data = {"loud": wave, "over": np.clip(wave, -1e6, 1e6), "flat": flat}
    write(tmp_path, [row(name, source_id=name) for name in data], data, sampling_rate=50)
    report = from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK)
    assert reasons(report) == {"NRCA.IV.flat_EV": "component flat"}
    table = traces(tmp_path / "out")[1]
    assert dict(zip(table.index, flagged(table))) == {"loud": False, "over": True}


def test_the_earliest_arrivals_count_and_a_trace_goes_as_far_as_its_recording(tmp_path):
    picks = {
        "trace_p_arrival_sample": np.nan,
        "trace_Pn_arrival_sample": 600.4,
        "trace_Pg_arrival_sample": 650,
    }
    picks |= {
        "trace_Sg_arrival_sample": 2600,
        "trace_Sn_arrival_sample": 2500.4,
        "trace_pP_arrival_sample": 1,
    }
    write(tmp_path, [row("a", s=np.nan) | picks], {"a": noise(1, 3500)})
    from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK)
    found, table = traces(tmp_path / "out")
    np.testing.assert_array_equal(found["a"], noise(1, 3500)[:, 100:])
    assert table["p_s_diff_sec"]["a"] == pytest.approx(19) and "trace_start_time" in table


def test_each_trace_that_cannot_be_used_has_its_reason(tmp_path):
    block, flawed = np.stack([noise(n) for n in range(4)]), noise(1, dtype=float)
    flawed[1, 2500] = np.nan
    data = {
        "bucket0": block,
        "two": noise(1)[:2],
        "four": np.ones((4, 6000)),
        "text": np.full((3, 6000), "a", "S1"),
    }
    data |= {
        "gappy": flawed,
        "flat": noise(1)[0],
        "group/x": noise(1),
        "short": noise(1, 3999),
        "n5": np.ones((5, 3, 9)),
    }
    names = {
        "absent": "no waveform in the file",
        "two": "component missing",
        "four": "not of shape (3, samples)",
        "text": "samples are no numbers",
        "gappy": "samples not finite",
        "flat": "not of shape (3, samples)",
        "group": "no array of samples",
        "n5": "not of shape (3, samples)",
        "short": "window runs beyond the recording",
        "bucket0$9,:3,:6000": "no waveform in the file",
        "bucket0$-5": "no waveform in the file",
        "bucket0$": "no waveform in the file",
        "bucket0$__import__('os')": "no waveform in the file",
        "bucket0$1,:3,:6000:2": "no waveform in the file",
        "bucket0$1,:3,:6000,:,:": "no waveform in the file",
        "bucket0$" + 5000 * "9": "no waveform in the file",
        "bucket0$1,:2,:6000": "component missing",
        "bucket0$1,:3,:3999": "window runs beyond the recording",
        "bucket0$:2": "not of shape (3, samples)",
        "../data_format": "no waveform in the file",
        "/data_format/sampling_rate": "no waveform in the file",
    }
    rows = [row(name, source_id=n) for n, name in enumerate(names)]
    more = {
        "p": (row("bucket0$0", p=""), "P missing"),
        "pinf": (row("bucket0$0", p=np.inf), "P missing"),
        "ps": (row("bucket0$0", s=2000), "S-P zero or negative"),
        "early": (row("bucket0$0", p=499, s=700), "window runs beyond the recording"),
        "far": (row("bucket0$0", p=1e18, s=1e19), "outside the span of the study"),
        "never": (row("bucket0$0", trace_start_time="30.10.2016"), "start time missing"),
        "3016": (row("bucket0$0", trace_start_time="3016-10-30T06:00:00"), "start time missing"),
        "order": (row("bucket0$0", trace_component_order="ZRT"), "component missing"),
        "rate": (row("bucket0$0", trace_sampling_rate_hz=-3), "sampling rate missing"),
        "twice": (row("bucket0$0", source_id="good"), "duplicate name"),
        "noname": (row("bucket0$0", station_code="../x"), "name that can't be used"),
    }
    rows += [
        row("bucket0$ 0, :3, :6000", source_id="good"),
        row("bucket0$-3,:,500:4000", 1, 1500, source_id="fits"),
    ]
    rows += [
        one | {"source_id": one["source_id"] if name == "twice" else name}
        for name, (one, _) in more.items()
    ]
    write(tmp_path / "in", rows, data)
    report = from_seisbench(tmp_path / "in", tmp_path / "out", periods(MAINSHOCK, end="2017-01-01"))
    assert report.written == 2 and len(report.rejected) == len(rows) - 2
    sentence = {f"NRCA.IV.{n}_EV": reason for n, reason in enumerate(names.values())}
    sentence |= {
        f"NRCA.IV.{name}_EV": reason
        for name, (_, reason) in more.items()
        if name not in ("twice", "noname")
    }
    sentence |= {
        "NRCA.IV.good_EV (2)": "duplicate name",
        ".._x.IV.noname_EV": "name that can't be used",
    }
    assert reasons(report) == sentence and set(sentence.values()) < set(REASONS)
    found = traces(tmp_path / "out")[0]
    np.testing.assert_array_equal(found["good"], block[0, :, 1500:4100])
    np.testing.assert_array_equal(found["fits"], block[1, :, 1500:4000])
    counted = offered_traces(tmp_path / "out").set_index("trace_name")["reason"].to_dict()
    assert counted == sentence | {"NRCA.IV.good_EV": "", "NRCA.IV.fits_EV": ""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_the_usable_one_of_several_rows_is_written_and_each_other_has_a_reason(tmp_path):
    rows = [
        row(f"t{n}", source_id="e", p=p) for n, p in enumerate((np.nan, 400, 2000, 2000, np.nan))
    ]
    write(tmp_path / "in", rows, {f"t{n}": noise(n) for n in range(5)})
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    sentence = ["P missing", "window runs beyond the recording", "duplicate name", "P missing"]
    assert reasons(report) == {
        f"NRCA.IV.e_EV ({n})": reason for n, reason in enumerate(sentence, 2)
    }
    np.testing.assert_array_equal(traces(tmp_path / "out")[0]["e"], noise(2)[:, 1500:4100])
    assert (
        offered_traces(tmp_path / "out")["trace_name"].nunique()
        == len(rows)
        == report.written + len(sentence)
    )


def test_a_file_cannot_point_to_other_files_nor_fill_the_memory(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(72_000))
    write(tmp_path / "elsewhere", [row("a")], {"a": noise(1)})
    rows = [row(name) for name in ("link", "raw", "virtual", "bomb")]
    write(tmp_path / "in", rows, {})
    with h5py.File(tmp_path / "in/waveforms.hdf5", "a") as file:
        file["data/link"] = h5py.ExternalLink(str(tmp_path / "elsewhere/waveforms.hdf5"), "data/a")
        external = [(str(secret), 0, 72_000)]
        file.create_dataset("data/raw", (3, 6000), np.int32, external=external)
        layout = h5py.VirtualLayout((3, 6000), np.int32)
        layout[:] = h5py.VirtualSource(
            str(tmp_path / "elsewhere/waveforms.hdf5"), "data/a", (3, 6000)
        )
        file.create_virtual_dataset("data/virtual", layout)
        file.create_dataset(
            "data/bomb", (3, 2**23), np.int32, chunks=(3, 2**23), compression="gzip"
        )  # 96 MiB a chunk
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert report.written == 0 and set(reasons(report).values()) == {"no array of samples"}


def test_a_damaged_block_costs_its_own_traces_alone(tmp_path):
    rows = [row(f"bucket0${n},:3,:6000", source_id=str(n)) for n in range(4)]
    write(tmp_path / "in", rows, {})
    path = tmp_path / "in/waveforms.hdf5"
    with h5py.File(path, "a") as file:
        blocks = np.stack([noise(n) for n in range(4)])
        dataset = file.create_dataset(
            "data/bucket0", data=blocks, chunks=(1, 3, 6000), compression="gzip"
        )
        place = dataset.id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as file:
        file.seek(place + 100)
        file.write(bytes(2000))
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert reasons(report) == {"NRCA.IV.2_EV": "samples can't be read: the file is damaged here"}
    np.testing.assert_array_equal(traces(tmp_path / "out")[0]["3"], blocks[3, :, 1500:4100])


def test_declared_samples_that_are_not_there_are_not_read(tmp_path):
    write(
        tmp_path / "in", [row("huge", p=10**9, s=2 * 10**12, source_id="1")], {}, sampling_rate=1000
    )
    with h5py.File(tmp_path / "in/waveforms.hdf5", "a") as file:
        file.create_dataset("data/huge", (3, 10**13), np.int16, chunks=(3, 10**6))[:, 10**9] = 1
    report = from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert report.written == 1 and traces(tmp_path / "out")[0]["1"].shape == (3, 360_500)


def test_stations_are_selected_and_one_instrument_serves_each(tmp_path):
    codes = [("IV", "NRCA", "HH"), ("IV", "NRCA", "HN"), ("XX", "NRCA", "HN"), ("IV", "MMO1", "EH")]
    rows = [
        row(
            f"{net}.{sta}.{channel}.{n}",
            n,
            source_id=f"{n}",
            station_network_code=net,
            station_code=sta,
        )
        | {"station_channels": channel, "station_location_code": "00"}
        for n in range(3)
        for net, sta, channel in codes[::-1]
        if (n, channel) != (2, "HH")
    ]
    data = {one["trace_name"]: noise(n) for n, one in enumerate(rows)}
    write(tmp_path, rows, data)
    report = from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK, ["IV.NRCA"])
    pre = read_table(tmp_path / "out", "NRCA", "pre")
    assert (report.written, list(pre["source_id"]), list(pre["receiver_type"])) == (
        2,
        ["0", "1"],
        ["HH", "HH"],
    )
    np.testing.assert_array_equal(
        traces(tmp_path / "out")[0]["1"], data["IV.NRCA.HH.1"][:, 1500:4100]
    )
    others = {"NRCA.IV.0_EV (2)", "NRCA.IV.1_EV (2)", "NRCA.IV.2_EV"}
    assert reasons(report) == dict.fromkeys(others, "another instrument")
    report = from_seisbench(tmp_path, tmp_path / "hn", MAINSHOCK, "IV.NRCA", instrument="00.HN")
    assert report.written == 3 and len(report.rejected) == 2
    with pytest.raises(
        ForeshapError, match=r"NRCA is a station of the networks XX and IV.*stations="
    ):
        from_seisbench(tmp_path, tmp_path / "all", MAINSHOCK)
    report = from_seisbench(tmp_path, tmp_path / "all", MAINSHOCK, ["IV.NRCA", "MMO1"])
    assert report.written == 2 + 3 and len(read_table(tmp_path / "all", "MMO1", "pre")) == 3
    with pytest.raises(ForeshapError, match="no trace of IV.MMO2, NONE: check"):
        from_seisbench(
            tmp_path, tmp_path / "none", MAINSHOCK, ["IV.NRCA", "MMO1", "NONE", "IV.MMO2"]
        )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("listed", [True, False])
def test_chunks(tmp_path, library, listed):
    for n in range(3):
        write(tmp_path / "in", [row(f"e{n}", n)], {f"e{n}": noise(n)}, chunk=f"_{n}")
    if listed:
        (tmp_path / "in/chunks").write_text("_0\n_2\n")
    used = ["e0", "e2"] if listed else ["e0", "e1", "e2"]
    assert len(library.WaveformDataset(tmp_path / "in")) == len(used)
    assert from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK).written == len(used)
    found = traces(tmp_path / "out")[0]
    assert list(found) == used
    for name in used:
        np.testing.assert_array_equal(found[name], noise(int(name[1]))[:, 1500:4100])


def damage(folder, kind):
    """One damage of a good data set."""
    metadata, waveforms = folder / "metadata.csv", folder / "waveforms.hdf5"
    text, size = metadata.read_text(), waveforms.stat().st_size
    if kind == "trailing commas":
        header, *rows = text.splitlines()
        metadata.write_text("\n".join([header, *(f"{one}," for one in rows)]))
    elif kind == "separator":
        metadata.write_text(text.replace(",", ";"))
    elif kind.startswith("without "):
        pd.read_csv(metadata).drop(columns=kind.removeprefix("without ")).to_csv(
            metadata, index=False
        )
    elif kind == "binary":
        metadata.write_bytes(b"\xff\xfe\x00" * 100)
    elif kind == "quote":
        metadata.write_text(text + '"open')
    elif kind == "empty":
        metadata.write_text("")
    elif kind.startswith("no "):
        (folder / kind.removeprefix("no ")).unlink()
    elif kind == "truncated":
        waveforms.write_bytes(waveforms.read_bytes()[: size // 2])
    elif kind == "climbing":
        (folder / "chunks").write_text("/../../x\n")
    else:
        name, value = kind.split("=")
        with h5py.File(waveforms, "a") as file:
            with contextlib.suppress(KeyError):
                del file[name]
            if value:
                file[name] = json.loads(value)


DAMAGES = {
    "trailing commas": "metadata.csv can't be read .*rows have more fields",
    "separator": "metadata.csv can't be read .*lacks the columns trace_name",
    "without trace_name": "metadata.csv can't be read .*trace_name",
    "without trace_start_time": "lacks .*trace_start_time",
    "without station_code": "lacks .*station_code",
    "binary": "metadata.csv can't be read",
    "quote": "metadata.csv can't be read",
    "empty": "metadata.csv can't be read",
    "no metadata.csv": "lacks metadata.csv",
    "no waveforms.hdf5": "lacks waveforms.hdf5",
    "truncated": "waveforms.hdf5 can't be read as HDF5",
    "climbing": "lacks metadata/../../x.csv",
    'data_format/sampling_rate="fast"': "data_format that can't be read",
    "data_format=3": "data_format that can't be",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_set_is_refused_in_one_sentence(tmp_path, kind):
    write(tmp_path / "in", [row("a"), row("b", 1)], {"a": noise(1), "b": noise(2)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/NRCA_pre.hdf5").write_bytes(b"kept")
    damage(tmp_path / "in", kind)
    with pytest.raises(ForeshapError, match=DAMAGES[kind]):
        from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["NRCA_pre.hdf5"]
    assert (tmp_path / "out/NRCA_pre.hdf5").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_byte_order_mark_and_mixed_times_are_read(tmp_path):
    times = [
        "2016-10-30 06:00:00",
        "2016-10-30T06:10:00.25Z",
        "2016-10-30T08:20:00+02:00",
        "2016/10/30 07:00:00.000001",
    ]
    rows = [row(f"e{n}", trace_start_time=time) for n, time in enumerate(times)]
    write(tmp_path, rows, {one["trace_name"]: noise(1) for one in rows})
    text = (tmp_path / "metadata.csv").read_text()
    (tmp_path / "metadata.csv").write_text(text.replace("IV", "NA"), encoding="utf-8-sig")
    assert from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK).written == 4
    table = traces(tmp_path / "out")[1]
    assert set(table["network_code"]) == {"NA"}
    minutes = (event_times(table) - START - pd.Timedelta(seconds=20)) / pd.Timedelta(minutes=1)
    np.testing.assert_allclose(minutes, [0, 10 + 0.25 / 60, 20, 60 + 1e-6 / 60], atol=1e-9)


def test_what_is_not_exported_is_named(tmp_path, library):
    write(
        tmp_path / "in",
        [row(name, n, snr=n) for n, name in enumerate("abcd")],
        {name: noise(1) for name in "abcd"},
    )
    layout = tmp_path / "layout"
    from_seisbench(tmp_path / "in", layout, MAINSHOCK)
    with h5py.File(layout / "NRCA_pre.hdf5", "a") as file:
        file.move("NRCA.IV.a_EV", "NRCA.IV.a$_EV")
        del file["NRCA.IV.b_EV"]
        file["NRCA.IV.b_EV"] = noise(1)[:2]
    table = pd.read_csv(layout / "NRCA_pre_attributes.csv").replace("NRCA.IV.a_EV", "NRCA.IV.a$_EV")
    table.loc[3, "p_s_diff_sec"] = -1
    table.to_csv(layout / "NRCA_pre_attributes.csv", index=False)
    report = to_seisbench(layout, tmp_path / "sb")
    assert report.written == 1 and reasons(report) == {
        "NRCA.IV.a$_EV": "name that can't be used",
        "NRCA.IV.b_EV": "component missing",
        "NRCA.IV.d_EV": "S-P zero or negative",
    }
    exported = pd.read_csv(tmp_path / "sb/metadata.csv")
    assert list(exported["trace_name"]) == ["NRCA.IV.c_EV"] and list(exported["snr"]) == [2]
    with h5py.File(tmp_path / "sb/waveforms.hdf5") as file:
        assert (
            list(file["data"]) == ["NRCA.IV.c_EV"]
            and file["data_format/component_order"][()] == b"ENZ"
        )
    with h5py.File(layout / "NRCA_post.hdf5", "a") as file:
        file["NRCA.IV.z_EV"] = noise(1)
        file.attrs["unit"] = "nm/s"
    table.loc[[2]].assign(trace_name="NRCA.IV.z_EV").to_csv(
        layout / "NRCA_post_attributes.csv", index=False
    )
    before = (tmp_path / "sb/waveforms.hdf5").read_bytes()
    with pytest.raises(ForeshapError, match="counts and nm/s"):
        to_seisbench(layout, tmp_path / "sb")
    assert (tmp_path / "sb/waveforms.hdf5").read_bytes() == before


def test_a_layout_of_the_needed_columns_and_one_of_too_many_are_exported(tmp_path, library):
    long = noise(2, 250_000)
    for period, day, samples in (("pre", "29", noise(1)), ("post", "31", long)):
        (tmp_path / "in").mkdir(exist_ok=True)
        with h5py.File(tmp_path / f"in/NRCA_{period}.hdf5", "w") as file:
            file[period] = samples
        about = {
            "trace_name": [period],
            "trace_start_time": [f"2016-10-{day}"],
            "p_s_diff_sec": [2.0],
        }
        about |= (
            {}
            if period == "pre"
            else {"station_code": ["OTHER"], "trace_sampling_rate_hz": [50], "snr": [3]}
        )
        pd.DataFrame(about).to_csv(tmp_path / f"in/NRCA_{period}_attributes.csv", index=False)
    assert to_seisbench(tmp_path / "in", tmp_path / "sb").written == 2
    header = (tmp_path / "sb/metadata.csv").read_text().splitlines()[0].split(",")
    assert len(set(header)) == len(header) and "snr" in header
    np.testing.assert_array_equal(
        library.WaveformDataset(tmp_path / "sb", component_order="ENZ").get_waveforms(1), long
    )
    assert from_seisbench(tmp_path / "sb", tmp_path / "out", MAINSHOCK).written == 2
    assert [*traces(tmp_path / "out")[0]] == ["pre", "post"]
