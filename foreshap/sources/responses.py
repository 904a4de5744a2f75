"""What recorders differ in: responses, directions and places of StationXML, and sampling rates."""

import math
import warnings
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
from scipy.interpolate import CubicSpline
from scipy.signal import firwin, resample_poly

from ..files import ForeshapError, check_machine
from ..preprocessing.clipping import as_recorded, filled_gap
from ..preprocessing.variants import SAMPLING_RATE
from ..preprocessing.waveforms import MOST_SAMPLES
from .safe_xml import open_xml, root_name
from .writer import Unusable

PADDING = 30.0  # s on each side of a window that the deconvolution sees where they were recorded
TAPER = 10.0  # s at each end, all outside the window: what must be recorded there
LOW_CORNERS = 0.1, 0.2  # Hz
HIGH_CORNERS = 0.8, 0.95  # parts of the Nyquist frequency
WATER_LEVEL = 60.0  # dB below the response's maximum
LEAST_VOLUME = 0.5  # of three unit vectors: 1 at right angles, 0 in a plane
REMOVED = (
    "removed, corners {:g}, {:g} Hz, {:g}, {:g} of the Nyquist frequency, water level {:g} dB"
).format(*LOW_CORNERS, *HIGH_CORNERS, WATER_LEVEL)
LEAST_RATE = 40.0  # Hz of what is analysed at 100 Hz: slower channels have nothing above 16 Hz
FILTER = 50  # half length of the anti-alias filter, in samples of the lower rate
SLACK = 0.005 / MOST_SAMPLES  # part by which a rate may be off: 0.005 samples in the longest trace
FINE = 8  # times 100 Hz, from which a spline takes what no ratio of small numbers gives
KEYS = ["network", "station"]
PLACE = ["receiver_latitude", "receiver_longitude", "receiver_elevation_m"]
NOT_REMOVED = "response can't be removed"
FIRST, LAST = obspy.UTCDateTime(1900, 1, 1), obspy.UTCDateTime(2200, 1, 1)
TOLD = ("azimuth", "dip", "latitude", "longitude", "elevation", "response")  # by a channel's epoch


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
    """List where stations stood, an epoch a row: KEYS, PLACE [degree, m], since, until [UTC]."""
    rows = []
    for network in inventory:
        for station in network:
            for one in [*station.channels, station]:  # a channel may move within a station's epoch
                span = [min(max(time, FIRST), LAST).ns for time in _epoch(one)]
                place = one.latitude, one.longitude, one.elevation
                rows.append((network.code, station.code, *place, *span))
    table = pd.DataFrame(rows, columns=[*KEYS, *PLACE, "since", "until"]).drop_duplicates()
    return table.astype(dict.fromkeys(["since", "until"], "datetime64[ns, UTC]"))


def place_at(pairs, places):
    """Add to pairs (DataFrame with p_time, s_time) the place that each station had at that time."""
    pairs = pairs.drop(columns=PLACE, errors="ignore").reset_index(drop=True)
    times = pairs["p_time"].fillna(pairs["s_time"])
    if "source_origin_time" in pairs:
        origins = pd.to_datetime(pairs["source_origin_time"], utc=True, errors="coerce")
        times = times.fillna(origins)
    known = pairs[KEYS].assign(row=pairs.index, time=times).merge(places, on=KEYS)
    known = known[(known["since"] <= known["time"]) & (known["time"] < known["until"])]
    return pairs.join(known.drop_duplicates("row").set_index("row")[PLACE])


def _epoch(one):
    """Start and end (UTCDateTime) of a channel or station of an obspy.Inventory."""
    return one.start_date or FIRST, one.end_date or LAST


def list_epochs(inventory):
    """List the epochs of each channel of an obspy.Inventory: seed_id -> [start, end, Channel].

    Epochs that follow one another with the same response, direction and place are one.
    """
    found = {}
    for network in inventory:
        for station in network:
            for channel in station:
                names = network.code, station.code, channel.location_code, channel.code
                epochs = found.setdefault(".".join(names), [])
                epochs.append([*_epoch(channel), channel])
    for epochs in found.values():
        epochs.sort(key=lambda epoch: epoch[0])
        for before, after in zip(epochs[-2::-1], epochs[:0:-1]):
            same = all(getattr(before[2], name) == getattr(after[2], name) for name in TOLD)
            if same and after[0] - before[1] <= 1:
                before[1] = max(before[1], after[1])
                epochs.remove(after)
    return found


def epoch_at(epochs, seed_id, time):
    """Return the epoch of list_epochs() of a channel at a time; raises Unusable."""
    found = [epoch for epoch in epochs.get(seed_id, []) if epoch[0] <= time < epoch[1]]
    if not found:
        raise Unusable(NOT_REMOVED)
    if len(found) > 1:
        raise Unusable("epochs of the StationXML disagree")
    return found[0]


def tell(epoch):
    """The columns of a trace that tell its response and place, dict."""
    start, _, channel = epoch
    sensitivity = channel.response and channel.response.instrument_sensitivity
    about = dict(zip(PLACE, (channel.latitude, channel.longitude, channel.elevation)))
    about["response_start"] = str(start)
    about["response_gain"] = sensitivity and sensitivity.value
    about["response_unit"] = sensitivity and sensitivity.input_units
    return about


def ground_velocity(trace, response):
    """Turn a gapless obspy.Trace of counts into nm/s, TAPER at each end tapered."""
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
        if not np.isfinite(trace.data).all():
            raise ValueError("the response is zero within the corners")
    except Exception as error:  # ObsPy and evalresp raise many kinds for incomplete responses
        raise Unusable(NOT_REMOVED) from error
    trace.data *= 1e9
    return trace


def to_east_north_up(samples, directions):
    """Turn channels (3, n) to E, N, Z; directions: azimuth, dip [degree, downward] of each."""
    angles = np.radians(np.array(directions, float))
    if not np.isfinite(angles).all():
        raise Unusable(NOT_REMOVED)
    azimuth, dip = angles.T
    east, north = np.sin(azimuth) * np.cos(dip), np.cos(azimuth) * np.cos(dip)
    measured = np.stack([east, north, -np.sin(dip)])
    if abs(np.linalg.det(measured)) < LEAST_VOLUME:
        raise Unusable("components nearly in one plane")
    turn = np.linalg.inv(measured.T).round(12)
    is_whole = (np.abs(turn - turn.round()) < 1e-9).all()  # channels exchanged or reversed
    if is_whole:
        return (turn.round() @ samples).astype(samples.dtype)
    return (turn @ samples).astype(np.float32)


def smallest_step(components):
    """Smallest step between two values of arrays (n,) of samples, NaN where none changes."""
    steps = np.concatenate([np.diff(np.unique(samples)) for samples in components])
    return steps.min() if len(steps) else np.nan


def check_recorded(samples, rate, is_changed):
    """Say whether samples (n,) as recorded, P at 5 s, are clipped, if what follows hides that."""
    mark = as_recorded(samples, rate) if is_changed else ""
    if mark == "flat":
        raise Unusable("component flat")
    if filled_gap(samples, rate, at_edges=True):
        raise Unusable("gap inside the window")
    return mark == "clipped"


def is_100_hz(rate):
    """Whether samples at this rate [Hz] can stay as they are."""
    return abs(rate / SAMPLING_RATE - 1) <= SLACK


def resampled(samples, rate):
    """Resample (..., n) to 100 Hz: float32 (..., m), and the seconds cut off at its beginning."""
    ratio = Fraction(SAMPLING_RATE / rate).limit_denominator(1000)
    reached = float(ratio) * rate  # Hz
    fine = 1 if is_100_hz(reached) else FINE
    up, down = (ratio * fine).as_integer_ratio()
    mean = samples.mean(axis=-1, keepdims=True)
    taps = _filter(max(up, fine * down))
    result = resample_poly(samples - mean, up, down, axis=-1, window=taps)
    if fine > 1:
        times = np.arange(result.shape[-1]) / (fine * reached)
        result = CubicSpline(times, result, axis=-1)(np.arange(0, times[-1], 1 / SAMPLING_RATE))
    edge = math.ceil(FILTER * max(1, SAMPLING_RATE / rate))
    inner = (mean + result)[..., edge : result.shape[-1] - edge]
    return np.ascontiguousarray(inner, np.float32), edge / SAMPLING_RATE


@lru_cache(maxsize=8)
def _filter(slower):
    """Taps of the anti-alias filter, -87 dB at the slower Nyquist frequency."""
    return firwin(2 * FILTER * slower + 1, 0.94 / slower, window=("kaiser", 8.6))
