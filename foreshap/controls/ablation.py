"""The same network trained on parts of the input, or on input relative to an event's own noise."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError, MachineError, keep_result
from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p
from ..training.fitting import TrainingConfig, train
from ..training.splits import random_split
from .features import READ_TOGETHER, quiet_before_p, window_spectra

REFERENCES = {"minus own noise": "before P", "minus own coda": "coda"}
PARTS = (*WINDOWS, "everything", *REFERENCES)
NOISE = "noise without events"
LEAST_FRAMES = 4  # the network halves the time axis twice
COLUMNS = ("value", "low", "high", "accuracy", "accuracy_low", "accuracy_high", "n_events")


def train_parts(spectrograms, split, config=TrainingConfig(), folder=None, known=None, noise=None):
    """Train the network anew on each part of the input.

    Events whose noise before P holds another event's coda are left out.

    spectrograms: Spectrograms
    split: Split, the same for all parts
    config: TrainingConfig
    folder: str or Path, where each result is kept as JSON and not computed twice; nowhere when
        left out
    known: dict, part -> Checkpoint, its network trained on all events of that split; not trained
        again
    noise: Spectrograms of windows without an event: one network more, trained and tested on them

    returns: DataFrame, a row a part: value, low, high (ROC AUC on the test events, bootstrap 95 %),
        accuracy, accuracy_low, accuracy_high, n_events; in its attrs["skipped"] a dict, part that
        can't be had -> reason
    """
    spectra = window_spectra(spectrograms)
    noise_is_known = np.isfinite(spectra[:, 0]).all(axis=(1, 2))
    split = split.only(quiet_before_p(spectra, spectrograms.table) | ~noise_is_known)
    key = {
        "tensors": [source.sha256 for source in (spectrograms, noise) if source],
        "split": {side: rows.tolist() for side, rows in split.rows().items()},
        "config": asdict(config),
    }
    tables, skipped = {}, {}
    parts = PARTS if noise is None else (*PARTS, NOISE)
    for part in tqdm(parts, desc="networks on parts", unit="part"):
        if known and part in known:
            card = known[part].card
            n_events = len(card["test_events"])
            tables[part] = _table(card["metrics"], card["intervals_95"], n_events)
            continue
        path = Path(folder, f"part-{part.replace(' ', '-')}.json") if folder else None
        compute = partial(_train_part, part, spectrograms, noise, split, config)
        try:
            tables[part] = keep_result(path, key, compute)
        except MachineError:
            raise  # no reason of the data
        except ForeshapError as error:
            skipped[part] = str(error)
    table = pd.concat(tables).droplevel(1) if tables else pd.DataFrame(columns=COLUMNS)
    table.attrs["skipped"] = skipped
    return table


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
    """Cut a part out of each event.

    Of a window those frames that end in it; what other events have there and this one doesn't is
    filled with the mean of its own frames, so that no edge marks the window. Frames that no event
    has are cut off. Relative input is the log-spectrum minus the event's mean over its frames
    before P (or of its coda), on the frames after P.

    spectrograms: Spectrograms
    part: one of PARTS

    returns: Spectrograms, values in memory (float32), variant cut to the frames that are left
    raises: ForeshapError where S-P times are needed and missing, or an event lacks the noise or
        coda it is relative to
    """
    if part == "everything":
        return spectrograms
    windows = _windows(spectrograms, part)
    if part in WINDOWS:
        chosen = windows == WINDOWS.index(part)
    else:
        chosen = windows > 0
    _check_frames(chosen, part)
    if part in REFERENCES:
        reference = windows == WINDOWS.index(REFERENCES[part])
        _check_frames(reference, REFERENCES[part])
    first, stop = _extent(chosen)
    cut = []
    for start in range(0, len(windows), READ_TOGETHER):
        events = slice(start, start + READ_TOGETHER)
        values = spectrograms.values[events]
        if part in REFERENCES:
            values = values - _window_mean(values, reference[events])
        mean = _window_mean(values, chosen[events])
        filled = np.where(chosen[events, None, None], values, mean)
        cut.append(filled[..., first:stop].astype(np.float32))
    variant = _cut_variant(spectrograms.variant, first, stop)
    return replace(spectrograms, values=np.concatenate(cut), variant=variant)


def _windows(spectrograms, part):
    """Window of each frame, int (N, T); without S-P times only before P (0) and after it (1)."""
    variant, s_p = spectrograms.variant, known_s_p(spectrograms.table)
    if np.isfinite(s_p).all():
        return np.stack([frame_windows(variant, s) for s in s_p])
    if variant.phase == "S" or part not in ("before P", "minus own noise"):
        raise ForeshapError("S-P times are not known")
    ends = variant.times + variant.nperseg / variant.sampling_rate / 2
    return np.tile((ends > 1e-6).astype(int), (len(s_p), 1))


def _check_frames(inside, name):
    """Raise ForeshapError where an event has no frame in a window (inside: bool (N, T))."""
    lacking = (~inside.any(axis=1)).sum()
    if lacking:
        raise ForeshapError(f"{lacking} events have no frame {name}")


def _extent(chosen):
    """First frame that any event has and the one after the last, at least LEAST_FRAMES apart."""
    frames = np.flatnonzero(chosen.any(axis=0))
    first, stop = frames[0], frames[-1] + 1
    stop = min(max(stop, first + LEAST_FRAMES), chosen.shape[1])
    return min(first, stop - LEAST_FRAMES), stop


def _window_mean(values, inside):
    """Mean of each event (n, 3, F, T) over the frames of a window (bool (n, T)), (n, 3, F, 1)."""
    inside = inside[:, None, None]
    total = np.where(inside, values, 0).sum(axis=-1, keepdims=True)
    return total / inside.sum(axis=-1, keepdims=True)


def _cut_variant(variant, first, stop):
    """The variant of the frames from first to stop."""
    before = variant.seconds_before - first * variant.hop / variant.sampling_rate
    seconds = (variant.nperseg + (stop - first - 1) * variant.hop) / variant.sampling_rate
    return replace(variant, seconds_before=before, seconds_after=seconds - before)
