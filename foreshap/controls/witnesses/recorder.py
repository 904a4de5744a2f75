"""The recorder: clipping, sample step, record length and native rate."""

import numpy as np

from ..day_blocks import blocked_mean
from .finding import Finding
from .matching import in_words, remainder

PEAKS = 5  # raw peaks within 0.1 % of the largest value, from which a component is clipped
SHARE = 0.05  # difference of the classes' shares of events that is shown
STEP = 1.5  # ratio of the classes' sample steps that is shown
EDGE = 2.5  # log10 of power lost within EDGE_HZ, as only a digital filter does
EDGE_HZ = 4.0
KEEPS = 0.8  # share of the change's distance that must remain without clipped records
MUTE = "mute: the raw samples were not measured"
DECIDES = "cross_spectra.h5 beside the tensors"


def examine_clipping(evidence):
    """Ask whether records of one class are clipped more often; and what remains without them.

    evidence: Evidence of clean events

    returns: Finding, keep: the events that are not clipped
    """
    about = {"alternative": "clipping", "group": "station", "witness": "raw peaks at one value"}
    if evidence.measurements is None:
        return Finding(state="open", could_see=MUTE, decides=DECIDES, **about)
    clipped = evidence.measurements["peaks_near_extreme"].to_numpy(float) >= PEAKS
    value, low, high = _difference(clipped, evidence)
    about |= {"measured": value, "low": low, "high": high, "keep": ~clipped}
    shares = [clipped[evidence.labels == label].mean() for label in (0, 1)]
    saw = f"{shares[0]:.1%} of foreshocks and {shares[1]:.1%} of aftershocks are clipped"
    could_see = f"{PEAKS} peaks within 0.1 % of a record's largest"
    if max(shares) <= SHARE:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    fewer = evidence.only(~clipped)
    remains = remainder(evidence, evidence.catalogue, fewer.catalogue, fewer=fewer)
    state = "survived" if remains.survives(KEEPS) else "shown"
    saw, decides = f"{saw}; {remains}", "records of a less sensitive channel"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def examine_sample_step(evidence):
    """Ask whether the smallest step of raw samples differs between the classes.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "sample step", "group": "station", "witness": "smallest raw step"}
    step = np.full(len(evidence.labels), np.nan)
    if evidence.measurements is not None:
        step = evidence.measurements["smallest_step"].to_numpy(float)
    step = np.log10(np.where(step > 0, step, np.nan))
    if min(np.isfinite(step[evidence.labels == label]).sum() for label in (0, 1)) == 0:
        return Finding(state="open", could_see=MUTE, decides=DECIDES, **about)
    medians = [10 ** np.nanmedian(step[evidence.labels == label]) for label in (0, 1)]
    ratio = medians[1] / medians[0]
    saw = f"steps of {medians[0]:.3g} before and {medians[1]:.3g} after"
    could_see = f"steps that differ by a factor of {STEP}"
    state = "excluded" if 1 / STEP < ratio < STEP else "shown"
    decides = "" if state == "excluded" else "the station's record"
    about |= {"measured": ratio}
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def examine_record_length(evidence):
    """Ask whether records of one class end earlier, so that late windows are missing.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "record length", "group": "station", "witness": "late windows"}
    missing = ~np.isfinite(evidence.power).any(axis=(2, 3))
    differences = [_difference(missing[:, window], evidence) for window in range(3, 6)]
    value, low, high = max(differences, key=lambda found: abs(found[0]))
    about |= {"measured": value, "low": low, "high": high}
    saw = f"late windows are missing in {in_words(value, low, high)} more of the aftershocks"
    could_see = "records that end before the last window of coda"
    state = "excluded" if abs(value) <= SHARE else "shown"
    decides = "" if state == "excluded" else "records of equal length"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def examine_native_rate(evidence):
    """Ask whether the records of one class end at a digital filter's edge below 45 Hz.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "native rate", "group": "station", "witness": "sharp edges of S"}
    if not evidence.calibrated:
        could_see = "mute: tensors were scaled event by event"
        return Finding(state="open", could_see=could_see, decides=DECIDES, **about)
    edges = [upper_edge(evidence.only(evidence.labels == label)) for label in (0, 1)]
    saw = f"sharp edges at {_hertz(edges[0])} before and {_hertz(edges[1])} after"
    could_see = f"a loss of {10 * EDGE:.0f} dB within {EDGE_HZ:.0f} Hz"
    alike = edges == [np.inf, np.inf] or abs(edges[0] - edges[1]) <= EDGE_HZ
    state = "excluded" if alike else "shown"
    decides = "" if state == "excluded" else "the station's record"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)


def upper_edge(evidence):
    """Lowest frequency above 8 Hz from which S loses EDGE within EDGE_HZ [Hz]; inf: none."""
    frequencies = evidence.frequencies
    spectrum = np.nanmedian(evidence.power[:, 2], axis=0).mean(axis=0)
    step = max(1, round(EDGE_HZ / (frequencies[1] - frequencies[0])))
    above = np.maximum.accumulate(spectrum[::-1])[::-1]  # the most at this frequency or higher
    lost = spectrum[:-step] - above[step:]
    there = (lost > EDGE) & (frequencies[:-step] > 8) & (frequencies[step:] < 45)
    return float(frequencies[:-step][there].min()) if there.any() else np.inf


def _hertz(edge):
    return "none" if np.isinf(edge) else f"{edge:.0f} Hz"


def _difference(flags, evidence):
    """Difference of the classes' shares of flagged events with its interval."""
    return blocked_mean(flags.astype(float), evidence.labels, evidence.blocks, seed=evidence.seed)
