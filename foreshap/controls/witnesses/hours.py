"""Hours: do the classes fall into other hours of the day, whose noise is another?"""

import numpy as np

from ..features import hours
from .matching import auc_of_columns, judge_auc, mute, without

KEEPS = 0.9  # share of the change's distance that must remain at equal hours
ABOUT = {
    "alternative": "hours",
    "group": "catalogue",
    "witness": "hour of the day alone",
    "decides": "as many events of both classes at equal hours",
}


def examine_hours(evidence):
    """Ask whether the hour of the day alone tells the classes apart, on held-out days."""
    angle = 2 * np.pi * hours(evidence.table).to_numpy(float) / 24
    if not np.isfinite(angle).all():
        return mute(ABOUT | {"decides": "times of all events"}, "some events have no time")
    columns = {
        "once a day, sine": np.sin(angle),
        "once a day, cosine": np.cos(angle),
        "twice a day, sine": np.sin(2 * angle),
        "twice a day, cosine": np.cos(2 * angle),
    }
    found = auc_of_columns(np.stack(list(columns.values()), axis=1), evidence)
    before = without(evidence.catalogue, "hour, sine", "hour, cosine")
    return judge_auc(ABOUT, found, "hours", evidence, before, before.assign(**columns), keeps=KEEPS)
