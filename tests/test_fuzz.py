"""Damaged and hostile files: each is read, or refused with one sentence that leaves the outputs.

    python tests/test_fuzz.py [--inputs 20000] [--seed 1] [--readers layout picks]

Whole files are made once, changed by what hypothesis draws, and read in a process of its own, so
that a crash of a library or an endless loop is found too. A further reader is two lines in READERS.
"""

import argparse
import hashlib
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import obspy
import pandas as pd
import pytest
import torch
from fdsn_server import earthquake, inventory
from test_frames import benchmark as write_frame
from test_picks import EVENTS, hyp

import foreshap
from foreshap import from_continuous
from foreshap.explainability.background import Background
from foreshap.files import ForeshapError, sha256
from foreshap.preprocessing.waveforms import COLUMNS, offered_traces, write_waveforms
from foreshap.sources import fdsn
from foreshap.sources.downloads import extract
from foreshap.training.model import Scaling, SpectrogramCNN, write_checkpoint

SUITE, HANG = 340, 10  # inputs in the suite; s
MEMORY = 2 * 2**30  # bytes that reading small files may need
PRELOAD = ["foreshap.explainability.shap_store", "foreshap.preprocessing.spectrograms"]
PRELOAD += ["foreshap.sources.datasets", "seisbench.data", "test_fuzz"]
SHORT = [foreshap.VARIANTS[name] for name in ("P64", "S64")]

# What whole files look like


def make_layout(folder):
    rng = np.random.default_rng(0)
    for k, period in enumerate(("pre", "post")):
        names = [f"TST.NA.{k}{i}_EV" for i in range(3)]
        table = pd.DataFrame({"trace_name": names}).reindex(columns=list(COLUMNS))
        table = table.assign(
            trace_start_time=[f"2016-1{k}-0{i + 1}T00:00:00.5Z" for i in range(3)],
            p_s_diff_sec=[1.2, 0.8, 3.25], receiver_name="TST",
            source_magnitude=1.5, clipped=[0, 1, 0],
        )  # fmt: skip
        traces = ((name, rng.integers(-99, 99, (3, 2600), dtype=np.int16)) for name in names)
        write_waveforms(folder, "TST", period, traces, table)
    pd.DataFrame(
        {"trace_name": ["x"], "station": ["TST"], "label": [-1], "reason": ["P missing"]}
    ).to_csv(folder / "import_rejected.csv", index=False)


def make_tensors(folder):
    with tempfile.TemporaryDirectory() as source:
        make_layout(Path(source))
        foreshap.preprocess(source, folder, SHORT[:1])


def make_checkpoint(folder):
    with tempfile.TemporaryDirectory() as source:
        make_tensors(Path(source))
        write_small_checkpoint(folder / "P64.pt", Path(source) / "P64.h5")


def write_small_checkpoint(path, tensors):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SpectrogramCNN(SHORT[0].shape, widths=(2, 2, 2), hidden=8)
    card = {
        "split": {"name": "random", "train": [1, 2], "validation": [], "test": [0, 3]},
        "tensor_file": {"name": tensors.name, "sha256": sha256(tensors)},
        "test_events": ["a", "b"],
    }
    card |= {"config": {}, "metrics": {}, "intervals_95": {}}
    write_checkpoint(path, model, SHORT[0], Scaling((0.5,) * 3, (0.2,) * 3), card)


def make_shap(folder):
    with tempfile.TemporaryDirectory() as source:
        source = Path(source)
        make_tensors(source)
        write_small_checkpoint(source / "P64.pt", source / "P64.h5")
        checkpoint, spectrograms = (
            foreshap.load_checkpoint(source / "P64.pt"),
            foreshap.load_spectrograms(source / "P64.h5"),
        )
        background = Background(np.array([0, 3]))
        foreshap.explain_events(
            checkpoint, spectrograms, np.array([1, 4]), background, source / "shap"
        )
        for number, part in enumerate(sorted(source.glob("shap/*/*.h5"))):
            shutil.copy(part, folder / f"part{number}.h5")


def make_published(folder):
    time = np.arange(96) * 0.13 + 0.32
    values = np.random.default_rng(0).integers(0, 255, (4, 3, 33, 96), dtype=np.uint8)
    np.savez_compressed(
        folder / "published.npz", spectrogram=values, label=np.array([0, 0, 1, 1]), time=time,
        source_id=np.array(["a", "b", "c", "d"]), frequency=np.fft.rfftfreq(64, 0.01),
    )  # fmt: skip


def make_quakeml(folder):
    where = obspy.core.event.WaveformStreamID("NA", "TST")
    times = [obspy.UTCDateTime(2020, 1, 1) + s for s in (10, 12)]
    picks = [
        obspy.core.event.Pick(time=time, phase_hint=hint, waveform_id=where)
        for hint, time in zip("PS", times)
    ]
    obspy.Catalog([obspy.core.event.Event(picks=picks)]).write(
        str(folder / "picks.xml"), format="QUAKEML"
    )


def make_picks(folder):
    times = [str(obspy.UTCDateTime(2020, 1, 1) + s) for s in (10, 40)]
    pairs = {
        "event_id": ["a", "b"],
        "network": "NA",
        "station": "TST",
        "p_time": times,
        "s_time": times[1:] * 2,
    }
    pd.DataFrame(pairs | {"snr": [1.5, 2.5]}).to_csv(folder / "picks.csv", index=False)


def make_recordings(folder):
    rng = np.random.default_rng(0)
    header = {
        "network": "NA",
        "station": "TST",
        "sampling_rate": 100.0,
        "starttime": obspy.UTCDateTime(2020, 1, 1),
    }
    traces = [
        obspy.Trace(rng.integers(-99, 99, 7000, dtype=np.int32), header | {"channel": f"HH{c}"})
        for c in "ENZ"
    ]
    obspy.Stream(traces).write(str(folder / "all.mseed"), format="MSEED")


def make_datasets(folder):
    (folder / "datasets.toml").write_text(
        '[a]\nsource = "continuous"\nwaveforms = "in"\npicks = "p.csv"\n'
        "mainshock = 2020-01-01T00:05:00Z\n"
        'left_out = [2019-12-31, 2020-01-02]\n[b]\nsource = "simulated"\nn_events = 4\nseed = 1\n'
        '[c]\nsource = "layout"\nwaveforms = "own"\nmainshock = "2020-01-01"\n'
    )


def make_frames(folder):
    write_frame(folder, "pre", ["09-05", "09-20"])
    write_frame(folder, "post", ["11-05", "11-20"])


def make_archive(folder):
    with tempfile.TemporaryDirectory() as source:
        make_layout(Path(source))
        for path in Path(source).glob("TST_*"):
            content = path.read_bytes()
            content = content.replace(b",TST,", b",NRCA,") if path.suffix == ".csv" else content
            (folder / path.name.replace("TST", "NRCA")).write_bytes(content)
    similar = pd.DataFrame(
        {"trace_name": ["TST.NA.00_EV", "TST.NA.01_EV"], "associato_ev": ["7", "7"]}, dtype=object
    )
    similar.to_pickle(folder / "dataframe_NRCA_SelectedSimilarTraces.csv", protocol=4)


def make_seisbench(folder):
    pytest.importorskip("seisbench.data")
    with tempfile.TemporaryDirectory() as source:
        make_layout(Path(source))
        foreshap.to_seisbench(source, folder)


def make_nonlinloc(folder):
    hyp(folder / "picks.hyp", EVENTS)


def make_nordic(folder):
    obspy.Catalog(
        [earthquake("a", "2020-01-01T00:00:05", 42.8, 13.1, 2.0, (("NA", "TST", "P", 5.0),))]
    ).write(str(folder / "picks.nordic"), format="NORDIC")


def make_response(folder):
    inventory("NA", "TST", 42.83, 13.11).write(str(folder / "station.xml"), format="STATIONXML")


def make_answers(folder):
    picks = ("NA", "TST", "P", 5.0), ("NA", "TST", "S", 7.0)
    event = earthquake("a", "2020-01-01T00:00:05", 42.9, 13.15, 2.0, picks)
    obspy.Catalog([event]).write(str(folder / "events.xml"), format="QUAKEML")
    make_response(folder)
    make_recordings(folder)


def make_zip(folder):
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data/NRCA_pre_attributes.csv", "trace_name\n" + "a\n" * 500)
        file.writestr("data/readme.txt", "a file")


# How they are read; output is a folder that what was written before stands in


def call_layout(folder, output):
    reports = foreshap.preprocess(folder, output, SHORT)
    for name, report in reports.items():
        tensors = foreshap.load_spectrograms(output / f"{name}.h5")
        assert report.written + len(report.rejected) == len(offered_traces(folder)), (
            "the counts don't add up"
        )
        assert np.isfinite(tensors.values[:]).all() and len(tensors.labels) == report.written
        assert set(report.rejected["reason"]) <= set(foreshap.REASONS)
        tensors.values.file.close()


def call_tensors(folder, output):
    tensors = foreshap.load_spectrograms(folder / "P64.h5")
    assert tensors.values[:].shape[0] == len(tensors.table) == len(tensors.labels)
    tensors.values.file.close()


def call_shap(folder, output):
    shap = foreshap.load_shap(folder)
    assert len(shap.values[:]) == len(shap.table)


def call_datasets(folder, output):
    for name in foreshap.datasets(folder):
        try:
            foreshap.mainshock_time(name, folder)
            foreshap.waveform_folder(name, folder) if name == "c" else None
        except ForeshapError:
            pass


def call_picks(folder, output):
    (picks,) = folder.glob("picks.*")
    from_continuous(
        output.parent / "whole/recordings", picks, output / "layout", "2020-01-01T00:00:20"
    )


def call_recordings(folder, output):
    from_continuous(
        folder, output.parent / "whole/picks/picks.csv", output / "layout", "2020-01-01T00:00:20"
    )


def call_response(folder, output):
    whole = output.parent / "whole"
    from_continuous(
        whole / "recordings",
        whole / "picks/picks.csv",
        output / "layout",
        "2020-01-01T00:00:20",
        inventory=folder / "station.xml",
    )


def call_answers(folder, output):
    day = [(pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-02", tz="UTC"))]
    fdsn.check_miniseed(folder / "all.mseed", "NA", "TST", "HH?", day)
    fdsn.check_station(folder / "station.xml", "NA", "TST")
    copy = output / "events.xml"  # what belongs to other stations is taken out of it
    copy.write_bytes((folder / "events.xml").read_bytes())
    try:
        fdsn.check_events(copy, "NA", "TST", (42.83, 13.11))
    finally:
        copy.unlink()


def call_zip(folder, output):
    extract(folder / "archive.zip", output / "extracted")
    shutil.rmtree(output / "extracted")  # what is there would not be extracted again


READERS = {  # name -> make whole files in a folder, read the folder (and write to an output folder)
    "layout": (make_layout, call_layout),
    "tensors": (make_tensors, call_tensors),
    "checkpoint": (
        make_checkpoint,
        lambda folder, output: foreshap.load_checkpoint(folder / "P64.pt"),
    ),
    "shap": (make_shap, call_shap),
    "published": (
        make_published,
        lambda folder, output: foreshap.import_spectrograms(folder / "published.npz", output),
    ),
    "datasets": (make_datasets, call_datasets),
    "picks": (make_picks, call_picks),
    "quakeml": (make_quakeml, call_picks),
    "recordings": (make_recordings, call_recordings),
    "nonlinloc": (make_nonlinloc, call_picks),
    "nordic": (make_nordic, call_picks),
    "stationxml": (make_response, call_response),
    "frames": (make_frames, lambda folder, output: foreshap.from_frames(folder, output / "layout")),
    "archive": (
        make_archive,
        lambda folder, output: foreshap.from_nrca_archive(folder, output / "layout"),
    ),
    "seisbench": (
        make_seisbench,
        lambda folder, output: foreshap.from_seisbench(folder, output / "layout", "2016-10-30"),
    ),
    "fdsn": (make_answers, call_answers),
    "zip": (make_zip, call_zip),
}

# What is changed in them

NASTY = st.one_of(
    st.sampled_from([
        "", "nan", "inf", "-inf", "1e300", "-1", "0", "99999999999999999999", "None", "true",
        "1" * 5000,
        "../../../etc/passwd", "/etc/passwd", ".", "..", "a/b", "'", '"', '""', ",", ";", "\t",
        "\r\n", "\n\n", "<", "&x;",
        "2016-02-30T00:00:00", "9999-12-31T23:59:59.999999", "0000-00-00", "2016-10-01 00:00:00",
        "-0001-01-01", "\\",
        "2016-10-01T00:00:00+25:00", "x" * 70000, "[", "{", "]", "}", "%s", "{0}",
        "\ufeff", "\x00", "\u00e9", "\U0001f30b",
    ]),
    st.text(max_size=8), st.floats().map(repr), st.integers().map(str), st.datetimes().map(str),
)  # fmt: skip
WHERE = st.one_of(
    st.integers(0, 2**24), st.integers(0, 4096), st.integers(0, 512), st.integers(-2048, -1)
)
LENGTH = st.one_of(st.integers(1, 64), st.integers(1, 8192))
NUMBER = st.sampled_from(
    [0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]
)
CHANGE = st.one_of(
    st.tuples(st.just("flip"), WHERE, st.integers(1, 255)),
    st.tuples(st.just("number"), WHERE, NUMBER, st.sampled_from([1, 2, 4, 8])),
    st.tuples(st.just("end"), WHERE),
    st.tuples(st.just("drop"), WHERE, LENGTH),
    st.tuples(st.just("insert"), WHERE, st.binary(max_size=64)),
    st.tuples(st.just("repeat"), WHERE, LENGTH),
    st.tuples(st.just("zero"), WHERE, LENGTH),
    st.tuples(st.just("splice"), WHERE, WHERE),
    st.tuples(st.just("token"), WHERE, NASTY),
)
INPUT = st.tuples(st.integers(0, 7), st.integers(0, 7), st.lists(CHANGE, min_size=1, max_size=4))


def changed(content, other, changes):
    """A file's bytes after the changes; a splice continues with those of another file."""
    for kind, where, *more in changes:
        at = where % max(len(content), 1)
        head, tail = content[:at], content[at:]
        if kind == "flip":
            content = head + bytes([(tail or b"\0")[0] ^ more[0]]) + tail[1:]
        elif kind == "number":
            value = (more[0] % 256 ** more[1]).to_bytes(more[1], "little")
            content = head + value + tail[len(value) :]
        elif kind == "end":
            content = head
        elif kind == "drop":
            content = head + tail[more[0] :]
        elif kind == "insert":
            content = head + more[0] + tail
        elif kind == "repeat":
            content = head + tail[: more[0]] + tail
        elif kind == "zero":
            content = head + bytes(len(tail[: more[0]])) + tail[more[0] :]
        elif kind == "splice":
            content = head + other[more[0] % max(len(other), 1) :]
        else:
            content = with_token(content, where, more[0].encode("utf-8", "surrogatepass"))
    return content


def with_token(content, number, word):
    """The bytes with one of the words between separators replaced."""
    pieces, start = [], 0
    for i, byte in enumerate(content[:20000]):
        if byte in b',;<>"= \n\t[]/':
            pieces.append((start, i))
            start = i + 1
    begin, end = pieces[number % len(pieces)] if pieces else (0, 0)
    return content[:begin] + word + content[end:]


# The process that reads


def state(folder):
    """Every file in a folder and its hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


def serve(reader, connection):
    """Read one folder after the other, and say how each ended."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    call = READERS[reader][1]
    while True:
        folder, output = connection.recv()
        try:
            call(folder, output)
            connection.send(("read", ""))
        except ForeshapError as error:
            clear = 20 < len(str(error)) and "\n" not in str(error)
            connection.send(("refused" if clear else "an unclear sentence", str(error)[:300]))
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [f for f in frames if "foreshap" in f.filename or "test_fuzz" in f.filename][-1]
            where = f"{Path(own.filename).name}:{own.lineno}"
            connection.send((f"{type(error).__name__} at {where}", str(error)[:300]))


class Reading:
    """A process that reads for one reader; it is started again after a crash or a hang."""

    def __init__(self, reader, base):
        self.reader, self.base, self.process = reader, base, None
        for name in {reader, "picks", "recordings"}:
            (base / "whole" / name).mkdir(parents=True)
            READERS[name][0](base / "whole" / name)
        whole = base / "whole" / reader
        self.files = {
            path.name: path.read_bytes() for path in sorted(whole.rglob("*")) if path.is_file()
        }
        (base / "input").mkdir()
        (base / "output").mkdir()
        assert self.ends(whole)[0] == "read", self.ends(whole)
        self.before = state(base / "output")

    def ends(self, folder):
        """How reading a folder ends, and what it said."""
        if self.process is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(PRELOAD)
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(self.reader, theirs), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.connection.send((folder, self.base / "output"))
            if self.connection.poll(
                HANG + (0 if hasattr(self, "before") else 60)
            ):  # the first call imports
                return self.connection.recv()
            return self.stopped(f"a hang of more than {HANG} s")
        except (EOFError, ConnectionError):
            return self.stopped("a crash of the process")

    def stopped(self, how):
        self.process.kill()
        self.process.join()
        code, self.process = self.process.exitcode, None
        return how, f"exit code {code}"

    def outcome(self, drawn):
        """How reading a changed file ends, what it said, and what is wrong with it, or ""."""
        chosen, second, changes = drawn
        names = list(self.files)
        name, other = names[chosen % len(names)], names[second % len(names)]
        content = changed(self.files[name], self.files[other], changes)
        for file, whole in self.files.items():
            (self.base / "input" / file).write_bytes(content if file == name else whole)
        how, sentence = self.ends(self.base / "input")
        after = state(self.base / "output")
        wrong = "" if how in ("read", "refused") else how
        if any("partial" in str(path) for path in self.base.rglob("*")):
            wrong = wrong or "a partial output"
        if how != "read" and after != self.before:
            wrong = wrong or "another output in spite of an error"
        if (self.base / "input" / name).read_bytes() != content:
            wrong = wrong or "another input"
        self.before = after
        return how, sentence, wrong and f"{name}: {wrong}"


def fuzz(reader, inputs, seed):
    """Read changed files; returns a count of endings, and wrong ones -> (count, an example)."""
    endings, wrongs = Counter(), {}
    with tempfile.TemporaryDirectory() as base:
        reading = Reading(reader, Path(base))

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=inputs, deadline=None, database=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(INPUT)
        def one(drawn):
            how, sentence, wrong = reading.outcome(drawn)
            endings[how] += 1
            if wrong:
                count, *example = wrongs.get(wrong, (0, sentence, drawn))
                wrongs[wrong] = (count + 1, *example)

        one()
        if reading.process:
            reading.stopped("")
    return endings, wrongs


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_read_or_refused(reader):
    endings, wrongs = fuzz(reader, -(-SUITE // len(READERS)), seed=0)
    assert not wrongs, wrongs
    assert endings["refused"] > 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=list(READERS))
    arguments, failed = parser.parse_args(), 0
    for reader in arguments.readers:
        endings, wrongs = fuzz(
            reader, -(-arguments.inputs // len(arguments.readers)), arguments.seed
        )
        print(f"{reader}: {json.dumps(endings)}", flush=True)
        for wrong, (count, sentence, drawn) in wrongs.items():
            print(f"  {count} times {wrong} ({sentence}), such as {str(drawn)[:500]}", flush=True)
        failed += len(wrongs)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
