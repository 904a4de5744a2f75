"""The published archives of the 2016 Norcia sequence become the waveform layout."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import periods
from ..preprocessing.variants import COMPONENTS, PERIODS
from ..preprocessing.waveforms import open_waveforms, read_table_file, read_trace, trace_names
from .pickles import read_frame
from .writer import Offer, write_layout

NINE_STATIONS = ("FDMO", "MC2", "MMO1", "NRCA", "T1212", "T1213", "T1214", "T1216", "T1244")
SIMILAR = "dataframe_NRCA_SelectedSimilarTraces.csv"  # a pickle


def from_nrca_archive(folder, output, mainshock=None):
    """Write the archive of station IV.NRCA (doi:10.5281/zenodo.15683047) in the waveform layout.

    folder: str or Path, of the archive; searched with its subfolders for NRCA_{pre,post}.hdf5, the tables
        NRCA_{pre,post}_attributes.csv and, if it is there, the groups of co-located events in
        dataframe_NRCA_SelectedSimilarTraces.csv, which become the column co_located_group ("" for an event of none)
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods, that each trace's time must agree with; None: the file says the class

    returns: Imported
    raises: ForeshapError where a file is missing or damaged; nothing is written then
    """
    files = [(_one(folder, f"NRCA_{p}.hdf5"), _one(folder, f"NRCA_{p}_attributes.csv", f"NRCA_{p}_attribute.csv"))
             for p in PERIODS]  # fmt: skip
    tables = [read_table_file(path) for _, path in files]
    columns = {}
    if _found(folder, SIMILAR):
        names = pd.concat([table[["trace_name", *{"source_id"} & set(table)]] for table in tables])
        columns["co_located_group"] = co_located(read_frame(_one(folder, SIMILAR)), names)
    parts = [(*paths, "NRCA", label) for label, paths in enumerate(files)]
    return _import(output, parts, mainshock, "ENZ", columns, source_doi="10.5281/zenodo.15683047")


def from_nine_stations(
    folder, output, mainshock=None, component_order="ENZ", stations=NINE_STATIONS
):
    """Write the archive of nine stations (doi:10.5281/zenodo.12795621) in the waveform layout.

    folder: str or Path, of the archive; searched with its subfolders for <STATION>_waveforms_{pre,post}.hdf5 and
        <STATION>_attributes_{pre,post}.csv
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods, that each trace's time must agree with; None: the file says the class
    component_order: str, of the archive's components: it is documented as E, N, Z and as N, E, Z. Traces are written as
        E, N, Z, and the attribute source_component_order of the files says what was taken for granted
    stations: str or sequence of str, those that must be there

    returns: Imported
    raises: ForeshapError where a file is missing or damaged; nothing is written then
    """
    if component_order not in map("".join, permutations(COMPONENTS)):
        raise ForeshapError(
            f"The component order {component_order!r} is none of E, N and Z: give 'ENZ' or 'NEZ'."
        )
    stations = [stations] if isinstance(stations, str) else stations
    parts = [
        (_one(folder, f"{s}_waveforms_{p}.hdf5"), _one(folder, f"{s}_attributes_{p}.csv"), s, label)
        for s in stations for label, p in enumerate(PERIODS)
    ]  # fmt: skip
    about = {"source_doi": "10.5281/zenodo.12795621", "source_component_order": component_order}
    return _import(output, parts, mainshock, component_order, {}, **about)


def _import(output, parts, mainshock, order, columns, **attributes):
    """Write parts (HDF5 file, table, station, label); columns: name -> dict of each trace name's value."""
    spans = None if mainshock is None else periods(mainshock)
    tables = [
        read_table_file(path) for _, path, *_ in parts
    ]  # damaged ones are found before anything is written
    further = dict.fromkeys(name for table in tables for name in table)
    names = pd.concat([table["trace_name"] for table in tables]).dropna()
    twice, places = (
        set(names[names.duplicated()]),
        [order.index(component) for component in COMPONENTS],
    )
    offers = (
        offer
        for part, table in zip(parts, tables)
        for offer in _offers(*part, table, twice, places, columns)
    )
    return write_layout(output, offers, spans, [*further, *columns], **attributes)


def _offers(path, table_path, station, label, table, twice, places, columns):
    """Yield an Offer of each trace that a file or its table names; none is used of those named twice."""
    receivers = table.get("receiver_name", pd.Series(dtype=str)).dropna().str.strip()
    if not receivers.isin([station]).all():
        raise ForeshapError(
            f"{table_path} is a table of station {receivers.iloc[0]}, not of {station}: use the right one."
        )
    table = table.assign(receiver_name=station, trace_name=table["trace_name"].fillna(""))
    rows = table.astype(object).where(table.notna(), "").to_dict("records")
    stored = set(trace_names(path))
    strays = stored - set(table["trace_name"])
    with open_waveforms(path) as file:
        rows += [
            {"trace_name": name, "receiver_name": station, "trace_start_time": ""}
            for name in sorted(strays)
        ]
        for row in tqdm(rows, desc=path.name, unit="trace"):
            row |= {name: values.get(row["trace_name"], "") for name, values in columns.items()}
            samples, reason = None, "no row in the table"
            if row["trace_name"] in twice:  # rows that are the same were read as one
                reason = "duplicate name"
            elif row["trace_name"] not in stored:
                reason = "no waveform in the file"
            elif row["trace_name"] not in strays:
                samples, reason = read_trace(file, row["trace_name"])
            yield Offer(row, samples if reason else samples[places], reason, label)


def co_located(similar, traces):
    """Group of co-located events that each trace belongs to; groups that share an event are one.

    similar: DataFrame with trace_name and associato_ev, the event that the trace's event lies beside
    traces: DataFrame with trace_name and, where known, source_id: an event that others lie beside is in their group

    returns: dict, trace name -> str, the least associato_ev of the group
    raises: ForeshapError where a column is missing
    """
    if missing := {"trace_name", "associato_ev"} - set(similar):
        raise ForeshapError(
            f"{SIMILAR} lacks the columns {', '.join(sorted(missing))}: download it again."
        )
    pairs = _as_text(similar[["trace_name", "associato_ev"]])
    own = _as_text(
        traces.rename(columns={"source_id": "associato_ev"}).reindex(columns=list(pairs))
    )
    pairs = pd.concat(
        [pairs, own[own["associato_ev"].isin(pairs["associato_ev"])]], ignore_index=True
    )
    nodes, ends = pd.factorize(pd.concat([pairs["associato_ev"], "trace " + pairs["trace_name"]]))
    links = coo_array((np.ones(len(pairs)), np.split(nodes, 2)), shape=(len(ends), len(ends)))
    part = connected_components(links, directed=False)[1][nodes[: len(pairs)]]
    return dict(zip(pairs["trace_name"], pairs["associato_ev"].groupby(part).transform("min")))


def _as_text(pairs):
    """The whole pairs as text; ids that a missing one made decimal are whole again."""
    texts = pairs.dropna().astype(str)
    return texts.assign(associato_ev=texts["associato_ev"].str.removesuffix(".0"))


def _found(folder, name):
    """Files of a name in a folder and its subfolders."""
    return sorted(path for path in Path(folder).rglob(name) if path.is_file())


def _one(folder, *names):
    """The one file of any of these names in a folder and its subfolders."""
    found = [path for name in names for path in _found(folder, name)]
    if len(found) != 1:
        said = f"holds {len(found)} files" if found else "holds no file"
        raise ForeshapError(
            f"{folder} {said} {names[0]}, one is needed: give the archive's folder, foreshap.download() fetches it."
        )
    return found[0]
