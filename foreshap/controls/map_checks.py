"""What could prove an explanation wrong: the simulated sequence's exact effect, and checks that need no truth.

Maps are of any attribution method, for the margin logit(aftershock) - logit(foreshock): positive pushes toward
aftershock.
"""

import copy
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata

from ..explainability.attribution import shap_tensors
from ..files import ForeshapError
from ..preprocessing.waveforms import known_stations

REGION = 0.5  # of the mean effect's largest value: where it is at least this much, the effect is
BATCH = 128  # inputs that go through a network together


def effect_differences(spectrograms, truth, rows):
    """What the simulated effects change in each event: its tensor as an aftershock minus as a foreshock.

    spectrograms: Spectrograms of a simulated sequence
    truth: Spectrograms of its folder truth/, of the same variant
    rows: int array, events of spectrograms

    returns: float32 array (len(rows), 3, F, T) [log10 of the ratio of power spectral densities]
    raises: ForeshapError where the variants differ or truth lacks an event
    """
    if truth.variant != spectrograms.variant:
        raise ForeshapError(
            f"{truth.path} holds {truth.variant.name}, {spectrograms.path} {spectrograms.variant.name}: one is needed."
        )
    names = spectrograms.table["trace_name"].to_numpy()[rows]
    place = {name: row for row, name in enumerate(truth.table["trace_name"])}
    if missing := [name for name in names if name not in place]:
        raise ForeshapError(
            f"{truth.path} lacks {missing[0]}: preprocess the truth of the same sequence."
        )
    differences = [
        truth.values[place[name]] - spectrograms.values[row] for name, row in zip(names, rows)
    ]
    sign = np.where(spectrograms.labels[rows] == 0, 1, -1).astype(
        np.float32
    )  # truth is the other class
    return np.stack(differences) * sign[:, None, None, None]


def share_before(values, variant):
    """Share of an event's |SHAP| in frames that end before the arrival the variant is aligned on.

    values: array (N, 3, F, T)
    variant: Variant

    returns: float array (N,), 0..1
    """
    ends_before = variant.times + variant.nperseg / variant.sampling_rate / 2 <= 0
    absolute = np.abs(values)
    return absolute[..., ends_before].sum(axis=(1, 2, 3)) / absolute.sum(axis=(1, 2, 3))


def effect_region(differences):
    """Where the effect is: pixels in which its mean over events has at least REGION of its largest value.

    Over events, since in one event pixels with next to no power change most, by chance and outside the effect.

    differences: array (N, 3, F, T), of effect_differences()

    returns: bool array (3, F, T)
    raises: ForeshapError where there is no effect
    """
    size = np.abs(np.mean(differences, axis=0))
    if not size.max() > 0:
        raise ForeshapError(
            "The simulated effects change nothing in these events: simulate some to have a truth."
        )
    return size >= REGION * size.max()


def truth_scores(values, differences, labels, region=None, seed=0, resamples=1000):
    """How well maps find the simulated effect: means over events with bootstrap 95 % intervals.

    Relevance mass: share of the |SHAP| that lies in the effect's region (Kohlbrenner et al., 2020; Arras et al., 2022).
    Rank accuracy: share of the K pixels of largest |SHAP| that lie there, K being the region's size (Arras et al.,
    2022); tied pixels count with their mean. ROC AUC: chance that a pixel of the region has a larger |SHAP| than one
    outside. Correlation: Pearson's, of |effect| with SHAP toward the event's own class, which is SHAP for an
    aftershock and -SHAP for a foreshock: the effect moves an aftershock to aftershock, and its absence moves a
    foreshock to foreshock, whether it adds power or takes it away.

    values: array (N, 3, F, T), SHAP
    differences: array (N, 3, F, T), of effect_differences()
    labels: array (N,), 0 foreshock, 1 aftershock
    region: bool array (3, F, T), of effect_region(); that of the differences where left out, which a few events don't
        draw well
    seed, resamples: int, of the bootstrap

    returns: DataFrame, a row a measure: value, low, high, chance (what a map without information gets), n_events
    raises: ForeshapError where shapes differ or there is no effect
    """
    _check_shapes(values, differences)
    effect, shap = np.abs(_flat(differences)), _flat(values)
    region = effect_region(differences) if region is None else region
    region = np.broadcast_to(region.ravel(), shap.shape)
    absolute, toward_own = np.abs(shap), shap * np.where(np.asarray(labels) == 1, 1, -1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):  # a map of zeros has no scores: NaN
        scores = {
            "relevance mass": (absolute * region).sum(axis=1) / absolute.sum(axis=1),
            "rank accuracy": _rank_accuracy(absolute, region),
            "ROC AUC": _roc_auc(absolute, region),
            "correlation": _correlation(toward_own, effect),
        }
    table = _intervals(scores, seed, resamples)
    table.insert(3, "chance", [region.mean(), region.mean(), 0.5, 0.0])
    return table


def _rank_accuracy(absolute, region):
    """Share of each row's K largest values inside its region of size K, float (N,)."""
    size = region.sum(axis=1, keepdims=True)
    least = np.take_along_axis(
        np.sort(absolute, axis=1), absolute.shape[1] - size, axis=1
    )  # of the K largest
    above, tied = absolute > least, absolute == least
    places = size[:, 0] - above.sum(axis=1)  # for the tied
    return (
        (above & region).sum(axis=1) + places * (tied & region).sum(axis=1) / tied.sum(axis=1)
    ) / size[:, 0]


def _roc_auc(absolute, region):
    """Area under the ROC curve of each row's values for its region, by ranks (Mann and Whitney, 1947), float (N,)."""
    inside = region.sum(axis=1)
    rank_sum = (rankdata(absolute, axis=1) * region).sum(axis=1)
    return (rank_sum - inside * (inside + 1) / 2) / (inside * (region.shape[1] - inside))


def perturbation_curves(model_outputs, x, values, background, groups=None, steps=20, seed=0):
    """What a network says while an event's pixels are exchanged, those that its map calls important first.

    Each event is taken in the direction of its own output: s = sign(output - base), base being the background's mean
    output. Pixels go by s * SHAP, largest first. Deletion puts a random background event's pixels into the event,
    insertion the event's pixels into that background event (Samek et al., 2017; Petsiuk et al., 2018); beside both
    stands one random order. A faithful map falls and rises faster than the random order. Curves are
    s * (output - base) over its mean of the whole events: 1 is the events as they are, 0 the background.

    model_outputs: function, tensor (n, 3, F, T) -> tensor or array (n,), margins
    x: tensor or array (N, 3, F, T), scaled as the network wants it
    values: array (N, 3, F, T), SHAP of x
    background: tensor or array (B, 3, F, T), scaled alike
    groups: int array (N or 1, 3, F, T), tile of each pixel: whole tiles are exchanged, by their mean SHAP; single
        pixels when left out
    steps: int, of equal shares of the pixels; a tile belongs to the step in which its middle pixel is
    seed: int, of the background events, the random order, the order of ties and the bootstrap

    returns: DataFrame of share (0..1) and the means over events of deletion, insertion, random deletion and
        random insertion; DataFrame of the areas under these curves, a row each: value, low, high
        (bootstrap 95 % over events), n_events
    raises: ForeshapError where shapes differ or no output differs from base
    """
    _check_shapes(values, x)
    x, background = (torch.as_tensor(a, dtype=torch.float32) for a in (x, background))
    _check_shapes(x[:1], background[:1])
    rng, shares = np.random.default_rng(seed), np.linspace(0, 1, steps + 1)
    groups = np.arange(x[0].numel()).reshape(1, *x.shape[1:]) if groups is None else groups
    base = _outputs(model_outputs, background).mean()
    toward = _outputs(model_outputs, x) - base
    if not toward.any():
        raise ForeshapError(
            "The network tells no event from the background: there is nothing to explain, train it again."
        )
    others = background[rng.integers(len(background), size=len(x))]
    shap, tiles = (
        _flat(values) * np.sign(toward)[:, None],
        np.broadcast_to(groups, x.shape).reshape(len(x), -1),
    )
    inputs = (_exchanged(*event, shares, rng) for event in zip(x, others, shap, tiles))
    outputs = np.stack(
        [_outputs(model_outputs, steps_of_event) for steps_of_event in inputs]
    ).reshape(len(x), 4, -1)
    curves = np.sign(toward)[:, None, None] * (outputs - base) / np.abs(toward).mean()
    names = ("deletion", "insertion", "random deletion", "random insertion")
    areas = dict(zip(names, np.trapezoid(curves, shares).T))
    return pd.DataFrame({"share": shares, **dict(zip(names, curves.mean(axis=0)))}), _intervals(
        areas, seed
    )


def _exchanged(event, other, shap, tiles, shares, rng):
    """An event's inputs for its four curves, tensor (4 len(shares), 3, F, T): deletion, insertion, both at random.

    event, other: tensors (3, F, T)
    shap, tiles: arrays (P,), SHAP toward the event's own output and tile of each pixel
    """
    places = np.stack([_places(scores, tiles, rng) for scores in (shap, np.zeros_like(shap))])
    deleted = torch.from_numpy(places[:, None] <= shares[:, None])
    taken = torch.stack([deleted, ~deleted], dim=1).reshape(-1, *event.shape)
    return torch.where(taken, other, event)


def _outputs(model_outputs, inputs):
    """A network's margins of inputs (n, 3, F, T), batch by batch, float64 array (n,)."""
    with torch.no_grad():
        return np.concatenate(
            [np.asarray(model_outputs(part), dtype=np.float64) for part in inputs.split(BATCH)]
        )


def _places(scores, tiles, rng):
    """Where each pixel's tile stands when tiles go by their mean score, largest first, ties at random.

    scores, tiles: arrays (P,)
    rng: numpy.random.Generator

    returns: float array (P,), share of the pixels before the middle of the pixel's tile
    """
    _, tile, size = np.unique(tiles, return_inverse=True, return_counts=True)
    order = np.lexsort((rng.random(len(size)), -np.bincount(tile, scores) / size))
    middle = np.empty(len(size))
    middle[order] = np.cumsum(size[order]) - size[order] / 2
    return middle[tile] / len(tiles)


def agreement(a, b, seed=0, resamples=1000):
    """How alike two maps of the same events are: Spearman's rank correlation over an event's pixels.

    a, b: arrays (N, ...) of one shape, by two methods, seeds or networks, or of two variants by on_axes()
    seed, resamples: int, of the bootstrap

    returns: DataFrame, rows "rank correlation, signed" and "rank correlation, absolute": value (mean over events),
        low, high (bootstrap 95 %), n_events
    raises: ForeshapError where shapes differ
    """
    _check_shapes(a, b)
    signed = _correlation(*(rankdata(_flat(m), axis=1) for m in (a, b)))
    absolute = _correlation(*(rankdata(np.abs(_flat(m)), axis=1) for m in (a, b)))
    return _intervals(
        {"rank correlation, signed": signed, "rank correlation, absolute": absolute},
        seed,
        resamples,
    )


def agreements(maps, pairs, seed=0):
    """Rank correlation of signed maps for pairs of any kind, and between trainings.

    maps: dict, name -> array (N, ...), of several trainings
    pairs: dict, what is compared -> two arrays of one shape
    seed: int, of the bootstrap

    returns: DataFrame, a row a pair, "trainings" (mean over all pairs of them) first: value, low, high, n_events
    raises: ForeshapError where shapes differ
    """
    signed = lambda a, b: agreement(a, b, seed).iloc[0]
    found = {what: signed(*pair) for what, pair in pairs.items()}
    trainings = [signed(a, b) for a, b in combinations(maps.values(), 2)]
    means = {f"{len(maps)} trainings": pd.DataFrame(trainings).mean()} if trainings else {}
    return pd.DataFrame(means | found).T


def same_events(here, rows, other, spectrograms, edges):
    """Maps of two variants for the events that both explain, in time after P.

    here: array (N, 3, f, t), of after_p() with these edges
    rows: int array (N,), their rows in spectrograms
    other: ShapTensors of a file (load_shap), another variant
    spectrograms: Spectrograms, that of here
    edges: time and frequency edges, of after_p()

    returns: two arrays (n, 3, f, t)
    raises: ForeshapError where they share no event
    """
    place = {name: k for k, name in enumerate(other.table["trace_name"])}
    names = spectrograms.table["trace_name"].to_numpy()[rows]
    mine = [k for k, name in enumerate(names) if name in place]
    theirs = [place[names[k]] for k in mine]
    if not mine:
        raise ForeshapError(f"{other.path} explains none of these events: explain the same ones.")
    values = np.stack([other.values[k] for k in theirs])
    return here[mine], after_p(
        values, other.variant, other.table["p_s_diff_sec"].to_numpy()[theirs], *edges
    )


def between_stations(here, table):
    """Maps of the same earthquakes at two stations, in time after P: what a wave brings along should be in both.

    here: array (N, 3, f, t), of after_p()
    table: DataFrame (N rows), with source_id

    returns: dict, what is compared -> two arrays (n, 3, f, t); without two stations of one earthquake empty
    """
    source = table.get("source_id", pd.Series(np.nan, table.index))
    rows = pd.DataFrame(
        {"source": source, "station": known_stations(table), "row": range(len(table))}
    )
    wide = rows.pivot_table("row", "source", "station", "first")
    pairs = {(a, b): wide[[a, b]].dropna().astype(int) for a, b in combinations(wide, 2)}
    return {
        f"stations {a} and {b}": (here[both[a]], here[both[b]])
        for (a, b), both in pairs.items()
        if len(both)
    }


def agreement_matrix(maps, absolute=False):
    """Rank correlation of every two of several maps of the same events, mean over events.

    maps: dict, name -> array (N, ...), all of one shape
    absolute: bool, of the absolute values

    returns: DataFrame, name x name
    raises: ForeshapError where shapes differ
    """
    first, *others = maps.values()
    for other in others:
        _check_shapes(first, other)
    ranks = [rankdata(np.abs(_flat(m)) if absolute else _flat(m), axis=1) for m in maps.values()]
    return pd.DataFrame(
        [[_mean(_correlation(a, b)) for a in ranks] for b in ranks], list(maps), list(maps)
    )


def on_axes(values, variant, time_edges, frequency_edges):
    """A map summed into bins of time and frequency, so that variants can be compared.

    A pixel is a rectangle, its frame's centre +- half a hop by its frequency +- half a step, and gives each bin the
    share of its value that overlaps. The rows at 0 Hz and at the Nyquist frequency end there: they are half as high
    and hold their whole value.

    values: array (..., F, T)
    variant: Variant of values
    time_edges: float array (t + 1,), ascending [s, relative to the arrival]
    frequency_edges: float array (f + 1,), ascending [Hz]

    returns: float array (..., f, t)
    """
    half_hop = variant.hop / variant.sampling_rate / 2
    half_step = variant.sampling_rate / variant.nperseg / 2
    nyquist = variant.sampling_rate / 2
    bounds = (np.clip(variant.frequencies + sign * half_step, 0, nyquist) for sign in (-1, 1))
    frequency = _overlap(*bounds, np.asarray(frequency_edges))
    time = _overlap(variant.times - half_hop, variant.times + half_hop, np.asarray(time_edges))
    return np.einsum("gf,...ft,ut->...gu", frequency, values, time, optimize=True)


def after_p(values, variant, s_p, time_edges, frequency_edges):
    """Maps in bins of time after P, whichever arrival the variant is aligned on: on_axes(), event by event.

    values: array (N, 3, F, T)
    variant: Variant of values
    s_p: array (N,), S-P times [s]
    time_edges: float array (t + 1,), ascending [s after P]
    frequency_edges: float array (f + 1,), ascending [Hz]

    returns: float array (N, 3, f, t)
    """
    shift = np.asarray(s_p) if variant.phase == "S" else np.zeros(len(values))
    return np.stack(
        [on_axes(v, variant, time_edges - s, frequency_edges) for v, s in zip(values, shift)]
    )


def _overlap(low, high, edges):
    """Share of each interval low..high (n,) in each bin between edges (bins + 1,), float (bins, n)."""
    inside = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    return np.maximum(inside, 0) / (high - low)


def randomised(model, seed):
    """Networks that forget layer by layer, from the output down: maps that don't change explain no network.

    Cascading randomisation (Adebayo et al., 2018). Each layer with weights, batch normalisation on its own, is drawn
    anew as when it was made, and stays so.

    model: torch.nn.Module
    seed: int

    yields: name of the layer drawn last, copy of the model with this layer and all nearer to the output drawn anew
    """
    current, fresh = copy.deepcopy(model), copy.deepcopy(model)
    layers = [name for name, layer in fresh.named_modules() if hasattr(layer, "reset_parameters")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            int(np.random.default_rng(seed).integers(2**63))
        )  # seed itself may have made the model
        for name in layers:
            fresh.get_submodule(name).reset_parameters()
    for name in reversed(layers):
        current.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        yield name, copy.deepcopy(current)


def randomisation_steps(model, x, background, maps, seed):
    """Agreement of deep maps with the original's while layer after layer is drawn anew.

    model: torch.nn.Module
    x: tensor (N, 3, F, T), scaled
    background: tensor (B, 3, F, T), scaled
    maps: array (N, 3, F, T), SHAP of x by the model itself
    seed: int

    returns: DataFrame, a row a layer in the order of drawing: signed and absolute, each (value, low, high)
    """
    steps = {}
    for layer, network in randomised(model, seed):
        found = agreement(maps, shap_tensors(network, x, background).values, seed).drop(
            columns="n_events"
        )
        steps[layer] = found.apply(tuple, axis=1).rename(
            lambda row: row.removeprefix("rank correlation, ")
        )
    return pd.DataFrame(steps).T


def bootstrap_interval(per_event, seed=0, resamples=1000):
    """Mean over events and its bootstrap 95 % interval (percentiles; Efron, 1979); NaN is an event left out.

    per_event: array (N,)
    seed, resamples: int

    returns: mean, low, high; without an interval (NaN) for fewer than two events
    """
    values = np.asarray(per_event, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return _mean(values), np.nan, np.nan
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return values.mean(), *np.percentile(values[draws].mean(axis=1), (2.5, 97.5))


def _intervals(scores, seed, resamples=1000):
    """Table of scores (dict, name -> array (N,)): a row each with value, low, high, n_events."""
    rows = [
        (*bootstrap_interval(score, seed, resamples), np.isfinite(score).sum())
        for score in scores.values()
    ]
    return pd.DataFrame(rows, index=list(scores), columns=["value", "low", "high", "n_events"])


def _mean(per_event):
    """Mean of the values that aren't NaN; NaN where there are none."""
    with warnings.catch_warnings(action="ignore"):
        return np.nanmean(per_event)


def _correlation(a, b):
    """Pearson's correlation of each row of a with that of b, float (N,); NaN where a row is constant."""
    a, b = (m - m.mean(axis=1, keepdims=True) for m in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _flat(maps):
    """Maps (N, ...) as float64 rows (N, pixels)."""
    return np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)


def _check_shapes(a, b):
    """Raise ForeshapError unless two maps have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        raise ForeshapError(
            f"Maps of shape {tuple(a.shape)} and {tuple(b.shape)} can't be compared: give the same events."
        )
