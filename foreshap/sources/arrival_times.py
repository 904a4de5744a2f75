"""Arrivals nobody picked, predicted from the hypocentre: only when asked for, and marked."""

import re
from contextlib import suppress

import numpy as np
import pandas as pd
from obspy.geodetics import gps2dist_azimuth, kilometer2degrees
from obspy.taup import TauPyModel

from ..files import ForeshapError
from .picks import ORIGIN_COLUMNS, utc_times
from .responses import KEYS, PLACE, place_at

HYPOCENTRE = ORIGIN_COLUMNS[:4]


def predict_arrivals(pairs, places, predict):
    """Fill in the P and S times that are missing where hypocentre and station are known."""
    located = places.dropna(subset=PLACE[:2])
    if not set(HYPOCENTRE) <= set(pairs) or located.empty:
        raise ForeshapError(
            "No arrival can be predicted: the picks need origins with a depth, and the stations"
            f" need coordinates, from StationXML or the columns {', '.join(PLACE)} of the picks."
        )
    model = _model(predict)
    pairs = place_at(everywhere(pairs, pairs, located[KEYS].drop_duplicates()), places)
    complete = pairs[[*HYPOCENTRE, *PLACE[:2]]].notna().all(axis=1)
    missing = pairs[["p_time", "s_time"]].isna().any(axis=1)
    travel = np.full((2, len(pairs)), np.nan)
    for row in np.flatnonzero(complete & missing):
        place = pairs.loc[row, [*HYPOCENTRE[1:], *PLACE]].astype(float)
        with suppress(Exception):  # ObsPy raises many kinds for what is no place on earth
            travel[:, row] = _travel_times(model, *place)
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
    """Add a row without times for each of some events at each station where it has none."""
    names = ["event_id", *KEYS]
    source = [name for name in events if name.startswith("source_")]
    picked = pairs[pairs["station"] != ""]
    rows = events[["event_id", *source]].drop_duplicates("event_id").merge(stations, how="cross")
    known = pd.MultiIndex.from_frame(picked[names])
    rows = rows[~pd.MultiIndex.from_frame(rows[names]).isin(known)]
    no_time = pd.Series(pd.NaT, rows.index, pairs["p_time"].dtype)
    return pd.concat([picked, rows.assign(p_time=no_time, s_time=no_time)], ignore_index=True)


def _model(predict):
    """Make a TauPyModel, or (vp, vp_vs), of what predict_arrivals() is given."""
    try:
        if isinstance(predict, str):
            return TauPyModel(re.fullmatch("[A-Za-z0-9_-]+", predict)[0])  # no path
        vp, vp_vs = float(predict["vp"]), float(predict["vp_vs"])
        if not (0 < vp < np.inf and 1 < vp_vs < np.inf):
            raise ValueError("vp must be above 0 and vp_vs above 1")
        return vp, vp_vs
    except Exception as error:  # ObsPy raises whatever it meets
        raise ForeshapError(
            f"predict={predict!r} is no velocity and no model of ObsPy's TauPy ({error}): "
            "give {'vp': 6.0, 'vp_vs': 1.73}, or a name like iasp91."
        ) from error


def _travel_times(model, latitude, longitude, depth, *place):
    """P and S time [s] from a hypocentre (depth [km]) to a station's place."""
    distance = gps2dist_azimuth(latitude, longitude, *place[:2])[0] / 1000
    if isinstance(model, tuple):
        vp, vp_vs = model
        p_time = np.hypot(distance, depth + np.nan_to_num(place[2]) / 1000) / vp
        return p_time, p_time * vp_vs
    times = []
    for phases in ("ttp", "tts"):
        arrivals = model.get_travel_times(max(depth, 0), kilometer2degrees(distance), [phases])
        times.append(arrivals[0].time if arrivals else np.nan)
    return times
