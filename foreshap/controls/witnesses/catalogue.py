"""What the catalogue and the recorder could have done: all their witnesses."""

from .completeness import examine_completeness
from .hours import examine_hours
from .picks import examine_picks
from .place import examine_depth, examine_place
from .recorder import (
    examine_clipping,
    examine_instrument,
    examine_native_rate,
    examine_record_length,
    examine_sample_step,
)
from .second_events import examine_second_events
from .size import examine_size

OF_CLEAN_EVENTS = (
    examine_size,
    examine_completeness,
    examine_picks,
    examine_place,
    examine_depth,
    examine_hours,
    examine_clipping,
    examine_sample_step,
    examine_record_length,
    examine_native_rate,
)


def examine_catalogue(evidence):
    """Hear all witnesses of the catalogue, the picks, the places and the recorder.

    evidence: Evidence of all events, clean or not

    returns: list of Finding
    """
    clean = evidence.only(evidence.clean)
    findings = [examine_second_events(evidence)]
    for examine in OF_CLEAN_EVENTS:
        findings.append(examine(clean))
    instrument = examine_instrument(clean)
    if instrument is not None:
        findings.append(instrument)
    return findings
