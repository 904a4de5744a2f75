"""Published archives by their DOI: downloaded once, continued when interrupted, always checked."""

import json
import re
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pooch
import requests
from filelock import FileLock
from pooch.downloaders import ZenodoRepository
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from ..files import ForeshapError, check_machine, folder_written_whole, sha256, written_whole
from .fdsn import in_time

ARCHIVES = {  # name -> DOI
    "nrca": "10.5281/zenodo.15683047",  # IV.NRCA in the waveform layout: from_nrca_archive
    "nine_stations": "10.5281/zenodo.12795621",  # CC-BY-4.0: from_nine_stations
    "frames": "10.5281/zenodo.12806081",  # pickled frames: from_frames
}
REGISTRY = "checksums.json"
PACKED = r"(.+?)\.(zip|tgz|tar|tar\.(gz|bz2|xz))"
PLAIN = r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*"  # the name of a file and not of a path
LARGEST = 100 * 2**30  # bytes that an archive may declare for its files together
PIECE = 2**20  # bytes read together
SECONDS = 60  # without a byte, then the connection counts as lost
SLOWEST = 1000  # bytes a second that an answer has on average after the first SECONDS
BACKOFF = 0.25  # s before a busy site is asked again; it doubles each time
BUSY = (429, 500, 502, 503, 504)


def download(name, folder, site="https://zenodo.org"):
    """Download an archive from Zenodo; what is there already is checked and not downloaded again.

    Files are continued where they broke off and checked against the site's checksums; zip and tar
    files are extracted into a folder of their name. checksums.json keeps the SHA-256 of each file,
    which every later call checks, without a network.

    name: str, "nrca", "nine_stations", "frames" or the DOI of another record of Zenodo
    folder: str or Path, made when missing
    site: str, the address of Zenodo

    returns: Path of the folder, as from_nrca_archive(), from_nine_stations(), from_frames() take it
    raises: ForeshapError where the site can't be reached or sends something else, a file has
        changed since it was downloaded, or an archive is refused
    """
    folder, doi = Path(folder), ARCHIVES.get(name, name)
    if not re.fullmatch(r"10\.5281/zenodo\.[0-9]+", doi):
        raise ForeshapError(f"{name} is no archive: give {', '.join(ARCHIVES)} or a Zenodo DOI.")
    files = _read_registry(folder, doi) or _list_files(doi, site)
    for file in files:
        if not re.fullmatch(PLAIN, file) or file == REGISTRY:
            raise ForeshapError(f"The record names a file {file!r}: its name must be plain.")
    for file, facts in files.items():
        _fetch(folder / file, facts)
        if "sha256" not in facts:
            facts["sha256"] = sha256(folder / file)
            with written_whole(folder / REGISTRY) as partial:
                partial.write_text(json.dumps({"doi": doi, "files": files}, indent=1))
        if packed := re.fullmatch(PACKED, file):
            extract(folder / file, folder / packed[1])
    return folder


def _read_registry(folder, doi):
    """Return the files of a record as an earlier call left them, dict; None where none did."""
    path = folder / REGISTRY
    if not path.exists():
        return None
    try:
        registry = json.loads(path.read_text())
        kept_doi, files = registry["doi"], dict(registry["files"])
        if not all({"url", "size", "checksum"} <= set(facts) for facts in files.values()):
            raise ValueError("a file without url, size or checksum")
    except (OSError, ValueError, KeyError, TypeError) as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read ({error!r}): delete it, run again.") from error
    if kept_doi != doi:
        raise ForeshapError(f"{folder} holds the archive {kept_doi}: use another folder for {doi}.")
    return files


def _list_files(doi, site):
    """Return the files of a record, dict: name -> dict of url, size, checksum ("md5:...")."""
    record = doi.rpartition(".")[2]
    repository = ZenodoRepository(doi, f"{site}/records/{record}", timeout=SECONDS)
    repository.base_api_url = f"{site}/api/records"
    answer, files = None, {}
    try:
        answer = in_time(lambda: repository.api_response)
        for file in answer["files"]:
            url, checksum = repository.download_url(file["key"]), file["checksum"]
            files[file["key"]] = {"url": url, "size": int(file["size"]), "checksum": checksum}
    except (OSError, ValueError, KeyError, TypeError) as error:  # requests' own are OSErrors
        raise ForeshapError(
            f"{site} gives no list of files of {doi} ({answer or error!r}): try again later."
        ) from error
    if not files:
        raise ForeshapError(f"{site} lists no files of {doi}: check the DOI.")
    return files


def _fetch(path, facts):
    """Download one file unless it is there; ForeshapError where it is another than expected."""
    known = f"sha256:{facts['sha256']}" if "sha256" in facts else facts["checksum"]
    kind, _, digest = known.partition(":")
    if path.exists():
        if pooch.file_hash(path, alg=kind) == digest:
            return
        raise ForeshapError(
            f"{path} is another file than the record's, or has changed since it was downloaded: "
            "move it away, then run again."
        )
    partial = path.with_name(f".{path.name}.partial")
    try:
        with FileLock(path.with_name(".lock")):  # in a folder that it makes
            if path.exists():  # another call has downloaded it
                return
            _resume(facts["url"], partial, facts["size"])
            if pooch.file_hash(partial, alg=kind) != digest:
                partial.unlink()
                raise OSError("its hash is not the record's")
            partial.replace(path)
    except (OSError, ValueError) as error:  # requests' own are OSErrors
        raise ForeshapError(
            f"{path} can't be downloaded from {facts['url']} ({str(error) or 'no answer'}): "
            "run again to continue."
        ) from error


def _resume(url, partial, size):
    """Download to a partial file from where an earlier attempt ended, while it gets further."""
    partial.touch()
    again = Retry(4, backoff_factor=BACKOFF, status_forcelist=BUSY, raise_on_status=False)
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        before, done = -1, partial.stat().st_size
        while before < done < size:
            _continue(session, url, partial, size)
            before, done = done, partial.stat().st_size
    if done > size:
        partial.unlink()
        raise OSError(f"more than the {size} bytes of the record were sent")
    if done < size:
        raise OSError(f"the connection broke off at byte {done} of {size} again")


def _continue(session, url, partial, size):
    """Append what one request brings; begin anew where the site doesn't know how to continue."""
    done = partial.stat().st_size
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with in_time(session.get, url=url, headers=headers, stream=True, timeout=SECONDS) as answer:
        if answer.status_code == 416:  # the site's file is shorter: what we have is of another one
            partial.unlink()
        answer.raise_for_status()
        given = answer.headers.get("Content-Range", "")
        continues = answer.status_code == 206 and given.startswith(f"bytes {done}-")
        progress = tqdm(desc=url, total=size, initial=done * continues, unit="B", unit_scale=True)
        with progress, open(partial, "ab" if continues else "wb") as file, suppress(HTTPError):
            begin, start = time.monotonic(), file.tell()
            while file.tell() <= size and (piece := answer.raw.read1(PIECE)):
                file.write(piece)
                progress.update(len(piece))
                seconds = time.monotonic() - begin
                if seconds > SECONDS and file.tell() - start < SLOWEST * seconds:
                    raise OSError(f"fewer than {SLOWEST} bytes a second are sent")


def extract(archive, folder, largest=LARGEST):
    """Extract a zip or tar file into a folder, unless it is there; return its Path.

    raises: ForeshapError for a member that climbs out, or is a link or a device, for files of more
        than largest bytes, or where the archive is damaged; nothing is written then
    """
    folder, is_zip = Path(folder), zipfile.is_zipfile(archive)
    if folder.exists():
        return folder
    try:
        with zipfile.ZipFile(archive) if is_zip else tarfile.open(archive) as opened:
            opened.extraction_filter = tarfile.data_filter  # zipfile sanitises by itself
            members = opened.infolist() if is_zip else opened.getmembers()
            _check_members(members, largest)
            with folder_written_whole(folder) as partial:
                for member in tqdm(members, desc=Path(archive).name, unit="file"):
                    opened.extract(member, partial)
    except Exception as error:  # zipfile, tarfile and their decompressors raise a dozen kinds
        check_machine(archive, error)
        raise ForeshapError(
            f"{archive} can't be extracted ({error}): delete it, then download it again."
        ) from error
    return folder


def _check_members(members, largest):
    """Raise ValueError for members of an archive that no data need."""
    total, files = 0, set()
    for member in members:
        if isinstance(member, tarfile.TarInfo):
            name, size, is_folder = member.name, member.size, member.isdir()
            is_plain = is_folder or member.isreg()
        else:
            name, size, is_folder = member.filename, member.file_size, member.is_dir()
            is_plain = member.external_attr >> 28 in (0, 4, 8)  # not known, folder, file
        path, total = PurePosixPath(name), total + size
        if not is_plain:
            raise ValueError(f"{name!r} is a link or a device")
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\\x00]|^[A-Za-z]:", name):
            raise ValueError(f"{name!r} climbs out of its folder")
        if total > largest:
            raise ValueError(f"it declares more than {largest} bytes")
        if path in files:
            raise ValueError(f"{name!r} comes twice")
        if not is_folder:
            files.add(path)
