"""Tables and waveforms that are damaged, lie or point elsewhere; full disks; whole files."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import h5py
import numpy as np
import pandas as pd
import pytest
import requests

import foreshap
from foreshap.files import (
    LOCK,
    ForeshapError,
    check_room,
    folder_replaced_whole,
    folder_written_whole,
    written_whole,
)
from foreshap.preprocessing.variants import SIDES
from foreshap.preprocessing.waveforms import (
    COLUMNS,
    REASONS,
    event_times,
    read_table,
    read_trace,
    stations,
    write_waveforms,
)
from foreshap.sources.datasets import waveform_folder

VARIANTS = [foreshap.VARIANTS[name] for name in ("P64", "S64")]


def layout(folder, traces, post=None, **columns):
    """A folder in the layout; traces and post (name -> samples) before and after the mainshock."""
    post = {"Z": noise(9)} if post is None else post
    for period, part in (("pre", traces), ("post", post)):
        table = pd.DataFrame({"trace_name": list(part)}).reindex(columns=list(COLUMNS))
        table = table.assign(trace_start_time="2016-10-01T00:00:00", p_s_diff_sec=1.25)
        table = table.assign(**columns) if period == "pre" else table
        write_waveforms(folder, "TST", period, part.items(), table)
    return folder


def noise(seed, samples=2600, size=50):
    return np.random.default_rng(seed).integers(-size, size, (3, samples), dtype=np.int32)


def reasons(folder, output):
    """Variant -> trace -> why it was rejected."""
    reports = foreshap.preprocess(folder, output, VARIANTS)
    assert all(set(report.rejected["reason"]) <= set(REASONS) for report in reports.values())
    return {
        name: dict(zip(r.rejected["trace_name"], r.rejected["reason"]))
        for name, r in reports.items()
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(",", ";"), "TST_pre_attributes.csv .*comma-separated"),
        (lambda text: text.replace(",", "\t"), "TST_pre_attributes.csv .*comma-separated"),
        (lambda text: text.replace("\n", ",\n").replace("sec,\n", "sec\n", 1), "more fields"),
        (
            lambda text: text.replace("A,", "A,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8", 1).replace(
                ",A", "", 1
            ),
            "fields",
        ),
        (
            lambda text: text.replace("source_id", "p_s_diff_sec"),
            "two columns are called p_s_diff_sec",
        ),
        (lambda text: text.replace("A,", "A\0,"), "zero"),
        (lambda text: text.encode().replace(b"A,", b"\xff\xfe,"), "UTF-8"),
        (
            lambda text: text.replace("A,", "OTHER,").replace("B,", "MORE,"),
            "no trace in common .*A, OTHER",
        ),
        (
            lambda text: text.replace("00:00,,", "00:00,NA,NRCA", 1).replace("NRCA,", "NRCA", 1),
            "NRCA, not of TST",
        ),
        (
            lambda text: text.replace("00:00,,", "00:00,IV,TST", 1).replace(
                "00:00,,", "00:00,IV,NRCA"
            ),
            "in 1 of 2 .*NRCA, not",
        ),
        (lambda text: "", "comma-separated"),
        (lambda text: '"' + text, "TST_pre_attributes.csv"),
    ],
)
def test_a_table_that_is_another_gets_a_sentence_and_outputs_stay(tmp_path, change, words):
    folder = layout(tmp_path / "in", {"A": noise(0), "B": noise(1)})
    foreshap.preprocess(folder, tmp_path / "out", VARIANTS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    table = folder / "TST_pre_attributes.csv"
    text = change(table.read_text())
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ForeshapError, match=words) as error:
        foreshap.preprocess(folder, tmp_path / "out", VARIANTS)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_marks_times_and_numbers_of_any_spelling(tmp_path):
    names = list("ABCDEFGHIJ")
    starts = [
        "2016-10-01T00:00:00",
        "2016-10-01T00:00:00.000000",
        "2016-10-01T00:00:00Z",
        "2016-10-01 00:00:00.0",
        "2016-10-01T02:00:00+02:00",
        "2016-10-01 00:00:00+00:00",
        "2016-10-01",
        "yesterday",
        "2016-02-30T00:00:00",
        "",
    ]
    folder = layout(
        tmp_path, {name: noise(i) for i, name in enumerate(names)}, trace_start_time=starts
    )
    table = folder / "TST_pre_attributes.csv"
    table.write_text("\ufeff" + table.read_text())
    times = event_times(read_table(folder, "TST", "pre"))
    assert (times[:7] == pd.Timestamp("2016-10-01T00:00:05", tz="UTC")).all()
    assert reasons(folder, tmp_path)["P64"] == dict.fromkeys("HIJ", "start time missing")


def test_s_p_times_that_no_earthquake_has(tmp_path):
    s_p = ["1e300", "inf", "-inf", "nan", "abc", "1001", "999", "9" * 400]
    folder = layout(
        tmp_path, {name: noise(i) for i, name in enumerate("ABCDEFGH")}, p_s_diff_sec=s_p
    )
    far = "S-P longer than 1000 s"
    known = {"A": far, "B": far, "C": "S-P zero or negative", "F": far, "H": far}
    found = reasons(folder, tmp_path)
    of_s = dict.fromkeys("DE", "S-P missing") | {"G": "window longer than the trace"}
    assert found == {"P64": known, "S64": known | of_s}  # P alone serves P


def test_rows_without_a_name_are_counted_each(tmp_path):
    folder = layout(tmp_path, {"A": noise(0), "B": noise(1), "C": noise(2)})
    table = folder / "TST_pre_attributes.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, rows[0], rows[1][1:], rows[2][1:] + "9", "x" * 10**6]))
    found = reasons(folder, tmp_path)["P64"]
    assert found.pop("x" * 10**6) == "no waveform in the file"
    nameless = {f"row {i} of TST_pre_attributes.csv": "name that can't be used" for i in (2, 3)}
    assert found == nameless | dict.fromkeys("BC", "no row in the table")


def test_pointers_out_of_the_file_are_not_followed(tmp_path):
    folder = layout(tmp_path, {name: noise(i) for i, name in enumerate("ABCDEF")})
    secret = tmp_path / "secret.hdf5"
    noise(7).tofile(tmp_path / "raw")
    with h5py.File(secret, "w") as file:
        file["A"] = noise(8)
    with h5py.File(folder / "TST_pre.hdf5", "r+") as file:
        for name in "ABCD":
            del file[name]
        file["A"] = h5py.ExternalLink(str(secret), "A")
        file["B"] = h5py.SoftLink("/E")
        file.create_dataset("C", (3, 2600), "i4", external=[(str(tmp_path / "raw"), 0, 31200)])
        elsewhere = h5py.VirtualLayout((3, 2600), "i4")
        elsewhere[:] = h5py.VirtualSource(secret, "A", (3, 2600))
        file.create_virtual_dataset("D", elsewhere)
    assert reasons(folder, tmp_path)["P64"] == dict.fromkeys("ABCD", "no array of samples")
    foreshap.preprocess(folder, tmp_path / "out")
    with h5py.File(tmp_path / "out/P64.h5", "r+") as file:
        del file["source_id"]
        file["source_id"] = h5py.ExternalLink(str(secret), "A")
    with pytest.raises(ForeshapError, match="P64.h5 is no tensor file .*link"):
        foreshap.load_spectrograms(tmp_path / "out/P64.h5")


def test_types_and_sizes_of_every_kind(tmp_path):
    good = noise(0)
    kinds = {
        "big endian": good.astype(">i4"),
        "half": good.astype("f2"),
        "unsigned": (good + 50).astype("u8"),
        "long": good.astype("f8"),
        "longer": good.astype("g"),
    }
    bad = {
        "complex": good.astype("c16"),
        "text": np.full((3, 2600), b"x"),
        "boolean": good > 0,
        "compound": np.zeros((3, 2600), [("a", "i4")]),
        "empty": np.zeros((3, 0)),
        "infinite": np.where(good == 7, np.inf, good),
        "not a number": np.where(good == 7, np.nan, good),
        "huge": good * 1e200,
        "top": np.where(good == 7, 2**63, 0).astype("u8"),
        "flat": np.ones((3, 2600)),
    }
    none = "samples are no numbers"
    expected = dict.fromkeys(("complex", "text", "boolean", "compound", "references"), none)
    expected |= dict.fromkeys(("infinite", "not a number", "huge", "top"), "samples not finite")
    expected |= {
        "empty": "window longer than the trace",
        "flat": "component flat",
        "claimed": "component flat",
    }
    expected |= {
        "chunk": "no array of samples",
        "filter": "samples can't be read: the file is damaged here",
    }
    expected |= {"scalar": "no array of samples", "nothing": "no array of samples"}
    names = [
        *kinds,
        *bad,
        "references",
        "claimed",
        "chunk",
        "filter",
        "scalar",
        "nothing",
        "long one",
    ]
    folder = layout(tmp_path, dict.fromkeys(names, good))
    with h5py.File(folder / "TST_pre.hdf5", "r+") as file:
        for name in names:
            del file[name]
        for name, samples in (kinds | bad).items():
            file[name] = samples
        file.create_dataset("references", (3, 2600), h5py.ref_dtype)
        file.create_dataset("claimed", (3, 10**12), "f8", chunks=(3, 1000))
        file.create_dataset("chunk", (3, 10**9), "f8", chunks=(3, 10**7))
        file.create_dataset("filter", data=good, chunks=(3, 2600), compression="gzip")
        file["scalar"], file["nothing"] = 5.0, h5py.Empty("f8")
        many = file.create_dataset(
            "long one", (3, 10**7), "i4", chunks=(3, 10**5), compression="gzip"
        )
        many[:, :2600] = good
        _, start = (
            file["filter"].id.get_chunk_info(0)[2:0:-1],
            file["filter"].id.get_chunk_info(0).byte_offset,
        )
    with open(folder / "TST_pre.hdf5", "r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 64)
    found = reasons(folder, tmp_path)
    assert found["P64"] == expected
    tensors = foreshap.load_spectrograms(tmp_path / "P64.h5")
    written = dict(zip(tensors.table["trace_name"], tensors.values[:]))
    for name in set(kinds) - {"half"} | {
        "long one"
    }:  # the constant that "unsigned" has more goes with detrending
        np.testing.assert_allclose(written[name], written["long"], atol=1e-4)
    with h5py.File(folder / "TST_pre.hdf5") as file:
        assert read_trace(file, "long one", 700)[0].shape == (3, 700)
        assert (
            foreshap.load_trace(
                folder, {"station": "TST", "side": "pre", "trace_name": "long one"}
            ).shape[1]
            < 10**6
        )


def test_a_damaged_heap_is_no_endless_loop(tmp_path):
    """HDF5 2.0 reads a heap with a free piece of no length for ever: this would be killed."""
    folder = layout(tmp_path, {"A": noise(0), "B": noise(1)})
    content = bytearray((folder / "TST_pre.hdf5").read_bytes())
    piece = content.index(b"GCOL") + 16
    while int.from_bytes(content[piece : piece + 2], "little"):
        piece += 16 + -(-int.from_bytes(content[piece + 8 : piece + 16], "little") // 8) * 8
    content[piece + 8 : piece + 16] = bytes(8)
    (folder / "TST_pre.hdf5").write_bytes(content)
    code = "import foreshap, sys; foreshap.preprocess(sys.argv[1], sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", code, folder], timeout=120, capture_output=True, text=True
    )
    assert "ForeshapError" in run.stderr and "heap at byte" in run.stderr


def clip(samples, level):
    return np.clip(samples, -level, level)


def test_clipped_seismograms_are_flagged_and_kept(tmp_path):
    t = np.arange(2600) / 100
    wave = {
        f: np.where(t > 5, 1e5 * np.sin(2 * np.pi * f * (t - 5)) * np.exp(-(t - 5) / 9), 0)
        for f in (0.3, 1, 3)
    }
    traces = {}
    for f in wave:
        whole = np.stack([0 * t, wave[f], wave[f]]).astype(int)
        cut = np.stack([0 * t, clip(wave[f], 5e4), wave[f]]).astype(int)
        traces[f"{f} Hz"] = noise(2) + whole
        # The recorder's end is one number, whatever noise comes with the wave.
        traces[f"{f} Hz clipped"] = clip(noise(1) + cut, 49_000)
    traces |= {"quiet": noise(3, size=2), "said": noise(4)}
    folder = layout(tmp_path, traces, clipped=["True" if name == "said" else "" for name in traces])
    found = foreshap.preprocess(folder, tmp_path, VARIANTS)
    for name, report in found.items():
        table = foreshap.load_spectrograms(tmp_path / f"{name}.h5").table.set_index("trace_name")
        assert report.written == len(traces) + 1 and table["clipped"].dtype == np.int8
        flagged = set(table.index[table["clipped"] == 1])
        assert flagged == {name for name in traces if "clipped" in name or name == "said"}


def test_real_seismograms_are_flagged_when_clipped_and_only_then(iquique, tmp_path):
    foreshap.from_continuous(
        iquique / "waveforms", iquique / "picks.csv", tmp_path / "in", "2014-04-01T23:46:47"
    )
    written = foreshap.preprocess(tmp_path / "in", tmp_path / "out", VARIANTS[:1])["P64"].written
    table = foreshap.load_spectrograms(tmp_path / "out/P64.h5").table
    assert written > 350 and table["clipped"].sum() <= 0.01 * written
    loud = []
    for station in ("PB01", "PB02"):
        with h5py.File(tmp_path / "in" / f"{station}_post.hdf5", "r+") as file:
            for name in file:
                samples = file[name][:]
                middle = np.median(samples[:, :500], axis=1, keepdims=True)
                height = np.abs(samples[:, :2500] - middle).max(axis=1, keepdims=True)
                if (height > 34 * samples[:, :500].std(axis=1, keepdims=True)).all():
                    loud.append(name)
                    file[name][:] = np.clip(samples, middle - 0.3 * height, middle + 0.3 * height)
    foreshap.preprocess(tmp_path / "in", tmp_path / "out", VARIANTS[:1])
    table = foreshap.load_spectrograms(tmp_path / "out/P64.h5").table.set_index("trace_name")
    assert len(loud) > 7 and table.loc[loud, "clipped"].mean() > 0.8, (
        len(loud),
        table.loc[loud, "clipped"].mean(),
    )


LIMITED = """
import os, resource, signal, sys, foreshap, foreshap.preprocessing.spectrograms
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, sys.argv[3:]):
    if os.fork():
        print(os.wait()[1])
        continue
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    foreshap.preprocess(sys.argv[1], sys.argv[2])
    sys.exit()
"""


def test_a_disk_that_takes_no_more_leaves_what_was_there(demo, tmp_path):
    """The system refuses bytes beyond a limit, like a full disk."""
    foreshap.preprocess(layout(tmp_path / "in", {"A": noise(0)}), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    limits = ["20000", "300000", "1000000", "2000000"]
    call = [sys.executable, "-c", LIMITED, demo.waveforms, tmp_path / "out", *limits]
    run = subprocess.run(call, capture_output=True, text=True)
    sentences = [line for line in run.stderr.splitlines() if "files.MachineError" in line]
    assert len(sentences) == 4, run.stderr[-2000:]
    assert run.stdout.split() == ["256"] * 4  # four times status 1: no crash at the end
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_small_disk_is_named_before_the_work(demo, tmp_path, small_disk):
    foreshap.preprocess(
        layout(tmp_path / "in", {"A": noise(0)}), small_disk
    )  # the folder is a disk of its own
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    assert set(before) == {"cross_spectra.h5", *(f"{name}.h5" for name in foreshap.VARIANTS)}
    with pytest.raises(ForeshapError, match="disk needs 14.7 MiB and its disk has"):
        foreshap.preprocess(demo.waveforms, small_disk)
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == before


def test_an_error_leaves_files_and_folders_as_they_were(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/kept").write_text("old")
    for writer, name in (
        (written_whole, "file"),
        (folder_written_whole, "folder"),
        (folder_replaced_whole, "folder"),
    ):
        with pytest.raises(KeyError), writer(tmp_path / name) as partial:
            (partial if name == "file" else partial / "kept").write_text("new")
            raise KeyError
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/kept").read_text() == "old"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "kept"]
    for writer, left in (
        (folder_written_whole, {"kept", "other"}),
        (folder_replaced_whole, {"third"}),
    ):
        with writer(tmp_path / "folder") as partial:
            (partial / ("other" if "kept" in left else "third")).write_text("new")
        assert {path.name for path in (tmp_path / "folder").iterdir()} == left
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "third"]


@pytest.mark.parametrize("writer", [written_whole, folder_written_whole, folder_replaced_whole])
def test_what_cannot_be_written_is_named(tmp_path, small_disk, writer):
    (tmp_path / "file").write_text("old")
    paths = [tmp_path / "file/new", small_disk / "new"] + [tmp_path / "file"] * (
        writer == folder_written_whole
    )
    for path in paths:
        with pytest.raises(
            ForeshapError, match=f"{path} can't be written .*Errno.* choose another folder"
        ):
            with writer(path) as partial:
                (partial if writer == written_whole else partial / "large").write_bytes(
                    bytes(2**22)
                )
    with pytest.raises(ForeshapError, match="file/new can't be written"):
        check_room(tmp_path / "file/new", 1)
    assert (tmp_path / "file").read_text() == "old" and not list(small_disk.iterdir())
    with pytest.raises(requests.RequestException), writer(tmp_path / "new"):
        raise requests.ConnectionError("of a network, to be asked again")


def forked(function, *arguments):
    """Start a function in a process forked from one that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["foreshap.sources.datasets"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def half_a_writer(writer, target, connection):
    """Begin to write and tell so."""
    with getattr(foreshap.files, writer)(target) as partial:
        (partial if writer == "written_whole" else partial / "kept").write_text("half")
        connection.send("go")
        time.sleep(600)


@pytest.mark.parametrize(
    "writer", ["written_whole", "folder_written_whole", "folder_replaced_whole"]
)
@pytest.mark.parametrize("existing", [True, False])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, writer, existing):
    target = tmp_path / "target"
    write = functools.partial(getattr(foreshap.files, writer), target)
    kept = "" if writer == "written_whole" else "kept"  # the file itself, or one in the folder
    if existing:
        with write() as aside:
            (aside / kept).write_text("old")
    ours, theirs = multiprocessing.Pipe()
    process = forked(half_a_writer, writer, target, theirs)
    assert ours.recv() == "go"
    with write() as aside:  # that of a process at work stays
        (aside / kept).write_text("meanwhile")
    assert list(tmp_path.rglob("*partial"))
    process.kill()
    process.join()
    assert (target / kept).read_text() == "meanwhile"
    with write() as aside:
        (aside / kept).write_text("new")
    assert (target / kept).read_text() == "new" and not list(tmp_path.rglob("*partial"))


def killed_writer(target, names, renames):
    """Write a folder of files in a process of its own that is killed after so many renames."""
    replace, more = os.replace, iter(range(renames))
    os.replace = lambda *two: (
        replace(*two) if next(more, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
    )
    with folder_written_whole(target) as partial:
        for name in names:
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text("new")


@pytest.mark.parametrize("renames", range(6))
@pytest.mark.parametrize("reader", ["", "noise", "writer"])
def test_after_a_kill_between_renames_all_files_are_the_old_or_the_new_ones(
    tmp_path, renames, reader
):
    target, names = (
        tmp_path / "target",
        [f"{s}TST_{period}.hdf5" for s in ("", "noise/") for period in SIDES],
    )
    (target / "noise").mkdir(parents=True)
    for name in names:
        (target / name).write_text("old")
    process = forked(killed_writer, target, names, renames)
    process.join()
    assert process.exitcode == (0 if renames == 5 else -signal.SIGKILL)
    if reader == "writer":
        with pytest.raises(KeyError), folder_written_whole(target):
            raise KeyError
    else:
        assert stations(target / reader) == ["TST"]
    assert {(target / name).read_text() for name in names} == {"new" if renames else "old"}
    assert not list(target.glob(".*.whole"))


def test_what_a_killed_run_left_beside_a_dataset_that_is_up_to_date_is_removed(tmp_path):
    (tmp_path / "datasets.toml").write_text(
        '[demo]\nsource = "simulated"\nseed = 1\nn_events = 60\n'
    )
    written = (waveform_folder("demo", tmp_path) / "DEMO_pre.hdf5").stat().st_mtime_ns
    left = tmp_path / "demo/.waveforms.0123456789abcdef.partial"
    for moved_aside in (False, True):  # killed while it built, or between its two renames
        (left / "new").mkdir(parents=True)
        (left / LOCK).touch()  # of a writer that no longer holds it
        if moved_aside:
            (tmp_path / "demo/waveforms").rename(left / "old")
        assert (waveform_folder("demo", tmp_path) / "DEMO_pre.hdf5").stat().st_mtime_ns == written
        assert [path.name for path in (tmp_path / "demo").iterdir()] == ["waveforms"]


def build(folder, seed, connection):
    """Build the dataset, as soon as told so."""
    connection.send("go")
    waveform_folder("demo", folder, seed=seed)


def test_a_dataset_killed_while_built_is_built_by_the_next_call(tmp_path):
    (tmp_path / "datasets.toml").write_text(
        '[demo]\nsource = "simulated"\nseed = 1\nn_events = 60\n'
    )
    rng, whole = np.random.default_rng(0), {}
    for seed in (1, 2):
        whole[seed] = (waveform_folder("demo", tmp_path, seed=seed) / "DEMO_pre.hdf5").read_bytes()
    for i in range(6):
        ours, theirs = multiprocessing.Pipe()
        process = forked(build, tmp_path, 1 + i % 2, theirs)
        assert ours.recv() == "go"
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.join()
        with suppress(FileNotFoundError):
            assert (tmp_path / "demo/waveforms/DEMO_pre.hdf5").read_bytes() in whole.values()
    assert (waveform_folder("demo", tmp_path) / "DEMO_pre.hdf5").read_bytes() == whole[1]
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"waveforms"}
