"""One answer of a web service: asked for until it is whole, checked before it is stored."""

import re
import time
import warnings
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit
from xml.parsers import expat

import obspy
import requests
from obspy.io.mseed.util import get_record_information

from ..files import ForeshapError, written_whole

TRIES = 5  # of one request
LONGEST_PAUSE = 600.0  # s; a service that asks for more is left alone until the next run
LARGEST_ANSWER = 256 * 2**20  # bytes; more is as good as status 413: ask for less at once
LONGEST_ANSWER = 900.0  # s from the first to the last byte
NO_DATA, TOO_LARGE, UNKNOWN_PARAMETER = (204, 404), 413, (400, 501)
WORTH_ANOTHER_TRY = (408, 429, 500, 502, 503, 504)


class Unusable(Exception):
    """What was received can't be used, and why."""

    def __init__(self, why, code=None, retry_after=None):
        super().__init__(why)
        self.code, self.retry_after = code, retry_after


def ask(path, check, sent, pause, timeout, handed_back=(*NO_DATA, TOO_LARGE)):
    """Store the answer to a request, whole and checked, or say by its status that there is none.

    path: Path of the file to write
    check: function (Path) that raises Unusable where the content isn't what was asked for
    sent: dict, arguments of requests.request: method, url, params or data
    pause: float, before the second try [s]; it doubles each time, and Retry-After is honoured
    timeout: float, how long the service may be silent [s]
    handed_back: sequence of int, status codes that end the matter

    returns: int, 200 where the file is written, else the status
    raises: ForeshapError where the service refuses, or after the last try
    """
    for attempt in range(TRIES):
        try:
            with written_whole(path) as partial:
                _download(partial, sent, timeout)
                check(partial)
            return 200
        except (Unusable, requests.RequestException) as error:
            code = getattr(error, "code", None)
            if code in handed_back:
                return code
            wait = waiting(attempt, pause, getattr(error, "retry_after", None))
            again = code is None or code in WORTH_ANOTHER_TRY
            if not again or attempt == TRIES - 1 or wait > LONGEST_PAUSE:
                raise ForeshapError(_complaint(sent["url"], error, again)) from None
        time.sleep(wait)


def waiting(attempt, pause, retry_after=None):
    """How long to wait before the next try [s].

    attempt: int, tries before this one
    pause: float, after the first try [s]; it doubles
    retry_after: str, as in the header Retry-After: seconds or a date; or None

    returns: float
    """
    growing = pause * 2**attempt
    try:
        return max(growing, float(retry_after or 0))
    except ValueError:
        pass
    try:
        return max(growing, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return growing


def public(url):
    """A URL without user name, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _complaint(url, error, again):
    """What went wrong, and what to do."""
    said = str(error) if isinstance(error, Unusable) else f"{type(error).__name__}, no whole answer"
    todo = "what is stored is kept, so run again later to continue" if again else "check the query"
    return f"The web service {public(url)} gave no usable answer ({said}): {todo}."


def _download(path, sent, timeout):
    """Write an answer of status 200 to a file, as it comes."""
    # Not through obspy.clients.fdsn.Client: it holds the answer in memory and drops the header Retry-After.
    last = time.monotonic() + LONGEST_ANSWER
    with requests.request(**sent, stream=True, timeout=timeout) as response:
        if response.status_code != 200:
            words = " ".join(next(response.iter_content(300), b"").decode(errors="replace").split())
            why = f"status {response.status_code} {words}".rstrip()
            raise Unusable(why, response.status_code, response.headers.get("Retry-After"))
        with open(path, "wb") as file:
            for block in response.iter_content(2**16):  # raises where the connection ends before the content does
                file.write(block)
                if file.tell() > LARGEST_ANSWER:
                    raise Unusable(f"more than {LARGEST_ANSWER} bytes", TOO_LARGE)
                if time.monotonic() > last:
                    raise Unusable(f"not whole after {LONGEST_ANSWER:.0f} s")


def checked_xml(path, root):
    """Refuse what isn't whole XML with this root element, or declares a document type, where entity bombs live.

    path: Path
    root: str, name of the root element without its namespace

    raises: Unusable
    """
    parser, roots = expat.ParserCreate(namespace_separator=" "), []

    def refuse(*declaration):
        raise Unusable(f"a document type is declared: {declaration[0]}; {root} never does that")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: roots or roots.append(name.split(" ")[-1])
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Unusable(f"no whole XML: {error}") from None
    if roots != [root]:
        raise Unusable(f"XML of {roots[0]} instead of {root}")


def checked_miniseed(path, network, station):
    """Refuse what isn't miniSEED of one station from the first byte to the last.

    path: Path
    network, station: str

    raises: Unusable
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = _whole_records(file)
            file.seek(0)
            stream = obspy.read(file, format="MSEED")  # never without the format: ObsPy would unpickle, too
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise Unusable(f"no miniSEED: {error}") from None
    if not whole:
        raise Unusable("miniSEED that is cut off in the middle of a record")
    others = {(trace.stats.network, trace.stats.station) for trace in stream} - {(network, station)}
    if others or not stream:
        raise Unusable(f"miniSEED of {sorted(others)} instead of {network}.{station}")


def _whole_records(file):
    """Whether the last of a file's miniSEED records is whole; ValueError where something else is between them."""
    end, offset = file.seek(0, 2), 0
    while offset < end:
        file.seek(offset)
        if not re.fullmatch(rb"[0-9 \0]{6}[DRQM][ \0]", file.read(8)) and end - offset >= 8:
            raise ValueError(f"no record at byte {offset}")
        file.seek(0)
        offset += get_record_information(file, offset)["record_length"]
    return offset == end
