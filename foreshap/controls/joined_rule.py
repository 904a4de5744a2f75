"""The joined rule: only a witness that could have spoken acquits."""

from dataclasses import replace

import numpy as np

from .evidence import stations_of
from .features import fill_unknown
from .witnesses import catalogue, place, recorder
from .witnesses.coda_of_sequence import LEAST_EQUAL, examine_coda_of_sequence, noise_level
from .witnesses.date import examine_change, examine_date
from .witnesses.finding import mute
from .witnesses.noise import examine_noise
from .witnesses.orientation import examine_orientation
from .witnesses.response import examine_response
from .witnesses.second_events import examine_second_events
from .witnesses.signal import change
from .witnesses.station_record import examine_station_record
from .witnesses.stations import examine_stations

VERDICTS = ("path/source", "station/background", "catalogue", "mixed", "undecided")
OF_CATALOGUE = (
    catalogue.examine_size,
    catalogue.examine_completeness,
    catalogue.examine_picks,
    place.examine_place,
    place.examine_depth,
    catalogue.examine_hours,
    recorder.examine_clipping,
    recorder.examine_sample_step,
    recorder.examine_record_length,
    recorder.examine_native_rate,
    recorder.examine_instrument,
)
BESIDE = ("noise", "coda of the sequence")  # change no signal above the common floor
BY_PRODUCTS = ("size", "second events", "completeness", "clipping", "picks")  # of a response
OF_STATION = ("response", "orientation")


def examine(evidence):
    """Hear all witnesses on Evidence of all events: yields a Finding an alternative."""
    clean = evidence.only(evidence.clean)
    coda = examine_coda_of_sequence(clean)
    under_coda = coda.state == "shown"
    yield coda
    yield examine_noise(clean, under_coda)
    if under_coda:
        evidence = _at_equal_noise(evidence, coda.keep)
        if evidence is None:
            why = f"fewer than {LEAST_EQUAL} windows of a class have equal noise"
            decides = "later aftershocks, when the coda of the sequence has faded"
            yield mute("chance", why, witness="windows of equal noise", decides=decides)
            return
        clean = evidence.only(evidence.clean)
    by_catalogue = change(clean)
    with_own = clean.catalogue
    if clean.own_size is not None:
        with_own = with_own.assign(own_size=fill_unknown(clean.own_size))
    yield examine_change(by_catalogue, change(clean, with_own))
    yield examine_date(clean, by_catalogue)
    yield from examine_catalogue(evidence)
    findings = [examine_response(clean, by_catalogue, under_coda), examine_orientation(clean)]
    further = []
    if evidence.station_record is not None:
        further.append(examine_station_record(clean))
    if len(np.unique(stations_of(clean))) > 1:
        further.append(examine_stations(clean))
        if further[-1].state == "shown":
            yield further[-1]
    for finding in findings:
        for other in further:
            if finding.state == "open":
                saw = "; ".join(filter(None, (finding.saw, other.saw)))
                finding = replace(finding, saw=saw)
                if other.state == "excluded":
                    finding = replace(finding, state="excluded", witness=other.witness, decides="")
        yield finding


def examine_catalogue(evidence):
    """Hear the witnesses of catalogue, picks, places and recorder: list of Finding."""
    clean = evidence.only(evidence.clean)
    findings = [examine_second_events(evidence)]
    findings += [examine_alternative(clean) for examine_alternative in OF_CATALOGUE]
    return [finding for finding in findings if finding is not None]


def _at_equal_noise(evidence, keep):
    """Evidence whose clean windows have equal noise, matched on its level; None if too few have."""
    clean = evidence.clean.copy()
    clean[clean] = keep
    if np.bincount(evidence.labels[clean], minlength=2).min() < LEAST_EQUAL:
        return None
    level = fill_unknown(noise_level(evidence))
    return replace(evidence, catalogue=evidence.catalogue.assign(noise=level), clean=clean)


def judge(findings):
    """Join a list of Finding: verdict, and list of open alternatives.

    Path or source: the signal changes beyond chance, at the mainshock's date, and each alternative
    is excluded or the change remains without it. Mixed: path or source, and beside it something of
    the station or the catalogue that differs, too; the coda of the sequence is no such thing. Else
    what is shown: the station, or the catalogue where nothing of the station is; sizes, second
    events and clipping beside a response are its by-products, and a size can't be told from a gain
    while the response is open. Else undecided.
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
        named = any(finding.state == "survived" and finding.named for finding in gates)
        return ("mixed" if beside or named else "path/source"), opened
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
    """Say why: a sentence on the verdict, one an alternative not excluded, what was left out."""
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
    words = {"shown": "shown", "survived": "shown, but the change remains", "open": "open"}
    for finding in findings:
        if finding.state == "excluded":
            continue
        is_open = finding.state == "open"
        parts = [finding.saw, finding.could_see if is_open else ""]
        line = f"{finding.alternative}: {words[finding.state]}. {'; '.join(filter(None, parts))}."
        if finding.decides and is_open:
            line += f" It would be decided by {finding.decides}."
        lines.append(line[0].upper() + line[1:])
    for reason, number in left_out.items():
        if number:
            lines.append(f"Left out in both classes, {reason}: {number} events.")
    return lines
