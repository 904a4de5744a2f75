"""The mainshock and the spans around it: who is a foreshock, who an aftershock, who is left out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..files import ForeshapError

LEFT_OUT = "inside the window left out around the mainshock"
OUTSIDE = "outside the span of the study"


@dataclass(frozen=True)
class Periods:
    """The mainshock's time, the span of the study, and a window around the mainshock that is left out.

    mainshock: Timestamp [UTC]; P before it makes a foreshock
    start, end: Timestamp [UTC] or None, first and last P that count; None: no limit
    left_out: (Timestamp, Timestamp) [UTC] or None, P from the first to the last doesn't count
    """

    mainshock: pd.Timestamp
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    left_out: tuple | None = None

    def attributes(self):
        """What a file keeps of them, dict of str."""
        span = [str(time) for time in (self.left_out or ())]
        given = {
            "mainshock": self.mainshock,
            "start": self.start,
            "end": self.end,
            "left_out": " to ".join(span),
        }
        return {name: str(value) for name, value in given.items() if value}


def periods(mainshock, start=None, end=None, left_out=None):
    """Periods from times given as ISO 8601 text, date, datetime or ObsPy's UTCDateTime; a date is its midnight.

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
    if left_out and not (
        isinstance(left_out, (tuple, list)) and len(left_out) == 2 and None not in left_out
    ):
        raise ForeshapError(
            f"left_out = {left_out!r} is no pair of times: give (from, to), or leave it out."
        )
    first, last = utc(start), utc(end)
    found = Periods(
        utc(mainshock), first, last, tuple(utc(time) for time in left_out) if left_out else None
    )
    order = [
        time for time in (first, *(found.left_out or (found.mainshock,)), last) if time is not None
    ]
    if (
        order != sorted(order)
        or found.left_out
        and not found.left_out[0] <= found.mainshock <= found.left_out[1]
    ):
        raise ForeshapError(
            f"The periods {found.attributes()} are not in order: start, begin of left_out, mainshock, its end, end."
        )
    return found


def utc(time):
    """A time as periods() takes it, as pandas.Timestamp [UTC]; None as None; ForeshapError for anything else."""
    if time is None:
        return None
    if pd.isna(found := iso_times(pd.Series([str(time)]))[0]):
        raise ForeshapError(f"'{time}' is no time: give it like 2016-10-30T06:40:17.")
    return found


def iso_times(texts):
    """Times (Series) of datetime64[ns, UTC] from ISO 8601 texts; NaT for less than a date, or not of 1900 to 2200."""
    texts = texts.where(texts.astype(str).str.match(r"\s*\d{4}(\d{4}|\D\d\d?\D\d)"))
    times = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
    sane = times.between(pd.Timestamp("1900", tz="UTC"), pd.Timestamp("2200", tz="UTC"))
    return times.where(sane).astype("datetime64[ns, UTC]")


def classes(times, spans):
    """Class of each event by the time of its P arrival: the one place where it is decided.

    times: Series of datetimes (N,) [UTC]
    spans: Periods

    returns: labels int8 array (N,), 0 foreshock, 1 aftershock; reasons, object array (N,), why an event counts in
        neither class, "" where it counts
    """
    times = pd.Series(times)
    left_out = times.between(*spans.left_out) if spans.left_out else np.zeros(len(times), bool)
    outside = (times < spans.start) if spans.start is not None else np.zeros(len(times), bool)
    outside |= (times > spans.end) if spans.end is not None else False
    reasons = np.select(
        [times.isna(), outside, left_out], ["start time missing", OUTSIDE, LEFT_OUT], default=""
    )
    return (times >= spans.mainshock).to_numpy().astype(np.int8), reasons.astype(object)


NORCIA = periods(
    "2016-10-30T06:40:17", "2016-08-20", "2016-12-20", ("2016-10-26", "2016-11-01")
)  # UTC, the study's own
