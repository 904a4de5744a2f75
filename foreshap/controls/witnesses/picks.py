"""Picks: were the catalogue's onsets read earlier or later in one class?"""

import numpy as np

from .matching import difference_of, judged, mute, remainder, share_known

LATE = {"P": 0.06, "S-P": 0.1}  # difference of the classes' mean onsets that is shown [s]
MOST = 0.7  # s, beyond which an onset is none
LEAST_KNOWN = 0.5  # share of each class with own onsets
KEEPS = 0.5  # share of the change's distance that must remain at own onsets
ABOUT = {
    "alternative": "picks",
    "group": "catalogue",
    "witness": "own onsets of P and S",
    "decides": "picks by one procedure for both classes",
}


def examine_picks(evidence):
    """Ask whether own onsets differ from the catalogue's in one class; windows lie on the own."""
    known = np.zeros(len(evidence.labels), bool)
    if evidence.measurements is not None:
        p, s = evidence.measurements[["p_onset", "s_onset"]].to_numpy(float).T
        known = np.isfinite(p + s)
    if share_known(known, evidence) < LEAST_KNOWN:
        about = ABOUT | {"decides": "cross_spectra.h5 beside the tensors"}
        return mute(about, "own onsets are not known")
    at_own = evidence.only(known)
    found, parts, widths = {}, [], []
    for name, values in (("P", p[known]), ("S-P", (s - p)[known])):
        value, low, high = difference_of(np.clip(values, -MOST, MOST), at_own)
        found[name] = (value, low, high)
        parts.append(f"{name} {1e3 * value:.0f} ms ({1e3 * low:.0f} to {1e3 * high:.0f})")
        widths.append((high - low) / 2 / LATE[name])
    worst = max(found, key=lambda name: abs(found[name][0]) / LATE[name])
    saw = f"own onsets of aftershocks lie later by {', '.join(parts)}"
    could_see = f"P off by {1e3 * LATE['P']:.0f} ms, S-P by {1e3 * LATE['S-P']:.0f} ms"
    if not max(widths) < 1:
        return mute(ABOUT, "own onsets scatter too much", saw, found[worst])
    remains = None
    if abs(found[worst][0]) > LATE[worst]:
        remains = remainder(evidence, evidence.catalogue, at_own.catalogue, fewer=at_own)
    return judged(ABOUT, found[worst], saw, could_see, remains, KEEPS, bar=LATE[worst])
