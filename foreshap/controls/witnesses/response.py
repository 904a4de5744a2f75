"""Did the response of sensor, mount or recorder change? Windows, places and noise can tell.

A steady linear change of the station multiplies every window of an event alike, acts on every
place alike, and acts on the ground's noise as on the signal. What differs is no response.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from ...training.scores import interval_95
from ..features import fill_unknown
from .coda_of_sequence import noise_level
from .finding import finding, in_words, mute
from .noise import band_power, band_rows, ground_share
from .signal import Change, change, class_means, held_out, signal_features, without_catalogue

HEARD, HEARD_SHARE = 3.0, 0.75  # times the noise's power, in this share of the events
WINDOWS_EXCLUDE = 0.58  # lower end of the ROC AUC of windows against each other, if it is
WINDOWS_SHARE = 0.25  # of the signal's distance at least: a strong response leaks into ratios
WINDOWS_ALONE = 0.72  # lower end that excludes whatever the signal's distance
WINDOWS_SURVIVE, SHARE_SURVIVES = 0.65, 0.35  # the same beside a noise that shows a response
PLACE_EXCLUDES = 0.3  # rise of the R2 of scores on the hypocentre
GROUND = 0.25  # share of the ground in the noise, from which a bin could have shown a response
MODES = 4  # of the noise's covariance, between blocks of days
QUIET_ERROR = 0.25  # standard error of b, above which the noise acquits nobody
RELIABLE = 0.3  # share of the prediction's variance that is not scatter


@dataclass(frozen=True)
class NoiseAnswer:
    """Regression of the noise's change on the change that a response predicts: slope b, 1 or 0."""

    b: float = np.nan
    low: float = np.nan
    high: float = np.nan
    error: float = np.inf
    low_bins: float = np.nan  # where bins count as independent
    high_bins: float = np.nan
    in_ground: float = 0.0  # share of the squared change of the signal in bins with ground noise
    reliability: float = 0.0  # share of the prediction's variance that is not scatter
    changed: float = 0.0  # the noise's own change over its scatter, rms

    @property
    def excludes(self):
        """Whether the noise would have shown the change, and does not."""
        precise = self.error < QUIET_ERROR and self.in_ground > 0.5 and self.reliability > 0.5
        near_zero = self.high < 0.5 and self.high_bins < 0.65 and self.low > -0.75
        return bool(precise and near_zero)

    @property
    def shows(self):
        """Whether the noise changes as the signal does."""
        both = min(self.low, self.low_bins) > 0.5
        return bool(both and (self.reliability > RELIABLE or self.changed > 3))

    @property
    def why_mute(self):
        """Why the noise says nothing of the response, str."""
        if self.in_ground < 0.5:
            return "it is the recorder's own where the signal changes"
        if self.reliability < 0.5:
            return "the signal hardly changes"
        return f"its slope is known to {self.error:.2f} only"


def examine_response(evidence, signal, under_coda=False):
    """Ask windows, places and, unless under_coda, the noise; signal: its matched Change."""
    if evidence.cross is None:
        witness = "windows of an event against each other"
        return mute("response", "the tensors hold no cross-spectra", witness=witness)
    windows = _ask_windows(evidence)
    rise = rise_of_place(evidence)
    noise = NoiseAnswer() if under_coda else ask_the_noise(evidence, signal.weights)
    share = max(windows.distance, 0) / max(signal.distance, 0.1)
    strong = windows.low > WINDOWS_EXCLUDE and share > WINDOWS_SHARE
    answers = {
        "windows": windows.low > WINDOWS_ALONE or strong,
        "places": rise > PLACE_EXCLUDES,
        "noise": noise.excludes,
    }
    saw = [f"windows against each other: ROC AUC {in_words(*windows.interval)}"]
    if np.isfinite(share):
        saw.append(f"{share:.0%} of the signal's distance")
    if np.isfinite(rise):
        saw.append(f"R2 on the hypocentre rises by {rise:.2f}")
    if np.isfinite(noise.b):
        slope = in_words(noise.b, noise.low, noise.high)
        saw.append(f"noise follows the signal with a slope of {slope}, 1: a response, 0: none")
    could_see = "what acts on all windows alike is seen by the noise alone"
    if not noise.excludes and not noise.shows:
        why = "the coda of the sequence hides it" if under_coda else noise.why_mute
        could_see += f", which was mute: {why}"
    speaking = [name for name, excludes in answers.items() if excludes]
    state, others = "open", {}
    if noise.shows:
        besides = windows.low > WINDOWS_SURVIVE and share > SHARE_SURVIVES
        state = "survived" if besides else "shown"
    elif speaking:
        state, others = "excluded", {"witness": " and ".join(speaking)}
    return finding("response", state, "; ".join(saw), could_see, windows.interval, **others)


def _ask_windows(evidence):
    """Change of the windows against each other; without numbers where nothing is heard."""
    ratios = windows_against_each_other(evidence)
    if ratios.shape[1] == 0:
        return Change(None, None)
    catalogue = evidence.catalogue
    found = change(evidence, catalogue.assign(level=noise_level(evidence)), ratios)
    return found if np.isfinite(found.auc) else change(evidence, catalogue, ratios)


def windows_against_each_other(evidence):
    """log10 of P over S and of S over coda of each event, in bands that are heard, DataFrame."""
    cross = evidence.cross.astype(complex)
    horizontal = (cross[..., 0, 0] * cross[..., 1, 1]).real - np.abs(cross[..., 0, 1]) ** 2
    above = evidence.power[:, 1:] - evidence.power[:, :1]
    heard = (np.nan_to_num(above, nan=-9.0) > np.log10(HEARD)).mean(axis=0) > HEARD_SHARE
    kinds = {"H": (horizontal, [0, 1]), "Z": (cross[..., 2, 2].real, [2])}
    columns = {}
    for kind, (values, components) in kinds.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(np.maximum(values, 1e-30))
        for name, first, second in (("P/S", 1, 2), ("S/coda", 2, 3)):
            both = heard[[first - 1, second - 1]][:, components].all(axis=(0, 1))
            ratio = logs[:, first] - logs[:, second]
            for rows in band_rows(evidence.frequencies):
                rows = rows[both[rows]]
                if len(rows):
                    centre = evidence.frequencies[rows].mean()
                    columns[f"{kind} {name} {centre:.0f} Hz"] = ratio[:, rows].mean(axis=1)
    table = pd.DataFrame(columns, index=range(len(cross)))
    return pd.DataFrame(fill_unknown(table), columns=table.columns)


def rise_of_place(evidence):
    """Rise of the R2 of scores on hypocentres: a change of a part of the fault raises it."""
    names = [n for n in ("east", "north", "depth") if n in evidence.catalogue]
    if len(names) < 2:
        return np.nan
    others = [name for name in ("magnitude", "noise") if name in evidence.catalogue]
    covariates = evidence.catalogue[others]
    values = without_catalogue(signal_features(evidence), covariates, evidence.labels)
    scores = held_out(values, evidence.labels, evidence.blocks, seed=evidence.seed)
    place = evidence.catalogue[names].to_numpy()
    explained = []
    for label in (0, 1):
        rows = np.flatnonzero(evidence.labels == label)
        explained.append(_held_out_r2(place[rows], scores[rows]))
    return explained[1] - explained[0]


def _held_out_r2(x, y, folds=5):
    """R2 of a regression on products up to the third order, on held-out events; at least 0."""
    model = make_pipeline(StandardScaler(), PolynomialFeatures(3), Ridge(3.0))
    fold = np.random.default_rng(0).permutation(len(x)) % folds
    predicted = cross_val_predict(model, x, y, cv=PredefinedSplit(fold))
    return max(0.0, 1 - np.mean((y - predicted) ** 2) / np.var(y))


def ask_the_noise(evidence, weights):
    """Regress the noise's change on what a response with the signal's change would do to it."""
    power = band_power(evidence)[:, :4]
    known = np.isfinite(power).any(axis=0)[1:]
    power = fill_unknown(power)
    share = ground_share(power[:, 0])
    heard = ((power[:, 1:] - power[:, :1]) > np.log10(HEARD)).mean(axis=0) > HEARD_SHARE
    heard &= known
    flat = without_catalogue(power.reshape(len(power), -1), evidence.catalogue, evidence.labels)
    before, after = class_means(flat, evidence, weights)
    changes = (after - before).reshape(-1, *power.shape[1:])
    noise, signal = changes[:, 0], changes[:, 1:]
    trust = np.where(heard, 1 / (signal[1:].var(axis=0) + 1e-6), 0.0)
    some = trust.sum(axis=0) > 0
    if some.sum() < 3:
        return NoiseAnswer()
    signal = (signal * trust).sum(axis=1)[:, some] / trust.sum(axis=0)[some]
    share, noise = share[some], noise[:, some]
    predicted = np.log10(np.maximum(1 + share * (10**signal - 1), 1e-3))
    if not predicted[0].any():  # no ground in the noise
        return NoiseAnswer()
    squared = signal[0] ** 2
    scatter = predicted[1:].var(axis=0).sum() / np.square(predicted[0]).sum()
    return NoiseAnswer(
        *_slope(noise, predicted, MODES),
        *_slope(noise, predicted, 0)[1:3],
        in_ground=float(squared[share > GROUND].sum() / squared.sum()),
        reliability=float(1 - scatter),
        changed=float(np.sqrt(np.mean(noise[0] ** 2 / noise[1:].var(axis=0)))),
    )


def _slope(noise, predicted, modes):
    """Generalised least squares through 0, leading modes correlated: slope, low, high, error."""
    covariance = np.cov(noise[1:].T)
    variance = np.diag(covariance)
    values, vectors = np.linalg.eigh(covariance)
    leading = (vectors * values)[:, len(values) - modes :] @ vectors[:, len(values) - modes :].T
    rest = np.maximum(variance - np.diag(leading), 1e-3 * variance)
    inverse = np.linalg.inv(leading + np.diag(rest) + 1e-5 * np.eye(len(variance)))
    weighted = predicted @ inverse
    slopes = (weighted * noise).sum(axis=1) / (weighted * predicted).sum(axis=1)
    return float(slopes[0]), *interval_95(slopes[1:]), float(slopes[1:].std())
