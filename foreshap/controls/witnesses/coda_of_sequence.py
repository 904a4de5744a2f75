"""After a mainshock the noise is full of aftershocks: it fades with the logarithm of time."""

from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from ...training.scores import interval_95
from ..day_blocks import blocked_auc, resample_blocks
from .finding import Finding

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
    """Find whether the noise after the mainshock fades as the sequence does.

    evidence: Evidence

    returns: Finding; where it is shown, keep holds the windows within the foreshocks' noise levels
    """
    found = {
        "alternative": "coda of the sequence",
        "group": "station",
        "witness": "noise level against the logarithm of time",
    }
    labels, days = evidence.labels, evidence.days
    if not np.isfinite(days).all():
        return Finding(
            **found,
            state="open",
            could_see="the events' times are not known",
            decides="the events' times",
        )
    level = noise_level(evidence)
    after = labels == 1
    correlation, low, high = _rank_correlation(level, np.log(np.abs(days) + 1e-3), evidence, after)
    order = np.quantile(days[after], (1 / 3, 2 / 3))
    aucs = []
    for third in (days < order[0], days >= order[1]):
        chosen = ~after | (after & third)
        aucs.append(blocked_auc(level[chosen], labels[chosen], evidence.blocks[chosen]))
    early, late = aucs
    falls = early[0] - late[0] > FALLS or late[0] > NEVER_FALLS
    whole = blocked_auc(level, labels, evidence.blocks)
    shown = bool(high < 0 and falls and max(early[1], whole[1]) > EARLY_LOW)
    lowest, highest = np.quantile(level[~after], (0.01, 0.99))
    keep = (level >= lowest) & (level <= highest)
    saw = (
        f"rank correlation {correlation:.2f} ({low:.2f} to {high:.2f}); ROC AUC against "
        f"foreshocks {early[0]:.2f} in the first third, {late[0]:.2f} in the last"
    )
    return Finding(
        **found,
        state="shown" if shown else "excluded",
        saw=saw,
        could_see="a noise that fades with the sequence; not one below 3 Hz in the first hours",
        measured=correlation,
        low=low,
        high=high,
        keep=keep if shown else None,
    )


def at_equal_noise(evidence, keep):
    """Take the windows of equal noise levels; the level enters what the classes are matched on."""
    level = noise_level(evidence)
    matched = replace(evidence, catalogue=evidence.catalogue.assign(noise=level))
    return matched.only(keep)


def enough_equal(evidence, keep):
    """Whether enough windows of each class have equal noise, bool."""
    return bool(np.bincount(evidence.labels[keep], minlength=2).min() >= LEAST_EQUAL)


def _rank_correlation(first, second, evidence, chosen):
    """Spearman's correlation and its 95 % interval over blocks of days."""
    rows = np.flatnonzero(chosen)
    ranks = rankdata(first[rows]), rankdata(second[rows])
    counts = resample_blocks(evidence.blocks[rows], evidence.labels[rows], evidence.seed)
    counts = np.vstack([np.ones(len(rows)), counts])
    total = counts.sum(axis=1)
    a, b = ((counts @ rank) / total for rank in ranks)
    covariance = counts @ (ranks[0] * ranks[1]) / total - a * b
    spread = np.sqrt(
        (counts @ ranks[0] ** 2 / total - a**2) * (counts @ ranks[1] ** 2 / total - b**2)
    )
    values = covariance / spread
    return float(values[0]), *interval_95(values[1:])
