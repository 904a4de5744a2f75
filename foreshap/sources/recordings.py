"""Continuous or event recordings, miniSEED or SAC: what there is, and windows of it at 100 Hz."""

import glob
import math
import re
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import obspy
import pandas as pd
from obspy.io.mseed.core import _is_mseed
from obspy.io.sac.core import _is_sac

from ..files import ForeshapError, check_machine
from ..preprocessing.clipping import as_recorded, filled_gap
from ..preprocessing.periods import EARLIEST, LATEST
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P
from .resampling import FILTER, is_100_hz, resampled, smallest_step
from .responses import PADDING, TAPER, Unusable, ground_velocity, to_east_north_up

CHANNEL = "([A-Z][HLGNP])?[ENZ123UVW]"  # in upper case
DIRECTIONS = {"E": "E", "N": "N", "Z": "Z", "1": "N", "2": "E"}  # 1 and 2: no azimuth is known
OTHER_SETS = {  # components of one instrument: the places of their channels before they are turned
    "23Z": {"2": "N", "3": "E"},
    "123": {"1": "N", "2": "E", "3": "Z"},
    "UVW": {"U": "E", "V": "N", "W": "Z"},
    "ENU": {"U": "Z"},
}
TURNED = "3UVW"  # codes that name no direction
LOWEST_RATE = 1.0  # Hz; channels of still lower rates are passed over
LEAST_RATE = 40.0  # Hz of what is analysed at 100 Hz: slower channels have nothing above 16 Hz
HIGHEST_RATE = 10_000.0  # Hz
DRIFT = 2e-5  # part by which the rates of joined pieces may differ: 0.2 samples in 100 s
UNITS = {6: "nm", 7: "nm/s", 8: "nm/s^2"}  # what SAC's idep means
FILE_NAME = r"(?i)[^.].*\.(mseed|miniseed|msd|sac|[A-Z0-9]{3}\.D\.[0-9]{4}\.[0-9]{3})"  # SDS, too
HEADER = rb"[0-9 \0]{6}[DRQM][ \0]"  # how a miniSEED record begins
TO_YEAR = HEADER + rb"[A-Za-z0-9 \0-]{12}(?:[\x07\x08].|.[\x07\x08])"
BROKEN_START = rb"(?s)(?!.{257}ustar)(?:.{128})+?(?=%b)" % TO_YEAR  # and no tar archive
SEARCHED = 2**16  # bytes that may be broken before the first good record
DAMAGED = "samples can't be read: the file is damaged here"
NOT_JOINED = "recordings can't be joined"
BEYOND = "window runs beyond the recording"
GAP = "gap inside the window"
NOT_FINITE = "samples not finite"
NOMINAL = (90.0, 0.0), (0.0, 0.0), (0.0, -90.0)  # azimuth and dip of E, N, Z [degree]


def index_recordings(path):
    """List what a file or a folder of recordings holds, from the headers alone.

    path: str or Path, a miniSEED or SAC file, or a folder with such files in it or its subfolders;
        other files, channels below 1 Hz or above 10 kHz and times that are not of 1900 to 2200
        are passed over

    returns: DataFrame, one row a gapless stretch: network, station, instrument ("<location>.<band
        and instrument code>"), component (E, N, Z), seed_id, start, end [ns since 1970, UTC],
        rate [Hz], unit ("counts", or nm, nm/s, nm/s^2 where a SAC header says so), path, azimuth
        and dip [degree] of SAC's header, NaN where unknown, undirected: whether only they tell it
    raises: ForeshapError where headers are damaged, a file that is named like a recording holds
        none, or no recording has components of three directions
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    rows, others = [], set()
    for file in files:
        for trace in read_recording(file, headonly=True)[0]:
            stats, code = trace.stats, trace.stats.channel.upper()
            known_rate = LOWEST_RATE <= stats.sampling_rate <= HIGHEST_RATE
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
    return index.assign(
        component=groups.transform(_places), undirected=index["component"].isin([*TURNED])
    )


def _places(letters):
    """Turn one instrument's channel letters (Series) into the components E, N, Z they stand for."""
    places = DIRECTIONS.copy()
    for letters_of_set, others in OTHER_SETS.items():
        if set(letters_of_set) <= set(letters):
            places |= others
    return letters.map(places).fillna("")


def _format(file):
    """Name the format of an open file as ObsPy does, by its first bytes; None for another kind.

    ObsPy's own search would also try formats that run code from the file, and unpack archives.
    """
    head = file.peek(320)[:320]
    full_seed = head[6:7] == b"V" and _is_mseed(file)
    if re.match(HEADER, head) or full_seed:
        return "MSEED"
    if re.match(rb"(?:[ \t]*-?\d+\.\d+(?:[eE][+-]?\d+)?){5}[ \t]*\r?\n", head):
        return "SACXY"
    return "SAC" if _is_sac(file) else None


def _source(path):
    """Name or BytesIO without broken first records, and format; None where it is no recording."""
    with open(path, "rb") as file:
        kind = _format(file)
        if kind:
            return glob.escape(str(path)), kind
        file.seek(0)
        broken = re.match(BROKEN_START, file.read(SEARCHED))
        if broken:
            file.seek(broken.end())
            return BytesIO(file.read()), "MSEED"
    if re.fullmatch(FILE_NAME, path.name):
        raise ValueError("no miniSEED or SAC is in it")
    return None, None


def read_recording(path, **options):
    """Read a file (Path) with options of obspy.read(). A record with a broken header is a gap.

    returns: obspy.Stream, empty where the file is no recording, and bool, whether its samples
        contradict the file's own check
    raises: ForeshapError where the file can't be read
    """
    stream = obspy.Stream()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source, kind = _source(path)
            if kind:
                stream = obspy.read(source, format=kind, check_compression=False, **options)
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        words = " ".join(str(error).split())
        raise ForeshapError(
            f"{path} can't be read as a recording ({words}): remove or replace it."
        ) from error
    return stream, any("ntegrity" in str(warning.message) for warning in caught)


class Station:
    """The recordings of one instrument of one station.

    recordings: DataFrame of index_recordings(), rows of one instrument
    others: DataFrame of the same, rows of the station's other instruments
    read: read_recording(), or a cache of it that several stations share
    responses: Responses for ground velocity in nm/s along true directions, None for counts
    """

    def __init__(self, recordings, others, read, responses=None):
        self.recordings, self.others = recordings, others
        self.read, self.responses = read, responses
        self.components = dict(zip(recordings["seed_id"], recordings["component"]))
        self.network = recordings["network"].iloc[0]
        self.location, self.kind = recordings["instrument"].iloc[0].split(".")
        slowest = min(SAMPLING_RATE, recordings["rate"].min())
        self.filter_seconds = (FILTER + 2) / slowest

    def window(self, start, length):
        """Cut a window at 100 Hz that begins 5 s before P.

        start: UTCDateTime; the window begins at the vertical's sample nearest to it
        length: int, samples

        returns: array (3, length), E, N, Z [counts or nm/s], UTCDateTime of the first sample, and
            dict of the columns that tell what recorded it; clipped is 1 where samples that are no
            longer the counts recorded were clipped as such
        raises: Unusable, with the reason
        """
        end = start + length / SAMPLING_RATE
        recorded, epochs, counts, marks = {}, {}, [], set()
        for name, parts in self._parts(start, end).items():
            trace = _join(parts)
            if round(trace.stats.sampling_rate) < LEAST_RATE:
                raise Unusable("recorded below 40 Hz")
            recorded[name] = trace
            if self.responses is not None:
                epochs[name] = self.responses.channel(trace.id, start + SECONDS_BEFORE_P)
        final = {}
        for name, trace in recorded.items():
            final[name] = self._at_100_hz(trace, start, end, epochs.get(name))
        vertical = final["Z"].stats.starttime
        start = vertical + round((start - vertical) * SAMPLING_RATE) / SAMPLING_RATE
        samples = np.stack([_samples(final[name], start, length) for name in COMPONENTS])
        for name in COMPONENTS:
            trace = recorded[name]
            counts.append(_samples(trace, start, length))
            if final[name] is not trace:
                marks.add(as_recorded(counts[-1], trace.stats.sampling_rate))
            if filled_gap(counts[-1], trace.stats.sampling_rate, at_edges=True):
                raise Unusable(GAP)
        if "flat" in marks:
            raise Unusable("component flat")
        samples = to_east_north_up(samples, self._directions(recorded, epochs))
        about = self._about(recorded["Z"], counts, epochs.get("Z"))
        if "clipped" in marks:
            about["clipped"] = 1
        return samples, start, about

    def _directions(self, recorded, epochs):
        """Azimuth and dip of the three channels [degree]; without any, those of their codes."""
        if epochs:
            channels = [epochs[name][2] for name in COMPONENTS]
            return [(channel.azimuth, channel.dip) for channel in channels]
        rows = self.recordings.drop_duplicates("seed_id").set_index("seed_id")
        rows = rows.loc[[recorded[name].stats.original_id for name in COMPONENTS]]
        known = rows[["azimuth", "dip"]].to_numpy()
        if np.isfinite(known).all():
            return known
        if rows["undirected"].any():
            raise Unusable("direction of a component unknown")
        return NOMINAL

    def _about(self, vertical, counts, epoch):
        """The columns that tell what recorded a window, dict."""
        about = {
            "receiver_location_code": self.location,
            "receiver_type": self.kind,
            "recorded_rate_hz": vertical.stats.sampling_rate,
            "recorded_step": smallest_step(counts),
        }
        if epoch:
            channel = epoch[2]
            sensitivity = channel.response and channel.response.instrument_sensitivity
            about |= {
                "response_start": str(epoch[0]),
                "response_gain": sensitivity and sensitivity.value,
                "response_unit": sensitivity and sensitivity.input_units,
                "receiver_latitude": channel.latitude,
                "receiver_longitude": channel.longitude,
                "receiver_elevation_m": channel.elevation,
            }
        return about

    def _parts(self, start, end):
        """Component -> list of gapless Traces around a window."""
        spare = self.filter_seconds
        if self.responses is not None:
            spare += PADDING
        first, last = start - spare, end + spare
        parts = {name: [] for name in COMPONENTS}
        for path in _overlapping(self.recordings, first, last)["path"].unique():
            for trace in self._undamaged(path, first, last):
                stats = trace.stats
                beside = stats.endtime < first - stats.delta or stats.starttime > last + stats.delta
                if beside or self.components.get(trace.id) not in parts:
                    continue
                before = math.floor(_position(trace, first)) * stats.delta
                after = math.floor(_position(trace, last) + 1) * stats.delta
                part = trace.slice(stats.starttime + before, stats.starttime + after)
                part.stats.original_id = trace.id
                part.stats.network = self.network  # which the file may lack
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
            raise Unusable(DAMAGED) from error
        if damaged:
            raise Unusable(DAMAGED)
        return stream

    def _at_100_hz(self, trace, start, end, epoch):
        """A Trace in the unit wanted at 100 Hz; the same one where nothing is changed."""
        rate = trace.stats.sampling_rate
        spare = 0.0 if is_100_hz(rate) else self.filter_seconds
        if epoch:
            first, last = start - spare - TAPER, end + spare + TAPER
            trace = _gapless(trace, first, last)
            one = trace.slice(epoch[0], epoch[1] - trace.stats.delta)
            if not _covers(one, first, last):
                raise Unusable("response changes inside the window")
            trace = ground_velocity(one, epoch[2].response)
        if is_100_hz(rate):
            return trace
        trace = _gapless(trace, start - spare, end + spare)
        samples, cut = resampled(trace.data, rate)
        begin = trace.stats.starttime + cut
        return obspy.Trace(samples, {"starttime": begin, "sampling_rate": SAMPLING_RATE})


def _overlapping(recordings, start, end):
    """The rows of index_recordings() that overlap with a span."""
    return recordings[(recordings["start"] < end.ns) & (recordings["end"] > start.ns)]


def _position(trace, time):
    """Samples from the first one of a Trace to a time, float."""
    return (time.ns - trace.stats.starttime.ns) * trace.stats.sampling_rate / 1e9


def _join(traces):
    """Join Traces of one component to one, masked where there are gaps; overlaps must agree."""
    head = min(traces, key=lambda trace: trace.stats.starttime)
    rate = head.stats.sampling_rate
    kind = np.result_type(*{trace.data.dtype for trace in traces})
    if kind.kind not in "iuf":
        raise Unusable("samples are no numbers")
    if len(traces) == 1:
        return head
    for trace in traces:
        if trace.id != head.id or abs(trace.stats.sampling_rate / rate - 1) >= DRIFT:
            raise Unusable(NOT_JOINED)
        trace.stats.sampling_rate = rate
        trace.data = trace.data.astype(kind)
    try:
        joined = obspy.Stream(traces).merge(method=1)[0]
    except Exception as error:  # ObsPy raises no narrower one
        raise Unusable(NOT_JOINED) from error
    for trace in traces:
        first = round(_position(joined, trace.stats.starttime))
        samples = np.ma.getdata(joined.data)[first : first + len(trace)]
        if not np.array_equal(samples, trace.data, equal_nan=True):
            raise Unusable(NOT_JOINED)
    return joined


def _gapless(trace, start, end):
    """The part of a Trace without a gap that reaches from start to end."""
    whole = trace
    if trace.data.dtype.kind == "f" and not np.isfinite(np.ma.getdata(trace.data)).all():
        whole = trace.copy()
        whole.data = np.ma.masked_invalid(trace.data)
    for part in whole.split():
        if _covers(part, start, end):
            return part
    if not _covers(trace, start, end):
        raise Unusable(BEYOND)
    raise Unusable(GAP if whole is trace else NOT_FINITE)


def _covers(trace, start, end):
    """Whether a Trace reaches from start to end, but for a sample."""
    return trace.stats.starttime <= start and end <= trace.stats.endtime + trace.stats.delta


def _samples(trace, start, length):
    """Samples from the one nearest to start on, as long as length (int) samples at 100 Hz."""
    first = round(_position(trace, start))
    last = first + round(length * trace.stats.sampling_rate / SAMPLING_RATE)
    if first < 0 or last > len(trace):
        raise Unusable(BEYOND)
    samples = trace.data[first:last]
    if np.ma.is_masked(samples):
        raise Unusable(GAP)
    samples = np.ma.getdata(samples)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise Unusable(NOT_FINITE)
    return samples
