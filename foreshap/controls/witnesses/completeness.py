"""Completeness: are events of all sizes as common before as after the mainshock?"""

import numpy as np

from .matching import auc_of_columns, judge_auc, mute, without

ABOUT = {
    "alternative": "completeness",
    "group": "catalogue",
    "witness": "magnitudes alone, or own sizes",
    "decides": "a magnitude above which both classes are complete",
}


def examine_completeness(evidence):
    """Ask whether sizes alone tell the classes apart, on held-out days."""
    after, own = evidence.catalogue, evidence.own_size
    if own is not None and not np.isfinite(own).any():
        own = None
    if own is not None:
        own = np.where(np.isfinite(own), own, np.nanmedian(own))
        after = after.assign(own_size=own)
    size = evidence.catalogue.get("magnitude", own)
    if size is None:
        about = ABOUT | {"decides": "magnitudes, or cross_spectra.h5 beside the tensors"}
        return mute(about, "neither magnitudes nor a level below the corner are known")
    size = np.asarray(size, float)
    size = (size - size.mean()) / max(size.std(), 1e-12)
    found = auc_of_columns(np.stack([size, size**2], axis=1), evidence)
    before = without(evidence.catalogue, "magnitude")
    return judge_auc(ABOUT, found, "sizes", evidence, before, after)
