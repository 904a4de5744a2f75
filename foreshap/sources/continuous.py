"""Continuous or event recordings with picks become the waveform layout, and so does noise."""

import math
import shutil
from functools import lru_cache, partial
from pathlib import Path

import obspy
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import periods
from ..preprocessing.variants import SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import INSTRUMENT_COLUMNS, LONGEST_S_P
from .arrival_times import KEYS, everywhere, predict_arrivals
from .instruments import check_choice, check_networks, fill_networks, one_instrument, take_networks
from .noise_windows import NOISE_S_P, QUIET_AFTER, QUIET_BEFORE, noise_pairs
from .picks import PICK_COLUMNS, read_picks, utc_times, why_unusable, with_trace_names
from .recordings import Station, index_recordings, read_recording
from .responses import PLACE, REMOVED, Responses, Unusable, place_at, read_inventory, station_places
from .writer import Offer, write_layout

MARGIN = 1.0  # s after the last window, more than a frame
NOISE_FOLDER = "noise"


def from_continuous(
    waveforms,
    picks,
    output,
    mainshock,
    seconds_after_p=20.0,
    seconds_after_s=15.0,
    instrument="*",
    inventory=None,
    predict=None,
):
    """Cut recordings around picked events in the waveform layout, with noise in <output>/noise.

    Recordings at other rates are resampled to 100 Hz. Pieces of several files are joined; where
    they overlap they must agree. With StationXML the response is removed: ground velocity in nm/s
    between 0.2 Hz and 0.8 of the Nyquist frequency (cosine flanks from 0.1 Hz and to 0.95), water
    level 60 dB, from 30 s more on each side than the window, at least 10 s, that are tapered; then
    components are turned to true east, north and up. Response, directions and place are those of
    the epoch at P. Without, the unit is that of SAC's idep, else counts; directions are those of
    SAC's cmpaz and cmpinc, else channels 1 and 2 are taken as north and east. What recorded a trace
    stands in the columns waveforms.INSTRUMENT_COLUMNS. `clipped` is 1 where the counts were clipped
    before they were resampled or became ground velocity.

    Events that the catalogue calls no earthquakes and rejected locations are rejected. A trace
    without an S pick has no S-P time: it serves the P variants.

    Noise windows hold no pick of the station and no origin time from 120 s before to 5 s after
    them. There are at most as many as events of a station and class; their S-P time has no meaning.

    waveforms: str or Path, a miniSEED or SAC file, or a folder of them, like an SDS archive
    picks: str or Path, of read_picks(); a network that is missing there or in the recordings is
        taken from the other, and the further columns of a .csv go into the tables
    output: str or Path, folder in the waveform layout
    mainshock: str or datetime [UTC], or Periods
    seconds_after_p, seconds_after_s: float, how far each trace reaches at least [s]
    instrument: str, location and band + instrument codes that may be used, with wildcards ("00.HH",
        "*.HH"); one a station is chosen: see one_instrument()
    inventory: str or Path of StationXML, a file or a folder of files, or None
    predict: None, then pairs without P are rejected; or a velocity or TauPy model, then
        arrivals nobody picked are predicted, and marked in p_predicted, s_predicted: see
        predict_arrivals()

    returns: Imported, of the events alone
    raises: ForeshapError where no recording or no pick can be read, no instrument is like the one
        wanted, two networks have a station of the same code, or a length is no number from 0 on
    """
    check_choice(instrument, seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s)
    spans = periods(mainshock)
    index = index_recordings(waveforms)
    inventory = None if inventory is None else read_inventory(inventory)
    catalogue = take_networks(read_picks(picks, pickless=True), index)
    catalogue, index = fill_networks(catalogue, index), fill_networks(index, catalogue)
    pairs = _pairs(catalogue, _places(catalogue, index, inventory), inventory, predict)
    chosen = one_instrument(index, pairs, instrument)
    picked = pairs[pairs["p_time"].notna()]
    codes = [code for code in zip(picked["network"], picked["station"]) if code in chosen]
    check_networks(codes, "give the picks or the recordings of one network")
    stations = {}
    responses = None if inventory is None else Responses(inventory)
    read = lru_cache(maxsize=6)(read_recording)
    for (network, station), used in chosen.items():
        own = index[(index["network"] == network) & (index["station"] == station)]
        stations[network, station] = Station(used, own.drop(used.index), read, responses)
    attributes = _attributes(responses, chosen)
    lengths = seconds_after_p, seconds_after_s
    events = catalogue if predict is None else pairs
    quiet = noise_pairs(events, chosen, spans, _length(NOISE_S_P, lengths) / SAMPLING_RATE)
    noise = _offers(with_trace_names(quiet), stations, lengths)
    columns = [*INSTRUMENT_COLUMNS, "clipped"]
    columns += [name for name in pairs if name not in (*PICK_COLUMNS, "reason")]
    write_noise = partial(_write_noise, Path(output), noise, spans, len(quiet), attributes)
    offers = _offers(pairs, stations, lengths)
    return write_layout(output, offers, spans, columns, write_noise, **attributes)


def _write_noise(output, offers, spans, number, attributes, folder):
    """Write noise windows beside new events in a folder; those of an earlier run go out with it."""
    rule = f"no pick or origin from {QUIET_BEFORE:g} s before to {QUIET_AFTER:g} s after a window"
    new, old = folder / NOISE_FOLDER, output / NOISE_FOLDER
    columns = INSTRUMENT_COLUMNS
    if not (number and write_layout(new, offers, spans, columns, noise=rule, **attributes).written):
        shutil.rmtree(new, ignore_errors=True)
    if old.exists():
        shutil.rmtree(old.rename(folder / f".{NOISE_FOLDER}"))


def _places(pairs, index, inventory):
    """Where the stations with recordings stand, NaN where unknown: DataFrame KEYS, PLACE."""
    if inventory is None:
        places = pairs.reindex(columns=[*KEYS, *PLACE]).dropna(subset=PLACE[:2])
        places = places.drop_duplicates(KEYS)
    else:
        places = station_places(inventory)
    return index[KEYS].drop_duplicates().merge(places, on=KEYS, how="left")


def _pairs(catalogue, places, inventory, predict):
    """Pairs that are offered, sorted by station and P time, with all known of source and place."""
    if not (catalogue["station"] != "").any() and predict is None:
        raise ForeshapError(
            "There is no P or S pick: give picks with the phase hints P and S, or predict them."
        )
    recorded = places[KEYS].drop_duplicates()
    picked = catalogue.merge(recorded)["event_id"]
    pairs = everywhere(catalogue, catalogue[~catalogue["event_id"].isin(picked)], recorded)
    if predict is not None:
        pairs = predict_arrivals(pairs, places, predict)
    elif inventory is not None:
        pairs = place_at(pairs, places)
    if "source_origin_time" in pairs:
        origin = utc_times(pairs["source_origin_time"])
        pairs["p_travel_sec"] = (pairs["p_time"] - origin).dt.total_seconds()
        pairs["s_travel_sec"] = (pairs["s_time"] - origin).dt.total_seconds()
    return with_trace_names(pairs).sort_values(["station", "p_time"], ignore_index=True)


def _attributes(responses, chosen):
    """What the files say about unit and directions, dict."""
    if responses is not None:
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


def _offers(pairs, stations, lengths):
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
        station = stations.get((pair["network"], pair["station"]))
        try:
            samples, start, about = _cut(pair, row["p_s_diff_sec"], station, lengths)
        except Unusable as reason:
            yield Offer(row, None, str(reason))
            continue
        yield Offer(row | about | {"trace_start_time": str(start)}, samples)


def _cut(pair, s_p, station, lengths):
    """What Station.window() gives of a pair; raises Unusable."""
    reason = why_unusable(pair)
    if not reason and pd.isna(pair["p_time"]):
        reason = "P missing"
    elif not reason and s_p <= 0:
        reason = "S-P zero or negative"
    elif not reason and s_p > LONGEST_S_P:
        reason = "S-P longer than 1000 s"
    elif not reason and station is None:
        reason = "no waveform of this station"
    if reason:
        raise Unusable(reason)
    start = obspy.UTCDateTime(ns=pair["p_time"].value) - SECONDS_BEFORE_P
    return station.window(start, _length(s_p, lengths))


def _length(s_p, lengths):
    """Samples of a trace that reaches far enough after P and after S."""
    after_p, after_s = lengths
    if not math.isnan(s_p):
        after_p = max(after_p, s_p + after_s)
    return math.ceil((SECONDS_BEFORE_P + after_p + MARGIN) * SAMPLING_RATE)
