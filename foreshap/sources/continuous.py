"""Continuous or event recordings with picks become the waveform layout, and so do quiet windows between the events."""

import math
import shutil
from functools import lru_cache
from pathlib import Path

import obspy
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..preprocessing.periods import periods
from ..preprocessing.variants import SAMPLING_RATE, SECONDS_BEFORE_P
from ..preprocessing.waveforms import LONGEST_S_P
from .arrival_times import everywhere, predict_arrivals
from .instruments import check_choice, check_networks, one_instrument, shared_networks
from .noise_windows import NOISE_S_P, QUIET_AFTER, QUIET_BEFORE, noise_pairs
from .picks import PICK_COLUMNS, PLACE, named, read_picks, utc_times
from .recordings import Station, index_recordings, read_stretches
from .responses import CORNERS, WATER_LEVEL, Unusable, read_inventory, station_places
from .writer import Offer, write_layout

MARGIN = 1.0  # s after the last window, more than a frame
NOISE_FOLDER = "noise"


def from_continuous(
    waveforms, picks, output, mainshock, seconds_after_p=20.0, seconds_after_s=15.0, instrument="*", inventory=None,
    predict=None,
):  # fmt: skip
    """Cut recordings around picked events and write them in the waveform layout, with quiet windows in <output>/noise.

    Recordings at other rates are resampled to 100 Hz. Pieces of several files are joined; where they overlap they
    must agree. With StationXML the response is removed: ground velocity in nm/s between 0.2 Hz and 0.8 of the
    Nyquist frequency (cosine flanks from 0.1 Hz and to 0.95), water level 60 dB, from 30 s more on each side than
    the window, at least 10 s, that are tapered; then components are turned to true east, north and up. Without,
    counts, or nm, nm/s, nm/s^2 where SAC's idep says so, and channels 1 and 2 are taken as north and east. A damaged
    record is a gap or has its own reason. What is resampled or becomes ground velocity is judged by the counts
    before: `clipped` is 1 where they were clipped.

    The noise windows hold no pick of the station and no origin time of the catalogue from 120 s before to 5 s after
    them; at most as many as a station has events of that class; their S-P time of 1 s has no meaning. Where there
    are none, there is no such folder.

    waveforms: str or Path, a miniSEED or SAC file, or a folder of them (with its subfolders, like an SDS archive)
    picks: str or Path, of read_picks(): QuakeML, NonLinLoc, Nordic, or a .csv with event_id, network, station,
        p_time, s_time [UTC], whose further columns go into the tables; a network that is missing there or in the
        recordings is taken from the other
    output: str or Path, folder in the waveform layout; import_rejected.csv is written there too
    mainshock: str or datetime [UTC], or Periods
    seconds_after_p, seconds_after_s: float, how far each trace reaches at least [s]
    instrument: str, which location and band + instrument code to use, with wildcards ("00.HH", "*.HH");
        one is chosen a station: seismometers first, then the one that covers most picks, then the
        rate nearest to 100 Hz; the tables say which (receiver_location_code, receiver_type)
    inventory: str or Path of StationXML, or None
    predict: None, then events without both picks are rejected, those that no station picked at each of them; or what
        predict_arrivals() takes: a velocity or the name of a TauPy model, then arrivals nobody picked are predicted,
        and marked in p_predicted, s_predicted

    returns: Imported, of the events alone
    raises: ForeshapError where no recording or no pick can be read, no instrument is like the one wanted, two
        networks have a station of the same code, or a length is no number from 0 on
    """
    check_choice(instrument, seconds_after_p=seconds_after_p, seconds_after_s=seconds_after_s)
    spans, index = periods(mainshock), index_recordings(waveforms)
    known = None if inventory is None else read_inventory(inventory)
    catalogue, index = shared_networks(read_picks(picks, pickless=True), index)
    pairs = _pairs(catalogue, _places(catalogue, index, known), known, predict)
    chosen = one_instrument(index, pairs, instrument)
    offered = pairs.loc[pairs["p_time"].notna(), ["network", "station"]].itertuples(
        index=False, name=None
    )
    check_networks(
        (code for code in offered if code in chosen),
        "give the picks or the recordings of one network",
    )
    read = lru_cache(maxsize=6)(read_stretches)
    others = lambda code, used: index[
        (index[["network", "station"]] == list(code)).all(axis=1)
    ].drop(used.index)
    stations = {
        code: Station(used, others(code, used), read, known) for code, used in chosen.items()
    }
    lengths, about = (seconds_after_p, seconds_after_s), _attributes(known, chosen)
    events = catalogue if predict is None else pairs
    quiet = named(noise_pairs(events, chosen, spans, _length(NOISE_S_P, lengths) / SAMPLING_RATE))
    noise = lambda folder: _write_noise(
        Path(output), folder, _offers(quiet, stations, lengths), spans, quiet, about
    )
    columns = [
        "receiver_location_code",
        "clipped",
        *(name for name in pairs if name not in PICK_COLUMNS),
    ]
    return write_layout(output, _offers(pairs, stations, lengths), spans, columns, noise, **about)


def _write_noise(output, folder, offers, spans, quiet, about):
    """Write the noise windows in a folder that goes to the output, and remove those of an earlier run there."""
    rule = f"no pick or origin from {QUIET_BEFORE:g} s before to {QUIET_AFTER:g} s after a window"
    new, old = folder / NOISE_FOLDER, output / NOISE_FOLDER
    if (
        quiet.empty
        or not write_layout(
            new, offers, spans, ["receiver_location_code"], noise=rule, **about
        ).written
    ):
        shutil.rmtree(new, ignore_errors=True)
    if old.exists():
        shutil.rmtree(old.rename(folder / f".{NOISE_FOLDER}"))


def _places(pairs, index, inventory):
    """Where the stations with recordings stand, NaN where unknown: DataFrame network, station, PLACE."""
    keys = ["network", "station"]
    if inventory is None:
        places = (
            pairs.reindex(columns=[*keys, *PLACE]).dropna(subset=PLACE[:2]).drop_duplicates(keys)
        )
    else:
        places = station_places(inventory)
    return index[keys].drop_duplicates().merge(places, on=keys, how="left")


def _pairs(catalogue, places, inventory, predict):
    """The pairs that are offered, sorted by station and P time, with all that is known of source and receiver."""
    if not (catalogue["station"] != "").any() and predict is None:
        raise ForeshapError(
            "There is no P or S pick: give picks with the phase hints P and S, or predict them."
        )
    recorded = places[["network", "station"]]
    picked = catalogue.merge(recorded)["event_id"]
    pairs = everywhere(catalogue, catalogue[~catalogue["event_id"].isin(picked)], recorded)
    if predict is not None:
        pairs = predict_arrivals(pairs, places, predict)
    elif inventory is not None:
        pairs = pairs.drop(columns=PLACE, errors="ignore").merge(
            places, on=["network", "station"], how="left"
        )
    if "source_origin_time" in pairs:
        origin = utc_times(pairs["source_origin_time"])
        travel = {f"{n}_travel_sec": (pairs[f"{n}_time"] - origin).dt.total_seconds() for n in "ps"}
        pairs = pairs.assign(**travel)
    return named(pairs).sort_values(["station", "p_time"], ignore_index=True)


def _attributes(inventory, chosen):
    """What the files say about unit and directions, dict."""
    if inventory is not None:
        low, flat, high, top = CORNERS
        band = f"{low:g}, {flat:g} Hz, {high:g}, {top:g} of the Nyquist frequency, water level {WATER_LEVEL:g} dB"
        return {
            "unit": "nm/s",
            "response": f"removed, corners {band}",
            "orientation": "true east, north, up",
        }
    used = pd.concat(chosen.values())
    codes, units = {seed_id[-1] for seed_id in used["seed_id"]}, used.drop_duplicates("unit")
    if len(units) > 1:
        said = ", ".join(f"{unit} in {path}" for unit, path in zip(units["unit"], units["path"]))
        raise ForeshapError(
            f"The recordings have several units ({said}): correct SAC's idep, or import each alone."
        )
    numbered = "channel 1 taken as north, 2 as east: no azimuths were given"
    return {
        "unit": units["unit"].iloc[0],
        "orientation": numbered if codes & {"1", "2"} else "by the channel codes",
    }


def _offers(pairs, stations, lengths):
    """Yield an Offer of each pair of picks."""
    for pair in tqdm(pairs.to_dict("records"), desc="cutting", unit="event"):
        start = pair["p_time"] - pd.Timedelta(seconds=SECONDS_BEFORE_P)
        row = pair | {
            "network_code": pair["network"], "receiver_name": pair["station"], "source_id": pair["event_id"],
            "trace_start_time": "" if pd.isna(start) else str(start),
            "p_s_diff_sec": (pair["s_time"] - pair["p_time"]).total_seconds(),
        }  # fmt: skip
        station = stations.get((pair["network"], pair["station"]))
        try:
            samples, start, at_edge = _cut(pair, station, lengths)
        except Unusable as reason:
            yield Offer(row, None, str(reason))
        else:
            about = {"receiver_location_code": station.location, "receiver_type": station.kind}
            about |= {"trace_start_time": str(obspy.UTCDateTime(ns=int(start)))} | (
                {"clipped": 1} if at_edge else {}
            )
            yield Offer(row | about, samples)


def _cut(pair, station, lengths):
    """What Station.window() gives of a pair; raises Unusable."""
    for phase, reason in (("p_time", "P missing"), ("s_time", "S-P missing")):
        if pd.isna(pair[phase]):
            raise Unusable(reason)
    s_p = (pair["s_time"] - pair["p_time"]).total_seconds()
    if s_p <= 0:
        raise Unusable("S-P zero or negative")
    if s_p > LONGEST_S_P:
        raise Unusable("S-P longer than 1000 s")
    if station is None:
        raise Unusable("no waveform of this station")
    return station.window(
        pair["p_time"].value - round(SECONDS_BEFORE_P * 1e9), _length(s_p, lengths)
    )


def _length(s_p, lengths):
    """Samples of a trace that reaches far enough after P and after S."""
    after_p, after_s = lengths
    return math.ceil((SECONDS_BEFORE_P + max(after_p, s_p + after_s) + MARGIN) * SAMPLING_RATE)
