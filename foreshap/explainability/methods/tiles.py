"""Shapley values of named groups of pixels: a component in a frequency band and a time window.

A network is asked what its output loses where whole groups come from background events.
"""

from math import comb

import numpy as np
import pandas as pd
import torch

from ...files import ForeshapError
from ...preprocessing.variants import COMPONENTS, WINDOWS, frame_windows

TILE_BANDS = {"0-5 Hz": 0, "5-20 Hz": 5, "20-50 Hz": 20}  # lower edge, which is inside [Hz]
MASKED_TOGETHER = 16  # in a forward pass: their activations stay in the processor's cache


def tile_names():
    """List what each tile's number means: DataFrame, columns component, band and window."""
    columns = ["component", "band", "window"]
    names = pd.MultiIndex.from_product([COMPONENTS, TILE_BANDS, WINDOWS], names=columns)
    return names.to_frame(index=False).rename_axis("tile")


def physical_tiles(variant, s_p):
    """Number the tile of each pixel of an event: component by frequency band by time window.

    variant: Variant
    s_p: float, S-P time of the event [s]; NaN: windows of 2 s after P

    returns: int8 array (3, F, T), numbers of tile_names(); see frame_windows() for the windows
    raises: ForeshapError where S-P is not positive
    """
    window = frame_windows(variant, s_p)
    band = np.searchsorted([*TILE_BANDS.values()], variant.frequencies, side="right") - 1
    component = np.arange(len(COMPONENTS))[:, None, None]
    row = component * len(TILE_BANDS) + band[:, None]
    return (row * len(WINDOWS) + window).astype(np.int8)


def halves(shape):
    """Make 12 tiles where no arrival is known: component by half of frequencies and of times."""
    channel, frequency, time = np.indices(shape)
    return (channel * 4 + (2 * frequency >= shape[1]) * 2 + (2 * time >= shape[2])).astype(np.int8)


def tile_sums(values, tiles, n_tiles):
    """Sum maps over each tile, so that methods for pixels can be compared with values of tiles.

    values: array (N, 3, F, T)
    tiles: int array (N or 1, 3, F, T), tile of each pixel, below n_tiles

    returns: float array (N, n_tiles), 0 for a tile that does not occur
    """
    tiles = np.broadcast_to(tiles, values.shape)
    sums = np.zeros((len(values), n_tiles))
    for event, (numbers, pixels) in enumerate(zip(tiles, values)):
        sums[event] = np.bincount(numbers.ravel(), pixels.ravel(), n_tiles)
    return sums


def shapley_tiles(network, background, tiles=None, evaluations=2000, seed=0):
    """Prepare Shapley values of groups of pixels, see shapley(); protocol as in libraries.py.

    Values and standard errors are spread evenly over a group's pixels. Base value: mean output of
    the background.

    tiles: int array (3, F, T), group of each pixel; or a function, key -> such an array; halves()
    """
    empty = _outputs(network, background.split(MASKED_TOGETHER))

    def explain(event, key):
        own = tiles
        if tiles is None:
            own = halves(event.shape)
        elif callable(tiles):
            own = tiles(key)
        own = np.asarray(own)
        if own.shape != tuple(event.shape) or own.dtype.kind not in "iu":
            raise ForeshapError(
                f"The tiles are {own.dtype} of shape {own.shape}, the event has "
                f"{tuple(event.shape)}: give an integer for each of its pixels."
            )
        _, group, sizes = np.unique(own, return_inverse=True, return_counts=True)
        group = group.reshape(event.shape)
        full = _outputs(network, [event[None]])[0]

        def value_of(members, rows):
            return _outputs(network, _masked(event, background, group, members, rows))

        rng = np.random.default_rng([seed, key])
        values, error = shapley(value_of, full, empty, len(sizes), evaluations, rng)
        return (values / sizes)[group], float(empty.mean()), (error / sizes)[group]

    return explain


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
    """Compute Shapley values and their standard errors (n_groups,); sum: full - mean of empty.

    Shapley (1953). Exact by all coalitions with all background events (outputs `empty`) where these
    are no more than evaluations; else by pairs of a permutation and its reverse (Mitchell et al.,
    2022, section 4.1), each with one background event, all in turn. The standard error is that of
    the pairs' mean: within background events where each has two pairs; else over all, which
    overstates it. What the sample misses of the total is shared in proportion to squared standard
    errors: generalised least squares under the known sum.

    value_of: function of members, bool (K, n_groups), and background, int (K,), to outputs, (K,)
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
