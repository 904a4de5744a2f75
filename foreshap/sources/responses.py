"""StationXML: ground velocity instead of counts, true directions, and where a station stands."""

import warnings
from math import isclose
from pathlib import Path

import numpy as np
import obspy
import pandas as pd

from ..files import ForeshapError, check_machine
from .safe_xml import open_xml, root_name

PADDING = 30.0  # s on each side of a window that the deconvolution sees where they were recorded
TAPER = 10.0  # s at each end, all outside the window: what must be recorded there
LOW_CORNERS = 0.1, 0.2  # Hz
HIGH_CORNERS = 0.8, 0.95  # parts of the Nyquist frequency
WATER_LEVEL = 60.0  # dB below the response's maximum
LEAST_VOLUME = 0.5  # of three unit vectors: 1 at right angles, 0 in a plane
REMOVED = (
    "removed, corners {:g}, {:g} Hz, {:g}, {:g} of the Nyquist frequency, water level {:g} dB"
).format(*LOW_CORNERS, *HIGH_CORNERS, WATER_LEVEL)
PLACE = ["receiver_latitude", "receiver_longitude", "receiver_elevation_m"]
NOT_REMOVED = "response can't be removed"
FIRST, LAST = obspy.UTCDateTime(1900, 1, 1), obspy.UTCDateTime(2200, 1, 1)


class Unusable(ForeshapError):
    """Why one trace can't be used: its text is one of waveforms.REASONS."""


def read_inventory(path):
    """Read StationXML, a file or all files of a folder (str or Path), as obspy.Inventory."""
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".xml", ".sxml"))
        files = [file for file in files if root_name(file.read_bytes()) == "FDSNStationXML"]
    if not files:
        raise ForeshapError(f"{path} holds no StationXML: put files of it there.")
    inventory = obspy.Inventory()
    for file in files:
        content = open_xml(file)
        try:
            with warnings.catch_warnings(action="ignore"):
                inventory += obspy.read_inventory(content, format="STATIONXML")
        except Exception as error:  # ObsPy raises whatever its parsers raise
            check_machine(file, error)
            raise ForeshapError(
                f"{file} can't be read as StationXML ({error}): download it again."
            ) from error
    return inventory


def station_places(inventory):
    """List where the stations of an obspy.Inventory stood, one row an epoch of a place.

    returns: DataFrame network, station, PLACE [degree, m], since, until [UTC]
    """
    rows = []
    for network in inventory:
        for station in network:
            for one in [*station.channels, station]:  # a channel may move within a station's epoch
                place = one.latitude, one.longitude, one.elevation
                rows.append((network.code, station.code, *place, *map(_timestamp, _epoch(one))))
    table = pd.DataFrame(rows, columns=["network", "station", *PLACE, "since", "until"])
    return table.drop_duplicates(ignore_index=True)


def place_at(pairs, places):
    """Add to pairs (DataFrame with p_time, s_time) the place that each station had at that time."""
    times = pairs["p_time"].fillna(pairs["s_time"])
    if "source_origin_time" in pairs:
        origins = pd.to_datetime(pairs["source_origin_time"], utc=True, errors="coerce")
        times = times.fillna(origins)
    keys = ["network", "station"]
    pairs = pairs.drop(columns=PLACE, errors="ignore").assign(_row=range(len(pairs)), _time=times)
    merged = pairs.merge(places, on=keys, how="left")
    if "since" in places:
        other = (merged["_time"] < merged["since"]) | (merged["_time"] >= merged["until"])
        merged = merged.assign(_other=other).sort_values(["_row", "_other"], kind="stable")
        merged.loc[merged["_other"], PLACE] = np.nan
    return merged.drop_duplicates("_row", ignore_index=True).drop(
        columns=["_row", "_time", "_other", "since", "until"], errors="ignore"
    )


def _epoch(one):
    """Start and end (UTCDateTime) of a channel or station of an obspy.Inventory."""
    return one.start_date or FIRST, one.end_date or LAST


def _timestamp(time):
    return pd.Timestamp(min(max(time, FIRST), LAST).ns, tz="UTC")


class Responses:
    """The channels of an obspy.Inventory and their epochs.

    Epochs that follow one another with the same response, direction and place are one.
    """

    def __init__(self, inventory):
        self.epochs = {}  # seed_id -> list of [start, end, Channel]
        for network in inventory:
            for station in network:
                for channel in station:
                    names = network.code, station.code, channel.location_code, channel.code
                    epochs = self.epochs.setdefault(".".join(names), [])
                    epochs.append([*_epoch(channel), channel])
        for epochs in self.epochs.values():
            epochs.sort(key=lambda epoch: epoch[0])
            for before, after in zip(epochs[-2::-1], epochs[:0:-1]):
                if after[0] - before[1] <= 1 and _agree(before[2], after[2]):
                    before[1] = max(before[1], after[1])
                    epochs.remove(after)

    def channel(self, seed_id, time):
        """Return the start, end and Channel of the epoch of a time; raises Unusable."""
        epochs = self.epochs.get(seed_id, [])
        found = [epoch for epoch in epochs if epoch[0] <= time < epoch[1]]
        if not found:
            raise Unusable(NOT_REMOVED)
        if len(found) > 1:
            raise Unusable("epochs of the StationXML disagree")
        return found[0]


def _agree(one, other):
    """Whether two Channels have the same response, direction and place."""
    for name in ("azimuth", "dip", "latitude", "longitude", "elevation", "response"):
        if getattr(one, name) != getattr(other, name):
            return False
    return True


def ground_velocity(trace, response):
    """Turn counts into ground velocity by deconvolution of the response, within the corners.

    The mean is removed and TAPER at each end tapered before.

    trace: obspy.Trace without a gap [counts]
    response: obspy's Response, or None

    returns: obspy.Trace [nm/s]
    raises: Unusable where the response is none or incomplete
    """
    trace = trace.copy()
    trace.data = trace.data.astype(float)
    nyquist = trace.stats.sampling_rate / 2
    band = (*LOW_CORNERS, *(part * nyquist for part in HIGH_CORNERS))
    options = {"pre_filt": band, "zero_mean": False, "taper": False}
    trace.stats.response = response
    try:
        with warnings.catch_warnings(action="ignore"):
            trace.detrend("demean").taper(None, max_length=TAPER)
            trace.remove_response(None, "VEL", WATER_LEVEL, **options)
    except Exception as error:  # ObsPy and evalresp raise many kinds for incomplete responses
        raise Unusable(NOT_REMOVED) from error
    if not np.isfinite(trace.data).all():
        raise Unusable(NOT_REMOVED)
    trace.data *= 1e9
    return trace


def to_east_north_up(samples, directions):
    """Turn components to true east, north and up.

    samples: array (3, n), of three channels
    directions: sequence of 3 pairs: azimuth and dip (positive downward) [degree], as in StationXML

    returns: array (3, n), E, N, Z; the samples themselves where the channels point that way
    raises: Unusable where a direction is unknown, or they lie nearly in one plane
    """
    angles = np.radians(np.array(directions, float))
    if not np.isfinite(angles).all():
        raise Unusable(NOT_REMOVED)
    azimuth, dip = angles.T
    measured = np.stack(
        [np.sin(azimuth) * np.cos(dip), np.cos(azimuth) * np.cos(dip), -np.sin(dip)]
    )
    if abs(np.linalg.det(measured)) < LEAST_VOLUME:
        raise Unusable("components nearly in one plane")
    turn = np.linalg.inv(measured.T).round(12)
    whole = all(isclose(abs(part), round(abs(part)), abs_tol=1e-9) for part in turn.flat)
    if not whole:
        return (turn @ samples).astype(np.float32)
    order = np.abs(turn).argmax(axis=1)
    signs = np.sign(turn[range(3), order]).astype(int)
    return np.stack([samples[row] * samples.dtype.type(sign) for row, sign in zip(order, signs)])
