"""Pickled frames of pandas 1, 2 and 3 come in whole; what a pickle can do besides, it does not."""

import os
import pickle
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap import from_frames, read_frame
from foreshap.files import ForeshapError
from foreshap.preprocessing.waveforms import REASONS, offered_traces, read_table

MUTATIONS = int(os.environ.get("FORESHAP_MUTATIONS", 60)) // 6  # of each file
PICKLES = sorted(
    (Path(__file__).parent / "pickles").glob("*.pkl")
)  # written by the pandas of their names


def small():
    """What the files in pickles/ hold."""
    return pd.DataFrame(
        {
            "E_channel": [np.arange(4.0), np.arange(4.0) + 1],
            "label": [[1, 0], [0, 1]],
            "trace_name": ["a", "b"],
            "source_id": [7, 8],
            "source_magnitude": [1.5, np.nan],
            "used": [True, False],
            "start": pd.to_datetime(["2016-10-01", None]).as_unit("ns"),
            "utc": pd.to_datetime(["2016-10-01T01:02:03.5", None], utc=True).as_unit("ns"),
            "mixed": np.array([pd.Timestamp("2016-10-01", tz="UTC"), np.float64(2)], dtype=object),
        }
    )


def equal(found, expected):
    rest = [
        frame.drop(columns="E_channel").set_axis(list("abcdefgh"), axis=1)
        for frame in (found, expected)
    ]
    assert list(found) == list(expected)
    pd.testing.assert_frame_equal(*rest, check_dtype=False)
    np.testing.assert_array_equal(np.stack(found["E_channel"]), np.stack(expected["E_channel"]))


@pytest.mark.parametrize("path", PICKLES, ids=lambda path: path.stem)
def test_frames_of_older_pandas_and_numpy_are_read(path):
    assert len(PICKLES) == 6
    equal(read_frame(path), small())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: f.set_index("trace_name", drop=False),
        lambda f: f.iloc[[1]],
        lambda f: pd.concat([f, f]),
        lambda f: f.astype({"trace_name": object}),
        lambda f: f.sort_values("source_id", ascending=False),
        lambda f: f.iloc[:0],
        lambda f: f.assign(more=1.0, name="x")[["more", *f]].astype({"source_id": ">i4"}),
    ],
)
def test_what_pandas_reads_is_read_alike(tmp_path, protocol, change):
    frame = change(small())
    frame.to_pickle(tmp_path / "frame.csv", protocol=protocol, compression=None)
    found = read_frame(tmp_path / "frame.csv")
    pd.testing.assert_frame_equal(found, pd.read_pickle(tmp_path / "frame.csv", compression=None))
    renamed = (tmp_path / "frame.csv").read_bytes().replace(b"numpy._core.", b"numpy.core.")
    if (
        protocol < 4 and b"numpy.core.mul" in renamed
    ):  # names end at a newline there: numpy 1 wrote the others
        (tmp_path / "frame.csv").write_bytes(renamed)
        pd.testing.assert_frame_equal(read_frame(tmp_path / "frame.csv"), found)


def load(module, name):
    """Opcodes of a class or function by its name."""
    return (
        b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"
    )


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.given = function, arguments

    def __reduce__(self):
        return self.given


def named(module, name, *arguments, protocol=4):
    """A pickle that calls module.name(*arguments), whether or not there is such a thing."""
    body = b"".join(pickle.dumps(a, protocol=2)[2:-1] for a in arguments)
    if protocol < 4:
        return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + body + b"tR."
    return b"\x80\x04" + load(module, name) + b"(" + body + b"tR."


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "module, name, arguments",
    [
        ("os", "system", ["touch {}"]),
        ("posix", "system", ["touch {}"]),
        ("nt", "system", ["touch {}"]),
        ("builtins", "eval", ["open('{}', 'w')"]),
        ("builtins", "exec", ["open('{}', 'w')"]),
        ("__builtin__", "eval", ["open('{}', 'w')"]),
        ("builtins", "getattr", [[], "append"]),
        ("builtins", "open", ["{}", "w"]),
        ("builtins", "__import__", ["os"]),
        ("io", "open", ["{}", "w"]),
        ("subprocess", "Popen", [["touch", "{}"]]),
        ("subprocess", "check_output", [["touch", "{}"]]),
        ("functools", "partial", [1]),
        ("operator", "methodcaller", ["system"]),
        ("copyreg", "_reconstructor", [1]),
        ("importlib", "import_module", ["os"]),
        ("runpy", "run_path", ["{}"]),
        ("shutil", "copy", ["/etc/hostname", "{}"]),
        ("pandas", "read_pickle", ["{}"]),
        ("pandas.io.pickle", "to_pickle", [1, "{}"]),
        ("pandas", "eval", ["1"]),
        ("pandas.io.common", "get_handle", ["{}", "w"]),
        ("pandas", "DataFrame.query", ["{}"]),
        ("numpy", "load", ["{}"]),
        ("pandas", "DataFrame.to_pickle", ["{}"]),
        ("pandas", "io.common.os.system", ["touch {}"]),
        ("numpy", "core.multiarray._reconstruct", []),
        ("numpy", "ndarray.tofile", ["{}"]),
        ("numpy", "memmap", ["{}"]),
        ("numpy", "dtype.__reduce__", []),
        ("numpy.testing._private.utils", "runstring", ["open('{}', 'w')", []]),
        ("pandas.core.frame", "DataFrame.__init__.__globals__", []),
        ("", "", []),
        ("pandas", "DataFrame.", []),
    ],
)
def test_payloads_do_nothing_and_are_refused_by_name(tmp_path, protocol, module, name, arguments):
    marker, path = tmp_path / "marker", tmp_path / "evil.csv"
    told = [a.format(marker) if isinstance(a, str) else a for a in arguments]
    told = [[str(x).format(marker) for x in a] if isinstance(a, list) else a for a in told]
    path.write_bytes(named(module, name, *told, protocol=protocol))
    with pytest.raises(ForeshapError) as caught:
        read_frame(path)
    nameless = protocol < 4 and not name
    sentence = "can't be read" if nameless else f"asks for {module}.{name}, which"
    assert f"{path} {sentence}" in str(caught.value)
    assert not marker.exists()


def test_the_payloads_are_real(tmp_path):
    """The same bytes do their work in pickle itself."""
    marker = tmp_path / "marker"
    pickle.loads(named("posix", "system", f"touch {marker}"))
    assert marker.exists()


def test_a_payload_inside_a_good_frame_is_refused(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "evil.csv"
    for call in (
        Call(os.system, f"touch {marker}"),
        Call(eval, f"open({str(marker)!r}, 'w')"),
        Call(np.load, "x"),
    ):
        small().assign(label=[call, 1]).to_pickle(path, compression=None)
        with pytest.raises(ForeshapError, match=r"posix.system|builtins.eval|numpy.load"):
            read_frame(path)
        assert not marker.exists()


def opcodes(value):
    """Those that put a value of plain Python on the stack."""
    return pickle.dumps(value, protocol=3)[2:-1]


def dtype_of(name, given):
    """Opcodes of a dtype that is then given a state."""
    return load("numpy", "dtype") + opcodes(name) + b"\x89\x88\x87R" + opcodes(given) + b"b"


def array_of(dtype, shape, content):
    """Opcodes of an array as numpy pickles it, of any dtype (opcodes), shape and content."""
    start = (
        load("numpy.core.multiarray", "_reconstruct")
        + load("numpy", "ndarray")
        + b"K\x00\x85C\x01b\x87R"
    )
    return start + b"(K\x01" + opcodes(shape) + dtype + b"\x89" + opcodes(content) + b"tb"


GOOD = (3, "<", None, None, None, -1, -1, 0)
HOSTILE = {
    "an object's address from bytes": array_of(
        dtype_of("O8", (3, "|", None, None, None, -1, -1, 0)), (1,), b"A" * 8
    ),
    "a record that holds one": array_of(
        dtype_of("V8", (3, "|", None, ("a",), {"a": (8, 0)}, 8, 1, 0)), (1,), b"A" * 8
    ),
    "another size": dtype_of("U8", (3, "<", None, None, None, 4, 4, 8)),
    "texts of no size": array_of(
        dtype_of("U0", (3, "<", None, None, None, 0, 4, 8)), (10**12,), b""
    ),
    "an array over bytes": load("numpy", "ndarray") + b"K\x01\x85\x8c\x01OC\x08AAAAAAAA\x87R",
    "a huge array": array_of(dtype_of("f8", GOOD), (10**12,), b""),
    "a huge array of objects": array_of(
        dtype_of("O8", (3, "|", None, None, None, -1, -1, 63)), (10**12,), [1]
    ),
    "more than is there": b"\x8e" + struct.pack("<Q", 2**40) + b"x",
    "a byte array of more than is there": b"\x96" + struct.pack("<Q", 2**40) + b"x",
    "a memo of many": b"K\x01r\xff\xff\xff\x7f",
    "one array's bytes many times": b"B"
    + struct.pack("<I", 10**6)
    + bytes(10**6)
    + b"r\xff\xff\x00\x00"
    + array_of(dtype_of(">f8", (3, ">", *GOOD[2:])), (125_000,), b"").replace(
        opcodes(b""), b"j\xff\xff\x00\x00"
    )
    * 900,
    "a frame of anything": load("pandas", "DataFrame") + b"K\x01\x85R",
    "an index of anything": load("pandas.core.indexes.base", "_new_Index")
    + load("pandas", "Index")
    + b"}\x8c\x04dataK\x01s\x86R",
    "a class that is changed": load("pandas", "Index") + b"N}\x8c\x07foolishK\x01s\x86b",
    "a function that is changed": load("pandas._libs.internals", "_unpickle_block")
    + b"N}\x8c\x07foolishK\x01s\x86b",
    "a persistent id": b"K\x01Q",
    "a persistent name": b"Pname\n",
    "an extension": b"\x82\x01",
    "one more": b"\x84\x01\x00\x00\x00",
    "an old instance": b"(ios\nsystem\n",
    "an old object": b"(cos\nsystem\no",
    "a buffer": b"\x97",
}


DOUBLED = (
    b")" + b"2\x86" * 60
)  # a tuple of two of itself, sixty times: 2**60 in what looks at them all
INDEX = load("pandas.core.indexes.base", "_new_Index") + load("pandas", "Index")
MANAGER = load("pandas.core.internals.managers", "BlockManager") + b")\x81"
TEXT = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6
OBJECT = dtype_of("O8", (3, "|", None, None, None, -1, -1, 63))
HOSTILE |= {
    "a key of doubled tuples": b"}" + DOUBLED + b"Ns.",
    "keys of doubled tuples": b"}(" + DOUBLED + b"Nu.",
    "a dict of doubled tuples": b"(" + DOUBLED + b"Nd",
    "a set of doubled tuples": b"\x8f(" + DOUBLED + b"\x90",
    "a frozen set of doubled tuples": b"(" + DOUBLED + b"\x91",
    "values set on doubled tuples": DOUBLED + b"Nb",
    "a call of doubled tuples": DOUBLED + DOUBLED + b"R",
    "a new one of doubled tuples": DOUBLED + b")\x81",
    "a time of doubled tuples": load("pandas._libs.tslibs.timestamps", "Timestamp")
    + DOUBLED
    + b"\x85R",
    "a text of doubled tuples": load("pandas", "StringDtype") + DOUBLED + b"\x85R",
    "a name of doubled tuples": INDEX
    + b"}\x8c\x04data"
    + array_of(dtype_of("f8", GOOD), (1,), bytes(8))
    + b"s\x8c\x04name"
    + DOUBLED
    + b"s\x86R",
    "an axis of doubled tuples": MANAGER
    + b"(NNN}\x8c\x060.14.1}\x8c\x04axes]"
    + DOUBLED
    + b"asstb",
    "a state of doubled tuples": load("pandas.arrays", "DatetimeArray") + b")\x81" + DOUBLED + b"b",
    "a time zone of doubled tuples": load("pandas", "DatetimeTZDtype")
    + b")\x81}\x8c\x02tz"
    + DOUBLED
    + b"sb",
    "cells of doubled tuples": array_of(OBJECT, (1,), []).replace(
        opcodes([]), b"]" + DOUBLED + b"a"
    ),
    "a list of itself": array_of(OBJECT, (1,), []).replace(opcodes([]), b"]2a"),
    "an index that grows": INDEX
    + b"}\x8c\x04data"
    + array_of(dtype_of("f8", GOOD), (1,), bytes(8))
    + b"s\x86R2a",
    "one text many times": TEXT
    + b"r\xff\xff\x00\x00"
    + (load("_codecs", "encode") + b"j\xff\xff\x00\x00\x8c\x06latin1\x86R") * 900,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_frame_holds_is_refused_and_takes_no_memory(tmp_path, name):
    (tmp_path / "evil.csv").write_bytes(b"\x80\x04" + HOSTILE[name] + b".")
    tracemalloc.start()
    with pytest.raises(ForeshapError, match="evil.csv (asks for|can't be read)"):
        read_frame(tmp_path / "evil.csv")
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert not hasattr(pd.Index, "foolish") and np.dtype("U8").itemsize == 32


def test_cells_that_grow_or_are_no_cells_are_refused(tmp_path):
    path, late = tmp_path / "evil.csv", [1]
    small().assign(label=pd.Series([late, late], dtype=object)).to_pickle(
        path, protocol=3, compression=None
    )
    data = path.read_bytes()
    place = re.search(rb"\]q(.)K\x01a", data, re.DOTALL)[1]
    path.write_bytes(data[:-1] + b"h" + place + DOUBLED + b"a0.")  # once the frame is whole
    with pytest.raises(ForeshapError, match="asks for values within"):
        read_frame(path)
    small().assign(label=pd.Series([pd.Index([1]), 1], dtype=object)).to_pickle(
        path, compression=None
    )
    with pytest.raises(ForeshapError, match="asks for cells of Index"):
        read_frame(path)


def test_no_bytes_do_anything_but_a_frame_or_one_sentence(tmp_path):
    """Mutated real files; an unpickler that let something else through would end the test."""
    path, rng = tmp_path / "bad.csv", np.random.default_rng(0)
    for original in PICKLES:
        data = original.read_bytes()
        for _ in range(MUTATIONS):
            changed = bytearray(data)
            for place in rng.integers(len(data), size=rng.integers(1, 4)):
                changed[place] = rng.integers(256)
            path.write_bytes(
                changed[: len(data) if rng.random() < 0.7 else rng.integers(len(data))]
            )
            try:
                assert type(read_frame(path)) is pd.DataFrame
            except ForeshapError as error:
                assert "bad.csv" in str(error)


def test_what_is_no_frame_is_refused(tmp_path):
    for content in (
        pickle.dumps([1]),
        pickle.dumps(None),
        b"",
        b"trace_name,label\na,b\n",
        pickle.dumps(np.arange(3)),
    ):
        (tmp_path / "bad.csv").write_bytes(content)
        with pytest.raises(ForeshapError, match="bad.csv"):
            read_frame(tmp_path / "bad.csv")
    for bad in (small().rename(columns={"label": 3}), pd.concat([small(), small()], axis=1)):
        bad.to_pickle(tmp_path / "bad.csv", compression=None)
        with pytest.raises(ForeshapError, match="columns"):
            read_frame(tmp_path / "bad.csv")
    with pytest.raises(ForeshapError, match="absent.csv"):
        read_frame(tmp_path / "absent.csv")


def benchmark(folder, period, days, seed=0, **changes):
    """One frame of the benchmark, an event a day of 2016, with the columns of the archive."""
    rng, n = np.random.default_rng(seed), len(days)
    start = pd.to_datetime([f"2016-{day}" for day in days], format="ISO8601")
    frame = pd.DataFrame(
        {f"{c}_channel": [rng.normal(size=2500) for _ in range(n)] for c in "ENZ"}
        | {
            "label": [{"pre": [1, 0], "post": [0, 1]}.get(period, [0, 0])] * n,
            "trace_name": [f"NRCA.IV.{seed}{k}_EV" for k in range(n)],
            "source_id": [10 * seed + k for k in range(n)],
            "trace_start_time": start.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "network_code": "IV",
            "receiver_name": "NRCA",
            "source_magnitude": 2.5,
            "p_s_diff_sec": 1.5,
            "source_origin_time": start.strftime("%Y-%m-%dT%H:%M:%S"),
        }
    ).assign(**changes)
    folder.mkdir(exist_ok=True)
    frame.to_pickle(folder / f"dataframe_{period}_NRCA.csv", compression=None)
    return frame


def test_the_benchmark_becomes_tensors_and_nothing_is_lost(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    pre = benchmark(
        folder, "pre", ["09-01T00:00:01", "09-02", "10-25T23:59:00", "11-05", "08-01"], seed=1
    )
    visso = benchmark(folder, "visso", ["10-26T19:00:00", "10-29", "10-25T12:00:00"], seed=2)
    post = benchmark(
        folder, "post", ["10-30T07:00:00", "11-02", "12-24", "11-03", "11-04", "11-05"], seed=3
    )
    bad = dict(
        enumerate(
            [
                post["E_channel"][0],
                post["E_channel"][1],
                None,
                [np.nan] * 2500,
                np.ones(7),
                ["x"] * 2500,
            ]
        )
    )
    benchmark(
        folder,
        "post",
        ["10-30T07:00:00", "11-02", "12-24", "11-03", "11-04", "11-06"],
        seed=3,
        E_channel=[bad[k] for k in range(6)],
    )
    found = from_frames(folder, out)
    left_out, outside = (
        "inside the window left out around the mainshock",
        "outside the span of the study",
    )
    assert found.written == 5 and found.written + len(found.rejected) == len(pre) + len(
        visso
    ) + len(post)
    assert dict(zip(found.rejected["trace_name"].str[8:-3], found.rejected["reason"])) == {
        "13": "its file and its time disagree on the class",
        "14": outside,
        "20": left_out,
        "21": left_out,
        "30": left_out,
        "32": "component missing",
        "33": "samples not finite",
        "34": "not of shape (3, samples)",
        "35": "samples are no numbers",
    }
    assert set(found.rejected["reason"]) <= set(REASONS)
    assert list(read_table(out, "NRCA", "pre")["source_id"]) == ["10", "11", "12", "22"]
    offered = offered_traces(out)
    event = offered[offered["trace_name"] == "NRCA.IV.11_EV"].iloc[0]
    np.testing.assert_array_equal(
        foreshap.load_trace(out, event), [pre[f"{c}_channel"][1] for c in "ENZ"]
    )
    report = foreshap.preprocess(out, tmp_path / "tensors", [foreshap.VARIANTS["P64"]])["P64"]
    assert report.written == 5 and report.written + len(report.rejected) == 14
    assert foreshap.load_spectrograms(tmp_path / "tensors/P64.h5").labels.tolist() == [
        0,
        0,
        0,
        0,
        1,
    ]


def test_without_a_mainshock_the_file_says_the_class(tmp_path):
    folder = tmp_path / "in"
    benchmark(folder, "pre", ["11-05"], seed=1)
    benchmark(folder, "visso", ["10-26T19:00:00"], seed=2)
    benchmark(folder, "post", ["10-30T07:00:00"], seed=3)
    found = from_frames(folder, tmp_path / "out", mainshock=None)
    assert found.written == 2 and list(found.rejected["reason"]) == [
        "inside the window left out around the mainshock"
    ]
    assert offered_traces(tmp_path / "out")["label"].tolist() == [0, 1, -1]
    assert list(read_table(tmp_path / "out", "NRCA", "pre")["source_id"]) == ["10"]


def test_cells_of_any_type_are_written_or_rejected(tmp_path):
    days, good = ["09-01", "09-02", "09-03", "09-04", "09-05", "09-06"], np.arange(2500.0)

    def of(*cells):
        return pd.Series(cells, dtype=object)

    cells = {
        "trace_name": of(5, "a\ud800", "nan", np.arange(3), "ragged", "times"),
        "source_magnitude": of(10**5000, [1], {}, (), "x", 2.5),
        "label": of([10**400, 0], [1, 0], None, 3, {}, "x"),
        "E_channel": of(good, good, good, good, [1, [2, 3]], good.astype("M8[ns]")),
        "network_code": of("\ud800", *["IV"] * 5),
    }
    benchmark(tmp_path / "in", "pre", days, seed=1, **cells)
    report = from_frames(tmp_path / "in", tmp_path / "out")
    unnamed, unfit = "name that can't be used", "samples are no numbers"
    assert report.written == 2 and list(report.rejected["reason"]) == [
        unnamed,
        unnamed,
        unfit,
        unfit,
    ]
    table = read_table(tmp_path / "out", "NRCA", "pre")
    assert list(table["trace_name"]) == ["5", "a\\ud800"] and list(table["network_code"]) == [
        "\\ud800",
        "IV",
    ]
    offered = offered_traces(tmp_path / "out")
    assert len(offered) == 6 and (offered["reason"] == "").sum() == 2


def test_a_refused_frame_leaves_what_was_there(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    benchmark(folder, "pre", ["09-01"], seed=1)
    from_frames(folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (folder / "dataframe_post_NRCA.csv").write_bytes(named("os", "system", "true"))
    with pytest.raises(ForeshapError, match="dataframe_post_NRCA.csv asks for os.system"):
        from_frames(folder, out)
    benchmark(folder, "post", ["11-01"], seed=1).drop(columns="Z_channel").to_pickle(
        folder / "dataframe_post_NRCA.csv", compression=None
    )
    with pytest.raises(ForeshapError, match="lacks the columns Z_channel"):
        from_frames(folder, out)
    with pytest.raises(ForeshapError, match="holds no dataframe_pre"):
        from_frames(tmp_path / "out", tmp_path / "other")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
