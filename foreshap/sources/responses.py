"""StationXML: ground velocity instead of counts, true directions, and where a station stands."""

import warnings

import numpy as np
import obspy
import pandas as pd
from obspy.signal.rotate import rotate2zne

from ..files import ForeshapError, check_machine
from .safe_xml import open_xml

PADDING = 30.0  # s on each side of a window that the deconvolution sees where they were recorded
TAPER = 10.0  # s at each end, all outside the window: what must be recorded there
LOW_CORNERS = 0.1, 0.2  # Hz
HIGH_CORNERS = 0.8, 0.95  # parts of the Nyquist frequency
WATER_LEVEL = 60.0  # dB below the response's maximum
REMOVED = (
    "removed, corners {:g}, {:g} Hz, {:g}, {:g} of the Nyquist frequency, water level {:g} dB"
).format(*LOW_CORNERS, *HIGH_CORNERS, WATER_LEVEL)
PLACE = ["receiver_latitude", "receiver_longitude", "receiver_elevation_m"]
NOT_REMOVED = "response can't be removed"


class Unusable(ForeshapError):
    """Why one trace can't be used: its text is one of waveforms.REASONS."""


def read_inventory(path):
    """Read StationXML (str or Path) as obspy.Inventory; ForeshapError where it is none."""
    content = open_xml(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            return obspy.read_inventory(content, format="STATIONXML")
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as StationXML ({error}): download it again."
        ) from error


def station_places(inventory):
    """List the stations of an obspy.Inventory: DataFrame network, station, PLACE [degree, m]."""
    rows = []
    for network in inventory:
        for station in network:
            place = station.latitude, station.longitude, station.elevation
            rows.append((network.code, station.code, *place))
    table = pd.DataFrame(rows, columns=["network", "station", *PLACE])
    return table.drop_duplicates(["network", "station"], ignore_index=True)


def ground_velocity(trace, inventory):
    """Turn counts into ground velocity by deconvolution of the response, within the corners.

    The mean is removed and TAPER at each end tapered before.

    trace: obspy.Trace without a gap [counts]
    inventory: obspy.Inventory

    returns: obspy.Trace [nm/s]
    raises: Unusable where the inventory has no response for this channel and time
    """
    trace = trace.copy()
    trace.data = trace.data.astype(float)
    nyquist = trace.stats.sampling_rate / 2
    band = (*LOW_CORNERS, *(part * nyquist for part in HIGH_CORNERS))
    options = {"pre_filt": band, "zero_mean": False, "taper": False}
    try:
        with warnings.catch_warnings(action="ignore"):
            trace.detrend("demean").taper(None, max_length=TAPER)
            trace.remove_response(inventory, "VEL", WATER_LEVEL, **options)
    except Exception as error:  # ObsPy and evalresp raise many kinds for incomplete responses
        raise Unusable(NOT_REMOVED) from error
    if not np.isfinite(trace.data).all():
        raise Unusable(NOT_REMOVED)
    trace.data *= 1e9
    return trace


def to_east_north_up(samples, seed_ids, start, inventory):
    """Turn components to true east, north and up by the azimuths and dips of the inventory.

    samples: array (3, n), of the three channels seed_ids (str)
    start: UTCDateTime
    inventory: obspy.Inventory

    returns: array (3, n), E, N, Z
    raises: Unusable where a channel has no orientation at this time, or they lie in one plane
    """
    measured = []
    try:
        for component, seed_id in zip(samples, seed_ids):
            direction = inventory.get_orientation(seed_id, start)
            measured += [component, direction["azimuth"], direction["dip"]]
        up, north, east = rotate2zne(*measured)
    except Exception as error:  # ObsPy raises no narrower one
        raise Unusable(NOT_REMOVED) from error
    return np.stack([east, north, up])
