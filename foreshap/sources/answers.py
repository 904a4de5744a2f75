"""One answer of a web service: asked for until it is whole, checked before it is stored."""

import re
import time
import warnings
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from urllib.parse import urlsplit, urlunsplit

import obspy
import requests
from obspy.io.mseed.util import get_record_information

from ..files import ForeshapError, written_whole
from .safe_xml import fault_of

TRIES = 5  # of one request
LONGEST_PAUSE = 600.0  # s; a service that asks for more is left alone until the next run
LARGEST_ANSWER = 256 * 2**20  # bytes; more is as good as status 413: ask for less at once
LONGEST_ANSWER = 900.0  # s from the first to the last byte
NO_DATA, TOO_LARGE, UNKNOWN_PARAMETER = (204, 404), 413, (400, 501)
WORTH_ANOTHER_TRY = (408, 429, 500, 502, 503, 504)


class BadAnswer(ForeshapError):
    """What was received can't be used, and why."""

    def __init__(self, why, code=None, retry_after=None):
        super().__init__(why)
        self.code, self.retry_after = code, retry_after


def ask(path, check, sent, pause, timeout, handed_back=(*NO_DATA, TOO_LARGE)):
    """Store the answer to a request, whole and checked, or say by its status that there is none.

    path: Path of the file to write
    check: function (Path) that raises BadAnswer where the content isn't what was asked for
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
        except (BadAnswer, requests.RequestException) as error:
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
        return max(
            growing, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError):
        return growing


def public(url):
    """A URL without user name, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _complaint(url, error, again):
    """What went wrong, and what to do."""
    said = (
        str(error) if isinstance(error, BadAnswer) else f"{type(error).__name__}, no whole answer"
    )
    todo = "what is stored is kept, so run again later to continue" if again else "check the query"
    return f"The web service {public(url)} gave no usable answer ({said}): {todo}."


def _download(path, sent, timeout):
    """Write an answer of status 200 to a file, as it comes."""
    # Not through obspy.clients.fdsn.Client: it holds the answer in memory and drops the header Retry-After.
    last = time.monotonic() + LONGEST_ANSWER
    with requests.request(
        **sent, stream=True, timeout=timeout, hooks={"response": _moved}
    ) as response:
        if response.status_code != 200:
            words = " ".join(next(response.iter_content(300), b"").decode(errors="replace").split())
            why = f"status {response.status_code} {words}".rstrip()
            raise BadAnswer(why, response.status_code, response.headers.get("Retry-After"))
        with open(path, "wb") as file:
            for block in response.iter_content(
                2**16
            ):  # raises where the connection ends before the content does
                file.write(block)
                if file.tell() > LARGEST_ANSWER:
                    raise BadAnswer(f"more than {LARGEST_ANSWER} bytes", TOO_LARGE)
                if time.monotonic() > last:
                    raise BadAnswer(f"not whole after {LONGEST_ANSWER:.0f} s")


def _moved(response, **_):
    """A service that moved is asked the same there: after 301 and 302 requests would send GET without the body."""
    response.status_code = {301: 308, 302: 307}.get(response.status_code, response.status_code)


def checked_xml(path, root):
    """Refuse what isn't whole XML with this root element, or declares a document type.

    path: Path
    root: str, name of the root element without its namespace

    raises: BadAnswer
    """
    if fault := fault_of(path.read_bytes(), root):
        raise BadAnswer(f"the document {fault}")


def checked_miniseed(path, network, station, channels, windows):
    """Refuse what isn't miniSEED of one station, its channels and some windows from the first byte to the last.

    path: Path
    network, station: str
    channels: str, one code with wildcards
    windows: sequence of (start, end), Timestamps; each piece without a gap must lie in one at least in part

    raises: BadAnswer; with the code 204 where there is no content
    """
    if path.stat().st_size == 0:
        raise BadAnswer("an answer without any miniSEED in it", 204)
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = _whole_records(file)
            file.seek(0)
            stream = obspy.read(
                file, format="MSEED"
            )  # never without the format: ObsPy would unpickle, too
    except Exception as error:  # ObsPy raises whatever its parsers raise
        raise BadAnswer(f"no miniSEED: {error}") from None
    if not whole:
        raise BadAnswer("miniSEED that is cut off in the middle of a record")
    if not stream:
        raise BadAnswer(f"miniSEED without samples of {network}.{station}")
    for trace in stream:
        one = trace.stats
        if (one.network, one.station) != (network, station) or not fnmatchcase(
            one.channel, channels
        ):
            raise BadAnswer(f"miniSEED of {trace.id} instead of {network}.{station} {channels}")
        first, last = (
            (one.starttime - one.delta).ns,
            (one.endtime + one.delta).ns,
        )  # services round times
        if not any(start.value <= last and end.value >= first for start, end in windows):
            raise BadAnswer(f"miniSEED from {one.starttime}, which was not asked for")


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
