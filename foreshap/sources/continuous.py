"""How other formats become the waveform layout: continuous recordings with picks."""

import glob
import math
import re
import warnings
from fnmatch import fnmatch
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
from scipy.signal import firwin, resample_poly
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..periods import periods
from ..waveforms import COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from .layout import Offer, trace_name, write_layout

PICK_COLUMNS = ("event_id", "network", "station", "p_time", "s_time")
MARGIN = 1.0  # s after the last window, more than a frame
FILTER = 50  # half length of the anti-alias filter, in samples of the lower rate


def from_continuous(waveforms, picks, output, mainshock, seconds_after_p=20.0, seconds_after_s=15.0, instrument="*"):
    """Cut continuous recordings around picked events and write them in the waveform layout.

    waveforms: str or Path, folder of miniSEED files (searched with its subfolders) in counts
    picks: str or Path, QuakeML, or a .csv with event_id, network, station, p_time, s_time [UTC];
        further columns of the .csv go into the tables
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods
    seconds_after_p, seconds_after_s: float, how far each trace reaches at least [s]
    instrument: str, which location and band + instrument code to use, with wildcards ("00.HH", "*.HH");
        one is chosen a station: seismometers first, then the one that covers most picks, then the
        rate nearest to 100 Hz

    returns: Imported
    raises: ForeshapError where no recording or no pick can be read
    """
    spans, pairs, index = periods(mainshock), read_picks(picks), index_recordings(waveforms)
    cut = partial(
        _cut, index=_one_instrument(index, pairs, instrument), read=lru_cache(maxsize=6)(_read),
        seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s,
    )  # fmt: skip
    columns = [name for name in pairs if name not in PICK_COLUMNS]
    return write_layout(output, _offers(pairs, cut), spans, columns)


def read_picks(path):
    """Pairs of a P and an S pick of one event at one station.

    path: str or Path, QuakeML, or a .csv as in from_continuous

    returns: DataFrame sorted by station and P time: event_id, network, station as text, p_time, s_time as
        UTC times (NaT where missing), trace_name, and the .csv's further columns
    raises: ForeshapError where the file can't be read, lacks a column or holds no pick
    """
    try:
        if Path(path).suffix.lower() == ".csv":
            text, empty = dict.fromkeys(PICK_COLUMNS[:3], str), ["", "nan", "NaN"]  # NA is a network
            pairs = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty, encoding="utf-8-sig")
        else:
            with open(path, "rb") as file:
                pairs = pd.DataFrame(_quakeml_pairs(obspy.read_events(file)), columns=PICK_COLUMNS)
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise ForeshapError(f"{path} can't be read as picks ({error}): give QuakeML or a .csv table.") from error
    if missing := set(PICK_COLUMNS) - set(pairs):
        raise ForeshapError(f"{path} lacks the columns {', '.join(sorted(missing))}: they are needed.")
    if pairs.empty:
        raise ForeshapError(f"{path} holds no P or S pick: give picks with the phase hints P and S.")
    if not pairs["station"].str.fullmatch("[A-Za-z0-9_-]+").all():
        raise ForeshapError(f"{path} holds a station code that is no file name: use letters and digits only.")
    names = [trace_name(*parts) for parts in zip(pairs["station"], pairs["network"], pairs["event_id"])]
    to_time = partial(pd.to_datetime, utc=True, format="ISO8601", errors="coerce")
    times = {name: to_time(pairs[name]) for name in ("p_time", "s_time")}
    return pairs.assign(**times, trace_name=names).sort_values(["station", "p_time"], ignore_index=True)


def _quakeml_pairs(catalog):
    """One tuple (see PICK_COLUMNS) an event and station: the earliest P and S pick that wasn't rejected."""
    for event in catalog:
        found = {}
        for pick in sorted(event.picks, key=lambda pick: pick.time):
            phase = re.fullmatch("([PSps])[gnb]?", pick.phase_hint or "")
            if phase and pick.evaluation_status != "rejected":
                station = pick.waveform_id.network_code or "", pick.waveform_id.station_code
                found.setdefault(station, {}).setdefault(phase[1].upper(), str(pick.time))
        for station, times in found.items():
            yield re.split("[/=]", str(event.resource_id))[-1], *station, times.get("P"), times.get("S")


def index_recordings(folder):
    """What a folder of recordings holds, from the headers alone.

    folder: str or Path, searched with its subfolders; files that ObsPy doesn't know are passed over

    returns: DataFrame, one row a gapless stretch: network, station, instrument ("<location>.<band and
        instrument code>"), component, start, end [s since 1970, UTC], rate [Hz], path
    raises: ForeshapError where there is no recording with components E, N or Z
    """
    rows = []
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        for stats in (trace.stats for trace in _read(path, headonly=True)):
            if re.fullmatch("[A-Z][HLGNP][ENZ]", stats.channel):
                instrument = f"{stats.location}.{stats.channel[:2]}"
                times = stats.starttime.timestamp, stats.endtime.timestamp, stats.sampling_rate
                rows.append((stats.network, stats.station, instrument, stats.channel[2], *times, path))
    if not rows:
        raise ForeshapError(f"{folder} holds no miniSEED file with channels E, N or Z: put recordings there.")
    names = ["network", "station", "instrument", "component", "start", "end", "rate", "path"]
    return pd.DataFrame(rows, columns=names)


def _read(path, headonly=False):
    """An ObsPy Stream; empty where the file is no recording."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return obspy.read(glob.escape(str(path)), headonly=headonly)
        except TypeError:  # ObsPy: unknown format
            return obspy.Stream()
        except Exception as error:
            raise ForeshapError(f"{path} can't be read as a recording ({error})") from error


def _one_instrument(index, pairs, pattern):
    """The rows of one instrument a station, by the rule of from_continuous: a change of instrument is no fault."""
    kept = []
    seconds = (pairs["p_time"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta("1s")
    matching = index[[fnmatch(name, pattern) for name in index["instrument"]]]
    for (network, station), recordings in matching.groupby(["network", "station"]):
        picked = seconds[(pairs["network"] == network) & (pairs["station"] == station)]
        groups = [group for _, group in recordings.groupby("instrument")]
        kept.extend(max(groups, key=partial(_preference, seconds=picked)).index)
    return index.loc[kept]


def _preference(recordings, seconds):
    """Sorts instruments: any pick covered, seismometer, number of picks covered, rate near 100 Hz."""
    recording = True
    for component in COMPONENTS:
        one = recordings[recordings["component"] == component]
        time = seconds.to_numpy()[:, None]
        recording &= ((one["start"].to_numpy() <= time) & (time <= one["end"].to_numpy())).any(axis=1)
    covered, rate = np.sum(recording), recordings["rate"].iloc[0]
    return covered > 0, recordings["instrument"].iloc[0].endswith("H"), covered, -abs(rate - SAMPLING_RATE)


def _offers(pairs, cut):
    """Yield an Offer of each pair of picks."""
    for pair in tqdm(pairs.to_dict("records"), desc="cutting", unit="event"):
        start = pair["p_time"] - pd.Timedelta(seconds=SECONDS_BEFORE_P)
        row = pair | {
            "network_code": pair["network"], "receiver_name": pair["station"], "source_id": pair["event_id"],
            "trace_start_time": "" if pd.isna(start) else str(start),
            "p_s_diff_sec": (pair["s_time"] - pair["p_time"]).total_seconds(),
        }  # fmt: skip
        try:
            samples, start, receiver_type = cut(pair)
            yield Offer(row | {"trace_start_time": str(start), "receiver_type": receiver_type}, samples)
        except ForeshapError as reason:
            yield Offer(row, None, str(reason))


def _cut(pair, index, read, seconds_after_p, seconds_after_s):
    """Samples (3, n) of a pair, the first one's time, the receiver type; a ForeshapError is the reason why not."""
    for phase, reason in (("p_time", "P missing"), ("s_time", "S-P missing")):
        if pd.isna(pair[phase]):
            raise ForeshapError(reason)
    s_p = (pair["s_time"] - pair["p_time"]).total_seconds()
    if s_p <= 0:
        raise ForeshapError("S-P zero or negative")
    recordings = index[(index["network"] == pair["network"]) & (index["station"] == pair["station"])]
    if recordings.empty:
        raise ForeshapError("no waveform of this station")
    seconds = SECONDS_BEFORE_P + max(seconds_after_p, s_p + seconds_after_s) + MARGIN
    start = obspy.UTCDateTime(ns=pair["p_time"].value) - SECONDS_BEFORE_P
    traces = _components(recordings, start, start + seconds, read)
    vertical = traces["Z"].stats.starttime  # its nearest sample; the others are nearest to that
    start = vertical + round((start - vertical) * SAMPLING_RATE) / SAMPLING_RATE
    samples = [_window(traces[name], start, math.ceil(seconds * SAMPLING_RATE)) for name in COMPONENTS]
    return np.stack(samples), start, recordings["instrument"].iloc[0][-2:]


def _components(recordings, start, end, read):
    """Component -> ObsPy Trace at 100 Hz, from start to end and a little more where that was recorded."""
    spare = 1.2 * FILTER / min(SAMPLING_RATE, recordings["rate"].min())
    near = recordings[(recordings["start"] < float(end + spare)) & (recordings["end"] > float(start - spare))]
    streams = {name: obspy.Stream() for name in COMPONENTS}
    for row in near.drop_duplicates(["path", "component"]).itertuples():
        location, code = row.instrument.split(".")
        chosen = read(row.path).select(row.network, row.station, location, code + row.component)
        streams[row.component] += chosen.slice(start - spare, end + spare)
    missing = [name for name in COMPONENTS if not streams[name]]
    if missing:
        raise ForeshapError("no waveform at this time" if len(missing) == len(COMPONENTS) else "component missing")
    return {name: _at_100_hz(_joined(stream)) for name, stream in streams.items()}


def _joined(stream):
    """One Trace of a Stream's pieces, masked where there is a gap."""
    for piece in stream:
        piece.stats.sampling_rate = round(piece.stats.sampling_rate, 3)  # 99.99999 Hz is 100 Hz
    try:
        return stream.merge(method=1)[0]
    except Exception as error:  # ObsPy raises no narrower one
        raise ForeshapError("recordings can't be joined") from error


def _at_100_hz(trace):
    """A Trace at 100 Hz, shorter by the filter's edges where it had another rate."""
    rate = trace.stats.sampling_rate
    if rate == SAMPLING_RATE:
        return trace
    if np.ma.is_masked(trace.data):
        raise ForeshapError("gap inside the window")
    ratio = Fraction(round(1000 * SAMPLING_RATE), round(1000 * rate))
    slower = max(ratio.numerator, ratio.denominator)
    taps = firwin(2 * FILTER * slower + 1, 0.94 / slower, window=("kaiser", 8.6))  # -87 dB at the slower Nyquist
    mean = trace.data.mean()
    samples = mean + resample_poly(trace.data - mean, ratio.numerator, ratio.denominator, window=taps)
    edge = math.ceil(FILTER * SAMPLING_RATE / min(rate, SAMPLING_RATE))
    header = {"starttime": trace.stats.starttime + edge / SAMPLING_RATE, "sampling_rate": SAMPLING_RATE}
    return obspy.Trace(samples[edge : len(samples) - edge].astype(np.float32), header)


def _window(trace, start, length):
    """A Trace's samples, (length,), from the one nearest to start on."""
    first = round((start - trace.stats.starttime) * SAMPLING_RATE)
    if first < 0 or first + length > trace.stats.npts:
        raise ForeshapError("window runs beyond the recording")
    samples = trace.data[first : first + length]
    if np.ma.is_masked(samples):
        raise ForeshapError("gap inside the window")
    return np.ma.getdata(samples)
