"""Measurements by plain models for the second page: where the information lies.

Each control takes an Evidence of clean events and yields what to measure: its name, the inputs,
what a change on the fault or path would give, what one of station or catalogue, and options of
_auc().
"""

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.waveforms import known_times
from . import features, plain_models

CONTROL_BANDS = ((0, 10), (10, 25), (25, 45))  # [Hz]
SHUFFLES = 20
COLUMNS = "control measured low high chance n_events if_path if_station reason".split()
CHANCE, ABOVE = "chance", "above chance"


def where(e):
    """1. The information by window: noise before P, P to S, S, coda, all."""
    yield "noise before P", e.tensor_spectra[:, 0], CHANCE, ABOVE
    for name, place in zip(features.window_names(e.table)[1:], ([1], [2], [3, 4, 5])):
        yield name, e.tensor_spectra[:, place], ABOVE, ABOVE
    yield "everything", e.tensor_spectra, ABOVE, ABOVE


def without_events(e):
    """1. The same of windows without any event, where the source offers them."""
    if e.noise is None:
        raise ForeshapError("the source offers no windows without events")
    spectra = []
    for windows in features.batches(len(e.noise.labels)):
        spectra.append(e.noise.values[windows].mean(axis=-1))
    yield "noise without events", np.concatenate(spectra), CHANCE, ABOVE, {"events": e.noise}


def relative(e):
    """2. Relative to the event's own noise, and to its own coda: what acts on both cancels."""
    above = features.above_own_noise(e.tensor_spectra)[..., features.usable_rows(e.variant)]
    yield "minus own noise", above, ABOVE, "chance, if the noise is the same"
    coda = features.known_mean(e.tensor_spectra[:, 3:], 1)[:, None]
    yield "minus own coda", e.tensor_spectra[:, 1:3] - coda, "above chance, or lower", CHANCE


def baselines(e):
    """3. Linear models: time-averaged spectrum, and the catalogue alone (with squares)."""
    yield "time-averaged spectrum", features.known_mean(e.tensor_spectra, 1), ABOVE, ABOVE
    if e.catalogue.shape[1]:
        z = (e.catalogue - e.catalogue.mean()) / e.catalogue.std()
        squares = np.hstack([z, z**2])  # a class may be narrower, not only shifted
        yield "catalogue alone", squares, CHANCE, "above chance (catalogue)", {"penalty": 1.0}


def matched(e):
    """4. Classes reweighted until their catalogues match."""
    if e.catalogue.shape[1] == 0:
        raise ForeshapError("there is no catalogue to match")
    options = {"weights": plain_models.overlap_weights(e.catalogue, e.labels)}
    yield "noise before P, matched", e.tensor_spectra[:, 0], CHANCE, ABOVE, options
    expected = "chance if the catalogue is all"
    yield "everything, matched", e.tensor_spectra, ABOVE, expected, options


def splits(e):
    """5. The same model on other splits: the gap between random and blocked ones is the leak."""
    further = ["co-located groups"] if "co_located_group" in e.table else []
    for kind in ("random", "clusters", "time blocks", "weeks", *further):
        expected = "all splits alike", "random better than blocks"
        yield f"split: {kind}", e.tensor_spectra, *expected, {"kind": kind}


def bands(e, notches=()):
    """7. Frequency bands, and notches around narrow ones, each with its twin from noise alone."""
    for low, high in (*CONTROL_BANDS, *notches):
        inside = features.usable_rows(e.variant, low, high)
        if inside.all() or not inside.any():  # nothing beside it, or no row of this variant
            continue
        name = f"{low:.3g} to {high:.3g} Hz"
        signal, noise = e.tensor_spectra[:, 1:], e.tensor_spectra[:, 0]
        yield name, signal[..., inside], ABOVE, ABOVE
        yield f"{name}, noise before P", noise[..., inside], CHANCE, ABOVE
        if (low, high) not in CONTROL_BANDS:
            yield f"without {name}", signal[..., ~inside], "as with it", "lower"


def nulls(e):
    """8. Shuffled labels: mean and 95 % range of the ROC AUC of the time-averaged spectrum."""
    averaged = features.known_mean(e.tensor_spectra, 1)
    options = {"shuffles": SHUFFLES}
    yield f"shuffled labels ({SHUFFLES} times)", averaged, CHANCE, CHANCE, options


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


def measure(e, control, **how):
    """Measure what a control asks of Evidence: DataFrame of COLUMNS, a row a measurement."""
    rows = []
    for name, inputs, if_path, if_station, *options in control(e, **how):
        row = {"control": name, "if_path": if_path, "if_station": if_station}
        try:
            row |= _auc(e, inputs, **dict(*options))
        except ForeshapError as error:
            row = {"control": name, "reason": str(error)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _auc(e, inputs, events=None, kind=None, weights=None, penalty=plain_models.PENALTY, shuffles=0):
    """One measurement, dict; inputs are of e's events, or of others."""
    events = e if events is None else events
    labels = events.labels.astype(int)
    plain_models.check_enough(labels)
    if kind is None:
        kind = "time blocks" if known_times(events.table).notna().all() else "random"
    parts = plain_models.folds(events.table.assign(label=labels), kind, e.seed)
    if shuffles:
        return plain_models.measure_shuffled(inputs, labels, parts, shuffles, e.seed)
    scores = plain_models.held_out_scores(inputs, labels, parts, weights, penalty)
    return plain_models.measure_auc(scores, labels, weights, e.seed)
