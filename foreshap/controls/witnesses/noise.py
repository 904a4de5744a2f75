"""Did the noise before P change at the mainshock, and whose noise is it?"""

import numpy as np

from ...files import ForeshapError
from ..features import fill_unknown, usable_rows
from .date import dated
from .finding import Finding
from .response import OWN, band_power, ground_of_all
from .signal import change

SEPARATES = 0.55  # lower end of the ROC AUC of the noise
UNDATED = 0.65  # the same where no date can be compared


def examine_noise(evidence, under_coda=False):
    """Ask whether the noise tells the classes apart, from the mainshock's date on.

    evidence: Evidence
    under_coda: bool, the coda of the sequence hides other changes of the noise

    returns: Finding
    """
    found = {"alternative": "noise", "group": "station", "witness": "noise before P"}
    if not evidence.calibrated:
        found["witness"] = "shape of the noise before P: tensors are scaled event by event"
    if under_coda:
        return Finding(
            **found,
            state="open",
            could_see="mute: the coda of the sequence hides other changes of the noise",
            decides="the noise in the quiet months before and after",
        )
    values = noise_features(evidence)
    try:
        found_change = change(evidence, evidence.catalogue, values=values)
    except ForeshapError as error:
        return Finding(
            **found,
            state="open",
            could_see=f"mute: the classes' catalogues don't match ({error})",
            decides="windows without events",
        )
    date, words = dated(evidence, evidence.catalogue, values, found_change)
    auc, low, high = found_change.auc, found_change.low, found_change.high
    shown = low > (SEPARATES if date == "yes" else UNDATED) and date != "no"
    state = "shown" if shown else "excluded"
    return Finding(
        **found,
        state=state,
        saw=f"ROC AUC {auc:.2f} ({low:.2f} to {high:.2f}), matched on the catalogue; {words}",
        could_see=f"a lower end above {SEPARATES} from its date on; {whose_noise(evidence)}",
        measured=auc,
        low=low,
        high=high,
    )


def noise_features(evidence):
    """Describe the noise before P: power in bands, or its shape where tensors are scaled.

    evidence: Evidence

    returns: float array (N, columns)
    """
    if evidence.calibrated:
        noise = band_power(evidence)[:, 0].reshape(len(evidence.labels), -1)
    else:
        rows = usable_rows(evidence.variant)
        noise = evidence.tensor_spectra[:, 0][..., rows].astype(float)
        noise = noise.reshape(len(noise), -1)
        spread = noise.std(axis=1, keepdims=True)
        noise = (noise - noise.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return fill_unknown(noise)


def whose_noise(evidence):
    """Say whether the noise is the ground's or the recorder's own, str."""
    if not evidence.calibrated:
        return "whose noise it is, scaled tensors can't tell"
    share = ground_of_all(evidence)
    if share < OWN:
        return f"the noise is the recorder's own (share of the ground {share:.2f})"
    return f"the noise is the ground's (share {share:.2f})"
