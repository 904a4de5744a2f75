"""What a source offers becomes the waveform layout: every trace is written, with the class of its time, or rejected."""

import csv
import re
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from ..files import ForeshapError, folder_written_whole
from ..preprocessing.periods import classes
from ..preprocessing.variants import PERIODS
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

BATCH = 32  # traces in memory together
STATION = "[A-Za-z0-9_-]+"  # a code that can name a file


class Offer(NamedTuple):
    """One trace that a source has.

    row: dict, columns of the table; trace_name, receiver_name (the station) and trace_start_time at least
    samples: array (3, samples), components E, N, Z, P at 5 s; None where there is a reason
    reason: str of waveforms.REASONS, why it can't be used; "" where it can
    label: 0 or 1 where the source itself says the class, else None
    """

    row: dict
    samples: np.ndarray | None
    reason: str = ""
    label: int | None = None


class Imported(NamedTuple):
    """How many traces were written, and a table of the others (trace_name, station, label, reason)."""

    written: int
    rejected: pd.DataFrame


def trace_name(station, network, source_id):
    """Name of a trace in the layout, str."""
    return f"{station}.{network}.{source_id}_EV".replace("/", "_")


def write_layout(output, offers, spans, columns=(), beside=None, **attributes):
    """Write what a source offers in the waveform layout, in a stream; the files take their names when all are whole.

    The first trace of a name that can be used has it; the others are rejected as "<name> (2)" and so on.

    output: str or Path, folder; import_rejected.csv is written there too
    offers: iterable of Offer; those of one station together are fastest
    spans: Periods, or None where the source says each trace's class
    columns: sequence of str, columns of the tables beyond waveforms.COLUMNS
    beside: function (folder), or None; what it writes there takes its place together with the rest
    attributes: str or number, of the HDF5 files; unit defaults to "counts"

    returns: Imported
    raises: ForeshapError where nothing is offered, or the folder holds other stations of an earlier import, or
        waveforms that no import wrote
    """
    header = list(dict.fromkeys([*COLUMNS, *columns]))
    attributes = STANDARD_ATTRIBUTES | (spans.attributes() if spans else {}) | attributes
    rejected, written = [], []
    with folder_written_whole(output) as folder:
        judged = _judged(offers, spans)
        for station, group in groupby(judged, key=lambda one: str(one[0].row["receiver_name"])):
            with _station_files(folder, station, header, attributes) as append:
                for offer, label, reason in group:
                    if reason:
                        rejected.append((offer.row["trace_name"], station, label, reason))
                    else:
                        append(PERIODS[label], offer)
                        written.append(offer.row["trace_name"])
        if not written and not rejected:
            raise ForeshapError(
                f"Nothing is offered for {output}: check the source and the selection."
            )
        _check_alone(output, folder)
        report = pd.DataFrame(_numbered(rejected, written), columns=list(REJECTED_COLUMNS))
        report.to_csv(folder / REJECTED_FILE, index=False)
        if beside:
            beside(folder)
    return Imported(len(written), report)


def _numbered(rejected, written):
    """Yield the rejected rows (trace name first), "(2)" and so on after a name that was written or rejected before."""
    count = Counter(written)
    for name, *others in rejected:
        count[name] += 1
        yield (name if count[name] == 1 else f"{name} ({count[name]})", *others)


def _check_alone(output, folder):
    """Raise ForeshapError where the output holds files that the new ones would mix with, or that no import wrote."""
    held, new = (
        {path.name for p in PERIODS for path in Path(f).glob(f"*_{p}.hdf5")}
        for f in (output, folder)
    )
    if others := sorted(held - new if (Path(output) / REJECTED_FILE).exists() else held):
        raise ForeshapError(
            f"{output} holds {others[0]} of an archive or of another import: use another folder, or move it away."
        )


def _judged(offers, spans):
    """Yield (Offer, label, reason): label -1 where a trace belongs to no class."""
    offers, taken = iter(offers), set()
    while batch := list(islice(offers, BATCH)):
        times = event_times(
            pd.DataFrame({"trace_start_time": [offer.row["trace_start_time"] for offer in batch]})
        )
        by_time = zip(*classes(times, spans)) if spans else ((None, "") for _ in batch)
        for offer, (label, unfit), unknown in zip(batch, by_time, times.isna()):
            label = (
                offer.label if label is None or unknown and offer.label is not None else int(label)
            )
            disagrees = offer.label is not None and label != offer.label
            reason = offer.reason or _unusable(offer) or unfit
            reason = reason or ("its file and its time disagree on the class" if disagrees else "")
            assert not reason or reason in REASONS, reason
            if not reason and offer.row["trace_name"] in taken:
                reason = "duplicate name"
            elif not reason:
                taken.add(offer.row["trace_name"])
            yield offer, -1 if unfit or label is None else label, reason


def _unusable(offer):
    """Why a trace's names can't be used, "" where they can."""
    station, name = str(offer.row["receiver_name"]), str(offer.row["trace_name"])
    good = re.fullmatch(STATION, station) and re.fullmatch("[^/\x00]+", name) and name != "."
    return "" if good else "name that can't be used"


@contextmanager
def _station_files(folder, station, header, attributes):
    """Open one station's two files and tables; yields a function (period, Offer) that appends to them."""
    if not re.fullmatch(STATION, station):
        yield None  # all its traces are rejected
        return
    with ExitStack() as stack:
        files, tables = {}, {}
        for period in PERIODS:
            path = waveform_file(folder, station, period)
            files[period] = stack.enter_context(h5py.File(path, "a"))
            files[period].attrs.update(attributes)
            table = path.with_name(f"{path.stem}_attributes.csv")
            new = not table.exists()
            text = stack.enter_context(open(table, "a", newline="", encoding="utf-8"))
            tables[period] = csv.DictWriter(text, header, restval="", extrasaction="ignore")
            tables[period].writeheader() if new else None

        def append(period, offer):
            write_trace(files[period], offer.row["trace_name"], np.ascontiguousarray(offer.samples))
            tables[period].writerow(offer.row)

        yield append
