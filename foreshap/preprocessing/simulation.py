"""A simulated sequence with a known difference between foreshocks and aftershocks.

Close station in a normal-faulting sequence: Brune sources, travel-time attenuation, coda, coloured
noise. Every event is simulated twice with the same random numbers, as a foreshock and as an
aftershock; what it was not stands in the folder truth/, so what an effect does to each spectrogram
is known exactly. The folder noise/ holds windows without any event.
"""

import json
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft
from tqdm import tqdm

from ..files import ForeshapError, folder_written_whole
from .periods import periods
from .variants import PERIODS, SAMPLING_RATE, SECONDS_BEFORE_P
from .waveforms import COLUMNS, write_waveforms

MAINSHOCK = "2016-10-30T06:40:17"
EFFECTS = {  # what aftershocks have more of; of the two last events of both classes have the share
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
OF_EVENTS = ("magnitude", "s_p", "hours", "second_event", "missing_component")  # unknown to noise
DEFAULT_EFFECTS = {"path": 0.010}

STATION, NETWORK = "DEMO", "XX"
LATITUDE, LONGITUDE = 42.83, 13.11
VP, VS, DENSITY = 5.6e3, 3.1e3, 2.7e3  # m/s, m/s, kg/m^3
KM_PER_S_P = 1e-3 / (1 / VS - 1 / VP)  # hypocentral distance [km] a second of S-P
MEDIAN_S_P = 1.2  # s
NOISE_S_P = 1.0  # s, of a window without an event: the layout wants a number
STRESS_DROP = 2.1e6  # Pa
KAPPA = 0.03  # s
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


def simulate_sequence(output, n_events, seed, effects=None, stations=None):
    """Write a simulated sequence in the waveform layout and its truth beside it.

    output: str or Path, folder for DEMO_{pre,post}.hdf5 and their tables; its subfolder truth/ gets
        the same events in the same layout, each as if it had happened in the other period, its
        subfolder noise/ half as many windows without an event
    n_events: int, half of them foreshocks
    seed: int
    effects: dict, name (see EFFECTS) -> size; DEFAULT_EFFECTS when left out, {} (or sizes of 0)
        switch all off
    stations: dict, name -> effects (as above) at that station, None for the same as elsewhere; all
        record the same earthquakes; DEMO alone when left out

    returns: Path of the folder
    raises: ForeshapError for an unknown effect, one of earthquakes that differs between stations,
        or fewer than two events
    """
    output = Path(output)
    if effects is None:
        effects = DEFAULT_EFFECTS
    effects = _known_effects(effects)
    stations = {STATION: None} if stations is None else stations
    of_stations = []
    for number, (name, own) in enumerate(stations.items()):
        at_station = effects if own is None else _known_effects(own)
        for effect in OF_EARTHQUAKES:
            if at_station.get(effect) != effects.get(effect):
                raise ForeshapError(
                    f"The effect {effect} is one of earthquakes, it can't differ at {name}: "
                    "give it in effects, and at each station that has effects of its own."
                )
        of_stations.append((Station(name, number), at_station))
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ForeshapError(f"The seed {seed!r} is no whole number from 0 on: give one.")
    if n_events < 2:
        raise ForeshapError(
            f"{n_events} events were asked for: a sequence needs one foreshock and one aftershock "
            "at least."
        )
    counts = (n_events // 2, n_events - n_events // 2)
    n_traces = 2 * n_events + sum((count + 1) // 2 for count in counts)
    progress = tqdm(total=len(stations) * n_traces, desc="simulating", unit="trace")
    with folder_written_whole(output) as new, progress:
        for station, acting in of_stations:
            _write_station(new, station, counts, seed, acting, progress)
    return output


def _known_effects(effects):
    """Drop effects of size 0; raise ForeshapError for one that is unknown."""
    unknown = sorted(set(effects) - set(EFFECTS))
    if unknown:
        raise ForeshapError(
            f"No effect {', '.join(unknown)} can be simulated: choose from {', '.join(EFFECTS)}."
        )
    effects = {name: size for name, size in effects.items() if size}
    for name, size in effects.items():
        if not isinstance(size, int | float | np.number) or not np.isfinite(size):
            raise ForeshapError(f"The effect {name} has the size {size!r}: give a number.")
    return effects


@dataclass(frozen=True)
class Station:
    """A station's name and its place on the line of stations, which begins at number 0."""

    name: str
    number: int

    @property
    def place(self):
        """Latitude and longitude [degrees]."""
        away = self.number * SPACING_KM / np.sqrt(2)
        return LATITUDE + away / KM_PER_LATITUDE, LONGITUDE + away / KM_PER_LONGITUDE

    def generator(self, *seeds):
        """Random numbers of this station; the first one's are those of a sequence with one."""
        own = [self.number] if self.number else []
        return np.random.default_rng([*seeds, *own])


def _write_station(output, station, counts, seed, effects, progress):
    """Write the events, their truth and the noise of one station."""
    about = {"simulated": "yes: no real earthquakes", "effects": json.dumps(effects), "seed": seed}
    about |= periods(MAINSHOCK).attributes()
    truth = about | {"truth": "each event as it would have been in the other period"}
    noise = about | {"noise": "windows without an event"}
    shared = (station, seed, effects, progress)
    for label, count in enumerate(counts):
        _write_events(output, label, label, count, *shared, about)
        _write_events(output / "truth", label, 1 - label, count, *shared, truth)
        _write_noise(output / "noise", label, (count + 1) // 2, *shared, noise)


def _write_events(folder, label, acting, count, station, seed, effects, progress, attributes):
    """Write the events of one class (label) with the effects of a class (acting)."""
    rng = np.random.default_rng([seed, label])
    events = _draw_events(rng, count, label, acting, effects)
    events = _recorded_at(station, events, station.generator(seed, label, 2))
    generators = (station.generator(seed, label, i) for i in range(0, count, TOGETHER))
    traces = _traces(events, generators, _changes(effects, acting), progress)
    table = events[list(COLUMNS)]
    write_waveforms(folder, station.name, PERIODS[label], traces, table, **attributes)


def _write_noise(folder, label, count, station, seed, effects, progress, attributes):
    """Write windows of one class's noise at any time of its period."""
    hours = {"hours": 0.0} if "hours" in effects else {}  # noise is recorded at all hours
    effects = {name: size for name, size in effects.items() if name not in OF_EVENTS} | hours
    rng = station.generator(seed, label, 1)
    windows = _draw_events(rng, count, label, label, effects)
    windows["p_s_diff_sec"] = NOISE_S_P
    windows["source_id"] = "noise" + windows["source_id"]
    windows = windows.assign(**_receiver_columns(station, windows["source_id"]))
    traces = _traces(windows, repeat(rng), _changes(effects, label), progress, motion=0.0)
    table = windows.reindex(columns=list(COLUMNS))
    for name in COLUMNS:
        if name.startswith(("source_", "p_t", "s_t")) and name != "source_id":
            table[name] = np.nan
    write_waveforms(folder, station.name, PERIODS[label], traces, table, **attributes)


def _changes(effects, acting):
    """Return how much of every effect the events of a class (acting: 0 or 1) have, dict."""
    return {name: acting * effects.get(name, 0.0) for name in EFFECTS}


def _traces(events, generators, change, progress, motion=1.0):
    """Yield (trace_name, samples), simulated batch by batch, a random generator each."""
    for first, rng in zip(range(0, len(events), TOGETHER), generators):
        batch = events.iloc[first : first + TOGETHER]
        yield from zip(batch["trace_name"], _counts(batch, rng, change, motion))
        progress.update(len(batch))


def _draw_events(rng, n, label, acting, effects):
    """Draw a class's events in the order of time: the layout's columns, and what makes traces."""
    change = _changes(effects, acting)
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
        "log_t_star": OWN_SCATTER["log_t_star"] * g[2],
        "log_noise": OWN_SCATTER["log_noise"] * g[3],
        "noise_slope": OWN_SCATTER["noise_slope"] * g[4],
        "log_p_amplitude": OWN_SCATTER["log_p_amplitude"] * g[5],
        "log_s_amplitude": OWN_SCATTER["log_s_amplitude"] * g[6],
        "bearing": 2 * np.pi * np.floor(6 * u[2]) / 6 + 0.2 * g[7],
        "dip": 0.5 + 0.4 * u[3],
        "second": u[4] < effects.get("second_event", 0.0),
        "lost": u[5] < effects.get("missing_component", 0.0),
    }
    events = pd.DataFrame(columns).sort_values("days", ignore_index=True)
    if "hours" in effects:
        _move_to_hours(events, chance < change["hours"], place)
    return events.assign(**_layout_columns(events, label))


def _move_to_hours(events, moved, place):
    """Move some events into the hours from 8 to 16 of their day, and make noise louder at day."""
    mainshock = pd.Timestamp(MAINSHOCK)
    midnight = (mainshock - mainshock.normalize()) / pd.Timedelta(days=1)
    date, hour = np.divmod(events["days"] + midnight, 1)
    hour = np.where(moved, (8 + 8 * place) / 24, hour)
    events["days"] = date + hour - midnight
    events["daytime"] = -DIURNAL * np.cos(2 * np.pi * hour)
    events["log_noise"] += events["daytime"]


def _layout_columns(events, label):
    """Return the layout's columns that follow from an event's distance, bearing and time."""
    km = KM_PER_S_P * events["p_s_diff_sec"]
    origin = pd.Timestamp(MAINSHOCK) + pd.to_timedelta(events["days"], unit="D")
    epicentral = km * np.sqrt(1 - events["dip"] ** 2)
    north, east = np.cos(events["bearing"]), np.sin(events["bearing"])
    source_ids = pd.Series([f"{label + 1}{i:06d}" for i in range(len(events))])
    return {
        "source_id": source_ids,
        "source_depth_km": (km * events["dip"]).round(2),
        "source_latitude": (LATITUDE + epicentral * north / KM_PER_LATITUDE).round(5),
        "source_longitude": (LONGITUDE + epicentral * east / KM_PER_LONGITUDE).round(5),
        "source_origin_time": origin.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        **_travel_columns(origin, events["p_s_diff_sec"]),
        **_receiver_columns(Station(STATION, 0), source_ids),
    }


def _travel_columns(origin, s_p):
    """Return the layout's columns that follow from origin times and S-P [s]."""
    p_travel = (1e3 * KM_PER_S_P * s_p / VP).round(3)
    start = origin + pd.to_timedelta(p_travel - SECONDS_BEFORE_P, unit="s")
    return {
        "trace_start_time": start.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "p_travel_sec": p_travel,
        "s_travel_sec": (p_travel + s_p).round(3),
    }


def _receiver_columns(station, source_ids):
    """Return the layout's columns that a station gives its records."""
    latitude, longitude = station.place
    return {
        "trace_name": f"{station.name}.{NETWORK}." + source_ids + "_EV",
        "network_code": NETWORK,
        "receiver_name": station.name,
        "receiver_type": "HH",
        "receiver_elevation_m": 0.0,
        "receiver_latitude": latitude,
        "receiver_longitude": longitude,
    }


def _recorded_at(station, events, rng):
    """Turn events as the first station records them into those of another, which draws its own."""
    if station.number == 0:
        return events.assign(**_receiver_columns(station, events["source_id"]))
    latitude, longitude = station.place
    north = KM_PER_LATITUDE * (events["source_latitude"] - latitude)
    east = KM_PER_LONGITUDE * (events["source_longitude"] - longitude)
    km = np.sqrt(north**2 + east**2 + events["source_depth_km"] ** 2)
    s_p = (km / KM_PER_S_P).clip(0.5).round(2)
    origin = pd.to_datetime(events["source_origin_time"]).dt.tz_localize(None)
    own = {"p_s_diff_sec": s_p, **_travel_columns(origin, s_p)}
    for name, deviation in OWN_SCATTER.items():
        own[name] = deviation * rng.standard_normal(len(events))
    if "daytime" in events:
        own["log_noise"] += events["daytime"]
    return events.assign(**own, **_receiver_columns(station, events["source_id"]))


def _counts(batch, rng, change, motion):
    """Simulate a batch: list of int32 (3, SAMPLES) [counts], two rows where a component is lost.

    change: dict, effect -> how much of it these events have
    motion: float, factor of the ground motion; 0 leaves the noise
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
    spectra = spectra * _digitiser(change)
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

    Low-frequency level 2 R M0 / (4 pi rho v^3 r), corner 0.49 v_S (stress drop / M0)^(1/3), in
    counts. The phase is the least that a causal filter can have, so nothing precedes an arrival.
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
    return GAIN * SAMPLING_RATE * level * difference * _causal(log_amplitude)


def _causal(log_amplitude):
    """Spectra with these logarithms of amplitude (n, F) and the least delay, by the cepstrum."""
    cepstrum = fft.irfft(log_amplitude, PADDED)
    cepstrum[:, 1 : PADDED // 2] *= 2
    cepstrum[:, PADDED // 2 + 1 :] = 0
    return np.exp(fft.rfft(cepstrum))


def _site(change):
    """Response of the site, complex (3, F): a resonance of the horizontal components."""
    ratio = FREQUENCIES / (5.0 + change.get("site_peak", 0.0))
    resonance = 1 + 0.5 / (1 - ratio**2 + 0.5j * ratio)
    return np.stack([resonance, resonance, np.ones_like(resonance)])


def _digitiser(change):
    """Effect of a change of the digitiser on all it records, complex (F,)."""
    return 10 ** change["gain"] / (1 + 1j * FREQUENCIES * change["corner"])


def _noise_spectrum(batch, change):
    """Spectrum of the noise (n, F) [counts]: falling, with a cultural hump at 3 Hz and a floor."""
    slope = batch["noise_slope"].to_numpy()[:, None]
    level = batch["log_noise"].to_numpy()[:, None] + change["noise_level"]
    f = np.maximum(FREQUENCIES, 0.2)
    hump = 3 * np.exp(-0.5 * (np.log(f / 3) / 0.4) ** 2)
    density = 13 * f ** (-1 - slope) + hump + 0.4  # counts/sqrt(Hz)
    density = density * (1 + change["noise_band"] * (np.abs(f - 18) <= 1))
    return density * 10**level * np.sqrt(SAMPLING_RATE / 2) * np.sqrt(PADDED / 2)
