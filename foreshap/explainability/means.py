"""Means of SHAP tensors over events, with the errors and the cancellation that they hide."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 200  # of the bootstrap
PART = 16  # events read together


@dataclass(frozen=True)
class BatchMean:
    """Mean SHAP tensors of some events, each (3, F, T).

    signed: mean
    absolute: mean of the absolute values
    standard_error: of signed, by bootstrap over events; NaN for fewer than two events
    cancellation: float, sum of |signed| over sum of absolute: 1 where nothing cancels
    n_events: int
    """

    signed: np.ndarray
    absolute: np.ndarray
    standard_error: np.ndarray
    cancellation: float
    n_events: int


def batch_mean(values, rows, scale=None, seed=0):
    """Mean SHAP tensors of some events, read a few at a time: memory does not grow with their number.

    The bootstrap gives each event a Poisson(1) number of copies in each resample, so that it can stream
    (Hanley and MacGibbon, 2006).

    values: h5py.Dataset or array (N, 3, F, T); or a list of them, of several networks, whose mean is taken
    rows: int array, the events
    scale: float array (len(rows),), each event is divided by its own; 1 where left out
    seed: int, of the bootstrap

    returns: BatchMean; all NaN without events
    """
    several = values if isinstance(values, list) else [values]
    rng, n, shape = np.random.default_rng(seed), len(rows), several[0].shape[1:]
    scale = np.ones(n) if scale is None else np.asarray(scale, float)
    total, absolute = np.zeros((2, int(np.prod(shape))))
    resampled, copies = np.zeros((RESAMPLES, total.size), np.float32), np.zeros(RESAMPLES)
    for first in range(0, n, PART):
        events = np.stack(
            [
                np.mean([v[row].ravel() for v in several], axis=0)
                for row in rows[first : first + PART]
            ]
        )
        events = events / scale[first : first + PART, None]
        weights = rng.poisson(1.0, (RESAMPLES, len(events)))
        total, absolute = total + events.sum(axis=0), absolute + np.abs(events).sum(axis=0)
        resampled += weights.astype(np.float32) @ events.astype(np.float32)
        copies += weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = resampled[copies > 0] / copies[copies > 0, None]
        error = means.std(axis=0, ddof=1) if n > 1 else np.full(total.size, np.nan)
        kept = np.abs(total).sum() / absolute.sum()
        return BatchMean(
            *((a / d).reshape(shape) for a, d in ((total, n), (absolute, n), (error, 1))),
            float(kept),
            n,
        )


def group_means(shap, groups, per_output=False, seed=0):
    """Mean SHAP tensors of groups of events.

    shap: ShapFile
    groups: sequence (N,), the group of each event; NaN or None for events of none
    per_output: bool, divide each event by |output - base value|, so that one loud event does not draw the map
    seed: int

    returns: dict, group -> BatchMean, sorted
    """
    table, groups = shap.table, pd.Series(list(groups)).reset_index(drop=True)
    scale = (
        (table["output"] - table["base_value"]).abs().to_numpy()
        if per_output
        else np.ones(len(table))
    )
    chosen = {name: np.flatnonzero(groups == name) for name in sorted(groups.dropna().unique())}
    return {name: batch_mean(shap.values, rows, scale[rows], seed) for name, rows in chosen.items()}


def profiles(values, rows):
    """Each event's SHAP summed over components and time, and over components and frequency.

    values: h5py.Dataset or array (N, 3, F, T)
    rows: int array, the events

    returns: float arrays (len(rows), F) and (len(rows), T)
    """
    over_frequency, over_time = (
        np.zeros((len(rows), values.shape[2])),
        np.zeros((len(rows), values.shape[3])),
    )
    for i, row in enumerate(rows):
        event = values[row].sum(axis=0)
        over_frequency[i], over_time[i] = event.sum(axis=1), event.sum(axis=0)
    return over_frequency, over_time
