"""Completeness: are events of all sizes as common before as after the mainshock?"""

import numpy as np

from ..day_blocks import blocked_auc
from .finding import Finding
from .matching import in_words, remainder, without
from .signal import held_out

SHOWN = 0.55  # ROC AUC of size alone that the lower end must exceed
TOO_WIDE = 0.12  # half width of the interval from which nothing is excluded
KEEPS = 0.5  # share of the change's distance that must remain at equal size


def examine_completeness(evidence):
    """Ask whether the catalogue's sizes alone tell the classes apart, on held-out days.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "completeness", "group": "catalogue"}
    own = evidence.own_size
    if own is not None:
        own = np.where(np.isfinite(own), own, np.nanmedian(own))
    if "magnitude" in evidence.catalogue:
        size, witness = evidence.catalogue["magnitude"].to_numpy(float), "magnitudes alone"
    elif own is not None:
        size, witness = own, "own size alone; no magnitudes"
    else:
        could_see = "mute: neither magnitudes nor a level below the corner are known"
        decides = "magnitudes, or cross_spectra.h5 beside the tensors"
        return Finding(
            state="open", witness="magnitudes", could_see=could_see, decides=decides, **about
        )
    size = (size - size.mean()) / size.std()
    columns = np.stack([size, size**2], axis=1)
    scores = held_out(columns, evidence.labels, evidence.blocks, seed=evidence.seed)
    value, low, high = blocked_auc(scores, evidence.labels, evidence.blocks, seed=evidence.seed)
    about |= {"witness": witness, "measured": value, "low": low, "high": high}
    saw = f"sizes tell the classes apart with a ROC AUC of {in_words(value, low, high)}"
    could_see = f"a ROC AUC above {SHOWN:.2f}"
    decides = "a magnitude of completeness above which both classes are whole"
    if not np.isfinite(value) or high - low > 2 * TOO_WIDE:
        could_see = "mute: too few events or days for an interval"
        return Finding(state="open", saw=saw, could_see=could_see, decides=decides, **about)
    if low <= SHOWN:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    after = evidence.catalogue
    if own is not None:
        after = after.assign(own_size=own)
    remains = remainder(evidence, without(evidence.catalogue, "magnitude"), after)
    state = "survived" if remains.survives(KEEPS) else "shown"
    saw = f"{saw}; {remains}"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)
