"""Did the noise before P change at the mainshock, and whose noise is it?"""

import numpy as np
from scipy import stats

from ..features import fill_unknown, usable_rows
from .date import dated
from .finding import finding, in_words, mute
from .signal import change

BAND = (3.0, 45.0)  # Hz: microseism leaks through short tapers below
BINS = 3  # of a band
SEPARATES = 0.55  # lower end of the ROC AUC of the noise
UNDATED = 0.65  # the same where no date can be compared
OWN = 0.15  # share of the ground, below which the noise is the recorder's own
FREEDOM = 38.0  # of the noise's power in a band of one component: overlapping Hann frames of 3 s


def examine_noise(evidence, under_coda=False):
    """Ask whether the noise changes at the mainshock; under_coda the coda hides other changes."""
    others = {}
    if not evidence.calibrated:
        others["witness"] = "shape of the noise before P: tensors are scaled event by event"
    if under_coda:
        others["decides"] = "the noise in the quiet months before and after"
        why = "the coda of the sequence hides other changes of the noise"
        return mute("noise", why, **others)
    values = noise_features(evidence)
    found = change(evidence, values=values)
    if found.reason:
        return mute("noise", f"the classes' catalogues don't match ({found.reason})", **others)
    at_mainshock, words = dated(evidence, values, found)
    bar = SEPARATES if at_mainshock else UNDATED
    shown = found.low > bar and at_mainshock is not False
    saw = f"ROC AUC {in_words(*found.interval)}, matched on the catalogue; {words}"
    could_see = f"a lower end above {SEPARATES} from its date on; {whose_noise(evidence)}"
    state = "shown" if shown else "excluded"
    return finding("noise", state, saw, could_see, found.interval, **others)


def noise_features(evidence):
    """Power of the noise before P in bands, or its shape where tensors are scaled, (N, columns)."""
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


def ground_of_all(evidence):
    """Share of the ground in the noise before P, median over bands, float."""
    return float(np.median(ground_share(fill_unknown(band_power(evidence)[:, 0]))))


def ground_share(noise):
    """Share of the ground in noise (N, 2, bands): a recorder's own spreads as its estimate does."""
    freedom = FREEDOM * np.array([[2], [1]])  # of the horizontals and of Z
    scatter = np.log10(stats.chi2.ppf(0.05, freedom) / stats.chi2.ppf(0.5, freedom))
    low, middle = np.quantile(noise, (0.05, 0.5), axis=0)
    return 1 - 10 ** np.minimum(low - middle - scatter, 0)


def band_rows(frequencies):
    """Rows of each band of BINS bins within BAND, list of int arrays."""
    rows = np.flatnonzero((frequencies >= BAND[0]) & (frequencies <= BAND[1]))
    return [rows[k : k + BINS] for k in range(0, len(rows) - BINS + 1, BINS)]


def band_power(evidence):
    """log10 of power in bands, E and N added up, float array (N, 6, 2 (horizontal, Z), bands)."""
    power = 10 ** evidence.power.astype(float)
    added = np.stack([power[:, :, 0] + power[:, :, 1], power[:, :, 2]], axis=2)
    bands = [added[..., rows].mean(axis=-1) for rows in band_rows(evidence.frequencies)]
    with np.errstate(divide="ignore"):
        values = np.log10(np.stack(bands, axis=-1))
    return np.where(np.isfinite(values), values, np.nan)
