"""One instrument a station: a change of instrument is no fault."""

from fnmatch import fnmatch
from numbers import Real

import numpy as np

from ..files import ForeshapError
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE


def nanoseconds(times):
    """UTC times (Series) as int64 array (N,) [ns since 1970]; the missing ones are left out."""
    return times.dropna().astype("datetime64[ns, UTC]").astype("int64").to_numpy()


def shared_networks(pairs, index):
    """Picks and recordings with network codes; a blank one is taken from the same station in the other.

    pairs: DataFrame of read_picks()
    index: DataFrame of index_recordings()

    returns: both DataFrames
    raises: ForeshapError where a blank one could be several
    """
    return _with_networks(pairs, index), _with_networks(index, pairs)


def _with_networks(table, other):
    """The table whose blank network codes are those of the same station in the other table."""
    known = other[other["network"] != ""].groupby("station")["network"].unique()
    blank = (table["network"] == "") & table["station"].isin(known.index)
    for station in table.loc[blank, "station"].unique():
        if len(known[station]) > 1:
            raise ForeshapError(
                f"Station {station} is in the networks {', '.join(known[station])}, and picks or recordings name "
                "none: write the network there, or give one network's files."
            )
    taken = table.loc[blank, "station"].map(lambda station: known[station][0])
    return table.assign(network=table["network"].where(~blank, taken.reindex(table.index)))


def one_instrument(index, pairs, pattern):
    """The rows of one instrument a station: one that covers a pick, seismometers first, then the one that covers most
    picks, then the rate nearest to 100 Hz.

    index: DataFrame of index_recordings()
    pairs: DataFrame of read_picks()
    pattern: str, of the instruments that may be used, like "00.HH" or "*.HH"

    returns: dict, (network, station) -> DataFrame
    raises: ForeshapError where there is none
    """
    matching, chosen = index[[fnmatch(name, pattern) for name in index["instrument"]]], {}
    if matching.empty:
        names = ", ".join(sorted(index["instrument"].unique()))
        raise ForeshapError(
            f"No recording is of an instrument {pattern}: choose from {names}, or like *.HH."
        )
    for (network, station), recordings in matching.groupby(["network", "station"]):
        times = nanoseconds(
            pairs.loc[(pairs["network"] == network) & (pairs["station"] == station), "p_time"]
        )
        groups = [group for _, group in recordings.groupby("instrument")]
        chosen[network, station] = max(groups, key=lambda group: _preference(group, times))
    return chosen


def check_choice(instrument, **seconds):
    """Raise ForeshapError where the pattern is no text, or a length [s] of those named no number from 0 on."""
    if not isinstance(instrument, str):
        raise ForeshapError(
            f"instrument = {instrument!r} is no pattern: give a text like '00.HH' or '*.HH'."
        )
    for name, length in seconds.items():
        if not (isinstance(length, Real) and 0 <= length < np.inf):
            raise ForeshapError(
                f"{name} = {length!r} is no length: give a number of seconds, at least 0."
            )


def check_networks(stations, choice):
    """Raise ForeshapError where stations of two networks share a code, and so their files' names.

    stations: iterable of (network, station)
    choice: str, how to choose one
    """
    networks = {}
    for network, station in dict.fromkeys(stations):
        networks.setdefault(station, []).append(network)
    if shared := [station for station, codes in networks.items() if len(codes) > 1]:
        raise ForeshapError(
            f"{shared[0]} is a station of the networks {' and '.join(networks[shared[0]])}, and files are named after "
            f"the station alone: {choice}, and import the others into another folder."
        )


def _preference(recordings, times):
    """Sorts instruments by the rule of one_instrument()."""
    recorded = np.ones(len(times), bool)
    for component in COMPONENTS:
        starts, ends = stretches(recordings[recordings["component"] == component])
        place = np.searchsorted(starts, times, side="right") - 1
        recorded &= (place >= 0) & (times <= np.append(ends, -1)[place])
    covered, first = recorded.sum(), recordings.iloc[0]
    return (
        covered > 0,
        first["instrument"].endswith("H"),
        covered,
        -abs(first["rate"] - SAMPLING_RATE),
    )


def stretches(recordings):
    """When something was recorded, overlaps and gaps under two samples closed.

    recordings: DataFrame of index_recordings()

    returns: starts and ends, int arrays (N,) [ns], sorted
    """
    ordered = recordings.sort_values("start")
    starts, ends = ordered["start"].to_numpy(), np.maximum.accumulate(ordered["end"].to_numpy())
    if not len(starts):
        return starts, ends
    new = np.flatnonzero(starts[1:] > ends[:-1] + 2e9 / ordered["rate"].min()) + 1
    return starts[np.append(0, new)], ends[np.append(new - 1, len(ends) - 1)]
