"""The joined rule: only a witness that could have spoken acquits."""

from dataclasses import replace

import numpy as np

from .evidence import stations_of
from .features import fill_unknown
from .witnesses.catalogue import examine_catalogue
from .witnesses.coda_of_sequence import LEAST_EQUAL, examine_coda_of_sequence, noise_level
from .witnesses.date import examine_change, examine_date
from .witnesses.finding import Finding
from .witnesses.noise import examine_noise
from .witnesses.orientation import examine_orientation
from .witnesses.response import examine_response
from .witnesses.signal import signal_features, try_change
from .witnesses.station_record import examine_station_record
from .witnesses.stations import examine_stations

VERDICTS = ("path/source", "station/background", "catalogue", "mixed", "undecided")
BESIDE = ("noise", "coda of the sequence")  # change no signal above the common floor
BY_PRODUCTS = ("size", "second events", "completeness", "clipping", "picks")  # of a response
OF_STATION = ("response", "orientation")


def examine(evidence):
    """Hear all witnesses.

    evidence: Evidence of all events, of gather_evidence()

    yields: Finding, one an alternative
    raises: ForeshapError where the station's record can't be read
    """
    clean = evidence.only(evidence.clean)
    coda = examine_coda_of_sequence(clean)
    under_coda = coda.state == "shown"
    yield coda
    yield examine_noise(clean, under_coda)
    if under_coda:
        evidence = _at_equal_noise(evidence, coda.keep)
        if evidence is None:
            yield _too_few_equal()
            return
        clean = evidence.only(evidence.clean)
    by_catalogue = try_change(clean, clean.catalogue)
    by_size = try_change(clean, _with_own_size(clean))
    yield examine_change(clean, by_catalogue, by_size)
    yield examine_date(clean, clean.catalogue, signal_features(clean), by_catalogue)
    yield from examine_catalogue(evidence)
    response = examine_response(clean, by_catalogue, under_coda)
    orientation = examine_orientation(clean, clean.catalogue)
    if evidence.station_record is not None:
        record = examine_station_record(clean)
        response, orientation = _or_by(response, record), _or_by(orientation, record)
    if len(np.unique(stations_of(clean))) > 1:
        stations = examine_stations(clean)
        if stations.state == "shown":
            yield stations
        response, orientation = _or_by(response, stations), _or_by(orientation, stations)
    yield response
    yield orientation


def _with_own_size(evidence):
    """The catalogue and the own size, where it was measured, DataFrame."""
    if evidence.own_size is None:
        return evidence.catalogue
    return evidence.catalogue.assign(own_size=fill_unknown(evidence.own_size))


def _at_equal_noise(evidence, keep):
    """Evidence whose clean windows have equal noise, matched on its level; None if too few have."""
    clean = evidence.clean.copy()
    clean[clean] = keep
    if np.bincount(evidence.labels[clean], minlength=2).min() < LEAST_EQUAL:
        return None
    level = fill_unknown(noise_level(evidence))
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


def _or_by(finding, further):
    """An open finding, closed where a further witness excludes it; else as it is, with both."""
    if finding.state != "open":
        return finding
    saw = "; ".join(text for text in (finding.saw, further.saw) if text)
    if further.state != "excluded":
        return replace(finding, saw=saw)
    return replace(finding, state="excluded", witness=further.witness, saw=saw, decides="")


def judge(findings):
    """Join what the witnesses found.

    Path or source: the signal changes beyond chance, at the mainshock's date, and each alternative
    is excluded or the change remains without it. Mixed: path or source, and beside it something of
    the station or the catalogue that differs, too; the coda of the sequence is no such thing. Else
    what is shown: the station, or the catalogue where nothing of the station is; sizes, second
    events and clipping beside a response are its by-products, and a size can't be told from a gain
    while the response is open. Else undecided.

    findings: list of Finding

    returns: verdict, list of open alternatives
    """
    states = {finding.alternative: finding.state for finding in findings}
    gates = [finding for finding in findings if finding.alternative not in BESIDE]
    path = "response" in states and all(finding.acquits for finding in gates)
    shown = {"station": [], "catalogue": [], "nothing": []}
    for finding in findings:
        survives = finding.state == "survived" and finding.alternative in OF_STATION
        if finding.state == "shown" or survives:
            shown[finding.group].append(finding.alternative)
    opened = [finding.alternative for finding in findings if finding.state == "open"]
    station, catalogue = shown["station"], shown["catalogue"]
    if path:
        beside = [name for name in station if name != "coda of the sequence"]
        for finding in gates:
            if finding.state == "survived" and finding.named:
                beside.append(finding.alternative)
        return ("mixed" if beside else "path/source"), opened
    if "response" in station or "noise" in station:
        catalogue = [name for name in catalogue if name not in BY_PRODUCTS]
    larger = states.get("completeness") in ("shown", "survived")
    if station == ["clipping"] and larger:  # larger events are clipped more often
        station, catalogue = [], [*catalogue, "completeness"]
    if station:
        return "station/background", opened
    if catalogue == ["size"] and states.get("response") == "open":
        return "undecided", [*opened, "size"]
    return ("catalogue" if catalogue else "undecided"), opened


def explain(findings, verdict, opened, left_out):
    """Say why, in plain words.

    findings: list of Finding
    verdict, opened: of judge()
    left_out: dict, reason -> number of events that were left out

    returns: list of str: a sentence on the verdict, one an alternative that is not excluded, and
        what was left out
    """
    shown = [f.alternative for f in findings if f.state == "shown" and f.group != "nothing"]
    survived = [f.alternative for f in findings if f.state == "survived"]
    names = {"path/source": survived, "mixed": shown + survived}.get(verdict, shown)
    listed = ", ".join(names) or "nothing"
    without = f" (shown and survived: {listed})" if names else ""
    sentences = {
        "path/source": "The signal changes at the mainshock and every alternative is excluded or "
        f"the change remains without it{without}.",
        "mixed": f"Path or source changed at the mainshock, and beside it: {listed}.",
        "station/background": f"Station, or the ground beneath it: {listed}.",
        "catalogue": f"The catalogue differs: {listed}.",
        "undecided": f"Nothing is proven; not excluded: {', '.join(opened) or 'nothing'}.",
    }
    lines = [sentences[verdict]]
    if not findings:
        lines.append("The verdict lacks all witnesses: too few events could be used.")
    for finding in findings:
        if finding.state == "excluded":
            continue
        words = {"shown": "shown", "survived": "shown, but the change remains", "open": "open"}
        parts = [finding.saw, finding.could_see if finding.state == "open" else ""]
        line = f"{finding.alternative}: {words[finding.state]}. {'; '.join(filter(None, parts))}."
        if finding.decides and finding.state == "open":
            line += f" It would be decided by {finding.decides}."
        lines.append(line[0].upper() + line[1:])
    for reason, number in left_out.items():
        if number:
            lines.append(f"Left out in both classes, {reason}: {number} events.")
    return lines
