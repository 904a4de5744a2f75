"""After a mainshock the noise is full of aftershocks: it fades with the logarithm of time."""

import numpy as np
from scipy.stats import rankdata

from ...training.scores import interval_95
from ..day_blocks import blocked_auc, resample_blocks
from .finding import finding, in_words, mute

BAND = (3.0, 25.0)  # Hz, of the noise's level
EARLY_LOW = 0.55  # lower end of the ROC AUC of the early third, or of all, against foreshocks
FALLS = 0.05  # of the ROC AUC from the early to the late third
NEVER_FALLS = 0.97  # ROC AUC of the late third, above which nothing can fall
LEAST_EQUAL = 60  # windows of a class at equal noise, below which the signal can't be asked


def noise_level(evidence):
    """Mean log10 of the noise's power before P, float array (N,)."""
    inside = (evidence.frequencies >= BAND[0]) & (evidence.frequencies <= BAND[1])
    return evidence.power[:, 0][..., inside].mean(axis=(1, 2)).astype(float)


def examine_coda_of_sequence(evidence):
    """Ask whether the noise fades as the sequence does; keep: windows with foreshocks' levels."""
    labels, days = evidence.labels, evidence.days
    if not np.isfinite(days).all():
        return mute("coda of the sequence", "the events' times are not known")
    level = noise_level(evidence)
    after = labels == 1
    fading = _rank_correlation(level, np.log(np.abs(days) + 1e-3), evidence, after)
    order = np.quantile(days[after], (1 / 3, 2 / 3))
    aucs = []
    for third in (days < order[0], days >= order[1]):
        chosen = ~after | (after & third)
        aucs.append(blocked_auc(level[chosen], labels[chosen], evidence.blocks[chosen]))
    early, late = aucs
    falls = early[0] - late[0] > FALLS or late[0] > NEVER_FALLS
    whole = blocked_auc(level, labels, evidence.blocks)
    shown = bool(fading[2] < 0 and falls and max(early[1], whole[1]) > EARLY_LOW)
    lowest, highest = np.quantile(level[~after], (0.01, 0.99))
    saw = (
        f"rank correlation {in_words(*fading)}; ROC AUC against foreshocks {early[0]:.2f} in the "
        f"first third, {late[0]:.2f} in the last"
    )
    could_see = "a noise that fades with the sequence; not one below 3 Hz in the first hours"
    state, keep = "excluded", None
    if shown:
        state, keep = "shown", (level >= lowest) & (level <= highest)
    return finding("coda of the sequence", state, saw, could_see, fading, keep=keep)


def _rank_correlation(first, second, evidence, chosen):
    """Spearman's correlation of chosen events and its 95 % interval over blocks of days."""
    a, b = rankdata(first[chosen]), rankdata(second[chosen])
    counts = resample_blocks(evidence.blocks[chosen], evidence.labels[chosen], evidence.seed)
    counts = np.vstack([np.ones(len(a)), counts])
    counts /= counts.sum(axis=1, keepdims=True)
    mean_a, mean_b = counts @ a, counts @ b
    spread = (counts @ a**2 - mean_a**2) * (counts @ b**2 - mean_b**2)
    values = (counts @ (a * b) - mean_a * mean_b) / np.sqrt(spread)
    return float(values[0]), *interval_95(values[1:])
