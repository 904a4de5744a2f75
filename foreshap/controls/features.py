"""What the plain models see of an event: spectra of its windows, its row of the catalogue."""

import numpy as np
import pandas as pd

from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p, known_stations, known_times
from ..training.splits import KM_PER_DEGREE

CODA_EDGES = (4.0, 8.0)  # after P: the coda in three parts, so that its decay shows [s]
SPECTRA = (*WINDOWS[:3], "coda to 4 s", "coda 4 to 8 s", "coda from 8 s")
USABLE = (2.0, 45.0)  # clear of what leaks to 0 Hz and of the anti-alias filter [Hz]
ABOVE_NOISE = 0.5  # signal counts where it is three times the noise's power (log10)
READ_TOGETHER = 64  # events
UNUSUAL = 4 * 1.4826  # median absolute deviations, above which noise holds another event's coda
NEARBY = 51  # events of the station, whose median is the usual noise


def batches(n):
    """Slices of n events that are read together."""
    return [slice(first, first + READ_TOGETHER) for first in range(0, n, READ_TOGETHER)]


def window_spectra(spectrograms):
    """Average each event's log-spectrogram over the windows SPECTRA; frames before P end before it.

    spectrograms: Spectrograms

    returns: float32 array (N, len(SPECTRA), 3, F), NaN where an event has no frame in a window
    raises: ForeshapError where an S-aligned variant has no S-P times
    """
    variant, s_p = spectrograms.variant, known_s_p(spectrograms.table)
    member = np.zeros((len(s_p), len(SPECTRA), len(variant.times)), np.float32)
    for of_event, delay in zip(member, s_p):
        after_p = variant.times + (delay if variant.phase == "S" else 0)
        window = frame_windows(variant, delay)
        part = np.where(window == 3, 3 + np.searchsorted(CODA_EDGES, after_p), window)
        of_event[part, np.arange(len(part))] = 1
    with np.errstate(invalid="ignore"):
        member /= member.sum(axis=2, keepdims=True)
    spectra = []
    for events in batches(len(s_p)):
        spectra.append(np.einsum("ncft,npt->npcf", spectrograms.values[events], member[events]))
    return np.concatenate(spectra)


def window_names(table):
    """Names of the four windows, list: seconds after P where a table has no S-P times."""
    if np.isfinite(known_s_p(table)).all():
        return list(WINDOWS)
    return ["before P", "0 to 2 s after P", "2 to 4 s after P", "from 4 s after P"]


def known_mean(values, axis):
    """Mean over an axis of the values that are known; NaN where none is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def fill_unknown(values):
    """Values (N, ...) with a column's median, or 0, in the place of what is not finite."""
    values = np.asarray(values, float)
    flat = pd.DataFrame(values.reshape(len(values), -1))
    flat = flat.where(np.isfinite(flat))
    return flat.fillna(flat.median()).fillna(0.0).to_numpy().reshape(values.shape)


def usable_rows(variant, low=USABLE[0], high=USABLE[1]):
    """Which frequency rows lie from low to high [Hz], bool (F,)."""
    return (variant.frequencies >= low) & (variant.frequencies <= high)


def above_own_noise(spectra):
    """Spectra (N, parts, 3, F) after P over the event's noise: what acts on both alike cancels."""
    return np.maximum(spectra[:, 1:] - spectra[:, :1], ABOVE_NOISE)


def quiet_before_p(spectra, table):
    """Which events' noise is as usual at their station, bool (N,): it holds no other one's coda."""
    level = pd.Series(spectra[:, 0].mean(axis=(1, 2)))
    times = known_times(table).reset_index(drop=True)
    quiet = np.empty(len(level), bool)
    for rows in level.groupby(known_stations(table).to_numpy()).groups.values():
        ordered = level[times[rows].sort_values(kind="stable").index]
        usual = ordered.median()
        if times.notna().all():
            usual = ordered.rolling(NEARBY, center=True, min_periods=1).median()
        above = ordered - usual
        quiet[ordered.index] = above <= UNUSUAL * above.abs().median()
    return quiet


def signal_to_noise(spectra, variant):
    """Compute each event's ratio of power between P and S to power before P, in the usable band.

    spectra: array (N, parts, 3, F), of window_spectra()
    variant: Variant

    returns: float array (N,), mean of its log10
    """
    ratio = spectra[:, 1] - spectra[:, 0]
    return ratio[..., usable_rows(variant)].mean(axis=(1, 2))


def catalogue(table):
    """Select what could tell classes apart by itself: magnitude, S-P, place, hour, station.

    A missing value is the median; a column that is missing in most events of a class is left out:
    who is missing would tell the class.

    table: DataFrame of a tensor file

    returns: DataFrame (N rows), of the columns that are known
    """
    latitude, s_p = _numbers(table, "receiver_latitude"), _numbers(table, "p_s_diff_sec")
    north = _numbers(table, "source_latitude") - latitude
    east = _numbers(table, "source_longitude") - _numbers(table, "receiver_longitude")
    east = east * np.cos(np.radians(latitude))
    azimuth, hour = np.arctan2(east, north), 2 * np.pi * hours(table) / 24
    columns = {
        "magnitude": _numbers(table, "source_magnitude"),
        "S-P": np.log10(s_p.where(s_p > 0)),
        "depth": _numbers(table, "source_depth_km"),
        "distance": KM_PER_DEGREE * np.hypot(north, east),
        "azimuth, sine": np.sin(azimuth),
        "azimuth, cosine": np.cos(azimuth),
        "hour, sine": np.sin(hour),
        "hour, cosine": np.cos(hour),
    }
    stations = pd.get_dummies(known_stations(table), prefix="station", dtype=float)
    columns = pd.DataFrame(columns).join(stations.iloc[:, 1:])
    known = columns.notna().groupby(table["label"].to_numpy()).mean().min() > 0.5
    columns = columns.loc[:, known & (columns.nunique() > 1)]
    return columns.fillna(columns.median())


def _numbers(table, name):
    """A column as float Series; NaN where it is missing, text or infinite."""
    column = table.get(name, pd.Series(np.nan, table.index))
    return pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def hours(table):
    """Hour of the day of each event, float Series 0..24 [UTC]."""
    times = known_times(table)
    return (times - times.dt.normalize()).dt.total_seconds() / 3600
