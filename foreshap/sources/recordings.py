"""Continuous or event recordings, miniSEED or SAC: what there is, and windows of it at 100 Hz."""

import glob
import re
import warnings
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
from obspy.io.mseed.core import _is_mseed
from obspy.io.sac.core import _is_sac

from ..files import ForeshapError, check_machine
from ..preprocessing.periods import EARLIEST, LATEST
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from . import responses
from .writer import Unusable

CHANNEL = "([A-Z][HLGNP])?[ENZ123UVW]"  # in upper case
DIRECTIONS = {"E": "E", "N": "N", "Z": "Z", "1": "N", "2": "E"}  # 1 and 2: no azimuth is known
OTHER_SETS = {  # components of one instrument: the places of their channels before they are turned
    "23Z": {"2": "N", "3": "E"},
    "123": {"1": "N", "2": "E", "3": "Z"},
    "UVW": {"U": "E", "V": "N", "W": "Z"},
    "ENU": {"U": "Z"},
}
RATES = 1.0, 10_000.0  # Hz; channels of other rates are passed over
DRIFT = 2e-5  # part by which the rates of joined pieces may differ: 0.2 samples in 100 s
UNITS = {6: "nm", 7: "nm/s", 8: "nm/s^2"}  # what SAC's idep means
FILE_NAME = r"(?i)[^.].*\.(mseed|miniseed|msd|sac|[A-Z0-9]{3}\.D\.[0-9]{4}\.[0-9]{3})"  # SDS, too
SAC_TEXT = rb"(?:[ \t]*-?\d+\.\d+(?:[eE][+-]?\d+)?){5}[ \t]*\r?\n"
HEADER = rb"[0-9 \0]{6}[DRQM][ \0]"  # how a miniSEED record begins
BEYOND = "window runs beyond the recording"
NOMINAL = (90.0, 0.0), (0.0, 0.0), (0.0, -90.0)  # azimuth and dip of E, N, Z [degree]


def index_recordings(path):
    """List what a file or a folder of recordings holds, from the headers alone."""
    path, rows, others = Path(path), [], set()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        for trace in read_recording(file, headonly=True)[0]:
            stats, code = trace.stats, trace.stats.channel.upper()
            known_rate = RATES[0] <= stats.sampling_rate <= RATES[1]
            if not (re.fullmatch(CHANNEL, code) and known_rate and stats.npts):
                others.add(stats.channel)
                continue
            if not EARLIEST.year <= stats.starttime.year <= stats.endtime.year < LATEST.year:
                continue  # picks of such a time find no waveform
            sac = stats.get("sac", {})
            row = {
                "network": stats.network,
                "station": stats.station,
                "instrument": f"{stats.location}.{code[:-1]}",
                "component": code[-1],
                "seed_id": trace.id,
                "start": stats.starttime.ns,
                "end": stats.endtime.ns,
                "rate": stats.sampling_rate,
                "unit": UNITS.get(sac.get("idep"), "counts"),
                "path": file,
                "azimuth": sac.get("cmpaz", np.nan),
                "dip": sac.get("cmpinc", np.nan) - 90.0,
            }
            rows.append(row)
    if not rows:
        found = f"only the channels {', '.join(sorted(others))}" if others else "no miniSEED or SAC"
        raise ForeshapError(
            f"{path} holds {found}, but no miniSEED or SAC with channels E, N, Z, 1, 2 or 3 at 1 Hz"
            " to 10 kHz: put recordings there."
        )
    index = pd.DataFrame(rows)
    groups = index.groupby(["network", "station", "instrument"])["component"]
    return index.assign(component=groups.transform(_places))


def _places(letters):
    """Turn one instrument's channel letters (Series) into the components E, N, Z they stand for."""
    places = DIRECTIONS.copy()
    for letters_of_set, others in OTHER_SETS.items():
        if set(letters_of_set) <= set(letters):
            places |= others
    return letters.map(places).fillna("")


def _format(path):
    """Name ObsPy's format of a file by its first bytes, None where it is no recording.

    ObsPy's own search would also try formats that run code from the file, and unpack archives.
    """
    with open(path, "rb") as file:
        head = file.peek(320)[:320]
        is_full_seed = head[6:7] == b"V" and _is_mseed(file)
        if re.match(HEADER, head) or is_full_seed:
            return "MSEED"
        if re.match(SAC_TEXT, head):
            return "SACXY"
        if _is_sac(file):
            return "SAC"
    if re.fullmatch(FILE_NAME, path.name):
        raise ValueError("no miniSEED or SAC is in it")
    return None


def read_recording(path, **options):
    """Read a file: obspy.Stream, empty for no recording; whether its own check found it damaged."""
    stream = obspy.Stream()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind = _format(path)
            if kind:
                options |= {"format": kind, "check_compression": False}
                stream = obspy.read(glob.escape(str(path)), **options)
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as a recording ({error}): remove or replace it."
        ) from error
    return stream, any("ntegrity" in str(warning.message) for warning in caught)


class Station:
    """The recordings of one instrument of one station, and those of its other instruments."""

    def __init__(self, recordings, others, read, epochs=None):
        self.recordings, self.others = recordings, others
        self.read, self.epochs = read, epochs
        self.components = dict(zip(recordings["seed_id"], recordings["component"]))
        self.filter_seconds = (responses.FILTER + 2) / min(SAMPLING_RATE, recordings["rate"].min())

    def window(self, start, length):
        """Cut length samples at 100 Hz from 5 s before P: (3, length), E, N, Z; start; columns."""
        recorded, final, epochs = {}, {}, {}
        end = start + length / SAMPLING_RATE
        for name, parts in self._parts(start, end).items():
            trace = _join(parts)
            rate = trace.stats.sampling_rate
            spare = 0.0 if responses.is_100_hz(rate) else self.filter_seconds
            if self.epochs is not None:
                spare += responses.TAPER
                epoch = responses.epoch_at(self.epochs, trace.id, start + SECONDS_BEFORE_P)
                epochs[name] = epoch
            trace = recorded[name] = _gapless(trace, start - spare, end + spare)
            if name in epochs:
                trace = trace.slice(epoch[0], epoch[1] - trace.stats.delta)
                if not _covers(trace, start - spare, end + spare):
                    raise Unusable("response changes inside the window")
                trace = responses.ground_velocity(trace, epoch[2].response)
            if not responses.is_100_hz(rate):
                samples, cut = responses.resampled(trace.data, rate)
                header = {"starttime": trace.stats.starttime + cut, "sampling_rate": SAMPLING_RATE}
                trace = obspy.Trace(samples, header)
            final[name] = trace
        vertical = final["Z"].stats.starttime
        start = vertical + round((start - vertical) * SAMPLING_RATE) / SAMPLING_RATE
        samples, counts, clipped = [], [], []
        for name in COMPONENTS:
            rate, is_changed = recorded[name].stats.sampling_rate, final[name] is not recorded[name]
            samples.append(_samples(final[name], start, length))
            counts.append(_samples(recorded[name], start, length))
            clipped.append(responses.check_recorded(counts[-1], rate, is_changed))
        samples = responses.to_east_north_up(np.stack(samples), self._directions(recorded, epochs))
        about = {
            "receiver_location_code": recorded["Z"].stats.location,
            "receiver_type": self.recordings["instrument"].iloc[0].split(".")[1],
            "recorded_rate_hz": recorded["Z"].stats.sampling_rate,
            "recorded_step": responses.smallest_step(counts),
        }
        if any(clipped):
            about["clipped"] = 1
        if epochs:
            about |= responses.tell(epochs["Z"])
        return samples, start, about

    def _directions(self, recorded, epochs):
        """Azimuth and dip of the three channels [degree]; without any, those of their codes."""
        if epochs:
            channels = [epochs[name][2] for name in COMPONENTS]
            return [(channel.azimuth, channel.dip) for channel in channels]
        ids = [recorded[name].stats.original_id for name in COMPONENTS]
        rows = self.recordings.drop_duplicates("seed_id").set_index("seed_id").loc[ids]
        known = rows[["azimuth", "dip"]].to_numpy()
        if np.isfinite(known).all():
            return known
        if rows.index.str.contains("(?i)[3UVW]$").any():
            raise Unusable("direction of a component unknown")
        return NOMINAL

    def _parts(self, start, end):
        """Component -> list of gapless Traces around a window."""
        spare = self.filter_seconds + (0 if self.epochs is None else responses.PADDING)
        first, last = start - spare, end + spare
        parts = {name: [] for name in COMPONENTS}
        for path in _overlapping(self.recordings, first, last)["path"].unique():
            for trace in self._undamaged(path, first, last):
                delta = trace.stats.delta
                part = trace.slice(first - delta, last + delta)
                if len(part) and self.components.get(trace.id) in parts:
                    part.stats.original_id = trace.id
                    part.stats.network = self.recordings["network"].iloc[0]  # the file may lack it
                    parts[self.components[trace.id]].append(part)
        if all(parts.values()):
            return parts
        if any(parts.values()):
            raise Unusable("component missing")
        if len(_overlapping(self.others, start, end)):
            raise Unusable("another instrument")
        raise Unusable("no waveform at this time")

    def _undamaged(self, path, start, end):
        """A file's Traces, or those of a span where it is damaged elsewhere."""
        try:
            stream, damaged = self.read(path)
            if damaged:
                stream, damaged = read_recording(path, starttime=start, endtime=end)
        except ForeshapError as error:
            check_machine(path, error)
            damaged = True
        if damaged:
            raise Unusable("samples can't be read: the file is damaged here")
        return stream


def _overlapping(recordings, start, end):
    """The rows of index_recordings() that overlap with a span."""
    return recordings[(recordings["start"] < end.ns) & (recordings["end"] > start.ns)]


def _join(traces):
    """Join Traces of one component to one, masked where there are gaps or overlaps that differ."""
    rate = traces[0].stats.sampling_rate
    kind = np.result_type(*{trace.data.dtype for trace in traces})
    if kind.kind not in "iuf":
        raise Unusable("samples are no numbers")
    if round(rate) < responses.LEAST_RATE:
        raise Unusable("recorded below 40 Hz")
    for trace in traces:
        if abs(trace.stats.sampling_rate / rate - 1) < DRIFT:
            trace.stats.sampling_rate = rate
        trace.data = trace.data.astype(kind, copy=False)
    try:
        (joined,) = obspy.Stream(traces).merge()
    except Exception as error:  # several traces, and what ObsPy raises
        raise Unusable("recordings can't be joined") from error
    return joined


def _gapless(trace, start, end):
    """The part of a Trace without a gap that reaches from start to end; else Unusable."""
    reason = "gap inside the window"
    if not np.isfinite(np.ma.getdata(trace.data)).all():
        reason = "samples not finite"
        trace = trace.copy()
        trace.data = np.ma.masked_invalid(trace.data)
    for part in trace.split():
        if _covers(part, start, end):
            return part
    raise Unusable(reason if _covers(trace, start, end) else BEYOND)


def _covers(trace, start, end):
    """Whether a Trace reaches from start to end, but for a sample."""
    stats = trace.stats
    return stats.starttime - stats.delta <= start and end <= stats.endtime + stats.delta


def _samples(trace, start, length):
    """Samples from the one nearest to start on, as long as length (int) samples at 100 Hz."""
    rate = trace.stats.sampling_rate
    first = round((start.ns - trace.stats.starttime.ns) * rate / 1e9)
    last = first + round(length * rate / SAMPLING_RATE)
    if first < 0 or last > len(trace):
        raise Unusable(BEYOND)
    return trace.data[first:last]
