"""The waveform layout from what a source offers: a trace is written, or rejected with a reason."""

import csv
import re
from contextlib import ExitStack
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..files import ForeshapError, folder_written_whole
from ..hdf5 import create_hdf5
from ..preprocessing import waveforms
from ..preprocessing.periods import classes
from ..preprocessing.tensor_file import can_be_column
from ..preprocessing.variants import SIDES, VARIANTS

TOGETHER = 32  # traces in memory at a time
STATION = "[A-Za-z0-9_-]+"  # a code that can name a file
MARGIN = 1.0  # s after the last window, more than a frame


class Unusable(ForeshapError):
    """Why one trace can't be used: its text is one of waveforms.REASONS."""


class Offer(NamedTuple):
    """One trace that a source has; samples (3, n), E, N, Z, P at 5 s, are None with a reason."""

    row: dict  # of the table: at least trace_name, receiver_name (station), trace_start_time
    samples: np.ndarray | None
    reason: str = ""  # of waveforms.REASONS, why it can't be used
    label: int | None = None  # 0 or 1 where the source itself says the class


class Imported(NamedTuple):
    """How many traces were written, and the others (trace_name, station, label, reason)."""

    written: int
    rejected: pd.DataFrame


def trace_name(station, network, source_id):
    """Name a trace as the layout does."""
    return f"{station}.{network}.{source_id}_EV".replace("/", "_")


def seconds_after_p(s_p):
    """How far after P [s] a trace must reach for all variants; s_p: S-P time [s], NaN without S."""
    reach = {"P": 0.0, "S": 0.0}
    for variant in VARIANTS.values():
        reach[variant.phase] = max(reach[variant.phase], variant.seconds_after)
    return max(reach["P"], np.nan_to_num(s_p + reach["S"])) + MARGIN


def own_columns(table, synonyms):
    """Give a table's columns our names: the first of each list (our name -> others) that it has."""
    names = {str(name).strip().lower(): name for name in reversed(list(table))}
    ours = {name: str(name).strip() for name in table}
    for own, others in synonyms.items():
        found = [names[name.lower()] for name in others if name.lower() in names]
        if found:
            ours[found[0]] = own
    return table.rename(columns=ours)


def match_halves(table, keys, has_p, has_s):
    """Match rows with P alone and those of their keys with S alone: Index of P, of S rows."""
    halves = table[keys].assign(has_p=has_p)[has_p != has_s]
    alone = halves[~halves.duplicated(keep=False)]
    both = alone[alone.duplicated(keys, keep=False)].sort_values(keys)
    return both.index[both["has_p"]], both.index[~both["has_p"]]


def write_layout(output, offers, spans, columns=(), beside=None, **attributes):
    """Write offers in the waveform layout, in a stream: all is there when all is whole.

    output: str or Path, folder; import_rejected.csv is written there too
    offers: iterable of Offer, of which the first usable one of a name has it
    spans: Periods, or None where the source says each trace's class
    columns: sequence of str, of the tables beyond waveforms.COLUMNS
    beside: function (folder), or None; what it writes there takes its place together with the rest
    attributes: str or number, of the HDF5 files; unit defaults to "counts"
    """
    header = {name: _column(name) for name in (*waveforms.COLUMNS, *columns)}
    stated = waveforms.STANDARD_ATTRIBUTES | (spans.attributes() if spans else {}) | attributes
    rejected, written, networks = [], set(), {}
    with folder_written_whole(output) as folder:
        judged = _judge(offers, spans)
        for station, group in groupby(judged, lambda one: str(one[0].row["receiver_name"])):
            with ExitStack() as stack:
                files = _open_station(stack, folder, station, header, stated)
                for offer, label, reason in group:
                    name = offer.row["trace_name"]
                    if not reason and name in written:
                        reason = "duplicate name"
                    if reason:
                        rejected.append([name, station, label, reason])
                        continue
                    network = str(offer.row.get("network_code"))
                    first = networks.setdefault(station, network)
                    if network != first and network.isalnum() and first.isalnum():
                        raise ForeshapError(
                            f"{station} is a station of the networks {first} and {network}, and "
                            "files are named after it alone: give the picks, the recordings or "
                            'stations=["IV.NRCA"] of one, and import the others elsewhere.'
                        )
                    file, table = files[SIDES[label]]
                    waveforms.write_trace(file, name, offer.samples)
                    table.writerow(offer.row)
                    written.add(name)
        if not written and not rejected:
            raise ForeshapError(
                f"Nothing is offered for {output}: check the source and the selection."
            )
        _check_alone(output, folder)
        report = pd.DataFrame(rejected, columns=list(waveforms.REJECTED_COLUMNS))
        names = report["trace_name"]
        number = 1 + report.groupby("trace_name").cumcount() + names.isin(written)
        again = names.astype(str) + " (" + number.astype(str) + ")"
        report["trace_name"] = names.where(number == 1, again)
        report.to_csv(folder / waveforms.REJECTED_FILE, index=False)
        if beside:
            beside(folder)
    return Imported(len(written), report)


def _check_alone(output, folder):
    """Raise ForeshapError where new files would mix with others, or replace those of no import."""
    is_import = Path(output, waveforms.REJECTED_FILE).exists()
    for path in sorted(Path(output).glob("*.hdf5")):
        is_replaced = is_import and (folder / path.name).exists()
        if path.stem.endswith(("_pre", "_post")) and not is_replaced:
            raise ForeshapError(
                f"{output} holds {path.name} of an archive or of another import: use another "
                "folder, or move it away."
            )


def _judge(offers, spans):
    """Yield (Offer, label, reason): label -1 where a trace belongs to no class."""
    offers = iter(offers)
    while batch := list(islice(offers, TOGETHER)):
        starts = pd.DataFrame({"trace_start_time": [o.row["trace_start_time"] for o in batch]})
        times = waveforms.event_times(starts)
        labels, outside = [None] * len(batch), [""] * len(batch)
        if spans:
            labels, outside = classes(times, spans)
        for offer, time, label, unfit in zip(batch, times, labels, outside):
            if label is None or (pd.isna(time) and offer.label is not None):
                label = offer.label
            reason = offer.reason or unfit
            name = str(offer.row["trace_name"])
            has_station = re.fullmatch(STATION, str(offer.row["receiver_name"]))
            if not has_station or not re.fullmatch("[^/\x00]+", name) or name == ".":
                reason = "name that can't be used"
            if not reason and offer.label not in (None, label):
                reason = "its file and its time disagree on the class"
            assert not reason or reason in waveforms.REASONS, reason
            yield offer, -1 if unfit or label is None else int(label), reason


def _column(name):
    """Name a column so that tensor files can have it: "channel", say, is one of their axes."""
    name = name.replace("/", "_")
    taken = name in ("label", "side", "reason", "station", "trace")
    return name if can_be_column(name) and not taken else f"{name}_given"


def _open_station(stack, folder, station, header, attributes):
    """Open a station's files: side -> (HDF5 file, csv writer); none where its code is no name."""
    files = {}
    for side in SIDES if re.fullmatch(STATION, station) else ():
        path = waveforms.waveform_file(folder, station, side)
        is_new = not path.exists()
        file = stack.enter_context(create_hdf5(path, "w" if is_new else "r+"))
        file.attrs.update(attributes)
        place = path.with_name(f"{path.stem}_attributes.csv")
        text = stack.enter_context(open(place, "a", newline="", encoding="utf-8"))
        table = csv.DictWriter(text, header, restval="", extrasaction="ignore")
        if is_new:
            table.writerow(header)
        files[side] = file, table
    return files
