"""Second events: do the windows of one class hold another earthquake more often?"""

import numpy as np

from ..day_blocks import blocked_mean
from ..evidence import SECOND_AFTER, SECOND_EVENT
from .finding import Finding
from .matching import in_words, remainder
from .signal import without_catalogue

DIFFERENCE = 0.1  # of the classes' shares of windows with a second event
KEEPS = 0.5  # share of the change's distance that must remain without them
POWER = 0.6  # share of second events that must be seen for the witness to speak
BAND = (4.0, 20.0)  # of the power of second events [Hz]


def examine_second_events(evidence):
    """Ask whether windows with a second event are more common in one class; they are left out.

    evidence: Evidence of all events, clean or not

    returns: Finding, keep: the events without a second one
    """
    about = {"alternative": "second events", "group": "catalogue", "witness": "rises after S"}
    contrast = None
    if evidence.measurements is not None:
        contrast = evidence.measurements["second_contrast"].to_numpy(float)
    if contrast is None or np.isfinite(contrast).mean() < 0.5:
        could_see = "mute: the seismograms' energy after S is not known"
        decides = "cross_spectra.h5 beside the tensors"
        return Finding(state="open", could_see=could_see, decides=decides, **about)
    late = evidence.measurements["second_onset"].to_numpy() > SECOND_AFTER
    second = (contrast > SECOND_EVENT) & late
    labels = evidence.labels
    noise = evidence.power[:, 0][..., _in_band(evidence)].mean(axis=(1, 2))
    known = np.isfinite(noise)
    covariates = evidence.catalogue.assign(noise=np.where(known, noise, np.nanmedian(noise)))
    flags = without_catalogue(second[:, None].astype(float), covariates, labels)[:, 0]
    value, low, high = blocked_mean(flags, labels, evidence.blocks, seed=evidence.seed)
    shares = [second[labels == label].mean() for label in (0, 1)]
    seen = second_event_power(evidence)
    about |= {"measured": value, "low": low, "high": high, "keep": ~second}
    saw = f"{shares[0]:.0%} of foreshocks, {shares[1]:.0%} of aftershocks; at equal noise "
    saw += f"{in_words(value, low, high)} more of aftershocks; all were left out"
    could_see = f"{seen:.0%} of second events as large as others"
    decides = "continuous seismograms with a denser catalogue"
    if not seen >= POWER:
        could_see = f"mute: only {could_see}"
        return Finding(state="open", saw=saw, could_see=could_see, decides=decides, **about)
    if max(abs(low), abs(high)) < DIFFERENCE or low < 0 < high:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    every = evidence.only(evidence.clean | second)
    others = evidence.only(evidence.clean & ~second)
    remains = remainder(every, every.catalogue, others.catalogue, fewer=others)
    state = "survived" if remains.survives(KEEPS) else "shown"
    saw = f"{saw}; {remains}"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def second_event_power(evidence, pairs=4000):
    """Share of pairs of events whose second S would stand out of the coda of the first, float."""
    band = _in_band(evidence)
    power = 10 ** evidence.power[evidence.clean][..., band].astype(float)
    power = power.mean(axis=-1).sum(axis=-1)
    rng = np.random.default_rng(evidence.seed)
    one, other = rng.integers(len(power), size=(2, pairs))
    coda = power[one, rng.integers(3, 6, pairs)]
    known = np.isfinite(coda) & np.isfinite(power[other, 2])
    rise = (coda + power[other, 2])[known] / coda[known]
    return float((rise > SECOND_EVENT).mean()) if known.any() else 0.0


def _in_band(evidence):
    """Which frequencies count for the power of an event, bool (F,)."""
    return (evidence.frequencies >= BAND[0]) & (evidence.frequencies <= BAND[1])
