"""Windows without an event, from the recordings that the events come from."""

import numpy as np
import pandas as pd

from ..preprocessing.periods import classes
from ..preprocessing.variants import SECONDS_BEFORE_P
from .instruments import covered, nanoseconds, stretches
from .picks import utc_times

QUIET_BEFORE = 120.0  # s from the last pick or origin to the window
QUIET_AFTER = 5.0  # s from the window to the next pick or origin
NOISE_S_P = 1.0  # s, the S-P time that the tables give: none is meant


def noise_pairs(pairs, chosen, spans, seconds):
    """List windows (of seconds) without an event as pairs of nominal times, cut like events."""
    tables = []
    origins = utc_times(pairs.get("source_origin_time", pd.Series(dtype=object)))
    for (network, station), recordings in chosen.items():
        own = pairs[(pairs["network"] == network) & (pairs["station"] == station)]
        events = [nanoseconds(times) for times in (own["p_time"], own["s_time"], origins)]
        starts = _quiet_starts(recordings, np.sort(np.concatenate(events)), round(seconds * 1e9))
        times = pd.Series(pd.to_datetime(starts, utc=True)) + pd.Timedelta(seconds=SECONDS_BEFORE_P)
        spread = []
        for label in (0, 1):
            possible = times[_in_class(times, label, spans)]
            number = min(_in_class(own["p_time"], label, spans).sum(), len(possible))
            rows = np.linspace(0, len(possible) - 1, number).round().astype(int)
            spread.append(possible.iloc[rows])
        table = pd.DataFrame({"p_time": pd.concat(spread, ignore_index=True)})
        table["event_id"] = [f"noise{number:04d}" for number in range(1, len(table) + 1)]
        tables.append(table.assign(network=network, station=station))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(s_time=table["p_time"] + pd.Timedelta(seconds=NOISE_S_P))


def _quiet_starts(recordings, busy, length):
    """Starts [ns] of windows one after the other, in all components, far from what is busy [ns]."""
    starts = [np.empty(0, np.int64)]
    for begin, end in zip(*stretches(recordings[recordings["component"] == "Z"])):
        starts.append(np.arange(begin, end - length, length))
    starts = np.concatenate(starts)
    starts = starts[covered(recordings, starts, starts + length)]
    first = np.searchsorted(busy, starts - round(QUIET_BEFORE * 1e9))
    last = np.searchsorted(busy, starts + length + round(QUIET_AFTER * 1e9), side="right")
    return starts[first == last]


def _in_class(times, label, spans):
    """Which times (Series) count in a class, bool array."""
    labels, reasons = classes(times, spans)
    return (labels == label) & (reasons == "")
