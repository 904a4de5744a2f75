"""Measurements by plain models for the second page: where the information lies.

Each takes an Evidence of clean events and returns a table, a row a measurement: control, measured
(ROC AUC of held-out events by logistic regression, unless it says otherwise), low and high
(bootstrap 95 %), chance, n_events, and in words what a change on the fault or path and what one at
the station or in the catalogue would give; reason, why there is none.
"""

from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.simulation import simulate_sequence
from ..preprocessing.spectrograms import preprocess
from ..preprocessing.tensor_file import load_spectrograms
from ..preprocessing.waveforms import known_times
from ..training.scores import interval_95
from . import features
from .evidence import gather_evidence
from .plain_models import (
    check_enough,
    effective_events,
    folds,
    held_out_scores,
    measure_auc,
    overlap_weights,
    shuffled,
)

CONTROL_BANDS = ((0, 10), (10, 25), (25, 45))  # [Hz]
SHUFFLES = 20
COLUMNS = "control measured low high chance n_events if_path if_station reason".split()
CHANCE, ABOVE, EITHER = "chance", "above chance", "says nothing"


def where(e):
    """1. The information by window: noise before P, P to S, S, coda, all."""
    rows = [_row(e, "noise before P", e.tensor_spectra[:, 0], CHANCE, ABOVE)]
    for name, place in zip(features.window_names(e.table)[1:], ([1], [2], [3, 4, 5])):
        rows.append(_row(e, name, e.tensor_spectra[:, place], ABOVE, ABOVE))
    return _table([*rows, _row(e, "everything", e.tensor_spectra, ABOVE, ABOVE)])


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
    coda = features.known_mean(e.tensor_spectra[:, 3:], 1)[:, None]
    from_coda, same_noise = e.tensor_spectra[:, 1:3] - coda, "chance, if the noise is the same"
    above = features.above_own_noise(e.tensor_spectra)[..., features.usable_rows(e.variant)]
    return _table(
        [
            _row(e, "minus own noise", above, ABOVE, same_noise),
            _row(e, "minus own coda", from_coda, "above chance, or lower", CHANCE),
        ]
    )


def baselines(e):
    """3. Linear models: time-averaged spectrum, and the catalogue alone."""
    averaged = features.known_mean(e.tensor_spectra, 1)
    rows = [_row(e, "time-averaged spectrum", averaged, ABOVE, ABOVE)]
    if e.catalogue.shape[1]:
        found = "above chance (catalogue)"
        alone = _squares(e.catalogue)
        rows.append(_row(e, "catalogue alone", alone, CHANCE, found, penalty=1.0))
    return _table(rows)


def matched(e):
    """4. Classes reweighted until their catalogues match."""
    if e.catalogue.shape[1] == 0:
        raise ForeshapError("there is no catalogue to match")
    weights = overlap_weights(e.catalogue, e.labels)
    noise, expected = e.tensor_spectra[:, 0], "chance if the catalogue is all"
    rows = [
        _row(e, "noise before P, matched", noise, CHANCE, ABOVE, weights),
        _row(e, "everything, matched", e.tensor_spectra, ABOVE, expected, weights),
    ]
    return _table(rows).assign(effective=effective_events(weights, e.labels).min())


def splits(e):
    """5. The same model on other splits: the gap between random and blocked ones is the leak."""
    rows = []
    further = ["co-located groups"] if "co_located_group" in e.table else []
    for kind in ("random", "clusters", "time blocks", "weeks", *further):
        name, expected = f"split: {kind}", ("all splits alike", "random better than blocks")
        try:
            parts = folds(_labelled(e), kind, e.seed)
            rows.append(_row(e, name, e.tensor_spectra, *expected, parts=parts))
        except ForeshapError as error:  # no times, or no hypocentres
            rows.append({"control": name, "reason": str(error)})
    return _table(rows)


def bands(e, notches=()):
    """7. Frequency bands, and notches around narrow ones, each with its twin from noise alone."""
    rows = []
    for low, high in (*CONTROL_BANDS, *notches):
        inside = features.usable_rows(e.variant, low, high)
        if inside.all() or not inside.any():  # nothing beside it, or no row of this variant
            continue
        name = f"{low:.3g} to {high:.3g} Hz"
        signal, noise = e.tensor_spectra[:, 1:], e.tensor_spectra[:, 0]
        rows.append(_row(e, name, signal[..., inside], ABOVE, ABOVE))
        rows.append(_row(e, f"{name}, noise before P", noise[..., inside], CHANCE, ABOVE))
        if (low, high) not in CONTROL_BANDS:
            rows.append(_row(e, f"without {name}", signal[..., ~inside], "as with it", "lower"))
    return _table(rows)


def nulls(e):
    """8. Shuffled labels: mean and 95 % range of the ROC AUC of the time-averaged spectrum."""
    averaged = features.known_mean(e.tensor_spectra, 1)
    found = shuffled(averaged, e.labels, _parts(e), SHUFFLES, e.seed)
    name = f"shuffled labels ({SHUFFLES} times)"
    measured = found.mean(), *interval_95(found), 0.5, len(e.labels)
    return _table([dict(zip(COLUMNS, (name, *measured, CHANCE, CHANCE)))])


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
        e = gather_evidence(
            load_spectrograms(f"{folder}/{spectrograms.variant.name}.h5"), None, seed
        )
    e = e.only(e.clean)
    return pd.DataFrame([_row(e, "every effect off (simulated)", e.tensor_spectra, CHANCE, CHANCE)])


CONTROLS = {
    "1 windows": where,
    "1 noise without events": without_events,
    "2 relative": relative,
    "3 baselines": baselines,
    "4 matched": matched,
    "5 splits": splits,
    "7 bands": bands,
    "8 nulls": nulls,
}


def _labelled(e):
    """The table with its labels, for what splits it."""
    return e.table.assign(label=e.labels)


def _parts(e):
    """Who is held out in turn: blocks of time, or at random where there are no times."""
    kind = "time blocks" if known_times(e.table).notna().all() else "random"
    return folds(_labelled(e), kind, e.seed)


def _squares(catalogue):
    """Standardised columns and their squares: a class may be narrower, not only shifted."""
    z = (catalogue - catalogue.mean()) / catalogue.std()
    return np.hstack([z, z**2])


def _row(e, control, inputs, if_path, if_station, weights=None, parts=None, **options):
    """One measurement as a dict, or why there is none."""
    try:
        scores = held_out_scores(inputs, e.labels, parts or _parts(e), weights, **options)
        found = measure_auc(scores, e.labels, weights, e.seed)
    except ForeshapError as error:
        return {"control": control, "reason": str(error)}
    return {"control": control} | found | {"if_path": if_path, "if_station": if_station}


def _table(rows):
    """Measurements as a DataFrame, whichever of them there are."""
    return pd.DataFrame(rows, columns=COLUMNS)
