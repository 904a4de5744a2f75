"""Which events a map is compared with: what a network's output would be "without" a pixel."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.linalg import norm
from tqdm import tqdm

from ..files import ForeshapError, whole_number


@dataclass(frozen=True)
class Background:
    """Training events that others are compared with."""

    rows: np.ndarray  # int, sorted rows of the tensor file


def choose_background(checkpoint, spectrograms, n=200, seed=0):
    """Draw the training events that others are compared with, as many of either class.

    checkpoint, spectrograms: Checkpoint and the Spectrograms that it was trained on
    n, seed: int, events (fewer are drawn where a class has less than half), and of the draw

    returns: Background
    raises: ForeshapError for fewer than two events, or a class that nobody trained on
    """
    checkpoint.check(spectrograms)
    whole_number("seed", seed)
    whole_number("n", n, 2)
    train = np.array(checkpoint.card["split"]["train"], dtype=int)
    classes = [train[spectrograms.labels[train] == label] for label in (0, 1)]
    of_each = min(n // 2, *map(len, classes))
    if of_each == 0:
        raise ForeshapError(
            f"{checkpoint.path} was trained on one class only: a background needs both."
        )
    rng = np.random.default_rng(seed)
    rows = np.sort(np.concatenate([rng.choice(rows, of_each, replace=False) for rows in classes]))
    return Background(rows)


def background_curve(values_of, sizes, n_reference, draws, seed):
    """Measure how far maps of few background events are from those of the whole background.

    The whole background is a sample too: its own distance from that of all events is not in it.

    values_of: function of rows, int array of places in the background, to maps (N, 3, F, T)
    sizes: sequence of int, numbers of background events, at most n_reference
    n_reference, draws, seed: int, size of the whole background; random subsets of each size

    returns: DataFrame, a row a size: size, distance (mean over events and draws of the norm of the
        maps' difference over the norm of the map of all), low and high (their 2.5th and 97.5th
        percentile)
    raises: ForeshapError where a size exceeds n_reference
    """
    if max(sizes) > n_reference or min(sizes) < 1:
        raise ForeshapError(f"Sizes {list(sizes)} can't be drawn from {n_reference} events.")
    rng = np.random.default_rng(seed)
    reference = np.asarray(values_of(np.arange(n_reference)))
    reference = reference.reshape(len(reference), -1)
    rows = []
    for size in tqdm(sizes, desc="background", unit="size"):
        distances = []
        for _ in range(draws):
            subset = np.sort(rng.choice(n_reference, size, replace=False))
            apart = np.reshape(values_of(subset), reference.shape) - reference
            distances.append(norm(apart, axis=1) / norm(reference, axis=1))
        low, high = np.percentile(distances, [2.5, 97.5])
        rows.append((size, np.mean(distances), low, high))
    return pd.DataFrame(rows, columns=["size", "distance", "low", "high"])
