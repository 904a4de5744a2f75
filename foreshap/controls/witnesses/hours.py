"""Hours: do the classes fall into other hours of the day, whose noise is another?"""

import numpy as np

from ..day_blocks import blocked_auc
from ..features import hours
from .finding import Finding
from .matching import in_words, remainder, without
from .signal import held_out

SHOWN = 0.55  # ROC AUC of the hour alone that the lower end must exceed
TOO_WIDE = 0.12  # half width of the interval from which nothing is excluded
KEEPS = 0.9  # share of the change's distance that must remain at equal hours


def examine_hours(evidence):
    """Ask whether the hour of the day alone tells the classes apart, on held-out days.

    evidence: Evidence of clean events

    returns: Finding
    """
    about = {"alternative": "hours", "group": "catalogue", "witness": "hour of the day alone"}
    of_day = hours(evidence.table).to_numpy(float)
    if not np.isfinite(of_day).all():
        could_see = "mute: some events have no time"
        return Finding(state="open", could_see=could_see, decides="times of all events", **about)
    angle = 2 * np.pi * of_day / 24
    columns = [f(k * angle) for k in (1, 2) for f in (np.sin, np.cos)]
    columns = np.stack(columns, axis=1)
    scores = held_out(columns, evidence.labels, evidence.blocks, seed=evidence.seed)
    value, low, high = blocked_auc(scores, evidence.labels, evidence.blocks, seed=evidence.seed)
    about |= {"measured": value, "low": low, "high": high}
    saw = f"hours tell the classes apart with a ROC AUC of {in_words(value, low, high)}"
    could_see = f"a ROC AUC above {SHOWN:.2f}"
    decides = "as many events of both classes at equal hours"
    if not np.isfinite(value) or high - low > 2 * TOO_WIDE:
        could_see = "mute: too few events or days for an interval"
        return Finding(state="open", saw=saw, could_see=could_see, decides=decides, **about)
    if low <= SHOWN:
        return Finding(state="excluded", saw=saw, could_see=could_see, **about)
    names = ["hour 1", "hour 2", "hour 3", "hour 4"]
    before = without(evidence.catalogue, "hour, sine", "hour, cosine")
    after = before.assign(**dict(zip(names, columns.T)))
    remains = remainder(evidence, before, after)
    state = "survived" if remains.survives(KEEPS) else "shown"
    saw = f"{saw}; {remains}"
    return Finding(state=state, saw=saw, could_see=could_see, decides=decides, **about)
