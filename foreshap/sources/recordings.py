"""Continuous or event recordings, miniSEED or SAC: what there is, and windows of it at 100 Hz."""

import glob
import math
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import obspy
import pandas as pd
from obspy.io.mseed.core import _is_mseed
from obspy.io.sac.core import _is_sac

from ..files import ForeshapError
from ..preprocessing.clipping import as_recorded
from ..preprocessing.variants import COMPONENTS, SAMPLING_RATE
from .resampling import FILTER, is_100_hz, resampled
from .responses import PADDING, TAPER, Unusable, ground_velocity, to_east_north_up

INDEX_COLUMNS = (
    "network",
    "station",
    "instrument",
    "component",
    "seed_id",
    "start",
    "end",
    "rate",
    "unit",
    "path",
)
DIRECTIONS = dict(zip("EN12Z", "ENNEZ"))  # 1 and 2 are taken as N and E where no azimuth is known
RATES = 1.0, 10_000.0  # Hz, lowest and highest that is read
DRIFT = 2e-5  # part by which the rates of pieces that are joined may differ: 0.2 samples in 100 s
UNITS = {6: "nm", 7: "nm/s", 8: "nm/s^2"}  # what SAC's idep means
RECORDING = r"(?i)[^.].*\.(mseed|miniseed|msd|sac|[A-Z0-9]{3}\.D\.[0-9]{4}\.[0-9]{3})"  # and in SDS
RECORD = (
    rb"[0-9 \0]{6}[DRQM][ \0][A-Za-z0-9 \0-]{12}(?:[\x07\x08].|.[\x07\x08])"  # a header to its year
)
LATER = (
    rb"(?s)(?!.{257}ustar)(?:.{128})+?(?=%b)" % RECORD
)  # to the first good one, but no tar archive
SEARCHED = 2**16  # bytes that may be broken before it
DAMAGED = "samples can't be read: the file is damaged here"


class Stretch(NamedTuple):
    """Samples (n,) of one channel without a gap, and the time of the first [ns since 1970, UTC]."""

    seed_id: str
    start: int
    rate: float
    samples: np.ndarray


class Series(NamedTuple):
    """Samples (n,) of one component, which of them are known (bool (n,)), time of the first [ns], rate [Hz]."""

    seed_id: str
    start: int
    rate: float
    samples: np.ndarray
    known: np.ndarray


def index_recordings(path):
    """What a file or a folder of recordings holds, from the headers alone.

    path: str or Path, a miniSEED or SAC file, or a folder of such files searched with its subfolders, like an SDS
        archive; files of other kinds and channels below 1 Hz or above 10 kHz are passed over

    returns: DataFrame, one row a gapless stretch: network, station, instrument ("<location>.<band and instrument
        code>"), component (E, N or Z; channels 1 and 2 count as N and E), seed_id, start, end [ns since 1970, UTC],
        rate [Hz], unit ("counts", or what a SAC header says: nm, nm/s or nm/s^2), path
    raises: ForeshapError where a file's headers are damaged, one that is named like a recording holds none, or no
        recording has components E, N, Z, 1 or 2
    """
    files = (
        sorted(file for file in Path(path).rglob("*") if file.is_file())
        if Path(path).is_dir()
        else [Path(path)]
    )
    rows = []
    for file in files:
        for stats in (trace.stats for trace in _read(file, headonly=True)[0]):
            usable = (
                re.fullmatch("[A-Z][HLGNP][ENZ12]", stats.channel)
                and RATES[0] <= stats.sampling_rate <= RATES[1]
            )
            if usable and stats.npts:
                where = (
                    f"{stats.location}.{stats.channel[:2]}",
                    DIRECTIONS[stats.channel[2]],
                    _seed_id(stats),
                )
                unit = UNITS.get(stats.get("sac", {}).get("idep"), "counts")
                rows.append(
                    (
                        stats.network,
                        stats.station,
                        *where,
                        *_span(stats),
                        stats.sampling_rate,
                        unit,
                        file,
                    )
                )
    if not rows:
        raise ForeshapError(
            f"{path} holds no miniSEED or SAC with channels E, N, Z, 1 or 2: put recordings there."
        )
    return pd.DataFrame(rows, columns=list(INDEX_COLUMNS))


def _seed_id(stats):
    return ".".join((stats.network, stats.station, stats.location, stats.channel))


def _span(stats):
    return stats.starttime.ns, stats.endtime.ns


def _format(file):
    """What ObsPy calls the format of an open file, None for another kind: by the first bytes, never by trying all.

    ObsPy's own search would also try formats that run code from the file, and unpack archives.
    """
    head = file.peek(320)[:320]
    if (
        re.match(rb"[0-9 \0]{6}[DRQM][ \0]", head) or head[6:7] == b"V" and _is_mseed(file)
    ):  # V: full SEED
        return "MSEED"
    if re.match(rb"(?:[ 0-9.eE+-]{15}){5}\r?\n", head):
        return "SACXY"
    return "SAC" if _is_sac(file) else None


def _source(path):
    """What ObsPy reads of a file, a name or a BytesIO, and what it calls the format; None where it is no recording."""
    with open(path, "rb") as file:
        if kind := _format(file):
            return glob.escape(str(path)), kind
        file.seek(0)
        if broken := re.match(LATER, file.read(SEARCHED)):
            file.seek(broken.end())
            return BytesIO(file.read()), "MSEED"
    if re.fullmatch(RECORDING, path.name):
        raise ValueError("no miniSEED or SAC is in it")
    return None, None


def _read(path, **options):
    """(ObsPy Stream, whether samples are damaged); the Stream is empty where the file is no recording."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source, kind = _source(path)
            stream = (
                obspy.read(source, format=kind, check_compression=False, **options)
                if kind
                else obspy.Stream()
            )
            return stream, any("ntegrity" in str(warning.message) for warning in caught)
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise ForeshapError(
            f"{path} can't be read as a recording ({' '.join(str(error).split())}): remove or replace it."
        ) from error


def read_stretches(path, **span):
    """All samples of a file.

    A record whose header is broken is a gap; where decoded samples contradict the file's own check, it is damaged.

    path: Path
    span: starttime, endtime: UTCDateTime, for a part of the file

    returns: list of Stretch, bool whether samples are damaged
    raises: Unusable where the samples can't be read
    """
    try:
        stream, damaged = _read(path, **span)
    except ForeshapError as error:
        raise Unusable(DAMAGED) from error
    stretches = [
        Stretch(_seed_id(t.stats), t.stats.starttime.ns, t.stats.sampling_rate, t.data)
        for t in stream
    ]
    return stretches, damaged


class Station:
    """The recordings of one instrument of one station.

    recordings: DataFrame of index_recordings(), rows of one instrument
    others: DataFrame of the same, rows of the station's other instruments
    read: read_stretches(), or a cache of it that several stations share
    inventory: obspy.Inventory for ground velocity in nm/s along true directions, or None for counts
    """

    def __init__(self, recordings, others, read, inventory=None):
        self.read, self.inventory, self.network = read, inventory, recordings["network"].iloc[0]
        self.starts, self.ends = recordings["start"].to_numpy(), recordings["end"].to_numpy()
        self.others = others["start"].to_numpy(), others["end"].to_numpy()
        self.paths = recordings["path"].tolist()
        self.components = dict(zip(recordings["seed_id"], recordings["component"]))
        self.location, self.kind = recordings["instrument"].iloc[0].split(".")
        self.spare = (FILTER + 2) / min(
            SAMPLING_RATE, recordings["rate"].min()
        )  # s that the filter needs

    def window(self, start, length):
        """Samples of a window at 100 Hz.

        start: int [ns since 1970, UTC]; the window begins at the vertical's sample nearest to it
        length: int, samples

        returns: array (3, length), E, N, Z [counts or nm/s], the time of the first sample [ns], and whether samples
            that are no longer the counts recorded were clipped as such
        raises: Unusable, with the reason
        """
        end = start + round(length * 1e9 / SAMPLING_RATE)
        joined = {name: _joined(pieces) for name, pieces in self._pieces(start, end).items()}
        series = {name: self._at_100_hz(one, start, end) for name, one in joined.items()}
        vertical = series["Z"].start
        start = vertical + round((start - vertical) * SAMPLING_RATE / 1e9) * round(
            1e9 / SAMPLING_RATE
        )
        samples = np.stack([_window(series[name], start, length) for name in COMPONENTS])
        changed = [joined[name] for name in COMPONENTS if series[name] is not joined[name]]
        marks = [as_recorded(_window(one, start, length, one.rate), one.rate) for one in changed]
        if "flat" in marks:
            raise Unusable("component flat")
        if self.inventory is not None:
            ids = [self._known_as(series[name].seed_id) for name in "ZNE"]
            samples = to_east_north_up(samples[::-1], ids, _time(start), self.inventory).astype(
                np.float32
            )
        return samples, start, "clipped" in marks

    def _pieces(self, start, end):
        """Component -> list of Stretch around a window."""
        spare = round((self.spare + (PADDING if self.inventory is not None else 0)) * 1e9)
        near = np.flatnonzero((self.starts < end + spare) & (self.ends > start - spare))
        pieces = {name: [] for name in COMPONENTS}
        for path in dict.fromkeys(self.paths[row] for row in near):
            stretches, damaged = self.read(path)
            if damaged:  # perhaps elsewhere
                stretches, damaged = read_stretches(
                    path, starttime=_time(start - spare), endtime=_time(end + spare)
                )
            if damaged:
                raise Unusable(DAMAGED)
            for stretch in stretches:
                part = _part(stretch, start - spare, end + spare)
                if len(part.samples) and stretch.seed_id in self.components:
                    pieces[self.components[stretch.seed_id]].append(part)
        if missing := [name for name in COMPONENTS if not pieces[name]]:
            raise Unusable(
                "component missing"
                if len(missing) < len(COMPONENTS)
                else self._why_none(start, end)
            )
        return pieces

    def _why_none(self, start, end):
        """Why the instrument has nothing from start to end [ns]."""
        starts, ends = self.others
        return (
            "another instrument"
            if ((starts < end) & (ends > start)).any()
            else "no waveform at this time"
        )

    def _at_100_hz(self, series, start, end):
        """A Series in the unit wanted at 100 Hz, shorter by the filter's edges where it had another rate."""
        right = is_100_hz(series.rate)
        spare = 0.0 if right else self.spare
        if self.inventory is not None:
            series = _gapless(series, start, end, spare + TAPER)
            seed_id, time = self._known_as(series.seed_id), _time(series.start)
            velocity = ground_velocity(series.samples, series.rate, seed_id, time, self.inventory)
            series = series._replace(samples=velocity)
        return series if right else _resampled(_gapless(series, start, end, spare))

    def _known_as(self, seed_id):
        """The id with its network, which the file may lack."""
        return self.network + seed_id[seed_id.index(".") :]


def _time(ns):
    return obspy.UTCDateTime(ns=int(ns))


def _part(stretch, start, end):
    """A Stretch from start to end [ns] and at most a sample more."""
    first, last = (math.floor((time - stretch.start) * stretch.rate / 1e9) for time in (start, end))
    first, last = max(first, 0), max(last + 2, 0)
    time = stretch.start + round(first * 1e9 / stretch.rate)
    return stretch._replace(start=time, samples=stretch.samples[first:last])


def _joined(pieces):
    """One Series of pieces; where they overlap they must agree."""
    pieces = sorted(pieces, key=lambda piece: piece.start)
    head = pieces[0]
    if len(pieces) == 1:
        return Series(*head, np.ones(len(head.samples), bool))
    offsets = [round((piece.start - head.start) * head.rate / 1e9) for piece in pieces]
    length = max(offset + len(piece.samples) for offset, piece in zip(offsets, pieces))
    samples, known = np.zeros(length, head.samples.dtype), np.zeros(length, bool)
    for offset, piece in zip(offsets, pieces):
        place = slice(offset, offset + len(piece.samples))
        alike = piece.seed_id == head.seed_id and piece.samples.dtype == samples.dtype
        alike = alike and abs(piece.rate / head.rate - 1) < DRIFT
        if not alike or (known[place] & (samples[place] != piece.samples)).any():
            raise Unusable("recordings can't be joined")
        samples[place], known[place] = piece.samples, True
    return Series(head.seed_id, head.start, head.rate, samples, known)


def _gapless(series, start, end, spare):
    """The stretch without a gap that reaches from start to end [ns] and spare [s] more on each side."""
    first = math.floor(((start - series.start) / 1e9 - spare) * series.rate)
    last = math.ceil(((end - series.start) / 1e9 + spare) * series.rate)
    if first < 0 or last > len(series.samples):
        raise Unusable("window runs beyond the recording")
    if not series.known[first:last].all():
        raise Unusable("gap inside the window")
    unknown = np.flatnonzero(~series.known)
    first = unknown[unknown < first].max(initial=-1) + 1
    last = unknown[unknown >= last].min(initial=len(series.samples))
    time = series.start + round(first * 1e9 / series.rate)
    return series._replace(
        start=time, samples=series.samples[first:last], known=series.known[first:last]
    )


def _resampled(series):
    """A gapless Series at 100 Hz, without the filter's edges."""
    samples, cut = resampled(series.samples, series.rate)
    return Series(
        series.seed_id,
        series.start + round(cut * 1e9),
        SAMPLING_RATE,
        samples,
        np.ones(len(samples), bool),
    )


def _window(series, start, length, rate=SAMPLING_RATE):
    """A Series' samples from the one nearest to start [ns] on, as many as length (int) at 100 Hz."""
    first, length = round((start - series.start) * rate / 1e9), round(length * rate / SAMPLING_RATE)
    if first < 0 or first + length > len(series.samples):
        raise Unusable("window runs beyond the recording")
    if not series.known[first : first + length].all():
        raise Unusable("gap inside the window")
    return series.samples[first : first + length]
