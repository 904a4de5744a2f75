"""What the plain models see of an event: spectra of its windows, its row of the catalogue."""

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.variants import NO_S_P, WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p, known_stations, known_times
from ..training.splits import KM_PER_DEGREE

CODA_EDGES = (4.0, 8.0)  # after P: the coda in three parts, so that its decay shows [s]
SPECTRA = (*WINDOWS[:3], "coda to 4 s", "coda 4 to 8 s", "coda from 8 s")
USABLE = (2.0, 45.0)  # clear of what leaks to 0 Hz and of the anti-alias filter [Hz]
ABOVE_NOISE = 0.5  # signal counts where it is three times the noise's power (log10)
READ_TOGETHER = 64  # events read together


def window_spectra(spectrograms):
    """Mean log-spectrum of each event in the windows SPECTRA; frames before P end before it.

    spectrograms: Spectrograms

    returns: float32 array (N, len(SPECTRA), 3, F), NaN where an event has no frame in a window
    raises: ForeshapError where an S-aligned variant has no S-P times
    """
    variant, s_p = spectrograms.variant, s_p_times(spectrograms)
    part = np.stack([_frame_parts(variant, s) for s in s_p])
    member = (part[:, None] == np.arange(len(SPECTRA))[:, None]).astype(np.float32)  # (N, part, T)
    with np.errstate(invalid="ignore"):
        member /= member.sum(axis=2, keepdims=True)
    spectra = []
    for first in range(0, len(s_p), READ_TOGETHER):
        events = slice(first, first + READ_TOGETHER)
        spectra.append(np.einsum("ncft,npt->npcf", spectrograms.values[events], member[events]))
    return np.concatenate(spectra)


def s_p_times(spectrograms):
    """S-P time of each event [s], float (N,); NO_S_P where the table has none."""
    s_p = known_s_p(spectrograms.table)
    if spectrograms.variant.phase == "S" and np.isnan(s_p).any():
        raise ForeshapError(
            f"{spectrograms.path} is aligned on S and lacks S-P times: use a variant aligned on P."
        )
    return np.where(np.isnan(s_p), NO_S_P, s_p)


def window_names(table):
    """List the names of the four windows: seconds after P where a table has no S-P times.

    table: DataFrame of a tensor file
    """
    if np.isfinite(known_s_p(table)).all():
        return list(WINDOWS)
    return ["before P", "0 to 2 s after P", "2 to 4 s after P", "from 4 s after P"]


def _frame_parts(variant, s_p):
    """Place in SPECTRA of each frame, int (T,)."""
    window = frame_windows(variant, s_p)
    after_p = variant.times + (s_p if variant.phase == "S" else 0)
    return np.where(window == 3, 3 + np.searchsorted(CODA_EDGES, after_p), window)


def known_mean(values, axis):
    """Mean over an axis of the values that are known; NaN where none is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def fill_unknown(values):
    """Put each column's median in the place of what is not finite; 0 in a column without any.

    values: array (N, ...)
    """
    values = np.asarray(values, float)
    flat = values.reshape(len(values), -1)
    known = np.where(np.isfinite(flat), flat, np.nan)
    some = np.isfinite(known).any(axis=0)
    middle = np.zeros(flat.shape[1])
    middle[some] = np.nanmedian(known[:, some], axis=0)
    return np.where(np.isfinite(flat), flat, middle).reshape(values.shape)


def usable_rows(variant, low=USABLE[0], high=USABLE[1]):
    """Which frequency rows lie from low to high [Hz], bool (F,)."""
    return (variant.frequencies >= low) & (variant.frequencies <= high)


def above_own_noise(spectra):
    """Signal relative to the event's noise before P: what acts on both alike cancels.

    spectra: array (N, parts, 3, F), of window_spectra()

    returns: array (N, parts - 1, 3, F), log10 of a power ratio, windows after P
    """
    return np.maximum(spectra[:, 1:] - spectra[:, :1], ABOVE_NOISE)


def quiet_before_p(spectra, table):
    """Find events whose noise window holds no other event's coda: their level is as usual.

    spectra: array (N, parts, 3, F), of window_spectra()
    table: DataFrame of a tensor file; without times the median is that of all events of the station

    returns: bool array (N,): noise level at most 4 deviations (1.4826 times the median of the
        absolute ones) above the rolling median of 51 events of the station, and known
    """
    level = pd.Series(spectra[:, 0].mean(axis=(1, 2)))
    times = known_times(table).reset_index(drop=True)
    quiet = np.empty(len(level), bool)
    for rows in level.groupby(known_stations(table).to_numpy()).groups.values():
        ordered = level[times[rows].sort_values(kind="stable").index]
        near = ordered.median()
        if times.notna().all():
            near = ordered.rolling(51, center=True, min_periods=1).median()
        above = ordered - near
        quiet[ordered.index] = above <= 4 * 1.4826 * above.abs().median()
    return quiet


def signal_to_noise(spectra, variant):
    """Mean of log10(power between P and S over power before P) in the usable band, float (N,)."""
    ratio = spectra[:, 1] - spectra[:, 0]
    return ratio[..., usable_rows(variant)].mean(axis=(1, 2))


def catalogue(table):
    """Select the columns of a catalogue that could tell classes apart by themselves.

    table: DataFrame of a tensor file, one row an event

    returns: DataFrame (N rows) of those that are known: magnitude, log10 of S-P, depth, distance,
        azimuth (sine and cosine), hour of day (sine and cosine), station where there are several; a
        missing value is the median, a column that is missing in most events of a class is left out:
        who is missing would tell the class
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
