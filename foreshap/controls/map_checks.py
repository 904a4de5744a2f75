"""What could prove an explanation wrong: the simulated effects, and checks that need no truth.

Maps are of any attribution method, for the margin logit(aftershock) - logit(foreshock): positive
pushes toward aftershock.
"""

import copy
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy.signal import find_peaks
from scipy.stats import rankdata

from ..explainability.attribution import shap_tensors
from ..files import ForeshapError
from ..preprocessing.variants import CLASSES, WINDOWS, frame_windows
from ..preprocessing.waveforms import known_stations, known_times
from ..training.scores import bootstrap_interval, interval_table, roc_auc

REGION = 0.5  # the effect's region begins at this share of the mean effect's largest value
INPUTS_TOGETHER = 128  # inputs that go through a network together
SHARE_BANDS = {"0-10 Hz": 0, "10-25 Hz": 10, "25-45 Hz": 25, "45-50 Hz": 45}  # lower edges [Hz]


def effect_differences(spectrograms, truth, rows):
    """Compute what simulated effects change in each tensor: as an aftershock minus as a foreshock.

    spectrograms: Spectrograms of a simulated sequence
    truth: Spectrograms of its folder truth/, of the same variant
    rows: int array, events of spectrograms

    returns: float32 array (len(rows), 3, F, T) [log10 of the ratio of power spectral densities]
    raises: ForeshapError where the variants differ or truth lacks an event
    """
    if truth.variant != spectrograms.variant:
        raise ForeshapError(
            f"{truth.path} holds {truth.variant.name}, {spectrograms.path} "
            f"{spectrograms.variant.name}: one is needed."
        )
    row_of_truth = {name: row for row, name in enumerate(truth.table["trace_name"])}
    differences = []
    for row in rows:
        name = spectrograms.table["trace_name"].iloc[row]
        if name not in row_of_truth:
            raise ForeshapError(
                f"{truth.path} lacks {name}: preprocess the truth of the same sequence."
            )
        change = truth.values[row_of_truth[name]] - spectrograms.values[row]
        differences.append(-change if spectrograms.labels[row] == 1 else change)
    return np.stack(differences)  # truth is the event of the other class


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


def truth_scores(values, differences, labels, region=None, seed=0, resamples=1000):
    """Score how well maps find the simulated effect: means over events with 95 % intervals.

    Relevance mass: share of the |SHAP| that lies in the effect's region (Kohlbrenner et al., 2020;
    Arras et al., 2022). Rank accuracy: share of the K pixels of largest |SHAP| that lie there, K
    being the region's size (Arras et al., 2022); tied pixels count with their mean. ROC AUC: chance
    that a pixel of the region has a larger |SHAP| than one outside. Correlation: Pearson's, of
    |effect| with SHAP toward the event's own class, which is SHAP for an aftershock and -SHAP for a
    foreshock: the effect moves an aftershock to aftershock, and its absence moves a foreshock to
    foreshock, whether it adds power or takes it away.

    values: array (N, 3, F, T), SHAP
    differences: array (N, 3, F, T), of effect_differences()
    labels: array (N,), 0 foreshock, 1 aftershock
    region: bool array (3, F, T), of effect_region(); that of the differences where left out, which
        a few events don't draw well
    seed, resamples: int, of the bootstrap

    returns: DataFrame, a row a measure: value, low, high, chance (what a map without information
        gets), n_events
    raises: ForeshapError where shapes differ or there is no effect
    """
    _check_shapes(values, differences)
    if region is None:
        region = effect_region(differences)
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
    table = interval_table(scores, seed, resamples)
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


def perturbation_curves(model_outputs, x, values, background, groups=None, steps=20, seed=0):
    """Follow a network's output while an event's pixels are exchanged, the map's largest first.

    Each event is taken in the direction of its own output: s = sign(output - base), base being the
    background's mean output. Pixels go by s * SHAP, largest first. Deletion puts a random
    background event's pixels into the event, insertion the event's pixels into that background
    event (Samek et al., 2017; Petsiuk et al., 2018); beside both stands one random order. A
    faithful map falls and rises faster than the random order. Curves are s * (output - base) over
    its mean of the whole events: 1 is the events as they are, 0 the background.

    model_outputs: function, tensor (n, 3, F, T) -> tensor or array (n,), margins
    x: tensor or array (N, 3, F, T), scaled as the network wants it
    values: array (N, 3, F, T), SHAP of x
    background: tensor or array (B, 3, F, T), scaled alike
    groups: int array (N or 1, 3, F, T), tile of each pixel: whole tiles are exchanged, by their
        mean SHAP; single pixels when left out
    steps: int, of equal shares of the pixels; a tile belongs to the step in which its middle is
    seed: int, of the background events, the random order, the order of ties and the bootstrap

    returns: DataFrame of share (0..1) and the means over events of deletion, insertion, random
        deletion and random insertion; DataFrame of the areas under these curves, a row each: value,
        low, high (bootstrap 95 % over events), n_events
    raises: ForeshapError where shapes differ or no output differs from base
    """
    _check_shapes(values, x)
    x = torch.as_tensor(x, dtype=torch.float32)
    background = torch.as_tensor(background, dtype=torch.float32)
    _check_shapes(x[:1], background[:1])
    base = _outputs(model_outputs, background).mean()
    apart = _outputs(model_outputs, x) - base
    if not apart.any():
        raise ForeshapError(
            "The network tells no event from the background: there is nothing to explain, train "
            "it again."
        )
    if groups is None:
        groups = np.arange(x[0].numel()).reshape(1, *x.shape[1:])
    tiles = np.broadcast_to(groups, x.shape).reshape(len(x), -1)
    rng, shares = np.random.default_rng(seed), np.linspace(0, 1, steps + 1)
    others = background[rng.integers(len(background), size=len(x))]
    toward = np.sign(apart)[:, None] * _flat(values)
    curves = np.empty((len(x), 4, steps + 1))
    for k, event in enumerate(x):
        inputs = _exchanged(event, others[k], toward[k], tiles[k], shares, rng)
        output = _outputs(model_outputs, inputs).reshape(4, -1)
        curves[k] = np.sign(apart[k]) * (output - base) / np.abs(apart).mean()
    names = ["deletion", "insertion", "random deletion", "random insertion"]
    means = pd.DataFrame(curves.mean(axis=0).T, columns=names)
    means.insert(0, "share", shares)
    areas = np.trapezoid(curves, shares)
    return means, interval_table(dict(zip(names, areas.T)), seed)


def _exchanged(event, other, shap, tiles, shares, rng):
    """An event's inputs for its four curves, tensor (4 len(shares), 3, F, T).

    event, other: tensors (3, F, T)
    shap, tiles: arrays (P,), SHAP toward the event's own output and tile of each pixel
    """
    inputs = []
    for score in (shap, np.zeros_like(shap)):  # equal scores: a random order
        places = _places(score, tiles, rng)
        deleted = torch.from_numpy(places <= shares[:, None]).reshape(-1, *event.shape)
        inputs.append(torch.where(deleted, other, event))
        inputs.append(torch.where(deleted, event, other))
    return torch.cat(inputs)


def _outputs(model_outputs, inputs):
    """A network's margins of inputs (n, 3, F, T), some at a time, float64 array (n,)."""
    outputs = []
    with torch.no_grad():
        for some in inputs.split(INPUTS_TOGETHER):
            outputs.append(np.asarray(model_outputs(some), dtype=np.float64))
    return np.concatenate(outputs)


def _places(scores, tiles, rng):
    """Where each pixel's tile stands when tiles go by their mean score, largest first.

    scores, tiles: arrays (P,)
    rng: numpy.random.Generator, for ties

    returns: float array (P,), share of the pixels before the middle of the pixel's tile
    """
    _, tile, size = np.unique(tiles, return_inverse=True, return_counts=True)
    mean_score = np.bincount(tile, scores) / size
    order = np.lexsort((rng.random(len(size)), -mean_score))
    middle = np.empty(len(size))
    middle[order] = np.cumsum(size[order]) - size[order] / 2
    return middle[tile] / len(tiles)


def agreement(a, b, seed=0, resamples=1000):
    """Compute how alike two maps of the same events are: Spearman's correlation over pixels.

    a, b: arrays (N, ...) of one shape, by two methods, seeds or networks, or of two variants by
        on_axes()
    seed, resamples: int, of the bootstrap

    returns: DataFrame, rows "rank correlation, signed" and "rank correlation, absolute": value
        (mean over events), low, high (bootstrap 95 %), n_events
    raises: ForeshapError where shapes differ
    """
    _check_shapes(a, b)
    scores = {
        "rank correlation, signed": _correlation(_ranks(a), _ranks(b)),
        "rank correlation, absolute": _correlation(_ranks(np.abs(a)), _ranks(np.abs(b))),
    }
    return interval_table(scores, seed, resamples)


def agreements(maps, pairs, seed=0):
    """Compute the rank correlation of signed maps between trainings, and for pairs of any kind.

    maps: dict, name -> array (N, ...), of several trainings
    pairs: dict, what is compared -> two arrays of one shape
    seed: int, of the bootstrap

    returns: DataFrame, a row a pair, "trainings" (mean over all pairs of them) first: value, low,
        high, n_events
    raises: ForeshapError where shapes differ
    """
    rows = {}
    trainings = [agreement(a, b, seed).iloc[0] for a, b in combinations(maps.values(), 2)]
    if trainings:
        rows[f"{len(maps)} trainings"] = pd.DataFrame(trainings).mean()
    for name, (a, b) in pairs.items():
        rows[name] = agreement(a, b, seed).iloc[0]
    return pd.DataFrame(rows).T


def agreement_matrix(maps, absolute=False):
    """Compute the rank correlation of every two of several maps, mean over events.

    maps: dict, name -> array (N, ...), all of one shape
    absolute: bool, of the absolute values

    returns: DataFrame, name x name
    raises: ForeshapError where shapes differ
    """
    first = next(iter(maps.values()))
    ranks = {}
    for name, values in maps.items():
        _check_shapes(first, values)
        ranks[name] = _ranks(np.abs(values) if absolute else values)
    table = pd.DataFrame(index=list(maps), columns=list(maps), dtype=float)
    with warnings.catch_warnings(action="ignore"):  # no event with a correlation: NaN
        for a in maps:
            for b in maps:
                table.loc[a, b] = np.nanmean(_correlation(ranks[a], ranks[b]))
    return table


def same_events(here, rows, other, spectrograms, edges):
    """Select maps of two variants for the events that both explain, in time after P.

    here: array (N, 3, f, t), of after_p() with these edges
    rows: int array (N,), their rows in spectrograms
    other: ShapTensors of a file (load_shap), another variant
    spectrograms: Spectrograms, that of here
    edges: time and frequency edges, of after_p()

    returns: two arrays (n, 3, f, t)
    raises: ForeshapError where they share no event
    """
    names = spectrograms.table["trace_name"].to_numpy()[rows]
    place = pd.Index(other.table["trace_name"]).get_indexer(names)
    mine, theirs = np.flatnonzero(place >= 0), place[place >= 0]
    if len(mine) == 0:
        raise ForeshapError(f"{other.path} explains none of these events: explain the same ones.")
    values = np.stack([other.values[k] for k in theirs])
    s_p = other.table["p_s_diff_sec"].to_numpy()[theirs]
    return here[mine], after_p(values, other.variant, s_p, *edges)


def between_stations(here, table):
    """Pair maps of the same earthquakes at two stations: what a wave brings is in both.

    here: array (N, 3, f, t), of after_p()
    table: DataFrame (N rows), with source_id

    returns: dict, what is compared -> two arrays (n, 3, f, t); without two stations of one
        earthquake empty
    """
    source = table.get("source_id", pd.Series(np.nan, table.index))
    events = {"source": source, "station": known_stations(table), "row": range(len(table))}
    row_at = pd.DataFrame(events).pivot_table("row", "source", "station", "first")
    pairs = {}
    for a, b in combinations(row_at, 2):
        both = row_at[[a, b]].dropna().astype(int)
        if len(both):
            pairs[f"stations {a} and {b}"] = here[both[a]], here[both[b]]
    return pairs


def on_axes(values, variant, time_edges, frequency_edges):
    """Sum a map into bins of time and frequency, so that variants can be compared.

    A pixel is a rectangle, its frame's centre +- half a hop by its frequency +- half a step, and
    gives each bin the share of its value that overlaps. The rows at 0 Hz and at the Nyquist
    frequency end there: they are half as high and hold their whole value.

    values: array (..., F, T)
    variant: Variant of values
    time_edges: float array (t + 1,), ascending [s, relative to the arrival]
    frequency_edges: float array (f + 1,), ascending [Hz]

    returns: float array (..., f, t)
    """
    half_hop = variant.hop / variant.sampling_rate / 2
    half_step = variant.sampling_rate / variant.nperseg / 2
    lower = np.maximum(variant.frequencies - half_step, 0)
    upper = np.minimum(variant.frequencies + half_step, variant.sampling_rate / 2)
    frequency = _overlap(lower, upper, np.asarray(frequency_edges))
    begin, end = variant.times - half_hop, variant.times + half_hop
    time = _overlap(begin, end, np.asarray(time_edges))
    return np.einsum("gf,...ft,ut->...gu", frequency, values, time, optimize=True)


def after_p(values, variant, s_p, time_edges, frequency_edges):
    """Sum maps into bins of time after P, whichever arrival the variant is aligned on.

    values: array (N, 3, F, T)
    variant: Variant of values
    s_p: array (N,), S-P times [s]
    time_edges, frequency_edges: as in on_axes() [s after P, Hz]

    returns: float array (N, 3, f, t)
    """
    maps = []
    for event, delay in zip(values, s_p):
        arrival = delay if variant.phase == "S" else 0
        maps.append(on_axes(event, variant, time_edges - arrival, frequency_edges))
    return np.stack(maps)


def _overlap(low, high, edges):
    """Share of each interval low..high (n,) in each bin between edges (bins + 1,), (bins, n)."""
    inside = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    return np.maximum(inside, 0) / (high - low)


def randomised(model, seed):
    """Make networks that forget layer by layer, from the output down (Adebayo et al., 2018).

    Maps that don't change explain no network. Each layer with weights, batch normalisation on its
    own, is drawn anew as when it was made, and stays so.

    model: torch.nn.Module
    seed: int

    yields: name of the layer drawn last, copy of the model with this layer and all nearer to the
        output drawn anew
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
    """Compute the agreement of deep maps with the original's while layers are drawn anew.

    model: torch.nn.Module
    x: tensor (N, 3, F, T), scaled
    background: tensor (B, 3, F, T), scaled
    maps: array (N, 3, F, T), SHAP of x by the model itself
    seed: int

    returns: DataFrame, a row a layer in the order of drawing: signed and absolute, each (value,
        low, high)
    """
    steps = {}
    for layer, network in randomised(model, seed):
        found = agreement(maps, shap_tensors(network, x, background).values, seed)
        intervals = found[["value", "low", "high"]].apply(tuple, axis=1)
        steps[layer] = dict(zip(["signed", "absolute"], intervals))
    return pd.DataFrame(steps).T


def share_before(values, variant):
    """Compute the share of |SHAP| in frames that end before the variant's arrival.

    values: array (N, 3, F, T)
    variant: Variant

    returns: float array (N,), 0..1
    """
    ends_before = variant.times + variant.nperseg / variant.sampling_rate / 2 <= 0
    absolute = np.abs(values)
    return absolute[..., ends_before].sum(axis=(1, 2, 3)) / absolute.sum(axis=(1, 2, 3))


def window_shares(values, variant, s_p):
    """Compute the share of each event's |SHAP| in the windows of frame_windows().

    values: array or h5py.Dataset (N, 3, F, T), SHAP; ones give the shares of the area
    variant: Variant
    s_p: array (N,), S-P times [s]

    returns: DataFrame (N rows), a column a window
    """
    shares = []
    for value, delay in zip(values, s_p):
        over_time = np.abs(value).sum(axis=(0, 1))
        window = frame_windows(variant, delay)
        shares.append(np.bincount(window, over_time, len(WINDOWS)) / np.abs(value).sum())
    return pd.DataFrame(shares, columns=list(WINDOWS))


def band_shares(values, variant):
    """Compute the share of each event's |SHAP| in the frequency bands SHARE_BANDS.

    values, variant: as in window_shares()

    returns: DataFrame (N rows), a column a band
    """
    edges = list(SHARE_BANDS.values())
    band = np.searchsorted(edges, variant.frequencies, side="right") - 1
    shares = []
    for value in values:
        over_frequency = np.abs(value).sum(axis=(0, 2))
        shares.append(np.bincount(band, over_frequency, len(edges)) / np.abs(value).sum())
    return pd.DataFrame(shares, columns=list(SHARE_BANDS))


def share_table(shares, areas, groups, seed=0):
    """Tabulate mean shares of groups of events with bootstrap 95 % intervals.

    shares: DataFrame (N rows), of window_shares() or band_shares()
    areas: DataFrame (N rows), the same of ones
    groups: dict, series -> bool array (N,)
    seed: int

    returns: DataFrame, a row a part and series: part, series, value, low, high, area, n_events
    """
    rows = []
    for series, chosen in groups.items():
        for part in shares:
            interval = bootstrap_interval(shares[part][chosen], seed)
            rows.append((part, series, *interval, areas[part].mean(), int(np.sum(chosen))))
    columns = ["part", "series", "value", "low", "high", "area", "n_events"]
    return pd.DataFrame(rows, columns=columns)


def share_by_week(share, weeks, labels, seed=0):
    """Tabulate the mean of one share by week and class, with bootstrap 95 % intervals.

    share: array (N,)
    weeks: int array (N,), after the mainshock
    labels: array (N,), 0 or 1
    seed: int

    returns: DataFrame, a row a week and class: week, series, value, low, high, n_events
    """
    share, weeks, labels = np.asarray(share), np.asarray(weeks), np.asarray(labels)
    rows = []
    for label, kind in enumerate(CLASSES):
        for week in np.unique(weeks[labels == label]):
            chosen = (weeks == week) & (labels == label)
            interval = bootstrap_interval(share[chosen], seed)
            rows.append((week, f"{kind}s", *interval, int(chosen.sum())))
    return pd.DataFrame(rows, columns=["week", "series", "value", "low", "high", "n_events"])


def weeks_after(table, mainshock):
    """Number the week of each event after the mainshock: 0 is the first, -1 the one before.

    table: DataFrame of a tensor file
    mainshock: Timestamp [UTC]

    returns: float array (N,); NaN without times
    """
    seconds = (known_times(table) - mainshock).dt.total_seconds().to_numpy(float)
    return np.floor(seconds / (7 * 86400))


def narrow_bands(values, variant):
    """Name bands one row wide in which mean |SHAP| stands out from its neighbours.

    values: array (N, 3, F, T), SHAP
    variant: Variant

    returns: list of (low, high) [Hz], the most prominent first; a peak over frequency counts from
        half of the profile's median on
    """
    profile = np.abs(values).mean(axis=(0, 1, 3))
    peaks, properties = find_peaks(profile, prominence=np.median(profile) / 2)
    order = np.argsort(-properties["prominences"], kind="stable")
    half = variant.frequencies[1] / 2
    return [(float(f - half), float(f + half)) for f in variant.frequencies[peaks[order]]]


def _correlation(a, b):
    """Pearson's correlation of each row of a with that of b, (N,); NaN where a row is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _ranks(maps):
    """Ranks of each map's pixels, float array (N, pixels)."""
    return rankdata(_flat(maps), axis=1)


def _flat(maps):
    """Maps (N, ...) as float64 rows (N, pixels)."""
    return np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)


def _check_shapes(a, b):
    """Raise ForeshapError unless two maps have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        raise ForeshapError(
            f"Maps of shape {tuple(a.shape)} and {tuple(b.shape)} can't be compared: give the same "
            "events."
        )
