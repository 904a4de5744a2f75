"""What a witness says of one alternative: excluded, shown, survived or open."""

from dataclasses import dataclass

import numpy as np

STATES = ("excluded", "shown", "survived", "open")
UNKNOWN = (np.nan,) * 3  # a number and its interval, where there are none
CROSS_SPECTRA = "cross_spectra.h5 beside the tensors"
RECORD = "the station's record"
ALTERNATIVES = {  # name: group, what is looked at, which data would decide
    "coda of the sequence": ("station", "noise level against log time", "the events' times"),
    "noise": ("station", "noise before P", "windows without events"),
    "chance": ("nothing", "signal above a floor that no noise reaches", "more events"),
    "another date": ("nothing", "jump at the mainshock, placebo dates", "a second station, years"),
    "size": ("catalogue", "own size, of the level from 2 to 6 Hz", "magnitudes, a second station"),
    "completeness": ("catalogue", "sizes alone", "the magnitude of completeness"),
    "second events": ("catalogue", "rises of the power after S", "a denser catalogue"),
    "picks": ("catalogue", "own onsets of P and S", "picks by one procedure"),
    "place": ("catalogue", "hypocentres alone", "relative relocation, a second station"),
    "depth": ("catalogue", "depth alone", "relative relocation, a second station"),
    "hours": ("catalogue", "hour of the day alone", "both classes at equal hours"),
    "clipping": ("station", "raw peaks at one value", "records of a less sensitive channel"),
    "sample step": ("station", "smallest step of raw samples", RECORD),
    "record length": ("station", "windows of coda that are there", RECORD),
    "native rate": ("station", "sharp edges of the spectrum of S", RECORD),
    "instrument": ("station", "what the source states of each trace", RECORD),
    "response": ("station", "noise before P", f"{RECORD}, a pulse, a second station"),
    "orientation": ("station", "E and N added up in power", f"teleseismic waves, {RECORD}"),
    "one station alone": ("station", "the same earthquakes at two stations", "a second station"),
}


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
    keep: bool array (N,), events that later steps use; None: all
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


def finding(alternative, state, saw="", could_see="", interval=UNKNOWN, **others):
    """Finding with what ALTERNATIVES says; others: fields that are not as they stand there."""
    group, witness, decides = ALTERNATIVES[alternative]
    fields = {"witness": witness, "decides": decides}
    fields |= dict(zip(("measured", "low", "high"), map(float, interval))) | others
    if state in ("excluded", "survived"):
        fields["decides"] = ""
    return Finding(alternative, group, state, saw=saw, could_see=could_see, **fields)


def mute(alternative, why, saw="", interval=UNKNOWN, **others):
    """Finding of a witness that can't speak, and what it saw all the same."""
    return finding(alternative, "open", saw, f"mute: {why}", interval, **others)


def in_words(value, low, high, digits=2):
    """Write a number with its interval, or that it is not known, str."""
    if not np.isfinite(value):
        return "not known"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
