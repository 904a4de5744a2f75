"""Clipped seismograms: a recorder at the end of its range repeats one value."""

import numpy as np

from .variants import SECONDS_BEFORE_P

SAMPLES = 4  # in a row at the largest or smallest value
NOISES = 10.0  # standard deviations of the noise before P that this value must reach
VALUES = 500  # steps of the record that it must reach: the crest of a wave of fewer may stay on one value
STEP = 0.02  # of it, from two samples beside the row: the crest of a wave of VALUES falls by 0.6 % there


def clipped(windows, noise, edges):
    """Whether a component stands still at its largest or smallest value, far above its noise, and jumps there.

    windows: float array (N, 3, samples), finite
    noise: sequence of N arrays (3, n), the same seismograms before P
    edges: float array (2, N, 3), smallest and largest value of each component

    returns: bool array (N,)
    """
    found = np.zeros(len(windows), bool)
    for edge in edges:
        even = windows[..., ::2] == edge[..., None]
        held = (even[..., 1:] & even[..., :-1]).any(
            axis=-1
        )  # so it is in every run of four: a quick look
        for event, component in np.argwhere(held):
            before = noise[event][component].astype(float)
            height = abs(edge[event, component] - np.median(before))
            if height >= NOISES * before.std():
                found[event] |= _held(windows[event, component], edge[event, component], height)
    return found


def as_recorded(samples, rate):
    """What the counts of one component say before anything is done to them.

    samples: array (n,) [counts], P at 5 s
    rate: float [Hz]

    returns: "flat" where they are all the same, "clipped", or ""
    """
    edges, before = (
        np.array([samples.min(), samples.max()], float),
        samples[: round(SECONDS_BEFORE_P * rate)],
    )
    if edges[0] == edges[1]:
        return "flat"
    with np.errstate(invalid="ignore"):  # not finite: that has a reason of its own
        found = clipped(samples[None, None].astype(float), [before[None]], edges[:, None, None])
    return "clipped" if found[0] else ""


def _held(samples, edge, height):
    """Whether a run of SAMPLES at the edge begins or ends with a step, in a record of fine enough values."""
    steps = np.abs(np.diff(samples))
    if height < VALUES * steps[steps > 0].min():
        return False
    bounds = np.flatnonzero(np.diff(samples == edge, prepend=False, append=False))
    runs = [
        (first, last) for first, last in zip(bounds[::2], bounds[1::2]) if last - first >= SAMPLES
    ]
    beside = [samples[[max(first - 2, 0), min(last + 1, len(samples) - 1)]] for first, last in runs]
    return any(np.abs(two - edge).max() >= STEP * height for two in beside)


def flagged(table):
    """What a table's own column `clipped` says (1, true or yes), bool array (N,); False where it says nothing."""
    said = table["clipped"].astype(str) if "clipped" in table else np.full(len(table), "")
    return np.isin([str(word).strip().lower() for word in said], ("1", "1.0", "true", "yes"))
