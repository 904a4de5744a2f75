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
    """Windows that hold no event, as pairs of nominal times that can be cut like those of events.

    No pick of the station, no predicted arrival, and no origin time in the catalogue lies from QUIET_BEFORE before a
    window to QUIET_AFTER after it. As many a station and class as it has events there, or all that there are, spread
    evenly over those possible.

    pairs: DataFrame of read_picks(pickless=True)
    chosen: dict, (network, station) -> DataFrame of index_recordings(), one instrument
    spans: Periods
    seconds: float, length of a window [s]

    returns: DataFrame event_id, network, station, p_time, s_time
    """
    found = []
    for (network, station), recordings in chosen.items():
        own = pairs[(pairs["network"] == network) & (pairs["station"] == station)]
        starts = _quiet_starts(recordings, _busy(own, pairs), round(seconds * 1e9))
        p_time = pd.Series(pd.to_datetime(starts, utc=True)) + pd.Timedelta(
            seconds=SECONDS_BEFORE_P
        )
        windows = pd.concat(
            [_spread(p_time, label, own["p_time"], spans) for label in (0, 1)], ignore_index=True
        )
        names = [f"noise{number:04d}" for number in range(1, len(windows) + 1)]
        found.append(
            pd.DataFrame(
                {"event_id": names, "network": network, "station": station, "p_time": windows}
            )
        )
    table = pd.concat(found, ignore_index=True)
    return table.assign(s_time=table["p_time"] + pd.Timedelta(seconds=NOISE_S_P))


def _busy(own, pairs):
    """Times [ns] of all that happens at a station: its picks, and the origin times of all events; sorted."""
    origins = utc_times(pairs.get("source_origin_time", pd.Series(dtype=object)))
    return np.unique(
        np.concatenate([nanoseconds(times) for times in (own["p_time"], own["s_time"], origins)])
    )


def _quiet_starts(recordings, busy, length):
    """Starts [ns] of windows one after the other, in all three components and far enough from what happens."""
    first, last = _common(
        [stretches(recordings[recordings["component"] == name]) for name in COMPONENTS]
    )
    before, after = (round(seconds * 1e9) for seconds in (QUIET_BEFORE, QUIET_AFTER))
    starts = [np.arange(begin, end - length, length) for begin, end in zip(first, last)]
    starts = np.concatenate([np.empty(0, np.int64), *starts])
    quiet = np.searchsorted(busy, starts - before) == np.searchsorted(
        busy, starts + length + after, side="right"
    )
    return starts[quiet]


def _common(spans):
    """What several (starts, ends) have in common: starts and ends [ns], sorted."""
    starts, ends = spans[0]
    for others, their_ends in spans[1:]:
        pairs = [
            (max(a, c), min(b, d))
            for a, b in zip(starts, ends)
            for c, d in zip(
                *(part[slice(*_near(others, their_ends, a, b))] for part in (others, their_ends))
            )
        ]
        starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T
    return starts, ends


def _near(starts, ends, begin, end):
    """First and last + 1 of the sorted spans that overlap one."""
    return np.searchsorted(ends, begin, side="right"), np.searchsorted(starts, end)


def _spread(p_time, label, events, spans):
    """Those of the times that fall into a class, evenly thinned to its number of events (Series of times)."""
    of_class = lambda times: times[
        (classes(times, spans)[0] == label) & (classes(times, spans)[1] == "")
    ]
    possible, wanted = of_class(p_time), len(of_class(events))
    rows = np.linspace(0, len(possible) - 1, min(wanted, len(possible))).round().astype(int)
    return possible.iloc[rows]
