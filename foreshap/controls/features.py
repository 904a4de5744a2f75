"""What the plain models see of an event: mean spectra of its windows, and its row of the catalogue."""

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p, known_stations, known_times
from ..training.splits import KM_PER_DEGREE

CODA_EDGES = (4.0, 8.0)  # after P: the coda in three parts, so that its decay shows [s]
PARTS = (*WINDOWS[:3], *(f"coda {part}" for part in ("to 4 s", "4 to 8 s", "from 8 s")))
NO_S_P = 2.0  # stands for an S-P time that isn't known: windows of 2 s after P [s]
USABLE = (2.0, 45.0)  # clear of what leaks to 0 Hz and of the anti-alias filter [Hz]
ABOVE_NOISE = 0.5  # signal counts where it is three times the noise's power (log10)
BATCH = 64  # events read together


def window_spectra(spectrograms):
    """Mean log-spectrum of each event in the windows PARTS; frames before P end before it.

    spectrograms: Spectrograms

    returns: float32 array (N, len(PARTS), 3, F), NaN where an event has no frame in a window
    raises: ForeshapError where an S-aligned variant has no S-P times
    """
    variant, s_p = spectrograms.variant, s_p_times(spectrograms)
    part = np.stack([_frame_parts(variant, s) for s in s_p])
    member = (part[:, None] == np.arange(len(PARTS))[:, None]).astype(np.float32)  # (N, part, T)
    with np.errstate(invalid="ignore"):
        member /= member.sum(axis=2, keepdims=True)
    slices = (slice(first, first + BATCH) for first in range(0, len(s_p), BATCH))
    return np.concatenate(
        [np.einsum("ncft,npt->npcf", spectrograms.values[s], member[s]) for s in slices]
    )


def s_p_times(spectrograms):
    """S-P time of each event [s], float (N,); NO_S_P where the table has none and windows start at P."""
    s_p = known_s_p(spectrograms.table)
    if spectrograms.variant.phase == "S" and np.isnan(s_p).any():
        raise ForeshapError(
            f"{spectrograms.path} is aligned on S and lacks S-P times: use a variant aligned on P."
        )
    return np.where(np.isnan(s_p), NO_S_P, s_p)


def window_names(table):
    """Names of the four windows: those of tiles.WINDOWS, or seconds after P where a table has no S-P times.

    table: DataFrame of a tensor file

    returns: list of str
    """
    known = np.isfinite(known_s_p(table)).all()
    return list(
        WINDOWS
        if known
        else ("before P", *(f"{span} s after P" for span in ("0 to 2", "2 to 4", "from 4")))
    )


def _frame_parts(variant, s_p):
    """Place in PARTS of each frame, int (T,)."""
    window = frame_windows(variant, s_p)
    after_p = variant.times + (s_p if variant.phase == "S" else 0)
    return np.where(window == 3, 3 + np.searchsorted(CODA_EDGES, after_p), window)


def known_mean(values, axis):
    """Mean of the values that are known; NaN where none is.

    values: array
    axis: int or tuple

    returns: array without that axis
    """
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def usable_rows(variant, low=USABLE[0], high=USABLE[1]):
    """Which frequency rows lie from low to high [Hz], bool (F,)."""
    return (variant.frequencies >= low) & (variant.frequencies <= high)


def above_common_floor(spectra):
    """Signal where it exceeds one floor for all events, high above anyone's noise: noise below can't show.

    spectra: array (N, parts, 3, F), of window_spectra()

    returns: array (N, parts - 1, 3, F), windows after P
    """
    floor = np.nanquantile(spectra[:, 0], 0.99, axis=0) + ABOVE_NOISE
    return np.maximum(spectra[:, 1:], floor)


def above_own_noise(spectra):
    """Signal relative to the event's noise before P, where it exceeds it: what acts on both alike cancels.

    spectra: array (N, parts, 3, F), of window_spectra()

    returns: array (N, parts - 1, 3, F), log10 of a power ratio, windows after P
    """
    return np.maximum(spectra[:, 1:] - spectra[:, :1], ABOVE_NOISE)


def quiet_before_p(spectra, table):
    """Events whose noise window holds no other event's coda: their level stays near their station's rolling median.

    spectra: array (N, parts, 3, F), of window_spectra()
    table: DataFrame of a tensor file; without times the median is that of all events of the station

    returns: bool array (N,): noise level at most 4 deviations (1.4826 times the median of the absolute ones) above
        the median of 51 events, and known
    """
    level, times = (
        pd.Series(spectra[:, 0].mean(axis=(1, 2))),
        known_times(table).reset_index(drop=True),
    )
    quiet = np.empty(len(level), bool)
    for rows in level.groupby(known_stations(table).to_numpy()).groups.values():
        ordered = level[times[rows].sort_values(kind="stable").index]
        near = (
            ordered.rolling(51, center=True, min_periods=1).median()
            if times.notna().all()
            else ordered.median()
        )
        above = ordered - near
        quiet[ordered.index] = above <= 4 * 1.4826 * above.abs().median()
    return quiet


def signal_to_noise(spectra, variant):
    """Mean of log10(power between P and S over power before P) in the usable band, float (N,)."""
    ratio = spectra[:, 1] - spectra[:, 0]
    return ratio[..., usable_rows(variant)].mean(axis=(1, 2))


def catalogue(table):
    """The columns of a catalogue that could tell classes apart by themselves.

    table: DataFrame of a tensor file, one row an event

    returns: DataFrame (N rows) of those that are known: magnitude, log10 of S-P, depth, distance, azimuth (sine and
        cosine), hour of day (sine and cosine), station where there are several; a missing value is the median, a
        column that is missing in most events of a class is left out: who is missing would tell the class
    """
    numbers = lambda name: pd.to_numeric(
        table.get(name, pd.Series(np.nan, table.index)), errors="coerce"
    ).astype(float)
    column = lambda name: numbers(name).replace([np.inf, -np.inf], np.nan)
    north = column("source_latitude") - column("receiver_latitude")
    east = (column("source_longitude") - column("receiver_longitude")) * np.cos(
        np.radians(column("receiver_latitude"))
    )
    azimuth, hour = np.arctan2(east, north), 2 * np.pi * hours(table) / 24
    found = pd.DataFrame({
        "magnitude": column("source_magnitude"),
        "S-P": np.log10(column("p_s_diff_sec").where(column("p_s_diff_sec") > 0)),
        "depth": column("source_depth_km"), "distance": KM_PER_DEGREE * np.hypot(north, east),
        "azimuth, sine": np.sin(azimuth), "azimuth, cosine": np.cos(azimuth),
        "hour, sine": np.sin(hour), "hour, cosine": np.cos(hour),
    })  # fmt: skip
    found = found.join(
        pd.get_dummies(known_stations(table), prefix="station", dtype=float).iloc[:, 1:]
    )
    known = found.notna().groupby(table["label"].to_numpy()).mean().min() > 0.5
    found = found.loc[:, known & (found.nunique() > 1)]
    return found.fillna(found.median())


def hours(table):
    """Hour of the day of each event, float Series 0..24 [UTC]."""
    times = known_times(table)
    return (times - times.dt.normalize()).dt.total_seconds() / 3600


def days_since_larger(table):
    """Days since the last event of the table that was larger, float Series [days]; the median where none is known.

    The k-th row looks back over all earlier ones; the mainshock itself is rarely in a table.
    """
    times, magnitude = known_times(table), table["source_magnitude"].to_numpy(float)
    order, found, larger = np.argsort(times.to_numpy()), np.full(len(table), np.nan), []
    days = (times - times.min()).dt.total_seconds().to_numpy() / 86400
    for row in order[
        np.isfinite(magnitude[order])
    ]:  # a stack of larger ones before: each is put on and taken off once
        while larger and magnitude[larger[-1]] <= magnitude[row]:
            larger.pop()
        found[row] = days[row] - days[larger[-1]] if larger else np.nan
        larger.append(row)
    return pd.Series(found, table.index).fillna(np.nanmedian(found))
