"""Known answers for the FDSN client, against real services on loopback that misbehave on demand."""

import io
import json
import multiprocessing
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import fdsn_server
import h5py
import numpy as np
import obspy
import pandas as pd
import pytest
from fdsn_server import Archive, earthquake, inventory, serving
from obspy.clients.fdsn import Client

from foreshap import FdsnQuery, fetch_fdsn, from_continuous
from foreshap.files import ForeshapError, sha256
from foreshap.preprocessing.variants import SIDES
from foreshap.preprocessing.waveforms import read_table
from foreshap.sources import fdsn, quakeml
from foreshap.sources.datasets import waveform_folder

HERE = 42.83, 13.11  # the station
NEAR, FAR = (42.90, 13.15), (43.80, 13.11)  # 8 km and 108 km away
KILLS = int(os.environ.get("FORESHAP_KILLS", 3))
MUTATIONS = int(os.environ.get("FORESHAP_MUTATIONS", 90))
TIMES = {  # event: origin; the mainshock is at noon of 2 January, from 6 to 18 h is left out
    "a": "2020-01-01T01:00:00",
    "b": "2020-01-01T01:01:10",
    "c": "2020-01-01T06:00:00",
    "d": "2020-01-01T20:00:00",
    "left": "2020-01-02T10:00:00",
    "e": "2020-01-02T19:00:00",
    "f": "2020-01-03T03:00:00",
    "g": "2020-01-03T12:00:00",
    "h": "2020-01-03T23:00:00",
}
QUERY = FdsnQuery(
    mainshock="2020-01-02T12:00:00",
    start="2020-01-01",
    end="2020-01-04",
    left_out=("2020-01-02T06:00:00", "2020-01-02T18:00:00"),
)
REQUESTS = 1 + 10 + 4  # station, slices of 6 hours, two windows each
PICKS = (
    ("IV", "NRCA", "P", 2.0),
    ("IV", "NRCA", "S", 3.5),
    ("IV", "T1216", "P", 2.1),
    ("XX", "NRCA", "P", 0.5),
)


def synthetic(arrivals="range"):
    """Ten minutes of noise around each event; the catalogue holds events outside the query, too."""
    stream, rng = obspy.Stream(), np.random.default_rng(0)
    for name, origin in TIMES.items():
        if name != "b":
            for component in "ENZ":
                header = {
                    "network": "IV",
                    "station": "NRCA",
                    "channel": f"HH{component}",
                    "sampling_rate": 100.0,
                }
                samples = rng.integers(-1000, 1000, 60000, dtype=np.int32)
                stream += obspy.Trace(
                    samples, header | {"starttime": obspy.UTCDateTime(origin) - 300}
                )
    events = [earthquake(name, origin, *NEAR, 2.0, PICKS) for name, origin in TIMES.items()]
    events[3] = earthquake("d", TIMES["d"], *NEAR, 2.0)  # never picked
    events += [
        earthquake("far", TIMES["a"], *FAR, 2.0, PICKS),
        earthquake("small", TIMES["a"], *NEAR, 0.5, PICKS),
    ]
    return Archive(stream, events, inventory("IV", "NRCA", *HERE, doi="10.1234/Test"), arrivals)


@pytest.fixture(autouse=True)
def small_requests(monkeypatch):
    monkeypatch.setattr(fdsn, "TOGETHER", 2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def service():
    archive = synthetic()
    with serving(archive) as url:
        yield archive, replace(QUERY, provider=url)


@pytest.fixture
def quiet(service):
    """The services, well behaved again, with nothing asked yet."""
    archive, query = service
    archive.misbehave, archive.asked = (lambda *request: None), []
    return archive, query


@pytest.fixture(scope="module")
def reference(service, tmp_path_factory):
    folder, patch = tmp_path_factory.mktemp("reference") / "store", pytest.MonkeyPatch()
    patch.setattr(fdsn, "TOGETHER", 2)
    service[0].misbehave = lambda *request: None
    fetch_fdsn(folder, service[1])
    patch.undo()
    return content(folder)


def content(folder):
    """Bytes of each file of a store, and the manifest without its day."""
    files = {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file() and p.name != ".lock"
    }
    manifest = json.loads(files.pop("manifest.json"))
    manifest["retrieved"] = None
    return files, manifest


def fetched(folder, query, **options):
    return fetch_fdsn(folder, query, **{"pause": 0.001, "timeout": 5.0} | options)


def waveforms(folder):
    stream = obspy.Stream()
    for path in sorted((folder / "waveforms").iterdir()):
        stream += obspy.read(str(path), format="MSEED")
    return stream


def samples(folder, archive):
    """Start and bytes of what a store holds of each trace of the archive."""
    stream, held = waveforms(folder), []
    for trace in archive.stream:
        near = stream.select(channel=trace.stats.channel).slice(
            trace.stats.starttime, trace.stats.endtime
        )
        held += [
            (trace.id, part.stats.starttime, part.data.tobytes()) for part in near.merge(method=1)
        ]
    return held


def seconds(line):
    start, end = (obspy.UTCDateTime(text) for text in line.split()[-2:])
    return end - start


def test_a_store_holds_what_was_asked_for(quiet, tmp_path):
    archive, query = quiet
    manifest = fetched(tmp_path / "store", query)
    picks = obspy.read_events(str(tmp_path / "store/picks.xml"), format="QUAKEML")
    assert [str(event.resource_id).split("=")[1] for event in picks] == list("abcdefgh")
    assert all(event.origins[0].depth == 8000 and event.magnitudes[0].mag == 2 for event in picks)
    found = {
        (p.waveform_id.network_code, p.waveform_id.station_code)
        for event in picks
        for p in event.picks
    }
    assert found == {("IV", "NRCA")} and [len(event.picks) for event in picks] == [
        2,
        2,
        2,
        0,
        2,
        2,
        2,
        2,
    ]
    assert all(len(event.origins[0].arrivals) == len(event.picks) for event in picks)
    held = obspy.read_inventory(str(tmp_path / "store/station.xml"))
    assert len(held[0][0]) == 3 and held[0][0][0].response.instrument_sensitivity
    assert manifest == json.loads((tmp_path / "store/manifest.json").read_text())
    assert (manifest["doi"], manifest["n_events"], manifest["n_picked"]) == ("10.1234/Test", 8, 7)
    assert manifest["query"]["station"] == "NRCA" and manifest["query"]["mainshock"].startswith(
        "2020-01-02"
    )
    for name, answer in manifest["answers"].items():
        path = tmp_path / "store" / name
        assert answer == (sha256(path) if path.exists() else 204)
    assert len(set(archive.asked)) == len(archive.asked) == REQUESTS
    slowest = np.hypot(8.4, 8.0) / 2  # s, epicentral distance and depth [km] at 2 km/s
    for trace in archive.stream:
        origin = trace.stats.starttime + 300
        stored = (
            waveforms(tmp_path / "store")
            .select(channel=trace.stats.channel)
            .slice(origin - 300, origin + 300)
        )
        if "2020-01-02T10" in str(origin):
            assert not stored
            continue
        stored = stored.merge(method=1)[0]
        last = (
            origin + slowest + 60 + 70 * (str(origin) == "2020-01-01T01:00:00.000000Z")
        )  # b follows a
        assert (
            0 <= origin - 30 - stored.stats.starttime < 5 and -0.2 < stored.stats.endtime - last < 5
        )  # whole records
        np.testing.assert_array_equal(
            stored.data, trace.slice(stored.stats.starttime, stored.stats.endtime).data
        )


def test_a_second_run_asks_nothing_and_a_damaged_file_is_asked_again(quiet, reference, tmp_path):
    archive, query = quiet
    fetched(tmp_path / "s", query)
    archive.asked = []
    fetched(tmp_path / "s", query)
    assert not archive.asked and content(tmp_path / "s") == reference
    for path in (next((tmp_path / "s/waveforms").iterdir()), tmp_path / "s/station.xml"):
        path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    fetched(tmp_path / "s", query)
    assert sorted(name for name, _ in archive.asked) == ["dataselect", "station"]
    assert content(tmp_path / "s") == reference


def test_runs_into_one_store_wait_for_each_other(quiet, reference, tmp_path):
    archive, query = quiet
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(fetched, tmp_path / "s", query) for _ in range(3)]
    assert all(run.result() == runs[0].result() for run in runs)
    assert len(archive.asked) == REQUESTS and content(tmp_path / "s") == reference


MISBEHAVIOURS = (
    "slow",
    "truncated",
    "cut",
    "reset",
    "html",
    "bomb",
    "pickle",
    "429",
    "429 0.01",
    "500",
    "503",
)
REDIRECTIONS = ("301", "302", "307", "308")  # to the same place
PERSISTING = [*product(("station", "event", "dataselect"), ("cut", "html", "bomb", "pickle"))]
PERSISTING += zip(
    ("station", "event", "dataselect") * 3,
    ("slow", "truncated", "429", "reset", "503", "slow", "500"),
)


@pytest.mark.parametrize("kind", [*MISBEHAVIOURS[1:], *REDIRECTIONS])
def test_what_passes_leaves_the_same_store(quiet, reference, tmp_path, kind):
    archive, query = quiet
    archive.payload = tmp_path / "run"
    archive.misbehave = lambda service, number, asked: (
        kind if archive.asked.count((service, asked)) == 1 else None
    )
    fetched(tmp_path / "s", query)
    assert content(tmp_path / "s") == reference and not archive.payload.exists()
    assert len(set(archive.asked)) == REQUESTS and len(archive.asked) == 2 * REQUESTS


def test_a_silent_service_is_asked_again(quiet, reference, tmp_path):
    archive, query = quiet
    archive.misbehave = lambda service, number, asked: "slow" if number == 0 else None
    fetched(tmp_path / "s", query, timeout=1.0)
    assert content(tmp_path / "s") == reference and len(archive.asked) >= REQUESTS + 3


@pytest.mark.parametrize("ill, kind", PERSISTING)
def test_what_stays_is_an_error_and_the_next_run_continues(quiet, reference, tmp_path, kind, ill):
    archive, query = quiet
    archive.payload = tmp_path / "run"
    archive.misbehave = lambda service, number, asked: (
        kind if service == ill and number > 0 - (ill == "station") else None
    )
    with pytest.raises(ForeshapError, match=rf"The {ill} service of http://127.*run again"):
        fetched(tmp_path / "s", query, timeout=0.1)
    assert (
        content(tmp_path / "s")[0].items() <= reference[0].items() and not archive.payload.exists()
    )
    good = {name for name in content(tmp_path / "s")[0]}
    archive.misbehave, archive.asked = (lambda *request: None), []
    fetched(tmp_path / "s", query)
    assert content(tmp_path / "s") == reference
    assert len(archive.asked) + len(good - {"picks.xml"}) <= REQUESTS  # nothing is asked for twice


def test_the_error_says_what_was_received_without_secrets(quiet, tmp_path):
    archive, query = quiet
    archive.misbehave = lambda *request: "400"
    secret = replace(query, provider=query.provider.replace("//", "//me:secret@"))
    with pytest.raises(ForeshapError, match="status 400.*told to.*check the query") as error:
        fetched(tmp_path / "s", secret)
    assert "secret" not in str(error.value) + (tmp_path / "s/manifest.json").read_text()
    assert len(archive.asked) == 1  # no use to try again
    archive.misbehave = lambda *request: "429 7200"
    with pytest.raises(ForeshapError, match="status 429.*run again later"):
        fetched(tmp_path / "s", query)
    assert len(archive.asked) == 2  # the service is left alone


def test_seismograms_that_were_not_asked_for_are_not_kept(quiet, reference, tmp_path, monkeypatch):
    archive, query = quiet
    vertical = [data for name, *_, data in archive.records if name.endswith("Z")]
    for wrong in (vertical[:3], vertical[-3:]):  # before the first window, after the last
        with monkeypatch.context() as patch:
            patch.setattr(archive, "dataselect", lambda asked: b"".join(wrong))
            with pytest.raises(
                ForeshapError, match="miniSEED from 2020.* not asked for.*run again"
            ):
                fetched(tmp_path / "s", query)
    fetched(tmp_path / "s", query)
    assert content(tmp_path / "s") == reference


def test_no_content_is_no_data(quiet, tmp_path):
    archive, query = quiet
    archive.misbehave = lambda service, *rest: "nothing" if service == "event" else None
    with pytest.raises(ForeshapError, match="no event within"):
        fetched(tmp_path / "none", query)
    archive.misbehave = lambda service, *rest: (
        "nothing" if (service, rest[0]) == ("dataselect", 1) else None
    )
    answers = fetched(tmp_path / "s", query)["answers"]
    assert [answer for name, answer in answers.items() if "waveforms" in name].count(204) == 1
    archive.misbehave = lambda service, *rest: "nothing" if service == "station" else None
    with pytest.raises(ForeshapError, match="run again"):
        fetched(tmp_path / "station", query)


@pytest.mark.parametrize("status", ["204", "404"])
def test_no_data_is_final(quiet, reference, tmp_path, status):
    archive, query = quiet
    archive.misbehave = lambda service, number, asked: (
        status if (service, number) == ("dataselect", 1) else None
    )
    manifest = fetched(tmp_path / "s", query)
    answers = manifest["answers"].items()
    none = [name for name, answer in answers if answer == int(status) and "waveforms" in name]
    assert len(none) == 1
    assert content(tmp_path / "s")[0] == {
        name: b for name, b in reference[0].items() if name != none[0]
    }
    archive.misbehave, archive.asked = (lambda *request: None), []
    fetched(tmp_path / "s", query)
    assert not archive.asked
    archive.misbehave = lambda service, *request: status if service == "station" else None
    with pytest.raises(ForeshapError, match="knows no IV.NRCA"):
        fetched(tmp_path / "none", query)
    archive.misbehave = lambda service, *request: status if service == "event" else None
    with pytest.raises(ForeshapError, match="no event within 25.0 km"):
        fetched(tmp_path / "nothing", query)


def test_too_large_requests_are_halved(quiet, tmp_path):
    archive, query = quiet
    archive.misbehave = lambda service, number, asked: (
        "413"
        if service == "dataselect"
        and len(asked.splitlines()) > 1
        or (service, number) == ("event", 2)
        else None
    )
    fetched(tmp_path / "s", query)
    assert (
        len(list((tmp_path / "s/waveforms").iterdir())) == 7
    )  # one window each, that of a and b together
    fetched_twice, archive.misbehave, archive.asked = (
        list(archive.asked),
        (lambda *request: None),
        [],
    )
    assert len(set(fetched_twice)) == len(fetched_twice)
    fetched(tmp_path / "s", query)
    assert not archive.asked
    fetched(tmp_path / "whole", query)
    assert samples(tmp_path / "s", archive) == samples(tmp_path / "whole", archive)
    assert (tmp_path / "s/picks.xml").read_bytes() == (tmp_path / "whole/picks.xml").read_bytes()
    archive.misbehave = lambda service, number, asked: (
        "413"
        if service == "dataselect" and (len(asked.splitlines()) > 1 or seconds(asked) > 50)
        else None
    )
    fetched(tmp_path / "pieces", query)
    assert samples(tmp_path / "pieces", archive) == samples(tmp_path / "whole", archive)
    assert len(list((tmp_path / "pieces/waveforms").iterdir())) == 6 * 2 + 4
    archive.misbehave, archive.asked = (
        (lambda service, *request: "413" if service == "dataselect" else None),
        [],
    )
    with pytest.raises(ForeshapError, match="too large"):
        fetched(tmp_path / "never", query)
    assert len(archive.asked) < 50


def test_an_answer_without_end_is_too_large(quiet, tmp_path, monkeypatch):
    monkeypatch.setattr(fdsn, "LARGEST_ANSWER", 100_000)
    archive, query = quiet
    fetched(tmp_path / "s", query)
    assert max(path.stat().st_size for path in (tmp_path / "s/waveforms").iterdir()) <= 100_000


@pytest.mark.parametrize(
    "arrivals, picked, asked", [("single", 7, REQUESTS + 8), ("refused", 0, REQUESTS + 10 + 2 * 8)]
)
def test_services_that_give_arrivals_for_one_event_or_never(
    reference, tmp_path, arrivals, picked, asked
):
    archive = synthetic(arrivals)
    with serving(archive) as url:
        manifest = fetched(tmp_path / "s", replace(QUERY, provider=url))
        assert (manifest["n_events"], manifest["n_picked"]) == (8, picked)
        assert len(archive.asked) == len(set(archive.asked)) == asked
        fetched(tmp_path / "s", replace(QUERY, provider=url))
        assert len(archive.asked) == asked
    if picked:
        assert (tmp_path / "s/picks.xml").read_bytes() == reference[0]["picks.xml"]


USGS = "quakeml:earthquake.usgs.gov/fdsnws/event/1/query?eventid={}&format=quakeml"


@pytest.mark.parametrize(
    "arrivals, name, asked",
    [("range", USGS, 0), ("single", USGS, 8), ("range", "smi:local/{}/1", 0)],
)
def test_events_are_told_apart_by_their_whole_id(tmp_path, arrivals, name, asked):
    archive = synthetic(arrivals)
    for key, event in zip(TIMES, archive.catalog):
        event.resource_id = obspy.core.event.ResourceIdentifier(name.format(key))
    with serving(archive) as url:
        manifest = fetched(tmp_path / "s", replace(QUERY, provider=url))
    assert (manifest["n_events"], manifest["n_picked"], len(archive.asked)) == (
        8,
        7,
        REQUESTS + asked,
    )


@pytest.mark.parametrize("code", [None, ""])
def test_picks_that_name_no_network_are_kept(tmp_path, code):
    archive = synthetic()
    for pick in (
        pick
        for event in archive.catalog
        for pick in event.picks
        if pick.waveform_id.network_code == "IV"
    ):
        pick.waveform_id.network_code = code
    with serving(archive) as url:
        assert fetched(tmp_path / "s", replace(QUERY, provider=url))["n_picked"] == 7
    report = from_continuous(
        tmp_path / "s/waveforms", tmp_path / "s/picks.xml", tmp_path / "out", QUERY.periods
    )
    assert report.written == 7


def test_the_catalogue_may_come_from_another_provider(quiet, reference, tmp_path):
    archive, query = quiet
    with serving(synthetic()) as url:
        fetched(tmp_path / "s", replace(query, catalogue=url))
    assert {service for service, _ in archive.asked} == {"station", "dataselect"}
    assert content(tmp_path / "s")[0] == reference[0]


def test_folders_and_queries_that_do_not_fit(quiet, tmp_path):
    archive, query = quiet
    fetched(tmp_path / "s", query)
    before = content(tmp_path / "s")
    with pytest.raises(
        ForeshapError, match="s holds .* a query of another radius_km: move it away"
    ):
        fetched(tmp_path / "s", replace(query, radius_km=30.0))
    assert content(tmp_path / "s") == before
    archive.asked = []
    assert fetched(tmp_path / "s", replace(query, mainshock="2020-01-02T13:00:00"))["n_events"] == 8
    held = json.loads((tmp_path / "s/manifest.json").read_text())["query"]
    assert not archive.asked and held == before[1]["query"] | {
        "mainshock": "2020-01-02 13:00:00+00:00"
    }
    same = replace(query, mainshock=obspy.UTCDateTime("2020-01-02T12:00:00").datetime)
    fetched(tmp_path / "s", same)
    (tmp_path / "s/manifest.json").write_text('{"query": 1')
    with pytest.raises(ForeshapError, match="manifest.json is damaged"):
        fetched(tmp_path / "s", query)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ForeshapError, match="use an empty folder"):
        fetched(tmp_path / "file", query)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/thesis.txt").write_text("mine")
    with pytest.raises(ForeshapError, match="use an empty folder"):
        fetched(tmp_path / "own", query)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["thesis.txt"]
    archive.asked = []
    for name, wrong in (
        ("provider", "INVG"),
        ("provider", None),
        ("start", None),
        ("station", "../x"),
        ("radius_km", -1),
        ("radius_km", "25"),
        ("mainshock", "x"),
    ):
        with pytest.raises(ForeshapError):
            fetched(tmp_path / "wrong", replace(query, **{name: wrong}))
    assert not archive.asked and not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("head", [b"X: ", b"Content-Length: 9999\r\n\r\n"])
def test_a_service_that_drips_is_given_up(tmp_path, monkeypatch, head):
    monkeypatch.setattr(fdsn, "LONGEST_ANSWER", 0.5)
    monkeypatch.setattr(fdsn, "TRIES", 1)
    server, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip():
        client, _ = server.accept()
        client.recv(2**16)
        client.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        while not stop.wait(0.1):
            client.sendall(b"x")
        client.close()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ForeshapError, match="station service .*no whole answer, Timeout.*again"):
        fetched(tmp_path / "s", replace(QUERY, provider=url))
    stop.set()
    thread.join()
    server.close()


def test_waiting_grows_and_honours_retry_after():
    assert [fdsn.wait_time(n, 0.5) for n in range(4)] == [0.5, 1, 2, 4]
    assert fdsn.wait_time(0, 1.0, "90") == 90 and fdsn.wait_time(3, 1.0, "2") == 8
    assert (
        fdsn.wait_time(0, 1.0, "Thu, 01 Jan 1970 00:00:00 GMT") == 1
        and fdsn.wait_time(0, 1.0, "soon") == 1
    )
    assert fdsn.wait_time(0, 1.0, "Fri, 01 Jan 2100 00:00:00 GMT") > fdsn.LONGEST_PAUSE


def test_content_that_is_not_what_was_asked_for(tmp_path):
    station = inventory("IV", "NRCA", *HERE)
    path, whole = tmp_path / "x", io.BytesIO()
    obspy.Stream(
        [obspy.Trace(np.arange(5000, dtype=np.int32), {"network": "IV", "station": "NRCA"})]
    ).write(whole, format="MSEED", reclen=512)
    whole = whole.getvalue()
    path.write_bytes(whole)
    day = [(pd.Timestamp("1970-01-01T00:00:40", tz="UTC"), pd.Timestamp("1970-01-02", tz="UTC"))]
    fdsn.check_miniseed(path, "IV", "NRCA", "*", day)
    bad = {
        "cut": whole[:-1],
        "header": whole[:700],
        "hole": whole[:512] + bytes(512) + whole[1024:],
        "none": b"",
        "other": whole.replace(b"NRCA", b"T121"),
        "html": fdsn_server.HTML,
        "tail": whole + b"Error 500",
    }
    for name, data in bad.items():
        path.write_bytes(data)
        with pytest.raises(fdsn.BadAnswer, match="miniSEED"):
            fdsn.check_miniseed(path, "IV", "NRCA", "*", day)
    path.write_bytes(whole)
    for channels, windows in (
        ("HH?", day),
        ("*", [(end, end + pd.Timedelta("1s")) for _, end in day]),
    ):
        with pytest.raises(fdsn.BadAnswer, match="miniSEED (of IV.NRCA|from 1970)"):
            fdsn.check_miniseed(path, "IV", "NRCA", channels, windows)
    station.write(str(path), format="STATIONXML")
    good = path.read_bytes()
    fdsn.check_station(path, "IV", "NRCA")
    hidden = (
        good.decode()
        .replace("?>", "?><!DOCTYPE x [<!ENTITY a 'a'>]>", 1)
        .replace("UTF-8", "UTF-16")
    )
    for data in (
        good[:-20],
        fdsn_server.BOMB,
        fdsn_server.HTML,
        b"",
        hidden.encode("utf-16"),
        b"<FDSNStationXML/>",
    ):
        path.write_bytes(data)
        with pytest.raises(fdsn.BadAnswer):
            fdsn.check_station(path, "IV", "NRCA")


def test_events_that_make_no_sense_are_refused_and_strange_picks_passed_over(tmp_path):
    path = tmp_path / "x"
    catalog = obspy.core.event.Catalog(
        [earthquake("a", TIMES["a"], *NEAR, 2.0, (("IV", "NRCA", "P", 9e6),))]
    )
    catalog.write(str(path), format="QUAKEML")
    good = path.read_bytes()
    fdsn.check_events(path, "IV", "NRCA", HERE)
    [(start, end)] = [fdsn.event_window(event, HERE) for event in quakeml.read_events(path)]
    assert start == pd.Timestamp(TIMES["a"], tz="UTC") - pd.Timedelta(
        "30s"
    ) and end - start < pd.Timedelta("2min")
    for old, new in ((b"13.15", b"east"), (b"42.9<", b"nan<"), (b"8000", b"inf")):
        assert old in good
        path.write_bytes(good.replace(old, new))
        with pytest.raises(fdsn.BadAnswer):
            fdsn.check_events(path, "IV", "NRCA", HERE)
        assert {file.name for file in tmp_path.iterdir()} == {"x"}


def test_mutated_answers_are_refused_or_read(reference, tmp_path):
    files, _ = reference
    path, rng = tmp_path / "x", np.random.default_rng(5)
    events = max((name for name in files if "events/" in name), key=lambda name: len(files[name]))
    checks = {
        min(name for name in files if "waveforms/" in name): lambda: fdsn.check_miniseed(
            path,
            "IV",
            "NRCA",
            "*",
            [(pd.Timestamp("1900", tz="UTC"), pd.Timestamp("2200", tz="UTC"))],
        ),
        events: lambda: fdsn.check_events(path, "IV", "NRCA", HERE),
        "station.xml": lambda: fdsn.check_station(path, "IV", "NRCA"),
    }
    refused = 0
    for number in range(MUTATIONS):
        name = list(checks)[number % 3]
        data = np.frombuffer(
            files[name][:20000] if "waveforms" in name else files[name], np.uint8
        ).copy()
        few = rng.integers(0, len(data), rng.integers(1, 6))
        data[few] = rng.integers(0, 256, len(few))
        path.write_bytes(
            data[: rng.integers(len(data))].tobytes() if number % 5 == 0 else data.tobytes()
        )
        try:
            checks[name]()
        except fdsn.BadAnswer:
            refused += 1
    assert 0 < refused < MUTATIONS and [file.name for file in tmp_path.iterdir()] == ["x"]


def run(folder, query):
    fdsn.TOGETHER = 2
    fetched(folder, query)


def test_killed_runs_are_continued(quiet, reference, tmp_path):
    archive, query = quiet
    context, chance = multiprocessing.get_context("forkserver"), random.Random(1)
    context.set_forkserver_preload(
        ["foreshap.sources.fdsn", "fdsn_server", "pytest"]
    )  # once, from the root of the project
    for _ in range(KILLS):
        archive.asked, until = [], chance.randrange(1, 6)
        process = context.Process(target=run, args=(tmp_path / "s", query))
        process.start()
        while len(archive.asked) < until and process.is_alive():
            process.join(0.002)
        process.join(chance.random() / 50)
        process.kill()
        process.join()
        stored = content(tmp_path / "s")[0] if (tmp_path / "s/manifest.json").exists() else {}
        whole = {name: data for name, data in stored.items() if ".partial" not in name}
        assert whole.items() <= reference[0].items()
    archive.asked = []
    fetched(tmp_path / "s", query)
    assert content(tmp_path / "s") == reference
    archive.asked = []
    fetched(tmp_path / "s", query)
    assert not archive.asked


def compare(folder, archive, station):
    """Number of traces of a layout, each compared with the archive."""
    written = 0
    for period in SIDES:
        table = read_table(folder, station, period).set_index("trace_name")
        with h5py.File(folder / f"{station}_{period}.hdf5") as file:
            for name in file:
                start, samples = obspy.UTCDateTime(table["trace_start_time"][name]), file[name][:]
                cut = archive.select(station=station).slice(
                    start, start + (samples.shape[1] - 1) / 100
                )
                np.testing.assert_array_equal(
                    samples, [trace.data for trace in cut.merge().sort(["channel"])]
                )
                written += 1
    return written


def test_the_store_becomes_the_layout(quiet, tmp_path):
    archive, query = quiet
    fetched(tmp_path / "s", query)
    report = from_continuous(
        tmp_path / "s/waveforms", tmp_path / "s/picks.xml", tmp_path / "out", query.periods
    )
    assert report.written == 7 == compare(tmp_path / "out", archive.stream, "NRCA")
    assert report.rejected[["trace_name", "reason"]].to_numpy().tolist() == [
        ["NRCA.IV.d_EV", "P missing"]
    ]
    assert [len(read_table(tmp_path / "out", "NRCA", period)) for period in SIDES] == [3, 4]


def test_a_declared_study_is_fetched_and_cut(quiet, tmp_path):
    archive, query = quiet
    (tmp_path / "datasets.toml").write_text(
        f'[mine]\nsource = "fdsn"\nprovider = "{query.provider}"\n'
        'network = "IV"\nstation = "NRCA"\n'
        "mainshock = 2020-01-02T12:00:00Z\nstart = 2020-01-01\nend = 2020-01-04\n"
        "left_out = [2020-01-02T06:00:00Z, 2020-01-02T18:00:00Z]\nremove_response = true\n"
    )
    folder = waveform_folder("mine", tmp_path)
    with h5py.File(folder / "NRCA_pre.hdf5") as file:
        assert file.attrs["unit"] == "nm/s" and len(file) == 3
    asked = len(archive.asked)
    assert waveform_folder("mine", tmp_path) == folder and len(archive.asked) == asked
    text = (tmp_path / "datasets.toml").read_text()  # without left_out, nothing is left out
    whole = "\n".join(line for line in text.splitlines() if "left_out" not in line)
    (tmp_path / "datasets.toml").write_text(whole.replace("mine", "whole"))
    waveform_folder("whole", tmp_path)
    assert (
        json.loads((tmp_path / "whole/fdsn/manifest.json").read_text())["query"]["left_out"] is None
    )


def test_real_seismograms_become_the_same_layout_as_from_the_archive(iquique, tmp_path):
    archive, picks = obspy.Stream(), obspy.read_events(str(iquique / "picks.xml"), format="QUAKEML")
    for path in sorted((iquique / "waveforms").glob("CX.PB01*")):
        archive += obspy.read(str(path), format="MSEED")
    chosen = [event for event in picks if event.picks[0].waveform_id.station_code == "PB01"][:60]
    events = []
    for event in chosen:
        p = min(pick.time for pick in event.picks)
        times = [("CX", "PB01", pick.phase_hint, pick.time - p + 5) for pick in event.picks]
        events.append(
            earthquake(str(event.resource_id).split("/")[-1], p - 5, -21.0, -69.5, 3.0, times)
        )
    service = Archive(archive, events, inventory("CX", "PB01", -21.04, -69.49))
    with serving(service) as url:
        query = FdsnQuery(
            provider=url,
            network="CX",
            station="PB01",
            mainshock="2014-04-01T23:46:47",
            start="2014-02-28",
            end="2014-05-02",
            left_out=("2014-04-01T12:00:00", "2014-04-30T12:00:00"),
        )
        fetched(tmp_path / "s", query)
        obspy.core.event.Catalog(chosen).write(str(tmp_path / "picks.xml"), format="QUAKEML")
    one = from_continuous(
        tmp_path / "s/waveforms", tmp_path / "s/picks.xml", tmp_path / "1", query.periods
    )
    two = from_continuous(
        iquique / "waveforms", tmp_path / "picks.xml", tmp_path / "2", query.periods
    )
    assert one.written == two.written == compare(tmp_path / "1", archive, "PB01") > 50
    for file in ("PB01_pre.hdf5", "PB01_post.hdf5", "import_rejected.csv"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
    columns = ["trace_name", "trace_start_time", "p_s_diff_sec"]  # the services know origins, too
    for period in SIDES:
        tables = [read_table(tmp_path / name, "PB01", period)[columns] for name in ("1", "2")]
        pd.testing.assert_frame_equal(*tables)


def test_obspy_gets_the_same_from_these_services(quiet, tmp_path):
    archive, query = quiet
    fetched(tmp_path / "s", query)
    client = Client(query.provider, _discover_services=False)
    spans = query.periods
    catalog = client.get_events(
        *(obspy.UTCDateTime(time.isoformat()) for time in (spans.start, spans.end)),
        latitude=HERE[0],
        longitude=HERE[1],
        maxradius=25 / 111.195,
        minmagnitude=1.0,
        includearrivals=True,
    )
    ours = obspy.read_events(str(tmp_path / "s/picks.xml"))
    left = [event for event in catalog if not str(event.resource_id).endswith("left")]
    assert [e.resource_id for e in left] == [e.resource_id for e in ours]
    assert [e.origins[0].time for e in left] == [e.origins[0].time for e in ours]
    start = obspy.UTCDateTime(TIMES["c"])
    stream = client.get_waveforms_bulk([("IV", "NRCA", "*", "HH?", start, start + 10)])
    stream, mine = (
        stream.slice(start, start + 10),
        waveforms(tmp_path / "s").slice(start, start + 10),
    )
    for trace, other in zip(stream.sort(), mine.sort(), strict=True):
        np.testing.assert_array_equal(trace.data, other.data)
