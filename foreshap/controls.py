"""What could prove an explanation wrong: the simulated sequence's exact effect."""

import numpy as np

from .files import ForeshapError


def effect_differences(spectrograms, truth, rows):
    """What the simulated effects change in each event: its tensor as an aftershock minus as a foreshock.

    spectrograms: Spectrograms of a simulated sequence
    truth: Spectrograms of its folder truth/, of the same variant
    rows: int array, events of spectrograms

    returns: float32 array (len(rows), 3, F, T) [log10 of the ratio of power spectral densities]
    raises: ForeshapError where the variants differ or truth lacks an event
    """
    if truth.variant != spectrograms.variant:
        raise ForeshapError(
            f"{truth.path} holds {truth.variant.name}, {spectrograms.path} {spectrograms.variant.name}: give one variant."
        )
    names = spectrograms.table["trace_name"].to_numpy()[rows]
    place = {name: row for row, name in enumerate(truth.table["trace_name"])}
    if missing := [name for name in names if name not in place]:
        raise ForeshapError(f"{truth.path} lacks {missing[0]}: preprocess the truth of the same sequence.")
    differences = [truth.values[place[name]] - spectrograms.values[row] for name, row in zip(names, rows)]
    sign = np.where(spectrograms.labels[rows] == 0, 1, -1).astype(np.float32)  # truth is the other class
    return np.stack(differences) * sign[:, None, None, None]


def share_before(values, variant):
    """Share of an event's |SHAP| in frames that end before the arrival the variant is aligned on.

    values: array (N, 3, F, T)
    variant: Variant

    returns: float array (N,), 0..1
    """
    ends_before = variant.times + variant.nperseg / variant.sampling_rate / 2 <= 0
    absolute = np.abs(values)
    return absolute[..., ends_before].sum(axis=(1, 2, 3)) / absolute.sum(axis=(1, 2, 3))
