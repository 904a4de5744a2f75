"""Does the signal change at the mainshock's date, and at no other date as much?"""

import numpy as np

from ..day_blocks import compare_dates, jump_at_mainshock
from .finding import Finding
from .matching import in_words
from .signal import held_out_distance, without_catalogue

SHARE = 0.4  # of the whole difference, that the jump at the mainshock must exceed
SEPARATES = 0.55  # lower end of the ROC AUC of the signal


def examine_change(evidence, by_catalogue, by_size):
    """Judge whether the signal changes beyond chance at equal catalogue and equal own size.

    evidence: Evidence
    by_catalogue, by_size: Change, matched on the catalogue, and on the own size as well

    returns: Finding; excluded: it is no chance
    """
    worst = min((by_catalogue, by_size), key=lambda change: np.nan_to_num(change.low))
    excluded = worst.low > SEPARATES
    wide = not worst.high - worst.low < 0.3
    texts = []
    for what, found in (("catalogue", by_catalogue), ("own size too", by_size)):
        texts.append(f"matched on {what} {in_words(found.auc, found.low, found.high)}")
    return Finding(
        alternative="chance",
        group="nothing",
        state="excluded" if excluded else "open",
        witness="signal above a floor that no noise reaches",
        saw=f"ROC AUC {'; '.join(texts)}",
        could_see="mute: too few events or days" if wide else f"a lower end above {SEPARATES}",
        decides="" if excluded else "more events",
        measured=worst.auc,
        low=worst.low,
        high=worst.high,
    )


def examine_date(evidence, covariates, values, found):
    """Ask whether the signal jumps at the mainshock and stands out among other dates.

    evidence: Evidence
    covariates: DataFrame (N rows), that the signal is corrected for
    values: array (N, columns), of signal_features()
    found: Change, of the signal at equal covariates

    returns: Finding
    """
    date, words = dated(evidence, covariates, values, found)
    states = {"yes": "excluded", "no": "shown", "unknown": "open"}
    return Finding(
        alternative="another date",
        group="nothing",
        state=states[date],
        witness="jump at the mainshock, and dates inside the classes",
        saw=words,
        could_see="a step that is larger than what wanders; a slow change is none",
        decides="" if date == "yes" else "a second station, years of placebo dates",
    )


def dated(evidence, covariates, values, found):
    """Compare the mainshock's date with others: "yes", "no" or "unknown", and in words.

    evidence, covariates, values, found: as in examine_date()
    """
    if not np.isfinite(evidence.days).all():
        return "unknown", "the events' times are not known, so no date can be compared"
    if not np.isfinite(found.scores).all():
        return "unknown", "too few days of a class"
    jump, low, high, whole = jump_at_mainshock(
        found.scores, evidence.days, evidence.labels, found.weights, evidence.seed
    )
    share = jump / whole if whole > 0 else 0.0
    corrected = without_catalogue(values, covariates, evidence.labels)
    placebo = compare_dates(
        corrected, evidence.days, evidence.labels, held_out_distance, evidence.seed
    )
    words = f"jump {jump:.2f} ({low:.2f} to {high:.2f}), {share:.0%} of the whole difference"
    if low <= 0 or share < SHARE:
        return "no", words
    if placebo.reason:
        return "unknown", f"{words}; date not measured: {placebo.reason}"
    words += (
        f"; distance {placebo.mainshock:.2f} at the mainshock, {placebo.threshold:.2f} is the most "
        f"that {len(placebo.dates)} dates inside the classes make likely"
    )
    return ("yes" if placebo.stands_out else "no"), words
