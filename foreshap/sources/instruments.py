"""One instrument a station: a change of instrument is no fault."""

from fnmatch import fnmatch

import numpy as np

from ..files import ForeshapError
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE
from .responses import LEAST_RATE


def nanoseconds(times):
    """Turn UTC times (Series) into an int64 array [ns since 1970]; missing ones are left out."""
    return times.dropna().astype("datetime64[ns, UTC]").astype("int64").to_numpy()


def fill_networks(table, other):
    """Fill in blank network codes of a table (DataFrame) from the same stations in another one."""
    known = other[other["network"] != ""].groupby("station")["network"].unique()
    blank = (table["network"] == "") & table["station"].isin(known.index)
    for station in table.loc[blank, "station"].unique():
        if len(known[station]) > 1:
            raise ForeshapError(
                f"Station {station} is in the networks {', '.join(known[station])}, and picks or"
                " recordings name none: write the network there, or give one network's files."
            )
    return table.assign(network=table["network"].mask(blank, table["station"].map(known.str[0])))


def take_networks(pairs, index):
    """Give picks the network of the recordings where both know a station in one network, another.

    Bulletins have network codes of their own; column pick_network_code keeps them.
    """
    networks = []
    for table in (pairs, index):
        known = table[table["network"] != ""].groupby("station")["network"]
        networks.append(known.first().where(known.nunique() == 1))
    theirs, ours = (pairs["station"].map(one) for one in networks)
    other = theirs.notna() & ours.notna() & (theirs != ours)
    if not other.any():
        return pairs
    network = pairs["network"]
    return pairs.assign(network=network.mask(other, ours), pick_network_code=network.where(other))


def one_instrument(index, pairs, pattern):
    """Choose one instrument a station: (network, station) -> its rows of the index.

    One that records at 40 Hz or more comes first, then one that covers a pick, then seismometers,
    then the one that covers most picks, then the rate nearest to 100 Hz.
    """
    matching = index[[fnmatch(name, str(pattern)) for name in index["instrument"]]]
    if matching.empty:
        names = ", ".join(sorted(index["instrument"].unique()))
        raise ForeshapError(
            f"No recording is of an instrument {pattern}: choose from {names}, or like *.HH."
        )
    chosen = {}
    for (network, station), recordings in matching.groupby(["network", "station"]):
        own = pairs[(pairs["network"] == network) & (pairs["station"] == station)]
        times = nanoseconds(own["p_time"])
        groups = [group for _, group in recordings.groupby("instrument")]
        chosen[network, station] = max(groups, key=lambda group: _preference(group, times))
    return chosen


def _preference(recordings, times):
    """Sort key of the rule of one_instrument()."""
    first, number = recordings.iloc[0], covered(recordings, times, times).sum()
    is_fast = round(recordings["rate"].median()) >= LEAST_RATE
    is_seismometer = first["instrument"].endswith("H")
    return is_fast, number > 0, is_seismometer, number, -abs(first["rate"] - SAMPLING_RATE)


def covered(recordings, begins, ends):
    """Which spans (int arrays [ns]) all three components were recorded in, bool array."""
    result = np.ones(len(begins), bool)
    for component in COMPONENTS:
        starts, stops = stretches(recordings[recordings["component"] == component])
        place = np.searchsorted(starts, begins, side="right") - 1  # -1: before all of them
        result &= ends <= np.append(stops, -1)[place]
    return result


def stretches(recordings):
    """Starts and ends [ns], sorted, of what was recorded; gaps under two samples are closed."""
    ordered = recordings.sort_values("start")
    starts = ordered["start"].to_numpy()
    ends = np.maximum.accumulate(ordered["end"].to_numpy())
    begins = np.ones(len(starts), bool)
    begins[1:] = starts[1:] > ends[:-1] + 2e9 / ordered["rate"].min()
    return starts[begins], ends[np.roll(begins, -1)]
