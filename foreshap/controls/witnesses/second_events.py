"""Second events: do the windows of one class hold another earthquake more often?"""

import numpy as np

from ..evidence import SECOND_AFTER, SECOND_EVENT
from .finding import CROSS_SPECTRA, mute
from .matching import difference_of, judged, measured, remainder

DIFFERENCE = 0.03  # of the classes' shares of windows with a second event that was not seen
KEEPS = 0.5  # share of the change's distance that must remain without them
POWER = 0.6  # share of second events that must be seen for the witness to speak
BAND = (4.0, 20.0)  # of the power of second events [Hz]
PAIRS = 4000  # of events, one after the other


def examine_second_events(evidence):
    """Ask whether a class holds more second events that were not seen; keep: without any."""
    name = "second events"
    contrast = measured(evidence, "second_contrast")
    if contrast is None:
        why = "the seismograms' power after S is not known"
        return mute(name, why, decides=CROSS_SPECTRA)
    late = evidence.measurements["second_onset"].to_numpy() > SECOND_AFTER
    second = (contrast[0][0] > SECOND_EVENT) & late
    seen = np.array([second_event_power(evidence, label) for label in (0, 1)])
    unseen = second * (1 / np.maximum(seen, 0.01) - 1)[evidence.labels]
    found = difference_of(unseen, evidence)
    shares = [second[evidence.labels == label].mean() for label in (0, 1)]
    in_percent = "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * number for number in found))
    saw = f"{shares[0]:.0%} of foreshocks and {shares[1]:.0%} of aftershocks, left out; unseen "
    saw += f"ones remain in {in_percent} more"
    could_see = f"{seen.min():.0%} of second events as large as others"
    if seen.min() < POWER:
        return mute(name, f"only {could_see}", saw, found, keep=~second)
    remains = None
    if abs(found[0]) >= DIFFERENCE:
        every = evidence.only(evidence.clean | second)
        others = evidence.only(evidence.clean & ~second)
        remains = remainder(every, every.catalogue, others.catalogue, fewer=others)
    return judged(name, found, saw, could_see, remains, KEEPS, bar=DIFFERENCE, keep=~second)


def second_event_power(evidence, label):
    """Share of pairs of a class whose second S would stand out of the coda of the first, float."""
    band = (evidence.frequencies >= BAND[0]) & (evidence.frequencies <= BAND[1])
    rows = evidence.clean & (evidence.labels == label)
    power = 10 ** evidence.power[rows][..., band].astype(float)
    power = power.mean(axis=-1).sum(axis=-1)
    rng = np.random.default_rng(evidence.seed)
    one, other = rng.integers(len(power), size=(2, PAIRS))
    coda = power[one, rng.integers(3, 6, PAIRS)]
    known = np.isfinite(coda) & np.isfinite(power[other, 2])
    rise = (coda + power[other, 2])[known] / coda[known]
    return float((rise > SECOND_EVENT).mean()) if known.any() else 0.0
