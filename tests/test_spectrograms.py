"""Log-spectrograms against scipy, alignment, the tensor file, and what preprocessing rejects."""

import json
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import obspy
import pandas as pd
import pytest
import scipy.signal
import xarray

import foreshap
from foreshap import VARIANTS, Variant
from foreshap.preprocessing.simulation import DEFAULT_EFFECTS, MAINSHOCK
from foreshap.preprocessing.waveforms import COLUMNS, write_waveforms

SHAPES = {"P64": (3, 33, 77), "P32": (3, 17, 353), "S64": (3, 33, 61), "S32": (3, 17, 282)}


def reference(window, variant):
    """scipy.signal.spectrogram and log10, component by component."""
    options = {
        "fs": variant.sampling_rate,
        "nperseg": variant.nperseg,
        "noverlap": variant.noverlap,
    }
    f, t, power = scipy.signal.spectrogram(np.asarray(window, float), **options)
    np.testing.assert_allclose(variant.frequencies, f)
    np.testing.assert_allclose(variant.times, t - variant.seconds_before, atol=1e-12)
    return np.log10(power + 1e-10)


@pytest.mark.parametrize("name", SHAPES)
def test_equals_scipy_on_random_windows(name):
    variant, rng = foreshap.VARIANTS[name], np.random.default_rng(0)
    windows = (
        rng.standard_normal((2, 4, 3, variant.samples)) * 10.0 ** rng.integers(0, 6, (2, 4, 3, 1))
        + 1e5
    )
    before = windows.copy()
    found = foreshap.log_spectrogram(windows, variant)
    assert (
        found.dtype == np.float32
        and found.shape == (2, 4, *SHAPES[name])
        and variant.shape == SHAPES[name]
    )
    np.testing.assert_allclose(found, reference(windows, variant), atol=1e-5)
    np.testing.assert_array_equal(windows, before)


@pytest.mark.parametrize("name", SHAPES)
def test_equals_scipy_on_real_windows(name, iquique):
    variant = foreshap.VARIANTS[name]
    stream = obspy.read(str(iquique / "waveforms" / "CX.PB01.2014-03-01T02.mseed")).sort(
        ["channel"]
    )
    samples = np.stack([trace.data[: 20 * variant.samples] for trace in stream])
    windows = samples.reshape(3, 20, variant.samples).swapaxes(0, 1)
    np.testing.assert_allclose(
        foreshap.log_spectrogram(windows, variant), reference(windows, variant), atol=1e-5
    )


def test_an_odd_number_of_samples_has_no_row_at_nyquist():
    variant, windows = (
        Variant("P65", "P", 5.0, 20.0, 65, 32),
        np.random.default_rng(0).normal(0, 1e3, (3, 2500)),
    )
    np.testing.assert_allclose(
        foreshap.log_spectrogram(windows, variant), reference(windows, variant), atol=1e-5
    )


def test_wrong_length_says_what_was_expected():
    with pytest.raises(
        foreshap.ForeshapError, match="P64 needs windows of 2500 samples, these have 2499"
    ):
        foreshap.log_spectrogram(np.zeros((3, 2499)), foreshap.VARIANTS["P64"])


def layout(folder, traces, **changes):
    """A folder of two files; traces: name -> samples, the first half before the mainshock."""
    names = list(traces)
    for k, period in enumerate(("pre", "post")):
        part = names[k * len(names) // 2 : (k + 1) * len(names) // 2]
        table = pd.DataFrame({"trace_name": part}).reindex(columns=list(COLUMNS))
        table["trace_start_time"] = [f"2016-10-{1 + i:02d}T00:00:0{k}.5Z" for i in range(len(part))]
        table["p_s_diff_sec"] = [changes.get("s_p", {}).get(name, 1.25) for name in part]
        table = table[~table["trace_name"].isin(changes.get("unlisted", []))]
        again = table[table["trace_name"].isin(changes.get("twice", []))]
        same = table[table["trace_name"].isin(changes.get("repeated", []))]
        table = pd.concat([table, again.assign(p_s_diff_sec=2.0), same, same])
        write_waveforms(
            folder, "TST", period, ((n, traces[n]) for n in part if traces[n] is not None), table
        )
    return folder


def noise(rng, samples=2600):
    return rng.integers(-50, 50, (3, samples), dtype=np.int32)


def test_a_spike_lies_in_the_frames_around_its_pick(tmp_path):
    rng, s_p = np.random.default_rng(1), {f"T{i}": 0.5 + 0.37 * i for i in range(6)}
    traces = {name: noise(rng) for name in s_p}
    for name, seconds in s_p.items():
        traces[name][:, 500] = traces[name][:, 500 + round(100 * seconds)] = 10**6
    foreshap.preprocess(layout(tmp_path, traces, s_p=s_p), tmp_path)
    for name, variant in foreshap.VARIANTS.items():
        found = foreshap.load_spectrograms(tmp_path / f"{name}.h5")
        for values, seconds in zip(found.values, found.table["p_s_diff_sec"]):
            loud = variant.times[values.mean(axis=(0, 1)) > 5]
            arrivals = (0, seconds) if variant.phase == "P" else (-seconds, 0)
            nearest = np.min(np.abs(loud[:, None] - arrivals), axis=1)
            half = variant.nperseg / variant.sampling_rate / 2
            assert (nearest <= half + 0.0051).all()
            for arrival in arrivals:
                inside = (
                    np.abs(variant.times - arrival) < half * 0.75
                )  # the taper hides a spike at a frame's edge
                assert np.isin(variant.times[inside], loud).all()


def test_waveforms_that_name_no_unit_are_counts(tmp_path):
    folder = layout(
        tmp_path / "in",
        {"A": noise(np.random.default_rng(0)), "B": noise(np.random.default_rng(1))},
    )
    for path in folder.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            file.attrs.pop("unit")  # as in the published archives
    foreshap.preprocess(folder, tmp_path)
    found = foreshap.load_spectrograms(tmp_path / "P64.h5")
    assert (
        found.attributes["unit"] == "counts"
        and found.values.attrs["units"] == "log10(counts^2 Hz^-1)"
    )


def test_windows_below_the_floor_are_rejected_and_quiet_or_padded_ones_are_not(tmp_path):
    rng = np.random.default_rng(0)
    traces = {scale: noise(rng) * float(scale) for scale in ("1e-8", "1e-6", "1e-3", "1")}
    traces |= {name: 0 * noise(rng) for name in ("steps", "padded", "one live component", "counts")}
    traces["steps"][:, 1000] = 1  # a digitiser that is coarser than the noise
    traces["padded"] = np.where(np.arange(2600) > 2400, traces["1e-3"], 0)
    traces["one live component"] = np.concatenate([traces["1e-8"][:2], traces["steps"][2:]])
    traces["counts"] = noise(rng)
    reports = foreshap.preprocess(
        layout(tmp_path, traces), tmp_path, [VARIANTS["P64"], VARIANTS["P32"]]
    )
    reason = "below the logarithm's floor: use counts or nm/s"
    for report in reports.values():
        assert report.rejected.to_numpy().tolist() == [["1e-8", reason], ["1e-6", reason]]
    folder = layout(tmp_path / "all", dict.fromkeys("AB", traces["1e-8"]))
    with pytest.raises(
        foreshap.ForeshapError,
        match="No trace of .*for P64 .2 times 'below the logarithm's floor: use",
    ):
        foreshap.preprocess(folder, tmp_path)


def stating(folder, **attributes):
    """A folder of two pulses at P whose files state these attributes."""
    rate = attributes.get("sampling_rate", 100)
    traces = {name: noise(np.random.default_rng(i)) for i, name in enumerate("AB")}
    for samples in traces.values():
        samples[:, round(5 * rate) : round(5.3 * rate)] *= 10**5
    for path in layout(folder, traces).glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            file.attrs.update(attributes)
    return folder


def test_variants_are_of_the_rate_that_the_files_state(tmp_path):
    for rate in (50.0, 200.0):
        folder, variant = (
            stating(tmp_path / f"{rate}", sampling_rate=rate),
            Variant("X", "P", 5.0, 7.0, 64, 32, rate),
        )
        foreshap.preprocess(folder, folder, [variant])
        found = foreshap.load_spectrograms(folder / "X.h5").values[:].mean(axis=(0, 1, 2))
        assert -0.1 < variant.times[found.argmax()] < 0.6
        with pytest.raises(
            foreshap.ForeshapError, match=f"TST_pre.hdf5 is sampled at {rate} Hz, P64 needs 100 Hz"
        ):
            foreshap.preprocess(folder, tmp_path)
        with pytest.raises(foreshap.ForeshapError, match=f"at 100.0 Hz, X needs {rate:g} Hz"):
            foreshap.preprocess(
                layout(tmp_path / "usual", {"A": noise(np.random.default_rng(0)), "B": None}),
                tmp_path,
                [variant],
            )
    folder = stating(tmp_path / "as text", component_order=[b"E", b"N", b"Z"])
    assert foreshap.preprocess(folder, tmp_path)["P64"].written == 2
    for order in ("ZNE", "NEZ", "", b"\xff", h5py.Empty("f4")):
        with pytest.raises(
            foreshap.ForeshapError, match="TST_pre.hdf5 states the components .*, not ENZ"
        ):
            foreshap.preprocess(stating(tmp_path / "order", component_order=order), tmp_path)


def test_variants_that_can_t_be_or_are_none_get_a_sentence(tmp_path):
    folder, p64 = stating(tmp_path), VARIANTS["P64"]
    assert list(foreshap.preprocess(folder, tmp_path, p64)) == list(
        foreshap.preprocess(folder, tmp_path, iter([p64]))
    )
    for variants, words in (
        (["P64"], "'P64' is no Variant"),
        (5, "5 is no Variant"),
        ([p64, p64], "P64, P64 have one"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.preprocess(folder, tmp_path, variants)
    for wrong in ({"noverlap": 64}, {"noverlap": -1}, {"phase": "X"}, {"nperseg": 2501}):
        with pytest.raises(foreshap.ForeshapError, match="name='P64'.* can't be: give phase"):
            replace(p64, **wrong)


def test_preprocessing_needs_no_torch(tmp_path):
    code = """if True:
        import foreshap, sys
        foreshap.preprocess(*sys.argv[1:])
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, stating(tmp_path / "in"), tmp_path], check=True)


def test_tensors_carry_their_dataset_mainshock_and_unit(demo, tmp_path):
    found = foreshap.load_spectrograms(demo.folder / "P64.h5").attributes
    assert found["mainshock"] == str(foreshap.periods(MAINSHOCK).mainshock)
    assert found["unit"] == "counts" and found["dataset"] == demo.folder.name
    folder = stating(tmp_path / "in", unit="nm/s", mainshock="2016-10-30 06:40:17+00:00")
    foreshap.preprocess(folder, tmp_path, dataset="mine")
    found = foreshap.load_spectrograms(tmp_path / "P64.h5").attributes
    assert [found[name] for name in ("dataset", "mainshock", "unit")] == [
        "mine",
        "2016-10-30 06:40:17+00:00",
        "nm/s",
    ]


def test_tensors_carry_the_name_of_their_dataset(tmp_path):
    for folder, name in (
        ("mine/waveforms", "mine"),
        ("mine/waveforms/noise", "mine"),
        ("alone", "alone"),
    ):
        foreshap.preprocess(stating(tmp_path / folder), tmp_path, [VARIANTS["P64"]])
        assert foreshap.load_spectrograms(tmp_path / "P64.h5").attributes["dataset"] == name


def test_each_unusable_trace_is_named_with_its_reason(tmp_path):
    rng = np.random.default_rng(2)
    traces = {f"T{i:02d}": noise(rng) for i in range(16)}
    bad = traces["T01"].astype(float)
    bad[1, 7] = np.nan
    flat = traces["T02"].copy()
    flat[2] = 5
    traces |= {
        "T00": traces["T00"][:2],
        "T01": bad,
        "T02": flat,
        "T03": traces["T03"][:, :2499],
        "T07": None,
    }
    traces["T15"] = traces["T15"][0]
    traces["T12"] = np.repeat(traces["T12"], 2, axis=0)
    changes = {
        "s_p": {"T04": np.nan, "T05": 0.0, "T06": -0.3, "T14": 6.5},
        "unlisted": ["T08"],
        "twice": ["T09"],
    }
    changes |= {"repeated": ["T10"]}  # one row three times is one row
    folder = layout(tmp_path, traces, **changes)
    with h5py.File(folder / "TST_post.hdf5", "r+") as file:  # a group instead of an array
        del file["T13"]
        file.create_group("T13")
    reports = foreshap.preprocess(folder, tmp_path)
    expected = {
        "T00": "component missing",
        "T01": "samples not finite",
        "T02": "component flat",
        "T03": "window longer than the trace",
        "T05": "S-P zero or negative",
        "T06": "S-P zero or negative",
        "T07": "no waveform in the file",
        "T08": "no row in the table",
        "T09": "duplicate name",
        "T12": "not of shape (3, samples)",
        "T13": "no array of samples",
        "T15": "component missing",
    }
    for name, report in reports.items():
        found = dict(zip(report.rejected["trace_name"], report.rejected["reason"]))
        wanted = expected | (
            {"T14": "window longer than the trace", "T04": "S-P missing"}
            if name.startswith("S")
            else {}
        )
        wanted = {
            k: v for k, v in wanted.items() if k != "T03" or name.startswith("P")
        }  # S windows are shorter
        assert found == wanted
        tensors = foreshap.load_spectrograms(tmp_path / f"{name}.h5")
        assert report.written == len(tensors.labels) == 16 - len(wanted)
        assert set(tensors.table["trace_name"]) == set(traces) - set(wanted)


def test_tensors_are_those_of_the_windows_and_in_the_order_of_the_table(demo):
    for name, variant in foreshap.VARIANTS.items():
        s = foreshap.load_spectrograms(demo.folder / f"{name}.h5")
        for row in (0, 41, 79):
            event = s.table.iloc[row]
            period = ("pre", "post")[s.labels[row]]
            with h5py.File(demo.waveforms / f"DEMO_{period}.hdf5") as file:
                trace = file[event["trace_name"]][:]
            start = 0 if variant.phase == "P" else round(100 * event["p_s_diff_sec"])
            np.testing.assert_allclose(
                s.values[row],
                reference(trace[:, start : start + variant.samples], variant),
                atol=1e-5,
            )
    assert (np.bincount(s.labels) == 40).all()


def test_xarray_shows_named_axes_units_and_flags(demo):
    with xarray.open_dataset(demo.folder / "S32.h5", engine="h5netcdf") as data:
        assert data["spectrogram"].dims == ("trace_name", "channel", "frequency", "time")
        assert data["spectrogram"].shape == (80, 3, 17, 282)
        assert list(data["channel"].values) == ["E", "N", "Z"]
        np.testing.assert_allclose(data["time"], foreshap.VARIANTS["S32"].times)
        assert data["time"].units == "s" and data["frequency"].units == "Hz"
        assert data["spectrogram"].units == "log10(counts^2 Hz^-1)"
        assert data["label"].flag_meanings == "foreshock aftershock" and list(
            data["label"].flag_values
        ) == [0, 1]
        assert data["source_magnitude"].dims == ("trace_name",)
        assert json.loads(data.attrs["variant"])["nperseg"] == 32
        assert (
            data.attrs["simulated"].startswith("yes")
            and json.loads(data.attrs["effects"]) == DEFAULT_EFFECTS
        )
        assert len(json.loads(data.attrs["source_sha256"])) == 2


def test_twice_the_same_bytes_and_nothing_of_a_failed_run(demo, tmp_path):
    foreshap.preprocess(demo.waveforms, tmp_path)
    for name in SHAPES:
        assert (tmp_path / f"{name}.h5").read_bytes() == (demo.folder / f"{name}.h5").read_bytes()
    kept = (tmp_path / "P64.h5").read_bytes()
    broken = layout(tmp_path / "broken", {"A": None, "B": None})
    with pytest.raises(foreshap.ForeshapError, match="No trace of"):
        foreshap.preprocess(broken, tmp_path)
    assert (tmp_path / "P64.h5").read_bytes() == kept and len(list(tmp_path.glob("*.h5"))) == 5
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("damage", ["text", "truncated", "other HDF5", "other shape"])
def test_damaged_tensor_files_give_one_sentence(demo, tmp_path, damage):
    path, whole = tmp_path / "P64.h5", (demo.folder / "P64.h5").read_bytes()
    path.write_bytes({"text": b"no HDF5", "truncated": whole[: len(whole) // 2]}.get(damage, whole))
    if damage == "other HDF5":
        h5py.File(path, "w").close()
    if damage == "other shape":
        with h5py.File(path, "r+") as file:
            file.attrs["variant"] = h5py.File(demo.folder / "P32.h5").attrs["variant"]
    with pytest.raises(foreshap.ForeshapError, match="P64.h5") as error:
        foreshap.load_spectrograms(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["spectrogram", "time", "channel", "a/b", "."])
def test_a_column_can_t_take_the_place_of_the_tensors(tmp_path, name):
    folder = layout(
        tmp_path, {"A": noise(np.random.default_rng(0)), "B": noise(np.random.default_rng(1))}
    )
    table = tmp_path / "TST_post_attributes.csv"
    pd.read_csv(table).assign(**{name: 1}).to_csv(table, index=False)
    with pytest.raises(foreshap.ForeshapError, match=f"A table in .* has a column {name}, "):
        foreshap.preprocess(folder, tmp_path)
    assert not list(tmp_path.glob("*.h5"))


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(foreshap.ForeshapError, match="holds no <STATION>_pre.hdf5"):
        foreshap.preprocess(tmp_path, tmp_path)
    layout(tmp_path, {"A": noise(np.random.default_rng(0)), "B": noise(np.random.default_rng(1))})
    (tmp_path / "TST_pre_attributes.csv").rename(
        tmp_path / "TST_pre_attribute.csv"
    )  # also spelled so
    assert foreshap.preprocess(tmp_path, tmp_path)["P64"].written == 2
    (tmp_path / "TST_pre_attribute.csv").write_text("trace_name\nA\n")
    with pytest.raises(
        foreshap.ForeshapError, match="lacks the columns p_s_diff_sec, trace_start_time"
    ):
        foreshap.preprocess(tmp_path, tmp_path)
    (tmp_path / "TST_post.hdf5").unlink()
    with pytest.raises(foreshap.ForeshapError, match="only one of TST_pre.hdf5 and TST_post.hdf5"):
        foreshap.preprocess(tmp_path, tmp_path)


def test_a_file_that_is_open_elsewhere_is_not_called_damaged(tmp_path):
    path = tmp_path / "S64.h5"
    with h5py.File(path, "w"):
        code = f"import foreshap; foreshap.load_spectrograms({str(path)!r})"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    sentence = found.stderr.splitlines()[-1]
    assert "is open elsewhere" in sentence and "download it again" not in sentence
