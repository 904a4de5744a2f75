"""Place: do the classes lie in other places or at other depths; do they migrate?"""

from dataclasses import replace
from functools import partial

import numpy as np
from scipy.stats import median_abs_deviation
from sklearn.ensemble import RandomForestClassifier

from .finding import in_words, mute
from .matching import SHOWN, WIDE, auc_of, judge_auc, judged, remainder, too_wide, without

DIFFERS = 0.51  # lower end of the ROC AUC of hypocentres alone, from which they acquit nobody
DEPTH_DIFFERS = 0.52  # the same of depth alone
RESOLVED = 0.5  # location error over the spread of hypocentres, above which the witness is mute
KEEPS = 0.9  # share of the change's distance that must remain at equal places
STAYS = 0.5  # share of the ROC AUC above chance that must stay when hypocentres are blurred
MINOR = 0.6  # ROC AUC of place that can't make a larger one of the signal
BLUR = 2.0  # errors that are added: with their own, three
TREES, LEAVES = 200, 15
PLACE = ("east", "north", "depth")
robust_deviation = partial(median_abs_deviation, scale=1 / 1.4826)


def examine_place(evidence):
    """Ask whether hypocentres alone tell the classes apart, and whether they are good enough."""
    error = location_error(evidence)
    if not np.isfinite(error):
        return mute("place", "hypocentres or S-P times are not known")
    places = evidence.catalogue[list(PLACE)].to_numpy(float)
    spread = np.sqrt(np.mean(robust_deviation(places) ** 2))
    size = f"errors of {error:.1f} km in a spread of {spread:.1f} km"
    odds = place_odds(places, evidence)
    found = auc_of(odds, evidence)
    saw = f"hypocentres tell the classes apart with a ROC AUC of {in_words(*found)}"
    could_see = f"places further apart than {3 * error:.1f} km ({size})"
    state = "shown" if found[1] > SHOWN else "open"
    poor = error > RESOLVED * spread
    if too_wide(found) or poor:
        why = WIDE if too_wide(found) else size
        return replace(mute("place", why, saw, found), state=state)
    if found[1] <= DIFFERS:
        return judged("place", found, saw, could_see)
    before = without(evidence.catalogue, *PLACE, "distance", "azimuth, sine", "azimuth, cosine")
    remains = remainder(evidence, before, evidence.catalogue.assign(place=odds))
    rng = np.random.default_rng(evidence.seed)
    blurred = places + BLUR * error * rng.standard_normal(places.shape)
    still = auc_of(place_odds(blurred, evidence), evidence)[0]
    apart = (still - 0.5) / (found[0] - 0.5)
    saw += f", of which {apart:.0%} stays when they are blurred to three errors"
    minor = found[2] < MINOR < remains.interval[1]
    keeps = KEEPS if minor or apart >= STAYS else np.inf
    return judged("place", found, saw, could_see, remains, keeps, state, SHOWN)


def examine_depth(evidence):
    """Ask whether depth alone tells the classes apart."""
    if "depth" not in evidence.catalogue:
        return mute("depth", "depths are not known")
    found = auc_of(evidence.catalogue["depth"].to_numpy(float), evidence)
    if found[0] < 0.5:
        found = 1 - found[0], 1 - found[2], 1 - found[1]
    before = without(evidence.catalogue, "depth")
    return judge_auc("depth", found, evidence, before, evidence.catalogue, DEPTH_DIFFERS, KEEPS)


def location_error(evidence):
    """Error of hypocentres along the ray [km], by the robust scatter of S-P against distance."""
    if not {*PLACE, "S-P"} <= set(evidence.catalogue):
        return np.nan
    distance = np.linalg.norm(evidence.catalogue[list(PLACE)].to_numpy(float), axis=1)
    s_p = 10 ** evidence.catalogue["S-P"].to_numpy(float)
    return robust_deviation(distance - np.median(distance / s_p) * s_p)


def place_odds(places, evidence):
    """Log-odds of aftershock by hypocentre (N, 3), of a forest's trees that never saw it, (N,)."""
    forest = RandomForestClassifier(
        TREES,
        min_samples_leaf=LEAVES,
        class_weight="balanced",
        oob_score=True,
        random_state=evidence.seed,
    )
    forest.fit(places, evidence.labels)
    chance = np.clip(forest.oob_decision_function_[:, 1], 0.01, 0.99)
    return np.log(chance / (1 - chance))
