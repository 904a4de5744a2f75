"""Arrivals nobody picked, predicted from the hypocentre: only when asked for, and marked."""

import re
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from obspy.geodetics import gps2dist_azimuth, kilometer2degrees

from ..files import ForeshapError
from .picks import ORIGIN_COLUMNS, utc_times
from .responses import PLACE, place_at

KEYS = ["network", "station"]
HYPOCENTRE = ORIGIN_COLUMNS[:4]
P_PHASES = ["p", "P", "Pn", "Pdiff", "PKP", "PKIKP"]
S_PHASES = ["s", "S", "Sn", "Sdiff", "SKS", "SKIKS"]


class Velocity(NamedTuple):
    """A homogeneous earth: P velocity [km/s] and the ratio of P to S velocity."""

    vp: float
    vp_vs: float


def predict_arrivals(pairs, places, predict):
    """Fill in the P and S times that are missing where hypocentre and station are known.

    Where one of the two is picked, the other follows from it by the predicted S-P time; where none
    is, both follow from the origin time. Events without a pick at a station get a row there.

    pairs: DataFrame of read_picks(pickless=True)
    places: DataFrame network, station, receiver_latitude, receiver_longitude [degree],
        receiver_elevation_m
    predict: Velocity, or a dict of vp [km/s] and vp_vs, for straight rays; or a str, the name of
        one of ObsPy's TauPy models ("iasp91", "ak135"), for the first arrivals at sea level from a
        depth of at least 0

    returns: DataFrame with the columns of pairs and places, p_predicted and s_predicted (0 or 1)
    raises: ForeshapError where no event has a hypocentre, no station a place, or predict is neither
    """
    located = places.dropna(subset=PLACE[:2])
    if not set(HYPOCENTRE) <= set(pairs) or located.empty:
        raise ForeshapError(
            "No arrival can be predicted: the picks need origins with a depth, and the stations"
            f" need coordinates, from StationXML or the columns {', '.join(PLACE)} of the picks."
        )
    travel_times = _model(predict)
    pairs = everywhere(pairs, pairs, located[KEYS].drop_duplicates())
    pairs = place_at(pairs, places)
    complete = pairs[[*HYPOCENTRE, *PLACE[:2]]].notna().all(axis=1)
    missing = pairs[["p_time", "s_time"]].isna().any(axis=1)
    travel = np.full((2, len(pairs)), np.nan)
    for row in np.flatnonzero(complete & missing):
        place = pairs.loc[row, [*HYPOCENTRE[1:], *PLACE]].astype(float)
        with suppress(Exception):  # ObsPy raises many kinds for what is no place on earth
            travel[:, row] = travel_times(*place)
    p, s = (pd.to_timedelta(pd.Series(times).round(6), unit="s") for times in travel)
    origin = utc_times(pairs["source_origin_time"])
    p_time = pairs["p_time"].fillna(pairs["s_time"] - (s - p)).fillna(origin + p)
    s_time = pairs["s_time"].fillna(pairs["p_time"] + (s - p)).fillna(origin + s)
    return pairs.assign(
        p_time=p_time,
        s_time=s_time,
        p_predicted=(pairs["p_time"].isna() & p_time.notna()).astype(int),
        s_predicted=(pairs["s_time"].isna() & s_time.notna()).astype(int),
    )


def everywhere(pairs, events, stations):
    """Add a row without times for each of some events at each station where it has none.

    pairs, events: DataFrame of read_picks(pickless=True); events are some of its rows
    stations: DataFrame network, station
    """
    names = ["event_id", *KEYS]
    source = [name for name in events if name.startswith("source_")]
    picked = pairs[pairs["station"] != ""]
    rows = events[["event_id", *source]].drop_duplicates("event_id").merge(stations, how="cross")
    known = pd.MultiIndex.from_frame(picked[names])
    rows = rows[~pd.MultiIndex.from_frame(rows[names]).isin(known)]
    no_time = pd.Series(pd.NaT, rows.index, pairs["p_time"].dtype)
    rows = rows.assign(p_time=no_time, s_time=no_time)
    further = picked.columns.difference(rows.columns)
    picked = picked.astype(dict.fromkeys(further, object))  # whole numbers stay whole
    return pd.concat([picked, rows], ignore_index=True)


def _model(predict):
    """Function (latitude, longitude, depth [km], station's place) -> P and S time [s]."""
    try:
        if isinstance(predict, str):
            from obspy.taup import TauPyModel

            name = re.fullmatch("[A-Za-z0-9_-]+", predict)[0]  # no path
            return partial(_first_arrivals, TauPyModel(name))
        velocity = Velocity(**predict) if isinstance(predict, dict) else Velocity(*predict)
        vp, vp_vs = float(velocity.vp), float(velocity.vp_vs)
        if not (0 < vp < np.inf and 1 < vp_vs < np.inf):
            raise ValueError("vp must be above 0 and vp_vs above 1")
    except Exception as error:  # ObsPy raises whatever it meets
        raise ForeshapError(
            f"predict={predict!r} is no velocity and no model of ObsPy's TauPy ({error}): "
            "give {'vp': 6.0, 'vp_vs': 1.73}, or a name like iasp91."
        ) from error
    return partial(_straight, vp, vp_vs)


def _straight(vp, vp_vs, latitude, longitude, depth, *station):
    """P and S time [s] along the straight ray from hypocentre to station."""
    epicentral = gps2dist_azimuth(latitude, longitude, *station[:2])[0] / 1000
    length = np.hypot(epicentral, depth + np.nan_to_num(station[2]) / 1000)
    return length / vp, length / vp * vp_vs


def _first_arrivals(model, latitude, longitude, depth, *station):
    """P and S time [s] of the first arrivals in a TauPy model, NaN where there is none."""
    degrees = kilometer2degrees(gps2dist_azimuth(latitude, longitude, *station[:2])[0] / 1000)
    times = []
    for phases in (P_PHASES, S_PHASES):
        arrivals = model.get_travel_times(max(depth, 0.0), degrees, phase_list=phases)
        times.append(arrivals[0].time if arrivals else np.nan)
    return times
