"""Clipped seismograms: a recorder at the end of its range repeats one value."""

import numpy as np

from .variants import SECONDS_BEFORE_P

RUN = 4  # samples in a row at the largest or smallest value
NOISES = 10.0  # standard deviations of the noise before P that this value must reach
VALUES = 500  # steps of the record that it must reach: a smaller wave's crest may stay on one value
STEP = 0.02  # of it, from two samples beside the row: the crest of a wave of VALUES falls by 0.6 %

GAP = 0.5  # s of one value that no ground motion has
REPEATED = 0.5  # part of the samples beside it that may equal the one before


def clipped(windows, noise, edges):
    """Find events of which a component jumps to an extreme and stands still there, bool (N,).

    windows: float array (N, 3, samples), finite; edges: (2, N, 3), components' extremes
    noise: sequence of N arrays (3, n), the same seismograms before P
    """
    found = np.zeros(len(windows), bool)
    for edge in edges:
        # A quick look: of any four samples in a row two have even places.
        even = windows[..., ::2] == edge[..., None]
        candidates = (even[..., 1:] & even[..., :-1]).any(axis=-1)
        for event, component in np.argwhere(candidates):
            before = noise[event][component].astype(float)
            value = edge[event, component]
            height = abs(value - np.median(before))
            if height >= NOISES * before.std():
                found[event] |= _stands_still(windows[event, component], value, height)
    return found


def _stands_still(samples, value, height):
    """Whether a run of a value begins or ends with a jump, in a record of fine enough steps."""
    steps = np.abs(np.diff(samples))
    if height < VALUES * steps[steps > 0].min():
        return False
    for first, stop in _runs(samples == value):
        beside = samples[[max(first - 2, 0), min(stop + 1, len(samples) - 1)]]
        if stop - first >= RUN and np.abs(beside - value).max() >= STEP * height:
            return True
    return False


def _runs(marks):
    """List first place and the one after of each run of True in a bool array (n,), ints (m, 2)."""
    return np.flatnonzero(np.diff(marks, prepend=False, append=False)).reshape(-1, 2)


def as_recorded(samples, rate):
    """Judge one component as it was recorded (n,) [counts], P at 5 s: "flat", "clipped" or ""."""
    edges = np.array([samples.min(), samples.max()], float)
    if edges[0] == edges[1]:
        return "flat"
    before = samples[: round(SECONDS_BEFORE_P * rate)]
    with np.errstate(invalid="ignore"):  # samples that are not finite have a reason of their own
        found = clipped(samples[None, None].astype(float), [before[None]], edges[:, None, None])
    return "clipped" if found[0] else ""


def filled_gap(samples, rate, at_edges=False):
    """Whether samples (n,) of one component hold a gap that was filled with one value.

    Such a run is GAP long and begins and ends abruptly: beside it the samples hardly ever repeat,
    as those of a coarse record in a quiet moment do. A run at an extreme other than 0 is clipped;
    one at an edge of the samples is padding, which counts with at_edges alone.
    """
    run = max(round(GAP * rate), RUN)
    coarse = samples[:: max(run // 3, 1)]
    if not (coarse[2:] == coarse[:-2]).any():  # a quick look: any run holds three of these
        return False
    same = np.diff(samples) == 0
    edges = samples.min(), samples.max()
    for first, stop in _runs(same):
        value = samples[first]
        if stop - first + 1 < run or (value in edges and value != 0):
            continue
        beside = [same[max(first - run, 0) : first], same[stop : stop + run]]
        inside = [part.mean() < REPEATED for part in beside if len(part)]
        if all(inside) and (at_edges or len(inside) == 2):
            return True
    return False


def flagged(table):
    """Read a table's own column `clipped` (1, true or yes): bool array (N,), False without it."""
    if "clipped" not in table:
        return np.zeros(len(table), bool)
    marks = table["clipped"].astype(str).str.strip().str.lower()
    return marks.isin(["1", "1.0", "true", "yes"]).to_numpy()
