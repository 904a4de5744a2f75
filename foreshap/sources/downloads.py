"""Published archives by their DOI: downloaded once, continued after an interruption, checked at each use."""

import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from ..files import ForeshapError, folder_written_whole, sha256, written_whole

ARCHIVES = {  # name -> DOI
    "nrca": "10.5281/zenodo.15683047",  # IV.NRCA in the waveform layout: from_nrca_archive
    "nine_stations": "10.5281/zenodo.12795621",  # CC-BY-4.0: from_nine_stations
    "frames": "10.5281/zenodo.12806081",  # pickled frames: from_frames
}
REGISTRY = "checksums.json"
PACKED = r"(.+?)\.(zip|tgz|tar|tar\.(gz|bz2|xz))"
LARGEST = 100 * 2**30  # bytes that an archive may declare for its files together
PIECE = 2**20  # bytes read together
SECONDS = 60  # without a byte, then the connection counts as lost


def download(name, folder, site="https://zenodo.org"):
    """Download an archive from Zenodo; what is there already is checked and not downloaded again.

    Files are continued where they broke off, checked against the site's checksums, and written whole; zip and tar files
    are extracted into a folder of their name. checksums.json keeps the SHA-256 of each file, which every later call
    checks, without a network.

    name: str, "nrca", "nine_stations", "frames" or the DOI of another record of Zenodo
    folder: str or Path, made when missing
    site: str, the address of Zenodo

    returns: Path of the folder, as from_nrca_archive(), from_nine_stations() and from_frames() take it
    raises: ForeshapError where the site can't be reached or sends something else, a file has changed since it was
        downloaded, or an archive holds a path that climbs out of its folder or more than LARGEST bytes
    """
    folder, doi = Path(folder), ARCHIVES.get(name, name)
    record = re.fullmatch(r"10\.5281/zenodo\.([0-9]+)", doi)
    if not record:
        raise ForeshapError(
            f"{name} is no archive: give {', '.join(ARCHIVES)} or a DOI like {ARCHIVES['nrca']}."
        )
    known = _registry(folder, doi) or _listed(f"{site}/api/records/{record[1]}")
    for file, facts in known.items():
        _fetch(folder / file, facts)
        if "sha256" not in facts:
            facts["sha256"] = sha256(folder / file)
            with written_whole(folder / REGISTRY) as partial:
                partial.write_text(json.dumps({"doi": doi, "files": known}, indent=1))
        if packed := re.fullmatch(PACKED, file):
            extract(folder / file, folder / packed[1])
    return folder


def _registry(folder, doi):
    """Files of a record as an earlier call left them, dict; None where there was none."""
    path = folder / REGISTRY
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        same, files = (
            kept["doi"] == doi,
            {_plain(name): facts for name, facts in kept["files"].items()},
        )
        if not all({"url", "size", "checksum"} <= set(facts) for facts in files.values()):
            raise ValueError("a file without url, size or checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeshapError(
            f"{path} can't be read ({error!r}): delete it, then run again."
        ) from error
    if not same:
        raise ForeshapError(
            f"{folder} holds the archive {kept['doi']}: choose another folder for {doi}."
        )
    return files


def _listed(url):
    """Files of a record as Zenodo's API lists them: dict, name -> dict of url, size and checksum ("md5:...")."""
    try:
        with _session() as session:
            answer = session.get(url, timeout=SECONDS)
            answer.raise_for_status()
            files = answer.json()["files"]
        facts = lambda file: {
            "url": file["links"]["self"],
            "size": int(file["size"]),
            "checksum": file.get("checksum"),
        }
        found = {_plain(file["key"]): facts(file) for file in files}
    except (OSError, ValueError, KeyError, TypeError) as error:  # requests' own are OSErrors
        raise ForeshapError(
            f"{url} gives no list of files ({error!r}): try again later."
        ) from error
    if not found:
        raise ForeshapError(f"{url} lists no files: check the DOI.")
    return found


def _plain(name):
    """The name, if it is one of a file and not of a path."""
    if not re.fullmatch(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*", name) or name == REGISTRY:
        raise ForeshapError(
            f"The record names a file {name!r}, which is refused: its name must be plain."
        )
    return name


def _session():
    """A requests session that asks again, with growing pauses, where the site is busy or fails."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(
        4, backoff_factor=0.25, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=again))
    session.mount("https://", HTTPAdapter(max_retries=again))
    return session


def _fetch(path, facts):
    """Download one file unless it is there; ForeshapError where it isn't what the record or an earlier call says."""
    import pooch

    if "sha256" in facts and path.exists():
        if sha256(path) != facts["sha256"]:
            raise ForeshapError(
                f"{path} has changed since it was downloaded: delete it, then run again."
            )
        return
    known = f"sha256:{facts['sha256']}" if "sha256" in facts else facts["checksum"]
    if path.exists() and not pooch.core.hash_matches(path, known):
        raise ForeshapError(
            f"{path} is another file than the record's: move it away, then run again."
        )
    try:
        pooch.retrieve(
            facts["url"],
            known,
            path.name,
            path.parent,
            downloader=lambda url, file, _: _resume(url, file, path, facts),
        )
    except (OSError, ValueError) as error:  # requests' own are OSErrors
        raise ForeshapError(
            f"{path} can't be downloaded from {facts['url']} ({error}): run again to continue."
        ) from error


def _resume(url, output, path, facts):
    """Download to a partial file beside the path, from where an earlier attempt ended, then move it to output."""
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    with (
        _session() as session,
        tqdm(total=facts["size"], desc=path.name, unit="B", unit_scale=True) as progress,
    ):
        most = -1
        while (done := partial.stat().st_size) < facts["size"]:
            if done <= most:
                raise OSError(f"the connection broke off at byte {done} of {facts['size']} again")
            most = done
            progress.n = done
            _continue(session, url, partial, done, facts["size"], progress)
    if partial.stat().st_size > facts["size"]:
        partial.unlink()
        raise OSError(f"more than the {facts['size']} bytes of the record were sent")
    shutil.move(partial, output)


def _continue(session, url, partial, done, size, progress):
    """Append what one request brings to a partial file; begin anew where the site doesn't know how to continue."""
    from urllib3.exceptions import HTTPError

    ask = (
        {"Range": f"bytes={done}-", "Accept-Encoding": "identity"}
        if done
        else {"Accept-Encoding": "identity"}
    )
    with session.get(url, headers=ask, stream=True, timeout=SECONDS) as answer:
        if answer.status_code == 416:  # the site's file is shorter: what we have is of another one
            partial.unlink()
        answer.raise_for_status()
        continues = answer.status_code == 206 and answer.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {done}-")
        progress.n = done if continues else 0
        with open(partial, "ab" if continues else "wb") as file:
            try:
                while file.tell() <= size and (piece := answer.raw.read1(PIECE)):
                    file.write(piece)
                    progress.update(len(piece))
            except HTTPError:  # broken off: the next request continues
                pass


def extract(archive, folder, largest=LARGEST):
    """Extract a zip or tar file; a folder that is there is taken as extracted before.

    archive: str or Path
    folder: str or Path, takes its name when all files are written
    largest: int, bytes that the files may have together

    returns: Path of the folder
    raises: ForeshapError, before anything is written, for a member that is neither a file nor a folder, whose path
        climbs out of the folder, or where the files are larger than said; and where the archive is damaged
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    try:
        with (
            zipfile.ZipFile(archive)
            if zipfile.is_zipfile(archive)
            else tarfile.open(archive) as opened
        ):
            members = list(_members(opened, archive, largest))
            with folder_written_whole(folder) as partial:
                for member, parts in tqdm(members, desc=Path(archive).name, unit="file"):
                    if (target := partial.joinpath(*parts)).exists():
                        raise ValueError(f"{'/'.join(parts)} comes twice")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    read = (
                        opened.open if isinstance(opened, zipfile.ZipFile) else opened.extractfile
                    )
                    with read(member) as source, open(target, "wb") as file:
                        shutil.copyfileobj(source, file, PIECE)
    except ForeshapError:
        raise
    except Exception as error:  # zipfile, tarfile and their decompressors raise a dozen kinds
        raise ForeshapError(
            f"{archive} can't be extracted ({error}): delete it, then download it again."
        ) from error
    return folder


def _members(opened, archive, largest):
    """Yield (member, parts of its path) of each file of an archive; ForeshapError for what is refused."""
    total = 0
    for member in opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened:
        name, size, kind = _described(member)
        path = PurePosixPath(name)
        climbs = path.is_absolute() or ".." in path.parts or re.search(r"[\\\x00]|^[A-Za-z]:", name)
        if climbs or kind == "other":
            why = "climbs out of its folder" if climbs else "is a link or a device"
            raise ForeshapError(
                f"{archive} holds {name!r}, which {why}: it is refused, don't use this archive."
            )
        total += size
        if total > largest:
            raise ForeshapError(
                f"{archive} declares more than {largest} bytes: it is refused, extract it by hand."
            )
        if kind == "file":
            yield member, path.parts


def _described(member):
    """Name, size and kind ("file", "folder" or "other") of a member of a zip or tar file."""
    if isinstance(member, tarfile.TarInfo):
        return (
            member.name,
            member.size,
            "file" if member.isreg() else "folder" if member.isdir() else "other",
        )
    kind = member.external_attr >> 28  # of the Unix mode; 0 where it was written elsewhere
    return (
        member.filename,
        member.file_size,
        "folder" if member.is_dir() else "file" if kind in (0, 8) else "other",
    )
