"""Controls by plain models: where the information that tells the classes apart could come from.

Each control takes an Evidence and returns a table, a row a measurement: control, measured (ROC AUC of held-out events
by logistic regression, unless it says otherwise), low and high (bootstrap 95 %), chance, n_events, and in words what a
change on the fault or path and what one at the station or in the catalogue would give; reason, why there is none.
Plain, because there are hundreds of fits.
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
from . import features
from .plain_models import (
    RESAMPLES,
    check_enough,
    days_from_gap,
    effective_events,
    folds,
    held_out_scores,
    overlap_weights,
    placebo_dates,
    roc_auc,
    shuffled,
)

BANDS = ((0, 10), (10, 25), (25, 45))  # [Hz]
SHUFFLES = 20
HEARD, LEAST_BINS = (
    0.8,
    20,
)  # share of events in which a bin stands above the noise; bins that make a shape
COLUMNS = (
    "control",
    "measured",
    "low",
    "high",
    "chance",
    "n_events",
    "if_path",
    "if_station",
    "reason",
)
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
            f"{spectrograms.path} can't be controlled, {error}, each with undisturbed noise before P."
        ) from error
    table, labels = spectrograms.table[quiet].reset_index(drop=True), labels[quiet]
    known = known_times(table).notna().all()
    catalogue = features.catalogue(table)
    try:
        weights = overlap_weights(catalogue, labels)
    except ForeshapError as error:
        weights = f"the classes' catalogues hardly overlap ({error})"
    parts = folds(table, "time blocks" if known else "random", seed)
    calibrated = "scaled" not in spectrograms.attributes
    return Evidence(
        spectrograms.variant, table, labels, spectra[quiet], catalogue, parts, weights, calibrated,
        int((~quiet).sum()), noise, seed,
    )  # fmt: skip


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
    slices = (
        slice(first, first + features.BATCH)
        for first in range(0, len(e.noise.labels), features.BATCH)
    )
    spectra = np.concatenate([e.noise.values[s].mean(axis=-1) for s in slices])
    labels = e.noise.labels.astype(int)
    check_enough(np.bincount(labels, minlength=2))
    scores = held_out_scores(spectra, labels, folds(e.noise.table, "time blocks", e.seed))
    found = roc_auc(scores, labels, seed=e.seed)
    return pd.DataFrame(
        [{"control": "noise without events"} | found | {"if_path": CHANCE, "if_station": ABOVE}]
    )


def relative(e):
    """2. Relative to the event's own noise, and to its own coda: what acts on all windows alike cancels."""
    coda = features.known_mean(e.spectra[:, 3:], 1)[:, None]
    return _table([
        _row(e, "minus own noise", above_own_noise(e), ABOVE, "chance, if the noise is the same"),
        _row(e, "minus own coda", e.spectra[:, 1:3] - coda, "above chance, or lower", CHANCE),
    ])  # fmt: skip


def shape(e):
    """2. Over the bins that most events fill: how much the change's shape varies, over its mean; a gain has no shape.

    Measured is the standard deviation of the classes' difference over windows, components and frequencies, without
    what the scatter of events gives, over its mean (log10 power, matched classes).
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
    counts = np.random.default_rng(e.seed).multinomial(
        len(x), np.full(len(x), 1 / len(x)), RESAMPLES
    )
    weights = np.vstack([np.ones(len(x)), counts]) * e.weights
    mean = lambda k: (of := weights * (e.labels == k)) @ x / of.sum(axis=1, keepdims=True)
    change = mean(1) - mean(0)
    level = change.mean(axis=1, keepdims=True)
    scatter = (change - level)[1:].var(axis=0).mean() * np.r_[
        1, np.full(RESAMPLES, 2)
    ]  # drawn twice in a resample
    found = np.sqrt(np.maximum(((change - level) ** 2).mean(axis=1) - scatter, 0)) / np.abs(
        level[:, 0]
    )
    low, high = np.percentile(found[1:], (2.5, 97.5))
    return _table(
        [
            {
                "control": "shape over level of the change",
                "measured": found[0],
                "low": low,
                "high": high,
                "chance": 0.0,
                "n_events": len(x),
                "if_path": "well above 0",
                "if_station": "0, if it is a gain",
            }
        ]
    )


def baselines(e):
    """3. Linear models: time-averaged spectrum, and the catalogue alone."""
    rows = [_row(e, "time-averaged spectrum", features.known_mean(e.spectra, 1), ABOVE, ABOVE)]
    if e.catalogue.shape[1]:
        rows.append(
            _row(
                e,
                "catalogue alone",
                _squares(e.catalogue),
                CHANCE,
                "above chance (catalogue)",
                penalty=1.0,
            )
        )
        rows.append(
            _row(
                e,
                "catalogue, SNR, days since larger event",
                _squares(_more(e)),
                EITHER,
                EITHER,
                penalty=1.0,
            )
        )
    return _table(rows)


def matched(e):
    """4. Classes reweighted until their catalogues match."""
    if e.catalogue.shape[1] == 0:
        raise ForeshapError("there is no catalogue to match")
    if isinstance(e.weights, str):
        raise ForeshapError(e.weights)
    rows = [
        _row(e, "noise before P, matched", noise_before_p(e), CHANCE, ABOVE, e.weights),
        _row(e, "signal above a common floor, matched", above_common_floor(e), ABOVE, EITHER, e.weights)
        if e.calibrated else None,
        _row(e, "signal minus own noise, matched", above_own_noise(e), ABOVE, EITHER, e.weights),
        _row(e, "everything, matched", e.spectra, ABOVE, "chance if the catalogue is all", e.weights),
    ]  # fmt: skip
    rows += _matched_on_noise(e)
    return _table([row for row in rows if row]).assign(
        effective=effective_events(e.weights, e.labels).min()
    )


def _matched_on_noise(e):
    """Everything, with signal-to-noise matched too, where enough events remain."""
    try:
        weights = overlap_weights(e.catalogue.assign(snr=_snr(e)), e.labels)
    except ForeshapError:
        return []
    return [
        _row(
            e, "everything, matched on SNR too", e.spectra, ABOVE, "lower, if noise is all", weights
        )
    ]


def splits(e):
    """5. The same model on other splits: the gap between random and blocked ones is the leak."""
    rows = []
    further = ["co-located groups"] if "co_located_group" in e.table else []
    for kind in ("random", "clusters", "time blocks", "weeks", *further):
        said = f"split: {kind}", "all splits alike", "random better than blocks"
        try:
            rows.append(_row(e, said[0], e.spectra, *said[1:], parts=folds(e.table, kind, e.seed)))
        except ForeshapError as error:  # no times, or no hypocentres
            rows.append({"control": said[0], "reason": str(error)})
    return _table(rows)


def placebo(e, n_inside=8):
    """6. Other dates as the mainshock: the true one must stand out. Columns what, time and kind beside the others."""
    rows = []
    dates = placebo_dates(e.table, e.seed, n_inside)
    for date in tqdm(
        dates.itertuples(index=False), total=len(dates), desc="placebo dates", unit="date"
    ):
        chosen = np.concatenate([date.before, date.after])
        labels = np.repeat([0, 1], [len(date.before), len(date.after)])
        sample = e.table.iloc[chosen].assign(label=labels).reset_index(drop=True)
        parts = folds(sample, "time blocks", e.seed)
        for what, inputs in (("signal", above_own_noise(e)), ("noise", noise_before_p(e))):
            found = roc_auc(held_out_scores(inputs[chosen], labels, parts), labels, seed=e.seed)
            rows.append(found | {"what": what, "time": str(date.time), "kind": date.kind})
    table = pd.DataFrame(rows)
    predicted = np.where(
        (table["kind"] == "mainshock") & (table["what"] == "signal"), [ABOVE], [CHANCE]
    )
    name = "placebo, " + table["what"] + ": " + table["kind"]
    return table.assign(control=name, if_path=predicted, if_station="any date, if it drifts")


def stands_out(table, least, what="signal"):
    """Whether the mainshock separates events, and better than every date inside a class that does.

    table: DataFrame of placebo()
    least: float, ROC AUC above which an inside date's whole interval must lie to count; the mainshock's above chance
    what: "signal" or "noise"

    returns: bool
    """
    table = table[table["what"] == what]
    mainshock = table[table["kind"] == "mainshock"]
    inside = table[table["kind"].str.startswith("inside") & (table["low"] > least)]
    return bool(
        (mainshock["low"] > 0.5).all() and (mainshock["measured"].max() > inside["measured"]).all()
    )


def drift(e):
    """6. Inside a class: does the signal drift? Rank correlation (Spearman) of held-out score and time."""
    days, scores = days_from_gap(e.table), signal_scores(e)
    rows = []
    for k, name in enumerate(CLASSES):
        mine = np.flatnonzero(e.labels == k)
        draws = np.random.default_rng(e.seed).choice(mine, (200, len(mine)))
        low, high = np.percentile([spearmanr(days[d], scores[d])[0] for d in draws], (2.5, 97.5))
        value = spearmanr(days[mine], scores[mine])[0]
        rows.append({"control": f"drift of {name}s (correlation)", "measured": value, "low": low, "high": high,
                     "chance": 0.0, "n_events": len(mine), "if_path": "not above 0 in both",
                     "if_station": "above 0 in both, if it drifts"})  # fmt: skip
    return pd.DataFrame(rows)


def signal_scores(e):
    """Held-out score of each event by its signal relative to its own noise, float array (N,)."""
    return held_out_scores(above_own_noise(e), e.labels, e.parts)


def bands(e, notches=()):
    """7. Frequency bands, and notches around narrow ones, each with its twin from noise before P alone."""
    rows = []
    for low, high in (*BANDS, *notches):
        inside = features.usable_rows(e.variant, low, high)
        if inside.all() or not inside.any():  # nothing beside it, or no row of this variant
            continue
        name = f"{low:.3g} to {high:.3g} Hz"
        rows.append(_row(e, f"{name}", e.spectra[:, 1:][..., inside], ABOVE, ABOVE))
        rows.append(_row(e, f"{name}, noise before P", e.spectra[:, 0][..., inside], CHANCE, ABOVE))
        if (low, high) not in BANDS:
            rows.append(_row(e, f"without {name}", e.spectra[..., ~inside], "as with it", "lower"))
    return _table(rows)


def nulls(e):
    """8. Shuffled labels: mean and 95 % range of the time-averaged spectrum's ROC AUC over SHUFFLES shuffles."""
    found = shuffled(features.known_mean(e.spectra, 1), e.labels, e.parts, SHUFFLES, e.seed)
    low, high = np.percentile(found, (2.5, 97.5))
    return pd.DataFrame([{"control": f"shuffled labels ({SHUFFLES} times)", "measured": found.mean(), "low": low,
                          "high": high, "chance": 0.5, "n_events": len(e.labels), "if_path": CHANCE,
                          "if_station": CHANCE}])  # fmt: skip


def effects_off(spectrograms, seed):
    """8. Another simulated sequence as long, with every effect off: all windows, like "everything" of control 1.

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
    """9. Does what was learned at the other stations hold at this one? Geometry changes between them, and the site."""
    names = known_stations(e.table).to_numpy()
    if len(np.unique(names)) < 2:
        raise ForeshapError("the dataset has one station")
    parts = [
        (np.flatnonzero(names != name), np.flatnonzero(names == name)) for name in np.unique(names)
    ]
    for rows, _ in parts:
        check_enough(np.bincount(e.labels[rows], minlength=2))
    return _table([
        _row(e, "other stations, signal", above_own_noise(e), "above chance, with geometry", CHANCE, parts=parts),
        _row(e, "other stations, noise before P", noise_before_p(e), CHANCE, CHANCE, parts=parts),
    ])  # fmt: skip


CONTROLS = {
    "1 windows": where, "1 noise without events": without_events,
    "2 relative": relative, "2 shape": shape, "3 baselines": baselines, "4 matched": matched, "5 splits": splits,
    "6 placebo": placebo, "6 drift": drift, "7 bands": bands, "8 nulls": nulls,
    "9 stations": stations,
}  # fmt: skip


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
    """The catalogue, signal-to-noise ratio, and the days since the last larger event where they are known."""
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
        found = roc_auc(scores, e.labels, weights, e.seed)
    except ForeshapError as error:
        return {"control": control, "reason": str(error)}
    return {"control": control} | found | {"if_path": if_path, "if_station": if_station}


def _table(rows):
    """Measurements as a DataFrame, whichever of them there are."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
