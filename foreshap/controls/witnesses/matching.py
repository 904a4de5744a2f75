"""What the witnesses share: how much of the change remains at equal values, and what follows."""

from dataclasses import dataclass, replace

import numpy as np

from ..day_blocks import blocked_auc, blocked_mean
from .finding import UNKNOWN, finding, in_words, mute
from .signal import change, held_out

REMAINS = 0.55  # ROC AUC that the lower end of the matched change must exceed
NO_CHANGE = 0.1  # distance of the classes, below which there is nothing to keep
SHOWN = 0.55  # ROC AUC of an alternative alone that the lower end must exceed to be named
TOO_WIDE = 0.12  # half width of a ROC AUC's interval from which nothing is excluded
WIDE = "too few events or days for an interval"


@dataclass(frozen=True)
class Remainder:
    """The change of the signal after a further matching, or why the classes can't be matched."""

    share: float = np.nan  # distance of the classes after over before
    interval: tuple = UNKNOWN  # ROC AUC after it
    reason: str = ""

    def survives(self, least):
        """Whether a change remains and keeps at least this share of its distance, bool."""
        return bool(self.interval[1] > REMAINS and self.share >= least)

    def __str__(self):
        if self.reason:
            return f"what remains at equal values is not known: {self.reason}"
        return (
            f"matched on it, the signal keeps {self.share:.0%} of its distance "
            f"(ROC AUC {in_words(*self.interval)})"
        )


def remainder(evidence, before, after, fewer=None):
    """Measure how much of the change remains when the classes match on other covariates.

    before, after: DataFrames, what they match on; after: of fewer events where they are given
    """
    first = change(evidence, before)
    second = change(evidence if fewer is None else fewer, after)
    if first.reason or second.reason:
        return Remainder(reason=first.reason or second.reason)
    if first.distance < NO_CHANGE:
        return Remainder(reason="the signal does not change before, either")
    return Remainder(second.distance / first.distance, second.interval)


def judged(
    alternative, interval, saw, could_see, remains=None, keeps=0, state="shown", bar=9e9, **others
):
    """Finding of a witness that could speak.

    remains: Remainder, of what is shown; None: nothing is shown, the alternative is excluded
    keeps: float, share of the change's distance that makes it survive
    state: str, where it does not survive
    bar: float, in the interval's own unit, beyond which as a whole it is named
    """
    if remains is None:
        return finding(alternative, "excluded", saw, could_see, interval, **others)
    state = "survived" if remains.survives(keeps) else state
    others["named"] = bool(interval[1] > bar or interval[2] < -bar)
    return finding(alternative, state, f"{saw}; {remains}", could_see, interval, **others)


def judge_auc(alternative, found, evidence, before, after, bar=SHOWN, keeps=0.5):
    """Finding by the ROC AUC of something alone: from bar on it acquits nobody, SHOWN names it."""
    saw = f"ROC AUC {in_words(*found)}"
    state = "shown" if found[1] > SHOWN else "open"
    if too_wide(found):
        return replace(mute(alternative, WIDE, saw, found), state=state)
    remains = remainder(evidence, before, after) if found[1] > bar else None
    could_see = f"a ROC AUC above {bar:.2f}"
    return judged(alternative, found, saw, could_see, remains, keeps, state, SHOWN)


def auc_of(scores, evidence):
    """ROC AUC of scores (N,) of events, with its interval over blocks of days."""
    return blocked_auc(scores, evidence.labels, evidence.blocks, seed=evidence.seed)


def auc_of_columns(columns, evidence):
    """ROC AUC of columns (N, k) on held-out days, with its interval."""
    return auc_of(held_out(columns, evidence.labels, evidence.blocks, seed=evidence.seed), evidence)


def difference_of(values, evidence):
    """Difference of the classes' means of values (N,), with its interval over blocks of days."""
    return blocked_mean(values, evidence.labels, evidence.blocks, seed=evidence.seed)


def too_wide(interval):
    """Whether a ROC AUC (value, low, high) is unknown or too uncertain to exclude anything."""
    return not interval[2] - interval[1] <= 2 * TOO_WIDE


def measured(evidence, *names, least=0.5):
    """Measurements (k, N) and which events have all; None where too few of a class have."""
    if evidence.measurements is None:
        return None
    values = evidence.measurements[list(names)].to_numpy(float).T
    known = np.isfinite(values).all(axis=0)
    return (values, known) if share_known(known, evidence) >= least else None


def share_known(known, evidence):
    """Share of events whose value is known (bool (N,)), of the class that has fewer, float."""
    return min(known[evidence.labels == label].mean() for label in (0, 1))


def without(covariates, *names):
    """Drop columns that may be missing, DataFrame."""
    return covariates.drop(columns=list(names), errors="ignore")
