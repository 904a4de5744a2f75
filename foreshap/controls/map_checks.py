"""What could prove a map wrong: simulated effects, and checks that need no truth.

Maps are of any attribution method, for the margin logit(aftershock) - logit(foreshock): positive
pushes toward aftershock.
"""

import copy
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.signal import find_peaks
from scipy.stats import rankdata
from tqdm import tqdm

from ..explainability.attribution import shap_tensors
from ..files import ForeshapError
from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_stations, known_times
from ..training.scores import bootstrap_interval, interval_table, roc_auc

REGION = 0.5  # the effect's region begins at this share of the mean effect's largest value
QUIET_BAR = {"delay": 2, "leave": False}  # shown where it takes longer [s], and then gone
BANDS = {"0-10 Hz": 0, "10-25 Hz": 10, "25-45 Hz": 25, "45-50 Hz": 45}  # lower edges [Hz]
CURVES = ("deletion", "insertion", "random deletion", "random insertion")


def effect_differences(spectrograms, truth, rows):
    """Compute what simulated effects change: each tensor as an aftershock minus as a foreshock.

    spectrograms, truth: Spectrograms of a simulated sequence and of its folder truth/
    rows: int array (n,), events of spectrograms

    returns: float32 array (n, 3, F, T) [log10 of the ratio of power spectral densities]
    raises: ForeshapError where the variants differ or truth lacks an event
    """
    names = spectrograms.table["trace_name"].iloc[rows]
    places = pd.Index(truth.table["trace_name"]).get_indexer(names)
    if truth.variant != spectrograms.variant or (places < 0).any():
        raise ForeshapError(
            f"{truth.path} is not the truth of these events of {spectrograms.path}: preprocess the "
            "truth of the same sequence, in the same variant."
        )
    change = np.stack([truth.values[k] - spectrograms.values[row] for k, row in zip(places, rows)])
    change[spectrograms.labels[rows] == 1] *= -1  # truth is the event of the other class
    return change


def effect_region(differences):
    """Find where the effect is: pixels whose mean over events has REGION of its largest value.

    Over events, since in one event pixels with next to no power change most, by chance.

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


def truth_scores(values, differences, labels, region, seed=0):
    """Score how well maps find the simulated effect: means over events with 95 % intervals.

    Relevance mass: share of |SHAP| in the effect's region (Kohlbrenner et al., 2020; Arras et al.,
    2022). Rank accuracy: share of the K largest |SHAP| that lie there, K being the region's size
    (Arras et al., 2022); ties count with their mean. ROC AUC: chance that a pixel of the region has
    a larger |SHAP| than one outside. Correlation: Pearson's, of |effect| with SHAP toward the
    event's own class, whether the effect adds power or takes it away.

    values, differences: arrays (N, 3, F, T), SHAP and effect_differences()
    labels: array (N,), 0 foreshock, 1 aftershock
    region: bool array (3, F, T), of effect_region() of many events
    seed: int, of the bootstrap

    returns: DataFrame, a row a measure: value, low, high, chance (of any map), n_events
    raises: ForeshapError where shapes differ
    """
    _check_shapes(values, differences)
    inside = region.ravel()
    shap, effect = _flat(values), np.abs(_flat(differences))
    absolute = np.abs(shap)
    toward_own = np.where(np.asarray(labels)[:, None] == 1, shap, -shap)
    with np.errstate(invalid="ignore"):  # a map of zeros has no mass: NaN
        mass = (absolute * inside).sum(axis=1) / absolute.sum(axis=1)
    scores = {
        "relevance mass": mass,
        "rank accuracy": np.array([_rank_accuracy(pixels, inside) for pixels in absolute]),
        "ROC AUC": np.array([roc_auc(pixels, inside) for pixels in absolute]),
        "correlation": _correlation(toward_own, effect),
    }
    table = interval_table(scores, seed)
    table.insert(3, "chance", [region.mean(), region.mean(), 0.5, 0.0])
    return table


def _rank_accuracy(pixels, inside):
    """Share of an event's K largest pixels (P,) that lie inside a region of size K (bool (P,))."""
    size = inside.sum()
    least = np.sort(pixels)[-size]
    above, tied = pixels > least, pixels == least
    places_for_tied = size - above.sum()
    hits = (above & inside).sum() + places_for_tied * (tied & inside).sum() / tied.sum()
    return hits / size


def perturbation_curves(model_outputs, x, values, background, steps=20, seed=0):
    """Follow a network's output while an event's pixels are exchanged, the map's largest first.

    Pixels go by SHAP toward the event's own output. Deletion puts a random background event's
    pixels into the event, insertion the event's into that background event (Samek et al., 2017;
    Petsiuk et al., 2018), and each once in random order, which a faithful map outruns. Outputs are
    taken from the background's mean, over the events' mean distance from it: 1 is the events as
    they are, 0 the background.

    model_outputs: function, tensor (n, 3, F, T) -> array (n,), margins: outputs_of() of a model
    x, background: tensors or arrays (N or B, 3, F, T), scaled as the network wants them
    values: array (N, 3, F, T), SHAP of x
    steps: int, of equal shares of the pixels
    seed: int, of the background events, random orders and the bootstrap

    returns: DataFrame of share (0..1) and the means over events of the CURVES; DataFrame of the
        areas under them, a row each: value, low, high (bootstrap 95 %), n_events
    raises: ForeshapError where shapes differ or no output differs from the background's
    """
    _check_shapes(values, x)
    x = torch.as_tensor(x, dtype=torch.float32)
    background = torch.as_tensor(background, dtype=torch.float32)
    _check_shapes(x[:1], background[:1])
    base = np.asarray(model_outputs(background), dtype=np.float64).mean()
    apart = np.asarray(model_outputs(x), dtype=np.float64) - base
    if not apart.any():
        raise ForeshapError(
            "The network tells no event from the background: train it again to have a map."
        )
    rng, shares = np.random.default_rng(seed), np.linspace(0, 1, steps + 1)
    others = background[rng.integers(len(background), size=len(x))]
    toward = np.sign(apart)[:, None] * _flat(values)
    curves = np.empty((len(x), len(CURVES), steps + 1))
    for k, (event, other) in enumerate(zip(tqdm(x, desc="deletion", **QUIET_BAR), others)):
        inputs = []
        for score in (toward[k], np.zeros_like(toward[k])):  # equal scores: a random order
            order = np.lexsort((rng.random(len(score)), -score))
            places = (np.argsort(order) + 0.5) / len(order)
            deleted = torch.from_numpy(places <= shares[:, None]).reshape(-1, *event.shape)
            inputs += [torch.where(deleted, other, event), torch.where(deleted, event, other)]
        output = np.asarray(model_outputs(torch.cat(inputs))).reshape(len(CURVES), -1)
        curves[k] = np.sign(apart[k]) * (output - base) / np.abs(apart).mean()
    means = pd.DataFrame(curves.mean(axis=0).T, columns=CURVES)
    means.insert(0, "share", shares)
    areas = np.trapezoid(curves, shares)
    return means, interval_table(dict(zip(CURVES, areas.T)), seed)


def agreement(pairs, seed=0):
    """Compute how alike signed maps of the same events are: Spearman's correlation over pixels.

    pairs: dict, what is compared -> list of pairs of arrays (N, ...) of one shape: methods,
        trainings or, by on_axes(), variants; the mean over these pairs counts
    seed: int, of the bootstrap

    returns: DataFrame, a row each: value (mean over events), low, high (95 %), n_events
    raises: ForeshapError where shapes differ
    """
    scores = {}
    for what, compared in tqdm(pairs.items(), desc="agreement", **QUIET_BAR):
        correlations = [_rank_correlation(a, b) for a, b in compared]
        if correlations:
            scores[what] = np.mean(correlations, axis=0)
    return interval_table(scores, seed)


def agreement_matrix(maps):
    """Compute the rank correlation of every two of several signed maps, mean over events.

    maps: dict, name -> array (N, ...), all of one shape

    returns: DataFrame, name x name
    raises: ForeshapError where shapes differ
    """
    table = pd.DataFrame(np.eye(len(maps)), index=list(maps), columns=list(maps))
    for a, b in tqdm([*combinations(maps, 2)], desc="agreement", **QUIET_BAR):
        table.loc[a, b] = table.loc[b, a] = pd.Series(_rank_correlation(maps[a], maps[b])).mean()
    return table


def same_events(here, names, other, *edges):
    """Maps (of on_axes() after P) of these trace names and those of other ShapTensors, paired."""
    place = pd.Index(other.table["trace_name"]).get_indexer(names)
    theirs = place[place >= 0]
    if len(theirs) == 0:
        raise ForeshapError(f"{other.path} explains none of these events: explain the same ones.")
    s_p = other.table["p_s_diff_sec"].to_numpy()[theirs]
    return here[place >= 0], on_axes(other.values[theirs], other.variant, *edges, s_p)


def between_stations(maps, table):
    """Maps of the same earthquakes (source_id) at every two stations: dict, what -> [pair]."""
    events = {"source": table.get("source_id"), "station": known_stations(table)}
    events = pd.DataFrame(events | {"row": range(len(table))})
    row_at = events.pivot_table("row", "source", "station", "first")
    pairs = {}
    for a, b in combinations(row_at, 2):
        both = row_at[[a, b]].dropna().astype(int)
        if len(both):
            pairs[f"stations {a} and {b}"] = [(maps[both[a]], maps[both[b]])]
    return pairs


def on_axes(values, variant, time_edges, frequency_edges, s_p=None):
    """Sum maps into bins of time and frequency, so that variants can be compared.

    A pixel is a rectangle, a hop long and a frequency step high (half of it at 0 Hz and at the
    Nyquist frequency), and gives each bin the share of its value that overlaps.

    values: array (..., F, T); with s_p (N, 3, F, T)
    variant: Variant of values
    time_edges, frequency_edges: float arrays, ascending [s after the arrival; Hz]
    s_p: array (N,), S-P times [s]: time is after P, whichever arrival the variant is aligned on

    returns: float array (..., len(frequency_edges) - 1, len(time_edges) - 1)
    """
    half_hop = variant.hop / variant.sampling_rate / 2
    half_step = variant.sampling_rate / variant.nperseg / 2
    lower = np.maximum(variant.frequencies - half_step, 0)
    upper = np.minimum(variant.frequencies + half_step, variant.sampling_rate / 2)
    frequency = _overlap(lower, upper, np.asarray(frequency_edges))
    times = variant.times
    if s_p is not None and variant.phase == "S":
        times = times + np.asarray(s_p)[:, None, None]
    time = _overlap(times - half_hop, times + half_hop, np.asarray(time_edges))
    return frequency @ values @ time.swapaxes(-1, -2)


def _overlap(low, high, edges):
    """Share of each interval low..high (..., n) in each bin between edges, (..., bins, n)."""
    low, high = low[..., None, :], high[..., None, :]
    inside = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    return np.maximum(inside, 0) / (high - low)


def randomised(model, seed):
    """Draw layer after layer anew, from the output down: yields the layer's name and a network.

    Source: Adebayo et al. (2018).
    """
    current, fresh = copy.deepcopy(model), copy.deepcopy(model)
    layers = [name for name, layer in fresh.named_modules() if hasattr(layer, "reset_parameters")]
    drawn = int(np.random.default_rng(seed).integers(2**63))  # seed may have made the model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn)
        for name in layers:
            fresh.get_submodule(name).reset_parameters()
    for name in reversed(layers):
        current.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
        yield name, copy.deepcopy(current)


def randomisation_steps(model, x, background, maps, seed):
    """Agreement of maps with those of randomised(), signed and absolute: (value, low, high)."""
    steps = {}
    for layer, network in tqdm(randomised(model, seed), desc="layers", **QUIET_BAR):
        found = shap_tensors(network, x, background).values
        signed = _rank_correlation(maps, found)
        absolute = _rank_correlation(np.abs(maps), np.abs(found))
        steps[layer] = bootstrap_interval(signed, seed), bootstrap_interval(absolute, seed)
    return pd.DataFrame.from_dict(steps, orient="index", columns=["signed", "absolute"])


def map_shares(values, variant, s_p):
    """Share of each event's |SHAP| in the windows and BANDS, DataFrame; of ones, of the area."""
    band = np.searchsorted(list(BANDS.values()), variant.frequencies, side="right") - 1
    shares = []
    for value, delay in zip(values, s_p):
        size = np.abs(value).sum(axis=0)
        in_windows = np.bincount(frame_windows(variant, delay), size.sum(axis=0), len(WINDOWS))
        in_bands = np.bincount(band, size.sum(axis=1), len(BANDS))
        shares.append(np.append(in_windows, in_bands) / size.sum())
    return pd.DataFrame(shares, columns=[*WINDOWS, *BANDS])


def share_table(shares, areas, by, seed=0):
    """Tabulate mean shares of maps (areas: of ones) over events grouped by columns of a table."""
    tables = []
    for group, events in shares.groupby([by[name] for name in by], observed=True):
        table = interval_table(dict(events.items()), seed)
        table = table.assign(area=areas.mean(), **dict(zip(by, group)))
        tables.append(table.rename_axis("part").reset_index())
    return pd.concat(tables, ignore_index=True)


def weeks_after(table, mainshock):
    """Number the week of each event after the mainshock: 0 is the first, -1 the one before.

    table: DataFrame of a tensor file
    mainshock: Timestamp [UTC]

    returns: float array (N,); NaN without times
    """
    seconds = (known_times(table) - mainshock).dt.total_seconds().to_numpy(float)
    return np.floor(seconds / (7 * 86400))


def narrow_bands(values, variant):
    """Bands of one row, (low, high) [Hz], that stand out in mean |SHAP|, the clearest first."""
    profile = np.abs(values).mean(axis=(0, 1, 3))
    peaks, properties = find_peaks(profile, prominence=np.median(profile) / 2)
    order = np.argsort(-properties["prominences"], kind="stable")
    half = variant.frequencies[1] / 2
    return [(float(f - half), float(f + half)) for f in variant.frequencies[peaks[order]]]


def _rank_correlation(a, b):
    """Spearman's correlation of each event's two maps (N, ...), float (N,)."""
    _check_shapes(a, b)
    return _correlation(rankdata(_flat(a), axis=1), rankdata(_flat(b), axis=1))


def _correlation(a, b):
    """Pearson's correlation of each row of a with that of b, (N,); NaN where a row is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _flat(maps):
    """Maps (N, ...) as float64 rows (N, pixels)."""
    return np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)


def _check_shapes(a, b):
    """Raise ForeshapError unless two maps have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ForeshapError(f"Maps of shape {shapes} can't be compared: give the same events.")
