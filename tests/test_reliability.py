"""A test a kind: errors of the machine, full disks, flipped bits, links, several at once."""

import errno
import os
import re
import socket
import threading
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import nbformat
import numpy as np
import obspy
import pandas as pd
import pytest
import torch

import foreshap
import run_notebooks
from foreshap import ForeshapError
from foreshap.figures.maps import event_title
from foreshap.files import (
    MachineError,
    finish_moves,
    folder_replaced_whole,
    folder_written_whole,
    keep_result,
    written_whole,
)
from foreshap.hdf5 import create_hdf5, open_hdf5
from foreshap.preprocessing import spectrograms as rooms
from foreshap.preprocessing.waveforms import read_trace
from foreshap.sources import downloads, fdsn, published_spectrograms, recordings
from foreshap.sources.fdsn import open_client, public

ROOT = Path(__file__).parents[1]


def failing(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


# An error of the machine is not damage of the data


def test_what_hdf5_tells_of_the_machine_is_no_damage(tmp_path):
    with create_hdf5(tmp_path / "a.h5") as file:
        file["x"] = np.zeros((3, 2500))
    file = open_hdf5(tmp_path / "a.h5")
    number = file.id.get_vfd_handle()
    spare = os.dup(number)
    os.close(number)  # as if the disk had gone
    try:
        with pytest.raises(MachineError, match="a.h5 can't be read now .*may be good"):
            read_trace(file, "x")
    finally:
        os.dup2(spare, number)
        os.close(spare)
    assert read_trace(file, "x")[1] == ""
    file.close()


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ESTALE, "stale"), OSError(5, "io")])
def test_an_import_stops_where_the_machine_fails(tmp_path, monkeypatch, error):
    kills = pytest.importorskip("kills")
    monkeypatch.setattr(kills, "EVENTS", 8)
    kills.make_recordings(tmp_path / "rec", 0)
    kills.import_recordings(tmp_path / "rec", tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "layout").rglob("*") if p.is_file()}
    read, calls = obspy.read, iter(range(99))

    def read_once(*arguments, **options):
        if next(calls) > 0:
            raise error
        return read(*arguments, **options)

    monkeypatch.setattr(recordings.obspy, "read", read_once)
    with pytest.raises(MachineError, match="can't be read now"):
        kills.import_recordings(tmp_path / "rec", tmp_path)
    assert {p: p.read_bytes() for p in (tmp_path / "layout").rglob("*") if p.is_file()} == before


def test_a_kept_result_that_can_t_be_read_now_is_not_replaced(tmp_path, monkeypatch):
    table = pd.DataFrame({"a": [1]})
    keep_result(tmp_path / "k.json", 1, lambda: table)
    before = (tmp_path / "k.json").read_bytes()
    with monkeypatch.context() as context:
        context.setattr(Path, "read_text", failing(errno.EMFILE))
        with pytest.raises(MachineError, match="k.json can't be read now"):
            keep_result(tmp_path / "k.json", 1, lambda: pytest.fail("computed"))
    assert (tmp_path / "k.json").read_bytes() == before


# A full disk never changes a result


def test_what_can_t_be_kept_is_not_skipped(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(MachineError, match="can't be written .*No space"):
        foreshap.run_controls(trained.spectrograms, 0, tmp_path)
    with pytest.raises(MachineError, match="can't be written .*No space"):
        foreshap.train_parts(
            trained.spectrograms,
            trained.result.split,
            foreshap.TrainingConfig(max_epochs=1),
            tmp_path,
        )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# What is read is what was written


def flip(path, place, bit=6):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["label", "S-P", "text", "attribute"])
def test_a_flipped_bit_in_a_column_is_noticed(trained, tmp_path, what):
    path = tmp_path / "P64.h5"
    path.write_bytes(trained.spectrograms.path.read_bytes())
    s = foreshap.load_spectrograms(path)
    with open_hdf5(path) as file:
        places = {
            "label": file["label"].id.get_offset() + 3,
            "S-P": file["p_s_diff_sec"].id.get_offset() + 6,
            "text": path.read_bytes().index(s.table["trace_name"][3].encode()) + 2,
            "attribute": path.read_bytes().index(s.attributes["source_sha256"].encode()) + 30,
        }
    s.values.file.close()
    flip(path, places[what], 0)
    with pytest.raises(ForeshapError, match="P64.h5 is no tensor file.*(checksum|label)"):
        foreshap.load_spectrograms(path)


@pytest.mark.parametrize("change", ["rows", "columns", "key", "depth", "no hash"])
def test_a_kept_result_that_was_changed_is_computed_anew(tmp_path, change):
    path, table = tmp_path / "k.json", pd.DataFrame({"low": [0.25, 0.5], "name": ["a", "b"]})
    keep_result(path, ["key"], lambda: table)
    text = path.read_text()
    changes = {
        "rows": text.replace("0.25", "0.75"),
        "columns": text.replace('"low"', '"lox"'),
        "key": text.replace('"key"', '"kez"', 1),
        "depth": "[" * 100_000,
        "no hash": text.replace('"sha256"', '"sha257"'),
    }
    path.write_text(changes[change])
    pd.testing.assert_frame_equal(keep_result(path, ["key"], lambda: table), table)
    assert path.read_text() == text
    keep_result(path, ["key"], lambda: pytest.fail("computed"))


@pytest.mark.parametrize(
    "change",
    [
        {"card": '{"split": {"test": 1}}'},
        {"card": "[1, 2]"},
        {"scaling": {"mean": [0.5] * 3, "std": [0.2, 0.0, 0.2]}},
        {"scaling": {"mean": [float("nan")] * 3, "std": [0.2] * 3}},
        {"scaling": {"mean": [0.5] * 2, "std": [0.2] * 3}},
        {"state_dict": {}},
    ],
)
def test_cards_and_scalings_of_other_kinds_are_refused(trained, tmp_path, change):
    content = torch.load(trained.path, weights_only=True)
    torch.save(content | change, tmp_path / "P64.pt")
    with pytest.raises(ForeshapError, match="P64.pt is no checkpoint that foreshap can open"):
        foreshap.load_checkpoint(tmp_path / "P64.pt")


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(trained, tmp_path):
    with zipfile.ZipFile(trained.path) as whole:
        with zipfile.ZipFile(tmp_path / "P64.pt", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in whole.namelist():
                packed.writestr(name, whole.read(name))
            packed.writestr("archive/data/99", bytes(2**22))
    with pytest.raises(ForeshapError, match="its parts hold .* bytes, more than"):
        foreshap.load_checkpoint(tmp_path / "P64.pt")


def test_rows_of_a_longer_file_are_refused(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    split = checkpoint.card["split"] | {"validation": [10**6]}
    far = replace(checkpoint, card=checkpoint.card | {"split": split})
    with pytest.raises(ForeshapError, match="was trained on event 1000001"):
        foreshap.choose_background(far, trained.spectrograms, 6)


# Who read what


def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    source = foreshap.simulate_sequence(tmp_path / "wf", 8, seed=1)
    only = [foreshap.VARIANTS["P64"]]
    foreshap.preprocess(source, tmp_path / "out", only)
    before = (tmp_path / "out/P64.h5").read_bytes()
    transform = rooms._transform

    def transform_and_touch(batch):
        os.utime(source / "DEMO_post_attributes.csv", (0, 0))
        return transform(batch)

    monkeypatch.setattr(rooms, "_transform", transform_and_touch)
    with pytest.raises(ForeshapError, match="wf was changed while it was read"):
        foreshap.preprocess(source, tmp_path / "out", only)
    assert (tmp_path / "out/P64.h5").read_bytes() == before


def test_the_hash_is_that_of_the_opened_file(trained, tmp_path):
    path, content = tmp_path / "P64.h5", trained.spectrograms.path.read_bytes()
    path.write_bytes(content)
    s = foreshap.load_spectrograms(path)
    old = s.sha256
    with written_whole(path) as partial:
        partial.write_bytes(b"another")
    assert s.sha256 == old == foreshap.load_spectrograms(trained.spectrograms.path).sha256


# Several at once, links, power cuts


def test_threads_that_write_one_file_at_once_leave_one_of_theirs(tmp_path):
    def write(text):
        with written_whole(tmp_path / "a") as partial:
            partial.write_text(text * 10)
            time.sleep(0.05)
            partial.write_text(text * 100)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, "abcdef"))
    content = (tmp_path / "a").read_text()
    assert len(content) == 100 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("writer", [folder_written_whole, folder_replaced_whole])
def test_threads_that_write_one_folder_at_once_leave_files_of_one(tmp_path, writer):
    def write(text):
        for _ in range(20):
            with writer(tmp_path / "folder") as new:
                for name in "xyz":
                    (new / name).write_text(text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    finish_moves(tmp_path / "folder")
    assert len({(tmp_path / "folder" / name).read_text() for name in "xyz"}) == 1
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["x", "y", "z"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", [".data.whole", ".P64.json.0123456789abcdef.partial", ".y.whole"])
def test_links_and_foreign_names_are_left(tmp_path, name):
    (tmp_path / "private").mkdir()
    (tmp_path / "private/id").write_text("secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).symlink_to(tmp_path / "private")
    finish_moves(tmp_path / "data")
    with written_whole(tmp_path / "data/P64.json") as partial:
        partial.write_text("new")
    assert (tmp_path / "private/id").read_text() == "secret"
    assert {path.name for path in (tmp_path / "data").iterdir()} == {name, "P64.json"}


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", ""])
def test_a_dataset_can_t_be_named_like_a_path(tmp_path, name):
    (tmp_path / "data").mkdir()
    declaration = f'["{name}"]\nsource = "simulated"\nseed = 1\nn_events = 8\n'
    (tmp_path / "data/datasets.toml").write_text(declaration)
    with pytest.raises(ForeshapError, match="can name no folder"):
        foreshap.waveform_folder(name, tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "datasets.toml"]


def test_data_are_on_the_disk_before_their_names(tmp_path, monkeypatch):
    synced, sync, replace_file = [], os.fsync, os.replace

    def note(number):
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        sync(number)

    def check(old, new):
        old = Path(old)
        files = [path for path in old.rglob("*") if path.is_file()] if old.is_dir() else [old]
        assert {str(path) for path in files} <= {*synced, *moved}
        moved.extend([str(new), *(str(Path(new) / path.relative_to(old)) for path in files)])
        replace_file(old, new)

    moved = []
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", check)
    for _ in range(2):
        foreshap.simulate_sequence(tmp_path / "wf", 4, seed=1)
        with written_whole(tmp_path / "a") as partial:
            partial.write_text("x")
    assert str(tmp_path / "wf") in synced and str(tmp_path) == synced[-1]


# Time and memory have bounds


@pytest.mark.parametrize(
    "head, sentence",
    [(b"Content-Length: 99999\r\n\r\n", "fewer than 1000 bytes a second"), (b"X: ", "no answer")],
)
def test_a_download_that_drips_is_given_up(tmp_path, monkeypatch, head, sentence):
    monkeypatch.setattr(downloads, "SECONDS", 0.5)
    monkeypatch.setattr(fdsn, "LONGEST_ANSWER", 2.0)
    server, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip():
        client, _ = server.accept()
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        while not stop.wait(0.1):
            client.sendall(b"x")

    threading.Thread(target=drip, daemon=True).start()
    facts = {"url": f"http://127.0.0.1:{server.getsockname()[1]}/a", "size": 99999}
    begin = time.monotonic()
    with pytest.raises(ForeshapError, match=sentence):
        downloads._fetch(tmp_path / "a", facts | {"checksum": "md5:" + "0" * 32})
    stop.set()
    assert time.monotonic() - begin < 10


def test_texts_that_are_one_text_on_the_disk_are_refused(tmp_path):
    foreshap.preprocess(
        foreshap.simulate_sequence(tmp_path / "wf", 8, seed=1), tmp_path, [foreshap.VARIANTS["P64"]]
    )
    path = tmp_path / "P64.h5"
    with h5py.File(path, "r+") as file:
        del file["source_id"]
        file.create_dataset("source_id", data=["x" * 2**26] + ["y"] * 7, dtype=h5py.string_dtype())
        place, size = file["source_id"].id.get_offset(), file["source_id"].id.get_storage_size()
    content = bytearray(path.read_bytes())
    content[place : place + size] = content[place : place + 16] * 8
    path.write_bytes(content)
    with pytest.raises(ForeshapError, match="columns are larger than 256 MiB"):
        foreshap.load_spectrograms(path)


def test_published_arrays_that_unpack_to_gigabytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(published_spectrograms, "LARGEST", 2**20)
    with zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("spectrogram.npy", "w", force_zip64=True) as part:
            part.write(bytes(2**21))
    with pytest.raises(ForeshapError, match="parts hold .* bytes, more than 1048576"):
        foreshap.import_spectrograms(tmp_path / "p.npz", tmp_path / "out")


# Reports and secrets


def test_reports_load_nothing_and_are_whole(tmp_path, monkeypatch):
    cells = [nbformat.v4.new_markdown_cell("a page")]
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"widgets": widgets})

    def execute(source, target, *arguments, **options):
        nbformat.write(book, target)

    monkeypatch.setattr(run_notebooks.papermill, "execute_notebook", execute)
    run_notebooks.run("explainability/controls.ipynb", tmp_path / "reports", "demo")
    page = (tmp_path / "reports/controls.html").read_text()
    assert not re.search(r'(src|href)=["\'](https?:|//)', page) and "unpkg" not in page
    assert "Content-Security-Policy" in page and "script-src" not in page
    monkeypatch.setattr(run_notebooks.papermill, "execute_notebook", failing(errno.ENOSPC))
    with pytest.raises(MachineError, match="reports can't be written"):
        run_notebooks.run("explainability/controls.ipynb", tmp_path / "reports", "demo")
    assert (tmp_path / "reports/controls.html").read_text() == page


def test_addresses_are_stored_without_secrets():
    for address in ("https://a:b@host/x?token=c", "http://a@host:80/x"):
        assert not {"a", "b", "c", "token"} & set(re.split(r"\W", public(address)))
    with pytest.raises(ForeshapError) as error:
        open_client("ftp://user:s3cret@host")
    assert "s3cret" not in str(error.value)


# Names that break explaining, and other raw errors


@pytest.mark.parametrize("column", ["row", "base_value", "seconds", "made_from", "path"])
def test_columns_that_break_explaining_are_told_at_preprocessing(tmp_path, column):
    folder = foreshap.simulate_sequence(tmp_path / "wf", 8, seed=1)
    for path in folder.glob("*.csv"):
        pd.read_csv(path).assign(**{column: 5.0}).to_csv(path, index=False)
    with pytest.raises(ForeshapError, match=f"has a column {column}, .*rename it"):
        foreshap.preprocess(folder, tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"seed": 1.5}, {"effects": {"path": "a"}}, {"effects": {"path": np.inf}}],
)
def test_a_simulation_that_can_t_be_gets_a_sentence(tmp_path, options):
    with pytest.raises(ForeshapError, match="seed|effect"):
        foreshap.simulate_sequence(tmp_path / "wf", 8, **{"seed": 1} | options)
    assert not (tmp_path / "wf").exists()


def test_a_title_takes_dollars_as_they_are():
    event = {"trace_name": r"A.B.$\frac{_EV", "label": 1}
    assert event_title(event).startswith(r"A.B.\$\frac{_EV, after")


@pytest.mark.parametrize("path", [".", "", "a\0b"])
def test_outputs_of_odd_names_are_made_or_refused(tmp_path, monkeypatch, path):
    source = foreshap.simulate_sequence(tmp_path / "wf", 4, seed=1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if "\0" in path:
        with pytest.raises(ForeshapError, match="names no file"):
            foreshap.preprocess(source, path, [foreshap.VARIANTS["P64"]])
    else:
        foreshap.preprocess(source, path, [foreshap.VARIANTS["P64"]])
        assert set(os.listdir(".")) == {"P64.h5", "cross_spectra.h5"}


# Floors


def test_floors_and_pins_lie_above_known_holes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(
        re.findall(r"^([a-z0-9_-]+)>=([\d.]+)$", "\n".join(project["dependencies"]), re.M)
    )
    assert tuple(map(int, floors["torch"].split("."))) >= (2, 10)
    assert tuple(map(int, floors["urllib3"].split("."))) >= (2, 7)
    text = (ROOT / "requirements.txt").read_text()
    pins = re.findall(
        r"(?m)^([a-z0-9-]+)==\S+.* \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)", text
    )
    assert len(pins) == len(re.findall("(?m)^[a-z]", text)) > 100
    needed = {re.split("[<>=]", need)[0].replace("_", "-") for need in project["dependencies"]}
    assert needed - {"torch"} <= {name for name, _ in pins}
