"""What the field throws at the sources: the right value of each kind."""

import io

import h5py
import numpy as np
import obspy
import pandas as pd
import pytest
from obspy.core import event as quakeml
from obspy.core.inventory import Channel, Inventory, Network, Response, Station

import foreshap
from foreshap.preprocessing.clipping import filled_gap
from foreshap.sources.fdsn import check_events
from foreshap.sources.picks import utc_times

START = obspy.UTCDateTime("2016-10-01T00:00:00")
MAINSHOCK = "2016-10-30"
WAYS = {"E": (90.0, 0.0), "N": (0.0, 0.0), "Z": (0.0, -90.0)}
GAIN = 1e9


def counts(seed, n=20_000):
    return (np.random.default_rng(seed).normal(size=n) * 1000).astype(np.int32)


def write(path, channels, start=START, rate=100.0, form="MSEED", network="IV", sac=None):
    """Write channels (code -> samples): one file, or one a channel in SAC's forms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = obspy.Stream()
    for code, samples in channels.items():
        header = {"network": network, "station": "TST", "channel": code, "starttime": start}
        header |= {"sampling_rate": rate, "sac": (sac or {}).get(code, {})}
        stream += obspy.Trace(samples, header)
    if form == "MSEED":
        stream.write(str(path), form)
    else:
        for trace in stream:
            trace.write(f"{path}.{trace.stats.channel}.sac", form)


def three(band="HH", letters="ENZ", n=20_000):
    return {band + letter: counts(seed, n) for seed, letter in enumerate(letters)}


def picks(path, *pairs, network="IV", **columns):
    """Write pairs (event, P, S) in seconds after START, S None where there is none."""
    rows = []
    for name, p, s in pairs:
        rows.append((name, network, "TST", str(START + p), "" if s is None else str(START + s)))
    names = ["event_id", "network", "station", "p_time", "s_time"]
    pd.DataFrame(rows, columns=names).assign(**columns).to_csv(path, index=False)
    return path


def imported(tmp_path, *pairs, network="IV", **options):
    """Import in/ with pairs; returns report, trace name -> samples, table of the foreshocks."""
    table = picks(tmp_path / "p.csv", *(pairs or [("e", 63, 66)]), network=network)
    out = tmp_path / "out"
    report = foreshap.from_continuous(tmp_path / "in", table, out, MAINSHOCK, **options)
    if not (out / "TST_pre.hdf5").exists():
        return report, {}, None
    with h5py.File(out / "TST_pre.hdf5") as file:
        traces = {name: file[name][:] for name in file}
    return report, traces, pd.read_csv(out / "TST_pre_attributes.csv", dtype={"network_code": str})


def stationxml(path, epochs, letters="ENZ", ways=WAYS, band="HH"):
    """Write StationXML of epochs (gain, first, last, latitude) of three channels."""
    channels = []
    for gain, first, last, latitude in epochs:
        response = Response.from_paz(
            [0, 0], [-0.03 + 0.03j, -0.03 - 0.03j], gain, input_units="M/S", output_units="COUNTS"
        )
        for letter in letters:
            about = {"start_date": first, "end_date": last, "response": response}
            azimuth, dip = ways[letter]
            place = latitude, 13.1, 700.0, 0.0
            channels.append(
                Channel(band + letter, "", *place, azimuth, dip, sample_rate=100.0, **about)
            )
    station = Station("TST", epochs[0][3], 13.1, 700.0, channels=channels)
    Inventory([Network("IV", [station])], source="x").write(str(path), "STATIONXML")
    return path


BEFORE, LATER = START - 86_400, START + 86_400


@pytest.mark.parametrize("slow", [1.0, 20.0])
def test_a_slow_channel_is_never_taken_for_100_hz(tmp_path, slow):
    write(tmp_path / "in/fast.mseed", three("HN", n=9000))
    write(tmp_path / "in/slow.mseed", three("LH", n=int(200 * slow)), rate=slow)
    report, _, table = imported(tmp_path, ("a", 50, 52), ("b", 150, 152))
    assert list(table["receiver_type"]) == ["HN"] and list(table["recorded_rate_hz"]) == [100]
    assert list(report.rejected["reason"]) == ["another instrument"]
    (tmp_path / "in/fast.mseed").unlink()
    report, *_ = imported(tmp_path, ("a", 100, 102))
    assert list(report.rejected["reason"]) == ["recorded below 40 Hz"]


def test_what_differs_between_the_classes_is_said(tmp_path):
    write(tmp_path / "in/before.mseed", three())
    later = obspy.UTCDateTime("2016-11-05")
    coarse = {code: samples * 4 for code, samples in three(n=40_000).items()}
    write(tmp_path / "in/after.mseed", coarse, later, rate=200.0)
    imported(tmp_path, ("a", 63, 66), ("b", later - START + 63, later - START + 66))
    said = foreshap.preprocess(tmp_path / "out", tmp_path)["P64"].differences
    assert said == [
        "TST: recorded_rate_hz is 100.0 in foreshocks, 200.0 in aftershocks",
        "TST: recorded_step is 1.0 in foreshocks, 4.0 in aftershocks",
    ]
    attributes = foreshap.load_spectrograms(tmp_path / "P64.h5").attributes
    assert attributes["instrument_differences"].split("\n") == said


def test_response_place_and_gain_are_those_of_the_epoch_at_p(tmp_path):
    change = START + 80
    write(tmp_path / "in/x.mseed", three(n=30_000))
    one = stationxml(tmp_path / "one.xml", [(GAIN, BEFORE, LATER, 42.0)])
    _, expected, _ = imported(tmp_path, ("a", 40, 42), ("b", 110, 112), inventory=one)
    both = [(GAIN, BEFORE, change, 42.0), (10 * GAIN, change, LATER, 42.8)]
    two = stationxml(tmp_path / "two.xml", both)
    pairs = ("a", 40, 42), ("b", 110, 112), ("at", 84, 86)
    report, traces, table = imported(tmp_path, *pairs, inventory=two)
    assert list(report.rejected["reason"]) == ["response changes inside the window"]
    for name, factor in (("TST.IV.a_EV", 1), ("TST.IV.b_EV", 10)):
        wanted = expected[name] / factor
        assert np.abs(traces[name] - wanted).max() < 0.05 * wanted.std()
    assert list(table["receiver_latitude"]) == [42.0, 42.8]
    np.testing.assert_allclose(table["response_gain"], [GAIN, 10 * GAIN], rtol=0.01)
    assert list(table["response_start"]) == [str(BEFORE), str(change)]
    same = stationxml(
        tmp_path / "same.xml", [(GAIN, BEFORE, change, 42), (GAIN, change, LATER, 42)]
    )
    assert imported(tmp_path, *pairs, inventory=same)[0].written == 3  # a new epoch, nothing new
    overlap = [(GAIN, BEFORE, LATER, 42.0), (2 * GAIN, change, LATER, 42.0)]
    overlap = stationxml(tmp_path / "overlap.xml", overlap)
    report, *_ = imported(tmp_path, ("a", 40, 42), ("b", 110, 112), inventory=overlap)
    assert list(report.rejected["reason"]) == ["epochs of the StationXML disagree"]


def test_a_folder_of_stationxml_is_read(tmp_path):
    write(tmp_path / "in/x.mseed", three(n=30_000))
    (tmp_path / "xml/deep").mkdir(parents=True)
    stationxml(tmp_path / "xml/deep/IV.TST.xml", [(GAIN, BEFORE, LATER, 42.0)])
    (tmp_path / "xml/other.xml").write_text("<q:quakeml xmlns:q='x'/>")
    assert imported(tmp_path, ("a", 103, 106), inventory=tmp_path / "xml")[0].written == 1
    (tmp_path / "xml/deep/IV.TST.xml").unlink()
    with pytest.raises(foreshap.ForeshapError, match="holds no StationXML"):
        imported(tmp_path, inventory=tmp_path / "xml")


TURNED = {
    "23Z": {"2": (0.0, 0.0), "3": (90.0, 0.0), "Z": (0.0, -90.0)},
    "123": {"1": (90.0, 0.0), "2": (0.0, 0.0), "3": (0.0, -90.0)},
    "21Z": {"2": (180.0, 0.0), "1": (90.0, 0.0), "Z": (0.0, -90.0)},
}


@pytest.mark.parametrize("letters", TURNED)
def test_sac_and_stationxml_tell_directions(tmp_path, letters):
    ways, data = TURNED[letters], three("BH", letters, 30_000)
    headers = {}
    for letter, (azimuth, dip) in ways.items():
        headers["BH" + letter] = {"cmpaz": azimuth, "cmpinc": dip + 90.0}
    write(tmp_path / "in/x", data, form="SAC", sac=headers)
    _, traces, _ = imported(tmp_path, ("a", 103, 106))
    first = 9800
    for component, way in zip(traces["TST.IV.a_EV"], WAYS.values()):
        for letter, (azimuth, dip) in ways.items():
            recorded = data["BH" + letter][first : first + component.size]
            if (azimuth % 180, dip) == way:
                sign = -1 if azimuth == 180 else 1
                np.testing.assert_array_equal(component, sign * recorded)
    epochs = [(GAIN, BEFORE, LATER, 42.0)]
    inventory = stationxml(tmp_path / "s.xml", epochs, letters, ways, "BH")
    _, turned, _ = imported(tmp_path, ("a", 103, 106), inventory=inventory)
    for one, other in zip(turned["TST.IV.a_EV"], traces["TST.IV.a_EV"]):
        assert np.corrcoef(one, other)[0, 1] > 0.9


@pytest.mark.parametrize(
    "letters, ways, reason",
    [
        ("12Z", {"1": 10.0, "2": 15.0}, "components nearly in one plane"),
        ("ENZ", {"E": 90.0, "N": 270.0}, "components nearly in one plane"),
        ("23Z", {}, "direction of a component unknown"),
        ("UVW", {}, "direction of a component unknown"),
    ],
)
def test_directions_that_cannot_be_are_reasons(tmp_path, letters, ways, reason):
    headers = {
        f"BH{letter}": {"cmpaz": azimuth, "cmpinc": 90.0} for letter, azimuth in ways.items()
    }
    if ways:
        headers["BHZ"] = {"cmpaz": 0.0, "cmpinc": 0.0}
    write(tmp_path / "in/x", three("BH", letters), form="SAC", sac=headers)
    assert list(imported(tmp_path)[0].rejected["reason"]) == [reason]


@pytest.mark.parametrize("letters", ["ENZ", "enz", "12Z"])
@pytest.mark.parametrize("band", ["", "EH", "eh"])
def test_channels_of_one_letter_and_of_small_ones_are_read(tmp_path, band, letters):
    data = three(band, letters)
    write(tmp_path / "in/x.mseed", data)
    _, traces, table = imported(tmp_path)
    east = data[band + letters[1 if letters == "12Z" else 0]]
    np.testing.assert_array_equal(traces["TST.IV.e_EV"][0], east[5800:8400])


@pytest.mark.parametrize("value", [0, "last"])
@pytest.mark.parametrize("rate", [100, 200])
def test_a_gap_filled_with_one_value_is_a_gap(tmp_path, value, rate):
    data = three(n=200 * rate)
    for samples in data.values():
        samples[70 * rate : 71 * rate] = samples[70 * rate - 1] if value == "last" else value
    write(tmp_path / "in/x.mseed", data, rate=rate)
    report, *_ = imported(tmp_path, ("a", 63, 66), ("good", 120, 122))
    assert report.written == 1 and list(report.rejected["reason"]) == ["gap inside the window"]


def test_quiet_coarse_and_clipped_records_have_no_filled_gap():
    rng = np.random.default_rng(0)
    coarse = np.rint(rng.normal(size=3000) * 0.2)  # mostly 0
    wave = np.clip(1e6 * np.sin(np.arange(3000) / 100) + rng.normal(size=3000), -5e5, 5e5)
    assert not filled_gap(coarse, 100) and not filled_gap(wave, 100)
    live = rng.normal(size=3000)
    assert not filled_gap(live, 100)
    live[1000:1060] = live[1000]
    assert filled_gap(live, 100) and not filled_gap(live[1010:], 100)
    assert filled_gap(live[1005:], 100, at_edges=True)


def test_text_samples_and_mixed_types_and_nan(tmp_path):
    data = three()
    write(tmp_path / "in/x.mseed", data)
    write(tmp_path / "in/y", {c: samples.astype("f4") for c, samples in data.items()}, form="SAC")
    _, traces, _ = imported(tmp_path)
    np.testing.assert_array_equal(traces["TST.IV.e_EV"][0], data["HHE"][5800:8400])
    letters = np.array([b"A", b"B"] * 10_000, "S1")
    write(tmp_path / "in/x.mseed", data | {"HHE": letters})
    for path in (tmp_path / "in").glob("*.sac"):
        path.unlink()
    assert list(imported(tmp_path)[0].rejected["reason"]) == ["samples are no numbers"]
    broken = {code: samples.astype("f4") for code, samples in three(n=30_000).items()}
    broken["HHN"][10_500:10_502] = np.nan
    write(tmp_path / "in/x.mseed", broken)
    inventory = stationxml(tmp_path / "s.xml", [(GAIN, BEFORE, LATER, 42.0)])
    for options in ({}, {"inventory": inventory}):
        report, *_ = imported(tmp_path, ("a", 103, 106), ("b", 40, 42), **options)
        assert report.written == 1 and list(report.rejected["reason"]) == ["samples not finite"]


def test_a_station_of_another_network_code_is_paired_and_marked(tmp_path):
    write(tmp_path / "in/x.mseed", three())
    report, traces, table = imported(tmp_path, network="ZZ")
    assert report.written == 1 and list(traces) == ["TST.IV.e_EV"]
    assert list(table["pick_network_code"]) == ["ZZ"]


def test_p_alone_serves_p(tmp_path):
    write(tmp_path / "in/x.mseed", three(n=60_000))
    pairs = [(f"e{n}", 60 + 60 * n, 63 + 60 * n if n % 3 == 0 else None) for n in range(8)]
    report, _, table = imported(tmp_path, *pairs)
    assert report.written == 8 and table["p_s_diff_sec"].isna().sum() == 5
    reports = foreshap.preprocess(tmp_path / "out", tmp_path)
    assert [reports[name].written for name in ("P64", "P32", "S64", "S32")] == [8, 8, 3, 3]
    assert list(reports["S64"].rejected["reason"]) == ["S-P missing"] * 5
    imported(tmp_path, ("a", 100, None), ("b", 200, None))
    reports = foreshap.preprocess(tmp_path / "out", tmp_path)
    assert (reports["P64"].written, reports["S32"].written) == (2, 0)
    assert not (tmp_path / "S32.h5").exists()  # that of before


def test_columns_called_like_axes_are_kept_under_other_names(tmp_path):
    write(tmp_path / "in/x.mseed", three())
    columns = {"frequency": 1.5, "class": "x", "a/b": 2, "label": 7}
    table = picks(tmp_path / "p.csv", ("e", 63, 66), **columns)
    foreshap.from_continuous(tmp_path / "in", table, tmp_path / "out", MAINSHOCK)
    foreshap.preprocess(tmp_path / "out", tmp_path)
    found = foreshap.load_spectrograms(tmp_path / "P64.h5").table.iloc[0]
    assert float(found["frequency_given"]) == 1.5 and found["class"] == "x"
    assert float(found["a_b"]) == 2 and float(found["label_given"]) == 7 and found["label"] == 0


# picks


def event(*marks, kind=None, status=None, used=()):
    """An event whose picks are (hint, seconds, mode, arrival's phase)."""
    origin = quakeml.Origin(time=START + 60, latitude=42.8, longitude=13.1, depth=8000.0)
    origin.evaluation_status = status
    one = quakeml.Event("smi:local/e", origins=[origin], event_type=kind)
    for number, (hint, seconds, mode, phase) in enumerate(marks):
        where = quakeml.WaveformStreamID("IV", "TST", "", "HHZ")
        time = START + seconds
        pick = quakeml.Pick(time=time, phase_hint=hint, evaluation_mode=mode, waveform_id=where)
        one.picks.append(pick)
        if number in used:
            origin.arrivals.append(quakeml.Arrival(pick_id=pick.resource_id, phase=phase or hint))
    return one


def pair(tmp_path, one, form="QUAKEML"):
    """The pairs that read_picks() gives of an event: seconds of P and S, reason and more."""
    quakeml.Catalog([one]).write(str(tmp_path / "p.xml"), form)
    (row,) = foreshap.read_picks(tmp_path / "p.xml").to_dict("records")
    seconds = [
        (row[name] - pd.Timestamp(str(START))).total_seconds() for name in ("p_time", "s_time")
    ]
    return seconds, row


@pytest.mark.parametrize(
    "marks, used, expected",
    [
        ([("P", 55, "manual", None), ("P", 63, "automatic", None)], (1,), 63),  # used first
        ([("P", 55, "automatic", None), ("P", 63, "manual", None)], (), 63),  # then manual
        ([("P", 64, "manual", None), ("P", 63, "manual", None)], (), 63),  # then the earliest
    ],
)
def test_the_best_pick_counts(tmp_path, marks, used, expected):
    later = [("S", 61, "manual", None), ("S", 66, "automatic", None)]
    assert pair(tmp_path, event(*marks, *later, used=used))[0] == [expected, 66]


@pytest.mark.parametrize(
    "p, s",
    [("iP", "eS"), ("IPGC0", "ESG2"), ("P*", "S*"), ("EP+1", "IS-"), ("qPn", "iSn"), ("P1", "S1")],
)
def test_phases_with_onset_polarity_and_weight(tmp_path, p, s):
    one = event((p, 63, "manual", None), (s, 66, "manual", None), ("PcP", 50, "manual", None))
    assert pair(tmp_path, one)[0] == [63, 66]
    odd = event(("?", 63, "manual", "Pg"), ("x", 66, "manual", "S"), used=(0, 1))
    assert pair(tmp_path, odd)[0] == [63, 66]


@pytest.mark.parametrize("form", ["QUAKEML", "SCML", "real time"])
def test_xml_is_known_by_its_root(tmp_path, form):
    one = event(("P", 63, "manual", None), ("S", 66, "manual", None), used=(0, 1))
    path = tmp_path / "p.xml"
    quakeml.Catalog([one]).write(str(path), "SCML" if form == "SCML" else "QUAKEML")
    if form == "real time":
        text = path.read_text().replace("quakeml/1.2", "quakeml-rt/1.2")
        path.write_text(text.replace("bed/1.2", "bed-rt/1.2"))
    path.rename(tmp_path / "unnamed")
    (row,) = foreshap.read_picks(tmp_path / "unnamed").to_dict("records")
    assert row["s_time"] - row["p_time"] == pd.Timedelta("3s")


@pytest.mark.parametrize(
    "kind, status, reason",
    [
        ("explosion", None, "not an earthquake"),
        ("not existing", None, "not an earthquake"),
        ("earthquake", "rejected", "location rejected"),
        ("induced or triggered event", "confirmed", ""),
    ],
)
def test_other_events_and_rejected_locations_are_marked_and_left_out(
    tmp_path, kind, status, reason
):
    write(tmp_path / "in/x.mseed", three())
    one = event(("P", 63, "manual", None), ("S", 66, "manual", None), kind=kind, status=status)
    row = pair(tmp_path, one)[1]
    assert row["source_type"] == kind and row.get("source_status") == status
    assert ("source_latitude" in row) == (status != "rejected")
    out = tmp_path / "out"
    report = foreshap.from_continuous(tmp_path / "in", tmp_path / "p.xml", out, MAINSHOCK)
    assert list(report.rejected["reason"]) == ([reason] if reason else [])


def test_times_in_all_forms():
    forms = {
        "2016-10-01T00:00:60.25": 60.25,
        "2016-275T00:01:00": 60,
        "2016275 00:01:00.5": 60.5,
        "1475280060.125": 60.125,
        "2016-10-01 00:01:00 UTC": 60,
        "2016/10/01 00:01:00": 60,
        "2016-10-01T02:01:00+02:00": 60,
    }
    found = utc_times(pd.Series(list(forms))) - pd.Timestamp(str(START))
    assert list(found.dt.total_seconds()) == list(forms.values())
    no_times = ["01/10/2016 00:01:00", "2016-10-01", "2016-366x00:01:00", "2015-366T00:00:00", "12"]
    assert utc_times(pd.Series(no_times)).isna().all()


P, S = "2016-10-01T00:01:03.0", "2016-10-01T00:01:06.0"
TABLES = {
    "PhaseNet": f"station_id\tphase_time\tphase_score\tphase_type\tevent_index\n"
    f"IV.TST.00.HH\t{P}\t0.9\tP\t7\nIV.TST.00.HH\t{S}\t0.8\tS\t7\nIV.TST.00.HH\t{S}\t0.8\tP\t-1\n",
    "SeisBench": f"event_idx,station,phase,time\n7.0,IV_TST,iP,{P}\n7.0,IV_TST,iS,{S}\n",
    "epoch": "event_id|net|sta|phase|time\n7|IV|TST|p|1475280063.0\n7|IV|TST|s|1475280066.0\n",
    "halves": f"event_id,network,station,p_time,s_time\n7,IV,TST,,{S}\n7,IV,TST,{P},\n",
    "capitals": f"EventID;Network;Station;P_time;S_time\n7; IV; TST; {P}; {S}\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_picks_become_pairs(tmp_path, name):
    (tmp_path / "p.txt").write_text(TABLES[name])
    (row,) = foreshap.read_picks(tmp_path / "p.txt").to_dict("records")
    assert [row[key] for key in ("event_id", "network", "station")] == ["7", "IV", "TST"]
    assert (row["p_time"], row["s_time"]) == (pd.Timestamp(P, tz="UTC"), pd.Timestamp(S, tz="UTC"))


@pytest.mark.parametrize(
    "text, words",
    [
        (f"station_id,phase_time,phase_type\nIV.TST,{P},P\n", "belong to no event.*event_index"),
        ("time\tmagnitude\tlongitude\tlatitude\tdepth(m)\n", "a catalogue without picks"),
        ("station\tlongitude\tlatitude\televation(m)\n", "a list of stations"),
        ("fname\tt0\tidx_p\tprob_p\n", "sample numbers"),
        ("network_code,receiver_code,p_arrival_sample\n", "from_seisbench"),
    ],
)
def test_what_holds_no_picks_says_what_belongs_beside_it(tmp_path, text, words):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(foreshap.ForeshapError, match=words):
        foreshap.read_picks(tmp_path / "p.csv")


def test_quakemigrate_pairs_picks_and_events(tmp_path):
    (tmp_path / "20160.picks").write_text(
        f"Station,Phase,ModelledTime,PickTime,PickError\nTST,P,{S},{P}Z,0.1\nTST,S,{S},{S}Z,0.1\n"
        f"TWO,P,{S},-1,-1\n"
    )
    (tmp_path / "20160.event").write_text(f"EventID,DT,X,Y,Z,ML\n20160,{P},13.1,42.8,6.0,1.2\n")
    (row,) = foreshap.read_picks(tmp_path).to_dict("records")
    assert (row["event_id"], row["station"], row["source_latitude"]) == ("20160", "TST", 42.8)
    assert (row["source_depth_km"], row["source_magnitude"]) == (6.0, 1.2)


def test_one_odd_time_costs_a_service_one_pick(tmp_path):
    two = [event(("P", 63, "manual", None)), event(("P", 65, "manual", None))]
    two[1].resource_id = "smi:local/f"
    two[1].origins[0].time += 5
    path = tmp_path / "x"
    quakeml.Catalog(two).write(str(path), "QUAKEML")
    good = path.read_text()
    for new, seconds in (("2016-10-01T00:00:60.5Z", 60.5), ("", None), ("01:03", None)):
        path.write_text(good.replace("2016-10-01T00:01:03.000000Z", new))
        check_events(path, "IV", "TST", (42.8, 13.1))
        events = obspy.read_events(io.BytesIO(path.read_bytes()), format="QUAKEML")
        found = [[pick.time - START for pick in one.picks] for one in events]
        assert found == [[] if seconds is None else [seconds], [65]]


# sets of traces


def seisbench_set(folder, rows, data, chunk="", **data_format):
    """Write a set in SeisBench's format."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"metadata{chunk}.csv", index=False)
    with h5py.File(folder / f"waveforms{chunk}.hdf5", "w") as file:
        for name, samples in data.items():
            file[f"data/{name}"] = samples
        form = {"dimension_order": "CW", "component_order": "ENZ", "sampling_rate": 100}
        for name, value in (form | data_format).items():
            file[f"data_format/{name}"] = value


def row(name, start="2016-10-01T00:00:00", p=1000, s=1300, **more):
    about = {"trace_name": name, "trace_start_time": start, "trace_p_arrival_sample": p}
    about |= {"trace_s_arrival_sample": s, "station_network_code": "IV", "station_code": "TST"}
    return about | more


def test_each_trace_has_its_own_unit(tmp_path):
    units = {"a": "counts", "b": "cm/s", "c": "m/s"}
    rows = [row(name, trace_unit=unit, source_id=name) for name, unit in units.items()]
    data = dict.fromkeys(units, np.random.default_rng(0).normal(size=(3, 6000)))
    seisbench_set(tmp_path / "in", rows, data)
    report = foreshap.from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == {
        "TST.IV.a_EV": "another unit"
    }
    with h5py.File(tmp_path / "out/TST_pre.hdf5") as file:
        assert file.attrs["unit"] == "nm/s"
        np.testing.assert_allclose(file["TST.IV.b_EV"][:] * 100, file["TST.IV.c_EV"][:])


def test_several_rows_and_traces_without_ids_are_told_apart(tmp_path):
    rows = [row("t", p=1000, s=1300), row("t", p=3000, s=3300), row("u$1, :3")]
    data = {"t": counts(0, 18_000).reshape(3, 6000), "u": counts(1, 36_000).reshape(2, 3, 6000)}
    for chunk in ("_1", "_2"):
        seisbench_set(tmp_path / "in", rows, data, chunk)
    report = foreshap.from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert report.written == 6 and report.rejected.empty


def test_a_trace_for_each_pick_is_joined(tmp_path):
    ids = {"source_id": "e"}
    rows = [row("p", p=3000, s=None, **ids), row("s", "2016-10-01T00:00:02.5", None, 3000, **ids)]
    rows += [row("q", p=1000, s=None, source_id="f")]
    data = dict.fromkeys("psq", counts(0, 27_000).reshape(3, 9000))
    seisbench_set(tmp_path / "in", rows, data)
    report = foreshap.from_seisbench(tmp_path / "in", tmp_path / "out", MAINSHOCK)
    assert report.written == 2 and report.rejected.empty
    table = pd.read_csv(tmp_path / "out/TST_pre_attributes.csv").set_index("source_id")
    assert table["p_s_diff_sec"]["e"] == pytest.approx(2.5) and np.isnan(table["p_s_diff_sec"]["f"])


@pytest.mark.parametrize("name, factor", [("counts", 1), ("gm", 1e9)])
def test_instance_as_downloaded(tmp_path, name, factor):
    about = row("1.IV.TST..HH", p=2300, s=2600, trace_dt_s=0.01, station_channels="HH")
    data = counts(0, 36_000).reshape(3, 12_000)
    pd.DataFrame([about]).to_csv(tmp_path / "metadata_Instance_events_v2.csv", index=False)
    with h5py.File(tmp_path / f"Instance_events_{name}.hdf5", "w") as file:
        file["data/1.IV.TST..HH"] = data
    assert foreshap.from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK).written == 1
    with h5py.File(tmp_path / "out/TST_pre.hdf5") as file:
        (found,) = file.values()
        np.testing.assert_allclose(found[:], factor * data[:, 1800:4400])
        assert file.attrs["unit"] == ("counts" if factor == 1 else "nm/s")


def test_stead_as_downloaded(tmp_path):
    about = {"network_code": "IV", "receiver_code": "TST", "receiver_type": "HH", "source_id": "7"}
    about |= {"receiver_latitude": 42.0, "p_arrival_sample": 700, "s_arrival_sample": 1000}
    about |= {
        "trace_start_time": "2016-10-01 00:00:00",
        "trace_name": "t",
        "source_latitude": "None",
    }
    pd.DataFrame([about]).to_csv(tmp_path / "chunk2.csv", index=False)
    data = counts(0, 18_000).reshape(6000, 3)
    with h5py.File(tmp_path / "chunk2.hdf5", "w") as file:
        file["data/t"] = data
    assert foreshap.from_seisbench(tmp_path, tmp_path / "out", MAINSHOCK).written == 1
    with h5py.File(tmp_path / "out/TST_pre.hdf5") as file:
        np.testing.assert_array_equal(file["TST.IV.7_EV"][:], data.T[:, 200:2800])
    table = pd.read_csv(tmp_path / "out/TST_pre_attributes.csv")
    assert list(table["receiver_latitude"]) == [42.0] and table["source_latitude"].isna().all()
