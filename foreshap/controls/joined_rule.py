"""The joined rule: only a witness that could have spoken acquits."""

from dataclasses import replace

import numpy as np

from ..files import ForeshapError
from .plain_models import overlap_weights
from .witnesses.catalogue import examine_catalogue
from .witnesses.coda_of_sequence import LEAST_EQUAL, examine_coda_of_sequence, noise_level
from .witnesses.date import SEPARATES, examine_change, examine_date
from .witnesses.finding import Finding
from .witnesses.noise import examine_noise
from .witnesses.orientation import examine_orientation
from .witnesses.response import examine_response
from .witnesses.signal import Change, change, signal_features

VERDICTS = ("path/source", "station/background", "catalogue", "mixed", "undecided")
BESIDE = ("noise", "coda of the sequence")  # change no signal above the common floor
NAMED = 0.55  # lower end of a catalogue's ROC AUC, from which it is named beside the path
BY_PRODUCTS = ("size", "second events", "completeness", "clipping", "picks")
UNKNOWN = Change(np.array([np.nan]), None, np.nan, np.nan, np.nan)


def examine(evidence):
    """Hear all witnesses.

    evidence: Evidence, of gather_evidence()

    returns: list of Finding
    """
    clean = evidence.only(evidence.clean)
    coda = examine_coda_of_sequence(clean)
    under_coda = coda.state == "shown"
    noise = examine_noise(clean, under_coda)
    if under_coda:
        evidence = _at_equal_noise(evidence, coda.keep)
        if evidence is None:
            return [coda, noise, _too_few_equal()]
        clean = evidence.only(evidence.clean)
    by_catalogue, by_size = _changes(clean)
    findings = [
        examine_change(clean, by_catalogue, by_size),
        examine_date(clean, clean.catalogue, signal_features(clean), by_catalogue),
        *examine_catalogue(evidence),
        examine_response(clean, by_catalogue, under_coda),
        examine_orientation(clean, clean.catalogue),
        noise,
        coda,
    ]
    return findings


def _changes(evidence):
    """Change of the signal, matched on the catalogue, and on the own size as well."""
    with_size = evidence.catalogue
    if evidence.own_size is not None:
        own = evidence.own_size
        with_size = with_size.assign(own_size=np.where(np.isfinite(own), own, np.nanmedian(own)))
    found = []
    for covariates in (evidence.catalogue, with_size):
        try:
            found.append(change(evidence, covariates))
        except ForeshapError:
            found.append(replace(UNKNOWN, weights=np.ones(len(evidence.labels))))
    return found


def _at_equal_noise(evidence, keep):
    """Evidence whose clean windows have equal noise, matched on its level; None if too few have."""
    clean = evidence.clean.copy()
    clean[clean] = keep
    if np.bincount(evidence.labels[clean], minlength=2).min() < LEAST_EQUAL:
        return None
    level = noise_level(evidence)
    level = np.where(np.isfinite(level), level, np.nanmedian(level))
    return replace(evidence, catalogue=evidence.catalogue.assign(noise=level), clean=clean)


def _too_few_equal():
    """Finding where no windows of equal noise remain under the coda of the sequence."""
    return Finding(
        alternative="chance",
        group="nothing",
        state="open",
        witness="windows of equal noise",
        could_see=f"mute: fewer than {LEAST_EQUAL} windows of a class have equal noise",
        decides="later aftershocks, when the coda of the sequence has faded",
    )


def judge(findings):
    """Join what the witnesses found.

    Path or source: the signal changes beyond chance, at the mainshock's date, and each alternative
    is excluded or the change remains without it. A change of the noise that reaches no signal
    stands beside it. Else what is shown; else undecided.

    findings: list of Finding

    returns: verdict, list of open alternatives, list of reasons
    """
    found = {finding.alternative: finding for finding in findings}
    gates = [f for f in findings if f.alternative not in BESIDE]
    path = len(found) > 3 and all(finding.acquits for finding in gates)
    shown = [f for f in findings if f.state == "shown" and f.group != "nothing"]
    survived = [f for f in findings if f.state == "survived"]
    station = [f.alternative for f in shown if f.group == "station"]
    station += [
        f.alternative
        for f in survived
        if f.group == "station" and f.alternative in ("response", "orientation")
    ]
    catalogue = [f.alternative for f in shown if f.group == "catalogue"]
    if "response" in station or "noise" in station:
        catalogue = [name for name in catalogue if name not in BY_PRODUCTS]
    if "completeness" in catalogue and station == ["clipping"]:
        station = []
    if path:
        named = [f.alternative for f in survived if f.low > NAMED]
        beside = [name for name in station if name != "coda of the sequence"]
        verdict = "mixed" if named or beside else "path/source"
    elif catalogue == ["size"] and not station and found["response"].state == "open":
        verdict = "undecided"
    elif station:
        verdict = "station/background"
    elif catalogue:
        verdict = "catalogue"
    else:
        verdict = "undecided"
    opened = [f.alternative for f in findings if f.state == "open"]
    return verdict, opened, reasons(findings, verdict)


def reasons(findings, verdict):
    return []
