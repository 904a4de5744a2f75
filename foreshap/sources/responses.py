"""StationXML: ground velocity instead of counts, true directions, and where a station stands."""

import warnings

import numpy as np
import obspy
import pandas as pd
from obspy.signal.rotate import rotate2zne

from ..files import ForeshapError
from .safe_xml import open_xml

PADDING = 30.0  # s on each side of a window that the deconvolution sees where they were recorded
TAPER = 10.0  # s at each end, all outside the window: what must be recorded there
CORNERS = (
    0.1,
    0.2,
    0.8,
    0.95,
)  # of the band: the lower two in Hz, the upper two as part of the Nyquist frequency
WATER_LEVEL = 60.0  # dB below the response's maximum


class Unusable(ForeshapError):
    """Why one trace can't be used: its text is one of waveforms.REASONS."""


def read_inventory(path):
    """StationXML as ObsPy's Inventory.

    path: str or Path

    returns: obspy.Inventory
    raises: ForeshapError where the file is missing, no StationXML, or has a DOCTYPE
    """
    content = open_xml(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return obspy.read_inventory(content, format="STATIONXML")
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise ForeshapError(
            f"{path} can't be read as StationXML ({error}): download it again."
        ) from error


def station_places(inventory):
    """Where the stations of an Inventory stand.

    inventory: obspy.Inventory

    returns: DataFrame network, station, receiver_latitude, receiver_longitude [degree], receiver_elevation_m [m]
    """
    names = [
        "network",
        "station",
        "receiver_latitude",
        "receiver_longitude",
        "receiver_elevation_m",
    ]
    rows = [
        (net.code, s.code, s.latitude, s.longitude, s.elevation) for net in inventory for s in net
    ]
    return pd.DataFrame(rows, columns=names).drop_duplicates(names[:2], ignore_index=True)


def ground_velocity(samples, rate, seed_id, start, inventory):
    """Counts to ground velocity by deconvolution of the response, in the band of CORNERS.

    The mean is removed and TAPER at each end tapered before; a water level of 60 dB bounds the inverse.

    samples: array (n,) [counts]
    rate: float [Hz]
    seed_id: str, network.station.location.channel
    start: UTCDateTime of the first sample
    inventory: obspy.Inventory

    returns: float array (n,) [nm/s]
    raises: Unusable where the inventory has no response for this channel and time
    """
    header = dict(zip(("network", "station", "location", "channel"), seed_id.split(".")))
    trace = obspy.Trace(samples.astype(float), header | {"starttime": start, "sampling_rate": rate})
    band = (*CORNERS[:2], *(part * rate / 2 for part in CORNERS[2:]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace.detrend("demean").taper(None, max_length=TAPER)
            trace.remove_response(
                inventory, "VEL", WATER_LEVEL, pre_filt=band, zero_mean=False, taper=False
            )  # fmt: skip
    except Exception as error:  # ObsPy and evalresp raise many kinds for incomplete responses
        raise Unusable("response can't be removed") from error
    if not np.isfinite(trace.data).all():
        raise Unusable("response can't be removed")
    return trace.data * 1e9


def to_east_north_up(samples, seed_ids, start, inventory):
    """Components along true east, north and up by the azimuths and dips of the inventory.

    samples: array (3, n), of the channels seed_ids
    seed_ids: three str, network.station.location.channel
    start: UTCDateTime
    inventory: obspy.Inventory

    returns: array (3, n), E, N, Z
    raises: Unusable where the inventory has no orientation for a channel and time, or they lie in one plane
    """
    try:
        known = [inventory.get_orientation(seed_id, start) for seed_id in seed_ids]
        turned = rotate2zne(
            *(x for s, o in zip(samples, known) for x in (s, o["azimuth"], o["dip"]))
        )
    except Exception as error:  # ObsPy raises no narrower one
        raise Unusable("response can't be removed") from error
    return np.stack(turned[::-1])  # Z, N, E
