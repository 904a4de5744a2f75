"""The recorder: clipping, sample step, record length, native rate, and what its source states."""

import numpy as np

from ...preprocessing.waveforms import INSTRUMENT_COLUMNS, instrument_differences
from .finding import CROSS_SPECTRA, UNKNOWN, finding, in_words, mute
from .matching import Remainder, difference_of, judged, measured, remainder

PEAKS = 5  # raw peaks within 0.1 % of the largest value, from which a component is clipped
SHARE = 0.05  # of events, that are clipped or whose windows are missing, that is shown
KEEPS = 0.8  # share of the change's distance that must remain without clipped records
STEP = 1.5  # ratio of the classes' sample steps that is shown
EDGE = 2.5  # log10 of power lost within EDGE_HZ, as only a digital filter does
EDGE_HZ = 4.0
BETWEEN = (8.0, 45.0)  # where edges are looked for [Hz]
NOTHING = Remainder(reason="all events of a class have it")


def examine_clipping(evidence):
    """Ask whether records are clipped, and what remains without them; keep: those that are not."""
    peaks = measured(evidence, "peaks_near_extreme")
    if peaks is None:
        return mute("clipping", "the raw samples were not measured", decides=CROSS_SPECTRA)
    clipped = peaks[0][0] >= PEAKS
    shares = [clipped[evidence.labels == label].mean() for label in (0, 1)]
    saw = f"{shares[0]:.1%} of foreshocks and {shares[1]:.1%} of aftershocks are clipped"
    could_see = f"{PEAKS} peaks within 0.1 % of a record's largest"
    remains = None
    if max(shares) > SHARE:
        fewer = evidence.only(~clipped)
        remains = remainder(evidence, evidence.catalogue, fewer.catalogue, fewer=fewer)
    found = difference_of(clipped.astype(float), evidence)
    return judged("clipping", found, saw, could_see, remains, KEEPS, bar=SHARE, keep=~clipped)


def examine_sample_step(evidence):
    """Ask whether the smallest step of raw samples differs between the classes."""
    steps = measured(evidence, "smallest_step")
    if steps is None:
        return mute("sample step", "the raw samples were not measured", decides=CROSS_SPECTRA)
    before, after = [np.nanmedian(steps[0][0][evidence.labels == label]) for label in (0, 1)]
    saw = f"steps of {before:.3g} before and {after:.3g} after"
    remains = None if 1 / STEP < after / before < STEP else NOTHING
    could_see = f"steps that differ by a factor of {STEP}"
    return judged("sample step", (after / before, np.nan, np.nan), saw, could_see, remains)


def examine_record_length(evidence):
    """Ask whether records of one class end earlier, so that late windows are missing."""
    missing = ~np.isfinite(evidence.power).any(axis=(2, 3))
    found = [difference_of(missing[:, window].astype(float), evidence) for window in (3, 4, 5)]
    found = max(found, key=lambda interval: abs(interval[0]))
    saw = f"late windows are missing in a share of {in_words(*found)} more aftershocks"
    remains = None if abs(found[0]) <= SHARE else NOTHING
    state = "shown" if found[1] > 0 or found[2] < 0 else "open"
    could_see = "records that end before the last window of coda"
    return judged("record length", found, saw, could_see, remains, state=state)


def examine_native_rate(evidence):
    """Ask whether the records of one class end at a digital filter's edge below 45 Hz."""
    if not evidence.calibrated:
        return mute("native rate", "tensors were scaled event by event")
    before, after = [upper_edge(evidence.only(evidence.labels == label)) for label in (0, 1)]
    saw = f"an edge at {before:.0f} Hz before and {after:.0f} Hz after (50 Hz: none)"
    could_see = f"a loss of {10 * EDGE:.0f} dB within {EDGE_HZ:.0f} Hz"
    remains = None if abs(after - before) <= EDGE_HZ else NOTHING
    return judged("native rate", UNKNOWN, saw, could_see, remains)


def upper_edge(evidence):
    """Find the lowest frequency [Hz] from which S loses EDGE within EDGE_HZ for good; 50: none."""
    frequencies = evidence.frequencies
    spectrum = np.nanmedian(evidence.power[:, 2], axis=0).mean(axis=0)
    step = max(1, round(EDGE_HZ / (frequencies[1] - frequencies[0])))
    at_or_above = np.maximum.accumulate(spectrum[::-1])[::-1]
    lost = spectrum[:-step] - at_or_above[step:] > EDGE
    lost &= (frequencies[:-step] > BETWEEN[0]) & (frequencies[step:] < BETWEEN[1])
    return float(frequencies[:-step][lost].min()) if lost.any() else 50.0


def examine_instrument(evidence):
    """Ask whether the source states another rate, epoch, gain or unit; None: it states none."""
    table = evidence.table.drop(columns="recorded_step", errors="ignore")
    stated = [name for name in INSTRUMENT_COLUMNS if name in table and table[name].notna().any()]
    if not stated:
        return None
    differences = instrument_differences(table.assign(label=evidence.labels))
    state = "shown" if differences else "excluded"
    saw = "; ".join(differences) or "the same in both classes"
    return finding("instrument", state, saw, "another " + ", ".join(stated))
