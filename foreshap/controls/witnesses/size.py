"""Size: do magnitudes mean the same before and after the mainshock; are the events as large?"""

import numpy as np

from .matching import auc_of, difference_of, in_words, judged, mute, remainder, share_known, without
from .signal import without_catalogue

SHIFT = 0.15  # magnitudes that the scale may be off
WIDEST = 0.2  # half width of the shift's interval [magnitudes] from which nothing is excluded
LEAST_KNOWN = 0.5  # share of each class whose own size must be known
KEEPS = 0.4  # share of the change's distance that must remain at equal own size
KEEPS_UNKNOWN = 0.9  # the same where the catalogue has no magnitudes
CHANCE = (0.48, 0.52)  # ROC AUC of own size, outside which sizes differ
ABOUT = {
    "alternative": "size",
    "group": "catalogue",
    "witness": "own size, of the level from 2 to 6 Hz",
    "decides": "magnitudes of another network, or a second station",
}


def examine_size(evidence):
    """Ask whether events are larger behind the catalogue's back: own size against magnitude.

    Where the catalogue has no magnitudes, nothing can say that sizes match: path and response move
    own sizes, too. They can still show that one class is larger. And a size that survives is not
    named beside a change of the path, which moves it.
    """
    known = np.zeros(len(evidence.labels), bool)
    if evidence.own_size is not None:
        known = np.isfinite(evidence.own_size)
    if share_known(known, evidence) < LEAST_KNOWN:
        about = ABOUT | {"decides": "cross_spectra.h5 beside the tensors"}
        return mute(about, "the level below the corner is not known, or lies below the noise")
    evidence = evidence.only(known)
    own = {"own_size": evidence.own_size}
    if "magnitude" not in evidence.catalogue:
        found = auc_of(evidence.own_size, evidence)
        saw = f"own size tells the classes apart with a ROC AUC of {in_words(*found)}"
        about = ABOUT | {"decides": "magnitudes, or a second station"}
        why = "without magnitudes nothing says that sizes match"
        if CHANCE[0] <= found[0] <= CHANCE[1] or found[1] < 0.5 < found[2]:
            return mute(about, why, saw, found)
        remains = remainder(evidence, evidence.catalogue, evidence.catalogue.assign(**own))
        if remains.low > max(found[0], 1 - found[0]) and remains.survives(KEEPS_UNKNOWN):
            return mute(about, why, f"{saw}; {remains}", found)
        return judged(about, found, saw, "larger events of one class", remains, np.inf)
    found = scale_shift(evidence)
    saw = f"aftershocks' magnitudes mean {in_words(*found)} more"
    could_see = f"a scale that is off by {SHIFT:.2f} magnitudes"
    if not found[2] - found[1] < 2 * WIDEST:
        return mute(ABOUT, "the interval is too wide", saw, found)
    if abs(found[0]) <= SHIFT:
        return judged(ABOUT, found, saw, could_see)
    after = without(evidence.catalogue, "magnitude").assign(**own)
    remains = remainder(evidence, evidence.catalogue, after)
    return judged(ABOUT, found, saw, could_see, remains, KEEPS)


def scale_shift(evidence):
    """Measure how much more magnitudes mean after the mainshock, by own size: value, low, high."""
    labels, own = evidence.labels, evidence.own_size
    magnitude = evidence.catalogue["magnitude"].to_numpy(float)
    inside, centred = magnitude.copy(), own.copy()
    for label in (0, 1):
        inside[labels == label] -= inside[labels == label].mean()
        centred[labels == label] -= centred[labels == label].mean()
    slope = max(inside @ centred / (inside @ inside), 0.3)
    apart = own / slope - magnitude
    covariates = without(evidence.catalogue, "magnitude", "hour, sine", "hour, cosine")
    apart = without_catalogue(apart[:, None], covariates, labels)[:, 0]
    farthest = 4 * apart.std()
    middle = np.median(apart)
    return difference_of(np.clip(apart, middle - farthest, middle + farthest), evidence)
