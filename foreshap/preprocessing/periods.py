"""The mainshock and the spans around it: who is a foreshock, who an aftershock, who is left out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..files import ForeshapError

EARLIEST = pd.Timestamp("1900", tz="UTC")  # what lies before is a damaged number
LATEST = pd.Timestamp("2200", tz="UTC")


@dataclass(frozen=True)
class Periods:
    """The mainshock's time, the span of the study, and a window around the mainshock, in UTC."""

    mainshock: pd.Timestamp  # P before it makes a foreshock
    start: pd.Timestamp | None = None  # first P that counts; None: no limit
    end: pd.Timestamp | None = None  # last P that counts; None: no limit
    left_out: tuple | None = None  # (Timestamp, Timestamp): P between them doesn't count

    def attributes(self):
        """Describe the periods as a file's attributes, dict of str."""
        texts = {name: str(time) for name, time in vars(self).items() if time is not None}
        if self.left_out:
            texts["left_out"] = f"{self.left_out[0]} to {self.left_out[1]}"
        return texts


def periods(mainshock, start=None, end=None, left_out=None):
    """Make Periods from ISO 8601 text, date, datetime or UTCDateTime; a date is its midnight.

    mainshock: str or datetime [UTC], or Periods, which are returned as they are
    start, end: str or datetime [UTC], or None
    left_out: pair of str or datetime [UTC], or None
    returns: Periods
    raises: ForeshapError where a time is none, or the times are not in order
    """
    if isinstance(mainshock, Periods):
        return mainshock
    if mainshock is None:
        raise ForeshapError("The mainshock's time is missing: give it like 2016-10-30T06:40:17.")
    around = []
    if left_out:
        if not isinstance(left_out, (tuple, list)) or len(left_out) != 2 or None in left_out:
            raise ForeshapError(f"left_out = {left_out!r} is no pair of times: give (from, to).")
        around = [utc(time) for time in left_out]
    spans = Periods(utc(mainshock), utc(start), utc(end), tuple(around) or None)
    order = [spans.start, *around[:1], spans.mainshock, *around[1:], spans.end]
    order = [time for time in order if time is not None]
    if order != sorted(order):
        wanted = "start, begin of left_out, mainshock, its end, end"
        raise ForeshapError(f"The periods {spans.attributes()} are not in order: {wanted}.")
    return spans


def utc(time):
    """Convert a time as periods() takes it to a Timestamp [UTC]; None stays None."""
    if time is None:
        return None
    converted = iso_times(pd.Series([str(time)]))[0]
    if pd.isna(converted):
        raise ForeshapError(f"'{time}' is no time: give it like 2016-10-30T06:40:17.")
    return converted


def iso_times(texts):
    """Convert a Series of ISO 8601 texts to times [UTC]; NaT for others than of 1900 to 2200."""
    has_date = texts.astype(str).str.match(r"\s*\d{4}(\d{4}|\D\d\d?\D\d)")
    times = pd.to_datetime(texts.where(has_date), utc=True, format="ISO8601", errors="coerce")
    return times.where(times.between(EARLIEST, LATEST)).astype("datetime64[ns, UTC]")


def classes(times, spans):
    """Decide each event's class by its P time: labels int8 (N,); reasons (N,), "" where it counts.

    times: Series of datetimes (N,) [UTC]; spans: Periods
    """
    times = pd.Series(times)
    reasons = np.full(len(times), "", object)
    if spans.left_out:
        inside = times.between(*spans.left_out)
        reasons[inside] = "inside the window left out around the mainshock"
    outside = times < (spans.start or EARLIEST)
    outside |= times > (spans.end or LATEST)
    reasons[outside] = "outside the span of the study"
    reasons[times.isna()] = "start time missing"
    labels = (times >= spans.mainshock).to_numpy().astype(np.int8)
    return labels, reasons


NORCIA = periods(  # of the Norcia study itself, UTC
    "2016-10-30T06:40:17", "2016-08-20", "2016-12-20", left_out=("2016-10-26", "2016-11-01")
)
