"""Miniatures of the two published archives, in their very forms, become tensors."""

from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap import from_nine_stations, from_nrca_archive
from foreshap.controls import plain_models as separability
from foreshap.files import ForeshapError
from foreshap.preprocessing.waveforms import COLUMNS, REASONS, offered_traces, read_table
from foreshap.sources.norcia_archives import NINE_STATIONS, co_located
from foreshap.training import splits

MAINSHOCK = "2016-10-30T06:40:17"


def attributes(station, ids, starts, s_p):
    """A table in the archives' columns."""
    table = pd.DataFrame({name: [""] * len(ids) for name in COLUMNS})
    return table.assign(
        trace_name=[f"{station}.IV.{n}_EV" for n in ids],
        trace_start_time=starts,
        network_code="IV",
        source_id=ids,
        receiver_name=station,
        receiver_type="HH",
        source_magnitude=2.1,
        p_travel_sec=-0.5,
        p_s_diff_sec=s_p,
    )


def write(path, table_path, table, traces):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, samples in traces.items():
            file[name] = samples
    table.to_csv(table_path, index=False)


@pytest.fixture
def nrca(tmp_path):
    """The archive's folders, files and quirks."""
    folder, rng = tmp_path / "archive/dset/data/catalogs/NRCA", np.random.default_rng(0)
    tables = {
        "pre": attributes(
            "NRCA",
            [100019941, 7, 5, 9, 11, 12, 13],
            [
                "2016-09-01T00:00:00.000000Z",
                "2016-10-01 00:00:00",
                "2016-09-03T01:02:03",
                "2016-09-04T00:00:00.25",
                "2016-11-04T00:00:00",
                "never",
                "2016-09-09T00:00:00",
            ],
            [1.2, 1.3, -0.4, 0, 2, 3, 1],
        ),
        "post": attributes(
            "NRCA",
            [100709001, 30, 31, 32],
            ["2016-11-01T00:00:00", "2016-11-02T00:00:00.5", "2016-10-30T06:40:20", "2016-11-03"],
            [1, 1, np.nan, 2],
        ),
    }
    traces = {
        p: {n: rng.integers(-999, 999, (3, 2500), "i4") for n in t["trace_name"]}
        for p, t in tables.items()
    }
    traces["pre"]["NRCA.IV.100019941_EV"] = traces["pre"]["NRCA.IV.7_EV"][:1]
    traces["post"]["NRCA.IV.100709001_EV"] = traces["post"]["NRCA.IV.30_EV"][:2]
    traces["pre"]["NRCA.IV.99_EV"] = traces["pre"]["NRCA.IV.7_EV"]
    del traces["pre"]["NRCA.IV.13_EV"]
    for period, table in tables.items():
        write(
            folder / f"NRCA_{period}.hdf5",
            folder / f"NRCA_{period}_attributes.csv",
            table,
            traces[period],
        )
    return SimpleNamespace(
        root=tmp_path / "archive", folder=folder, traces=traces, tables=tables, out=tmp_path / "out"
    )


def similar(nrca, rows):
    frame = pd.DataFrame(rows, columns=["trace_name", "associato_ev"])
    frame.to_pickle(
        nrca.folder.parent / "dataframe_NRCA_SelectedSimilarTraces.csv", compression=None
    )


def reasons(report):
    return dict(zip(report.rejected["trace_name"].str[8:-3], report.rejected["reason"]))


AT_IMPORT = {
    "100019941": "component missing",
    "100709001": "component missing",
    "99": "no row in the table",
    "13": "no waveform in the file",
}
AT_PREPROCESS = {
    "5": "S-P zero or negative",
    "9": "S-P zero or negative",
    "12": "start time missing",
    "31": "S-P missing",
}


def test_every_trace_of_the_archive_is_a_tensor_or_has_a_reason(nrca, tmp_path):
    found = from_nrca_archive(nrca.root, nrca.out)
    assert found.written == 8 and reasons(found) == AT_IMPORT
    report = foreshap.preprocess(nrca.out, tmp_path / "tensors", [foreshap.VARIANTS["S64"]])["S64"]
    assert (
        report.written == 4
        and reasons(report) == AT_IMPORT | AT_PREPROCESS
        and set(report.rejected["reason"]) <= set(REASONS)
    )
    assert report.written + len(report.rejected) == len(offered_traces(nrca.out)) == 12
    offered = offered_traces(nrca.out).set_index("trace_name")
    for period in ("pre", "post"):
        table = read_table(nrca.out, "NRCA", period).set_index("trace_name")
        given = nrca.tables[period].set_index("trace_name").loc[table.index]
        assert (table["trace_start_time"] == given["trace_start_time"]).all() and table[
            "p_travel_sec"
        ].eq(-0.5).all()
        for name in table.index:
            event = offered.loc[name].rename(name)
            event["trace_name"] = name
            np.testing.assert_array_equal(
                foreshap.load_trace(nrca.out, event), nrca.traces[period][name]
            )


def test_rows_that_disagree_are_rejected_and_equal_ones_are_one(nrca):
    path = nrca.folder / "NRCA_pre_attributes.csv"
    table = pd.read_csv(path, dtype=str)
    other = table[table["source_id"] == "7"].assign(p_s_diff_sec="3.5")
    pd.concat([table, other, table[table["source_id"] == "11"]]).to_csv(path, index=False)
    report = from_nrca_archive(nrca.root, nrca.out)
    assert report.written == 7 and list(read_table(nrca.out, "NRCA", "pre")["source_id"]) == [
        "5",
        "9",
        "11",
        "12",
    ]
    twice = report.rejected[report.rejected["reason"] == "duplicate name"]
    assert list(twice["trace_name"]) == ["NRCA.IV.7_EV", "NRCA.IV.7_EV (2)"]


def test_the_time_must_agree_with_the_file_where_a_mainshock_is_given(nrca):
    found = from_nrca_archive(nrca.folder, nrca.out, MAINSHOCK)
    other = {"11": "its file and its time disagree on the class", "12": "start time missing"}
    assert found.written == 6 and reasons(found) == AT_IMPORT | other
    left_out = foreshap.periods(MAINSHOCK, left_out=("2016-10-26", "2016-11-01"))
    assert reasons(from_nrca_archive(nrca.folder, nrca.out, left_out))["31"].startswith(
        "inside the window left out"
    )
    with h5py.File(nrca.out / "NRCA_pre.hdf5") as file:
        assert file.attrs["source_doi"] == "10.5281/zenodo.15683047" and file.attrs[
            "mainshock"
        ].startswith("2016-10-30")


def test_co_located_groups_become_a_column(nrca, tmp_path):
    name = "NRCA.IV.{}_EV".format
    similar(nrca, [(name(7), 501), (name(5), 501), (name(30), 501), (name(32), 5), (name(99), 777)])
    from_nrca_archive(nrca.root, nrca.out)
    groups = pd.concat(
        [read_table(nrca.out, "NRCA", p).set_index("source_id") for p in ("pre", "post")]
    )["co_located_group"]
    assert groups.dropna().to_dict() == {
        "7": "5",
        "5": "5",
        "30": "5",
        "32": "5",
    }  # 32 lies beside 5, and 5 beside 7 and 30
    foreshap.preprocess(nrca.out, tmp_path, [foreshap.VARIANTS["P64"]])
    table = foreshap.load_spectrograms(tmp_path / "P64.h5").table
    assert dict(zip(table["source_id"], table["co_located_group"])) == {
        "7": "5",
        "11": "",
        "30": "5",
        "31": "",  # without S: P alone serves P
        "32": "5",
    }


def test_an_id_that_is_missing_changes_no_group():
    """One makes a column of whole numbers decimal: 5.0 is event 5."""
    names = [f"NRCA.IV.{n}_EV" for n in (7, 30, 32)]
    traces = pd.DataFrame(
        {"trace_name": [*names, "NRCA.IV.5_EV"], "source_id": ["7", "30", "32", "5"]}
    )
    found = co_located(pd.DataFrame({"trace_name": names, "associato_ev": [5, 5, np.nan]}), traces)
    assert found == dict.fromkeys(["NRCA.IV.5_EV", *names[:2]], "5")
    whole = pd.DataFrame({"trace_name": names[:2], "associato_ev": [5, 5]})
    assert co_located(whole, traces.assign(source_id=[7.0, 30, 32, 5])) == found


def test_groups_are_the_parts_of_the_graph_of_events():
    """Against a search by hand."""
    rng = np.random.default_rng(1)
    traces = pd.DataFrame(
        {"trace_name": [f"T{k}" for k in range(200)], "source_id": np.arange(200).astype(str)}
    )
    pairs = pd.DataFrame(
        {
            "trace_name": [f"T{k}" for k in rng.integers(0, 200, 90)],
            "associato_ev": rng.integers(0, 200, 90),
        }
    )
    found = co_located(pairs, traces)
    beside = {k: set() for k in range(200)}
    for pair in pairs.itertuples():
        one, other = int(pair.trace_name[1:]), pair.associato_ev
        beside[one].add(other), beside[other].add(one)
    for start in range(200):
        reached, waiting = {start}, [start]
        while waiting:
            new = beside[waiting.pop()] - reached
            reached |= new
            waiting += new
        inside = {
            k
            for k in range(200)
            if found.get(f"T{k}", f"alone {k}") == found.get(f"T{start}", f"alone {start}")
        }
        assert inside == reached
    with pytest.raises(ForeshapError, match="associato_ev"):
        co_located(traces, traces)


def test_a_group_stands_on_one_side(nrca):
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.uniform(0, 4e6, 600))
    seconds[1::6] = seconds[::6] + 10  # windows that overlap
    group = np.where(rng.random(600) < 0.6, rng.integers(0, 150, 600).astype(str), "")
    table = pd.DataFrame(
        {
            "trace_start_time": (
                pd.Timestamp("2016-09-01") + pd.to_timedelta(seconds, unit="s")
            ).astype(str),
            "label": (seconds > 2e6).astype("i1"),
            "co_located_group": group,
        }
    )
    before, together = table.copy(), [*table[group != ""].groupby("co_located_group").indices]

    def sides(split):
        parts = split.train, split.validation, split.test
        return np.select([np.isin(np.arange(600), part) for part in parts], [0, 1, 2])

    def apart(side):
        return sum(len(set(side[group == name])) > 1 for name in together)

    split = foreshap.co_located_split(table, 0)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([split.train, split.validation, split.test])), np.arange(600)
    )
    assert (
        apart(sides(split)) == 0 < 50 < apart(sides(splits.random_split(table, 0)))
        and len(together) > 100
    )
    close = splits.neighbours(table)
    assert pd.Series(sides(split)).groupby(close).nunique().max() == 1
    assert len(set(splits.co_located_groups(table))) > 100
    for train, test in separability.folds(table, "co-located groups", 0):
        assert not set(group[train]) & set(group[test]) - {""} and not set(close[train]) & set(
            close[test]
        )
    pd.testing.assert_frame_equal(table, before)
    for function in (
        lambda t: splits.co_located_split(t, 0),
        lambda t: separability.folds(t, "co-located groups", 0),
    ):
        with pytest.raises(ForeshapError, match="no co_located_group"):
            function(table.drop(columns="co_located_group"))


def test_damaged_archives_are_refused_and_leave_what_was_there(nrca):
    from_nrca_archive(nrca.root, nrca.out)
    before = {path.name: path.read_bytes() for path in nrca.out.iterdir()}
    waveforms, table = nrca.folder / "NRCA_post.hdf5", nrca.folder / "NRCA_post_attributes.csv"
    whole, text = waveforms.read_bytes(), table.read_text()
    groups = nrca.folder / "dataframe_NRCA_SelectedSimilarTraces.csv"
    damages = [
        (waveforms, whole[: len(whole) // 2], "NRCA_post.hdf5 can't be read"),
        (waveforms, b"", "NRCA_post.hdf5 can't"),
        (waveforms, None, "holds no NRCA_post.hdf5"),
        (table, None, "holds no NRCA_post_attributes.csv"),
        (table, b"a;b\n1;2\n", "comma-separated"),
        (table, text.replace(",NRCA,", ",T1212,").encode(), "table of station T1212"),
        (nrca.root / "copy/NRCA_post.hdf5", whole, "holds 2 NRCA_post.hdf5"),
        (groups, b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
        (groups, b"trace_name\n", "can't be read as a pickled"),
    ]
    for path, content, sentence in damages:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        with pytest.raises(ForeshapError, match=sentence):
            from_nrca_archive(nrca.root, nrca.out)
        assert {path.name: path.read_bytes() for path in nrca.out.iterdir()} == before
        path.unlink(missing_ok=True)
        waveforms.write_bytes(whole), table.write_text(text)
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a byte-order mark changes nothing
    assert from_nrca_archive(nrca.root, nrca.out).written == 8
    assert {path.name: path.read_bytes() for path in nrca.out.iterdir()} == before


def test_an_archive_is_not_overwritten_by_its_own_import(nrca):
    before = {path: path.read_bytes() for path in nrca.root.rglob("*") if path.is_file()}
    with pytest.raises(
        ForeshapError, match="NRCA_post.hdf5 of an archive or of another import: use another folder"
    ):
        from_nrca_archive(nrca.root, nrca.folder)
    assert before == {path: path.read_bytes() for path in nrca.root.rglob("*") if path.is_file()}


def test_samples_of_other_files_are_not_read(nrca, tmp_path):
    """HDF5 can point to any file: by a link, as raw storage, as a virtual dataset."""
    name, secret = "NRCA.IV.{}_EV".format, tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(250)) * 240)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["trace"] = np.ones((3, 2500))
    virtual = h5py.VirtualLayout((3, 2500), "f8")
    virtual[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "trace", (3, 2500))
    with h5py.File(nrca.folder / "NRCA_pre.hdf5", "a") as file:
        kept = file[name(9)][:]
        for n in (7, 5, 11, 12, 9):
            del file[name(n)]
        file[name(7)] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "trace")
        file.create_dataset(name(5), (3, 2500), "f8", external=[(str(secret), 0, 60_000)])
        file.create_virtual_dataset(name(11), virtual)
        file[name(12)] = h5py.SoftLink("/" + name(9))
        file.create_dataset(
            name(9), data=kept, chunks=(1, 500), compression="gzip"
        )  # this one is its own
    found = from_nrca_archive(nrca.root, nrca.out)
    assert reasons(found) == AT_IMPORT | dict.fromkeys(
        ("7", "5", "11", "12"), "no array of samples"
    )
    with h5py.File(nrca.out / "NRCA_pre.hdf5") as file:
        assert list(file) == [name(9)]
        np.testing.assert_array_equal(file[name(9)], kept)


@pytest.fixture
def nine(tmp_path):
    rng = np.random.default_rng(3)
    for station in NINE_STATIONS:
        folder = tmp_path / "archive" / station
        for period, start in ("pre", "2016-09-01T00:00:0{}"), ("post", "2016-11-01T00:00:0{}.5"):
            ids = [1, 2] if period == "pre" else [3, 4]
            table = attributes(station, ids, [start.format(k) for k in (1, 2)], [1.5, 2.5])
            traces = {name: rng.normal(size=(3, 2500)) for name in table["trace_name"]}
            write(
                folder / f"{station}_waveforms_{period}.hdf5",
                folder / f"{station}_attributes_{period}.csv",
                table,
                traces,
            )
    return tmp_path / "archive"


@pytest.mark.parametrize(
    "order, rows", [("ENZ", [0, 1, 2]), ("NEZ", [1, 0, 2]), ("ZNE", [2, 1, 0])]
)
def test_nine_stations_come_in_with_the_order_that_is_said(nine, tmp_path, order, rows):
    found = from_nine_stations(nine, tmp_path / "out", MAINSHOCK, order)
    assert found.written == 36 and found.rejected.empty
    with (
        h5py.File(nine / "MC2/MC2_waveforms_post.hdf5") as given,
        h5py.File(tmp_path / "out/MC2_post.hdf5") as written,
    ):
        assert (
            written.attrs["source_component_order"] == order
            and written.attrs["component_order"] == "ENZ"
        )
        assert written["MC2.IV.4_EV"].dtype == np.float64 and set(written) == set(given)
        np.testing.assert_array_equal(written["MC2.IV.4_EV"], given["MC2.IV.4_EV"][:][rows])
    report = foreshap.preprocess(
        tmp_path / "out", tmp_path / "tensors", [foreshap.VARIANTS["P64"]]
    )["P64"]
    spectrograms = foreshap.load_spectrograms(tmp_path / "tensors/P64.h5")
    assert report.written == 36 and spectrograms.attributes["source_component_order"] == order
    assert set(spectrograms.table["station"]) == set(NINE_STATIONS)


def test_a_station_that_is_missing_or_damaged_is_named(nine, tmp_path):
    (nine / "T1216/T1216_waveforms_pre.hdf5").write_bytes(b"\x89HDF\r\n\x1a\nnothing")
    with pytest.raises(ForeshapError, match="T1216_waveforms_pre.hdf5 can't be read"):
        from_nine_stations(nine, tmp_path / "out")
    (nine / "FDMO/FDMO_attributes_post.csv").unlink()
    with pytest.raises(ForeshapError, match="holds no FDMO_attributes_post.csv"):
        from_nine_stations(nine, tmp_path / "out")
    for order in ("ENN", None, 5):
        with pytest.raises(ForeshapError, match=f"order {order!r}"):
            from_nine_stations(nine, tmp_path / "out", component_order=order)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]
    assert from_nine_stations(nine, tmp_path / "out", stations=("NRCA", "MC2")).written == 8
    assert from_nine_stations(nine, tmp_path / "one", stations="MC2").written == 4
