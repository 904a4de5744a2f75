"""How much of the signal's change remains once the classes match on something else too."""

from dataclasses import dataclass

import numpy as np

from ...files import ForeshapError
from .signal import change, signal_features

REMAINS = 0.55  # ROC AUC that the lower end of the matched change must exceed


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
            return f"the classes can't be matched on it ({self.reason})"
        return (
            f"matched on it, the signal keeps {self.share:.0%} of its distance "
            f"(ROC AUC {self.auc:.2f}, {self.low:.2f} to {self.high:.2f})"
        )


def remainder(evidence, before, after, values=None, fewer=None):
    """Measure how much of the change remains when the classes match on other covariates.

    evidence: Evidence
    before, after: DataFrame (N rows), what they match on
    values: array (N, columns), the signal before; signal_features() when left out
    fewer: Evidence of fewer events, whose signal and covariates (after) count in the end

    returns: Remainder
    """
    kept = signal_features(evidence if fewer is None else fewer)
    if values is None:
        values = kept if fewer is None else signal_features(evidence)
    try:
        first = change(evidence, before, values=values)
        second = change(evidence if fewer is None else fewer, after, values=kept)
    except ForeshapError as error:
        return Remainder(np.nan, reason=str(error))
    share = second.distance / first.distance if first.distance > 0 else 0.0
    return Remainder(share, second.auc, second.low, second.high)


def in_words(value, low, high, unit=""):
    """Write a number with its interval, str."""
    unit = f" {unit}" if unit else ""
    return f"{value:.2f}{unit} ({low:.2f} to {high:.2f})"


def without(covariates, *names):
    """Drop columns that may be missing, DataFrame."""
    return covariates.drop(columns=list(names), errors="ignore")
