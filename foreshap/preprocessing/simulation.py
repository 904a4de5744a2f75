"""A simulated sequence with a known difference between foreshocks and aftershocks.

Close station in a normal-faulting sequence: Brune sources, travel-time attenuation, coda, coloured
noise. Every event is simulated twice with the same random numbers, as a foreshock and as an
aftershock; what it was not stands in the folder truth/, so what an effect does to each spectrogram
is known exactly. The folder noise/ holds windows without any event.
"""

import json
import re
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft
from tqdm import tqdm

from ..files import ForeshapError, folder_written_whole, whole_number
from .periods import periods
from .variants import SAMPLING_RATE, SECONDS_BEFORE_P, SIDES
from .waveforms import COLUMNS, write_waveforms

MAINSHOCK = "2016-10-30T06:40:17"
EFFECTS = {  # what aftershocks have more of
    "path": "t* of S at the median S-P [s]; P gets 0.6 of it; proportional to S-P",
    "kappa": "kappa of the path's last stretch, which the noise does not travel [s]",
    "stress_drop": "log10 of the stress drop",
    "coda_q": "log10 of coda Q",
    "noise_band": "noise between 17 and 19 Hz, in multiples of the noise there",
    "site_peak": "frequency of the site's resonance [Hz], in waves and noise alike",
    "noise_level": "log10 of the noise amplitude",
    "gain": "log10 of the digitiser's gain",
    "corner": "1 / corner frequency of the digitiser's low-pass (one pole) [s]",
    "magnitude": "magnitude",
    "s_p": "log10 of S-P",
    "hours": "share moved into the hours from 8 to 16; all noise then follows the hour",
    "second_event": "share of windows that hold a second event",
    "missing_component": "share of traces with two components",
}
OF_EARTHQUAKES = ("stress_drop", "magnitude", "s_p", "hours")  # the same at all stations
OF_BOTH = ("second_event", "missing_component")  # shares that both classes have
DEFAULT_EFFECTS = {"path": 0.010}

STATION, NETWORK = "DEMO", "XX"
LATITUDE, LONGITUDE = 42.83, 13.11
VP, VS, DENSITY = 5.6e3, 3.1e3, 2.7e3  # m/s, m/s, kg/m^3
KM_PER_S_P = 1e-3 / (1 / VS - 1 / VP)  # hypocentral distance [km] a second of S-P
MEDIAN_S_P = 1.2  # s
NOISE_S_P = 1.0  # s, of a window without an event: the layout wants a number
STRESS_DROP, KAPPA = 2.1e6, 0.03  # Pa, s
Q_S, CODA_Q = 200.0, 60.0
GAIN = 2e9  # counts per m/s
DIURNAL = 0.2  # log10 of the noise amplitude between noon and the daily mean, where hours matter
SAMPLES, PADDED = 2500, 3000  # of a trace; the rest takes what would wrap around
FREQUENCIES = fft.rfftfreq(PADDED, 1 / SAMPLING_RATE)
OWN_SCATTER = {  # what each station draws for itself: standard deviation
    "log_t_star": 0.02,
    "log_noise": 0.15,
    "noise_slope": 0.2,
    "log_p_amplitude": 0.1,
    "log_s_amplitude": 0.1,
}
SPACING_KM = 6.0  # between neighbouring stations, on a line to the north-east
KM_PER_LATITUDE, KM_PER_LONGITUDE = 111.2, 81.5
TOGETHER = 50  # events simulated together
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def simulate_sequence(output, n_events, seed, effects=None, stations=None):
    """Write a simulated sequence in the waveform layout and its truth beside it.

    output: str or Path, folder for DEMO_{pre,post}.hdf5 and their tables; in truth/ each event as
        if it had happened on the other side of the mainshock, in noise/ windows without an event
    n_events: int, half of them foreshocks
    seed: int
    effects: dict, name (see EFFECTS) -> size; None: DEFAULT_EFFECTS; {}: none
    stations: dict, name -> effects at that station (None: those above); all record the same
        earthquakes; None: DEMO alone
    returns: Path of the folder
    raises: ForeshapError for an unknown effect, one of earthquakes that differs between stations,
        or fewer than two events
    """
    effects = _known_effects(DEFAULT_EFFECTS if effects is None else effects)
    of_stations = {}
    for name, own in (stations or {STATION: None}).items():
        of_stations[name] = effects if own is None else _known_effects(own)
        for effect in OF_EARTHQUAKES:
            if of_stations[name].get(effect) != effects.get(effect):
                what = f"The effect {effect} is one of earthquakes, it can't differ at {name}"
                raise ForeshapError(f"{what}: give it in effects and at every station.")
    whole_number("The seed", seed)
    whole_number("The number of events", n_events, 2)
    counts = (n_events // 2, n_events - n_events // 2)
    n_traces = 2 * n_events + sum((count + 1) // 2 for count in counts)
    progress = tqdm(total=len(of_stations) * n_traces, desc="simulating", unit="trace")
    with folder_written_whole(output) as new, progress:
        for number, (name, acting) in enumerate(of_stations.items()):
            _write_station(new, name, number, counts, seed, acting, progress)
    return Path(output)


def _known_effects(effects):
    """Drop effects of size 0; raise ForeshapError for one that is unknown."""
    for name, size in effects.items():
        if name not in EFFECTS:
            raise ForeshapError(f"No effect {name} is known: choose from {', '.join(EFFECTS)}.")
        if not isinstance(size, int | float | np.number) or not np.isfinite(size):
            raise ForeshapError(f"The effect {name} has the size {size!r}: give a number.")
    return {name: size for name, size in effects.items() if size}


def _write_station(output, name, number, counts, seed, effects, progress):
    """Write the events, their truth and the noise of one station, the number-th on its line."""
    about = {"simulated": "yes: no real earthquakes", "effects": json.dumps(effects), "seed": seed}
    about |= periods(MAINSHOCK).attributes()
    truth = about | {"truth": "each event as it would have been on the other side"}
    noise = about | {"noise": "windows without an event"}
    own = [number] if number else []  # a sequence with one station has the first one's numbers
    by_hours = "hours" in effects
    for label, (side, count) in enumerate(zip(SIDES, counts)):
        seeds = [seed, label]
        for folder, acting, stated in (("", label, about), ("truth", 1 - label, truth)):
            change = {effect: acting * effects.get(effect, 0.0) for effect in EFFECTS}
            change |= {effect: effects.get(effect, 0.0) for effect in OF_BOTH}
            events = _draw_events(np.random.default_rng(seeds), count, label, change, by_hours)
            events = _recorded_at(events, name, number, np.random.default_rng([*seeds, 2, *own]))
            firsts = range(0, count, TOGETHER)
            generators = [np.random.default_rng([*seeds, first, *own]) for first in firsts]
            traces = _traces(events, generators, change, progress)
            table = events[list(COLUMNS)]
            write_waveforms(output / folder, name, side, traces, table, **stated)
        rng = np.random.default_rng([*seeds, 1, *own])
        change = {effect: label * effects.get(effect, 0.0) for effect in EFFECTS}
        change |= dict.fromkeys((*OF_BOTH, "hours"), 0.0)  # noise is recorded at all hours
        windows = _draw_events(rng, (count + 1) // 2, label, change, by_hours)
        windows = windows.assign(p_s_diff_sec=NOISE_S_P, source_id="noise" + windows["source_id"])
        windows = _recorded_at(windows, name, number)
        traces = _traces(windows, repeat(rng), change, progress, motion=0.0)
        of_events = [column for column in COLUMNS if re.match("source_[^i]|p_t|s_t", column)]
        table = windows[list(COLUMNS)].assign(**dict.fromkeys(of_events, np.nan))
        write_waveforms(output / "noise", name, side, traces, table, **noise)


def _traces(events, generators, change, progress, motion=1.0):
    """Yield (trace_name, samples), simulated batch by batch, a random generator each."""
    for first, rng in zip(range(0, len(events), TOGETHER), generators):
        batch = events.iloc[first : first + TOGETHER]
        yield from zip(batch["trace_name"], _counts(batch, rng, change, motion))
        progress.update(len(batch))


def _draw_events(rng, n, label, change, by_hours):
    """Draw a class's events in the order of time: the layout's columns, and what makes traces."""
    u = rng.random((6, n))
    g = rng.standard_normal((8, n))
    chance, place = rng.random((2, n))
    days = 60 ** u[0] - 1  # Omori decay with p = 1 and c = 1 day, up to 59 days from the mainshock
    magnitude = 0.6 - np.log10(1 - u[1] * (1 - 10**-2.9))  # Gutenberg-Richter, b = 1, 0.6 to 3.5
    s_p = MEDIAN_S_P * 10 ** (0.15 * g[0] + change["s_p"])
    columns = {
        "days": -days if label == 0 else days,
        "source_magnitude": (magnitude + change["magnitude"]).round(2),
        "p_s_diff_sec": s_p.clip(0.5, 3.0).round(2),
        "log_stress_drop": 0.1 * g[1],
        "bearing": 2 * np.pi * np.floor(6 * u[2]) / 6 + 0.2 * g[7],
        "dip": 0.5 + 0.4 * u[3],
        "second": u[4] < change["second_event"],
        "lost": u[5] < change["missing_component"],
    }
    for (name, deviation), number in zip(OWN_SCATTER.items(), g[2:]):
        columns[name] = deviation * number
    events = pd.DataFrame(columns).sort_values("days", ignore_index=True)
    if by_hours:
        _move_to_hours(events, chance < change["hours"], place)
    km = KM_PER_S_P * events["p_s_diff_sec"]
    epicentral = km * np.sqrt(1 - events["dip"] ** 2)
    north, east = np.cos(events["bearing"]), np.sin(events["bearing"])
    origin = pd.Timestamp(MAINSHOCK) + pd.to_timedelta(events["days"], unit="D")
    return events.assign(
        source_id=pd.Series([f"{label + 1}{i:06d}" for i in range(n)]),
        source_depth_km=(km * events["dip"]).round(2),
        source_latitude=(LATITUDE + epicentral * north / KM_PER_LATITUDE).round(5),
        source_longitude=(LONGITUDE + epicentral * east / KM_PER_LONGITUDE).round(5),
        source_origin_time=origin.dt.strftime(TIME_FORMAT),
        **_travel_columns(origin, events["p_s_diff_sec"]),
    )


def _move_to_hours(events, moved, place):
    """Move some events into the hours from 8 to 16 of their day, and make noise louder at day."""
    mainshock = pd.Timestamp(MAINSHOCK)
    midnight = (mainshock - mainshock.normalize()) / pd.Timedelta(days=1)
    date, hour = np.divmod(events["days"] + midnight, 1)
    hour = np.where(moved, (8 + 8 * place) / 24, hour)
    events["days"] = date + hour - midnight
    events["daytime"] = -DIURNAL * np.cos(2 * np.pi * hour)
    events["log_noise"] += events["daytime"]


def _travel_columns(origin, s_p):
    """Return the layout's columns that follow from origin times and S-P [s]."""
    p_travel = (1e3 * KM_PER_S_P * s_p / VP).round(3)
    start = origin + pd.to_timedelta(p_travel - SECONDS_BEFORE_P, unit="s")
    s_travel = (p_travel + s_p).round(3)
    start = start.dt.strftime(TIME_FORMAT)
    return {"trace_start_time": start, "p_travel_sec": p_travel, "s_travel_sec": s_travel}


def _recorded_at(events, name, number, rng=None):
    """Add a station's columns; one beyond the first has its own distances and, by rng, scatter."""
    away = number * SPACING_KM / np.sqrt(2)
    latitude, longitude = LATITUDE + away / KM_PER_LATITUDE, LONGITUDE + away / KM_PER_LONGITUDE
    own = {}
    if number and rng:
        north = KM_PER_LATITUDE * (events["source_latitude"] - latitude)
        east = KM_PER_LONGITUDE * (events["source_longitude"] - longitude)
        km = np.sqrt(north**2 + east**2 + events["source_depth_km"] ** 2)
        s_p = (km / KM_PER_S_P).clip(0.5).round(2)
        origin = pd.to_datetime(events["source_origin_time"]).dt.tz_localize(None)
        own = {"p_s_diff_sec": s_p, **_travel_columns(origin, s_p)}
        for column, deviation in OWN_SCATTER.items():
            own[column] = deviation * rng.standard_normal(len(events))
        if "daytime" in events:
            own["log_noise"] += events["daytime"]
    own |= {"receiver_name": name, "network_code": NETWORK, "receiver_type": "HH"}
    own |= {"receiver_latitude": latitude, "receiver_longitude": longitude}
    names = f"{name}.{NETWORK}." + events["source_id"] + "_EV"
    return events.assign(trace_name=names, receiver_elevation_m=0.0, **own)


def _counts(batch, rng, change, motion):
    """Simulate a batch: list of int32 (3, SAMPLES) [counts], two rows where a component is lost.

    change: how much of every effect is in it; motion: factor of the ground motion, 0 in noise
    """
    noise = rng.standard_normal((len(batch), 3, 2 * len(FREQUENCIES))).view(complex)
    p_seconds = np.full(len(batch), SECONDS_BEFORE_P)
    waves = _ground_motion(batch, p_seconds, rng, change)
    if batch["second"].any():
        later = p_seconds + rng.uniform(-4, 15, len(batch))
        second = _ground_motion(batch, later, rng, change)
        waves += second * batch["second"].to_numpy()[:, None, None]
    site = _site(change)
    noise_amplitude = _noise_spectrum(batch, change)[:, None]
    spectra = motion * waves * site + noise * noise_amplitude * np.abs(site / _site({}))
    spectra = spectra * (10 ** change["gain"] / (1 + 1j * FREQUENCIES * change["corner"]))
    counts = np.rint(fft.irfft(spectra, PADDED)[..., :SAMPLES]).astype(np.int32)
    return [event[:2] if lost else event for event, lost in zip(counts, batch["lost"])]


def _ground_motion(batch, p_seconds, rng, change):
    """Spectra of the ground velocity of P and S waves, complex (n, 3, F) [counts]."""
    s_seconds = p_seconds + batch["p_s_diff_sec"].to_numpy()
    turn = rng.uniform(0, 2 * np.pi, len(batch))
    east_north = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    up = np.ones((len(batch), 1))
    p = _arrivals(p_seconds, np.hstack([0.35 * east_north, up]), rng, change)
    s = _arrivals(s_seconds, np.hstack([east_north[:, ::-1], 0.35 * up]), rng, change)
    return p * _source(batch, "P", change)[:, None] + s * _source(batch, "S", change)[:, None]


def _arrivals(seconds, polarisation, rng, change):
    """Spectra of an impulse and its coda: white noise under an envelope, Q_coda = CODA_Q * f."""
    places = np.arange(PADDED)
    after = places / SAMPLING_RATE - seconds[:, None]
    lapse = np.maximum(after, 0)
    decay = np.pi / (CODA_Q * 10 ** change["coda_q"])
    audible = (after > 0) & (places < SAMPLES)  # the padding stays free for what comes late
    envelope = np.where(audible, 0.12 * (1 + lapse / 0.3) ** -1.2 * np.exp(-decay * lapse), 0)
    wave = rng.standard_normal((len(seconds), 3, PADDED)) * envelope[:, None]
    onsets = np.rint(seconds * SAMPLING_RATE).astype(int)
    wave[np.arange(len(seconds)), :, onsets] += polarisation
    return fft.rfft(wave)


def _source(batch, phase, change):
    """Brune's velocity spectrum (1970) with travel-time and site attenuation, complex (n, F).

    Low-frequency level 2 R M0 / (4 pi rho v^3 r) [counts], corner 0.49 v_S (stress drop /
    M0)^(1/3). The phase is the least that a causal filter can have: nothing precedes an arrival.
    """
    column = {name: batch[name].to_numpy()[:, None] for name in batch.select_dtypes(float)}
    speed, ratio, pattern = (VP, 0.6, 0.52) if phase == "P" else (VS, 1.0, 0.63)
    s_p = column["p_s_diff_sec"]
    moment = 10 ** (17.46 + 1.12 * column["source_magnitude"] - 7)  # N m
    stress_drop = STRESS_DROP * 10 ** (column["log_stress_drop"] + change["stress_drop"])  # Pa
    corner = 0.49 * speed * (stress_drop / moment) ** (1 / 3)  # Hz; P above S by v_P / v_S
    level = pattern * 10 ** column[f"log_{phase.lower()}_amplitude"] * moment
    level = 2 * level / (4 * np.pi * DENSITY * speed**3 * 1e3 * KM_PER_S_P * s_p)  # m s
    travel = s_p * VP / (VP - VS)  # of S, s
    t_star = travel / Q_S * 10 ** column["log_t_star"] + change["path"] * s_p / MEDIAN_S_P
    t_star = ratio * t_star + KAPPA + change["kappa"]
    f = FREQUENCIES
    attenuation = np.pi * f * t_star
    # The sinc makes the difference below the exact derivative.
    log_amplitude = -np.log1p((f / corner) ** 2) - attenuation - np.log(np.sinc(f / SAMPLING_RATE))
    difference = SAMPLING_RATE * (1 - np.exp(-2j * np.pi * f / SAMPLING_RATE))
    cepstrum = fft.irfft(log_amplitude, PADDED)  # folded, it gives this amplitude its least delay
    cepstrum[:, 1 : PADDED // 2] *= 2
    cepstrum[:, PADDED // 2 + 1 :] = 0
    return GAIN * SAMPLING_RATE * level * difference * np.exp(fft.rfft(cepstrum))


def _site(change):
    """Response of the site, complex (3, F): a resonance of the horizontal components."""
    ratio = FREQUENCIES / (5.0 + change.get("site_peak", 0.0))
    resonance = 1 + 0.5 / (1 - ratio**2 + 0.5j * ratio)
    return np.stack([resonance, resonance, np.ones_like(resonance)])


def _noise_spectrum(batch, change):
    """Spectrum of the noise (n, F) [counts]: falling, with a cultural hump at 3 Hz and a floor."""
    slope = batch["noise_slope"].to_numpy()[:, None]
    level = batch["log_noise"].to_numpy()[:, None] + change["noise_level"]
    f = np.maximum(FREQUENCIES, 0.2)
    hump = 3 * np.exp(-0.5 * (np.log(f / 3) / 0.4) ** 2)
    density = 13 * f ** (-1 - slope) + hump + 0.4  # counts/sqrt(Hz)
    density = density * (1 + change["noise_band"] * (np.abs(f - 18) <= 1))
    return density * 10**level * np.sqrt(SAMPLING_RATE / 2) * np.sqrt(PADDED / 2)
