"""Windows without an event, from the recordings that the events come from."""

import numpy as np
import pandas as pd

from ..preprocessing.periods import classes
from ..preprocessing.variants import COMPONENTS, SECONDS_BEFORE_P
from .instruments import nanoseconds, stretches
from .picks import utc_times

QUIET_BEFORE = 120.0  # s from the last pick or origin to the window
QUIET_AFTER = 5.0  # s from the window to the next pick or origin
NOISE_S_P = 1.0  # s, the S-P time that the tables give: none is meant


def noise_pairs(pairs, chosen, spans, seconds):
    """List windows that hold no event, as pairs of nominal times to be cut like those of events.

    No arrival at the station and no origin time lies from QUIET_BEFORE before a window to
    QUIET_AFTER after it. A station has as many in a class as events, or all that are possible.

    pairs: DataFrame of read_picks(pickless=True)
    chosen: dict, (network, station) -> DataFrame of index_recordings(), one instrument
    spans: Periods
    seconds: float, length of a window [s]

    returns: DataFrame event_id, network, station, p_time, s_time
    """
    tables = []
    origins = utc_times(pairs.get("source_origin_time", pd.Series(dtype=object)))
    for (network, station), recordings in chosen.items():
        own = pairs[(pairs["network"] == network) & (pairs["station"] == station)]
        events = [nanoseconds(times) for times in (own["p_time"], own["s_time"], origins)]
        busy = np.unique(np.concatenate(events))
        starts = _quiet_starts(recordings, busy, round(seconds * 1e9))
        possible = pd.Series(pd.to_datetime(starts, utc=True))
        possible += pd.Timedelta(seconds=SECONDS_BEFORE_P)
        spread = [_spread(possible, own["p_time"], label, spans) for label in (0, 1)]
        table = pd.DataFrame({"p_time": pd.concat(spread, ignore_index=True)})
        table["event_id"] = [f"noise{number:04d}" for number in range(1, len(table) + 1)]
        tables.append(table.assign(network=network, station=station))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(s_time=table["p_time"] + pd.Timedelta(seconds=NOISE_S_P))


def _quiet_starts(recordings, busy, length):
    """Starts [ns] of windows one after the other, in all components, far from what is busy [ns]."""
    spans = [stretches(recordings[recordings["component"] == name]) for name in COMPONENTS]
    starts = [np.empty(0, np.int64)]
    for begin, end in zip(*_common(spans)):
        starts.append(np.arange(begin, end - length, length))
    starts = np.concatenate(starts)
    first = np.searchsorted(busy, starts - round(QUIET_BEFORE * 1e9))
    last = np.searchsorted(busy, starts + length + round(QUIET_AFTER * 1e9), side="right")
    return starts[first == last]


def _common(spans):
    """Starts and ends [ns] of what several lists of disjoint spans (starts, ends) share, sorted."""
    starts = np.concatenate([starts for starts, _ in spans])
    ends = np.concatenate([ends for _, ends in spans])
    times = np.concatenate([ends, starts])
    steps = np.repeat([-1, 1], len(starts))
    order = np.argsort(times, kind="stable")  # ends first
    full = np.flatnonzero(np.cumsum(steps[order]) == len(spans))
    return times[order][full], times[order][full + 1]


def _spread(times, events, label, spans):
    """Those of the times that fall into a class, evenly thinned to its number of events."""
    possible = times[_in_class(times, label, spans)]
    number = min(_in_class(events, label, spans).sum(), len(possible))
    rows = np.linspace(0, len(possible) - 1, number).round().astype(int)
    return possible.iloc[rows]


def _in_class(times, label, spans):
    """Which times (Series) count in a class, bool array."""
    labels, reasons = classes(times, spans)
    return (labels == label) & (reasons == "")
