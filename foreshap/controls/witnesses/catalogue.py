"""The catalogue: sizes, completeness, onsets and hours may differ between the classes."""

import numpy as np

from ..features import hours
from . import matching
from .finding import CROSS_SPECTRA, in_words, mute
from .signal import centred, without_catalogue

SHIFT = 0.15  # magnitudes that the scale may be off
WIDEST = 0.2  # half width of the shift's interval [magnitudes] from which nothing is excluded
LEAST_KNOWN = 0.5  # share of each class whose own size must be known
KEEPS_SIZE = 0.4  # share of the change's distance that must remain at equal own size
KEEPS_UNKNOWN = 0.9  # the same where the catalogue has no magnitudes
CHANCE = (0.48, 0.52)  # ROC AUC of own size, outside which sizes differ
KEEPS_HOURS = 0.9  # share of the change's distance that must remain at equal hours
LATE = {"P": 0.06, "S-P": 0.1}  # difference of the classes' mean onsets that is shown [s]
MOST = 0.7  # s, beyond which an onset is none
KEEPS_PICKS = 0.5  # share of the change's distance that must remain at own onsets


def examine_size(evidence):
    """Ask whether events are larger behind the catalogue's back: own size against magnitude."""
    known = np.zeros(len(evidence.labels), bool)
    if evidence.own_size is not None:
        known = np.isfinite(evidence.own_size)
    if matching.share_known(known, evidence) < LEAST_KNOWN:
        why = "the level below the corner is not known, or lies below the noise"
        return mute("size", why, decides=CROSS_SPECTRA)
    evidence = evidence.only(known)
    own = {"own_size": evidence.own_size}
    if "magnitude" not in evidence.catalogue:
        return _size_without_magnitudes(evidence, evidence.catalogue.assign(**own))
    found = scale_shift(evidence)
    saw = f"aftershocks' magnitudes mean {in_words(*found)} more"
    could_see = f"a scale that is off by {SHIFT:.2f} magnitudes"
    if not found[2] - found[1] < 2 * WIDEST:
        return mute("size", "the interval is too wide", saw, found)
    if abs(found[0]) <= SHIFT:
        return matching.judged("size", found, saw, could_see)
    after = matching.without(evidence.catalogue, "magnitude").assign(**own)
    remains = matching.remainder(evidence, evidence.catalogue, after)
    # not named beside a change that survives it: path and source move own sizes, too
    return matching.judged("size", found, saw, could_see, remains, KEEPS_SIZE)


def _size_without_magnitudes(evidence, with_own):
    """Own sizes alone: path and response move them, too, so they may show and never acquit."""
    found = matching.auc_of(evidence.own_size, evidence)
    saw = f"own size tells the classes apart with a ROC AUC of {in_words(*found)}"
    why = "without magnitudes nothing says that sizes match"
    if CHANCE[0] <= found[0] <= CHANCE[1] or found[1] < 0.5 < found[2]:
        return mute("size", why, saw, found)
    remains = matching.remainder(evidence, evidence.catalogue, with_own)
    tells_more = remains.interval[1] > max(found[0], 1 - found[0])
    if tells_more and remains.survives(KEEPS_UNKNOWN):
        return mute("size", why, f"{saw}; {remains}", found)
    return matching.judged("size", found, saw, "larger events of one class", remains, np.inf)


def scale_shift(evidence):
    """Measure how much more magnitudes mean after the mainshock, by own size: value, low, high."""
    labels, own = evidence.labels, evidence.own_size
    magnitude = evidence.catalogue["magnitude"].to_numpy(float)
    inside = centred(magnitude, labels)
    slope = max(inside @ centred(own, labels) / (inside @ inside), 0.3)
    covariates = matching.without(evidence.catalogue, "magnitude", "hour, sine", "hour, cosine")
    apart = without_catalogue((own / slope - magnitude)[:, None], covariates, labels)[:, 0]
    middle, farthest = np.median(apart), 4 * apart.std()
    return matching.difference_of(np.clip(apart, middle - farthest, middle + farthest), evidence)


def examine_completeness(evidence):
    """Ask whether sizes alone tell the classes apart, on held-out days."""
    after, own = evidence.catalogue, evidence.own_size
    if own is not None and np.isfinite(own).any():
        own = np.where(np.isfinite(own), own, np.nanmedian(own))
        after = after.assign(own_size=own)
    size = after.get("magnitude", after.get("own_size"))
    if size is None:
        why = "neither magnitudes nor a level below the corner are known"
        return mute("completeness", why, decides=f"magnitudes, or {CROSS_SPECTRA}")
    size = (size - size.mean()) / max(size.std(ddof=0), 1e-12)
    found = matching.auc_of_columns(np.stack([size, size**2], axis=1), evidence)
    return matching.judge_auc(
        "completeness", found, evidence, matching.without(evidence.catalogue, "magnitude"), after
    )


def examine_picks(evidence):
    """Ask whether own onsets differ from the catalogue's in one class; windows lie on the own."""
    onsets = matching.measured(evidence, "p_onset", "s_onset")
    if onsets is None:
        return mute("picks", "own onsets are not known", decides=CROSS_SPECTRA)
    (p, s), known = onsets
    at_own = evidence.only(known)
    found, parts, widths = {}, [], []
    for name, values in (("P", p[known]), ("S-P", (s - p)[known])):
        value, low, high = matching.difference_of(np.clip(values, -MOST, MOST), at_own)
        found[name] = (value, low, high)
        parts.append(f"{name} {1e3 * value:.0f} ms ({1e3 * low:.0f} to {1e3 * high:.0f})")
        widths.append((high - low) / 2 / LATE[name])
    worst = max(found, key=lambda name: abs(found[name][0]) / LATE[name])
    saw = f"own onsets of aftershocks lie later by {', '.join(parts)}"
    could_see = f"P off by {1e3 * LATE['P']:.0f} ms, S-P by {1e3 * LATE['S-P']:.0f} ms"
    if not max(widths) < 1:
        return mute("picks", "own onsets scatter too much", saw, found[worst])
    remains, bar = None, LATE[worst]
    if abs(found[worst][0]) > bar:
        remains = matching.remainder(evidence, evidence.catalogue, at_own.catalogue, fewer=at_own)
    return matching.judged("picks", found[worst], saw, could_see, remains, KEEPS_PICKS, bar=bar)


def examine_hours(evidence):
    """Ask whether the hour of the day alone tells the classes apart, on held-out days."""
    angle = 2 * np.pi * hours(evidence.table).to_numpy(float) / 24
    if not np.isfinite(angle).all():
        return mute("hours", "some events have no time", decides="times of all events")
    columns = {}
    for times, name in ((1, "once a day"), (2, "twice a day")):
        columns[f"{name}, sine"] = np.sin(times * angle)
        columns[f"{name}, cosine"] = np.cos(times * angle)
    found = matching.auc_of_columns(np.stack(list(columns.values()), axis=1), evidence)
    before = matching.without(evidence.catalogue, "hour, sine", "hour, cosine")
    return matching.judge_auc(
        "hours", found, evidence, before, before.assign(**columns), keeps=KEEPS_HOURS
    )
