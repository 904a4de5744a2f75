"""FDSN web services into a local store: catalogue, picks, station metadata and seismograms."""

import hashlib
import io
import json
import math
import re
import time
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from socket import SHUT_RDWR
from threading import Event, Lock, Timer
from urllib.parse import unquote
from urllib.response import addinfourl

import obspy
import pandas as pd
from obspy.clients.fdsn import Client
from obspy.clients.fdsn.client import get_bulk_string
from obspy.clients.fdsn.header import URL_MAPPINGS, FDSNException
from obspy.geodetics import gps2dist_azimuth, kilometers2degrees
from obspy.io.mseed.util import get_record_information
from tqdm import tqdm

from ..files import ForeshapError, check_machine, sha256, written_whole
from ..preprocessing.periods import Periods, periods
from .picks import utc_times
from .quakeml import event_id, keep_station, preferred_origin, read_events, write_events
from .responses import read_inventory
from .safe_xml import check_xml

MANIFEST_FILE = "manifest.json"
PICKS_FILE = "picks.xml"
STATION_FILE = "station.xml"
METHODS = {"station": "get_stations", "event": "get_events", "dataselect": "get_waveforms_bulk"}
CONNECTIONS = 2  # at a time, fewer than any service's limit
TRIES = 5  # of one request
LONGEST_PAUSE = 600.0  # s; a service that asks for more is left alone until the next run
LARGEST_ANSWER = 256 * 2**20  # bytes; more is as good as status 413
LONGEST_ANSWER = 900.0  # s from the first to the last byte
NO_DATA = (204, 404)
TOO_LARGE = 413
UNKNOWN_PARAMETER = (400, 501)
WORTH_ANOTHER_TRY = (None, 408, 429, 500, 502, 503, 504)  # None: no whole answer
SLICE = pd.Timedelta("6h")  # of the catalogue, in one request
CHUNK = pd.Timedelta("1h")  # of seismograms in one request: 2 MB of 3 components at 100 Hz
SHORTEST = pd.Timedelta("1s")  # a request that is too large at this length can't be helped
BEFORE = pd.Timedelta("30s")  # an event's origin
AFTER = pd.Timedelta("60s")  # its last pick and slowest S wave
NEAR = pd.Timedelta("10min")  # of its origin an event's picks are; others are mistakes
SLOWEST_S = 2.0  # km/s along the straight line from the hypocentre: slower than in the crust
PROBED = 20  # events asked for one by one before a service is believed to have no picks
NETWORK_DOIS = {"IV": "10.13127/SD/X0FXnH7QfY"}  # where the StationXML doesn't say


@dataclass(frozen=True)
class FdsnQuery:
    """What to fetch; the defaults are the Norcia study (doi:10.1038/s41467-024-54153-w).

    Radius and magnitude are our own choice.

    provider: str, name that ObsPy knows or URL of a server with /fdsnws; user:password@ in it
        is used for HTTP digest authentication
    network, station: str, codes
    mainshock, start, end: str or datetime [UTC]
    left_out: pair of str or datetime [UTC], nothing is fetched between them; or None
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


class BadAnswer(ForeshapError):
    """Why an answer can't be used, and its HTTP status: None where it was not whole."""

    def __init__(self, why, status=None, retry_after=None):
        super().__init__(why)
        self.status = status
        self.retry_after = retry_after


@dataclass
class Request:
    """One request of a service."""

    name: str  # of the file in the store that keeps the answer
    service: str  # "station", "event" or "dataselect"
    arguments: dict  # of the method of ObsPy's client
    windows: list = field(default_factory=list)  # (start, end), to halve; empty: it can't be


def fetch_fdsn(store, query=FdsnQuery(), pause=1.0, timeout=120.0):
    """Fetch catalogue, picks, metadata and seismograms of a station, or what is missing of them.

    A run that was stopped is continued by the same call: what is in the store isn't asked for
    again. An answer "no data" (status 204 or 404, or no content) is final for its request.
    Seismograms reach from 30 s before each event's origin to 60 s after its last pick and after
    the S wave at 2 km/s from the hypocentre.

    store: str or Path, a folder of its own, for one query: waveforms/*.mseed, picks.xml (QuakeML:
        events with the picks of this station), station.xml (StationXML with responses),
        events/*.xml (parts of the catalogue), manifest.json
    query: FdsnQuery
    pause: float, before a request is repeated for the first time [s]; it doubles each time
    timeout: float, how long a service may be silent [s]

    returns: dict, as in manifest.json: query, services, doi, retrieved, n_events, n_picked,
        answers (name of a file -> status, received, sha256, size)
    raises: ForeshapError where the folder holds something else, a service refuses or fails for
        good, or there is no such station or no event
    """
    store = _open_store(Path(store), query, pause, timeout)
    try:
        store.fetch_station()
        windows = store.fetch_catalogue()
        store.fetch_waveforms(windows)
    except OSError as error:
        raise ForeshapError(
            f"{store.folder} can't be read or written ({error}): make room, then run again."
        ) from error
    return store.manifest


def _open_store(folder, query, pause, timeout):
    """Return the store of a query, new or continued."""
    path = folder / MANIFEST_FILE
    wanted = _query_as_json(query)
    if not path.exists():
        if folder.is_file() or any(folder.glob("[!.]*")):
            raise ForeshapError(
                f"{folder} holds other files and no {MANIFEST_FILE}: use an empty folder."
            )
        manifest = {"query": wanted, "doi": None, "answers": {}}
        store = Store(folder, query, manifest, pause, timeout)
        manifest["services"] = {service: store.url(service) for service in METHODS}
        manifest["retrieved"] = f"{datetime.now(UTC):%Y-%m-%d}"
        store.save()
        return store
    others = []
    try:
        manifest = json.loads(path.read_text())
        for name in wanted | manifest["query"]:
            there, here = manifest["query"].get(name), wanted.get(name)
            if there != here and name != "mainshock":  # no request depends on the mainshock
                others.append(f"{name} {there}, not {here}")
        for entry in manifest["answers"].values():
            if entry["status"] == 200 and not entry["sha256"]:
                raise ValueError("a file without sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} is damaged ({error!r}): use another folder.") from error
    if others:
        raise ForeshapError(
            f"{folder} holds the answers to another query ({', '.join(others)}): "
            "move it away, then run again."
        )
    return Store(folder, query, manifest | {"query": wanted}, pause, timeout)


def _query_as_json(query):
    """Return a query that was checked as JSON holds it, without passwords."""
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
    fields = asdict(query) | spans.attributes()
    for name in ("provider", "catalogue"):
        if name == "provider" or fields[name]:
            open_client(fields[name])
            fields[name] = public(fields[name])
    return json.loads(json.dumps(fields))


def open_client(provider, timeout=120.0):
    """Return ObsPy's client of a provider; nothing is asked yet."""
    provider = str(provider)
    login = re.fullmatch("(https?://)([^/@:]*):([^/@]*)@(.*)", provider)
    options = {"timeout": timeout, "use_gzip": False, "_discover_services": False}
    try:
        if not login:
            return Client(provider, **options)
        scheme, user, password, host = login.groups()
        return Client(scheme + host, user=unquote(user), password=unquote(password), **options)
    except ValueError as error:
        raise ForeshapError(
            f"{public(provider)} is no URL and none of the providers "
            f"{', '.join(sorted(URL_MAPPINGS))}."
        ) from error


def public(url):
    """Return a URL without user name, password and query."""
    return re.sub("//[^/]*@", "//", url).partition("?")[0]


class TimedResponse(HTTPResponse):
    """An answer, headers too, that is ended after LONGEST_ANSWER, however slowly bytes come."""

    def __init__(self, sock, *arguments, **options):
        super().__init__(sock, *arguments, **options)
        self.ended = Event()
        self.timer = Timer(LONGEST_ANSWER, self.end, [sock, self.ended])
        self.timer.daemon = True
        self.timer.start()

    @staticmethod
    def end(sock, ended):
        """End the connection."""
        ended.set()
        with suppress(OSError):  # it has ended already
            sock.shutdown(SHUT_RDWR)


class TimedConnection(HTTPConnection):
    response_class = TimedResponse


class TimedSecureConnection(HTTPSConnection):
    response_class = TimedResponse


class AnswerReader(urllib.request.HTTPSHandler):
    """Read what ObsPy's client receives within limits; note what the client doesn't tell."""

    handler_order = 100  # before redirections are followed and errors raised
    status = None  # of the answer; None where none was whole
    words = ""  # the beginning of its content
    retry_after = None  # its header of this name

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request):
        """Ask; the answer takes LONGEST_ANSWER at most."""
        return self.do_open(TimedConnection, request)

    def https_open(self, request):
        """Ask; the answer takes LONGEST_ANSWER at most."""
        return self.do_open(TimedSecureConnection, request)

    def http_response(self, request, response):
        """Return a whole answer in memory; OSError or HTTPException where it is none."""
        self.status = None
        content = bytearray()
        expected = response.length  # None where it is not announced
        while len(content) != expected:
            block = response.read1(2**16)
            if not block:
                break
            content += block
            if len(content) > LARGEST_ANSWER:
                self.status = TOO_LARGE
                raise OSError(f"more than {LARGEST_ANSWER} bytes")
        if response.ended.is_set():
            raise TimeoutError(f"not whole after {LONGEST_ANSWER:.0f} s")
        response.timer.cancel()
        if expected is not None and len(content) < expected:
            raise IncompleteRead(content)
        self.words = " ".join(content[:300].decode(errors="replace").split())
        self.retry_after = response.headers.get("Retry-After")
        if response.code not in (301, 302, 303, 307, 308):
            self.status = response.code
        del response.headers["Content-Encoding"]  # not asked for, and never unpacked
        code = 307 if response.code == 308 else response.code  # ObsPy repeats the request at 307
        answer = addinfourl(io.BytesIO(content), response.headers, response.url, code)
        answer.msg = response.msg
        return answer

    https_response = http_response


def wait_time(attempt, pause, retry_after=None):
    """Return how long to wait after a try [s]; retry_after: seconds or a date, as in the header."""
    growing = pause * 2**attempt
    try:
        if retry_after and not retry_after.strip().isdigit():
            left = parsedate_to_datetime(retry_after) - datetime.now(UTC)
            return max(growing, left.total_seconds())
        return max(growing, float(retry_after or 0))
    except (ValueError, TypeError, OverflowError):
        return growing


@dataclass
class Store:
    """The folder of a query: what is known of each file in it, and how to ask for the rest."""

    folder: Path
    query: FdsnQuery
    manifest: dict  # what manifest.json holds
    pause: float  # s, as fetch_fdsn() takes it
    timeout: float  # s
    place: tuple | None = None  # latitude, longitude of the station [degree]
    lock: Lock = field(default_factory=Lock)  # ObsPy's readers are for one thread at a time

    def client(self, service):
        """Return ObsPy's client of a service."""
        query = self.query
        provider = query.catalogue or query.provider if service == "event" else query.provider
        return open_client(provider, self.timeout)

    def url(self, service):
        """Return the URL of a service."""
        return self.client(service)._build_url(service, "query")

    def save(self):
        """Write manifest.json."""
        with written_whole(self.folder / MANIFEST_FILE) as file:
            file.write_text(json.dumps(self.manifest, indent=1, sort_keys=True))

    def note(self, name, status):
        """Note the file of this name (status 200), or why there is none."""
        entry = {"status": status, "received": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        if status == 200:
            path = self.folder / name
            entry |= {"sha256": sha256(path), "size": path.stat().st_size}
        with self.lock:
            self.manifest["answers"][name] = entry
            self.save()

    def fetch_station(self):
        """Fetch the station's metadata; its place and the DOI of its network are noted."""
        query = self.query
        arguments = {
            "network": query.network,
            "station": query.station,
            "channel": query.channels,
            "starttime": _service_time(query.periods.start),
            "endtime": _service_time(query.periods.end),
            "level": "response",
            "format": "xml",
        }
        if not self.fetch(Request(STATION_FILE, "station", arguments)):
            raise ForeshapError(
                f"{self.url('station')} knows no {query.network}.{query.station} "
                f"with {query.channels} at the time."
            )
        network = read_inventory(self.folder / STATION_FILE)[0]
        dois = [name.split(":", 1)[-1] for name in network.identifiers or () if "10." in name]
        self.manifest["doi"] = dois[0] if dois else NETWORK_DOIS.get(query.network)
        self.place = network[0].latitude, network[0].longitude

    def fetch_catalogue(self):
        """Fetch picks.xml; return the windows (start, end) that its events need, in order."""
        query, spans = self.query, self.query.periods
        studied = [(spans.start, spans.end)]
        if spans.left_out:
            studied = [(spans.start, spans.left_out[0]), (spans.left_out[1], spans.end)]
        slices = [self.event_request([window]) for window in _cut(studied, SLICE)]
        paths = self.fetch_all(slices, "catalogue")
        picked = _picked_events(paths)
        if not picked:
            raise ForeshapError(
                f"{self.url('event')} has no event within {query.radius_km} km "
                f"from {query.start} to {query.end}."
            )
        if not any(picked.values()):  # many services give arrivals only of one event at a time
            single = []
            for name in dict.fromkeys(map(event_id, picked)):
                arguments = {"eventid": name, "includearrivals": True}
                single.append(Request(f"events/{_digest(name)}.xml", "event", arguments))
            probed = self.fetch_all(single[:PROBED], "first events")
            if any(_picked_events(probed).values()):
                paths = self.fetch_all(single, "events") + paths
        path = self.folder / PICKS_FILE
        with written_whole(path) as file:
            write_events(str(file), _first_of_each(read_events(*paths)))
        picked = _picked_events([path])
        self.manifest |= {"n_events": len(picked), "n_picked": sum(picked.values())}
        self.note(PICKS_FILE, 200)
        windows = [event_window(event, self.place) for event in read_events(path)]
        return sorted(filter(None, windows))

    def event_request(self, windows):
        """Return the request of the catalogue in one window, with arrivals where there are any."""
        start, end = windows[0]
        arguments = {
            "starttime": _service_time(start),
            "endtime": _service_time(end),
            "latitude": self.place[0],
            "longitude": self.place[1],
            "maxradius": round(kilometers2degrees(self.query.radius_km), 6),
            "minmagnitude": self.query.min_magnitude,
            "includearrivals": True,
        }
        return Request(f"events/{_stamp(start)}_{_stamp(end)}.xml", "event", arguments, windows)

    def fetch_waveforms(self, windows):
        """Fetch the seismograms of windows in order, up to CHUNK in one request, nothing twice."""
        joined, groups, length = [], [], CHUNK
        for start, end in windows:
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        for start, end in _cut(joined, CHUNK):
            length += end - start
            if length > CHUNK:
                groups.append([])
                length = end - start
            groups[-1].append((start, end))
        requests = [self.waveform_request(group) for group in groups]
        if not self.fetch_all(requests, "seismograms"):
            raise ForeshapError(
                f"{self.url('dataselect')} has no seismograms of {self.query.network}."
                f"{self.query.station} at the times of {self.manifest['n_events']} events: "
                f"check the channels {self.query.channels}."
            )

    def waveform_request(self, windows):
        """Return one request of the seismograms of several windows."""
        codes = self.query.network, self.query.station, "*", self.query.channels
        bulk = [(*codes, _service_time(start), _service_time(end)) for start, end in windows]
        digest = _digest(get_bulk_string(bulk, {}).decode())
        name = f"waveforms/{_stamp(windows[0][0])}_{digest}.mseed"
        return Request(name, "dataselect", {"bulk": bulk}, windows)

    def fetch_all(self, requests, label):
        """Return the paths of the files that answer requests, sent over several connections."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            futures = [pool.submit(self.fetch, request) for request in requests]
            done = as_completed(futures)
            try:
                for future in tqdm(done, total=len(futures), desc=label, unit="request"):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [path for future in futures for path in future.result()]

    def fetch(self, request):
        """Return the paths of the files that answer a request: one, none, or of its halves."""
        path = self.folder / request.name
        entry = self.manifest["answers"].get(request.name, {})
        status = entry.get("status")
        if status == 200 and not (path.exists() and sha256(path) == entry["sha256"]):
            status = None
        if status is None:
            status = self.ask(request)
            self.note(request.name, status)
        if status == 200:
            return [path]
        if status in NO_DATA:
            return []
        halves = _halve(request.windows)
        if not halves:
            url = self.url(request.service)
            raise ForeshapError(f"{url} finds {request.name} too large, and it can't be less.")
        make = self.event_request if request.service == "event" else self.waveform_request
        return [path for half in halves for path in self.fetch(make(half))]

    def ask(self, request):
        """Store the answer to a request, whole and checked; return the status: 200 when stored."""
        for attempt in range(TRIES):
            try:
                with written_whole(self.folder / request.name) as path:
                    self.download(request, path)
                    with self.lock:
                        self.check(request, path)
                return 200
            except BadAnswer as error:
                if error.status in (*NO_DATA, TOO_LARGE):
                    return error.status
                if error.status in UNKNOWN_PARAMETER and "includearrivals" in request.arguments:
                    known = dict(request.arguments)
                    del known["includearrivals"]
                    return self.ask(replace(request, arguments=known))
                wait = wait_time(attempt, self.pause, error.retry_after)
                again = error.status in WORTH_ANOTHER_TRY
                if not again or attempt == TRIES - 1 or wait > LONGEST_PAUSE:
                    advice = "what is stored is kept, so run again later to continue"
                    raise ForeshapError(
                        f"The web service {self.url(request.service)} gave no usable answer "
                        f"({error}): {advice if again else 'check the query'}."
                    ) from None
            time.sleep(wait)

    def download(self, request, path):
        """Write an answer of status 200 to a file; BadAnswer where there is none."""
        client, reader = self.client(request.service), AnswerReader()
        client._url_opener.add_handler(reader)
        try:
            getattr(client, METHODS[request.service])(filename=str(path), **request.arguments)
        except (FDSNException, NotImplementedError, ValueError) as error:
            why = f"{type(error).__name__}, no whole answer"
            if reader.status is not None:
                why = f"status {reader.status} {reader.words}".rstrip()
            raise BadAnswer(why, reader.status, reader.retry_after) from None
        if path.stat().st_size == 0 and request.service != "station":
            raise BadAnswer("no content", 204)

    def check(self, request, path):
        """Raise BadAnswer where a file isn't what a request asked for."""
        codes = self.query.network, self.query.station
        if request.service == "station":
            check_station(path, *codes)
        elif request.service == "event":
            check_events(path, *codes, self.place)
        else:
            check_miniseed(path, *codes, self.query.channels, request.windows)


def _picked_events(paths):
    """Return whether each event of QuakeML files has a pick, dict of publicIDs."""
    picked = {}
    for event in read_events(*paths):
        picked[event.get("publicID")] = event.find("{*}pick") is not None
    return picked


def _first_of_each(events):
    """Yield events, each publicID once: an event at the edge of two slices is in both."""
    seen = set()
    for event in events:
        if event.get("publicID") not in seen:
            seen.add(event.get("publicID"))
            yield event


def _cut(windows, longest):
    """Yield the pieces of windows (start, end), none longer than longest."""
    for start, end in windows:
        while start < end:
            yield start, min(end, start + longest)
            start += longest


def _halve(windows):
    """Return two lists of half the windows; of one window its halves; none where it's too short."""
    middle = len(windows) // 2
    if middle:
        return [windows[:middle], windows[middle:]]
    if not windows or windows[0][1] - windows[0][0] <= SHORTEST:
        return []
    start, end = windows[0]
    halfway = start + (end - start) / 2
    return [[(start, halfway)], [(halfway, end)]]


def _service_time(time):
    """Return a Timestamp as ObsPy's client takes it."""
    return obspy.UTCDateTime(time.isoformat(timespec="microseconds"))


def _stamp(time):
    """Return a time as file names hold it."""
    return f"{time:%Y%m%dT%H%M%S.%f}"


def _digest(text):
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def event_window(event, place):
    """Return the first and last time that an <event> needs, None where it names no time.

    place: (latitude, longitude) of the station [degree]
    """
    texts = [time.text.strip() for time in event.iterfind("{*}pick/{*}time/{*}value")]
    origin = preferred_origin(event)
    if origin is not None:
        texts.insert(0, origin.findtext("{*}time/{*}value").strip())
    times = list(pd.to_datetime(texts, utc=True, format="ISO8601"))
    if pd.isna(times).any():
        raise ValueError(f"{texts} are no times")
    if origin is not None:
        names = "latitude", "longitude", "depth"
        where = [float(origin.findtext(f"{{*}}{name}/{{*}}value") or 0) for name in names]
        if not all(map(math.isfinite, where)):
            raise ValueError(f"an origin at {where}")
        distance = math.hypot(gps2dist_azimuth(*where[:2], *place)[0], where[2]) / 1000
        slowest = pd.Timedelta(seconds=round(distance / SLOWEST_S, 3))
        times.append(times[0] + min(NEAR, slowest))
    near = [time for time in times if abs(time - times[0]) <= NEAR]
    return (min(near) - BEFORE, max(near) + AFTER) if near else None


def check_station(path, network, station):
    """Raise BadAnswer for what isn't StationXML of one station."""
    try:
        check_xml(path.read_bytes(), "FDSNStationXML")
        found = {(net.code, sta.code) for net in read_inventory(path) for sta in net}
    except ForeshapError as error:
        raise BadAnswer(f"a document that {error}") from None
    if found != {(network, station)}:
        raise BadAnswer(f"StationXML of {sorted(found)} instead of {network}.{station}")


def mend_times(event):
    """Write odd times of an <event> in the usual form; remove picks and origins without a time.

    returns: bool, whether an origin is left; None where there was none
    """
    has_origin = event.find("{*}origin") is not None
    for one in event.findall("{*}pick") + event.findall("{*}origin"):
        value = one.find("{*}time/{*}value")
        text = "" if value is None else (value.text or "").strip()
        if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d", text):
            continue
        time = utc_times(pd.Series([text]))[0]
        if pd.isna(time):
            event.remove(one)
        else:
            value.text = time.tz_localize(None).isoformat(timespec="microseconds") + "Z"
    return event.find("{*}origin") is not None if has_origin else None


def check_events(path, network, station, place):
    """Raise BadAnswer for what isn't QuakeML; remove other stations' picks from the file."""
    content, windows, has_origin = io.BytesIO(), [], []

    def checked_events():
        for event in read_events(path):
            keep_station(event, network, station)
            has_origin.append(mend_times(event))
            event_id(event.get("publicID"))
            windows.append(event_window(event, place))
            yield event

    try:
        check_xml(path.read_bytes(), "quakeml")
        write_events(content, checked_events())
        if False in has_origin and True not in has_origin:
            raise ValueError("no origin has a time")
        content.seek(0)
        n_read = len(obspy.read_events(content, format="QUAKEML")) if windows else 0
        if n_read != len(windows):
            raise ValueError(f"{n_read} events of {len(windows)}")
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise BadAnswer(f"no QuakeML that can be read: {error!r}") from None
    path.write_bytes(content.getvalue())


def check_miniseed(path, network, station, channels, windows):
    """Raise BadAnswer for what isn't miniSEED of one station from the first byte to the last.

    channels: str, one code with wildcards
    windows: sequence of (start, end), Timestamps; each piece must lie in one at least in part
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = _ends_with_whole_record(file)
            file.seek(0)
            stream = obspy.read(file, format="MSEED")  # without the format it would unpickle, too
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise BadAnswer(f"no miniSEED: {error}") from None
    if not whole:
        raise BadAnswer("miniSEED that is cut off in the middle of a record")
    if not stream:
        raise BadAnswer(f"miniSEED without samples of {network}.{station}")
    for trace in stream:
        stats = trace.stats
        right = (stats.network, stats.station) == (network, station)
        if not right or not fnmatchcase(stats.channel, channels):
            raise BadAnswer(f"miniSEED of {trace.id} instead of {network}.{station} {channels}")
        first = (stats.starttime - stats.delta).ns  # services round times
        last = (stats.endtime + stats.delta).ns
        if not any(start.value <= last and end.value >= first for start, end in windows):
            raise BadAnswer(f"miniSEED from {stats.starttime}, which was not asked for")


def _ends_with_whole_record(file):
    """Return whether a file's last miniSEED record is whole; ValueError for other content."""
    end, offset = file.seek(0, 2), 0
    while offset < end:
        file.seek(offset)
        header = file.read(8)
        if len(header) == 8 and not re.fullmatch(rb"[0-9 \0]{6}[DRQM][ \0]", header):
            raise ValueError(f"no record at byte {offset}")
        file.seek(0)
        offset += get_record_information(file, offset)["record_length"]
    return offset == end
