"""Where the |SHAP| of a map lies: shares of windows and bands, by class and by week, and the narrow bands it names."""

import numpy as np
import pandas as pd
from scipy.signal import find_peaks

from ..preprocessing.variants import CLASSES, WINDOWS, frame_windows
from ..preprocessing.waveforms import known_times
from .map_checks import bootstrap_interval

BANDS = ((0, 10), (10, 25), (25, 45), (45, 51))  # [Hz], the lower edge included


def window_shares(values, variant, s_p):
    """Share of each event's |SHAP| in the windows of tiles.frame_windows().

    values: array or h5py.Dataset (N, 3, F, T), SHAP; ones give the shares of the area
    variant: Variant
    s_p: array (N,), S-P times [s]

    returns: DataFrame (N rows), a column a window
    """

    def shares(value, s):
        window = frame_windows(variant, s)
        return (
            np.bincount(window, np.abs(value).sum(axis=(0, 1)), len(WINDOWS)) / np.abs(value).sum()
        )

    return pd.DataFrame([shares(value, s) for value, s in zip(values, s_p)], columns=list(WINDOWS))


def band_shares(values, variant):
    """Share of each event's |SHAP| in the frequency bands BANDS.

    values, variant: as in window_shares()

    returns: DataFrame (N rows), a column a band
    """
    band = np.searchsorted([low for low, _ in BANDS], variant.frequencies, side="right") - 1
    share = lambda value: (
        np.bincount(band, np.abs(value).sum(axis=(0, 2)), len(BANDS)) / np.abs(value).sum()
    )
    names = [f"{low}-{min(high, 50)} Hz" for low, high in BANDS]
    return pd.DataFrame([share(value) for value in values], columns=names)


def share_table(shares, areas, groups, seed=0):
    """Mean shares of groups of events with bootstrap 95 % intervals.

    shares: DataFrame (N rows), of window_shares() or band_shares()
    areas: DataFrame (N rows), the same of ones
    groups: dict, series -> bool array (N,)
    seed: int

    returns: DataFrame, a row a part and series: part, series, value, low, high, area, n_events
    """
    rows = [
        (
            part,
            series,
            *bootstrap_interval(shares[part][which], seed),
            areas[part].mean(),
            int(np.sum(which)),
        )
        for series, which in groups.items()
        for part in shares
    ]
    return pd.DataFrame(
        rows, columns=["part", "series", "value", "low", "high", "area", "n_events"]
    )


def share_by_week(share, weeks, labels, seed=0):
    """Mean of one share by week and class, with bootstrap 95 % intervals.

    share: array (N,)
    weeks: int array (N,), after the mainshock
    labels: array (N,), 0 or 1
    seed: int

    returns: DataFrame, a row a week and class: week, series, value, low, high, n_events
    """
    share, weeks, labels = map(np.asarray, (share, weeks, labels))
    rows = [
        (week, f"{CLASSES[k]}s", *bootstrap_interval(share[chosen], seed), int(chosen.sum()))
        for k in (0, 1)
        for week in np.unique(weeks[labels == k])
        for chosen in [(weeks == week) & (labels == k)]
    ]
    return pd.DataFrame(rows, columns=["week", "series", "value", "low", "high", "n_events"])


def weeks_after(table, mainshock):
    """Week of each event after the mainshock, float array (N,): 0 is the first, -1 the one before; NaN without times.

    table: DataFrame of a tensor file
    mainshock: Timestamp [UTC]
    """
    return np.floor(
        (known_times(table) - mainshock).dt.total_seconds().to_numpy(float) / (7 * 86400)
    )


def narrow_bands(values, variant):
    """Bands one row wide that a map names: peaks of mean |SHAP| over frequency that stand out from their neighbours.

    values: array (N, 3, F, T), SHAP
    variant: Variant

    returns: list of (low, high) [Hz], the most prominent first; a peak counts from half of the profile's median on
    """
    profile = np.abs(values).mean(axis=(0, 1, 3))
    peaks, found = find_peaks(profile, prominence=np.median(profile) / 2)
    order = np.argsort(-found["prominences"], kind="stable")
    half = variant.frequencies[1] / 2
    return [(float(f - half), float(f + half)) for f in variant.frequencies[peaks[order]]]
