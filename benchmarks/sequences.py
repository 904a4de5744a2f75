"""Sequences with one known cause, in real noise: the second simulator, for tests and benchmarks.

It shares no code with foreshap.preprocessing.simulation. Events lie in patches of a fault, have
double-couple sources with sharp corners and sub-events, arrive by a patch's own scattered paths and
end in a coda whose decay depends on frequency. They stand in noise recorded at other places, and
both pass a sensor and a recorder that may have changed. All strengths are arguments.

    build_sequence(folder, "t* of S", "PB01", seed=1)            a folder in the waveform layout
    build_sequence(folder, "filter", "wilz", 2, "1 to 5", filter=15.0)     another strength
    CAUSES["filter"].innocent, .verdicts, .witness               what is right to say about it
    python benchmarks/sequences.py                               the strength of each cause
"""

import argparse
import json
import tempfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import obspy
import pandas as pd
from scipy import fft, signal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foreshap import ForeshapError
from foreshap.preprocessing.waveforms import COLUMNS, write_waveforms

DATA = Path(__file__).parents[2] / "shared" / "data"
RATE = 100.0  # Hz
PADDED = 4096  # samples that are computed: a margin, the trace, a margin
FIRST, SAMPLES = 500, 3000  # of the trace in them
P_SAMPLE = FIRST + 500  # P, 5 s into the trace
F = fft.rfftfreq(PADDED, 1 / RATE)  # Hz
T = np.arange(PADDED) / RATE  # s
BATCH = 64  # events computed together
MAINSHOCK = pd.Timestamp("2014-04-01T23:46:47")
SPAN = 50.0  # days before and after the mainshock
VP, VS = 5.8, 3.3  # km/s
MEDIAN_S_P = 1.6  # s, of the fault's six patches
STATION_LATITUDE, STATION_LONGITUDE, KM_PER_DEGREE = -21.04, -69.49, 111.2
NETWORK = "YY"
FULL_SCALE = 2**23 - 1  # counts, of a recorder with 24 bits
PATH, STATION, CATALOGUE, MIXED = "path/source", "station/background", "catalogue", "mixed"
UNDECIDED = "undecided"


# ------------------------------------------------------------------------------------------ causes


@dataclass(frozen=True)
class Cause:
    """One known cause.

    effects: dict, name -> strength; EFFECTS says what each does
    innocent: bool, neither path nor source changed: "path/source" and "mixed" are wrong
    verdicts: tuple of str, what is right to say
    witness: str, what should see it ("" for nothing to see)
    scaled: bool, the cause needs tensors scaled event by event: scale_tensors()
    """

    effects: dict
    innocent: bool
    verdicts: tuple
    witness: str = ""
    scaled: bool = False


EFFECTS = {  # name: (default strength, what it does; to aftershocks, where nothing else is said)
    "t_star_s": (0.010, "t* of S at the median S-P, proportional to S-P [s]"),
    "t_star_p": (0.010, "t* of P at the median S-P, proportional to S-P [s]"),
    "t_star_east": (0.015, "t* of S on the east component alone, proportional to S-P [s]"),
    "part_of_fault": (0.015, "t* of S of three of the six patches [s]"),
    "preparation": (0.010, "t* of S that grows in the 20 days before the mainshock and stays [s]"),
    "kappa": (0.010, "attenuation of all waves, not of the noise [s]"),
    "stress_drop": (0.4, "log10 of the stress drop"),
    "mechanism": (70.0, "rake [degrees]"),
    "coda_q": (0.35, "log10 of coda Q"),
    "scattering": (0.3, "log10 of the amplitude of what arrives by scattered paths"),
    "vp_vs": (0.02, "S velocity, as a share of itself"),
    "larger": (0.35, "magnitude, and the catalogue says so"),
    "magnitude_scale": (0.35, "magnitude, and the catalogue says the same as before"),
    "completeness": (0.5, "smallest magnitude in the ten days after the mainshock"),
    "second_event": (0.75, "share of windows with a second event; 0.05 of the foreshocks'"),
    "p_early": (0.25, "all P picks early [s]"),
    "s_late": (0.3, "all S picks late [s]"),
    "place": (0.010, "other patches, which have this much more t* of S at all times [s]"),
    "location_error": (2.5, "standard error of all hypocentres [km]; 0.3 where nothing is said"),
    "depth": (1.5, "depth, less [km]"),
    "migration": (4.0, "km along the fault from the first to the last event, both classes"),
    "swarms": (1.5, "spread of the patches' activity, which wanders with a memory of 4 days"),
    "hours": (0.8, "share moved into the hours from 8 to 16"),
    "traffic": (0.25, "log10 of the noise amplitude between noon and the daily mean, both classes"),
    "gain": (0.15, "log10 of the recorder's gain"),
    "component_gain": (0.6, "factor on the north component"),
    "filter": (25.0, "corner of an anti-alias filter of two poles [Hz]"),
    "sensor_corner": (2.5, "corner of the sensor [Hz]"),
    "damping": (0.25, "damping of a 4.5 Hz geophone, 0.7 before"),
    "loose_mount": (0.5, "share of the horizontals that a mount with a resonance at 16 Hz passes"),
    "exchanged": (1.0, "east and north exchanged"),
    "turned": (30.0, "the sensor turned [degrees]"),
    "recorder_noise": (0.7, "the recorder's own noise, in units of the ground's"),
    "low_gain": (0.1, "noise of the ground in units of the recorder's own, both classes"),
    "noise_level": (0.2, "log10 of the noise amplitude"),
    "noise_band": (3.0, "noise from 17 to 19 Hz, in multiples of itself"),
    "regimes": (0.15, "noise that differs by weeks, log10 of the amplitude, both classes"),
    "coda_noise": (3.0, "coda of the sequence a day after the mainshock, in units of the noise"),
    "season": (0.012, "kappa that follows a season, both classes, without a jump [s]"),
    "wander": (0.2, "share of the variance of all features that wanders, both classes"),
    "memory": (2.0, "memory of what wanders [days]"),
    "clipping": (10.0, "full scale of the recorder in units of S of magnitude 1.5"),
    "sample_step": (1.0, "step of the counts in units of the noise"),
    "record_length": (27.0, "length of the records [s]; 30 before"),
    "native_rate": (50.0, "rate at which it was recorded [Hz]"),
    "no_magnitudes": (1.0, "the catalogue has no magnitudes, both classes"),
    "no_places": (1.0, "the catalogue has no hypocentres, both classes"),
}  # fmt: skip


def _cause(innocent, verdicts, witness, *names, scaled=False, **strengths):
    """A cause by the effects' names at their default strengths, and others with theirs."""
    effects = {name: EFFECTS[name][0] for name in names} | strengths
    return Cause(effects, innocent, verdicts, witness, scaled)


def _innocent(verdict, witness, *names, **strengths):
    """A cause at the station or in the catalogue: its own name or "undecided" is right."""
    verdicts = (UNDECIDED,) if verdict == UNDECIDED else (verdict, UNDECIDED)
    return _cause(True, verdicts, witness, *names, **strengths)


def _path(witness, *names, verdicts=(PATH,), **strengths):
    """A cause on the path or at the source."""
    return _cause(False, verdicts, witness, *names, **strengths)


CAUSES = {
    "nothing": _innocent(UNDECIDED, ""),
    "nothing, wandering 0.2 days": _innocent(UNDECIDED, "placebo dates", "wander", memory=0.2),
    "nothing, wandering 2 days": _innocent(UNDECIDED, "placebo dates", "wander", memory=2.0),
    "nothing, wandering 15 days": _innocent(UNDECIDED, "placebo dates", "wander", memory=15.0),
    "nothing, wandering more": _innocent(UNDECIDED, "placebo dates", wander=0.5, memory=2.0),
    "nothing, swarms": _innocent(CATALOGUE, "place", "swarms"),
    "nothing, no columns": _innocent(UNDECIDED, "", "no_magnitudes", "no_places"),
    "nothing, low gain": _innocent(UNDECIDED, "", "low_gain"),
    "traffic": _innocent(UNDECIDED, "hours", "traffic"),
    "season": _innocent(UNDECIDED, "date", "season"),
    "season and regimes": _innocent(UNDECIDED, "date", "season", "regimes"),
    "larger": _innocent(CATALOGUE, "size", "larger"),
    "larger, no magnitudes": _innocent(CATALOGUE, "size", "larger", "no_magnitudes"),
    "magnitude scale": _innocent(CATALOGUE, "size", "magnitude_scale"),
    "completeness": _innocent(CATALOGUE, "completeness", "completeness"),
    "second events": _innocent(CATALOGUE, "second event", "second_event"),
    "P early": _innocent(CATALOGUE, "picks", "p_early"),
    "S late": _innocent(CATALOGUE, "picks", "s_late"),
    "place, poor hypocentres": _innocent(CATALOGUE, "place", "place", "location_error"),
    "place, good hypocentres": _innocent(CATALOGUE, "place", "place"),
    "place, no hypocentres": _innocent(CATALOGUE, "place", "place", "no_places"),
    "depth": _innocent(CATALOGUE, "depth", "depth"),
    "migration": _innocent(CATALOGUE, "migration", "migration"),
    "hours": _innocent(CATALOGUE, "hours", "hours", "traffic"),
    "gain": _innocent(STATION, "size, noise", "gain"),
    "gain, low gain": _innocent(STATION, "size", "gain", "low_gain"),
    "component gain": _innocent(STATION, "windows, noise", "component_gain"),
    "component gain, low gain": _innocent(STATION, "windows", "component_gain", "low_gain"),
    "filter": _innocent(STATION, "windows, noise", "filter"),
    "filter, low gain": _innocent(STATION, "windows", "filter", "low_gain"),
    "sensor corner": _innocent(STATION, "windows, noise", "sensor_corner"),
    "sensor corner, low gain": _innocent(STATION, "windows", "sensor_corner", "low_gain"),
    "damping": _innocent(STATION, "windows, noise", "damping"),
    "damping, low gain": _innocent(STATION, "windows", "damping", "low_gain"),
    "loose mount": _innocent(STATION, "windows, noise", "loose_mount"),
    "loose mount, low gain": _innocent(STATION, "windows", "loose_mount", "low_gain"),
    "exchanged": _innocent(STATION, "orientation", "exchanged"),
    "exchanged, low gain": _innocent(STATION, "orientation", "exchanged", "low_gain"),
    "turned by 20": _innocent(STATION, "orientation", turned=20.0),
    "turned by 30": _innocent(STATION, "orientation", "turned"),
    "turned by 30, low gain": _innocent(STATION, "orientation", "turned", "low_gain"),
    "turned, filter": _innocent(STATION, "windows", "turned", "filter"),
    "recorder noise": _innocent(STATION, "noise", "recorder_noise"),
    "noise level": _innocent(STATION, "noise", "noise_level"),
    "noise band": _innocent(STATION, "noise", "noise_band"),
    "regimes": _innocent(UNDECIDED, "placebo dates", "regimes"),
    "coda of the sequence": _innocent(STATION, "coda of the sequence", "coda_noise"),
    "coda and filter": _innocent(STATION, "coda of the sequence, windows", "coda_noise", "filter"),
    "coda and turned": _innocent(STATION, "coda of the sequence", "coda_noise", "turned"),
    "larger, scaled": _innocent(CATALOGUE, "size, noise's shape", "larger", scaled=True),
    "loose mount, scaled": _innocent(STATION, "noise's shape", "loose_mount", scaled=True),
    "clipping": _innocent(CATALOGUE, "clipping", "clipping", "larger"),
    "recorder's range": _innocent(STATION, "clipping", "clipping"),
    "sample step": _innocent(STATION, "sample step", "sample_step"),
    "record length": _innocent(UNDECIDED, "record length", "record_length"),
    "native rate": _innocent(STATION, "native rate", "native_rate"),
    "larger and noise level": _innocent(STATION, "size, noise", "larger", "noise_level"),
    "t* of S": _path("windows", "t_star_s"),
    "t* of P": _path("windows", "t_star_p"),
    "t* of both": _path("windows, noise", "t_star_s", "t_star_p"),
    "t* on the east": _path("windows", "t_star_east"),
    "part of the fault": _path("place of the change", "part_of_fault"),
    "preparation": _path("date", "preparation", verdicts=(PATH, UNDECIDED)),
    "kappa": _path("noise", "kappa"),
    "stress drop": _path("noise", "stress_drop"),
    "mechanism": _path("windows", "mechanism"),
    "coda Q": _path("windows", "coda_q"),
    "scattering": _path("windows", "scattering"),
    "Vp/Vs": _path("", "vp_vs", verdicts=(PATH, CATALOGUE, UNDECIDED)),
    "t* of S, low gain": _path("windows", "t_star_s", "low_gain", verdicts=(PATH, UNDECIDED)),
    "stress drop, low gain": _path("", "stress_drop", "low_gain", verdicts=(UNDECIDED,)),
    "kappa, low gain": _path("", "kappa", "low_gain", verdicts=(UNDECIDED,)),
    "t* under coda": _path("coda of the sequence, windows", "t_star_s", "coda_noise"),
    "t* of both under coda": _path("windows", "t_star_s", "t_star_p", "coda_noise"),
    "stress drop under coda": _path(
        "coda of the sequence", "stress_drop", "coda_noise", verdicts=(PATH, UNDECIDED)
    ),
    "t* in wandering features": _path(
        "windows", "t_star_s", wander=0.2, memory=2.0, verdicts=(PATH, UNDECIDED)
    ),
    "t*, no magnitudes": _path("", "t_star_s", "no_magnitudes", verdicts=(UNDECIDED,)),
    "t*, no columns": _path("", "t_star_s", "no_magnitudes", "no_places", verdicts=(UNDECIDED,)),
    "t*, larger": _path("windows, size", "t_star_s", "larger", verdicts=(PATH, MIXED)),
    "t*, filter": _path("windows", "t_star_s", "filter", verdicts=(PATH, MIXED, UNDECIDED)),
    "t*, turned": _path("windows", "t_star_s", "turned", verdicts=(MIXED, UNDECIDED)),
    "t*, noise level": _path("windows", "t_star_s", "noise_level", verdicts=(PATH, MIXED)),
    "stress drop, damping": _path(
        "", "stress_drop", "damping", verdicts=(MIXED, STATION, UNDECIDED)
    ),
    "t*, completeness": _path(
        "windows, completeness", "t_star_s", "completeness", verdicts=(PATH, MIXED)
    ),
}


# ------------------------------------------------------------------------------------------ shapes


@dataclass(frozen=True)
class Shape:
    """How many events a sequence has and when they happen.

    n_events: int
    share_before: float, share of the foreshocks
    c_days: float, c of Omori's law [days]; small: most events on the days beside the mainshock
    gaps: tuple of (first, last) [days after the mainshock] in which nothing was recorded
    """

    n_events: int = 1200
    share_before: float = 0.5
    c_days: float = 2.0
    gaps: tuple = ()


SHAPES = {
    "even": Shape(),
    "small": Shape(n_events=400),
    "1 to 5": Shape(share_before=1 / 6),
    "gaps": Shape(gaps=((-34, -25), (-9, -6), (0, 1.5), (13, 27))),
    "first days": Shape(c_days=0.05),
}


def _draw_days(rng, shape, label, count):
    """Draw the times of one class by Omori's law with p = 1, sorted [days after the mainshock]."""
    chance = rng.random(40 * count)
    days = shape.c_days * ((1 + SPAN / shape.c_days) ** chance - 1)
    days = days if label else -days
    for first, last in shape.gaps:
        days = days[(days < first) | (days > last)]
    return np.sort(days[:count])


# ----------------------------------------------------------------------------------- real grounds


@dataclass(frozen=True)
class Ground:
    """Real noise of one place and recorder.

    files: str, pattern below shared/data
    first: float, seconds of each record that are left out at its beginning
    quiet: float, share of the windows that is used: those with the least transients
    short: bool, too few windows: their phases are drawn anew, the same for all components
    """

    files: str
    first: float = 0.0
    quiet: float = 0.5
    short: bool = False


GROUNDS = {
    "PB01": Ground("iquique/waveforms/CX.PB01.*"),
    "PB02": Ground("iquique/waveforms/CX.PB02.*"),
    "wellington": Ground("field/noise_wellington_2017/UT.STN11.*.miniseed"),
    "harbour": Ground("field/noise_wellington_2017/UT.STN12.*.miniseed"),
    "shake08": Ground("field/noise_illinois_2023/AM.RAC84.site08.mseed"),
    "shake09": Ground("field/noise_illinois_2023/AM.RAC84.site09.mseed"),
    "shake14": Ground("field/noise_illinois_2023/AM.RAC84.site14.mseed"),
    "tromino": Ground("field/noise_illinois_2023/TR.EGG04.site06.mseed"),
    "wilz": Ground("field/wilz_2024/O2.WILZ.*.mseed", first=4200.0, quiet=0.15),
    "salton": Ground("field/swarm_salton_2020/CI.FRK.*.mseed", short=True),
    "imperial": Ground("field/swarm_salton_2020/CI.IMP.*.mseed", short=True),
    "uturuncu": Ground("field/events_uturuncu_2011/XP.PLCL.events.mseed", first=19.0, short=True),
}


def available_grounds():
    """Names of the grounds whose recordings are there, list of str."""
    return [name for name, ground in GROUNDS.items() if any(DATA.glob(ground.files))]


@lru_cache(maxsize=2)
def read_noise(ground):
    """Read the quiet windows of a ground.

    ground: str, of GROUNDS

    returns: float32 array (N, 3, PADDED), components E, N, Z [counts]; their level, the median
        amplitude between 4 and 20 Hz, float [counts]
    raises: ForeshapError where the recordings are not there
    """
    if ground not in GROUNDS:
        raise ForeshapError(f"No ground {ground} is known: choose from {', '.join(GROUNDS)}.")
    paths = sorted(path for path in DATA.glob(GROUNDS[ground].files) if path.is_file())
    if not paths:
        raise ForeshapError(
            f"The noise of {ground} is not in {DATA / GROUNDS[ground].files}: "
            "put the folder shared/data beside the clone."
        )
    stream = obspy.Stream()
    for path in paths:
        stream += obspy.read(path)
    hop = 1024 if GROUNDS[ground].quiet == 0.5 and not GROUNDS[ground].short else 256
    windows = []
    for record in _three_components(stream):
        record = record[:, round(GROUNDS[ground].first * RATE) :]
        for first in range(0, record.shape[1] - PADDED + 1, hop):
            windows.append(record[:, first : first + PADDED])
    windows = np.array(windows, np.float32)
    windows -= windows.mean(axis=-1, keepdims=True)
    return _quietest(windows, GROUNDS[ground].quiet)


def _three_components(stream):
    """Yield float32 arrays (3, n) at 100 Hz, E, N, Z, of the times that all three have."""
    for trace in stream.select(component="E"):
        others = [trace]
        for component in "NZ":
            for other in stream.select(component=component):
                overlap = min(other.stats.endtime, trace.stats.endtime) - max(
                    other.stats.starttime, trace.stats.starttime
                )
                if overlap > PADDED / RATE:
                    others.append(other)
                    break
        if len(others) < 3:
            continue
        start = max(other.stats.starttime for other in others)
        rate = trace.stats.sampling_rate
        pieces = [
            other.data[round((start - other.stats.starttime) * rate) :].astype(np.float32)
            for other in others
        ]
        length = min(len(piece) for piece in pieces)
        record = np.stack([piece[:length] for piece in pieces])
        if rate != RATE:
            record = signal.resample_poly(record, 25, round(rate / 4), axis=-1)
        yield record.astype(np.float32)


def _quietest(windows, share):
    """The share of the windows with the least transients, and their level."""
    sos = signal.butter(2, (4, 20), "bandpass", fs=RATE, output="sos")
    energy = (signal.sosfilt(sos, windows, axis=-1).astype(np.float32) ** 2).sum(axis=1)
    seconds = energy[:, 96:].reshape(len(windows), -1, 100).mean(axis=-1)
    median = np.median(seconds, axis=1)
    burst = seconds.max(axis=1) / median
    loud = median / np.median(median)
    quiet = (burst <= np.quantile(burst, share)) & (loud < 10)
    return windows[quiet], float(np.sqrt(np.median(median[quiet]) / 3))


def _draw_noise(rng, pool, count, short):
    """Spectra (count, 3, len(F)) of windows: each adds two recorded ones up, at the same power."""
    angle = rng.uniform(0, np.pi / 2, count)
    spectra = np.zeros((count, 3, len(F)), complex)
    for weight in (np.cos(angle), np.sin(angle)):
        rows = rng.integers(len(pool), size=count)
        sign = rng.choice([-1.0, 1.0], count)
        parts = fft.rfft(pool[rows].astype(float)) * (weight * sign)[:, None, None]
        if short:
            parts *= np.exp(2j * np.pi * rng.random((count, 1, len(F))))
        spectra += parts
    return spectra


# ---------------------------------------------------------------------------------- the catalogue


PATCHES = 6
STRIKE = np.radians(150.0)
FAULT = {"strike": 150.0, "dip": 50.0, "rake": -90.0}  # degrees


def _draw_events(rng, shape, effects, counts):
    """Draw all events, sorted by time within their class: DataFrame of what is true of each."""
    labels = np.repeat([0, 1], counts)
    days = np.concatenate([_draw_days(rng, shape, label, counts[label]) for label in (0, 1)])
    if "hours" in effects or "traffic" in effects:
        days = _move_to_daytime(rng, days, labels * effects.get("hours", 0.0))
    n = len(days)
    events = pd.DataFrame({"label": labels, "days": days})
    events["patch"] = _draw_patches(rng, events, effects)
    events["magnitude"] = _draw_magnitudes(rng, events, effects)
    along = 3.2 * (events["patch"] - 2.0) + rng.normal(0, 0.6, n)
    along += effects.get("migration", 0.0) * (days / SPAN) / 2
    across = 8.0 + rng.normal(0, 0.6, n)
    depth = 6.5 + 0.8 * (events["patch"] % 3) + rng.normal(0, 1.2, n)
    depth -= labels * effects.get("depth", 0.0)
    events["north"] = along * np.cos(STRIKE) - across * np.sin(STRIKE)
    events["east"] = along * np.sin(STRIKE) + across * np.cos(STRIKE)
    events["depth"] = depth
    events["km"] = np.sqrt(events["north"] ** 2 + events["east"] ** 2 + depth**2)
    events["p_travel"] = events["km"] / VP
    events["s_travel"] = events["km"] / (VS * (1 - labels * effects.get("vp_vs", 0.0)))
    events["stress_drop"] = 6.0 + 0.25 * rng.standard_normal(n)  # log10 of Pa
    events["stress_drop"] += labels * effects.get("stress_drop", 0.0)
    events["rake"] = FAULT["rake"] + 15 * rng.standard_normal(n)
    events["rake"] += labels * effects.get("mechanism", 0.0)
    second = np.where(labels == 1, effects.get("second_event", 0.05), 0.05)
    events["second"] = rng.random(n) < second
    events["noise"] = 0.08 * rng.standard_normal(n) + _noise_level(rng, events, effects)
    return events


def _move_to_daytime(rng, days, share):
    """Move a share of the events into the hours from 8 to 16; each class stays sorted."""
    midnight = (MAINSHOCK - MAINSHOCK.normalize()) / pd.Timedelta(days=1)
    date, hour = np.divmod(days + midnight, 1)
    moved = rng.random(len(days)) < share
    hour = np.where(moved, rng.uniform(8, 16, len(days)) / 24, hour)
    changed = np.where(moved, date + hour - midnight, days)
    changed = np.where((days > 0) == (changed > 0), changed, days)  # none crosses the mainshock
    before = (days < 0).sum()
    return np.concatenate([np.sort(changed[:before]), np.sort(changed[before:])])


def _draw_patches(rng, events, effects):
    """Patch of each event, int array of 0 to 5."""
    n = len(events)
    logits = np.zeros((n, PATCHES))
    if "swarms" in effects:
        logits += effects["swarms"] * _wander(rng, events["days"].to_numpy(), 4.0, PATCHES)
    if "place" in effects:
        odd = np.arange(PATCHES) % 2
        logits += 3.0 * np.where(events["label"].to_numpy()[:, None] == 1, odd, 1 - odd)
    return np.argmax(logits + rng.gumbel(size=(n, PATCHES)), axis=1)


def _draw_magnitudes(rng, events, effects):
    """Magnitudes by Gutenberg and Richter's law with b = 0.95 from 1.2 to 3.4."""
    least = np.full(len(events), 1.2)
    early = events["days"].between(0, 10)
    least[early] += effects.get("completeness", 0.0)
    cut = 1 - 10 ** (-0.95 * (3.4 - least))
    magnitude = least - np.log10(1 - rng.random(len(events)) * cut) / 0.95
    larger = effects.get("larger", 0.0) + effects.get("magnitude_scale", 0.0)
    return magnitude + larger * events["label"]


def _noise_level(rng, events, effects):
    """log10 of the amplitude of each event's noise, beside its scatter."""
    level = effects.get("noise_level", 0.0) * events["label"].to_numpy(float)
    if "traffic" in effects:
        times = MAINSHOCK + pd.to_timedelta(events["days"], unit="D")
        hour = times.dt.hour + times.dt.minute / 60
        level -= effects["traffic"] * np.cos(2 * np.pi * hour / 24)
    if "regimes" in effects:
        level += effects["regimes"] * _regimes(rng, events["days"].to_numpy())
    return level


def _regimes(rng, days):
    """A level that is another after each 5 to 15 days, of unit variance."""
    edges = -SPAN - rng.uniform(0, 15) + np.cumsum(rng.uniform(5, 15, 40))
    return rng.standard_normal(41)[np.searchsorted(edges, days)]


def _wander(rng, days, memory, columns):
    """Processes (N, columns) of unit variance that forget exponentially, at the events' times."""
    order = np.argsort(days)
    steps = np.diff(days[order], prepend=days[order[0]])
    memories = np.exp(-steps / memory)
    values = rng.standard_normal((len(days), columns))
    for i in range(1, len(days)):
        values[i] = memories[i] * values[i - 1] + np.sqrt(1 - memories[i] ** 2) * values[i]
    result = np.empty_like(values)
    result[order] = values
    return result


def _catalogue(rng, events, effects, station):
    """The layout's table, with the errors that a catalogue has."""
    n, label = len(events), events["label"].to_numpy()
    error = effects.get("location_error", 0.3)
    latitude = STATION_LATITUDE + (events["north"] + error * rng.normal(size=n)) / KM_PER_DEGREE
    per_degree = KM_PER_DEGREE * np.cos(np.radians(STATION_LATITUDE))
    longitude = STATION_LONGITUDE + (events["east"] + error * rng.normal(size=n)) / per_degree
    depth = np.maximum(events["depth"] + error * rng.normal(size=n), 0.1)
    magnitude = events["magnitude"] - effects.get("magnitude_scale", 0.0) * label
    magnitude = (magnitude + 0.1 * rng.normal(size=n)).round(2)
    origin = MAINSHOCK + pd.to_timedelta(events["days"], unit="D")
    p_travel = (events["p_travel"] + events["p_pick"]).round(3)
    s_travel = (events["s_travel"] + events["s_pick"]).round(3)
    start = origin + pd.to_timedelta(p_travel - 5.0, unit="s")
    source = [f"{label[i] + 3}{i:05d}" for i in range(n)]
    table = pd.DataFrame({
        "trace_name": [f"{station}.{NETWORK}.{name}_EV" for name in source],
        "trace_start_time": start.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "network_code": NETWORK, "receiver_name": station, "receiver_type": "HH",
        "receiver_elevation_m": 900.0,
        "receiver_latitude": STATION_LATITUDE, "receiver_longitude": STATION_LONGITUDE,
        "source_id": source, "source_depth_km": depth.round(3),
        "source_latitude": latitude.round(5), "source_longitude": longitude.round(5),
        "source_magnitude": magnitude,
        "source_origin_time": origin.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "p_travel_sec": p_travel, "s_travel_sec": s_travel,
        "p_s_diff_sec": (s_travel - p_travel).round(3),
    })[list(COLUMNS)]  # fmt: skip
    if "no_magnitudes" in effects:
        table = table.drop(columns="source_magnitude")
    if "no_places" in effects:
        table = table.drop(columns=["source_latitude", "source_longitude", "source_depth_km"])
    return table


def _draw_picks(rng, events, effects):
    """Errors of the picks of P and S [s]: DataFrame with columns p_pick and s_pick."""
    n, label = len(events), events["label"].to_numpy()
    p_pick = 0.02 * rng.standard_normal(n) - label * effects.get("p_early", 0.0)
    s_pick = 0.05 * rng.standard_normal(n) + label * effects.get("s_late", 0.0)
    return events.assign(p_pick=p_pick, s_pick=s_pick)


# --------------------------------------------------------------------------------------- the waves


def _minimum_phase(log_amplitude):
    """Spectra with these logarithms of amplitude (..., len(F)) and nothing before time zero.

    The phase is the Hilbert transform of the logarithm (Oppenheim and Schafer, chapter on
    relations between real and imaginary parts).
    """
    both = np.concatenate([log_amplitude, log_amplitude[..., -2:0:-1]], axis=-1)
    pair = signal.hilbert(both, axis=-1)[..., : len(F)]
    return np.exp(log_amplitude - 1j * pair.imag)


def _double_couple(rake, east, north, depth):
    """Amplitudes of P, SV and SH of a double couple toward the station, and their directions.

    rake: float array (n,) [degrees]; the strike and dip are the fault's
    east, north, depth: float arrays (n,), the hypocentres seen from the station [km]

    returns: three arrays (n,) and three arrays (n, 3) of unit vectors (E, N, up)
    source: Aki and Richards (2002), sections 4.4 and 4.5, by the moment tensor
    """
    strike, dip, rake = np.radians(FAULT["strike"]), np.radians(FAULT["dip"]), np.radians(rake)
    along = np.array([np.sin(strike), np.cos(strike), 0.0])
    up_dip = np.array([-np.cos(dip) * np.cos(strike), np.cos(dip) * np.sin(strike), np.sin(dip)])
    normal = np.cross(along, up_dip)
    slip = np.cos(rake)[:, None] * along + np.sin(rake)[:, None] * up_dip
    ray = np.stack([-east, -north, depth], axis=1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    sh = np.stack([ray[:, 1], -ray[:, 0], np.zeros(len(ray))], axis=1)
    sh /= np.linalg.norm(sh, axis=1, keepdims=True)
    sv = np.cross(sh, ray)
    slip_ray, normal_ray = (slip * ray).sum(axis=1), ray @ normal
    amplitudes = [2 * slip_ray * normal_ray]
    for direction in (sv, sh):
        along_slip, along_normal = (slip * direction).sum(axis=1), direction @ normal
        amplitudes.append(along_slip * normal_ray + along_normal * slip_ray)
    return amplitudes, (ray, sv, sh)


def _source_spectrum(rng, batch, phase, t_star):
    """Spectrum of the ground velocity at the first arrival, complex (n, len(F)).

    Corner of a circular crack (Kaneko and Shearer, 2014: 0.38 for P, 0.26 for S) with the sharp
    corner of Boatwright (1980), two sub-events, and attenuation.
    """
    moment = 10 ** (1.5 * batch["magnitude"].to_numpy() + 9.1)  # N m
    radius = (7 / 16 * moment / 10 ** batch["stress_drop"].to_numpy()) ** (1 / 3)  # m
    factor, speed = (0.38, VP) if phase == "P" else (0.26, VS)
    corner = (factor * 1e3 * VS / radius)[:, None]
    level = moment / 1e11 / speed**3 / batch["km"].to_numpy()
    log_amplitude = np.log(2 * np.pi * np.maximum(F, F[1])) - 0.5 * np.log1p((F / corner) ** 4)
    spectrum = _minimum_phase(log_amplitude - np.pi * F * t_star[:, None])
    for _ in range(2):
        delay = rng.uniform(0.1, 0.6, (len(batch), 1)) / corner
        size = rng.uniform(0, 0.4, (len(batch), 1))
        spectrum *= (1 + size * np.exp(-2j * np.pi * F * delay)) / (1 + size)
    return spectrum * level[:, None]


def _scattered_paths(seed, patch, phase):
    """Delays [s], amplitudes and directions (8, 3) of a patch's scattered arrivals."""
    rng = np.random.default_rng([seed, patch, phase == "S"])
    delays = np.sort(rng.exponential(0.25 if phase == "P" else 0.45, 8)) + 0.03
    directions = rng.standard_normal((8, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return delays, 0.4 * np.exp(-delays / 0.7) * rng.lognormal(0, 0.4, 8), directions


BANDS = 1.5 * 2.0 ** np.arange(6)  # Hz, centres of octaves from 1.5 to 48


@lru_cache(maxsize=1)
def _octaves():
    """Amplitudes (6, len(F)) that cut noise into octaves; their squares add up to one."""
    distance = np.log2(np.maximum(F, 0.01) / BANDS[:, None])
    distance[0] = np.maximum(distance[0], 0)
    distance[-1] = np.minimum(distance[-1], 0)
    return np.cos(np.pi / 2 * np.clip(np.abs(distance), 0, 1))


def _coda(rng, onset, phase, log_q):
    """Noise (n, 3, PADDED) under the envelopes of scattered waves, each octave with its own decay.

    onset: int array (n,), sample of the arrival
    log_q: float array (n,), change of log10 of coda Q; Q is 45 f^0.7
    """
    spectra = fft.rfft(rng.standard_normal((len(onset), 3, PADDED)))
    lapse = T[None] - onset[:, None] / RATE
    after = lapse > 0
    lapse = np.maximum(lapse, 0.0)
    spread = (1 + lapse / 0.5) ** (-1.6 if phase == "P" else -1.1)
    waves = np.zeros((len(onset), 3, PADDED))
    for centre, octave in zip(BANDS, _octaves()):
        rate = np.pi * centre / (45 * centre**0.7 * 10**log_q)
        envelope = after * spread * np.exp(-rate[:, None] * lapse)
        waves += fft.irfft(spectra * octave, PADDED) * envelope[:, None]
    return 0.10 * waves


def _waves(rng, batch, onset, effects, seed):
    """Spectra (n, 3, len(F)) of the ground motion of events whose P comes at these samples."""
    n, label = len(batch), batch["label"].to_numpy(float)
    s_p = (batch["s_travel"] - batch["p_travel"]).to_numpy()
    relative = s_p / MEDIAN_S_P
    attenuation = _attenuation(batch, effects, relative)
    amplitudes, directions = _double_couple(
        batch["rake"].to_numpy(), *(batch[name].to_numpy() for name in ("east", "north", "depth"))
    )
    rows = np.arange(n)
    total = np.zeros((n, 3, len(F)), complex)
    for phase in "PS":
        arrival = onset + (0 if phase == "P" else np.rint(s_p * RATE).astype(int))
        direct = np.zeros((n, 3))
        for amplitude, direction, name in zip(amplitudes, directions, "PSS"):
            if name == phase:  # the 0.2: nodal planes are blurred
                direct += (
                    np.hypot(amplitude, 0.2)[:, None] * np.sign(amplitude)[:, None] * direction
                )
        size = np.linalg.norm(direct, axis=1)
        impulses = np.zeros((n, 3, PADDED))
        impulses[rows, :, np.minimum(arrival, PADDED - 1)] += direct
        more = 10 ** (label * effects.get("scattering", 0.0))
        for patch in range(PATCHES):
            chosen = np.flatnonzero(batch["patch"].to_numpy() == patch)
            for delay, amplitude, towards in zip(*_scattered_paths(seed, patch, phase)):
                late = delay + rng.normal(0, 0.02, len(chosen))
                at = arrival[chosen] + np.maximum(np.rint(late * RATE).astype(int), 1)
                strength = size * amplitude * more
                strength = strength[chosen] * rng.lognormal(0, 0.3, len(chosen))
                impulses[chosen, :, np.minimum(at, PADDED - 1)] += strength[:, None] * towards
        coda = _coda(rng, arrival, phase, label * effects.get("coda_q", 0.0))
        impulses += coda * (size * more)[:, None, None]
        spectrum = _source_spectrum(rng, batch, phase, attenuation[phase])
        part = fft.rfft(impulses) * spectrum[:, None]
        if phase == "S" and "t_star_east" in effects:
            extra = effects["t_star_east"] * relative * label
            part[:, 0] *= _minimum_phase(-np.pi * F * extra[:, None])
        total += part
    return total * _site(seed)


def _attenuation(batch, effects, relative):
    """t* of P and of S of each event [s], dict of arrays (n,)."""
    label, days, patch = (batch[name].to_numpy(float) for name in ("label", "days", "patch"))
    travel = batch["km"].to_numpy()
    kappa = 0.025 + label * effects.get("kappa", 0.0)
    kappa = kappa + effects.get("season", 0.0) * np.sin(np.pi * days / (2 * SPAN))
    quality = 1 + 0.05 * np.cos(patch)  # patches differ a little, at all times
    t_star = {
        "P": travel / VP / 400 * quality + kappa + label * effects.get("t_star_p", 0.0) * relative,
        "S": travel / VS / 250 * quality + kappa + label * effects.get("t_star_s", 0.0) * relative,
    }
    t_star["S"] += label * (patch < 3) * effects.get("part_of_fault", 0.0) * relative
    t_star["S"] += (patch % 2) * effects.get("place", 0.0)
    growth = np.clip(1 + days / 20, 0, 1)
    t_star["S"] += growth * effects.get("preparation", 0.0) * relative
    return {phase: np.maximum(value, 0.005) for phase, value in t_star.items()}


def _site(seed):
    """Response (3, len(F)) of the layers under the station: two resonances of each sequence."""
    rng = np.random.default_rng([seed, 99])
    log_amplitude = np.zeros((3, len(F)))
    for centre in rng.uniform([2, 7], [6, 20]):
        for component in range(3):
            size = rng.uniform(0.3, 0.8) * (1.0 if component < 2 else 0.4)
            distance = np.log(np.maximum(F, 0.01) / centre) / 0.25
            log_amplitude[component] += size * np.exp(-0.5 * distance**2)
    return _minimum_phase(log_amplitude)


# ------------------------------------------------------------------------- the sensor and recorder


def _response(effects):
    """What a changed station does to the ground's motion, complex (3, 3, len(F)), out by in."""
    s = 1j * np.maximum(F, 1e-3)
    each = np.ones((3, len(F)), complex)
    if "filter" in effects:
        each = each / (1 + s / effects["filter"]) ** 2
    if "sensor_corner" in effects:
        each = each * _geophone(s, effects["sensor_corner"], 0.7)
    if "damping" in effects:
        each = each * _geophone(s, 4.5, effects["damping"]) / _geophone(s, 4.5, 0.7)
    if "loose_mount" in effects:
        ratio = s / 16.0
        share = effects["loose_mount"]
        each[:2] *= 1 - share + share / (1 + 0.25 * ratio + ratio**2)
    if "component_gain" in effects:
        each[1] *= effects["component_gain"]
    if "native_rate" in effects:
        sharp = signal.firwin(257, 0.45 * effects["native_rate"], fs=RATE)
        each = each * np.abs(fft.rfft(sharp, PADDED))
    matrix = np.eye(3)
    if "exchanged" in effects:
        matrix = matrix[[1, 0, 2]]
    angle = np.radians(effects.get("turned", 0.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    response = each[:, None] * (turn @ matrix)[..., None]
    return response * 10 ** effects.get("gain", 0.0)


def _geophone(s, corner, damping):
    """Response of a pendulum to ground velocity; s: i f [Hz]."""
    return s**2 / (s**2 + 2 * damping * corner * s + corner**2)


def _recorder_noise(rng, count, level):
    """Spectra (count, 3, len(F)) of the recorder's own noise, of this amplitude from 4 to 20 Hz."""
    white = fft.rfft(rng.standard_normal((count, 3, PADDED)))
    shape = np.sqrt(1 + 0.5 / np.maximum(F, 0.2))
    return level * white * shape / np.sqrt(16 / (RATE / 2))


def _coda_noise(rng, batch, effects, level):
    """Spectra of the coda of the sequence's many small events, which fades with its days."""
    n, days = len(batch), batch["days"].to_numpy()
    rate = np.where(days > 0, np.maximum(days, 0.02), np.inf) ** -0.5
    fading = np.zeros((n, PADDED))
    for _ in range(6):
        onset = rng.uniform(-20, PADDED / RATE, (n, 1))
        lapse = T[None] - onset
        decay = np.exp(-np.maximum(lapse, 0) / rng.uniform(3, 12, (n, 1)))
        fading += rng.lognormal(0, 0.7, (n, 1)) * np.where(lapse > 0, decay, 0)
    fading /= np.sqrt((fading**2).mean(axis=1, keepdims=True)) + 1e-12
    waves = fft.rfft(rng.standard_normal((n, 3, PADDED)) * fading[:, None])
    shape = np.exp(-0.5 * (np.log(np.maximum(F, 0.1) / 5.0) / 0.9) ** 2)
    scatter = rng.lognormal(0, 0.4, n)
    size = effects["coda_noise"] * level * rate * scatter
    return waves * shape * size[:, None, None] / 0.5


def _wandering_shapes(rng, events, effects):
    """Coefficients (N, 2, 3, 5) of smooth factors on the waves and on the noise, log10."""
    n, columns = len(events), 2 * 3 * 5
    share = effects.get("wander", 0.0)
    values = np.sqrt(1 - share) * rng.standard_normal((n, columns))
    if share:
        slow = _wander(rng, events["days"].to_numpy(), effects["memory"], columns)
        values += np.sqrt(share) * slow
    return 0.05 * values.reshape(n, 2, 3, 5)


def _smooth_factor(coefficients):
    """Factors (n, 3, len(F)) on spectra, cosines of the logarithm of frequency from 1 to 50 Hz."""
    place = np.clip(np.log(np.maximum(F, 1.0)) / np.log(50.0), 0, 1)
    shapes = np.cos(np.pi * np.arange(5)[:, None] * place)
    return 10 ** (coefficients @ shapes)


# ------------------------------------------------------------------------------- the whole sequence


def build_sequence(folder, cause, ground, seed, shape="even", n_events=None, snr=40.0, **strengths):
    """Write a sequence with one known cause in the waveform layout.

    folder: str or Path, for <STATION>_{pre,post}.hdf5, their tables, and truth.csv, one row an
        event: what is true of it and no catalogue says
    cause: str, of CAUSES
    ground: str, of GROUNDS: whose noise
    seed: int; the same arguments give the same files
    shape: str, of SHAPES
    n_events: int, that of the shape when left out
    snr: float, amplitude of S of an event of magnitude 1.5 over that of the noise, 4 to 20 Hz
    strengths: float, other strengths of the cause's effects, or further effects (see EFFECTS)

    returns: Path of the folder
    raises: ForeshapError for an unknown name, or where the noise is not there
    """
    for name, known in ((cause, CAUSES), (shape, SHAPES), *((n, EFFECTS) for n in strengths)):
        if name not in known:
            raise ForeshapError(f"{name} can't be simulated: choose from {', '.join(known)}.")
    effects = CAUSES[cause].effects | strengths
    pool, level = read_noise(ground)
    n_events = n_events or SHAPES[shape].n_events
    before = round(n_events * SHAPES[shape].share_before)
    rng = np.random.default_rng([seed, zlib.crc32(f"{cause} {ground} {shape}".encode())])
    events = _draw_events(rng, SHAPES[shape], effects, (before, n_events - before))
    events = _draw_picks(rng, events, effects)
    station = "".join(filter(str.isalnum, ground)).upper()
    table = _catalogue(rng, events, effects, station)
    shapes = _wandering_shapes(rng, events, effects)
    size = snr * level / _reference_amplitude(seed)
    attributes = {
        "dataset": f"{cause}, {ground}, seed {seed}, {shape}",
        "mainshock": f"{MAINSHOCK.isoformat()}Z",
        "simulated": "yes: no real earthquakes, real noise",
        "effects": json.dumps(effects),
    }
    for label, period in enumerate(("pre", "post")):
        rows = np.flatnonzero(events["label"] == label)
        acting = effects if label else {}
        traces = _traces(
            rng, events.iloc[rows], shapes[rows], table["trace_name"].to_numpy()[rows],
            effects, acting, (pool, level, GROUNDS[ground].short), size, seed,
        )  # fmt: skip
        write_waveforms(folder, station, period, traces, table.iloc[rows], **attributes)
    truth = pd.concat([table["trace_name"], events], axis=1)
    truth.to_csv(Path(folder) / "truth.csv", index=False)
    return Path(folder)


@lru_cache(maxsize=8)
def _reference_amplitude(seed):
    """Amplitude of S of events of magnitude 1.5 between 4 and 20 Hz, before it is scaled."""
    rng = np.random.default_rng([seed, 98])
    events = _draw_events(rng, Shape(), {}, (BATCH // 2, BATCH // 2)).assign(magnitude=1.5)
    waves = _waves(rng, events, np.full(len(events), P_SAMPLE), {}, seed)
    waves = fft.irfft(waves * ((F > 4) & (F < 20)), PADDED)
    late = events["s_travel"] - events["p_travel"]
    first = P_SAMPLE + np.rint(late.to_numpy() * RATE).astype(int)
    parts = [wave[:, start : start + 200] for wave, start in zip(waves, first)]
    return float(np.sqrt(np.median(np.square(parts).mean(axis=(1, 2)))))


def _traces(rng, events, shapes, names, effects, acting, noise, size, seed):
    """Yield (trace name, int32 array (3, samples)) of one class.

    effects: dict, of the cause; acting: those of them that change the station in this class
    noise: pool of windows, its level, and whether its phases are drawn anew
    """
    pool, level, short = noise
    response = _response(acting)
    steady = "low_gain" in effects
    most = FULL_SCALE
    if "clipping" in acting:
        loud = size * _reference_amplitude(seed)
        most = np.rint(acting["clipping"] * loud + 4 * pool[:50].std())
    for first in range(0, len(events), BATCH):
        batch = events.iloc[first : first + BATCH]
        n = len(batch)
        onset = P_SAMPLE - np.rint(batch["p_pick"].to_numpy() * RATE).astype(int)
        waves = size * _waves(rng, batch, onset, effects, seed)
        chosen = np.flatnonzero(batch["second"])
        if len(chosen):
            waves[chosen] += size * _second_events(rng, batch.iloc[chosen], effects, seed)
        waves *= _smooth_factor(shapes[first : first + n, 0])
        ground = _draw_noise(rng, pool, n, short) * 10 ** batch["noise"].to_numpy()[:, None, None]
        ground *= _smooth_factor(shapes[first : first + n, 1])
        if "noise_band" in acting:
            ground *= 1 + acting["noise_band"] * ((F > 17) & (F < 19))
        if "coda_noise" in acting:
            ground += _coda_noise(rng, batch, acting, level)
        if steady:
            ground *= effects["low_gain"]
        motion = waves + ground
        recorded = np.einsum("oif,nif->nof", response, motion)
        own = acting.get("recorder_noise", 0.0) + (1.0 if steady else 0.0)
        if own:
            recorded += _recorder_noise(rng, n, own * level)
        counts = fft.irfft(recorded, PADDED)[..., FIRST : FIRST + SAMPLES]
        yield from zip(names[first : first + n], _digitised(counts, acting, level, most))


def _second_events(rng, batch, effects, seed):
    """Waves of second events, 2 to 14 s after the first, of a similar magnitude in any patch."""
    other = batch.assign(
        magnitude=batch["magnitude"] + rng.uniform(-0.5, 0.5, len(batch)),
        patch=rng.integers(PATCHES, size=len(batch)),
    )
    onset = P_SAMPLE + np.rint(rng.uniform(2, 14, len(batch)) * RATE).astype(int)
    return _waves(rng, other, onset, effects, seed)


def _digitised(counts, acting, level, most):
    """Whole counts (n, 3, samples) within the recorder's range."""
    if "sample_step" in acting:
        step = max(2, round(acting["sample_step"] * level))
        counts = step * np.rint(counts / step)
    counts = np.clip(np.rint(counts), -most, most)
    length = round(acting.get("record_length", SAMPLES / RATE) * RATE)
    return counts[..., :length].astype(np.int32)


# ------------------------------------------------------------------------- what goes with sequences


def scale_tensors(values):
    """Scale each event's log-spectrograms to 0 to 255, all channels alike, as published ones are.

    values: array (N, 3, F, T)

    returns: float32 array of the same shape, whole numbers
    """
    values = np.asarray(values, np.float32)
    low = values.min(axis=(1, 2, 3), keepdims=True)
    high = values.max(axis=(1, 2, 3), keepdims=True)
    return np.rint(255 * (values - low) / (high - low))


def strength(folder, seed=0):
    """How well the classes separate, by a model that shares no code with the controls.

    folder: str or Path, of build_sequence()
    seed: int, of the folds

    returns: dict, "noise", "P", "S", "coda", "catalogue" -> held-out ROC AUC of a logistic
        regression on 12 bands of three components, or on the columns of the catalogue
    """
    truth = pd.read_csv(Path(folder) / "truth.csv")
    s_p = (truth["s_travel"] - truth["p_travel"]).to_numpy()
    records = {}
    for path in sorted(Path(folder).glob("*.hdf5")):
        with h5py.File(path) as file:
            for name in file:
                records[name] = file[name][:, :2600]
    records = np.stack([records[name] for name in truth["trace_name"]]).astype(float)
    starts = {
        "noise": 450 - 256 + 0 * s_p,
        "P": 490 + 0 * s_p,
        "S": 490 + 100 * s_p,
        "coda": 900 + 100 * s_p,
    }
    scores = {}
    for name, first in starts.items():
        length = 128 if name == "P" else 256
        parts = [r[:, round(a) : round(a) + length] for r, a in zip(records, first)]
        taper = signal.windows.dpss(length, 2.5)
        power = np.abs(fft.rfft(signal.detrend(parts) * taper, 256)) ** 2
        edges = np.unique(np.geomspace(3, 128, 13).round().astype(int))
        bands = [power[..., a:b].mean(axis=-1) for a, b in zip(edges[:-1], edges[1:])]
        features = np.log10(np.concatenate(bands, axis=1) + 1e-3)
        scores[name] = _held_out(features, truth["label"], seed)
    tables = [pd.read_csv(path) for path in sorted(Path(folder).glob("*_attributes.csv"))]
    catalogue = pd.concat(tables).set_index("trace_name").loc[truth["trace_name"]]
    columns = [
        c
        for c in catalogue
        if c.startswith(("source_m", "source_la", "source_lo", "source_de", "p_s"))
    ]
    scores["catalogue"] = _held_out(catalogue[columns].to_numpy(), truth["label"], seed)
    return scores


def _held_out(features, labels, seed):
    """ROC AUC of a logistic regression on events that it was not fitted to."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, features, labels, cv=folds, method="decision_function")
    return float(roc_auc_score(labels, scores))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--causes", nargs="+", default=list(CAUSES))
    parser.add_argument("--ground", default="PB01")
    parser.add_argument("--shape", default="even")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int)
    arguments = parser.parse_args()
    print(f"{'cause':28}  ROC AUC held out, {arguments.ground}, {arguments.shape}")
    for cause in arguments.causes:
        with tempfile.TemporaryDirectory() as folder:
            build_sequence(
                folder, cause, arguments.ground, arguments.seed, arguments.shape, arguments.events
            )
            scores = strength(folder)
        line = "  ".join(f"{name} {score:.2f}" for name, score in scores.items())
        print(f"{cause:28}  {line}", flush=True)


if __name__ == "__main__":
    main()
