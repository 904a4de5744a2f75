"""Place: do the classes lie in other places, at other depths, or migrate?"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from ..day_blocks import blocked_auc
from .finding import Finding
from .matching import in_words, remainder, without

DIFFERS = 0.51  # lower end of the ROC AUC of hypocentres alone, from which they acquit nobody
SHOWN = 0.55  # the same, from which they are named
TOO_WIDE = 0.12  # half width of the interval from which nothing is excluded
RESOLVED = 0.5  # location error over the spread of hypocentres, above which the witness is mute
KEEPS = 0.9  # share of the change's distance that must remain at equal places
STAYS = 0.5  # share of the ROC AUC above chance that must stay when hypocentres are blurred
MINOR = 0.6  # ROC AUC of place that can't make a larger one of the signal
BLUR = 2.0  # errors that are added: with their own, three
TREES, LEAVES = 200, 15
PLACE = ("east", "north", "depth")
DECIDES = "relative relocation, repeating events, or a second station"


def examine_place(evidence):
    """Ask whether hypocentres alone tell the classes apart, and whether they are good enough.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "place", "group": "catalogue", "witness": "hypocentres alone"}
    places = hypocentres(evidence)
    error = location_error(evidence)
    if places is None or not np.isfinite(error):
        could_see = "mute: hypocentres or S-P times are not known"
        return Finding(state="open", could_see=could_see, decides=DECIDES, **about)
    spread = float(np.sqrt(np.mean([_deviation(axis) ** 2 for axis in places.T])))
    size = f"errors of {error:.1f} km in a spread of {spread:.1f} km"
    chance = place_scores(places, evidence)
    value, low, high = blocked_auc(chance, evidence.labels, evidence.blocks, seed=evidence.seed)
    about |= {"measured": value, "low": low, "high": high}
    saw = f"hypocentres tell the classes apart with a ROC AUC of {in_words(value, low, high)}"
    could_see = f"places further apart than {3 * error:.1f} km ({size})"
    state = "excluded"
    if not np.isfinite(value) or high - low > 2 * TOO_WIDE:
        state, could_see = "open", "mute: too few events or days for an interval"
    elif error > RESOLVED * spread:
        state, could_see = "shown" if low > SHOWN else "open", f"mute: {size}"
    elif low > DIFFERS:
        remains = remainder(evidence, *_with_place(evidence, chance))
        apart = stays_apart(places, error, value, evidence)
        minor = high < MINOR < remains.low
        state = "shown" if low > SHOWN else "open"
        if remains.survives(KEEPS) and (minor or apart >= STAYS):
            state = "survived"
        saw += f"; {remains}; {apart:.0%} of it stays when they are blurred to three errors"
    decides = "" if state == "excluded" else DECIDES
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def hypocentres(evidence):
    """East, north and depth of each event [km], float array (N, 3); None where unknown."""
    if not set(PLACE) <= set(evidence.catalogue):
        return None
    return evidence.catalogue[list(PLACE)].to_numpy(float)


def location_error(evidence):
    """Error of hypocentres along the ray [km], by the robust scatter of S-P against distance."""
    places = hypocentres(evidence)
    if places is None or "S-P" not in evidence.catalogue:
        return np.nan
    distance = np.linalg.norm(places, axis=1)
    s_p = 10 ** evidence.catalogue["S-P"].to_numpy(float)
    known = (distance > 0) & np.isfinite(s_p)
    km_a_second = np.median(distance[known] / s_p[known])
    return _deviation(distance[known] - km_a_second * s_p[known])


def place_scores(places, evidence):
    """Log-odds of aftershock by where an event lies, of a forest's trees that never saw it."""
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=LEAVES,
        class_weight="balanced",
        oob_score=True,
        random_state=evidence.seed,
        n_jobs=1,
    )
    forest.fit(places, evidence.labels)
    chance = np.clip(forest.oob_decision_function_[:, 1], 0.01, 0.99)
    return np.log(chance / (1 - chance))


def stays_apart(places, error, value, evidence):
    """Share of a ROC AUC above chance that stays when hypocentres are blurred, float."""
    rng = np.random.default_rng(evidence.seed)
    blurred = places + BLUR * error * rng.standard_normal(places.shape)
    scores = place_scores(blurred, evidence)
    found = blocked_auc(scores, evidence.labels, evidence.blocks, seed=evidence.seed)[0]
    return (found - 0.5) / (value - 0.5)


def _with_place(evidence, chance):
    """What the classes match on without and with place, two DataFrames."""
    names = (*PLACE, "distance", "azimuth, sine", "azimuth, cosine")
    before = without(evidence.catalogue, *names)
    return before, evidence.catalogue.assign(place=chance)


def _deviation(values):
    """Deviation from the median, robust, float."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def examine_depth(evidence):
    """Ask whether depth alone tells the classes apart.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "depth", "group": "catalogue", "witness": "depth alone"}
    if "depth" not in evidence.catalogue:
        could_see = "mute: depths are not known"
        return Finding(state="open", could_see=could_see, decides=DECIDES, **about)
    depth = evidence.catalogue["depth"].to_numpy(float)
    value, low, high = blocked_auc(depth, evidence.labels, evidence.blocks, seed=evidence.seed)
    saw = f"depths tell the classes apart with a ROC AUC of {in_words(value, low, high)}"
    could_see = "a ROC AUC of depth that differs from 0.5 by 0.02"
    about |= {"measured": value, "low": low, "high": high}
    if not np.isfinite(value) or high - low > 2 * TOO_WIDE:
        could_see = "mute: too few events or days for an interval"
        return Finding(state="open", saw=saw, could_see=could_see, decides=DECIDES, **about)
    least = max(low, 1 - high)
    if least <= 0.52:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    remains = remainder(evidence, without(evidence.catalogue, "depth"), evidence.catalogue)
    state = "shown" if least > SHOWN else "open"
    if remains.survives(KEEPS):
        state = "survived"
    saw = f"{saw}; {remains}"
    return Finding(state=state, saw=saw, could_see=could_see, decides=DECIDES, **about)
