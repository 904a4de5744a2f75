"""FDSN web services into a local store: catalogue, picks, station metadata and seismograms."""

import hashlib
import io
import json
import math
import re
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from http.client import IncompleteRead
from pathlib import Path
from threading import Lock, Thread
from typing import Annotated, Any
from urllib.parse import unquote
from urllib.request import BaseHandler
from urllib.response import addinfourl

import msgspec
import obspy
import pandas as pd
from filelock import FileLock
from lxml import etree
from obspy.clients.fdsn import Client
from obspy.clients.fdsn.header import URL_MAPPINGS, FDSNException
from obspy.geodetics import gps2dist_azimuth, kilometers2degrees
from obspy.io.mseed.util import get_record_information
from tqdm import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from ..files import ForeshapError, check_machine, sha256, written_whole
from ..parallel import map_in_order
from ..preprocessing.periods import Periods, periods
from .picks import utc_times
from .quakeml import event_id, keep_station, preferred_origin, read_events, write_events
from .responses import read_inventory
from .safe_xml import check_xml

MANIFEST_FILE = "manifest.json"
PICKS_FILE = "picks.xml"
STATION_FILE = "station.xml"
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{1,8}\Z")]
Channels = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9?*]{1,3}\Z")]
CONNECTIONS = 2  # at a time, fewer than any service's limit
TRIES = 5  # of one request
LONGEST_PAUSE = 600.0  # s; a service that asks for more is left alone until the next run
LARGEST_ANSWER = 256 * 2**20  # bytes; more is as good as status 413
LONGEST_ANSWER = 900.0  # s from the request to the last byte
NO_DATA = (204, 404)
TOO_LARGE = 413
UNKNOWN_PARAMETER = (400, 501)
WORTH_ANOTHER_TRY = (None, 408, 429, 500, 502, 503, 504)  # None: no whole answer
SLICE = pd.Timedelta("6h")  # of the catalogue, in one request
PIECE = pd.Timedelta("10min")  # the longest of seismograms
TOGETHER = 30  # pieces in one request: events of an hour, 2 MB of 3 components at 100 Hz
SHORTEST = pd.Timedelta("1s")  # a request that is too large at this length can't be helped
MARGINS = pd.Timedelta("30s"), pd.Timedelta("60s")  # before the origin, after last pick and S
FARTHEST = pd.Timedelta("10min")  # from its origin S and picks are; others are mistakes
SLOWEST_S = 2.0  # km/s along the straight line from the hypocentre: slower than in the crust
PROBED = 20  # events asked for one by one before a service is believed to have no picks
NETWORK_DOIS = {"IV": "10.13127/SD/X0FXnH7QfY"}  # where the StationXML doesn't say


@dataclass(frozen=True)
class FdsnQuery:
    """What to fetch; default: the Norcia study (doi:10.1038/s41467-024-54153-w), our own radius.

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
    network: Code = "IV"
    station: Code = "NRCA"
    mainshock: str = "2016-10-30T06:40:17"
    start: str = "2016-08-20"
    end: str = "2016-12-20"
    left_out: tuple | None = ("2016-10-26", "2016-11-01")
    radius_km: Annotated[float, msgspec.Meta(gt=0)] = 25.0
    min_magnitude: float = 1.0
    channels: Channels = "HH?"
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


def fetch_fdsn(store, query=FdsnQuery(), pause=1.0, timeout=120.0):
    """Fetch catalogue, picks, metadata and seismograms of a station, or what is missing of them.

    A run that was stopped is continued by the same call, one at work is waited for. "No data"
    (status 204, 404, no content) is final. Seismograms reach from 30 s before each origin to 60 s
    after the last pick and the S wave at 2 km/s.

    store: str or Path, a folder of its own, for one query: waveforms/*.mseed, picks.xml (QuakeML:
        events with the picks of this station), station.xml (StationXML with responses),
        events/*.xml (parts of the catalogue), manifest.json
    query: FdsnQuery
    pause: float, before a request is repeated for the first time [s]; it doubles each time
    timeout: float, how long a service may be silent [s]

    returns: dict, as in manifest.json: query, doi, retrieved, n_events, n_picked, answers (name of
        a file -> its SHA-256, or the status 204, 404 or 413)
    raises: ForeshapError where the folder holds something else, a service refuses or fails for
        good, or there is no such station or no event
    """
    store = Store(Path(store), query, pause, timeout)
    try:
        store.open()
        with FileLock(store.folder / ".lock"):
            store.open()  # with what another run has stored by now
            store.fetch_station()
            store.fetch_waveforms(store.fetch_catalogue())
    except OSError as error:
        check_machine(store.folder, error)
        raise ForeshapError(f"{store.folder} can't be read ({error}): run again.") from error
    return store.manifest


def _query_as_json(query):
    """Return a query that was checked as JSON holds it, without passwords."""
    fields = asdict(query) | {"left_out": None} | query.periods.attributes()
    try:
        msgspec.convert(fields | {"left_out": None}, FdsnQuery)
    except msgspec.ValidationError as error:
        raise ForeshapError(f"The query can't be asked ({error}): correct it.") from error
    for name in ("provider", "catalogue"):
        if fields[name]:
            open_client(fields[name])
            fields[name] = public(fields[name])
    return fields


def open_client(provider, timeout=120.0):
    """Return ObsPy's client of a provider; nothing is asked yet."""
    address = str(provider)
    options = {"timeout": timeout, "use_gzip": False, "_discover_services": False}
    login = re.fullmatch("(https?://)([^/@:]*):([^/@]*)@(.*)", address)
    if login:
        address = login[1] + login[4]
        options |= {"user": unquote(login[2]), "password": unquote(login[3])}
    try:
        return Client(address, **options)
    except ValueError as error:
        names = ", ".join(sorted(URL_MAPPINGS))
        raise ForeshapError(f"{public(address)} is no URL and none of {names}.") from error


def public(url):
    """Return a URL without user name, password and query."""
    return re.sub("//[^/]*@", "//", url).partition("?")[0]


class AnswerReader(BaseHandler):
    """Read what ObsPy's client receives, if it is not too large; note what the client hides."""

    handler_order = 100  # before redirections are followed and errors raised
    status = None  # of the answer; None where none was whole
    retry_after = None  # its header of this name

    def http_response(self, request, response):
        """Return a whole answer in memory; OSError or HTTPException where it is none."""
        self.status, expected = None, response.length  # None where it is not announced
        content = response.read(LARGEST_ANSWER + 1)
        if len(content) > LARGEST_ANSWER:
            self.status = TOO_LARGE
            raise OSError(f"more than {LARGEST_ANSWER} bytes")
        if expected is not None and len(content) < expected:
            raise IncompleteRead(content)
        self.retry_after = response.headers.get("Retry-After")
        code = 307 if response.code == 308 else response.code  # ObsPy repeats the request at 307
        if code not in (301, 302, 303, 307):
            self.status = code
        del response.headers["Content-Encoding"]  # not asked for, and never unpacked
        answer = addinfourl(io.BytesIO(content), response.headers, response.url, code)
        answer.msg = response.msg
        return answer

    https_response = http_response


def in_time(function, **options):
    """Return what a function returns; TimeoutError after LONGEST_ANSWER, whatever it waits for."""
    future = Future()

    def run():
        try:
            future.set_result(function(**options))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()  # a service that drips doesn't keep the process alive
    return future.result(LONGEST_ANSWER)


def wait_time(attempt, pause, retry_after=None):
    """Return how long to wait after a try [s]; retry_after: seconds or a date, as in the header."""
    growing = pause * 2**attempt
    try:
        return max(growing, Retry().parse_retry_after(retry_after or "0"))
    except (InvalidHeader, ValueError, TypeError, OverflowError):
        return growing


@dataclass
class Store:
    """The folder of a query: what is known of each file in it, and how to ask for the rest.

    A request is (service, arguments of the method of ObsPy's client, windows (start, end) to halve
    where the answer is too large).
    """

    folder: Path
    query: FdsnQuery
    pause: float  # s, as fetch_fdsn() takes it
    timeout: float  # s
    manifest: dict | None = None  # what manifest.json holds
    place: tuple | None = None  # latitude, longitude of the station [degree]
    lock: Lock = field(default_factory=Lock)  # ObsPy's readers are for one thread at a time

    def open(self):
        """Read manifest.json, or begin it; ForeshapError where the folder holds something else."""
        path, wanted = self.folder / MANIFEST_FILE, _query_as_json(self.query)
        has_files = self.folder.is_file() or any(self.folder.glob("[!.]*"))
        if not path.exists():
            if has_files:
                raise ForeshapError(f"{self.folder} holds other files: use an empty folder.")
            retrieved = f"{datetime.now(UTC):%Y-%m-%d}"
            self.manifest = {"query": wanted, "retrieved": retrieved, "answers": {}}
            self.save()
            return
        try:
            self.manifest = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            msgspec.convert(self.manifest["answers"], dict[str, int | str])
            asked = msgspec.convert(self.manifest["query"], dict[str, Any])
        except (ValueError, KeyError) as error:
            raise ForeshapError(f"{path} is damaged ({error!r}): use another folder.") from error
        for name, value in wanted.items():
            if asked.get(name) != value and name != "mainshock":  # no request depends on that
                raise ForeshapError(
                    f"{self.folder} holds the answers to a query of another {name}: "
                    "move it away, then run again."
                )
        self.manifest["query"] = wanted

    def save(self):
        """Write manifest.json."""
        with written_whole(self.folder / MANIFEST_FILE) as file:
            file.write_text(json.dumps(self.manifest, indent=1, sort_keys=True))

    def provider(self, service):
        """Return the name or URL of the provider of a service."""
        return (service == "event" and self.query.catalogue) or self.query.provider

    def fail(self, service, what):
        """Raise ForeshapError: what a service did, and what to do."""
        raise ForeshapError(f"The {service} service of {public(self.provider(service))} {what}.")

    def fetch_station(self):
        """Fetch the station's metadata; its place and the DOI of its network are noted."""
        query, spans = self.query, self.query.periods
        arguments = {"network": query.network, "station": query.station, "format": "xml"}
        arguments |= {"channel": query.channels, "level": "response"}
        arguments["starttime"] = obspy.UTCDateTime(spans.start)
        arguments["endtime"] = obspy.UTCDateTime(spans.end)
        if not self.fetch(("station", arguments, [])):
            codes = f"{query.network}.{query.station} with {query.channels}"
            self.fail("station", f"knows no {codes} at the time: check the query")
        network = read_inventory(self.folder / STATION_FILE)[0]
        found = re.search("10\\..*", " ".join(network.identifiers or ()))
        self.manifest["doi"] = found[0].split()[0] if found else NETWORK_DOIS.get(query.network)
        self.place = network[0].latitude, network[0].longitude

    def fetch_catalogue(self):
        """Fetch picks.xml; return the windows (start, end) that its events need, in order."""
        spans = self.query.periods
        left_out = spans.left_out or (spans.end, spans.end)
        studied = (spans.start, left_out[0]), (left_out[1], spans.end)
        slices = [self.request("event", [window]) for window in _cut(studied, SLICE)]
        paths = self.fetch_all(slices, "catalogue")
        picked = _picked_events(paths)
        if not picked:
            where = f"within {self.query.radius_km} km from {spans.start} to {spans.end}"
            self.fail("event", f"has no event {where}: check the query")
        if not any(picked.values()):  # many services give arrivals only of one event at a time
            names = dict.fromkeys(map(event_id, picked))
            single = [("event", {"eventid": name, "includearrivals": True}, []) for name in names]
            probed = self.fetch_all(single[:PROBED], "first events")
            if any(_picked_events(probed).values()):
                paths = self.fetch_all(single, "events") + paths
        path = self.folder / PICKS_FILE
        with written_whole(path) as file:
            write_events(str(file), read_events(*paths))
        picked = _picked_events([path])
        self.manifest |= {"n_events": len(picked), "n_picked": sum(picked.values())}
        self.manifest["answers"][PICKS_FILE] = sha256(path)
        self.save()
        windows = [event_window(event, self.place) for event in read_events(path)]
        return sorted(filter(None, windows))

    def fetch_waveforms(self, windows):
        """Fetch the seismograms of windows in order, TOGETHER in one request, nothing twice."""
        joined = []
        for start, end in windows:
            if joined and start <= joined[-1][1]:
                start, last = joined.pop()
                end = max(end, last)
            joined.append((start, end))
        pieces, requests = list(_cut(joined, PIECE)), []
        for first in range(0, len(pieces), TOGETHER):
            requests.append(self.request("dataselect", pieces[first : first + TOGETHER]))
        if not self.fetch_all(requests, "seismograms"):
            codes = f"{self.query.network}.{self.query.station}"
            self.fail("dataselect", f"has no seismograms of {codes}: check the channels")

    def request(self, service, windows):
        """Return the request of the events in one window, or of the seismograms in several."""
        query = self.query
        times = [tuple(map(obspy.UTCDateTime, window)) for window in windows]
        if service == "dataselect":
            codes = query.network, query.station, "*", query.channels
            return service, {"bulk": [(*codes, *pair) for pair in times]}, windows
        radius = round(kilometers2degrees(query.radius_km), 6)
        arguments = dict(zip(("starttime", "endtime"), times[0]))
        arguments |= dict(zip(("latitude", "longitude"), self.place), maxradius=radius)
        arguments |= {"minmagnitude": query.min_magnitude, "includearrivals": True}
        return service, arguments, windows

    def fetch_all(self, requests, label):
        """Return the paths of the files that answer requests, sent over several connections."""
        paths = []
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            answers = map_in_order(self.fetch, requests, pool)
            for found in tqdm(answers, total=len(requests), desc=label, unit="request"):
                paths += found
        return paths

    def fetch(self, request):
        """Return the paths of the files that answer a request: one, none, or of its halves."""
        service, arguments, windows = request
        key = hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]
        if windows:
            key = f"{windows[0][0]:%Y%m%dT%H%M%S}_{key}"
        name = SERVICES[service][1].format(key)
        path = self.folder / name
        answer = self.manifest["answers"].get(name)
        if not isinstance(answer, int) and not (path.exists() and sha256(path) == answer):
            answer = self.ask(*request, path)
            with self.lock:
                self.manifest["answers"][name] = answer
                self.save()
        if answer != TOO_LARGE:
            return [] if answer in NO_DATA else [path]
        length = sum((end - start for start, end in windows), pd.Timedelta(0))
        if length <= SHORTEST:
            self.fail(service, f"finds {name} too large, and it can't be less: check the query")
        paths, pieces = [], windows
        if len(windows) == 1:
            pieces = _cut(windows, (length / 2).ceil("us"))
        for window in pieces:
            paths += self.fetch(self.request(service, [window]))
        return paths

    def ask(self, service, arguments, windows, path):
        """Store the answer to a request, whole and checked; return its SHA-256, or the status."""
        query, check = self.query, SERVICES[service][2]
        further = {"event": [self.place], "dataselect": [query.channels, windows]}
        for attempt in range(TRIES):
            try:
                content = self.download(service, arguments)
                with written_whole(path) as partial, self.lock:
                    partial.write_bytes(content)
                    check(partial, query.network, query.station, *further.get(service, []))
                return sha256(path)
            except BadAnswer as error:
                if error.status in (*NO_DATA, TOO_LARGE):
                    return error.status
                if error.status in UNKNOWN_PARAMETER and arguments.pop("includearrivals", False):
                    continue
                why = f"gave no usable answer ({error})"
                if error.status not in WORTH_ANOTHER_TRY:
                    self.fail(service, f"{why}: check the query")
                wait = wait_time(attempt, self.pause, error.retry_after)
                if attempt == TRIES - 1 or wait > LONGEST_PAUSE:
                    self.fail(service, f"{why}: run again later, what is stored is kept")
            time.sleep(wait)

    def download(self, service, arguments):
        """Return the content of an answer of status 200; BadAnswer where there is none."""
        client, reader = open_client(self.provider(service), self.timeout), AnswerReader()
        client._url_opener.add_handler(reader)
        content = io.BytesIO()
        try:
            in_time(getattr(client, SERVICES[service][0]), filename=content, **arguments)
        except (FDSNException, NotImplementedError, ValueError, TimeoutError) as error:
            why = f"status {reader.status}" if reader.status else "no whole answer"
            raise BadAnswer(f"{why}, {error!r}"[:300], reader.status, reader.retry_after) from None
        if not content.getvalue() and service != "station":
            raise BadAnswer("no content", 204)
        return content.getvalue()


def _picked_events(paths):
    """Return whether each event of QuakeML files has a pick, dict of publicIDs."""
    events = read_events(*paths)
    return {event.get("publicID"): event.find("{*}pick") is not None for event in events}


def _cut(windows, longest):
    """Yield the pieces of windows (start, end), none longer than longest."""
    for start, end in windows:
        while start < end:
            yield start, min(end, start + longest)
            start += longest


def event_window(event, place):
    """Return the first and last time that an <event> needs at a place, None without an origin."""
    origin = preferred_origin(event)
    if origin is None:
        return None
    begin = pd.to_datetime(origin.findtext("{*}time/{*}value").strip(), utc=True, format="ISO8601")
    where = []
    for name in ("latitude", "longitude", "depth"):
        where.append(float(origin.findtext(f"{{*}}{name}/{{*}}value") or 0))
    distance = math.hypot(gps2dist_azimuth(*where[:2], *place)[0], where[2]) / 1000
    if not math.isfinite(distance):
        raise ValueError(f"an origin at {where}")
    s_travel = pd.Timedelta(seconds=round(distance / SLOWEST_S, 3))
    times = [begin, begin + min(FARTHEST, s_travel)]
    for value in event.iterfind("{*}pick/{*}time/{*}value"):
        time = pd.to_datetime(value.text.strip(), utc=True, format="ISO8601")
        if abs(time - begin) <= FARTHEST:
            times.append(time)
    return min(times) - MARGINS[0], max(times) + MARGINS[1]


def check_station(path, network, station):
    """Raise BadAnswer for what isn't StationXML of one station."""
    try:
        check_xml(path.read_bytes(), "FDSNStationXML")
        found = {(net.code, sta.code) for net in read_inventory(path) for sta in net}
    except ForeshapError as error:
        raise BadAnswer(f"a document that {error}") from None
    if found != {(network, station)}:
        raise BadAnswer(f"StationXML of {sorted(found)} instead of {network}.{station}")


def check_events(path, network, station, place):
    """Raise BadAnswer for what isn't QuakeML; remove other stations' picks from the file."""
    try:
        check_xml(path.read_bytes(), "quakeml")
        tree = etree.parse(path, etree.XMLParser(resolve_entities=False, load_dtd=False))
        events = list(tree.iter("{*}event"))
        for event in events:
            keep_station(event, network, station)
            _mend_times(event)
            event_id(event.get("publicID"))
            event_window(event, place)
        tree.write(path, encoding="utf-8", xml_declaration=True)
        if events and len(obspy.read_events(path, format="QUAKEML")) != len(events):
            raise ValueError(f"not all of its {len(events)} events are read")
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        raise BadAnswer(f"no QuakeML that can be read: {error!r}") from None


def _mend_times(event):
    """Write odd times of an <event> in the usual form; remove picks and origins without a time."""
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


def check_miniseed(path, network, station, channels, windows):
    """Raise BadAnswer for what isn't miniSEED of a station's channels, each piece in a window."""
    try:
        content, offset = path.read_bytes(), 0
        with warnings.catch_warnings(action="ignore"):
            while offset < len(content):
                if not re.match(rb"[0-9 \0]{6}[DRQM][ \0]", content[offset : offset + 8]):
                    raise ValueError(f"no record at byte {offset}")
                offset += get_record_information(io.BytesIO(content), offset)["record_length"]
            if offset != len(content):
                raise ValueError("the last record is cut off")
            stream = obspy.read(io.BytesIO(content), format="MSEED")  # or it would unpickle, too
    except Exception as error:  # ObsPy raises whatever its parsers raise
        check_machine(path, error)
        raise BadAnswer(f"no miniSEED: {error}") from None
    if not stream:
        raise BadAnswer(f"miniSEED without samples of {network}.{station}")
    wanted = f"{network}.{station}.*.{channels}"
    for trace in stream:
        stats = trace.stats
        if not fnmatchcase(trace.id, wanted):
            raise BadAnswer(f"miniSEED of {trace.id} instead of {wanted}")
        first = (stats.starttime - stats.delta).ns  # services round times
        last = (stats.endtime + stats.delta).ns
        if not any(start.value <= last and end.value >= first for start, end in windows):
            raise BadAnswer(f"miniSEED from {stats.starttime}, which was not asked for")


SERVICES = {  # name: method of ObsPy's client, file in the store, check of an answer
    "station": ("get_stations", STATION_FILE, check_station),
    "event": ("get_events", "events/{}.xml", check_events),
    "dataselect": ("get_waveforms_bulk", "waveforms/{}.mseed", check_miniseed),
}
