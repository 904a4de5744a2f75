"""Size: do magnitudes mean the same before and after the mainshock; are the events as large?"""

import numpy as np

from ..day_blocks import blocked_auc, blocked_mean
from .finding import Finding
from .matching import in_words, remainder, without
from .signal import without_catalogue

SHIFT = 0.15  # magnitudes that the scale may be off
TOO_WIDE = 0.2  # half width of an interval [magnitudes] from which nothing is excluded
LEAST_KNOWN = 0.5  # share of each class whose own size must be known
KEEPS = 0.4  # share of the change's distance that must remain at equal own size
KEEPS_UNKNOWN = 0.9  # the same where the catalogue has no magnitudes
CHANCE = (0.48, 0.52)  # ROC AUC of own size, outside which sizes differ
DECIDES = "magnitudes of another network, or a second station"


def examine_size(evidence):
    """Ask whether the size of events differs behind the catalogue's back.

    The own size (amplitude below the corner times S-P) is compared with the catalogue's magnitude;
    where there is none, between the classes.

    evidence: Evidence of clean events

    returns: Finding
    """
    known = np.zeros(len(evidence.labels), bool)
    if evidence.own_size is not None:
        known = np.isfinite(evidence.own_size)
    shares = [known[evidence.labels == label].mean() for label in (0, 1)]
    if min(shares) < LEAST_KNOWN:
        return Finding(
            "size", "catalogue", "open", "own size",
            could_see="mute: the level below the corner is not known (no cross-spectra, or S below "
            "the noise)",
            decides="cross_spectra.h5 beside the tensors, or magnitudes of another network",
        )  # fmt: skip
    evidence = evidence.only(known)
    if "magnitude" in evidence.catalogue:
        return _compare_scales(evidence)
    return _compare_sizes(evidence)


def scale_shift(evidence):
    """Shift of own size against magnitude between the classes [magnitudes]: value, low, high."""
    magnitude = evidence.catalogue[["magnitude"]]
    labels, own = evidence.labels, evidence.own_size
    inside = magnitude["magnitude"].to_numpy(float).copy()
    centred = own.copy()
    for label in (0, 1):
        inside[labels == label] -= inside[labels == label].mean()
        centred[labels == label] -= centred[labels == label].mean()
    slope = max(inside @ centred / (inside @ inside), 0.3)
    apart = (own - slope * magnitude["magnitude"].to_numpy()) / slope
    covariates = without(evidence.catalogue, "magnitude", "hour, sine", "hour, cosine")
    apart = without_catalogue(apart[:, None], covariates, labels)[:, 0]
    apart = np.clip(apart, *(np.median(apart) + np.array([-4, 4]) * apart.std()))
    return blocked_mean(apart, labels, evidence.blocks, seed=evidence.seed)


def _compare_scales(evidence):
    """Finding where the catalogue has magnitudes."""
    value, low, high = scale_shift(evidence)
    about = {"alternative": "size", "group": "catalogue", "witness": "own size less magnitude"}
    about |= {"measured": value, "low": low, "high": high, "decides": DECIDES}
    saw = f"aftershocks' magnitudes mean {in_words(value, low, high)} more"
    could_see = f"a scale that is off by {SHIFT:.2f} magnitudes"
    if high - low > 2 * TOO_WIDE or not np.isfinite(value):
        could_see = "mute: the interval is too wide"
        return Finding(state="open", saw=saw, could_see=could_see, **about)
    if abs(value) <= SHIFT:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about | {"decides": ""})
    after = without(evidence.catalogue, "magnitude").assign(own_size=evidence.own_size)
    remains = remainder(evidence, evidence.catalogue, after)
    state = "survived" if remains.survives(KEEPS) else "shown"
    return Finding(state=state, saw=f"{saw}; {remains}", could_see=could_see, **about)


def _compare_sizes(evidence):
    """Finding where the catalogue has no magnitudes."""
    own = evidence.own_size
    value, low, high = blocked_auc(own, evidence.labels, evidence.blocks, seed=evidence.seed)
    about = {"alternative": "size", "group": "catalogue", "witness": "own size; no magnitudes"}
    about |= {"measured": value, "low": low, "high": high, "decides": DECIDES}
    saw = f"own size tells the classes apart with a ROC AUC of {in_words(value, low, high)}"
    could_see = "larger events of one class, by their level from 2 to 6 Hz"
    if CHANCE[0] <= value <= CHANCE[1]:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about | {"decides": ""})
    after = evidence.catalogue.assign(own_size=own)
    remains = remainder(evidence, evidence.catalogue, after)
    state = "survived" if remains.survives(KEEPS_UNKNOWN) else "shown"
    if state == "shown" and low < 0.5 < high:
        state = "open"
    return Finding(state=state, saw=f"{saw}; {remains}", could_see=could_see, **about)
