"""The same network trained on parts of the input, or on input relative to an event's own noise."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import ForeshapError, MachineError, find_result, keep_result
from ..parallel import call_side_by_side
from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p
from ..training.fitting import TrainingConfig, train
from ..training.splits import random_split
from .features import batches, quiet_before_p, window_spectra

REFERENCES = {"minus own noise": "before P", "minus own coda": "coda"}
PARTS = (*WINDOWS, "everything", *REFERENCES)
NOISE = "noise without events"
LEAST_FRAMES = 4  # the network halves the time axis twice
COLUMNS = ("value", "low", "high", "accuracy", "accuracy_low", "accuracy_high", "n_events")


def train_parts(spectrograms, split, config=TrainingConfig(), folder=None, known=None, noise=None):
    """Train the network anew on each part of the input, on events with undisturbed noise before P.

    spectrograms: Spectrograms
    split: Split, the same for all parts
    config: TrainingConfig
    folder: str or Path, where each result is kept and not computed twice; None keeps none
    known: dict, part -> Checkpoint, its network trained on all events of that split
    noise: Spectrograms of windows without an event: one network more, trained and tested on them

    returns: DataFrame, a row a part: value, low, high (ROC AUC on the test events, 95 %), accuracy,
        accuracy_low, accuracy_high, n_events; in its attrs["skipped"] a dict, part -> reason
    """
    spectra = window_spectra(spectrograms)
    noise_is_known = np.isfinite(spectra[:, 0]).all(axis=(1, 2))
    split = split.only(quiet_before_p(spectra, spectrograms.table) | ~noise_is_known)
    key = {
        "tensors": [source.sha256 for source in (spectrograms, noise) if source],
        "split": {side: rows.tolist() for side, rows in split.rows().items()},
        "config": asdict(config),
    }
    found, jobs = {}, {}
    parts = PARTS if noise is None else (*PARTS, NOISE)
    for part in parts:
        if known and part in known:
            card = known[part].card
            n_events = len(card["test_events"])
            found[part] = _table(card["metrics"], card["intervals_95"], n_events)
            continue
        path = Path(folder, f"part-{part.replace(' ', '-')}.json").resolve() if folder else None
        found[part] = find_result(path, key) if path else None
        if found[part] is None:
            jobs[part] = (path, key, part, spectrograms, noise, split, config)
    trained = call_side_by_side(_keep_part, list(jobs.values()), "networks on parts")
    found.update(zip(jobs, trained))
    tables = {part: row for part, row in found.items() if not isinstance(row, str)}
    table = pd.concat(tables).droplevel(1) if tables else pd.DataFrame(columns=COLUMNS)
    table.attrs["skipped"] = {part: row for part, row in found.items() if isinstance(row, str)}
    return table


def _keep_part(path, key, *arguments):
    """Keep a row of train_parts() and return it, or why the data have none, str."""
    try:
        return keep_result(path, key, partial(_train_part, *arguments))
    except MachineError:
        raise  # no reason of the data
    except ForeshapError as error:
        return str(error)


def _train_part(part, spectrograms, noise, split, config):
    """Train on one part and score the test events: one row of train_parts()."""
    if part == NOISE:
        spectrograms, split = noise, random_split(noise.table, 0)
    else:
        spectrograms = part_of(spectrograms, part)
    result = train(spectrograms, split, config)
    return _table(result.metrics, result.intervals, len(split.test))


def _table(metrics, intervals, n_events):
    """One row of train_parts()."""
    roc_auc = metrics["roc_auc"], *intervals["roc_auc"]
    accuracy = metrics["accuracy"], *intervals["accuracy"]
    return pd.DataFrame([(*roc_auc, *accuracy, n_events)], columns=COLUMNS)


def part_of(spectrograms, part):
    """Cut one of PARTS out of each event: Spectrograms in memory, of the frames that are left.

    Of a window those frames that end in it; what other events have there and this one doesn't is
    filled with the mean of its own frames, so that no edge marks the window. Relative input is the
    log-spectrum minus the event's mean over its frames of REFERENCES, on the frames after P.
    """
    if part == "everything":
        return spectrograms
    v, s_p = spectrograms.variant, known_s_p(spectrograms.table)
    needs_s_p = v.phase == "S" or part not in ("before P", "minus own noise")
    if needs_s_p and np.isnan(s_p).any():
        raise ForeshapError("S-P times are not known")
    windows = np.stack([frame_windows(v, delay) for delay in s_p])
    chosen = windows == WINDOWS.index(part) if part in WINDOWS else windows > 0
    needed = {part: chosen}
    if part in REFERENCES:
        reference = windows == WINDOWS.index(REFERENCES[part])
        needed[REFERENCES[part]] = reference
    for name, inside in needed.items():
        lacking = (~inside.any(axis=1)).sum()
        if lacking:
            raise ForeshapError(f"{lacking} events have no frame {name}")
    frames = np.flatnonzero(chosen.any(axis=0))
    stop = min(max(frames[-1] + 1, frames[0] + LEAST_FRAMES), chosen.shape[1])
    first = min(frames[0], stop - LEAST_FRAMES)
    cut = []
    for events in batches(len(windows)):
        values = spectrograms.values[events]
        if part in REFERENCES:
            values = values - _window_mean(values, reference[events])
        mean = _window_mean(values, chosen[events])
        filled = np.where(chosen[events, None, None], values, mean)
        cut.append(filled[..., first:stop].astype(np.float32))
    before = v.seconds_before - first * v.hop / v.sampling_rate
    seconds = (v.nperseg + (stop - first - 1) * v.hop) / v.sampling_rate
    variant = replace(v, seconds_before=before, seconds_after=seconds - before)
    return replace(spectrograms, values=np.concatenate(cut), variant=variant)


def _window_mean(values, inside):
    """Mean of each event (n, 3, F, T) over the frames of a window (bool (n, T)), (n, 3, F, 1)."""
    inside = inside[:, None, None]
    total = np.where(inside, values, 0).sum(axis=-1, keepdims=True)
    return total / inside.sum(axis=-1, keepdims=True)
