"""Known answers for recordings in all their forms, the response, and windows without an event."""

import gzip
import os
import pickle

import h5py
import numpy as np
import obspy
import pandas as pd
import pytest
from obspy.core.inventory import Channel, Inventory, Network, Response, Site, Station

import foreshap
from foreshap import from_continuous
from foreshap.files import ForeshapError
from foreshap.preprocessing.clipping import flagged
from foreshap.preprocessing.variants import SIDES
from foreshap.preprocessing.waveforms import read_table
from foreshap.sources.noise_windows import QUIET_AFTER, QUIET_BEFORE

START = obspy.UTCDateTime("2020-01-01T00:00:00")
MAINSHOCK = "2020-01-01T00:05:00"
SECONDS = 600


def counts(seed, seconds=SECONDS):
    return np.random.default_rng(seed).integers(-(2**20), 2**20, seconds * 100, dtype=np.int32)


def trace(code, samples, start=0.0, rate=100.0, location="", network="NA"):
    header = {
        "network": network,
        "station": "TST",
        "location": location,
        "channel": code,
        "sampling_rate": rate,
    }
    return obspy.Trace(np.asarray(samples), header | {"starttime": START + start})


def write(path, *traces, form="MSEED"):
    path.parent.mkdir(parents=True, exist_ok=True)
    obspy.Stream(list(traces)).write(str(path), format=form)
    return path


def picks(path, *pairs):
    """Write pairs (event, P, S) in seconds after START."""
    rows = [(name, "NA", "TST", str(START + p), str(START + s)) for name, p, s in pairs]
    pd.DataFrame(rows, columns=["event_id", "network", "station", "p_time", "s_time"]).to_csv(
        path, index=False
    )
    return path


def imported(tmp_path, *pairs, source="in", mainshock=MAINSHOCK, **options):
    """Import; returns (report, trace name -> samples, both periods' tables, attributes)."""
    table = picks(tmp_path / "picks.csv", *(pairs or [("a", 100, 102)]))
    report, traces = (
        from_continuous(tmp_path / source, table, tmp_path / "out", mainshock, **options),
        {},
    )
    if not (tmp_path / "out/TST_pre.hdf5").exists():
        return report, {}, None, {}
    for period in SIDES:
        with h5py.File(tmp_path / f"out/TST_{period}.hdf5") as file:
            traces |= {name: file[name][:] for name in file}
            attributes = dict(file.attrs)
    return (
        report,
        traces,
        pd.concat([read_table(tmp_path / "out", "TST", period) for period in SIDES]),
        attributes,
    )


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_among_the_recordings_runs_nothing(tmp_path):
    data = {code: counts(seed) for seed, code in enumerate(("HHE", "HHN", "HHZ"))}
    write(tmp_path / "in/good.mseed", *(trace(code, samples) for code, samples in data.items()))
    mark = b"obspy.core.stream"  # what ObsPy looks for before it unpickles
    evil = pickle.dumps([Payload(tmp_path / "ran"), mark])
    for name in ("evil.pickle", "evil.ms", "evil"):
        (tmp_path / "in" / name).write_bytes(evil)
    (tmp_path / "in/evil.mseed.gz").write_bytes(gzip.compress(evil))
    report, traces, *_ = imported(tmp_path)
    assert report.written == 1 and not (tmp_path / "ran").exists()
    with pytest.raises(ForeshapError, match="holds no miniSEED or SAC"):
        imported(tmp_path, source="in/evil")
    for name in ("evil.mseed", "evil.sac"):
        (tmp_path / name).write_bytes(evil)
        with pytest.raises(
            ForeshapError, match=f"{name} can't be read as a recording .no miniSEED or SAC"
        ):
            imported(tmp_path, source=name)
    for name in ("evil.xml", "evil.hyp", "evil.nor", "evil.csv"):
        (tmp_path / name).write_bytes(evil)
        with pytest.raises(ForeshapError, match=name):
            from_continuous(tmp_path / "in", tmp_path / name, tmp_path / "out", MAINSHOCK)
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists()  # the payload works


@pytest.mark.parametrize("form", ["SAC", "SACXY"])
def test_a_file_a_folder_and_sac_give_the_same_samples(tmp_path, form):
    parts = [trace(code, counts(seed)) for seed, code in enumerate(("HHE", "HHN", "HHZ"))]
    one = write(tmp_path / "one.mseed", *parts)
    for part in parts:
        write(tmp_path / f"sac/deep/{part.stats.channel}.sac", part, form=form)
    expected = np.stack([part.data[9500:12100] for part in parts])
    for source in (one.name, "sac"):
        report, traces, table, _ = imported(tmp_path, source=source)
        np.testing.assert_array_equal(traces["TST.NA.a_EV"], expected)
        assert table["trace_start_time"].tolist() == [str(START + 95)]


def test_sac_without_a_network_serves_the_picks_and_the_response(tmp_path):
    parts = [trace(f"HH{code}", counts(n), network="") for n, code in enumerate("ENZ")]
    for part in parts:
        write(tmp_path / f"in/{part.stats.channel}.sac", part, form="SAC")
    _, traces, *_ = imported(tmp_path)
    np.testing.assert_array_equal(
        traces["TST.NA.a_EV"], np.stack([part.data[9500:12100] for part in parts])
    )
    report, *_ = imported(tmp_path, inventory=stationxml(tmp_path / "s.xml", "flat", 100))
    assert report.written == 1


@pytest.mark.parametrize(
    "code, unit", [(6, "nm"), (7, "nm/s"), (8, "nm/s^2"), (5, "counts"), (50, "counts")]
)
def test_sac_says_its_unit(tmp_path, code, unit):
    parts = [trace(f"HH{c}", counts(n).astype("f4")) for n, c in enumerate("ENZ")]
    for part in parts:
        part.stats.sac = {"idep": code}
        write(tmp_path / f"in/{part.stats.channel}.sac", part, form="SAC")
    _, traces, _, attributes = imported(tmp_path)
    np.testing.assert_array_equal(
        traces["TST.NA.a_EV"], np.stack([part.data[9500:12100] for part in parts])
    )
    assert attributes["unit"] == unit


def test_recordings_in_several_units_are_not_mixed(tmp_path):
    parts = [trace(f"HH{c}", counts(n).astype("f4")) for n, c in enumerate("ENZ")]
    parts[2].stats.sac = {"idep": 7}
    for part in parts:
        write(tmp_path / f"in/{part.stats.channel}.sac", part, form="SAC")
    with pytest.raises(
        ForeshapError, match=r"several units \(counts in .*HHE.sac, nm/s in .*HHZ.sac\)"
    ):
        imported(tmp_path)
    inventory = stationxml(tmp_path / "s.xml", "flat", 100)  # says what they are
    assert imported(tmp_path, inventory=inventory)[3]["unit"] == "nm/s"


def test_real_data_as_sds_and_sac_give_the_same_samples(tmp_path, iquique):
    stream, first = obspy.Stream(), obspy.UTCDateTime("2014-05-01T00:00:00")
    for channel in "ENZ":
        path = str(iquique / f"waveforms/CX.PB01..HH{channel}.D.2014.121")
        stream += obspy.read(path, format="MSEED", starttime=first, endtime=first + 1800)
    for one in stream:
        code = one.stats.channel
        write(tmp_path / f"sds/2014/CX/PB01/{code}.D/CX.PB01..{code}.D.2014.121", *[one])
        write(tmp_path / f"sac/{one.id}.sac", one, form="SAC")
    results = []
    for name in ("sds", "sac"):
        report = from_continuous(
            tmp_path / name, iquique / "picks.xml", tmp_path / f"out_{name}", "2014-04-01T23:46:47"
        )
        with h5py.File(tmp_path / f"out_{name}/PB01_post.hdf5") as file:
            results.append({key: file[key][:] for key in file})
    assert len(results[0]) == report.written > 3 and list(results[0]) == list(results[1])
    for key in results[0]:
        np.testing.assert_array_equal(results[0][key], results[1][key])


def test_overlaps_that_agree_are_joined_and_others_are_refused(tmp_path):
    east, north, vertical = counts(1), counts(2), counts(3)
    write(
        tmp_path / "in/1.mseed",
        trace("HHE", east),
        trace("HHN", north),
        trace("HHZ", vertical[:11000]),
    )
    write(
        tmp_path / "in/2.mseed",
        trace("HHZ", vertical[10500:], 105.0),
        trace("HHE", east[9000:20000], 90.0),
    )
    _, traces, *_ = imported(tmp_path)
    np.testing.assert_array_equal(
        traces["TST.NA.a_EV"], [data[9500:12100] for data in (east, north, vertical)]
    )
    changed = east[9000:20000].copy()
    changed[2000] += 1
    write(tmp_path / "in/3.mseed", trace("HHE", changed, 90.0))
    report, *_ = imported(tmp_path, ("a", 100, 102), ("b", 115, 117), ("c", 130, 132))
    assert report.written == 1
    assert dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == {
        "TST.NA.a_EV": "gap inside the window",
        "TST.NA.b_EV": "gap inside the window",
    }


def test_pieces_of_different_rates_or_directions_are_not_joined(tmp_path):
    parts = [trace(code, counts(seed)) for seed, code in enumerate(("HHN", "HHZ"))]
    write(
        tmp_path / "in/1.mseed",
        *parts,
        trace("HHE", counts(5)[:11000]),
        trace("HH2", counts(5)[11000:], 110.0),
    )
    report, *_ = imported(tmp_path, ("a", 100, 102), ("b", 120, 122))
    assert report.written == 1 and list(report.rejected["reason"]) == ["recordings can't be joined"]
    write(
        tmp_path / "in/1.mseed",
        *parts,
        trace("HHE", counts(5)[:11000]),
        trace("HHE", counts(5)[:40000], 110.0, 50),
    )
    report, *_ = imported(tmp_path)
    assert list(report.rejected["reason"]) == ["recordings can't be joined"]


def test_the_instrument_is_said_and_numbered_channels_are_taken_as_north_and_east(tmp_path):
    one, two, vertical = counts(1), counts(2), counts(3)
    parts = {"HH1": one, "HH2": two, "HHZ": vertical}
    write(
        tmp_path / "in/1.mseed",
        *(trace(code, samples, location="00") for code, samples in parts.items()),
    )
    write(
        tmp_path / "in/2.mseed", *(trace(f"EN{code}", counts(9), location="10") for code in "ENZ")
    )
    _, traces, table, attributes = imported(tmp_path)
    np.testing.assert_array_equal(
        traces["TST.NA.a_EV"], [data[9500:12100] for data in (two, one, vertical)]
    )
    assert table[["receiver_location_code", "receiver_type"]].to_numpy().tolist() == [["00", "HH"]]
    assert (
        attributes["orientation"] == "channel 1 taken as north, 2 as east: no azimuths were given"
    )
    foreshap.preprocess(tmp_path / "out", tmp_path, [foreshap.VARIANTS["P64"]])
    assert list(
        foreshap.load_spectrograms(tmp_path / "P64.h5").table["receiver_location_code"]
    ) == ["00"]


def test_an_event_that_another_instrument_recorded_has_that_reason(tmp_path):
    for location, start in ("00", 0), ("10", 300):
        parts = [
            trace(f"HH{c}", counts(n, 200), start, location=location) for n, c in enumerate("ENZ")
        ]
        write(tmp_path / f"in/{location}.mseed", *parts)
    report, traces, *_ = imported(
        tmp_path, ("a", 100, 102), ("b", 150, 152), ("other", 400, 402), ("none", 250, 252)
    )
    assert sorted(traces) == ["TST.NA.a_EV", "TST.NA.b_EV"]
    assert dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == {
        "TST.NA.other_EV": "another instrument",
        "TST.NA.none_EV": "no waveform at this time",
    }


@pytest.mark.parametrize("content", [b"", bytes(5000), b"<html>404</html>", b"000001D " * 20])
@pytest.mark.parametrize("name", ["y.mseed", "y.SAC", "NA.TST..HHZ.D.2020.001"])
def test_a_file_that_is_named_like_a_recording_and_holds_none_is_named(tmp_path, name, content):
    write(tmp_path / "in/x.mseed", *(trace(f"HH{c}", counts(n)) for n, c in enumerate("ENZ")))
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(ForeshapError, match=f"{name} can't be read as a recording"):
        imported(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_broken_record_is_a_gap_or_named(tmp_path):
    parts = [
        trace(code, np.cumsum(counts(s) % 100).astype(np.int32))
        for s, code in enumerate(("HHE", "HHN", "HHZ"))
    ]
    pairs = ("a", 50, 52), ("b", 300, 302), ("c", 550, 552)
    path = tmp_path / "in/x.mseed"
    obspy.Stream(parts).write(
        str(write(path, *parts)), format="MSEED", reclen=512, encoding="STEIM2"
    )
    good = path.read_bytes()
    _, expected, *_ = imported(tmp_path, *pairs)
    records = len(good) // 512
    broken = bytearray(good)
    broken[512 * (records // 6) : 512 * (records // 6) + 48] = (
        b"\xff" * 48
    )  # a header, in the middle of HHE
    path.write_bytes(broken)
    report, traces, *_ = imported(tmp_path, *pairs)
    assert list(report.rejected["reason"]) == ["gap inside the window"] and len(traces) == 2
    broken = bytearray(good)
    broken[512 * (records // 6) + 200] ^= 0x55  # a sample: Steim's last value no longer fits
    path.write_bytes(broken)
    report, traces, *_ = imported(tmp_path, *pairs)
    assert list(report.rejected["reason"]) == ["samples can't be read: the file is damaged here"]
    assert sorted(traces) == ["TST.NA.a_EV", "TST.NA.c_EV"]
    for name in traces:
        np.testing.assert_array_equal(traces[name], expected[name])
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.*")}
    path.write_bytes(good[:7] + b" " + b"\xff" * 1000)
    with pytest.raises(ForeshapError, match=r"x\.mseed can't be read as a recording"):
        imported(tmp_path, *pairs)
    assert before == {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.*")}


@pytest.mark.parametrize("seed", range(2))
def test_mutated_headers_end_in_a_report_or_a_clear_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    parts = [
        trace(code, np.cumsum(counts(s, 120) % 100).astype(np.int32))
        for s, code in enumerate(("HHE", "HHZ"))
    ]
    parts.append(trace("HHN", np.cumsum(counts(5, 120) % 100).astype(np.int32)))
    path = write(tmp_path / "in/x.mseed", *parts)
    good = np.frombuffer(path.read_bytes(), np.uint8)
    _, expected, *_ = imported(tmp_path, ("a", 50, 52))
    offsets = [
        *range(20),
        30,
        31,
        *range(36, 40),
        *range(44, 64),
    ]  # but time and rate: nothing else confirms them
    for _ in range(10):
        bad, places = (
            good.copy(),
            rng.integers(0, len(good) // 4096, 3) * 4096 + rng.choice(offsets, 3),
        )
        bad[places] = rng.integers(0, 256, 3)
        path.write_bytes(bad[: rng.integers(1, len(bad))] if rng.random() < 0.2 else bad)
        try:
            report, traces, *_ = imported(tmp_path, ("a", 50, 52))
        except ForeshapError:
            continue
        assert report.written + len(report.rejected) == 1
        for name in traces if report.written else ():
            np.testing.assert_array_equal(traces[name], expected[name])


# ground velocity

CORNER, DAMPING, GAIN = 2 * np.pi * 0.5, 0.7, 4e8  # a 2-s seismometer [rad/s, -, counts/(m/s)]
POLES = CORNER * (-DAMPING + 1j * np.sqrt(1 - DAMPING**2) * np.array([1, -1]))
FREQUENCIES = np.linspace(0.37, 38.0, 60)  # Hz
SEISMOMETERS = {
    "flat": (([], []), lambda s: GAIN + 0 * s),
    "2 s": (([0, 0], POLES), lambda s: GAIN * s**2 / (s**2 + 2 * DAMPING * CORNER * s + CORNER**2)),
}


def motion(seed, rate, answer=None):
    """A sum of sines (n,) [m/s], or the counts that a seismometer of this response makes of it."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(FREQUENCIES))
    factors = (
        1e-5 * np.exp(1j * phases) * (1 if answer is None else answer(2j * np.pi * FREQUENCIES))
    )
    times = np.arange(120 * rate) / rate
    return sum((f * np.exp(2j * np.pi * hz * times)).real for f, hz in zip(factors, FREQUENCIES))


def stationxml(path, seismometer, rate, azimuths=(90.0, 0.0), codes="ENZ", since=START - 86400):
    zeros, poles = SEISMOMETERS[seismometer][0]
    response = Response.from_paz(
        zeros, poles, GAIN, output_units="COUNTS", normalization_factor=1.0
    )
    response.instrument_sensitivity.value = GAIN
    directions = zip(codes, (*azimuths, 0.0), (0.0, 0.0, -90.0))
    place = {"latitude": -20.6, "longitude": -70.0, "elevation": 900.0, "depth": 0.0}
    channels = [
        Channel(
            f"HH{c}",
            "",
            **place,
            azimuth=a,
            dip=d,
            sample_rate=rate,
            response=response,
            start_date=since,
        )
        for c, a, d in directions
    ]
    station = Station(
        "TST", -20.6, -70.0, 900.0, channels=channels, site=Site("none"), creation_date=START
    )
    Inventory([Network("NA", [station])], "test").write(str(path), format="STATIONXML")
    return path


@pytest.mark.parametrize("seismometer", SEISMOMETERS)
@pytest.mark.parametrize("rate", [100, 200])
def test_the_response_is_removed_to_ground_velocity(tmp_path, seismometer, rate):
    answer = SEISMOMETERS[seismometer][1]
    parts = [
        trace(f"HH{c}", np.rint(motion(n, rate, answer)).astype(np.int32), 0, rate)
        for n, c in enumerate("ENZ")
    ]
    write(tmp_path / "in/x.mseed", *parts)
    inventory = stationxml(tmp_path / "s.xml", seismometer, rate)
    pairs = ("a", 50, 52), ("early", 14.9, 17), ("late", 90, 92)
    report, traces, table, attributes = imported(tmp_path, *pairs, inventory=inventory)
    assert (
        report.rejected["reason"].tolist() == ["window runs beyond the recording"] * 2
    )  # less than 10 s to taper
    first = round((obspy.UTCDateTime(table["trace_start_time"].iloc[0]) - START) * rate)
    expected = np.stack([1e9 * motion(n, rate)[first:][:: rate // 100][:2600] for n in range(3)])
    assert np.abs(traces["TST.NA.a_EV"] - expected).max() < 0.01 * np.abs(expected).max()
    assert attributes["unit"] == "nm/s" and table["receiver_elevation_m"].tolist() == [900.0]
    foreshap.preprocess(tmp_path / "out", tmp_path, [foreshap.VARIANTS["P64"]])
    with h5py.File(tmp_path / "P64.h5") as file:
        assert file["spectrogram"].attrs["units"] == "log10((nm/s)^2 Hz^-1)"


def test_components_are_turned_to_true_directions(tmp_path):
    answer, angle = SEISMOMETERS["flat"][1], np.radians(30)
    east, north, up = (motion(n, 100, answer) for n in range(3))
    one, two = (
        north * np.cos(angle) + east * np.sin(angle),
        east * np.cos(angle) - north * np.sin(angle),
    )
    numbered = {"HH2": two, "HH1": one, "HHZ": up}
    write(
        tmp_path / "in/x.mseed",
        *(trace(code, np.rint(data).astype(np.int32)) for code, data in numbered.items()),
    )
    inventory = stationxml(tmp_path / "s.xml", "flat", 100, (120.0, 30.0), "21Z")
    _, traces, _, attributes = imported(tmp_path, ("a", 50, 52), inventory=inventory)
    expected = 1e9 * np.stack([motion(n, 100)[4500:7100] for n in range(3)])
    assert np.abs(traces["TST.NA.a_EV"] - expected).max() < 0.01 * np.abs(expected).max()
    assert attributes["orientation"] == "true east, north, up"


@pytest.mark.parametrize("rate, removed", [(50, False), (200, False), (100, True)])
def test_clipped_and_flat_recordings_are_known_by_their_counts(tmp_path, rate, removed):
    rng, times = np.random.default_rng(0), np.arange(120 * rate) / rate
    after = np.maximum(times - 50, 0)
    wave = 3e6 * np.exp(-after / 4) * np.sin(2 * np.pi * 2.3 * after) + rng.normal(
        0, 300, len(times)
    )
    east = np.clip(wave, -1e6, 1e6)
    options = {"inventory": stationxml(tmp_path / "s.xml", "flat", rate)} if removed else {}
    pairs = ("quiet", 20, 22), ("loud", 50, 52)
    for first, reasons in ((east, []), (0 * east + 1234, ["component flat"] * 2)):
        parts = {"HHE": first, "HHN": wave, "HHZ": wave}
        write(
            tmp_path / "in/x.mseed",
            *(trace(c, part.astype(np.int32), 0, rate) for c, part in parts.items()),
        )
        report, _, table, _ = imported(tmp_path, *pairs, **options)
        assert list(report.rejected["reason"]) == reasons
        assert flagged(table).tolist() == [False, True][: report.written]
    with pytest.raises(ForeshapError, match="No trace"):
        foreshap.preprocess(tmp_path / "out", tmp_path)


@pytest.mark.parametrize("rate", [99.99, 99.999, 100.002])
def test_a_rate_near_100_hz_is_another_rate(tmp_path, rate):
    def wave(times):
        return 1e6 * np.sin(2 * np.pi * 17 * times)

    samples = np.rint(wave(np.arange(60_000) / rate)).astype(np.int32)
    parts = [trace(f"HH{c}", samples, 0, rate) for c in "ENZ"]
    rate = obspy.read(str(write(tmp_path / "in/x.mseed", *parts)))[
        0
    ].stats.sampling_rate  # as the file can hold it
    samples = np.rint(wave(np.arange(60_000) / rate)).astype(np.int32)
    write(tmp_path / "in/x.mseed", *(trace(f"HH{c}", samples, 0, rate) for c in "ENZ"))
    _, traces, table, _ = imported(tmp_path, ("a", 500, 502))
    times = obspy.UTCDateTime(table["trace_start_time"].iloc[0]) - START + np.arange(2600) / 100
    assert np.abs(traces["TST.NA.a_EV"] - wave(times)).max() < 2e-4 * 1e6


def test_without_a_response_for_the_time_a_trace_is_rejected(tmp_path):
    write(tmp_path / "in/x.mseed", *(trace(f"HH{c}", counts(n)) for n, c in enumerate("ENZ")))
    inventory = stationxml(tmp_path / "s.xml", "flat", 100, since=START + 86400)
    report, *_ = imported(tmp_path, inventory=inventory)
    assert list(report.rejected["reason"]) == ["response can't be removed"]


def test_several_units_in_one_folder_are_refused(tmp_path):
    write(tmp_path / "in/x.mseed", *(trace(f"HH{c}", counts(n)) for n, c in enumerate("ENZ")))
    imported(tmp_path, ("a", 50, 52), ("b", 400, 402))
    with h5py.File(tmp_path / "out/TST_post.hdf5", "a") as file:
        file.attrs["unit"] = "nm/s"
    with pytest.raises(
        ForeshapError, match=r"several units \(counts in TST_pre.hdf5, nm/s in TST_post.hdf5\)"
    ):
        foreshap.preprocess(tmp_path / "out", tmp_path)


# windows without an event


def test_noise_windows_hold_no_event_and_are_the_recorded_samples(tmp_path):
    data = [counts(n, 3600) for n in range(3)]
    gap = slice(150_000, 152_000)
    north = [trace("HHN", data[1][: gap.start]), trace("HHN", data[1][gap.stop :], gap.stop / 100)]
    write(tmp_path / "in/x.mseed", trace("HHE", data[0]), *north, trace("HHZ", data[2]))
    times = [(f"e{n}", p, p + 3) for n, p in enumerate((300, 700, 1200, 2000, 2300, 3000, 3100))]
    report, *_ = imported(tmp_path, *times, mainshock=str(START + 1800))
    noise = tmp_path / "out/noise"
    assert report.written == 7 and foreshap.preprocessing.waveforms.stations(noise) == ["TST"]
    tables = [read_table(noise, "TST", period) for period in SIDES]
    assert [len(table) for table in tables] == [3, 4]  # as many as events
    for period, table in zip(SIDES, tables):
        with h5py.File(noise / f"TST_{period}.hdf5") as file:
            for name, start in zip(table["trace_name"], table["trace_start_time"]):
                first = obspy.UTCDateTime(start) - START
                assert (period == "pre") == (first + 5 < 1800)
                samples = file[name][:]
                end = first + samples.shape[1] / 100
                np.testing.assert_array_equal(
                    samples, [part[round(first * 100) : round(end * 100)] for part in data]
                )
                for _, p, s in times:
                    assert end <= p - QUIET_AFTER or first >= s + QUIET_BEFORE
                assert end * 100 <= gap.start or first * 100 >= gap.stop
    assert tables[0]["trace_name"].tolist() == [f"TST.NA.noise{n:04d}_EV" for n in (1, 2, 3)]
    starts = [obspy.UTCDateTime(start) - START for start in tables[0]["trace_start_time"]]
    assert starts[0] < 100 and starts[-1] > 1700  # spread over all that was recorded
    reports = foreshap.preprocess(noise, tmp_path / "noise")
    assert all(one.written == 7 and one.rejected.empty for one in reports.values())
    imported(
        tmp_path, *[(f"e{p}", p, p + 1) for p in range(30, 3531, 100)], mainshock=str(START + 1800)
    )
    assert not noise.exists()
    assert [file.name for file in (tmp_path / "out").iterdir() if "noise" in file.name] == []


def test_events_and_noise_are_of_one_run(tmp_path):
    parts = [trace(f"HH{c}", counts(n, 1800)) for n, c in enumerate("ENZ")]
    for station in ("TST", "TWO"):
        for part in parts:
            part.stats.station = station
        write(tmp_path / f"in/{station}.mseed", *parts)
    table = pd.read_csv(picks(tmp_path / "a.csv", ("a", 300, 303), ("b", 1200, 1203)))
    busy = pd.read_csv(
        picks(tmp_path / "a.csv", *[(f"e{p}", p, p + 1) for p in range(30, 1751, 100)])
    )
    table = pd.concat([table, table.assign(station="TWO")])

    def run(pairs, **options):
        pairs.to_csv(tmp_path / "a.csv")
        from_continuous(
            tmp_path / "in", tmp_path / "a.csv", tmp_path / "out", str(START + 600), **options
        )

    def content():
        files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}

    run(table)
    before = content()
    with pytest.raises(ForeshapError, match=r"instrument HH: choose from \.HH"):
        run(table, instrument="HH")
    assert content() == before
    run(pd.concat([table, busy.assign(station="TWO")]))
    assert foreshap.preprocessing.waveforms.stations(tmp_path / "out") == ["TST", "TWO"]
    assert foreshap.preprocessing.waveforms.stations(tmp_path / "out/noise") == ["TST"]
    assert not [path for path in (tmp_path / "out").rglob(".*")]
