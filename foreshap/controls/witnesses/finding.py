"""What a witness says of one alternative: excluded, shown, survived or open."""

from dataclasses import dataclass

import numpy as np

STATES = ("excluded", "shown", "survived", "open")


@dataclass(frozen=True)
class Finding:
    """What a witness says of one alternative to a change of path or source.

    alternative: str, such as "size" or "response"
    group: str, "station", "catalogue" or "nothing" (such as a date): the verdict where it is shown
    state: str, one of STATES; "survived": shown, but the change of the signal remains without it;
        only a witness that could have spoken says "excluded": a mute one says "open"
    witness: str, what was looked at
    saw: str, what it saw, with its number
    could_see: str, what it could have detected, or why it was mute
    decides: str, which data would decide where it is open
    measured, low, high: float, the number and its 95 % interval; NaN where there is none
    keep: bool array (N,), events that later steps use, or their weights; None: all
    named: bool, it differs beyond doubt, so a change that survives it is named beside it
    """

    alternative: str
    group: str
    state: str
    witness: str
    saw: str = ""
    could_see: str = ""
    decides: str = ""
    measured: float = np.nan
    low: float = np.nan
    high: float = np.nan
    keep: np.ndarray | None = None
    named: bool = False

    @property
    def acquits(self):
        """Whether the alternative can't be the cause, bool."""
        return self.state in ("excluded", "survived")
