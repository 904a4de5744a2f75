"""The waveform layout from what a source offers: a trace is written, or rejected with a reason."""

import csv
import re
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..files import ForeshapError, folder_written_whole
from ..hdf5 import create_hdf5
from ..preprocessing.periods import classes
from ..preprocessing.tensor_file import can_be_column
from ..preprocessing.variants import SIDES
from ..preprocessing.waveforms import (
    COLUMNS,
    REASONS,
    REJECTED_COLUMNS,
    REJECTED_FILE,
    STANDARD_ATTRIBUTES,
    event_times,
    waveform_file,
    write_trace,
)

TOGETHER = 32  # traces in memory at a time
STATION = "[A-Za-z0-9_-]+"  # a code that can name a file


class Offer(NamedTuple):
    """One trace that a source has.

    row: dict, columns of the table; at least trace_name, receiver_name (station), trace_start_time
    samples: array (3, samples), components E, N, Z, P at 5 s; None where there is a reason
    reason: str of waveforms.REASONS, why it can't be used; "" where it can
    label: 0 or 1 where the source itself says the class, else None
    """

    row: dict
    samples: np.ndarray | None
    reason: str = ""
    label: int | None = None


class Imported(NamedTuple):
    """How many traces were written, and the others (trace_name, station, label, reason)."""

    written: int
    rejected: pd.DataFrame


def trace_name(station, network, source_id):
    """Name of a trace in the layout, str."""
    return f"{station}.{network}.{source_id}_EV".replace("/", "_")


def write_layout(output, offers, spans, columns=(), beside=None, **attributes):
    """Write offers in the waveform layout, in a stream; files take their names when all are whole.

    The first usable trace of a name has it; the others are rejected as "<name> (2)" and so on.

    output: str or Path, folder; import_rejected.csv is written there too
    offers: iterable of Offer; those of one station together are fastest
    spans: Periods, or None where the source says each trace's class
    columns: sequence of str, columns of the tables beyond waveforms.COLUMNS
    beside: function (folder), or None; what it writes there takes its place together with the rest
    attributes: str or number, of the HDF5 files; unit defaults to "counts"

    returns: Imported
    raises: ForeshapError where nothing is offered, or the folder holds other stations of an earlier
        import, or waveforms that no import wrote
    """
    header = {name: _column(name) for name in (*COLUMNS, *columns)}
    attributes = STANDARD_ATTRIBUTES | (spans.attributes() if spans else {}) | attributes
    rejected, written = [], Counter()
    with folder_written_whole(output) as folder:
        judged = _judge(offers, spans)
        for station, group in groupby(judged, lambda one: str(one[0].row["receiver_name"])):
            with _open_station(folder, station, header, attributes) as append:
                for offer, label, reason in group:
                    name = offer.row["trace_name"]
                    if reason:
                        rejected.append([name, station, label, reason])
                    else:
                        append(SIDES[label], offer)
                        written[name] += 1
        if not written and not rejected:
            raise ForeshapError(
                f"Nothing is offered for {output}: check the source and the selection."
            )
        _check_alone(output, folder)
        count = written.copy()
        for row in rejected:
            name = row[0]
            count[name] += 1
            if count[name] > 1:
                row[0] = f"{name} ({count[name]})"
        report = pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS))
        report.to_csv(folder / REJECTED_FILE, index=False)
        if beside:
            beside(folder)
    return Imported(len(written), report)


def _check_alone(output, folder):
    """Raise ForeshapError where new files would mix with others, or replace those of no import."""
    is_import = Path(output, REJECTED_FILE).exists()
    for path in sorted(Path(output).glob("*.hdf5")):
        is_replaced = is_import and (folder / path.name).exists()
        if path.stem.endswith(("_pre", "_post")) and not is_replaced:
            raise ForeshapError(
                f"{output} holds {path.name} of an archive or of another import: use another "
                "folder, or move it away."
            )


def _judge(offers, spans):
    """Yield (Offer, label, reason): label -1 where a trace belongs to no class."""
    offers, taken = iter(offers), set()
    while batch := list(islice(offers, TOGETHER)):
        starts = pd.DataFrame({"trace_start_time": [o.row["trace_start_time"] for o in batch]})
        times = event_times(starts)
        labels, outside = [None] * len(batch), [""] * len(batch)
        if spans:
            labels, outside = classes(times, spans)
        for offer, time, label, unfit in zip(batch, times, labels, outside):
            if label is None or (pd.isna(time) and offer.label is not None):
                label = offer.label
            reason = _unusable(offer) or offer.reason or unfit
            if not reason and offer.label not in (None, label):
                reason = "its file and its time disagree on the class"
            if not reason and offer.row["trace_name"] in taken:
                reason = "duplicate name"
            assert not reason or reason in REASONS, reason
            if not reason:
                taken.add(offer.row["trace_name"])
            yield offer, -1 if unfit or label is None else int(label), reason


def _column(name):
    """Name a column so that tensor files can have it: "channel", say, is one of their axes."""
    name = name.replace("/", "_")
    taken = name in ("label", "side", "reason", "station", "trace")
    return name if can_be_column(name) and not taken else f"{name}_given"


def _unusable(offer):
    """Why a trace's names can't be used, "" where they can."""
    station, name = str(offer.row["receiver_name"]), str(offer.row["trace_name"])
    if re.fullmatch(STATION, station) and re.fullmatch("[^/\x00]+", name) and name != ".":
        return ""
    return "name that can't be used"


@contextmanager
def _open_station(folder, station, header, attributes):
    """Open a station's two files and tables; yields a function (period, Offer) that appends."""
    if not re.fullmatch(STATION, station):
        yield None  # all its traces are rejected
        return
    with ExitStack() as stack:
        files, tables = {}, {}
        for period in SIDES:
            path = waveform_file(folder, station, period)
            mode = "r+" if path.exists() else "w"
            files[period] = stack.enter_context(create_hdf5(path, mode))
            files[period].attrs.update(attributes)
            table = path.with_name(f"{path.stem}_attributes.csv")
            is_new = not table.exists()
            text = stack.enter_context(open(table, "a", newline="", encoding="utf-8"))
            tables[period] = csv.DictWriter(text, header, restval="", extrasaction="ignore")
            if is_new:
                tables[period].writerow(header)

        def append(period, offer):
            write_trace(files[period], offer.row["trace_name"], np.ascontiguousarray(offer.samples))
            tables[period].writerow(offer.row)

        yield append
