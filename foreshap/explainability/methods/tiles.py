"""Shapley values of named groups of pixels: a component in a frequency band and a time window.

A network is asked what its output loses where whole groups come from background events.
"""

from math import comb

import numpy as np
import pandas as pd
import torch

from ...files import ForeshapError
from ...preprocessing.variants import COMPONENTS, WINDOWS, frame_windows

TILE_BANDS = ((0, 5), (5, 20), (20, 50))  # [Hz], with lower edges, the last with its upper one
MASKED_TOGETHER = 16  # in a forward pass: their activations stay in the processor's cache


def tile_names(bands=TILE_BANDS):
    """List what each tile's number means, the same for all events.

    bands: sequence of (low, high) [Hz]

    returns: DataFrame, row number is the tile's number, columns component, band and window
    """
    names = pd.MultiIndex.from_product(
        [COMPONENTS, [f"{low:g}-{high:g} Hz" for low, high in bands], WINDOWS],
        names=["component", "band", "window"],
    )
    return names.to_frame(index=False).rename_axis("tile")


def physical_tiles(variant, s_p, bands=TILE_BANDS):
    """Number the tile of each pixel of an event: component by frequency band by time window.

    See frame_windows() for the windows. A tile without a frame in the event does not occur.

    variant: Variant
    s_p: float, S-P time of the event [s]
    bands: sequence of (low, high) [Hz]

    returns: int8 array (3, F, T), numbers of tile_names()
    raises: ForeshapError where a frequency lies in no band or in two, or S-P is not positive
    """
    window = frame_windows(variant, s_p)
    band = _band_of(variant.frequencies, bands)
    component = np.arange(len(COMPONENTS))[:, None, None]
    return ((component * len(bands) + band[:, None]) * len(WINDOWS) + window).astype(np.int8)


def _band_of(frequencies, bands):
    """Number of the band that each frequency lies in, int (F,)."""
    low, high = np.array(bands, dtype=float).T[..., None]
    last = (frequencies == high) & (high == high.max())
    inside = (low <= frequencies) & ((frequencies < high) | last)
    if (inside.sum(axis=0) != 1).any() or len(bands) > 10:
        raise ForeshapError(
            f"The bands {bands} must hold each frequency from 0 to {frequencies[-1]:g} Hz once, "
            "and be ten at most: let each begin where the one before it ends."
        )
    return inside.argmax(axis=0)


def halves(shape):
    """Make tiles where no arrival is known: component by half of frequencies by half of times.

    shape: (channel, frequency, time) of one event

    returns: int8 array (channel, frequency, time), 0 to 11 for three channels
    """
    channel, frequency, time = np.indices(shape)
    return (channel * 4 + (2 * frequency >= shape[1]) * 2 + (2 * time >= shape[2])).astype(np.int8)


def tile_sums(values, tiles, n_tiles):
    """Sum maps over each tile, so that methods for pixels can be compared with values of tiles.

    values: array (N, 3, F, T)
    tiles: int array (N or 1, 3, F, T), tile of each pixel
    n_tiles: int

    returns: float array (N, n_tiles), 0 for a tile that does not occur
    """
    tiles = np.broadcast_to(tiles, values.shape)
    sums = np.zeros((len(values), n_tiles))
    for event, (numbers, pixels) in enumerate(zip(tiles, values)):
        sums[event] = np.bincount(numbers.ravel(), pixels.ravel(), n_tiles)
    return sums


def shapley_tiles(network, background, tiles=None, evaluations=2000, seed=0):
    """Prepare Shapley values of groups of pixels; groups left out come from background events.

    See shapley() for how they are computed.

    network: torch.nn.Module in evaluation mode, (N, 3, F, T) -> (N, 1)
    background: float tensor (B, 3, F, T)
    tiles: int array (3, F, T), group of each pixel; or a function, event key -> such an array;
        halves() where left out
    evaluations: int, forward passes of single inputs an event
    seed: int

    returns: function of an event, tensor (3, F, T), and its key, int, that gives
        values: float64 array (3, F, T), each group's value spread evenly over its pixels
        base_value: float, mean output of the background
        standard_error: float64 array (3, F, T), each group's standard error over its number of
            pixels, so that tile_sums() gives the group's; 0 where nothing was sampled
    raises: ForeshapError, from that function, where tiles have another shape than the event or
        evaluations are too few for them
    """
    empty = _outputs(network, background.split(MASKED_TOGETHER))

    def explain(event, key):
        own = tiles
        if tiles is None:
            own = halves(event.shape)
        elif callable(tiles):
            own = tiles(key)
        group, sizes = _groups(own, event.shape)
        full = _outputs(network, [event[None]])[0]

        def value_of(members, rows):
            return _outputs(network, _masked(event, background, group, members, rows))

        rng = np.random.default_rng([seed, key])
        values, error = shapley(value_of, full, empty, len(sizes), evaluations, rng)
        return (values / sizes)[group], float(empty.mean()), (error / sizes)[group]

    return explain


def _groups(tiles, shape):
    """Tiles renumbered without gaps, int (3, F, T), and the number of pixels in each."""
    tiles = np.asarray(tiles)
    if tiles.shape != tuple(shape) or tiles.dtype.kind not in "iu":
        raise ForeshapError(
            f"The tiles are {tiles.dtype} of shape {tiles.shape}, the event has {tuple(shape)}: "
            "give an integer for each of its pixels."
        )
    _, group, sizes = np.unique(tiles, return_inverse=True, return_counts=True)
    return group.reshape(shape), sizes


def _outputs(network, batches):
    """Outputs of batches of inputs, float64 (N,)."""
    with torch.inference_mode():
        outputs = np.concatenate([network(batch)[:, 0].numpy() for batch in batches])
    return outputs.astype(np.float64)


def _masked(event, background, group, members, rows):
    """Batches of the event with all groups but the members from background events (rows)."""
    members, rows, group = (torch.from_numpy(a) for a in (members, rows, group))
    for m, r in zip(members.split(MASKED_TOGETHER), rows.split(MASKED_TOGETHER)):
        yield torch.where(m[:, group], event, background[r])


def shapley(value_of, full, empty, n_groups, evaluations, rng):
    """Compute Shapley values of groups that are absent where they come from background events.

    Shapley (1953). Exact by all coalitions where these, each with all background events, are no
    more than evaluations; else sampled by pairs of a permutation and its reverse (Mitchell et al.,
    2022, section 4.1), each pair with one background event, all taken in turn. The standard error
    is that of the pairs' mean: within background events where each has two pairs or more; else over
    all pairs, which overstates it, for the events are drawn without replacement. What the sample
    misses of the total is then shared in proportion to squared standard errors: generalised least
    squares under the known sum.

    value_of: function of members, bool (K, n_groups), and background, int (K,), to outputs, (K,)
    full: float, output with all groups
    empty: float array (B,), output of each background event
    n_groups: int
    evaluations: int, outputs that may be computed, full among them
    rng: numpy Generator

    returns: values (n_groups,), whose sum is full - mean of empty, and their standard errors
        (n_groups,), 0 where exact
    raises: ForeshapError where evaluations are too few for two pairs
    """
    if (2**n_groups - 2) * len(empty) + 1 <= evaluations:
        return _enumerated(value_of, full, empty, n_groups), np.zeros(n_groups)
    pairs = (evaluations - 1) // (2 * (n_groups - 1))
    if pairs < 2:
        raise ForeshapError(
            f"{evaluations} evaluations are too few for {n_groups} tiles: "
            f"give at least {4 * n_groups - 3}, better ten times that."
        )
    strata = len(empty) if pairs >= 2 * len(empty) else 1
    pairs -= pairs % strata
    sample = _permutation_pairs(value_of, full, empty, n_groups, pairs, rng)
    values = sample.mean(axis=0)
    error = np.sqrt(sample.reshape(-1, strata, n_groups).var(axis=0, ddof=1).mean(axis=0) / pairs)
    missed = full - empty.mean() - values.sum()
    weight = error**2 if error.any() else np.ones(n_groups)
    return values + missed * weight / weight.sum(), error


def _enumerated(value_of, full, empty, n_groups):
    """Exact values (n_groups,) from all coalitions, each the mean over the background."""
    members = (np.arange(2**n_groups)[:, None] >> np.arange(n_groups) & 1).astype(bool)
    inner = np.repeat(members[1:-1], len(empty), axis=0)
    rows = np.tile(np.arange(len(empty)), 2**n_groups - 2)
    outputs = value_of(inner, rows).reshape(-1, len(empty))
    worth = np.concatenate([[empty.mean()], outputs.mean(axis=1), [full]])
    size = members.sum(axis=1)
    weight = np.array([1 / (n_groups * comb(n_groups - 1, s)) for s in range(n_groups)])
    joining = weight[size - 1][:, None] * members  # size - 1 others are there already
    leaving = weight[np.minimum(size, n_groups - 1)][:, None] * ~members
    return worth @ (joining - leaving)


def _permutation_pairs(value_of, full, empty, n_groups, pairs, rng):
    """Contributions (pairs, n_groups), each the mean over a permutation and its reverse."""
    forward = rng.permuted(np.tile(np.arange(n_groups), (pairs, 1)), axis=1)  # each group's place
    place = np.stack([forward, n_groups - 1 - forward], axis=1)
    background = np.resize(rng.permutation(len(empty)), pairs)
    members = place[:, :, None] < np.arange(1, n_groups)[:, None]
    rows = np.repeat(background, 2 * (n_groups - 1))
    path = np.empty((pairs, 2, n_groups + 1))
    path[..., 0] = empty[background, None]
    path[..., 1:-1] = value_of(members.reshape(-1, n_groups), rows).reshape(pairs, 2, n_groups - 1)
    path[..., -1] = full
    return np.take_along_axis(np.diff(path), place, axis=2).mean(axis=1)
