"""Controls by plain models: where the information that tells the classes apart could come from.

Each control takes an Evidence and returns a table, a row a measurement: control, measured (ROC AUC
of held-out events by logistic regression, unless it says otherwise), low and high (bootstrap 95 %),
chance, n_events, and in words what a change on the fault or path and what one at the station or in
the catalogue would give; reason, why there is none.
"""

from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..preprocessing.simulation import simulate_sequence
from ..preprocessing.spectrograms import preprocess
from ..preprocessing.tensor_file import load_spectrograms
from ..preprocessing.variants import CLASSES
from ..preprocessing.waveforms import known_stations, known_times
from ..training.scores import interval_95, resample_counts, resample_rows
from . import features
from .plain_models import (
    check_enough,
    days_from_gap,
    effective_events,
    folds,
    held_out_scores,
    measure_auc,
    overlap_weights,
    placebo_dates,
    shuffled,
)

CONTROL_BANDS = ((0, 10), (10, 25), (25, 45))  # [Hz]
SHUFFLES = 20
RESAMPLES = 500
HEARD = 0.8  # share of events in which a bin stands above the noise
LEAST_BINS = 20  # bins that make a shape
COLUMNS = "control measured low high chance n_events if_path if_station reason".split()
CHANCE, ABOVE, EITHER = "chance", "above chance", "says nothing"


@dataclass(frozen=True)
class Evidence:
    """A dataset's events as the plain models see them.

    variant: Variant
    table: DataFrame, one row an event, without those whose noise window holds another event's coda
    labels: int array (N,)
    spectra: float32 array (N, parts, 3, F), of features.window_spectra()
    catalogue: DataFrame (N rows), of features.catalogue()
    parts: list of (train, test): time blocks, or at random where there are no times
    weights: float array (N,) under which the classes' catalogues match, or str: why there are none
    calibrated: bool, the tensors' power is not scaled event by event
    disturbed: int, events left out
    noise: Spectrograms of windows without an event, or None
    seed: int
    """

    variant: object
    table: pd.DataFrame
    labels: np.ndarray
    spectra: np.ndarray
    catalogue: pd.DataFrame
    parts: list
    weights: object
    calibrated: bool
    disturbed: int
    noise: object
    seed: int


def gather(spectrograms, seed=0, noise=None):
    """Read a tensor file once for all plain controls.

    spectrograms: Spectrograms
    seed: int, of folds and bootstraps
    noise: Spectrograms of windows without an event, where the source offers them

    returns: Evidence
    raises: ForeshapError where a class has too few events, or noise before P is missing
    """
    labels, spectra = spectrograms.labels.astype(int), features.window_spectra(spectrograms)
    quiet = features.quiet_before_p(spectra, spectrograms.table)
    try:
        check_enough(np.bincount(labels[quiet], minlength=2))
    except ForeshapError as error:
        raise ForeshapError(
            f"{spectrograms.path} can't be controlled, {error}, each with undisturbed noise before "
            "P."
        ) from error
    table, labels = spectrograms.table[quiet].reset_index(drop=True), labels[quiet]
    kind = "time blocks" if known_times(table).notna().all() else "random"
    catalogue = features.catalogue(table)
    try:
        weights = overlap_weights(catalogue, labels)
    except ForeshapError as error:
        weights = f"the classes' catalogues hardly overlap ({error})"
    return Evidence(
        variant=spectrograms.variant,
        table=table,
        labels=labels,
        spectra=spectra[quiet],
        catalogue=catalogue,
        parts=folds(table, kind, seed),
        weights=weights,
        calibrated="scaled" not in spectrograms.attributes,
        disturbed=int((~quiet).sum()),
        noise=noise,
        seed=seed,
    )


def where(e):
    """1. The information by window: noise before P, P to S, S, coda, all."""
    rows = [_row(e, "noise before P", noise_before_p(e), CHANCE, ABOVE)]
    for name, place in zip(features.window_names(e.table)[1:], ([1], [2], [3, 4, 5])):
        rows.append(_row(e, name, e.spectra[:, place], ABOVE, ABOVE))
    return _table([*rows, _row(e, "everything", e.spectra, ABOVE, ABOVE)])


def without_events(e):
    """1. The same of windows without any event, where the source offers them."""
    if e.noise is None:
        raise ForeshapError("the source offers no windows without events")
    spectra = []
    for first in range(0, len(e.noise.labels), features.READ_TOGETHER):
        windows = slice(first, first + features.READ_TOGETHER)
        spectra.append(e.noise.values[windows].mean(axis=-1))
    labels = e.noise.labels.astype(int)
    check_enough(np.bincount(labels, minlength=2))
    parts = folds(e.noise.table, "time blocks", e.seed)
    scores = held_out_scores(np.concatenate(spectra), labels, parts)
    found = measure_auc(scores, labels, seed=e.seed)
    row = {"control": "noise without events"} | found | {"if_path": CHANCE, "if_station": ABOVE}
    return _table([row])


def relative(e):
    """2. Relative to the event's own noise, and to its own coda: what acts on both cancels."""
    coda = features.known_mean(e.spectra[:, 3:], 1)[:, None]
    from_coda, same_noise = e.spectra[:, 1:3] - coda, "chance, if the noise is the same"
    return _table(
        [
            _row(e, "minus own noise", above_own_noise(e), ABOVE, same_noise),
            _row(e, "minus own coda", from_coda, "above chance, or lower", CHANCE),
        ]
    )


def shape(e):
    """2. Over the bins that most events fill: how a change varies, over its mean; 0 for a gain.

    Measured is the standard deviation of the classes' difference over windows, components and
    frequencies, without what the scatter of events gives, over its mean (log10 power, matched
    classes).
    """
    if not e.calibrated:
        raise ForeshapError("each event is scaled by itself: levels can't be compared")
    if isinstance(e.weights, str):
        raise ForeshapError(e.weights)
    x, heard = e.spectra[:, 1:], above_own_noise(e) > features.ABOVE_NOISE
    x = x[..., features.usable_rows(e.variant)][:, heard.mean(axis=0) > HEARD].astype(float)
    if x.shape[1] < LEAST_BINS:
        raise ForeshapError(
            f"{x.shape[1]} bins stand above the noise in {HEARD:.0%} of the events: too few"
        )
    x = np.where(np.isfinite(x), x, np.nanmean(x, axis=0))
    counts = resample_counts(len(x), e.seed, RESAMPLES)
    weights = np.vstack([np.ones(len(x)), counts]) * e.weights
    means = []
    for k in (0, 1):
        of_class = weights * (e.labels == k)
        means.append(of_class @ x / of_class.sum(axis=1, keepdims=True))
    change = means[1] - means[0]
    level = change.mean(axis=1, keepdims=True)
    scatter = np.full(1 + RESAMPLES, (change - level)[1:].var(axis=0).mean())
    scatter[1:] *= 2  # a resample draws twice
    excess = np.maximum(((change - level) ** 2).mean(axis=1) - scatter, 0)
    ratio = np.sqrt(excess) / np.abs(level[:, 0])
    measured = ratio[0], *interval_95(ratio[1:]), 0.0, len(x)
    expected = "well above 0", "0, if it is a gain"
    return _table([_named("shape over level of the change", *measured, *expected)])


def baselines(e):
    """3. Linear models: time-averaged spectrum, and the catalogue alone."""
    rows = [_row(e, "time-averaged spectrum", features.known_mean(e.spectra, 1), ABOVE, ABOVE)]
    if e.catalogue.shape[1]:
        alone, more = _squares(e.catalogue), _squares(_more(e))
        further = "catalogue, SNR, days since larger event"
        found = "above chance (catalogue)"
        rows.append(_row(e, "catalogue alone", alone, CHANCE, found, penalty=1.0))
        rows.append(_row(e, further, more, EITHER, EITHER, penalty=1.0))
    return _table(rows)


def matched(e):
    """4. Classes reweighted until their catalogues match."""
    if e.catalogue.shape[1] == 0:
        raise ForeshapError("there is no catalogue to match")
    if isinstance(e.weights, str):
        raise ForeshapError(e.weights)
    rows = [_row(e, "noise before P, matched", noise_before_p(e), CHANCE, ABOVE, e.weights)]
    if e.calibrated:
        name, inputs = "signal above a common floor, matched", above_common_floor(e)
        rows.append(_row(e, name, inputs, ABOVE, EITHER, e.weights))
    name, inputs = "signal minus own noise, matched", above_own_noise(e)
    rows.append(_row(e, name, inputs, ABOVE, EITHER, e.weights))
    expected = "chance if the catalogue is all"
    rows.append(_row(e, "everything, matched", e.spectra, ABOVE, expected, e.weights))
    try:
        weights = overlap_weights(e.catalogue.assign(snr=_snr(e)), e.labels)
        name, expected = "everything, matched on SNR too", "lower, if noise is all"
        rows.append(_row(e, name, e.spectra, ABOVE, expected, weights))
    except ForeshapError:  # too few events remain
        pass
    return _table(rows).assign(effective=effective_events(e.weights, e.labels).min())


def splits(e):
    """5. The same model on other splits: the gap between random and blocked ones is the leak."""
    rows = []
    further = ["co-located groups"] if "co_located_group" in e.table else []
    for kind in ("random", "clusters", "time blocks", "weeks", *further):
        name, expected = f"split: {kind}", ("all splits alike", "random better than blocks")
        try:
            parts = folds(e.table, kind, e.seed)
            rows.append(_row(e, name, e.spectra, *expected, parts=parts))
        except ForeshapError as error:  # no times, or no hypocentres
            rows.append({"control": name, "reason": str(error)})
    return _table(rows)


def placebo(e, n_inside=8):
    """6. Other dates as the mainshock: the true one must stand out; adds what, time and kind."""
    rows = []
    dates = list(placebo_dates(e.table, e.seed, n_inside).itertuples(index=False))
    for date in tqdm(dates, desc="placebo dates", unit="date"):
        chosen = np.concatenate([date.before, date.after])
        labels = np.repeat([0, 1], [len(date.before), len(date.after)])
        sample = e.table.iloc[chosen].assign(label=labels).reset_index(drop=True)
        parts = folds(sample, "time blocks", e.seed)
        for what, inputs in (("signal", above_own_noise(e)), ("noise", noise_before_p(e))):
            scores = held_out_scores(inputs[chosen], labels, parts)
            found = measure_auc(scores, labels, seed=e.seed)
            rows.append(found | {"what": what, "time": str(date.time), "kind": date.kind})
    table = pd.DataFrame(rows)
    is_change = (table["kind"] == "mainshock") & (table["what"] == "signal")
    predicted = np.where(is_change, [ABOVE], [CHANCE])
    name = "placebo, " + table["what"] + ": " + table["kind"]
    return table.assign(control=name, if_path=predicted, if_station="any date, if it drifts")


def stands_out(table, least, what="signal"):
    """Whether the mainshock separates events, and better than every date inside a class that does.

    table: DataFrame of placebo()
    least: float, ROC AUC above which an inside date's whole interval must lie to count; the
        mainshock's above chance
    what: "signal" or "noise"
    """
    table = table[table["what"] == what]
    mainshock = table[table["kind"] == "mainshock"]
    inside = table[table["kind"].str.startswith("inside") & (table["low"] > least)]
    above_all = (mainshock["measured"].max() > inside["measured"]).all()
    return bool((mainshock["low"] > 0.5).all() and above_all)


def drift(e):
    """6. Does the signal drift inside a class? Rank correlation of held-out score and time."""
    days, scores = days_from_gap(e.table), signal_scores(e)
    rows = []
    for k, name in enumerate(CLASSES):
        mine = np.flatnonzero(e.labels == k)
        drawn = mine[resample_rows(len(mine), e.seed, 200)]
        correlations = np.array([spearmanr(days[rows], scores[rows])[0] for rows in [mine, *drawn]])
        measured = correlations[0], *interval_95(correlations[1:]), 0.0, len(mine)
        expected = "not above 0 in both", "above 0 in both, if it drifts"
        rows.append(_named(f"drift of {name}s (correlation)", *measured, *expected))
    return _table(rows)


def signal_scores(e):
    """Held-out score of each event by its signal relative to its own noise, float array (N,)."""
    return held_out_scores(above_own_noise(e), e.labels, e.parts)


def bands(e, notches=()):
    """7. Frequency bands, and notches around narrow ones, each with its twin from noise alone."""
    rows = []
    for low, high in (*CONTROL_BANDS, *notches):
        inside = features.usable_rows(e.variant, low, high)
        if inside.all() or not inside.any():  # nothing beside it, or no row of this variant
            continue
        name = f"{low:.3g} to {high:.3g} Hz"
        rows.append(_row(e, name, e.spectra[:, 1:][..., inside], ABOVE, ABOVE))
        rows.append(_row(e, f"{name}, noise before P", e.spectra[:, 0][..., inside], CHANCE, ABOVE))
        if (low, high) not in CONTROL_BANDS:
            rows.append(_row(e, f"without {name}", e.spectra[..., ~inside], "as with it", "lower"))
    return _table(rows)


def nulls(e):
    """8. Shuffled labels: mean and 95 % range of the ROC AUC of the time-averaged spectrum."""
    found = shuffled(features.known_mean(e.spectra, 1), e.labels, e.parts, SHUFFLES, e.seed)
    measured = found.mean(), *interval_95(found), 0.5, len(e.labels)
    return _table([_named(f"shuffled labels ({SHUFFLES} times)", *measured, CHANCE, CHANCE)])


def effects_off(spectrograms, seed):
    """8. Another simulated sequence as long, with every effect off: all windows.

    spectrograms: Spectrograms of a simulated sequence
    seed: int

    returns: DataFrame of one row
    raises: ForeshapError for real data
    """
    if "simulated" not in spectrograms.attributes:
        raise ForeshapError("real data: no effect can be switched off")
    with TemporaryDirectory() as folder:
        waveforms = simulate_sequence(f"{folder}/waveforms", len(spectrograms.labels), seed, {})
        preprocess(waveforms, folder, [spectrograms.variant])
        e = gather(load_spectrograms(f"{folder}/{spectrograms.variant.name}.h5"), seed)
    return pd.DataFrame([_row(e, "every effect off (simulated)", e.spectra, CHANCE, CHANCE)])


def stations(e):
    """9. Does what was learned at other stations hold at this one? Geometry and site change."""
    names = known_stations(e.table).to_numpy()
    if len(np.unique(names)) < 2:
        raise ForeshapError("the dataset has one station")
    parts = []
    for name in np.unique(names):
        train, test = np.flatnonzero(names != name), np.flatnonzero(names == name)
        check_enough(np.bincount(e.labels[train], minlength=2))
        parts.append((train, test))
    signal, noise, expected = above_own_noise(e), noise_before_p(e), "above chance, with geometry"
    return _table(
        [
            _row(e, "other stations, signal", signal, expected, CHANCE, parts=parts),
            _row(e, "other stations, noise before P", noise, CHANCE, CHANCE, parts=parts),
        ]
    )


CONTROLS = {
    "1 windows": where,
    "1 noise without events": without_events,
    "2 relative": relative,
    "2 shape": shape,
    "3 baselines": baselines,
    "4 matched": matched,
    "5 splits": splits,
    "6 placebo": placebo,
    "6 drift": drift,
    "7 bands": bands,
    "8 nulls": nulls,
    "9 stations": stations,
}


def noise_before_p(e):
    """Mean log-spectrum before P, array (N, 3, F)."""
    return e.spectra[:, 0]


def above_common_floor(e):
    """features.above_common_floor() in the usable band, array (N, parts - 1, 3, rows)."""
    return features.above_common_floor(e.spectra)[..., features.usable_rows(e.variant)]


def above_own_noise(e):
    """features.above_own_noise() in the usable band, array (N, parts - 1, 3, rows)."""
    return features.above_own_noise(e.spectra)[..., features.usable_rows(e.variant)]


def _snr(e):
    return features.signal_to_noise(e.spectra, e.variant)


def _more(e):
    """The catalogue, signal-to-noise ratio, and days since the last larger event where known."""
    more = e.catalogue.assign(snr=_snr(e))
    if "magnitude" in more and known_times(e.table).notna().all():
        more["days since larger"] = features.days_since_larger(e.table)
    return more


def _squares(catalogue):
    """Standardised columns and their squares: a class may be narrower, not only shifted."""
    z = (catalogue - catalogue.mean()) / catalogue.std()
    return np.hstack([z, z**2])


def _row(e, control, inputs, if_path, if_station, weights=None, parts=None, **options):
    """One measurement as a dict, or why there is none."""
    try:
        scores = held_out_scores(inputs, e.labels, parts or e.parts, weights, **options)
        found = measure_auc(scores, e.labels, weights, e.seed)
    except ForeshapError as error:
        return {"control": control, "reason": str(error)}
    return {"control": control} | found | {"if_path": if_path, "if_station": if_station}


def _named(*values):
    """One measurement as a dict, of values in the order of COLUMNS."""
    return dict(zip(COLUMNS, values))


def _table(rows):
    """Measurements as a DataFrame, whichever of them there are."""
    return pd.DataFrame(rows, columns=COLUMNS)
