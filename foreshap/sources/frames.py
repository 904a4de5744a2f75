"""The pickled data frames of the classification benchmark become the waveform layout."""

import re
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import NORCIA, periods
from ..preprocessing.variants import COMPONENTS
from ..preprocessing.waveforms import COLUMNS, unfit
from .pickles import read_frame
from .writer import Offer, trace_name, write_layout

MISSING = (
    "None",
    "NaT",
    "nan",
    "NaN",
)  # texts that stand for no value where the tables are read again


def from_frames(frames, output, mainshock=NORCIA):
    """Write the classification benchmark's pickled frames (doi:10.5281/zenodo.12806081) in the waveform layout.

    One frame at a time is in memory, several hundred MB each: a pickle can't be read in a stream.

    frames: str or Path, folder of dataframe_{pre,visso,post}_<STATION>.csv, pickles in spite of their name; or a
        sequence of such files. Columns E_channel, N_channel, Z_channel (samples [counts], 100 Hz, P at 5 s), those of
        waveforms.COLUMNS that there are, trace_name or source_id at least, and label (one-hot, foreshock first)
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods; default: those of the Norcia study, which leave out 26 to 31 October
        and with them the frame of the Visso earthquake. None: the files' names say the class, else the label, and of
        that frame nothing counts

    returns: Imported
    raises: ForeshapError where there is no frame, or one is refused (see read_frame) or lacks a column
    """
    single = isinstance(frames, (str, Path))
    paths = (
        sorted(Path(frames).glob("dataframe_*.csv")) if single else [Path(path) for path in frames]
    )
    paths = [path for path in paths if not single or _period(path)]
    if not paths:
        raise ForeshapError(
            f"{frames} holds no dataframe_pre_<STATION>.csv: give the frames' folder, foreshap.download() fetches it."
        )
    spans = None if mainshock is None else periods(mainshock)
    offers = (offer for path in paths for offer in _frame_offers(path, spans))
    return write_layout(output, offers, spans, source_doi="10.5281/zenodo.12806081")


def _period(path):
    """ "pre", "visso" or "post" as a file's name says, else ""."""
    found = re.fullmatch("dataframe_(pre|visso|post)_([A-Za-z0-9]+)", Path(path).stem)
    return found[1] if found else ""


def _frame_offers(path, spans):
    """Yield an Offer of each row of a frame."""
    frame, channels = read_frame(path), [f"{component}_channel" for component in COMPONENTS]
    missing = [name for name in channels if name not in frame]
    if missing or not {"trace_name", "source_id"} & set(frame):
        raise ForeshapError(
            f"{path} lacks the columns {', '.join(missing or ['trace_name or source_id'])}: needed."
        )
    known, station = [name for name in COLUMNS if name in frame], path.stem.split("_")[-1]
    for place in tqdm(range(len(frame)), desc=path.name, unit="trace"):
        cells = {
            name: frame[name].iloc[place] for name in (*known, *channels, "label") if name in frame
        }
        row = {"receiver_name": station, "trace_start_time": ""} | {
            name: _text(cells[name]) for name in known
        }
        row.setdefault(
            "trace_name",
            trace_name(row["receiver_name"], row.get("network_code", ""), row.get("source_id")),
        )
        samples, reason = _samples([cells[name] for name in channels])
        label = {"pre": 0, "post": 1}.get(
            _period(path), None if _period(path) else _one_hot(cells.get("label"))
        )
        if spans is None and label is None:
            reason = reason or "inside the window left out around the mainshock"
        yield Offer(row, samples, reason, label)


def _text(cell):
    """A cell as a table holds it: "" where it is missing or no single value, and what UTF-8 lacks by its number."""
    if isinstance(cell, (list, tuple, dict, np.ndarray)) or (
        isinstance(cell, int) and abs(cell) >= 2**63
    ):
        return ""
    text = str(cell).encode("utf-8", "backslashreplace").decode()
    return "" if text in MISSING else text


def _one_hot(label):
    """0 or 1 where a label says so in two numbers, else None."""
    try:
        first, second = (float(number) for number in label)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if first == second else int(second > first)


def _samples(cells):
    """Samples (3, n) of three cells, "" or None and the reason why not."""
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
    reason = reason or ("" if np.isfinite(samples).all() else "samples not finite")
    return (None if reason else samples), reason
