"""One instrument a station: a change of instrument is no fault."""

from fnmatch import fnmatch
from numbers import Real

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE
from .recordings import LEAST_RATE


def nanoseconds(times):
    """Turn UTC times (Series) into an int64 array [ns since 1970]; missing ones are left out."""
    return times.dropna().astype("datetime64[ns, UTC]").astype("int64").to_numpy()


def fill_networks(table, other):
    """Fill in blank network codes of a table (DataFrame) from the same stations in another one.

    raises: ForeshapError where a blank one could be several
    """
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
    networks = [
        table[table["network"] != ""].groupby("station")["network"] for table in (pairs, index)
    ]
    unique = pd.concat([group.agg(["nunique", "first"]) for group in networks], axis=1)
    unique.columns = ["picks", "theirs", "recordings", "ours"]
    one = unique[(unique["picks"] == 1) & (unique["recordings"] == 1)]
    ours = pairs["station"].map(one.loc[one["theirs"] != one["ours"], "ours"])
    if ours.isna().all():
        return pairs
    return pairs.assign(
        network=ours.fillna(pairs["network"]),
        pick_network_code=pairs["network"].where(ours.notna()),
    )


def one_instrument(index, pairs, pattern):
    """Choose one instrument a station.

    One that records at 40 Hz or more comes first, then one that covers a pick, then seismometers,
    then the one that covers most picks, then the rate nearest to 100 Hz.

    index, pairs: DataFrame of index_recordings(), of read_picks()
    pattern: str, of the instruments that may be used, like "00.HH" or "*.HH"

    returns: dict, (network, station) -> DataFrame, rows of the index
    raises: ForeshapError where there is none
    """
    matching = index[[fnmatch(name, pattern) for name in index["instrument"]]]
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


def check_choice(instrument, **seconds):
    """Raise ForeshapError where the pattern is no text, or a length [s] no number from 0 on."""
    if not isinstance(instrument, str):
        raise ForeshapError(f"instrument = {instrument!r} is no pattern: give one like '*.HH'.")
    for name, length in seconds.items():
        if not (isinstance(length, Real) and 0 <= length < np.inf):
            raise ForeshapError(f"{name} = {length!r} is no length: give seconds, at least 0.")


def check_networks(stations, choice):
    """Raise ForeshapError where stations (network, station) share a code, and so a file name.

    choice: str, what the sentence says on how to choose one
    """
    networks = {}
    for network, station in stations:
        first = networks.setdefault(station, network)
        if network != first:
            raise ForeshapError(
                f"{station} is a station of the networks {first} and {network}, and files are named"
                f" after it alone: {choice}, and import the others into another folder."
            )


def _preference(recordings, times):
    """Sort key of the rule of one_instrument()."""
    recorded = np.ones(len(times), bool)
    for component in COMPONENTS:
        starts, ends = stretches(recordings[recordings["component"] == component])
        place = np.searchsorted(starts, times, side="right") - 1
        recorded &= (place >= 0) & (times <= np.append(ends, -1)[place])
    first = recordings.iloc[0]
    is_seismometer = first["instrument"].endswith("H")
    covered = recorded.sum()
    is_fast = round(recordings["rate"].median()) >= LEAST_RATE
    return is_fast, covered > 0, is_seismometer, covered, -abs(first["rate"] - SAMPLING_RATE)


def stretches(recordings):
    """Starts and ends [ns], sorted, of what was recorded; gaps under two samples are closed."""
    ordered = recordings.sort_values("start")
    starts = ordered["start"].to_numpy()
    ends = np.maximum.accumulate(ordered["end"].to_numpy())
    begins = np.ones(len(starts), bool)
    begins[1:] = starts[1:] > ends[:-1] + 2e9 / ordered["rate"].min()
    return starts[begins], ends[np.roll(begins, -1)]
