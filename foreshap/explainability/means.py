"""Means of SHAP tensors over events, with the errors and the cancellation that they hide."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 200  # of the bootstrap
PART = 16  # events read together


@dataclass(frozen=True)
class BatchMean:
    """Mean SHAP tensors of some events, each (3, F, T)."""

    signed: np.ndarray
    absolute: np.ndarray  # mean of the absolute values
    standard_error: np.ndarray  # of signed, by bootstrap over events; NaN for fewer than two
    cancellation: float  # sum of |signed| over sum of absolute: 1 where nothing cancels
    n_events: int


def batch_mean(values, rows, scale=None, seed=0):
    """Average SHAP tensors, read a few at a time: memory does not grow with their number.

    The bootstrap gives each event a Poisson(1) number of copies in each resample, so that it can
    stream (Hanley and MacGibbon, 2006).

    values: array (N, 3, F, T) or what is sliced like one; or a list of them, of several networks,
        whose mean is taken
    rows, seed: int array, the events; int, of the bootstrap
    scale: float array (len(rows),), each event is divided by its own; 1 where left out

    returns: BatchMean; all NaN without events
    """
    networks = values if isinstance(values, list) else [values]
    shape = networks[0].shape[1:]
    rng = np.random.default_rng(seed)
    n = len(rows)
    scale = np.ones(n) if scale is None else np.asarray(scale, float)
    total = absolute = np.zeros(int(np.prod(shape)))
    resampled = np.zeros((RESAMPLES, total.size), np.float32)
    copies = np.zeros(RESAMPLES)
    for first in range(0, n, PART):
        part = slice(first, first + PART)
        events = [np.mean([v[row].ravel() for v in networks], axis=0) for row in rows[part]]
        events = np.stack(events) / scale[part, None]
        weights = rng.poisson(1.0, (RESAMPLES, len(events)))
        total = total + events.sum(axis=0)
        absolute = absolute + np.abs(events).sum(axis=0)
        resampled += weights.astype(np.float32) @ events.astype(np.float32)
        copies += weights.sum(axis=1)
    error = np.full(total.size, np.nan)
    if n > 1:
        means = resampled[copies > 0] / copies[copies > 0, None]
        error = means.std(axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        signed = (total / n).reshape(shape)
        cancellation = float(np.abs(total).sum() / absolute.sum())
        absolute = (absolute / n).reshape(shape)
    return BatchMean(signed, absolute, error.reshape(shape), cancellation, n)


def group_means(shap, groups, per_output=False, seed=0):
    """Average SHAP tensors of groups of events.

    shap: StoredShap
    groups: sequence (N,), the group of each event; NaN or None for events of none
    per_output: bool, divide each event by |output - base value|: no loud event draws the map
    seed: int

    returns: dict, group -> BatchMean, sorted
    """
    groups = pd.Series(list(groups))
    scale = np.ones(len(groups))
    if per_output:
        scale = (shap.table["output"] - shap.table["base_value"]).abs().to_numpy()
    means = {}
    for name in sorted(groups.dropna().unique()):
        rows = np.flatnonzero(groups == name)
        means[name] = batch_mean(shap.values, rows, scale[rows], seed)
    return means


def profiles(values, rows):
    """Sum each event's SHAP over components and time, and over components and frequency.

    values, rows: array (N, 3, F, T) or what is sliced like one; int array, the events

    returns: float arrays (len(rows), F) and (len(rows), T)
    """
    maps = np.reshape([values[row].sum(axis=0) for row in rows], (len(rows), *values.shape[2:]))
    return maps.sum(axis=2), maps.sum(axis=1)


TrainingMeans = namedtuple("TrainingMeans", "signed absolute deviation clear cancellation")


def training_means(values, rows, seed=0):
    """Average SHAP tensors of some events over several trainings.

    values: list of arrays (N, 3, F, T), one a training
    rows, seed: int array, the events; int, of the bootstrap over them

    returns: signed, absolute, means of the values and of their absolutes (3, F, T); deviation
        (F, T), standard deviation between trainings of the sum over components; clear, float, share
        of the pixels that differ from 0 by two standard errors; cancellation, as of BatchMean
    """
    mean = batch_mean(values, rows, seed=seed)
    trainings = np.stack([batch_mean(training, rows).signed for training in values])
    error = np.hypot(mean.standard_error, trainings.std(axis=0) / np.sqrt(len(values)))
    clear = float((np.abs(mean.signed) > 2 * error).mean())
    deviation = trainings.sum(axis=1).std(axis=0)
    return TrainingMeans(mean.signed, mean.absolute, deviation, clear, mean.cancellation)


def class_difference(worth, labels):
    """Average values of tiles, aftershocks minus foreshocks: twice the push to the own class.

    worth, labels: arrays (trainings, N, tiles); (N,), 0 or 1

    returns: array (tiles,); array (tiles,), half its 95 % interval over events and trainings
    """
    toward_own = worth * np.where(np.asarray(labels) == 1, 1, -1)[:, None]
    over_events = toward_own.mean(axis=0).var(axis=0) / worth.shape[1]
    over_trainings = toward_own.mean(axis=1).var(axis=0) / worth.shape[0]
    half = 2 * 1.96 * np.sqrt(over_events + over_trainings)
    return 2 * toward_own.mean(axis=(0, 1)), half
