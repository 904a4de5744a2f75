"""What the catalogue's witnesses share: how much of the change remains at equal values."""

from dataclasses import dataclass, replace

import numpy as np

from ...files import ForeshapError
from ..day_blocks import blocked_auc, blocked_mean
from ..evidence import LEAST
from .finding import Finding
from .signal import change, held_out, signal_features

REMAINS = 0.55  # ROC AUC that the lower end of the matched change must exceed
NO_CHANGE = 0.1  # distance of the classes, below which there is nothing to keep
SHOWN = 0.55  # ROC AUC of an alternative alone that the lower end must exceed to be named
TOO_WIDE = 0.12  # half width of a ROC AUC's interval from which nothing is excluded
WIDE = "too few events or days for an interval"


@dataclass(frozen=True)
class Remainder:
    """The change of the signal before and after a further matching.

    share: float, distance of the classes after over before; NaN where they can't be matched
    auc, low, high: float, ROC AUC after it, with its 95 % interval
    reason: str, why the classes can't be matched; "" otherwise
    """

    share: float
    auc: float = np.nan
    low: float = np.nan
    high: float = np.nan
    reason: str = ""

    def survives(self, least):
        """Whether a change remains and keeps at least this share of its distance, bool."""
        return bool(self.low > REMAINS and self.share >= least)

    def __str__(self):
        if self.reason:
            return f"what remains at equal values is not known: {self.reason}"
        return (
            f"matched on it, the signal keeps {self.share:.0%} of its distance "
            f"(ROC AUC {in_words(self.auc, self.low, self.high)})"
        )


def remainder(evidence, before, after, fewer=None):
    """Measure how much of the change remains when the classes match on other covariates.

    evidence: Evidence
    before, after: DataFrame (N rows), what they match on
    fewer: Evidence of fewer events, whose signal and covariates (after) count in the end

    returns: Remainder
    """
    fewer = evidence if fewer is None else fewer
    counts = np.bincount(fewer.labels, minlength=2)
    if counts.min() < LEAST:
        return Remainder(np.nan, reason=f"fewer than {LEAST} events of a class remain")
    values = signal_features(evidence)
    kept = values if fewer is evidence else signal_features(fewer)
    try:
        first = change(evidence, before, values=values)
        second = change(fewer, after, values=kept)
    except ForeshapError as error:
        return Remainder(np.nan, reason=str(error))
    if first.distance < NO_CHANGE:
        return Remainder(np.nan, reason="the signal does not change before, either")
    return Remainder(second.distance / first.distance, second.auc, second.low, second.high)


def mute(about, why, saw="", interval=(np.nan,) * 3):
    """Finding of a witness that can't speak.

    about: dict, fields of Finding: alternative, group, witness, decides
    why: str
    saw: str, and interval (value, low, high): what it saw all the same
    """
    numbers = dict(zip(("measured", "low", "high"), interval))
    return Finding(**about, state="open", saw=saw, could_see=f"mute: {why}", **numbers)


def judged(about, interval, saw, could_see, remains=None, keeps=0.0, state="shown", bar=np.inf):
    """Finding of a witness that could speak.

    about: dict, fields of Finding: alternative, group, witness, decides, keep
    interval: value, low, high
    saw, could_see: str
    remains: Remainder, of what is shown; None: nothing is shown, the alternative is excluded
    keeps: float, share of the change's distance that makes it survive
    state: str, where it does not survive
    bar: float, in the interval's own unit, beyond which as a whole it is named
    """
    if remains is None:
        state, about = "excluded", about | {"decides": ""}
    else:
        saw = f"{saw}; {remains}"
        state = "survived" if remains.survives(keeps) else state
    numbers = dict(zip(("measured", "low", "high"), interval))
    numbers["named"] = bool(remains is not None and (interval[1] > bar or interval[2] < -bar))
    return Finding(**about, state=state, saw=saw, could_see=could_see, **numbers)


def judge_auc(about, found, what, evidence, before, after, bar=SHOWN, keeps=0.5):
    """Finding of a witness by how well something alone tells the classes apart.

    Too wide an interval acquits nobody; where it lies above SHOWN as a whole, it still shows.

    about: dict, fields of Finding
    found: ROC AUC, low, high of it alone
    what: str, it, in the plural
    evidence: Evidence
    before, after: DataFrame (N rows), what the classes match on without and with it
    bar: float, ROC AUC above which it acquits nobody; from SHOWN on it is named
    keeps: float, share of the change's distance that must remain
    """
    saw = f"{what} tell the classes apart with a ROC AUC of {in_words(*found)}"
    if too_wide(found):
        unsure = mute(about, WIDE, saw, found)
        return replace(unsure, state="shown") if found[1] > SHOWN else unsure
    remains = remainder(evidence, before, after) if found[1] > bar else None
    state = "shown" if found[1] > SHOWN else "open"
    return judged(about, found, saw, f"a ROC AUC above {bar:.2f}", remains, keeps, state, SHOWN)


def auc_of(scores, evidence):
    """ROC AUC of scores (N,) of events, with its interval over blocks of days."""
    return blocked_auc(scores, evidence.labels, evidence.blocks, seed=evidence.seed)


def auc_of_columns(columns, evidence):
    """ROC AUC of columns (N, k) on held-out days, with its interval."""
    scores = held_out(columns, evidence.labels, evidence.blocks, seed=evidence.seed)
    return auc_of(scores, evidence)


def difference_of(values, evidence):
    """Difference of the classes' means of values (N,), with its interval over blocks of days."""
    return blocked_mean(values, evidence.labels, evidence.blocks, seed=evidence.seed)


def too_wide(interval):
    """Whether a ROC AUC (value, low, high) is unknown or too uncertain to exclude anything."""
    value, low, high = interval
    return not np.isfinite(value) or high - low > 2 * TOO_WIDE


def share_known(known, evidence):
    """Share of events whose value is known (bool (N,)), of the class that has fewer, float."""
    return min(known[evidence.labels == label].mean() for label in (0, 1))


def in_words(value, low, high):
    """Write a number with its interval, or that it is not known, str."""
    if not np.isfinite(value):
        return "not known"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def without(covariates, *names):
    """Drop columns that may be missing, DataFrame."""
    return covariates.drop(columns=list(names), errors="ignore")
