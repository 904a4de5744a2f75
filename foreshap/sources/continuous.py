"""Continuous or event recordings with picks become the waveform layout, and so does noise."""

import math
import shutil
from functools import lru_cache, partial
from pathlib import Path

import obspy
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import EARLIEST, LATEST, periods
from ..preprocessing.variants import SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import INSTRUMENT_COLUMNS, LONGEST_S_P
from .arrival_times import everywhere, predict_arrivals
from .instruments import fill_networks, one_instrument, take_networks
from .noise_windows import NOISE_S_P, noise_pairs
from .picks import PICK_COLUMNS, read_picks, utc_times, why_unusable, with_trace_names
from .recordings import Station, index_recordings, read_recording
from .responses import KEYS, PLACE, REMOVED, list_epochs, place_at, read_inventory, station_places
from .writer import Offer, Unusable, seconds_after_p, write_layout


def from_continuous(
    waveforms, picks, output, mainshock, instrument="*", inventory=None, predict=None
):
    """Cut recordings around picked events in the waveform layout, with noise in <output>/noise.

    Recordings at other rates are resampled to 100 Hz; pieces of several files are joined. With
    StationXML the response is removed: ground velocity in nm/s between 0.2 Hz and 0.8 of the
    Nyquist frequency (cosine flanks from 0.1 Hz and to 0.95), water level 60 dB, from 30 s more on
    each side than the window, at least 10 s, that are tapered; then components are turned to true
    east, north and up. Response, directions and place are those of the epoch at P. Without, unit
    and directions are those of SAC's idep, cmpaz and cmpinc, else counts, channels 1 and 2 as north
    and east. What recorded a trace stands in the columns waveforms.INSTRUMENT_COLUMNS; `clipped` is
    1 where the counts were clipped before they changed.

    Events that the catalogue calls no earthquakes and rejected locations are rejected. A trace
    without an S pick has no S-P time: it serves the P variants. Noise windows hold no pick of the
    station and no origin time from 120 s before to 5 s after them, at most as many as events of a
    station and class; their S-P time has no meaning.

    waveforms: str or Path, a miniSEED or SAC file, or a folder of them, like an SDS archive
    picks: str or Path, of read_picks(); its further columns go into the tables
    output: str or Path, folder in the waveform layout
    mainshock: str or datetime [UTC], or Periods
    instrument: str, location and band + instrument codes that may be used, with wildcards ("00.HH",
        "*.HH"); one a station is chosen: see one_instrument()
    inventory: str or Path of StationXML, a file or a folder of files, or None
    predict: None; or dict of vp [km/s] and vp_vs, for straight rays; or str, the name of a TauPy
        model ("iasp91", "ak135"): arrivals nobody picked are predicted, from the other pick where
        there is one, else from the origin time, and marked in p_predicted, s_predicted

    returns: Imported, of the events alone
    raises: ForeshapError where no recording or no pick can be read, no instrument is like the one
        wanted, or two networks have a station of the same code
    """
    spans = periods(mainshock)
    index = index_recordings(waveforms)
    inventory = None if inventory is None else read_inventory(inventory)
    catalogue = take_networks(read_picks(picks, pickless=True), index)
    catalogue, index = fill_networks(catalogue, index), fill_networks(index, catalogue)
    pairs = _pairs(catalogue, index, inventory, predict)
    chosen = one_instrument(index, pairs, instrument)
    stations = {}
    epochs = None if inventory is None else list_epochs(inventory)
    read = lru_cache(maxsize=6)(read_recording)
    for (network, station), used in chosen.items():
        own = index[(index["network"] == network) & (index["station"] == station)]
        stations[network, station] = Station(used, own.drop(used.index), read, epochs)
    attributes = _attributes(inventory, chosen)
    events = catalogue if predict is None else pairs
    quiet = noise_pairs(events, chosen, spans, _length(NOISE_S_P) / SAMPLING_RATE)
    noise = _offers(with_trace_names(quiet), stations) if len(quiet) else None
    columns = [*INSTRUMENT_COLUMNS, "clipped"]
    columns += [name for name in pairs if name not in (*PICK_COLUMNS, "reason")]
    write_noise = partial(_write_noise, Path(output), noise, spans, attributes)
    offers = _offers(pairs, stations)
    return write_layout(output, offers, spans, columns, write_noise, **attributes)


def _write_noise(output, offers, spans, attributes, folder):
    """Write noise windows beside new events in a folder; those of an earlier run go out with it."""
    new, old = folder / "noise", output / "noise"
    if not (offers and write_layout(new, offers, spans, INSTRUMENT_COLUMNS, **attributes).written):
        shutil.rmtree(new, ignore_errors=True)
    if old.exists():
        shutil.rmtree(old.rename(folder / ".noise"))


def _pairs(catalogue, index, inventory, predict):
    """Pairs that are offered, sorted by station and P time, with all known of source and place."""
    recorded = index[KEYS].drop_duplicates()
    picked = catalogue.merge(recorded)["event_id"]
    pairs = everywhere(catalogue, catalogue[~catalogue["event_id"].isin(picked)], recorded)
    if inventory is None:
        places = catalogue.reindex(columns=[*KEYS, *PLACE]).dropna(subset=PLACE[:2])
        places = places.drop_duplicates(KEYS).assign(since=EARLIEST, until=LATEST)
    else:
        places = station_places(inventory)
    if predict is not None:
        pairs = predict_arrivals(pairs, recorded.merge(places, on=KEYS), predict)
    elif inventory is not None:
        pairs = place_at(pairs, places)
    if "source_origin_time" in pairs:
        origin = utc_times(pairs["source_origin_time"])
        pairs["p_travel_sec"] = (pairs["p_time"] - origin).dt.total_seconds()
        pairs["s_travel_sec"] = (pairs["s_time"] - origin).dt.total_seconds()
    return with_trace_names(pairs).sort_values(["station", "p_time"], ignore_index=True)


def _attributes(inventory, chosen):
    """What the files say about unit and directions, dict."""
    if inventory is not None:
        directions = "true east, north, up"
        return {"unit": "nm/s", "response": REMOVED, "orientation": directions}
    used = pd.concat(chosen.values())
    units = used.drop_duplicates("unit")
    if len(units) > 1:
        examples = ", ".join(units["unit"] + " in " + units["path"].astype(str))
        raise ForeshapError(
            f"The recordings have several units ({examples}): correct SAC's idep, or import each"
            " alone."
        )
    orientation = "by the channel codes"
    if used["azimuth"].notna().all():
        orientation = "true east, north, up, by SAC's cmpaz and cmpinc"
    elif used["seed_id"].str.contains("[12]$").any():
        orientation = "channel 1 taken as north, 2 as east: no azimuths were given"
    return {"unit": units["unit"].iloc[0], "orientation": orientation}


def _offers(pairs, stations):
    """Yield an Offer of each pair of picks."""
    for pair in tqdm(pairs.to_dict("records"), desc="cutting", unit="event"):
        begin = pair["p_time"] - pd.Timedelta(seconds=SECONDS_BEFORE_P)
        row = {
            **pair,
            "network_code": pair["network"],
            "receiver_name": pair["station"],
            "source_id": pair["event_id"],
            "trace_start_time": "" if pd.isna(begin) else str(begin),
            "p_s_diff_sec": (pair["s_time"] - pair["p_time"]).total_seconds(),
        }
        try:
            station = stations.get((pair["network"], pair["station"]))
            samples, start, about = _cut(pair, row["p_s_diff_sec"], station)
            yield Offer(row | about | {"trace_start_time": str(start)}, samples)
        except Unusable as reason:
            yield Offer(row, None, str(reason))


def _cut(pair, s_p, station):
    """What Station.window() gives of a pair; raises Unusable."""
    reasons = {
        why_unusable(pair): True,
        "P missing": pd.isna(pair["p_time"]),
        "S-P zero or negative": s_p <= 0,
        "S-P longer than 1000 s": s_p > LONGEST_S_P,
        "no waveform of this station": station is None,
    }
    for reason, applies in reasons.items():
        if reason and applies:
            raise Unusable(reason)
    start = obspy.UTCDateTime(ns=pair["p_time"].value) - SECONDS_BEFORE_P
    return station.window(start, _length(s_p))


def _length(s_p):
    """Samples of a trace that reaches far enough after P and after S."""
    return math.ceil((SECONDS_BEFORE_P + seconds_after_p(s_p)) * SAMPLING_RATE)
