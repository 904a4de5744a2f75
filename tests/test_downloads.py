"""Downloads from a server on loopback that speaks Zenodo's API and misbehaves; hostile archives."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from foreshap import download
from foreshap.files import ForeshapError
from foreshap.sources import downloads
from foreshap.sources.downloads import extract

DOI = "10.5281/zenodo.77"
ROOT = Path(__file__).parents[1]
DATA = np.random.default_rng(0).bytes(300_000)


class Zenodo(ThreadingHTTPServer):
    """Serves `files` (name -> bytes) as record 77; a request for a file takes one of `faults`."""

    daemon_threads = True

    def __init__(self, **files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.site = f"http://127.0.0.1:{self.server_address[1]}"
        self.files, self.faults, self.asked, self.sums = files, [], [], {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, name = self.server, self.path.split("/")[-1]
        begin = self.headers.get("Range", "")
        server.asked.append((name, begin))
        if self.path == "/api/records/77":
            described = [
                {
                    "key": key,
                    "size": len(data),
                    "links": {"self": f"{server.site}/files/{key}"},
                    "checksum": server.sums.get(key, "md5:" + hashlib.md5(data).hexdigest()),
                }
                for key, data in server.files.items()
            ]
            return self.reply(200, json.dumps({"files": described}).encode())
        if name not in server.files:
            return self.reply(404, b'{"status": 404, "message": "none"}')
        fault = server.faults.pop(0) if server.faults else None
        data = server.files[name]
        if isinstance(fault, int):
            return self.reply(fault, b"busy")
        if fault == "longer":
            return self.reply(200, data + b"more")
        if fault == "other":
            return self.reply(200, bytes(len(data)))
        first = int(begin[6:-1]) if begin and fault not in ("no range", "cut anew") else 0
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        self.reply(206 if first else 200, data[first:], fault, **headers)

    def reply(self, status, data, fault=None, **headers):
        self.send_response(status)
        half = data[: len(data) // 2]
        shown = half if fault == "short" else data
        for key, value in ({"Content-Length": len(shown)} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(half if fault in ("cut", "cut anew", "hang") else shown)
        self.wfile.flush()
        if fault == "hang":
            time.sleep(60)


@pytest.fixture
def zenodo():
    with Zenodo(**{"data.bin": DATA}) as server:
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "BACKOFF", 0)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def asked(server):
    return [begin for name, begin in server.asked if name == "data.bin"]


def test_a_file_is_downloaded_once_and_checked_at_each_use(zenodo, tmp_path):
    folder = download(DOI, tmp_path / "in", zenodo.site)
    assert folder == tmp_path / "in" and (folder / "data.bin").read_bytes() == DATA
    kept = json.loads((folder / "checksums.json").read_text())
    assert (
        kept["doi"] == DOI
        and kept["files"]["data.bin"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    )
    assert files(folder) == ["checksums.json", "data.bin"]
    requests = len(zenodo.asked)
    download(DOI, folder, "http://127.0.0.1:1")  # nothing listens there
    assert len(zenodo.asked) == requests
    (folder / "data.bin").write_bytes(DATA[:-1] + b"?")
    with pytest.raises(ForeshapError, match="data.bin is another file.* has changed"):
        download(DOI, folder, zenodo.site)
    with pytest.raises(ForeshapError, match="use another folder"):
        download("10.5281/zenodo.78", folder, zenodo.site)
    (folder / "checksums.json").write_text('{"doi": 1}')
    with pytest.raises(ForeshapError, match="checksums.json can't be read"):
        download(DOI, folder, zenodo.site)


def test_a_cut_connection_is_continued_where_it_broke_off(zenodo, tmp_path):
    zenodo.faults = ["cut", "cut", "short"]
    assert (download(DOI, tmp_path, zenodo.site) / "data.bin").read_bytes() == DATA
    assert asked(zenodo) == ["", "bytes=150000-", "bytes=225000-", "bytes=262500-"]


def test_a_server_without_ranges_sends_it_all_again(zenodo, tmp_path):
    zenodo.faults = ["cut", "no range"]
    assert (download(DOI, tmp_path, zenodo.site) / "data.bin").read_bytes() == DATA


def test_busy_servers_are_asked_again(zenodo, tmp_path):
    zenodo.faults = [503, 429]
    assert (download(DOI, tmp_path, zenodo.site) / "data.bin").read_bytes() == DATA
    assert len(asked(zenodo)) == 3


@pytest.mark.parametrize(
    "faults, sentence",
    [
        ([404], "404"),
        ([500] * 5, "500"),
        (["longer"], "more than the 300000"),
        (["other"], "hash"),
        (["cut", "cut no more", 404], "404"),
    ],
)
def test_what_fails_says_so_and_the_next_call_succeeds(zenodo, tmp_path, faults, sentence):
    zenodo.faults = [fault for fault in faults if fault != "cut no more"]
    with pytest.raises(ForeshapError, match=f"data.bin can't be downloaded.*{sentence}"):
        download(DOI, tmp_path, zenodo.site)
    assert "data.bin" not in files(tmp_path) and "checksums.json" not in files(tmp_path)
    before = len(zenodo.asked)
    assert (download(DOI, tmp_path, zenodo.site) / "data.bin").read_bytes() == DATA
    assert files(tmp_path) == ["checksums.json", "data.bin"]
    if faults[0] == "cut":
        assert zenodo.asked[before:][-1] == ("data.bin", "bytes=150000-")


def test_a_server_that_never_gets_further_is_given_up(zenodo, tmp_path):
    zenodo.faults = ["cut", "cut anew", "cut anew"]
    with pytest.raises(ForeshapError, match="broke off at byte 150000 of 300000 again"):
        download(DOI, tmp_path, zenodo.site)
    assert asked(zenodo) == ["", "bytes=150000-"]


def test_two_downloads_into_one_folder_wait_for_each_other(zenodo, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(download, DOI, tmp_path, zenodo.site) for _ in range(4)]
    assert {run.result() for run in runs} == {tmp_path} and asked(zenodo) == [""]


def test_a_killed_download_is_continued(zenodo, tmp_path):
    zenodo.faults = ["hang"]
    code = f"from foreshap import download; download({DOI!r}, {str(tmp_path)!r}, {zenodo.site!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    partial = tmp_path / ".data.bin.partial"
    while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = partial.stat().st_size
    assert (download(DOI, tmp_path, zenodo.site) / "data.bin").read_bytes() == DATA
    assert 0 < done < len(DATA) and asked(zenodo) == ["", f"bytes={done}-"]


def test_hostile_names_and_lists_are_refused(zenodo, tmp_path):
    for name in ("../out", "/out", "a/b", "..", ".hidden", "checksums.json", "a\\b", ""):
        zenodo.files = {name: b"x"}
        with pytest.raises(ForeshapError, match="plain|no list"):
            download(DOI, tmp_path / "in", zenodo.site)
    zenodo.files = {}
    with pytest.raises(ForeshapError, match="lists no files"):
        download(DOI, tmp_path / "in", zenodo.site)
    with pytest.raises(ForeshapError, match="no list of files.*404"):
        download("10.5281/zenodo.78", tmp_path / "in", zenodo.site)
    with pytest.raises(ForeshapError, match="no archive: give nrca, nine_stations, frames"):
        download("elsewhere", tmp_path / "in", zenodo.site)
    with pytest.raises(ForeshapError, match="no list of files"):
        download("nrca", tmp_path / "in", "http://127.0.0.1:1")
    assert not (tmp_path / "in").exists() and not list(tmp_path.glob("*out*"))


def test_somebody_elses_file_of_this_name_stays(zenodo, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(ForeshapError, match="another file"):
        download(DOI, tmp_path, zenodo.site)
    assert (tmp_path / "data.bin").read_bytes() == b"mine"


def zipped(*members):
    """Bytes of a zip file of (name, content, Unix mode)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


def tarred(*members, mode="w:gz"):
    """Bytes of a tar file of (name, content or link's target, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size, info.linkname = (
                (len(content), "") if kind == tarfile.REGTYPE else (0, content.decode())
            )
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_archives_are_extracted_once_into_a_folder_of_their_name(zenodo, tmp_path):
    plain = tarfile.REGTYPE
    zenodo.files = {
        "one.zip": zipped(
            ("dset/", b"", 0o40755), ("dset/a.csv", b"a", 0o100644), ("b.csv", b"b", 0)
        ),
        "two.tar.gz": tarred(
            ("./dset", b"", tarfile.DIRTYPE), ("./dset/a.csv", b"c" * 9999, plain)
        ),
        "three.tgz": tarred(("a.csv", b"d", plain)),
    }
    for _ in range(2):
        folder = download(DOI, tmp_path / "in", zenodo.site)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.csv")}
    assert found == {
        "one/dset/a.csv": b"a",
        "one/b.csv": b"b",
        "two/dset/a.csv": b"c" * 9999,
        "three/a.csv": b"d",
    }


@pytest.mark.parametrize(
    "data, sentence",
    [
        (zipped(("good", b"", 0), ("../out", b"x", 0o100644)), "'../out' climbs"),
        (zipped(("/tmp/out", b"x", 0o100644)), "'/tmp/out' climbs"),
        (zipped(("a/../../out", b"x", 0)), "climbs"),
        (zipped(("C:/out", b"x", 0)), "climbs"),
        (zipped(("..\\out", b"x", 0)), "climbs"),
        (zipped(("link", b"/etc", 0o120777), ("link/out", b"x", 0)), "'link' is a link"),
        (zipped(("big", bytes(2_000_000), 0)), "more than 1000000 bytes"),
        (zipped(*((f"{k}", bytes(400_000), 0) for k in range(3))), "more than 1000000 bytes"),
        (
            tarred(("good", b"", tarfile.REGTYPE), ("../out", b"x", tarfile.REGTYPE)),
            "'../out' climbs",
        ),
        (tarred(("/tmp/out", b"x", tarfile.REGTYPE)), "climbs"),
        (
            tarred(("link", b"/etc", tarfile.SYMTYPE), ("link/out", b"x", tarfile.REGTYPE)),
            "'link' is a link",
        ),
        (tarred(("link", b"/etc/passwd", tarfile.LNKTYPE)), "is a link"),
        (tarred(("pipe", b"", tarfile.FIFOTYPE)), "is a link or a device"),
        (tarred(("device", b"", tarfile.CHRTYPE)), "is a link or a device"),
        (tarred(("big", bytes(2_000_000), tarfile.REGTYPE)), "more than 1000000 bytes"),
        (tarred(("a", b"1", tarfile.REGTYPE), ("a", b"2", tarfile.REGTYPE)), "can't be extracted"),
        (tarred(("a", DATA[:9999], tarfile.REGTYPE))[:5000], "can't be extracted"),
        (zipped(("a", DATA[:9999], 0))[:5000], "can't be extracted"),
        (
            zipped(("a", b"text" * 99, 0)).replace(b"\x8c\x01\x00\x00", b"\x0c\x00\x00\x00"),
            "can't be extracted",
        ),
        (b"", "can't be extracted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_hostile_archives_write_nothing(tmp_path, data, sentence):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ForeshapError, match=sentence):
        extract(tmp_path / "bad", tmp_path / "in/out", largest=1_000_000)
    assert (
        not list(tmp_path.glob("in/*"))
        and not Path("/tmp/out").exists()
        and not list(tmp_path.glob("out*"))
    )
