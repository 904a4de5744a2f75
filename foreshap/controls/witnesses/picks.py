"""Picks: were the catalogue's onsets read earlier or later in one class?"""

import numpy as np

from ..day_blocks import blocked_mean
from .finding import Finding
from .matching import remainder

P_LATE, S_P_LATE = 0.06, 0.1  # difference of the classes' mean onsets that is shown [s]
LEAST_KNOWN = 0.5  # share of each class with own onsets
KEEPS = 0.5  # share of the change's distance that must remain at own onsets


def examine_picks(evidence):
    """Ask whether own onsets differ from the catalogue's in one class; windows lie on the own.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "picks", "group": "catalogue", "witness": "own onsets of P and S"}
    decides = "cross_spectra.h5 beside the tensors"
    labels, measured = evidence.labels, evidence.measurements
    known = np.zeros(len(labels), bool)
    if measured is not None:
        onsets = measured[["p_onset", "s_onset"]].to_numpy(float)
        known = np.isfinite(onsets).all(axis=1)
    if min(known[labels == label].mean() for label in (0, 1)) < LEAST_KNOWN:
        could_see = "mute: own onsets are not known"
        return Finding(state="open", could_see=could_see, decides=decides, **about)
    rows = (labels[known], evidence.blocks[known])
    found = {}
    for name, values in (("P", onsets[:, 0]), ("S-P", onsets[:, 1] - onsets[:, 0])):
        values = np.clip(values[known], -0.7, 0.7)
        found[name] = blocked_mean(values, *rows, seed=evidence.seed)
    limits = {"P": P_LATE, "S-P": S_P_LATE}
    worst = max(found, key=lambda name: abs(found[name][0]) / limits[name])
    value, low, high = found[worst]
    about |= {"measured": value, "low": low, "high": high}
    parts, widths = [], []
    for name, interval in found.items():
        in_ms = [f"{1e3 * number:.0f}" for number in interval]
        parts.append(f"{name} {in_ms[0]} ms ({in_ms[1]} to {in_ms[2]})")
        widths.append((interval[2] - interval[1]) / 2 / limits[name])
    saw = f"own onsets of aftershocks lie later by {', '.join(parts)}"
    could_see = f"P off by {1e3 * P_LATE:.0f} ms, S-P by {1e3 * S_P_LATE:.0f} ms"
    if not max(widths) < 1:
        decides = "picks by one procedure for both classes"
        could_see = "mute: own onsets scatter too much"
        return Finding(state="open", saw=saw, could_see=could_see, decides=decides, **about)
    if abs(value) <= limits[worst]:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    at_own = evidence.only(known)
    remains = remainder(evidence, evidence.catalogue, at_own.catalogue, fewer=at_own)
    state = "survived" if remains.survives(KEEPS) else "shown"
    saw = f"{saw}; {remains}"
    decides = "picks by one procedure for both classes"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)
