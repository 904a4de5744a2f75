"""FDSN web services on loopback, from an archive in memory, that misbehave when told to."""

import io
import pickle
import socket
import struct
import threading
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import obspy
from obspy.core import event as quakeml
from obspy.core import inventory as stationxml
from obspy.geodetics import gps2dist_azimuth
from obspy.io.mseed.util import get_record_information

BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<q:quakeml xmlns:q="http://quakeml.org/xmlns/quakeml/1.2">&c;</q:quakeml>"""
HTML = b"<html><head><title>Maintenance</title></head><body>We are back soon.</body></html>"
RESPONSE = obspy.core.inventory.response.Response.from_paz([-1, -2], [0], 1e9)


class Payload:
    """Unpickled it would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def earthquake(name, time, latitude, longitude, magnitude, picks=(), depth=8000.0):
    """An event as a service knows it; picks: (network, station, phase, seconds after origin)."""
    smi, time = f"smi:local/fdsnws/event/1/query?eventId={name}", obspy.UTCDateTime(time)
    found = [
        quakeml.Pick(
            resource_id=f"{smi}_{net}_{sta}_{phase}",
            time=time + later,
            phase_hint=phase,
            waveform_id=quakeml.WaveformStreamID(net, sta, "", "HHZ"),
        )
        for net, sta, phase, later in picks
    ]
    origin = quakeml.Origin(
        resource_id=f"{smi}_o",
        time=time,
        latitude=latitude,
        longitude=longitude,
        depth=depth,
        arrivals=[
            quakeml.Arrival(
                resource_id=f"{p.resource_id}_a", pick_id=p.resource_id, phase=p.phase_hint
            )
            for p in found
        ],
    )
    size = quakeml.Magnitude(resource_id=f"{smi}_m", mag=magnitude, origin_id=origin.resource_id)
    event = quakeml.Event(resource_id=smi, origins=[origin], magnitudes=[size], picks=found)
    event.preferred_origin_id, event.preferred_magnitude_id = origin.resource_id, size.resource_id
    return event


def inventory(network, station, latitude, longitude, doi=None):
    """Metadata of a station with HHE, HHN, HHZ."""
    place = {"latitude": latitude, "longitude": longitude, "elevation": 900.0}
    since = obspy.UTCDateTime(2000, 1, 1)
    channels = [
        stationxml.Channel(
            f"HH{c}",
            "",
            **place,
            depth=0.0,
            azimuth=azimuth,
            dip=dip,
            sample_rate=100.0,
            start_date=since,
            response=RESPONSE,
        )
        for c, azimuth, dip in (("E", 90.0, 0.0), ("N", 0.0, 0.0), ("Z", 0.0, -90.0))
    ]
    held = stationxml.Station(station, **place, channels=channels, start_date=since)
    return stationxml.Inventory(
        [stationxml.Network(network, [held], identifiers=[f"DOI:{doi}"] if doi else None)], "t"
    )


def records(stream):
    """Yield (id, start, end, bytes) of the miniSEED records of a stream."""
    for trace in stream:
        content, offset = io.BytesIO(), 0
        trace.write(content, format="MSEED", reclen=512)
        while offset < len(content.getvalue()):
            content.seek(0)
            about = get_record_information(content, offset)
            times = about["starttime"].timestamp, about["endtime"].timestamp
            yield trace.id, *times, content.getvalue()[offset : offset + 512]
            offset += 512


class Archive:
    """What the services hold, what they were asked, and how they misbehave.

    misbehave: function (service, number of the request of this service from 0 on, what was asked)
        -> what to do instead of answering, or None
    arrivals: "range", "single" (given only with one event) or "refused"
    """

    def __init__(self, stream, catalog, metadata, arrivals="range"):
        self.stream, self.catalog, self.metadata, self.arrivals = (
            stream,
            catalog,
            metadata,
            arrivals,
        )
        self.asked, self.lock, self.misbehave, self.payload = (
            [],
            threading.Lock(),
            lambda *request: None,
            "payload",
        )
        self.hold, self.records = threading.Event(), list(records(stream))

    def number(self, service, asked):
        with self.lock:
            self.asked.append((service, asked))
            return sum(name == service for name, _ in self.asked) - 1

    def answer(self, service, asked):
        """Status and content."""
        content = {"dataselect": self.dataselect, "event": self.event, "station": self.station}[
            service
        ](asked)
        return content if isinstance(content, tuple) else (200, content) if content else (204, b"")

    def dataselect(self, asked):
        """Whole records, as many services give them, without ObsPy's C library (one thread)."""
        chosen = []
        for line in asked.splitlines():
            *codes, start, end = line.split()
            start, end = (obspy.UTCDateTime(time).timestamp for time in (start, end))
            pattern = ".".join("" if code == "--" else code for code in codes)
            chosen += [
                data
                for name, first, last, data in self.records
                if first <= end and last >= start and fnmatch(name, pattern)
            ]
        return b"".join(chosen)

    def event(self, asked):
        asked = dict(asked)
        if "includearrivals" in asked and self.arrivals == "refused":
            return 501, b"Error 501: Not Implemented\n\nincludearrivals parameter is not supported"
        given = "includearrivals" in asked and (self.arrivals == "range" or "eventid" in asked)
        chosen = [
            event if given else self.bare(event)
            for event in self.catalog
            if self.wanted(event, asked)
        ]
        content = io.BytesIO()
        quakeml.Catalog(chosen, resource_id="smi:local/catalogue").write(content, format="QUAKEML")
        return content.getvalue() if chosen else b""

    @staticmethod
    def bare(event):
        origin = event.origins[0].copy()
        origin.arrivals = []
        return quakeml.Event(
            resource_id=event.resource_id,
            origins=[origin],
            magnitudes=event.magnitudes,
            preferred_origin_id=event.preferred_origin_id,
        )

    @staticmethod
    def wanted(event, asked):
        if "eventid" in asked:
            return str(event.resource_id).split("&")[0].endswith(f"={asked['eventid']}")
        origin, here = event.origins[0], (float(asked["latitude"]), float(asked["longitude"]))
        near = (
            gps2dist_azimuth(origin.latitude, origin.longitude, *here)[0]
            <= float(asked["maxradius"]) * 111195
        )
        in_time = (
            obspy.UTCDateTime(asked["starttime"])
            <= origin.time
            <= obspy.UTCDateTime(asked["endtime"])
        )
        return near and in_time and event.magnitudes[0].mag >= float(asked["minmagnitude"])

    def station(self, asked):
        asked, content = dict(asked), io.BytesIO()
        chosen = self.metadata.select(asked["network"], asked["station"])
        if not len(chosen):
            return b""
        chosen.write(content, format="STATIONXML")
        return content.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        self.serve(url.path, tuple(parse_qsl(url.query)))

    def do_POST(self):
        self.serve(
            urlsplit(self.path).path, self.rfile.read(int(self.headers["Content-Length"])).decode()
        )

    def serve(self, path, asked):
        archive = self.server.archive
        _, root, service, version, method = path.split("/")
        if (root, version) != ("fdsnws", "1"):
            return self.send(404, b"")
        if method != "query":  # version, application.wadl, catalogs, contributors
            return self.send(200, b"1.1.0") if method == "version" else self.send(404, b"")
        kind = archive.misbehave(service, archive.number(service, asked), asked)
        self.misbehave(kind, *archive.answer(service, asked)) if kind else self.send(
            *archive.answer(service, asked)
        )

    def misbehave(self, kind, status, content):
        if status != 200 and kind in ("truncated", "cut", "reset"):
            kind = "500"  # there is nothing to cut off
        if kind == "slow":
            self.server.archive.hold.wait(
                20
            )  # longer than the client waits; released when the server is closed
        elif kind == "truncated":  # fewer bytes than announced
            self.send(status, content[: len(content) // 2], length=len(content))
        elif kind == "cut":  # in the middle of a record, with no length announced
            self.send(status, content[: len(content) // 2 + 100], length=None)
        elif kind == "reset":
            self.send(status, content[:700], length=len(content))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "nothing":
            self.send(200, b"")
        elif kind in ("html", "bomb", "pickle"):
            self.send(
                200,
                {
                    "html": HTML,
                    "bomb": BOMB,
                    "pickle": pickle.dumps(Payload(self.server.archive.payload)),
                }[kind],
            )
        else:  # a status, with the header Retry-After: "429 0.01"
            status, _, retry_after = kind.partition(" ")
            self.send(int(status), b"told to" if status != "204" else b"", retry_after=retry_after)

    def send(self, status, content, length=..., retry_after=""):
        self.close_connection = True
        self.send_response(status)
        length = len(content) if length is ... else length
        if length is not None and status != 204:
            self.send_header("Content-Length", str(length))
        if status in (301, 302, 307, 308):
            self.send_header("Location", self.path)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


@contextmanager
def serving(archive):
    """URL of the services, as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.archive = archive
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        archive.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
