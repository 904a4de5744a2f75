"""Known answers for picks of all formats, documents that attack, and predicted arrivals."""

import math

import numpy as np
import obspy
import pandas as pd
import pytest
from obspy.core import event as quakeml
from obspy.core.inventory import Inventory, Network, Site, Station
from obspy.taup import TauPyModel

from foreshap import from_continuous, read_picks
from foreshap.files import ForeshapError
from foreshap.sources.arrival_times import predict_arrivals
from foreshap.sources.responses import read_inventory, station_places

START = obspy.UTCDateTime("2020-01-01T00:00:00")
MAINSHOCK = "2020-01-01T00:05:00"
SOURCE = {"latitude": -20.5, "longitude": -70.2, "depth": 31_500.0}


def event(name, origin, *picks, network="NA", magnitude=2.3):
    """An event at SOURCE, times in seconds after START; picks of (hint, time, station)."""
    where = quakeml.Origin(time=START + origin, **SOURCE)
    size = quakeml.Magnitude(mag=magnitude, origin_id=where.resource_id, magnitude_type="ML")
    marks = []
    for hint, t, station in picks:
        code = quakeml.WaveformStreamID(network, station, "", "HHZ")
        marks.append(quakeml.Pick(time=START + t, phase_hint=hint, waveform_id=code))
    return quakeml.Event(
        resource_id=f"smi:local/{name}", origins=[where], magnitudes=[size], picks=marks
    )


EVENTS = (
    event("a", 100.25, ("P", 105.12, "TST"), ("S", 109.34, "TST"), ("Pg", 107.5, "TWO")),
    event("b", 400.5, ("Pn", 405.5, "TST"), ("Sn", 410.75, "TST")),
)


def hyp(path, events):
    """Write events as NonLinLoc writes them (alomax.free.fr/nlloc, Hypocenter-Phase file)."""
    lines = []
    for one in events:
        time, where = one.origins[0].time, one.origins[0]
        place = f"Lat {where.latitude} Long {where.longitude} Depth {where.depth / 1000}"
        lines += [
            'NLLOC "loc" "LOCATED" "Location completed."',
            'SIGNATURE "x   NLLoc:v6.02.07 21Jun2013 12h53m34"',
            'COMMENT "none"',
            "HYPOCENTER  x 0 y 0 z 1 OT 1 ix -1 iy -1 iz -1",
            f"GEOGRAPHIC  OT {time.strftime('%Y %m %d  %H %M %S.%f')}  {place}",
            "STATISTICS  ExpectX 0 Y 0 Z 3  CovXX 1 XY 0 XZ 0 YY 1 YZ 0 ZZ 1 "
            "EllAz1  0 Dip1  0 Len1  1 Az2  2 Dip2  4 Len2  1 Len3  2",
            "STAT_GEOG  ExpectLat 51 Long 7 Depth 3",
            "QML_OriginQuality  assocPhCt 5  usedPhCt 5  assocStaCt -1  usedStaCt 5  "
            "depthPhCt -1  stdErr 0.003  azGap 156  secAzGap 227  gtLevel -  "
            "minDist 0.3 maxDist 1.6 medDist 0.8",
            "QML_OriginUncertainty  horUnc -1  minHorUnc 1.1  maxHorUnc 1.7  azMaxHorUnc 69",
            "PHASE ID Ins Cmp On Pha  FM Date     HrMn   Sec     Err  ErrMag    Coda      Amp    "
            "   Per  >   TTpred    Res       Weight    StaLoc(X  Y         Z)        SDist    "
            "SAzim  RAz  RDip RQual    Tcorr",
        ]
        for pick in one.picks:
            when = (
                pick.time.strftime("%Y%m%d %H%M ")
                + f"{pick.time.second + pick.time.microsecond / 1e6:9.4f}"
            )
            code = pick.waveform_id.station_code
            lines.append(
                f"{code} ?    HHZ  I {pick.phase_hint}      ? {when} GAU 0.05 -1 -1 -1 > 0.4 "
                "0 1 0 0 0 0.3 109.4 359.0 -1.0  0 0"
            )
        lines += ["END_PHASE", "END_NLLOC", ""]
    path.write_text("\n".join(lines))
    return path


def records(folder, *stations, network="NA", seconds=600):
    """Write three components of noise of each station."""
    rng, stream = np.random.default_rng(0), obspy.Stream()
    for station in stations:
        for channel in ("HHE", "HHN", "HHZ"):
            header = {
                "network": network,
                "station": station,
                "channel": channel,
                "sampling_rate": 100.0,
            }
            samples = rng.integers(-(2**20), 2**20, 100 * seconds, dtype=np.int32)
            stream += obspy.Trace(samples, header | {"starttime": START})
    folder.mkdir(exist_ok=True)
    stream.write(str(folder / f"{network}.mseed"), format="MSEED")
    return folder


def stationxml(path, *places):
    """Write StationXML of stations (code, latitude, longitude, elevation) without channels."""
    stations = [
        Station(code, *place, site=Site("none"), creation_date=START) for code, *place in places
    ]
    Inventory([Network("NA", stations)], "test").write(str(path), format="STATIONXML")
    return path


def as_csv(path, pairs):
    pairs.drop(columns="trace_name").to_csv(path, index=False)
    return path


def test_every_format_gives_the_same_pairs(tmp_path):
    catalog = quakeml.Catalog(list(EVENTS))
    catalog.write(str(tmp_path / "a.QuakeML"), format="QUAKEML")
    catalog.write(str(tmp_path / "a.nor"), format="NORDIC")
    hyp(tmp_path / "a.hyp", EVENTS)
    expected = read_picks(tmp_path / "a.QuakeML")
    assert list(expected["event_id"]) == ["a", "b", "a"] and list(expected["network"]) == ["NA"] * 3
    assert expected["p_time"].dt.strftime("%M:%S.%f").tolist() == [
        "01:45.120000",
        "06:45.500000",
        "01:47.500000",
    ]
    assert expected["s_time"].isna().tolist() == [False, False, True]
    numbers = ["source_latitude", "source_longitude", "source_depth_km"]
    assert expected[numbers].to_numpy().tolist() == [[-20.5, -70.2, 31.5]] * 3
    assert (expected["source_magnitude"] == 2.3).all()
    assert expected["source_origin_time"][0] == "2020-01-01T00:01:40.250000Z"
    as_csv(tmp_path / "a.csv", expected)
    for name in ("a.csv", "a.nor", "a.hyp"):
        found = read_picks(tmp_path / name)
        pd.testing.assert_frame_equal(
            found[["station", "p_time", "s_time"]], expected[["station", "p_time", "s_time"]]
        )
        np.testing.assert_allclose(found[numbers], expected[numbers])
        origins = [
            pd.to_datetime(table["source_origin_time"], utc=True) for table in (found, expected)
        ]
        assert abs(origins[0] - origins[1]).max() < pd.Timedelta(
            "0.06s"
        )  # the header line of Nordic has 0.1 s
    assert list(read_picks(tmp_path / "a.hyp")["event_id"])[:2] == [
        "20200101T000140.25",
        "20200101T000640.50",
    ]
    assert list(read_picks(tmp_path / "a.csv")["event_id"]) == ["a", "b", "a"]


def test_a_folder_of_one_event_files_is_read_whole(tmp_path):
    for number, one in enumerate(EVENTS):
        hyp(tmp_path / f"loc.{number}.grid0.loc.hyp", [one])
    (tmp_path / "loc.0.grid0.loc.scat").write_text("no picks")
    assert len(read_picks(tmp_path)) == 3
    hyp(tmp_path / "loc.sum.hyp", EVENTS)
    records(tmp_path / "in", "TST", "TWO")
    report = from_continuous(tmp_path / "in", tmp_path, tmp_path / "out", MAINSHOCK)
    assert report.written == 3 and list(report.rejected["reason"]) == ["duplicate name"] * 3


def test_origin_and_travel_times_reach_the_tables(tmp_path):
    quakeml.Catalog(list(EVENTS)).write(str(tmp_path / "a.xml"), format="QUAKEML")
    records(tmp_path / "in", "TST")
    from_continuous(tmp_path / "in", tmp_path / "a.xml", tmp_path / "out", MAINSHOCK)
    row = pd.read_csv(tmp_path / "out/TST_pre_attributes.csv").iloc[0]
    assert (row["source_magnitude"], row["source_depth_km"], row["source_latitude"]) == (
        2.3,
        31.5,
        -20.5,
    )
    np.testing.assert_allclose(
        row[["p_travel_sec", "s_travel_sec"]].astype(float), [4.87, 9.09], atol=1e-6
    )


def test_a_blank_network_is_that_of_the_recordings(tmp_path):
    hyp(tmp_path / "a.hyp", EVENTS)
    records(tmp_path / "in", "TST", "TWO", network="XX")
    report = from_continuous(tmp_path / "in", tmp_path / "a.hyp", tmp_path / "out", MAINSHOCK)
    names = pd.read_csv(tmp_path / "out/TST_pre_attributes.csv")["trace_name"]
    assert report.written == 3 and list(names) == ["TST.XX.20200101T000140.25_EV"]
    assert report.rejected.empty
    records(tmp_path / "in", "TST", network="YY")
    with pytest.raises(ForeshapError, match="TST is in the networks XX, YY"):
        from_continuous(tmp_path / "in", tmp_path / "a.hyp", tmp_path / "out", MAINSHOCK)


def test_picks_that_name_the_network_and_others_that_do_not_are_pairs(tmp_path):
    picks = (
        ("P", 105, "TST"),
        ("S", 109, "TST"),
        ("P", 106, "TWO"),
        ("P", 107, "TWO"),
        ("S", 110, "TWO"),
    )
    one = event("a", 100, *picks)
    for pick, network in zip(one.picks, ("NA", None, "NA", "XX", " ")):
        pick.waveform_id.network_code = network
    quakeml.Catalog([one]).write(str(tmp_path / "a.xml"), format="QUAKEML")
    found = read_picks(tmp_path / "a.xml")[["station", "network", "s_time"]].dropna()
    assert found[["station", "network"]].to_numpy().tolist() == [
        ["TST", "NA"],
        ["TWO", ""],
    ]  # TWO's S may be of both


def test_ids_that_end_alike_are_not_one_event(tmp_path):
    usgs = "quakeml:earthquake.usgs.gov/fdsnws/event/1/query?eventid={}&format=quakeml"
    for public, ids in (
        (usgs, "ab"),
        ("smi:ISC/evid={}", "ab"),
        ("smi:local/{}/1", ["smi:local/a/1", "smi:local/b/1"]),
    ):
        for one, name in zip(EVENTS, "ab"):
            named = quakeml.Event(resource_id=public.format(name), picks=one.picks[:2])
            quakeml.Catalog([named]).write(str(tmp_path / f"{name}.xml"), format="QUAKEML")
        assert list(read_picks(tmp_path)["event_id"]) == list(ids)
    records(tmp_path / "in", "TST")
    assert from_continuous(tmp_path / "in", tmp_path, tmp_path / "out", MAINSHOCK).written == 2


def test_an_event_that_no_recorded_station_picked_is_offered_at_each(tmp_path):
    elsewhere = event("d", 500, ("P", 505, "ELSE"), ("S", 509, "ELSE"))
    quakeml.Catalog([EVENTS[1], event("c", 300), elsewhere]).write(
        str(tmp_path / "a.xml"), format="QUAKEML"
    )
    records(tmp_path / "in", "TST", "TWO")
    as_csv(tmp_path / "a.csv", read_picks(tmp_path / "a.xml", pickless=True).assign(cluster=7))
    report = from_continuous(tmp_path / "in", tmp_path / "a.csv", tmp_path / "out", MAINSHOCK)
    assert pd.read_csv(tmp_path / "out/TST_post_attributes.csv", dtype=str)["cluster"].tolist() == [
        "7"
    ]
    report = from_continuous(tmp_path / "in", tmp_path / "a.xml", tmp_path / "out", MAINSHOCK)
    expected = {
        f"{station}.NA.{name}_EV": "P missing" for station in ("TST", "TWO") for name in "cd"
    }
    expected["ELSE.NA.d_EV"] = "no waveform of this station"
    assert (
        report.written == 1
        and dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == expected
    )


def test_stations_of_one_code_are_imported_one_network_at_a_time(tmp_path):
    records(tmp_path / "in", "TST", network="XX")
    records(tmp_path / "in", "TST", "TWO", network="NA")
    one, other = EVENTS[0], event("b", 400, ("P", 405, "TST"), ("S", 409, "TST"), network="XX")
    quakeml.Catalog([one, other]).write(str(tmp_path / "both.xml"), format="QUAKEML")
    quakeml.Catalog([one, event("c", 300)]).write(str(tmp_path / "one.xml"), format="QUAKEML")
    with pytest.raises(
        ForeshapError, match="TST is a station of the networks NA and XX.* give the picks"
    ):
        from_continuous(tmp_path / "in", tmp_path / "both.xml", tmp_path / "out", MAINSHOCK)
    assert (
        from_continuous(tmp_path / "in", tmp_path / "one.xml", tmp_path / "out", MAINSHOCK).written
        == 2
    )


def test_a_date_is_no_time_of_a_pick_and_shifted_columns_are_refused(tmp_path):
    lines = [
        "event_id,network,station,p_time,s_time",
        "a,NA,TST,2020,2020-01-01",
        "b,NA,TST,20200101T000140,",
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = read_picks(tmp_path / "a.csv").set_index("event_id")
    assert found["s_time"].isna().all() and found["p_time"].isna().to_dict() == {
        "a": True,
        "b": False,
    }
    (tmp_path / "a.csv").write_text("\n".join([lines[0], lines[1] + ","]))
    with pytest.raises(ForeshapError, match="more fields than its first line"):
        read_picks(tmp_path / "a.csv")


@pytest.mark.parametrize("blank", [None, " "])
def test_one_bad_row_has_a_reason_and_the_others_are_read(tmp_path, blank):
    pairs = read_picks(hyp(tmp_path / "a.hyp", EVENTS))
    records(tmp_path / "in", "TST")
    pairs = pd.concat([pairs] * 3, ignore_index=True).iloc[[0, 1, 3, 6]]
    pairs["event_id"] = ["a", "b", blank, "c"]
    pairs["station"] = ["TST", "TST", "TST", blank]
    as_csv(tmp_path / "a.csv", pairs)
    report = from_continuous(tmp_path / "in", tmp_path / "a.csv", tmp_path / "out", MAINSHOCK)
    assert report.written == 2
    assert dict(zip(report.rejected["trace_name"], report.rejected["reason"])) == {
        "TST.NA.row 3_EV": "event id missing",
        "?..c_EV": "name that can't be used",
        "TST.NA.c_EV": "P missing",  # which no recorded station picked
    }


def test_the_preferred_origin_counts_and_an_arrival_names_its_phase(tmp_path):
    one = event(
        "a", 100, ("P", 105, "TST"), (None, 109, "TST"), ("S", 108, "TST"), ("PP", 101, "TST")
    )
    better = quakeml.Origin(time=START + 101, latitude=1.0, longitude=2.0, depth=3000.0)
    better.arrivals = [quakeml.Arrival(pick_id=one.picks[1].resource_id, phase="Sg")]
    one.picks[2].evaluation_status = "rejected"
    one.origins.append(better)
    one.preferred_origin_id = better.resource_id
    quakeml.Catalog([one]).write(str(tmp_path / "a.xml"), format="QUAKEML")
    (pair,) = read_picks(tmp_path / "a.xml").to_dict("records")
    assert (pair["source_latitude"], pair["source_depth_km"]) == (1.0, 3.0)
    assert (pair["s_time"] - pair["p_time"]).total_seconds() == 4


BOMB = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
ATTACKS = {
    "bomb": f'<!DOCTYPE q [<!ENTITY a0 "ha">{BOMB}]><q>&a9;</q>',
    "file": '<!DOCTYPE q [<!ENTITY x SYSTEM "file:///etc/passwd">]><q>&x;</q>',
    "external": '<!DOCTYPE q SYSTEM "http://127.0.0.1:9/q.dtd"><q/>',
    "parameter": '<!DOCTYPE q [<!ENTITY % x SYSTEM "http://127.0.0.1:9/q.dtd"> %x;]><q/>',
    "late": f"<!--{'x' * 100_000}--><!DOCTYPE q><q/>",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("read", [read_picks, read_inventory])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_a_document_that_declares_a_type_is_refused(tmp_path, attack, read, encoding):
    (tmp_path / "a.xml").write_bytes(
        (f'<?xml version="1.0" encoding="{encoding}"?>' + attack).encode(encoding)
    )
    with pytest.raises(ForeshapError, match=r"a\.xml (has a DOCTYPE|can't be read as XML)"):
        read(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "name", ["a.xml", "a.hyp", "a.nor", "a.csv", "a.pkl", "none.xml", "none.csv", "none"]
)
def test_what_holds_no_picks_gives_one_sentence(tmp_path, name):
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"\x80\x04\x95cos\nsystem\n\xff\xfe<q/>")
    with pytest.raises(ForeshapError, match=name):
        read_picks(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ForeshapError, match="no file of picks"):
        read_picks(tmp_path / "empty")


def distance_km(one, other):
    """Great circle on a sphere of the mean radius (haversine) [km]."""
    (a, b), (c, d) = np.radians(one), np.radians(other)
    h = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6371.0 * math.asin(math.sqrt(h))


def test_straight_rays_agree_with_the_triangle(tmp_path):
    places = [("TST", -20.6, -70.0, 900.0), ("TWO", -21.5, -69.0, 0.0)]
    table = station_places(read_inventory(stationxml(tmp_path / "s.xml", *places)))
    events = (*EVENTS, event("c", 500))
    quakeml.Catalog(list(events)).write(str(tmp_path / "a.xml"), format="QUAKEML")
    pairs = read_picks(tmp_path / "a.xml", pickless=True)
    found = predict_arrivals(pairs, table, {"vp": 6.0, "vp_vs": 1.75}).set_index(
        ["event_id", "station"]
    )
    assert len(found) == 6  # 3 events at 2 stations
    p_predicted = found["p_predicted"].unstack()
    assert p_predicted["TST"].to_dict() == {"a": 0, "b": 0, "c": 1}
    assert p_predicted["TWO"].to_dict() == {"a": 0, "b": 1, "c": 1}
    assert found["s_predicted"].drop([("a", "TST"), ("b", "TST")]).eq(1).all()

    def since(time):
        return (time - pd.Timestamp(str(START))).total_seconds()

    for code, latitude, longitude, elevation in places:
        ray = math.hypot(
            distance_km((-20.5, -70.2), (latitude, longitude)), 31.5 + elevation / 1000
        )
        row = found.loc["c", code]
        assert since(row["p_time"]) - 500 == pytest.approx(ray / 6.0, rel=0.005)
        assert since(row["s_time"]) - 500 == pytest.approx(1.75 * ray / 6.0, rel=0.005)
    assert found.loc["a", "TWO"]["p_time"] == pd.Timestamp(
        str(START + 107.5)
    )  # the pick stays; S follows from it
    assert since(found.loc["a", "TWO"]["s_time"]) - 107.5 == pytest.approx(
        0.75 * ray / 6.0, rel=0.005
    )


def test_taup_gives_the_first_arrivals(tmp_path):
    near, far = ("NEAR", -20.3, -70.2, 0.0), ("FAR", 9.5, -70.2, 0.0)
    table = station_places(read_inventory(stationxml(tmp_path / "s.xml", near, far)))
    one = event("c", 500)
    one.origins[0].depth = 10_000.0
    quakeml.Catalog([one]).write(str(tmp_path / "a.xml"), format="QUAKEML")
    found = predict_arrivals(
        read_picks(tmp_path / "a.xml", pickless=True), table, "iasp91"
    ).set_index("station")

    def since(code, name):
        return (found.loc[code, name] - pd.Timestamp(str(START + 500))).total_seconds()

    ray = math.hypot(
        distance_km((-20.5, -70.2), near[1:3]), 10.0
    )  # within the upper crust: 5.8 and 3.36 km/s
    assert since("NEAR", "p_time") == pytest.approx(ray / 5.8, rel=0.01)
    assert since("NEAR", "s_time") == pytest.approx(ray / 3.36, rel=0.01)
    degrees = distance_km((-20.5, -70.2), far[1:3]) / (math.pi * 6371 / 180)
    p, s = (
        TauPyModel("iasp91").get_travel_times(10.0, degrees, phase_list=[name])[0].time
        for name in "PS"
    )
    np.testing.assert_allclose([since("FAR", "p_time"), since("FAR", "s_time")], [p, s], rtol=0.006)


def test_nothing_is_predicted_unless_asked_for(tmp_path):
    events = (event("a", 100.25, ("P", 105.12, "TST")), event("c", 400))
    quakeml.Catalog(list(events)).write(str(tmp_path / "a.xml"), format="QUAKEML")
    records(tmp_path / "in", "TST")
    report = from_continuous(tmp_path / "in", tmp_path / "a.xml", tmp_path / "out", MAINSHOCK)
    assert report.written == 1 and list(report.rejected["reason"]) == ["P missing"]
    assert "p_predicted" not in pd.read_csv(tmp_path / "out/TST_pre_attributes.csv")
    where = {"receiver_latitude": -20.6, "receiver_longitude": -70.0, "receiver_elevation_m": 900.0}
    pairs = read_picks(tmp_path / "a.xml", pickless=True).assign(**where)
    pairs = pairs.assign(network="NA", station="TST")
    csv = as_csv(tmp_path / "a.csv", pairs)
    report = from_continuous(
        tmp_path / "in", csv, tmp_path / "out", MAINSHOCK, predict={"vp": 6.0, "vp_vs": 1.75}
    )
    assert report.written == 2
    rows = pd.concat(
        [pd.read_csv(tmp_path / f"out/TST_{period}_attributes.csv") for period in ("pre", "post")]
    )
    assert rows[["source_id", "p_predicted", "s_predicted"]].to_numpy().tolist() == [
        ["a", 0, 1],
        ["c", 1, 1],
    ]
    assert (rows["receiver_elevation_m"] == 900).all() and (rows["p_s_diff_sec"] > 3).all()
    for predict in ("earth", "../model", {"vp": 6}, {"vp": 6, "vp_vs": 0.5}, 3):
        with pytest.raises(ForeshapError, match="no velocity|no model"):
            from_continuous(tmp_path / "in", csv, tmp_path / "out", MAINSHOCK, predict=predict)
    with pytest.raises(ForeshapError, match="coordinates"):
        from_continuous(
            tmp_path / "in", tmp_path / "a.xml", tmp_path / "out", MAINSHOCK, predict="iasp91"
        )
