"""Which events a map is compared with: what a network's output would be "without" a pixel."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ..files import ForeshapError, whole_number
from ..preprocessing.variants import CLASSES, frame_windows

KINDS = ("both", "foreshocks", "aftershocks", "own noise")


@dataclass(frozen=True)
class Background:
    """What events are compared with.

    kind: one of KINDS: training events of both classes or of one, or each event's own_noise()
    rows: int array, sorted rows of the tensor file; none for own noise
    n: int, how many events, rows or draws of noise
    seed: int, of the draw
    """

    kind: str
    rows: np.ndarray
    n: int
    seed: int


def choose_background(checkpoint, spectrograms, n=200, seed=0, kind="both"):
    """Draw the training events that others are compared with.

    checkpoint: Checkpoint
    spectrograms: Spectrograms that it was trained on
    n: int; fewer are drawn where there are fewer, or for "both" where the smaller class has less
        than half
    seed: int
    kind: one of KINDS; "both" draws as many of either class

    returns: Background
    raises: ForeshapError for an unknown kind, fewer than two events, a class that nobody trained on
    """
    checkpoint.check(spectrograms)
    if kind not in KINDS:
        raise ForeshapError(f"There is no background '{kind}': choose from {', '.join(KINDS)}.")
    whole_number("seed", seed)
    if whole_number("n", n) < 2:
        raise ForeshapError(
            f"A background of {n} has no scatter to average over: give two events or more."
        )
    if kind == "own noise":
        return Background(kind, np.array([], dtype=int), n, seed)
    train = np.array(checkpoint.card["split"]["train"], dtype=int)
    classes = []
    for label in [0, 1] if kind == "both" else [KINDS.index(kind) - 1]:
        rows = train[spectrograms.labels[train] == label]
        if len(rows) == 0:
            raise ForeshapError(
                f"{checkpoint.path} was trained without any {CLASSES[label]}, but a background of "
                f"'{kind}' needs some: choose another."
            )
        classes.append(rows)
    rng = np.random.default_rng(seed)
    of_each = min(n // len(classes), *map(len, classes))
    rows = np.sort(np.concatenate([rng.choice(rows, of_each, replace=False) for rows in classes]))
    return Background(kind, rows, len(rows), seed)


def own_noise(event, variant, s_p, n, seed):
    """Draw what an event would look like had no earthquake come: frames before P, repeated.

    Frames that end before P stay; the others are random runs of consecutive ones of them, a third
    as long as all of them together, all components and frequencies of a frame at once (moving
    blocks: Künsch, 1989).

    event: float tensor or array (3, F, T), scaled as the network wants it
    variant: Variant
    s_p: float, S-P time of the event [s]
    n: int, draws
    seed: int, or sequence of int

    returns: float32 tensor (n, 3, F, T)
    raises: ForeshapError where fewer than three frames end before P, or S-P is not positive
    """
    window = frame_windows(variant, s_p)
    before = int((window == 0).sum())
    if before < 3:
        raise ForeshapError(
            f"With an S-P time of {s_p:g} s {before} frames of {variant.name} end before P, and "
            "noise needs three: choose another background than 'own noise'."
        )
    missing = len(window) - before
    run = before // 3
    runs = -(-missing // run)
    starts = np.random.default_rng(seed).integers(0, before - run + 1, (n, runs))
    drawn = (starts[..., None] + np.arange(run)).reshape(n, -1)[:, :missing]
    unchanged = np.tile(np.arange(before), (n, 1))
    frames = torch.from_numpy(np.hstack([unchanged, drawn]))
    event = torch.as_tensor(event, dtype=torch.float32)
    return event[..., frames].movedim(2, 0).contiguous()


def background_curve(values_of, sizes, n_reference, draws, seed):
    """Measure how far maps of few background events are from those of the whole background.

    The whole background is a sample too: its own distance from that of all events is not in the
    curve.

    values_of: function of rows, int array of places in the background, to maps (N, 3, F, T)
    sizes: sequence of int, numbers of background events, at most n_reference
    n_reference: int, size of the whole background
    draws: int, random subsets of each size
    seed: int

    returns: DataFrame, a row a size: size, distance (mean over events and draws of the norm of the
        maps' difference over the norm of the map of all), low and high (their 2.5th and 97.5th
        percentile)
    raises: ForeshapError where a size exceeds n_reference
    """
    if max(sizes) > n_reference or min(sizes) < 1:
        raise ForeshapError(
            f"Sizes {list(sizes)} can't be drawn from {n_reference} events: "
            f"give 1 to {n_reference}."
        )
    rng = np.random.default_rng(seed)
    reference = values_of(np.arange(n_reference))
    rows = []
    for size in tqdm(sizes, desc="background", unit="size"):
        distances = []
        for _ in range(draws):
            subset = np.sort(rng.choice(n_reference, size, replace=False))
            distances.append(_norms(values_of(subset) - reference) / _norms(reference))
        low, high = np.percentile(distances, [2.5, 97.5])
        rows.append((size, np.mean(distances), low, high))
    return pd.DataFrame(rows, columns=["size", "distance", "low", "high"])


def _norms(maps):
    """L2 norm of each map, float (N,)."""
    return np.linalg.norm(np.reshape(maps, (len(maps), -1)), axis=1)
