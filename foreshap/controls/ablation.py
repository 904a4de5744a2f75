"""The same network trained on parts of the input, or on input relative to the event's own noise or coda."""

import json
from dataclasses import asdict, replace
from hashlib import sha256 as digest
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError, keep_result, sha256
from ..preprocessing.variants import WINDOWS, frame_windows
from ..preprocessing.waveforms import known_s_p
from ..training.fitting import TrainingConfig, train
from ..training.splits import SHARES, random_split
from .features import known_mean, quiet_before_p, window_spectra

PARTS = (*WINDOWS, "everything", "minus own noise", "minus own coda")
NOISE = "noise without events"
LEAST_FRAMES = 4  # the network halves the time axis twice
BATCH = 64  # events read together


def part_of(spectrograms, part):
    """The same events with a part of each alone.

    Of a window those frames that end in it; what other events have there and this one doesn't is filled with the mean
    of its own frames, so that no edge marks the window. Frames that no event has are cut off. Relative input is the
    log-spectrum minus the event's mean over its frames before P (or of its coda), on the frames after P.

    spectrograms: Spectrograms
    part: one of PARTS

    returns: Spectrograms, values in memory (float32), variant cut to the frames that are left
    raises: ForeshapError where S-P times are needed and missing, or an event lacks the noise or coda it is relative to
    """
    if part == "everything":
        return spectrograms
    windows = _windows(spectrograms, part)
    chosen = windows == WINDOWS.index(part) if part in WINDOWS else windows > 0
    if not chosen.any(axis=1).all():
        raise ForeshapError(f"{(~chosen.any(axis=1)).sum()} events have no frame {part}")
    first, stop = _extent(chosen)
    reference = {"minus own noise": 0, "minus own coda": 3}.get(part)
    values = np.concatenate([
        _filled(spectrograms.values[s], windows[s], chosen[s], reference)[..., first:stop]
        for s in (slice(a, a + BATCH) for a in range(0, len(windows), BATCH))
    ])  # fmt: skip
    return replace(spectrograms, values=values, variant=_cut(spectrograms.variant, first, stop))


def _windows(spectrograms, part):
    """Window of each frame of each event, int (N, T); without S-P times only before P (0) and after it (1)."""
    variant, s_p = spectrograms.variant, known_s_p(spectrograms.table)
    if np.isfinite(s_p).all():
        return np.stack([frame_windows(variant, s) for s in s_p])
    if variant.phase == "S" or part not in ("before P", "minus own noise"):
        raise ForeshapError("S-P times are not known")
    ends = variant.times + variant.nperseg / variant.sampling_rate / 2
    return np.tile((ends > 1e-6).astype(int), (len(s_p), 1))


def _extent(chosen):
    """First frame that any event has and the one after the last, at least LEAST_FRAMES apart."""
    frames = np.flatnonzero(chosen.any(axis=0))
    first, stop = frames[0], frames[-1] + 1
    stop = min(max(stop, first + LEAST_FRAMES), chosen.shape[1])
    return min(first, stop - LEAST_FRAMES), stop


def _filled(values, windows, chosen, reference):
    """Values (n, 3, F, T) of the chosen frames, relative to the mean of a window (reference), the mean elsewhere."""
    mean = lambda inside: known_mean(np.where(inside[:, None, None], values, np.nan), -1)[..., None]
    if reference is not None:
        if not (windows == reference).any(axis=1).all():
            raise ForeshapError(f"some events have no frame {WINDOWS[reference]}")
        values = values - mean(windows == reference)
    return np.where(chosen[:, None, None], values, mean(chosen)).astype(np.float32)


def _cut(variant, first, stop):
    """The variant of the frames from first to stop."""
    before = variant.seconds_before - first * variant.hop / variant.sampling_rate
    seconds = (variant.nperseg + (stop - first - 1) * variant.hop) / variant.sampling_rate
    return replace(variant, seconds_before=before, seconds_after=seconds - before)


def train_parts(spectrograms, split, config=TrainingConfig(), folder=None, known=None, noise=None):
    """Train the network anew on each part of the input, without events with another event's coda before P.

    spectrograms: Spectrograms
    split: Split, the same for all parts
    config: TrainingConfig
    folder: str or Path, where each result is kept as JSON and not computed twice; nowhere when left out
    known: dict, part -> Checkpoint, its network trained on all events of that split; not trained again
    noise: Spectrograms of windows without an event: one network more, trained and tested on them

    returns: DataFrame, a row a part: value, low, high (ROC AUC on the test events, bootstrap 95 %), accuracy,
        accuracy_low, accuracy_high, n_events; in its attrs["skipped"] a dict, part that can't be had -> reason
    """
    split = _undisturbed(spectrograms, split)
    sides = np.concatenate([split.train, split.validation, split.test])
    tensors = [sha256(s.path) for s in (spectrograms, noise) if s is not None]
    key = json.loads(json.dumps([tensors, digest(sides.tobytes()).hexdigest(), asdict(config)]))
    known = {
        part: _row(c.card["metrics"], c.card["intervals_95"], len(c.card["test_events"]))
        for part, c in (known or {}).items()
    }
    found, skipped = {}, {}
    for part in tqdm([*PARTS, *([NOISE] if noise else [])], desc="networks on parts", unit="part"):
        path = folder and Path(folder) / f"part-{part.replace(' ', '-')}.json"
        compute = lambda: _trained(*_job(spectrograms, split, noise, part), config)
        try:
            found[part] = known[part] if part in known else keep_result(path, key, compute)
        except ForeshapError as error:
            skipped[part] = str(error)
    empty = pd.DataFrame(columns=["value", "low", "high", "n_events"])
    table = pd.concat(found).droplevel(1) if found else empty
    table.attrs["skipped"] = skipped
    return table


def _undisturbed(spectrograms, split):
    """The split without events whose noise before P holds another event's coda."""
    spectra = window_spectra(spectrograms)
    known = np.isfinite(spectra[:, 0]).all(axis=(1, 2))
    fit = quiet_before_p(spectra, spectrograms.table) | ~known
    return replace(split, **{side: (rows := getattr(split, side))[fit[rows]] for side in SHARES})


def _job(spectrograms, split, noise, part):
    """Spectrograms and Split of one row of train_parts()."""
    return (
        (noise, random_split(noise.table, 0))
        if part == NOISE
        else (part_of(spectrograms, part), split)
    )


def _trained(spectrograms, split, config):
    """One row of train_parts(), by training."""
    result = train(spectrograms, split, config)
    return _row(result.metrics, result.intervals, len(split.test))


def _row(metrics, intervals, n_events):
    """One row of train_parts()."""
    name = {
        "roc_auc": ("value", "low", "high"),
        "accuracy": ("accuracy", "accuracy_low", "accuracy_high"),
    }
    row = {
        column: number
        for score, columns in name.items()
        for column, number in zip(columns, (metrics[score], *intervals[score]))
    }
    return pd.DataFrame([row | {"n_events": n_events}])
