"""Everything that the witnesses look at, read once."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from ..files import ForeshapError
from ..preprocessing.waveforms import known_s_p, known_stations, known_times
from . import features
from .day_blocks import day_blocks
from .plain_models import LEAST

SECOND_EVENT = 2.5  # power after over before a second onset, from which a window holds two events
SECOND_AFTER = 0.9  # s after S
NEEDED = ("noise", "P", "S")  # windows of cross-spectra that an event must have
SHORTEST_S_P = 0.05  # of own onsets [s]


@dataclass(frozen=True)
class Evidence:
    """A dataset's N events as the witnesses see them."""

    labels: np.ndarray  # int (N,), 0 foreshock, 1 aftershock
    days: np.ndarray  # float (N,), after the mainshock; NaN where unknown
    blocks: np.ndarray  # int (N,), of day_blocks()
    table: pd.DataFrame  # of the tensor file
    catalogue: pd.DataFrame  # of features.catalogue(), with own S-P, and hypocentres [km]
    measurements: pd.DataFrame | None  # of the cross-spectra's file
    cross: np.ndarray | None  # complex64 (N, 6, F, 3, 3): noise, P, S, coda 1 to 3
    cross_frequencies: np.ndarray | None  # float (F,) [Hz]
    tensor_spectra: np.ndarray  # float32 (N, 6, 3, F), of features.window_spectra()
    own_size: np.ndarray | None  # float (N,), log10 of amplitude below the corner, at one distance
    clean: np.ndarray  # bool (N,), windows without a second event, with what witnesses need
    left_out: dict  # reason -> number of events that are not clean
    variant: object  # Variant
    calibrated: bool  # the power of different events compares
    noise: object = None  # Spectrograms of windows without an event
    station_record: object = None  # str or Path
    seed: int = 0

    @property
    def power(self):
        """log10 of power, float array (N, 6 windows, 3, F): of cross-spectra, else of tensors."""
        if self.cross is None:
            return self.tensor_spectra
        diagonal = np.einsum("nwfcc->nwcf", self.cross).real
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(diagonal)

    @property
    def frequencies(self):
        """Frequencies of power, float array (F,) [Hz]."""
        return self.variant.frequencies if self.cross is None else self.cross_frequencies

    def only(self, chosen):
        """Take some of the events (bool array (N,)) as Evidence."""
        rows = np.flatnonzero(chosen)
        taken = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, pd.DataFrame):
                taken[field.name] = value.iloc[rows].reset_index(drop=True)
            elif isinstance(value, np.ndarray) and field.name != "cross_frequencies":
                taken[field.name] = value[rows]
        return replace(self, **taken)


def gather_evidence(spectrograms, cross_spectra=None, seed=0, noise=None, station_record=None):
    """Read a tensor file, and its cross-spectra where there are any, for all witnesses.

    spectrograms: Spectrograms
    cross_spectra: CrossSpectra, or None; its events are found by trace name
    seed: int, of folds and resamples
    noise: Spectrograms of windows without an event, or None
    station_record: str or Path, or None

    returns: Evidence
    raises: ForeshapError where a class has too few events
    """
    table, labels = spectrograms.table, np.asarray(spectrograms.labels).astype(int)
    spectra = features.window_spectra(spectrograms)
    calibrated = "scaled" not in spectrograms.attributes
    days = days_after(table, labels, spectrograms.attributes.get("mainshock"))
    cross, measurements, frequencies = None, None, None
    if cross_spectra is not None:
        cross, measurements = _of_these_events(cross_spectra, table)
        frequencies = cross_spectra.frequencies
    catalogue = _catalogue(table, measurements)
    clean, left_out = _clean(spectra, table, cross, measurements, frequencies)
    counts = np.bincount(labels[clean], minlength=2)
    if counts.min() < LEAST:
        names = f"{counts[0]} foreshocks, {counts[1]} aftershocks"
        raise ForeshapError(
            f"{spectrograms.path} can't be controlled, too few events: {names}, {LEAST} are "
            "needed, each with undisturbed noise before P."
        )
    return Evidence(
        labels=labels,
        days=days,
        blocks=day_blocks(days, labels),
        table=table,
        catalogue=catalogue,
        measurements=measurements,
        cross=cross,
        cross_frequencies=frequencies,
        tensor_spectra=spectra,
        own_size=_own_size(spectra, spectrograms.variant, catalogue, measurements, calibrated),
        clean=clean,
        left_out=left_out,
        variant=spectrograms.variant,
        calibrated=calibrated,
        noise=noise,
        station_record=station_record,
        seed=seed,
    )


def days_after(table, labels, mainshock=None):
    """Days (N,) from a mainshock between the classes, else from their gap's middle, else NaN."""
    times = known_times(table)
    days = (times - times.min()).dt.total_seconds().to_numpy() / 86400
    last = days[labels == 0].max(initial=-np.inf)
    first = days[labels == 1].min(initial=np.inf)
    if not np.isfinite([last, first]).all() or last > first:  # NaN: a time is missing
        return np.full(len(table), np.nan)
    stated = pd.to_datetime(str(mainshock), utc=True, errors="coerce")
    stated = (stated - times.min()).total_seconds() / 86400  # NaN where it is no date
    return days - (stated if last <= stated <= first else (last + first) / 2)


def _of_these_events(cross_spectra, table):
    """Cross-spectra and measurements in the order of a table; NaN for events that have none."""
    rows = pd.Index(cross_spectra.table["trace_name"]).get_indexer(table["trace_name"])
    unknown = rows < 0
    if unknown.all():
        raise ForeshapError(
            f"{cross_spectra.path} holds none of the tensors' events: preprocess them together."
        )
    cross = cross_spectra.values[rows]
    measurements = cross_spectra.table.iloc[rows].reset_index(drop=True)
    measurements = measurements.drop(columns=["trace_name", "label", "station"], errors="ignore")
    measurements = measurements.astype(float)
    cross[unknown], measurements.loc[unknown] = np.nan, np.nan
    return cross, measurements


def _catalogue(table, measurements):
    """The catalogue with the own S-P in the place of the catalogue's, and hypocentres in km."""
    catalogue = features.catalogue(table)
    if measurements is not None and "S-P" in catalogue:
        own = known_s_p(table) + measurements["s_onset"] - measurements["p_onset"]
        own = np.log10(own.where(own > SHORTEST_S_P).to_numpy())
        catalogue["S-P"] = np.where(np.isfinite(own), own, catalogue["S-P"])
    if {"distance", "azimuth, sine", "azimuth, cosine"} <= set(catalogue):
        catalogue["east"] = catalogue["distance"] * catalogue["azimuth, sine"]
        catalogue["north"] = catalogue["distance"] * catalogue["azimuth, cosine"]
    return catalogue


def _clean(spectra, table, cross, measurements, frequencies):
    """Which events have one earthquake in their window and all that witnesses need; and why not."""
    reasons = {"noise window with another event's coda": ~features.quiet_before_p(spectra, table)}
    if cross is not None:
        usable = frequencies > 1
        needed = np.einsum("nwfcc->nwcf", cross[:, : len(NEEDED)]).real[..., usable]
        reasons["window without a frame or without power"] = ~(needed > 0).all(axis=(1, 2, 3))
        second = measurements["second_contrast"] > SECOND_EVENT
        second &= measurements["second_onset"] > SECOND_AFTER
        reasons["second event in the window"] = second.to_numpy()
    clean = ~np.any(list(reasons.values()), axis=0)
    return clean, {reason: int(rows.sum()) for reason, rows in reasons.items()}


def _own_size(spectra, variant, catalogue, measurements, calibrated):
    """log10 of the amplitude below the corner times S-P, float (N,); None if it can't be known."""
    if measurements is None and not calibrated:
        return None
    if measurements is not None:
        level = measurements["level_below_corner"].to_numpy()
    else:
        below = features.usable_rows(variant, 2, 6)
        level = features.known_mean(0.5 * spectra[:, 2][..., below], (1, 2))
    if not np.isfinite(level).any():
        return None
    return level + (catalogue["S-P"].to_numpy() if "S-P" in catalogue else 0.0)


def stations_of(evidence):
    """Station of each event, array (N,) of str."""
    return known_stations(evidence.table).to_numpy()
