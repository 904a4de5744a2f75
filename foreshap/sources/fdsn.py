"""FDSN web services into a local store: catalogue, picks, station metadata and the seismograms around each event."""

import hashlib
import io
import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import obspy
import pandas as pd
from obspy.clients.fdsn.client import build_url, get_bulk_string
from obspy.clients.fdsn.header import URL_MAPPINGS
from obspy.geodetics import gps2dist_azimuth, kilometers2degrees
from tqdm.auto import tqdm

from ..files import ForeshapError, sha256, written_whole
from ..preprocessing.periods import Periods, periods
from .answers import (
    NO_DATA,
    TOO_LARGE,
    UNKNOWN_PARAMETER,
    BadAnswer,
    ask,
    checked_miniseed,
    checked_xml,
    public,
)
from .quakeml import event_id, of_station, preferred_origin, read_events, utc_of, write_events
from .responses import read_inventory

MANIFEST_FILE, PICKS_FILE, STATION_FILE = "manifest.json", "picks.xml", "station.xml"
CONNECTIONS = 2  # at a time, fewer than any service's limit
SLICE = pd.Timedelta("6h")  # of the catalogue, in one request
CHUNK = pd.Timedelta(
    "1h"
)  # of seismograms, in one request: some 2 MB of three components at 100 Hz
SHORTEST = pd.Timedelta("1s")  # a request that is too large at this length can't be helped
BEFORE, AFTER = (
    pd.Timedelta("30s"),
    pd.Timedelta("60s"),
)  # around an event's origin, picks and slowest S wave
NEAR = pd.Timedelta("10min")  # of its origin an event's picks and arrivals are; others are mistakes
SLOWEST_S = (
    2.0  # km/s, on the straight line from the hypocentre: slower than S waves are in the crust
)
PROBED = 20  # events asked for one by one before a service is believed to have no picks
NETWORK_DOIS = {"IV": "10.13127/SD/X0FXnH7QfY"}  # where the StationXML doesn't say


@dataclass(frozen=True)
class FdsnQuery:
    """What to fetch; the defaults are the Norcia study (doi:10.1038/s41467-024-54153-w), radius and magnitude our own.

    provider: str, a name that obspy.clients.fdsn knows or the URL of a server with /fdsnws
    network, station: str, codes
    mainshock, start, end: str or datetime [UTC]
    left_out: pair of str or datetime [UTC], nothing is fetched from the first to the last; or None
    radius_km: float, epicentres within this distance of the station [km]
    min_magnitude: float
    channels: str, one code with wildcards
    catalogue: str, provider of the catalogue and picks where it is another one; or None
    """

    provider: str = "INGV"
    network: str = "IV"
    station: str = "NRCA"
    mainshock: str = "2016-10-30T06:40:17"
    start: str = "2016-08-20"
    end: str = "2016-12-20"
    left_out: tuple | None = ("2016-10-26", "2016-11-01")
    radius_km: float = 25.0
    min_magnitude: float = 1.0
    channels: str = "HH?"
    catalogue: str | None = None

    @property
    def periods(self) -> Periods:
        """Periods of the study, as from_continuous() takes them."""
        return periods(self.mainshock, self.start, self.end, self.left_out)


class _Part(NamedTuple):
    """One request: its file in the store, its alternatives as arguments of requests.request, how to check and halve."""

    name: str
    sent: tuple
    check: Callable
    halves: Callable = tuple


@dataclass
class _Store:
    """A folder, what is known of each file in it by name, and how patient to be."""

    folder: Path
    manifest: dict
    pause: float
    timeout: float
    lock: Lock = field(default_factory=Lock)

    def save(self):
        with written_whole(self.folder / MANIFEST_FILE) as file:
            file.write_text(json.dumps(self.manifest, indent=1, sort_keys=True))

    def note(self, name, status):
        """Note the file of this name (status 200), or why there is none."""
        path, entry = (
            self.folder / name,
            {"status": status, "received": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"},
        )
        if status == 200:
            entry |= {"sha256": sha256(path), "size": path.stat().st_size}
        with self.lock:
            self.manifest["answers"][name] = entry
            if status != 200:  # a file is found again in the folder, this is not
                self.save()

    def known(self, part):
        """Status of a request that was answered before, None where it has to be asked."""
        path, entry = self.folder / part.name, self.manifest["answers"].get(part.name)
        if entry and entry["status"] != 200:
            return entry["status"]
        if not path.exists():
            return None
        if entry:
            return 200 if sha256(path) == entry["sha256"] else None
        try:  # stored by a run that was stopped before it could note it
            self.checked(part.check, path)
        except BadAnswer:
            return None
        self.note(part.name, 200)
        return 200

    def checked(self, check, path):
        """ObsPy's readers and the warnings filter are for one thread at a time."""
        with self.lock:
            check(path)


def fetch_fdsn(store, query=FdsnQuery(), pause=1.0, timeout=120.0):
    """Fetch a station's catalogue, picks, metadata and seismograms from FDSN web services, or what is missing of them.

    A run that was stopped is continued by the same call: what is in the store isn't asked for again. An answer
    "no data" (status 204 or 404, or no content) is final for its request. Seismograms reach from 30 s before each
    event's origin to 60 s after its last pick and after the S wave at 2 km/s from the hypocentre.

    store: str or Path, a folder of its own, for one query: waveforms/*.mseed, picks.xml (QuakeML: events with the
        picks of this station), station.xml (StationXML with responses), events/*.xml (parts of the catalogue),
        manifest.json
    query: FdsnQuery
    pause: float, before a request is repeated for the first time [s]; it doubles each time
    timeout: float, how long a service may be silent [s]

    returns: dict, as in manifest.json: query, services, doi, retrieved, n_events, n_picked, answers (name of a file
        -> status, received, sha256, size)
    raises: ForeshapError where the folder holds something else, a service refuses or fails for good, or there
        is no such station or no event
    """
    store = _opened(Path(store), query, pause, timeout)
    try:
        latitude, longitude = _station(store, query)
        windows = _catalogue(store, query, latitude, longitude)
        fetched = _all(_waveform_parts(query, windows), store, "seismograms")
        if not fetched:
            raise ForeshapError(
                f"{_service(query, 'dataselect')} has no seismograms of {query.network}.{query.station} at the times "
                f"of {store.manifest['n_events']} events: check the channels {query.channels}."
            )
    except OSError as error:
        raise ForeshapError(
            f"{store.folder} can't be read or written ({error}): make room, then run again."
        ) from error
    finally:
        store.save()
    return store.manifest


def _opened(folder, query, pause, timeout):
    """The store of a query, new or continued."""
    path, asked = folder / MANIFEST_FILE, _plain(query)
    if not path.exists():
        if folder.exists() and not (
            folder.is_dir() and all(file.name.startswith(".") for file in folder.iterdir())
        ):
            raise ForeshapError(
                f"{folder} holds other files and no {MANIFEST_FILE}: use an empty folder."
            )
        services = {
            name: public(_service(query, name)) for name in ("dataselect", "event", "station")
        }
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        manifest = {
            "query": asked,
            "services": services,
            "doi": None,
            "retrieved": today,
            "answers": {},
        }
        store = _Store(folder, manifest, pause, timeout)
        store.save()
        return store
    try:
        manifest = json.loads(path.read_text())
        held, here = (
            manifest["query"] | {"mainshock": None},
            asked | {"mainshock": None},
        )  # no request depends on it
        other = [name for name in here | held if here.get(name) != held.get(name)]
        if not all(
            entry["status"] != 200 or entry["sha256"] for entry in manifest["answers"].values()
        ):
            raise ValueError("a file without sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeshapError(f"{path} is damaged ({error!r}): use another folder.") from error
    if other:
        said = ", ".join(f"{name} {held.get(name)}, not {here.get(name)}" for name in other)
        raise ForeshapError(
            f"{folder} holds the answers to another query ({said}): move it away, then run again."
        )
    return _Store(folder, manifest | {"query": asked}, pause, timeout)


def _plain(query):
    """A query that was looked at, as JSON holds it, without passwords."""
    spans = query.periods
    if spans.start is None or spans.end is None:
        raise ForeshapError("The query has no start or no end: give both.")
    codes = f"{query.network} {query.station} {query.channels}"
    if not re.fullmatch("[A-Za-z0-9]{1,8} [A-Za-z0-9]{1,8} [A-Za-z0-9?*]{1,3}", codes):
        raise ForeshapError(
            f"{codes} are no codes of one network, one station and its channels: check the query."
        )
    if not (isinstance(query.radius_km, int | float) and query.radius_km > 0):
        raise ForeshapError(
            f"The radius of {query.radius_km!r} km is no positive number: check the query."
        )
    for name in ("dataselect", "event"):
        _service(query, name)
    hidden = {
        name: public(value) for name in ("provider", "catalogue") if (value := getattr(query, name))
    }
    return json.loads(json.dumps(asdict(query) | spans.attributes() | hidden))


def _service(query, name):
    """URL of one of a provider's services."""
    provider = str(query.catalogue or query.provider if name == "event" else query.provider)
    url = URL_MAPPINGS.get(provider.upper(), provider).rstrip("/")
    if not re.fullmatch(r"https?://[^\s?#]+", url):
        raise ForeshapError(
            f"{provider} is no URL and none of the providers {', '.join(sorted(URL_MAPPINGS))}."
        )
    return build_url(url, name, 1, "query")


def _all(parts, store, label):
    """Names of the files that answer some requests, asked for over several connections."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = [pool.submit(_files, part, store) for part in parts]
        try:
            for future in tqdm(
                as_completed(futures), total=len(futures), desc=label, unit="request"
            ):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [name for future in futures for name in future.result()]


def _files(part, store):
    """Names of the files that answer a request: one, none, or those of its halves where it was too large."""
    status = store.known(part) or _asked(part, store)
    if status == 200:
        return [part.name]
    if status in NO_DATA:
        return []
    if not (halves := part.halves()):
        raise ForeshapError(
            f"{public(part.sent[0]['url'])} finds {part.name} too large, and it can't be less."
        )
    return [name for half in halves for name in _files(half, store)]


def _asked(part, store):
    """Status of a request that is asked now, in its first alternative that the service knows."""
    path, check = store.folder / part.name, partial(store.checked, part.check)
    for sent in part.sent:
        last = sent is part.sent[-1]
        handed_back = (*NO_DATA, TOO_LARGE, *(() if last else UNKNOWN_PARAMETER))
        status = ask(path, check, sent, store.pause, store.timeout, handed_back)
        if status not in UNKNOWN_PARAMETER:
            break
    store.note(part.name, status)
    return status


def _station(store, query):
    """Latitude and longitude of the station [degrees]; its network's DOI goes into the manifest."""
    codes = {"network": query.network, "station": query.station}
    params = codes | {"channel": query.channels, "starttime": _time(query.periods.start),
                      "endtime": _time(query.periods.end), "level": "response", "format": "xml"}  # fmt: skip
    url = _service(query, "station")
    sent = {"method": "GET", "url": url, "params": params}
    check = partial(_checked_station, **codes)
    if not _files(_Part(STATION_FILE, (sent,), check), store):
        raise ForeshapError(
            f"{public(url)} knows no {query.network}.{query.station} with {query.channels} at the time."
        )
    inventory = read_inventory(store.folder / STATION_FILE)
    dois = [
        name.split(":", 1)[-1]
        for network in inventory
        for name in network.identifiers or ()
        if "10." in name
    ]
    store.manifest["doi"] = next(iter(dois), NETWORK_DOIS.get(query.network))
    return inventory[0][0].latitude, inventory[0][0].longitude


def _checked_station(path, network, station):
    """Refuse what isn't StationXML of this station."""
    checked_xml(path, "FDSNStationXML")
    try:
        held = {(net.code, sta.code) for net in read_inventory(path) for sta in net}
    except ForeshapError as error:
        raise BadAnswer(str(error)) from None
    if held != {(network, station)}:
        raise BadAnswer(f"StationXML of {sorted(held)} instead of {network}.{station}")


def _catalogue(store, query, latitude, longitude):
    """Windows of the events in time, list of (start, end); the catalogue goes into picks.xml."""
    url, window = _service(query, "event"), partial(_window, latitude=latitude, longitude=longitude)
    check = partial(_checked_events, network=query.network, station=query.station, window=window)
    degrees = round(kilometers2degrees(query.radius_km), 6)
    where = {
        "latitude": latitude,
        "longitude": longitude,
        "maxradius": degrees,
        "minmagnitude": query.min_magnitude,
    }
    slices = [
        _slice(start, end, where, url, check)
        for start, end in _cut(_asked_for(query.periods), SLICE)
    ]
    names = _all(slices, store, "catalogue")
    ids = {
        event.get("publicID"): event.find("{*}pick") is not None
        for event in _events(store.folder, names)
    }
    if not ids:
        raise ForeshapError(
            f"{public(url)} has no event within {query.radius_km} km from {query.start} to {query.end}."
        )
    if not any(ids.values()):  # many services give arrivals only to those who ask for one event
        single = [_single(name, url, check) for name in dict.fromkeys(map(event_id, ids))]
        found = _all(single[:PROBED], store, "first events")
        if any(event.find("{*}pick") is not None for event in _events(store.folder, found)):
            names = _all(single, store, "events") + names
    with written_whole(store.folder / PICKS_FILE) as file:
        write_events(str(file), _once(_events(store.folder, names)))
    events = list(
        _events(
            store.folder,
            [PICKS_FILE],
            lambda event: (window(event), event.find("{*}pick") is not None),
        )
    )
    store.manifest |= {"n_events": len(events), "n_picked": sum(picked for _, picked in events)}
    store.note(PICKS_FILE, 200)
    return sorted(window for window, _ in events if window)


def _asked_for(spans):
    """Spans of the study without what is left out, list of (start, end)."""
    if not spans.left_out:
        return [(spans.start, spans.end)]
    return [(spans.start, spans.left_out[0]), (spans.left_out[1], spans.end)]


def _cut(spans, longest):
    """Yield the pieces of some spans (start, end), none longer than longest."""
    for start, end in spans:
        while start < end:
            yield start, min(end, start + longest)
            start += longest


def _slice(start, end, where, url, check):
    """Request of the catalogue from start to end, with arrivals where the service has them."""
    params = {"starttime": _time(start), "endtime": _time(end), **where, "format": "xml"}
    halfway = start + (end - start) / 2
    pieces = [(start, halfway), (halfway, end)] if end - start > SHORTEST else []
    name = f"events/{_stamp(start)}_{_stamp(end)}.xml"
    return _Part(
        name,
        _sent(url, params),
        check,
        lambda: [_slice(*piece, where, url, check) for piece in pieces],
    )


def _single(event_id, url, check):
    """Request of one event."""
    return _Part(
        f"events/{_digest(event_id)}.xml", _sent(url, {"eventid": event_id, "format": "xml"}), check
    )


def _sent(url, params):
    """A request with arrivals, and the same without for services that refuse this."""
    return tuple(
        {"method": "GET", "url": url, "params": params | more}
        for more in ({"includearrivals": "true"}, {})
    )


def _checked_events(path, network, station, window):
    """Refuse what isn't QuakeML; of the picks and arrivals of each event keep those of one station."""
    if path.stat().st_size == 0:
        raise BadAnswer("an answer without any QuakeML in it", 204)
    checked_xml(path, "quakeml")
    kept, seen = io.BytesIO(), []

    def ours(event):
        event = of_station(event, network, station)
        seen.append((event_id(event.get("publicID")), window(event)))
        return event

    try:
        write_events(kept, read_events(path, ours))
        kept.seek(0)
        if seen and (found := len(obspy.read_events(kept, format="QUAKEML"))) != len(seen):
            raise ValueError(f"{found} events of {len(seen)}")
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise BadAnswer(f"no QuakeML that can be read: {error!r}") from None
    if kept.getvalue() != path.read_bytes():
        path.write_bytes(kept.getvalue())


def _window(event, latitude, longitude):
    """First and last time that an event needs; None where it has neither origin nor pick."""
    times = [utc_of(time.text) for time in event.iterfind("{*}pick/{*}time/{*}value")]
    if (origin := preferred_origin(event)) is not None:
        where = [
            float(origin.findtext(f"{{*}}{n}/{{*}}value") or 0)
            for n in ("latitude", "longitude", "depth")
        ]
        if not all(map(math.isfinite, where)):
            raise ValueError(f"an origin at {where}")
        along = gps2dist_azimuth(*where[:2], latitude, longitude)[0]
        seconds = math.hypot(along, where[2]) / 1000 / SLOWEST_S
        begin = utc_of(origin.findtext("{*}time/{*}value"))
        times = [begin, begin + min(NEAR, pd.Timedelta(seconds=round(seconds, 3))), *times]
    near = [time for time in times if abs(time - times[0]) <= NEAR]
    return (min(near) - BEFORE, max(near) + AFTER) if near else None


def _events(folder, names, to=lambda event: event):
    """Yield the events of several QuakeML files of ours, one in memory at a time."""
    for name in names:
        yield from read_events(folder / name, to)


def _once(events):
    """Yield events in their order, each publicID once: events at the edge of two slices are in both."""
    seen = set()
    for event in events:
        if event.get("publicID") not in seen:
            seen.add(event.get("publicID"))
            yield event


def _waveform_parts(query, windows):
    """Yield requests of seismograms, each up to CHUNK long; nothing is in two of them."""
    group, length = [], pd.Timedelta(0)
    for piece in _cut(_joined(windows), CHUNK):
        if group and length + piece[1] - piece[0] > CHUNK:
            yield _waveforms(query, group)
            group, length = [], pd.Timedelta(0)
        group, length = [*group, piece], length + piece[1] - piece[0]
    if group:
        yield _waveforms(query, group)


def _joined(windows):
    """Windows that overlap become one, list of (start, end) in order of time."""
    joined = []
    for start, end in windows:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _waveforms(query, windows):
    """One request of the seismograms of several windows."""
    codes = query.network, query.station, "*", query.channels
    body = get_bulk_string([(*codes, _time(start), _time(end)) for start, end in windows], {})
    sent = {"method": "POST", "url": _service(query, "dataselect"), "data": body}
    sent["headers"] = {"Content-Type": "text/plain"}
    name = f"waveforms/{_stamp(windows[0][0])}_{_digest(body.decode())}.mseed"
    check = partial(checked_miniseed, network=query.network, station=query.station, channels=query.channels,
                    windows=windows)  # fmt: skip
    return _Part(
        name, (sent,), check, lambda: [_waveforms(query, half) for half in _halves(windows)]
    )


def _halves(windows):
    """Two lists of half as many windows; of one window, two of half its length; none where that is too short."""
    (start, end), middle = windows[0], len(windows) // 2
    if middle:
        return [windows[:middle], windows[middle:]]
    halfway = start + (end - start) / 2
    return [[(start, halfway)], [(halfway, end)]] if end - start > SHORTEST else []


def _time(time):
    """A time as the services read it."""
    return time.tz_localize(None).isoformat(timespec="microseconds")


def _stamp(time):
    """A time as file names hold it."""
    return f"{time:%Y%m%dT%H%M%S.%f}"


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]
