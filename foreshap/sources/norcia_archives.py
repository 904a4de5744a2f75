"""The published archives of the 2016 Norcia sequence become the waveform layout."""

import re
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import NORCIA, periods
from ..preprocessing.variants import COMPONENTS, SIDES
from ..preprocessing.waveforms import (
    COLUMNS,
    open_waveforms,
    read_root,
    read_table_file,
    read_trace,
    unfit,
)
from .downloads import ARCHIVES
from .pickles import read_frame
from .writer import Offer, trace_name, write_layout

NINE_STATIONS = ("FDMO", "MC2", "MMO1", "NRCA", "T1212", "T1213", "T1214", "T1216", "T1244")
SIMILAR = "dataframe_NRCA_SelectedSimilarTraces.csv"  # a pickle
MISSING = "None", "NaT", "nan", "NaN"  # texts that stand for no value
FRAME = re.compile("dataframe_(pre|visso|post)_([A-Za-z0-9]+)")


def from_nrca_archive(folder, output, mainshock=None):
    """Write the archive of station IV.NRCA (doi:10.5281/zenodo.15683047) in the waveform layout.

    folder: str or Path, searched with its subfolders for NRCA_{pre,post}.hdf5, their tables
        NRCA_{pre,post}_attributes.csv and dataframe_NRCA_SelectedSimilarTraces.csv, the groups of
        co-located events, which become the column co_located_group
    output: str or Path, folder in the waveform layout, with import_rejected.csv
    mainshock: str or datetime [UTC], or Periods, that each time must agree with; None: none need

    returns: Imported
    raises: ForeshapError where a file is missing or damaged; nothing is written then
    """
    names = "{}_{}.hdf5", "{}_{}_attributes.csv", "{}_{}_attribute.csv"
    parts, groups = list(_read_parts(folder, ["NRCA"], *names)), None
    if any(Path(folder).rglob(SIMILAR)):
        tables = pd.concat([part[1] for part in parts])
        groups = co_located(read_frame(_find_file(folder, SIMILAR)), tables)
    return _import(output, parts, mainshock, "ENZ", groups, source_doi=ARCHIVES["nrca"])


def from_nine_stations(
    folder, output, mainshock=None, component_order="ENZ", stations=NINE_STATIONS
):
    """Write the archive of nine stations (doi:10.5281/zenodo.12795621) in the waveform layout.

    folder: str or Path, searched with its subfolders for <STATION>_waveforms_{pre,post}.hdf5 and
        <STATION>_attributes_{pre,post}.csv
    output, mainshock: as from_nrca_archive() takes them
    component_order: str, of the archive (documented as E, N, Z and as N, E, Z), which is kept as
        source_component_order; traces are written as E, N, Z
    stations: str or sequence of str, those that must be there

    returns: Imported
    raises: ForeshapError where a file is missing or damaged; nothing is written then
    """
    if component_order not in map("".join, permutations(COMPONENTS)):
        raise ForeshapError(
            f"The component order {component_order!r} is none of E, N and Z: give 'ENZ' or 'NEZ'."
        )
    stations = [stations] if isinstance(stations, str) else stations
    names = "{}_waveforms_{}.hdf5", "{}_attributes_{}.csv"
    parts = list(_read_parts(folder, stations, *names))
    about = {"source_doi": ARCHIVES["nine_stations"], "source_component_order": component_order}
    return _import(output, parts, mainshock, component_order, None, **about)


def from_frames(folder, output, mainshock=NORCIA):
    """Write the classification benchmark's pickled frames (doi:10.5281/zenodo.12806081).

    One frame at a time is in memory, several hundred MB each.

    folder: str or Path, of dataframe_{pre,visso,post}_<STATION>.csv, which are pickles. Columns:
        E_channel, N_channel, Z_channel (samples [counts], 100 Hz, P at 5 s), trace_name or
        source_id, and what there is of waveforms.COLUMNS
    output: str or Path, folder in the waveform layout, with import_rejected.csv
    mainshock: str or datetime [UTC], or Periods; default: those of the Norcia study, which leave
        out 26 to 31 October. None: the files' names say the class, and of visso nothing counts

    returns: Imported
    raises: ForeshapError where there is no frame, or one is refused or lacks a column
    """
    paths = []
    for path in sorted(Path(folder).glob("dataframe_*.csv")):
        if FRAME.fullmatch(path.stem):
            paths.append(path)
    if not paths:
        raise ForeshapError(
            f"{folder} holds no dataframe_pre_<STATION>.csv: give the frames' folder, "
            "foreshap.download() fetches it."
        )
    spans = None if mainshock is None else periods(mainshock)
    offers = (offer for path in paths for offer in _frame_offers(path, spans))
    return write_layout(output, offers, spans, source_doi=ARCHIVES["frames"])


def co_located(similar, traces):
    """Find the group of co-located events of each trace; groups that share an event are one.

    similar: DataFrame with trace_name and associato_ev, the event that the trace's lies beside
    traces: DataFrame with trace_name and, where known, source_id: an event that others lie beside
        is in their group

    returns: dict, trace name -> str, the least associato_ev of the group
    """
    columns = ["trace_name", "associato_ev"]
    if not set(columns) <= set(similar):
        raise ForeshapError(f"{SIMILAR} lacks one of {', '.join(columns)}: download it again.")
    pairs = _as_text(similar[columns])
    own = _as_text(traces.rename(columns={"source_id": "associato_ev"}).reindex(columns=columns))
    own = own[own["associato_ev"].isin(pairs["associato_ev"])]
    pairs = pd.concat([pairs, own], ignore_index=True)
    nodes, ends = pd.factorize(pd.concat([pairs["associato_ev"], "trace " + pairs["trace_name"]]))
    links = coo_array((np.ones(len(pairs)), np.split(nodes, 2)), shape=(len(ends), len(ends)))
    part = connected_components(links, directed=False)[1][nodes[: len(pairs)]]
    return dict(zip(pairs["trace_name"], pairs["associato_ev"].groupby(part).transform("min")))


def _as_text(pairs):
    """Return the whole pairs as text; ids that a missing one made decimal are whole again."""
    texts = pairs.dropna().astype(str)
    return texts.assign(associato_ev=texts["associato_ev"].str.removesuffix(".0"))


def _find_file(folder, *names):
    """Return the one file of any of these names in a folder and its subfolders."""
    found = [path for name in names for path in Path(folder).rglob(name) if path.is_file()]
    if len(found) != 1:
        raise ForeshapError(
            f"{folder} holds {len(found) or 'no'} {names[0]}, one is needed: give the archive's "
            "folder, foreshap.download() fetches it."
        )
    return found[0]


def _read_parts(folder, stations, waveforms, *tables):
    """Yield (path of the HDF5 file, table, station, label) of each station and class."""
    for station, (label, side) in product(stations, enumerate(SIDES)):
        path = _find_file(folder, waveforms.format(station, side))
        table_path = _find_file(folder, *(name.format(station, side) for name in tables))
        table = read_table_file(table_path)
        receivers = table.get("receiver_name", pd.Series(dtype=str)).dropna().str.strip()
        if not receivers.isin([station]).all():
            raise ForeshapError(
                f"{table_path} is a table of station {receivers.iloc[0]}, not of {station}: "
                "use the right one."
            )
        table = table.assign(receiver_name=station, trace_name=table["trace_name"].fillna(""))
        yield path, table, station, label


def _import(output, parts, mainshock, order, groups, **attributes):
    """Write the traces of parts; groups: dict by trace name, or None."""
    spans = None if mainshock is None else periods(mainshock)
    columns = [name for part in parts for name in part[1]]
    if groups is not None:
        columns.append("co_located_group")
    names = pd.concat([part[1]["trace_name"] for part in parts])
    twice = set(names[names.duplicated()]) - {""}
    rows = [order.index(component) for component in COMPONENTS]
    offers = (offer for part in parts for offer in _offers(*part, twice, rows, groups or {}))
    return write_layout(output, offers, spans, columns, **attributes)


def _offers(path, table, station, label, twice, order, groups):
    """Yield an Offer of each trace that a file or its table names; one named twice is not used."""
    rows = table.astype(object).where(table.notna(), "").to_dict("records")
    stored = set(read_root(path)[0])
    reasons = dict.fromkeys(set(table["trace_name"]) - stored, "no waveform in the file")
    for name in sorted(stored - set(table["trace_name"])):
        rows.append({"trace_name": name, "receiver_name": station, "trace_start_time": ""})
        reasons[name] = "no row in the table"
    reasons |= dict.fromkeys(twice, "duplicate name")  # rows that are the same were read as one
    with open_waveforms(path) as file:
        for row in tqdm(rows, desc=path.name, unit="trace"):
            name = row["trace_name"]
            row["co_located_group"] = groups.get(name, "")
            samples, reason = None, reasons.get(name, "")
            if not reason:
                samples, reason = read_trace(file, name)
            yield Offer(row, samples if reason else samples[order], reason, label)


def _frame_offers(path, spans):
    """Yield an Offer of each row of a frame."""
    frame = read_frame(path)
    channels = [f"{component}_channel" for component in COMPONENTS]
    missing = [name for name in channels if name not in frame]
    if not {"trace_name", "source_id"} & set(frame):
        missing.append("trace_name or source_id")
    if missing:
        raise ForeshapError(f"{path} lacks the columns {', '.join(missing)}: they are needed.")
    side, station = FRAME.fullmatch(path.stem).groups()
    label = {"pre": 0, "post": 1}.get(side)
    for place in tqdm(range(len(frame)), desc=path.name, unit="trace"):
        cells = frame.iloc[place]
        row = {"receiver_name": station, "trace_start_time": ""}
        for name in COLUMNS:
            if name in frame:
                row[name] = _text(cells[name])
        if "trace_name" not in row:
            network = row.get("network_code", "")
            row["trace_name"] = trace_name(row["receiver_name"], network, row["source_id"])
        samples, reason = _samples(list(cells[channels]))
        if spans is None and label is None:
            reason = reason or "inside the window left out around the mainshock"
        yield Offer(row, samples, reason, label)


def _text(cell):
    """Return a cell as a table holds it: "" where it is missing; what UTF-8 lacks by its number."""
    if isinstance(cell, (list, tuple, dict, np.ndarray)):
        return ""
    try:
        text = str(cell).encode("utf-8", "backslashreplace").decode()
    except ValueError:  # a number of thousands of digits
        return ""
    return "" if text in MISSING else text


def _samples(cells):
    """Return samples (3, n) of three cells and "", or None and the reason why not."""
    try:
        parts = [np.asarray([] if cell is None else cell) for cell in cells]
        if any(part.size == 0 or part.ndim == 0 for part in parts):
            return None, "component missing"
        if len({part.shape for part in parts}) > 1:
            return None, "not of shape (3, samples)"
        samples = np.stack(parts)
    except (TypeError, ValueError):  # lists of lists, times beside numbers
        return None, "samples are no numbers"
    reason = unfit(samples.shape, samples.dtype.kind)
    if not reason and not np.isfinite(samples).all():
        reason = "samples not finite"
    return (None if reason else samples), reason
