"""Does the signal change at the mainshock's date, and at no other date as much?"""

import numpy as np

from ..day_blocks import compare_dates, jump_at_mainshock
from .finding import finding, in_words
from .signal import held_out_distance, signal_features, without_catalogue

SHARE = 0.4  # of the whole difference, that the jump at the mainshock must exceed
SEPARATES = 0.55  # lower end of the ROC AUC of the signal


def examine_change(by_catalogue, by_size):
    """Judge whether Changes, matched on the catalogue and on own sizes too, lie beyond chance."""
    worst = min((by_catalogue, by_size), key=lambda change: np.nan_to_num(change.low))
    excluded = worst.low > SEPARATES
    wide = not worst.high - worst.low < 0.3
    saw = f"ROC AUC matched on catalogue {in_words(*by_catalogue.interval)}; "
    saw += f"matched on own size too {in_words(*by_size.interval)}"
    could_see = "mute: too few events or days" if wide else f"a lower end above {SEPARATES}"
    state = "excluded" if excluded else "open"
    return finding("chance", state, saw, could_see, worst.interval)


def examine_date(evidence, found):
    """Ask whether the signal's Change jumps at the mainshock and stands out among other dates."""
    at_mainshock, saw = dated(evidence, signal_features(evidence), found)
    state = {True: "excluded", False: "shown", None: "open"}[at_mainshock]
    could_see = "a step that is larger than what wanders; a slow change is none"
    return finding("another date", state, saw, could_see)


def dated(evidence, values, found):
    """Whether values jump at the mainshock alone: True, False, None: not known; and words."""
    if not np.isfinite(evidence.days).all():
        return None, "the events' times are not known, so no date can be compared"
    if not np.isfinite(found.scores).all():
        return None, "too few days of a class"
    days, labels = evidence.days, evidence.labels
    jump, low, high, whole = jump_at_mainshock(
        found.scores, days, labels, found.weights, evidence.seed
    )
    share = jump / whole if whole > 0 else 0.0
    corrected = without_catalogue(values, evidence.catalogue, labels)
    placebo = compare_dates(corrected, days, labels, held_out_distance, evidence.seed)
    words = f"jump {in_words(jump, low, high)}, {share:.0%} of the whole difference"
    if low <= 0 or share < SHARE:
        return False, words
    if placebo.reason:
        return None, f"{words}; date not measured: {placebo.reason}"
    words += (
        f"; distance {placebo.mainshock:.2f} at the mainshock, {placebo.threshold:.2f} is the most "
        f"that {len(placebo.dates)} dates inside the classes make likely"
    )
    return bool(placebo.stands_out), words
