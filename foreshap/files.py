"""Files that are whole or absent, their hashes, and the one exception of this package."""

import hashlib
import json
import operator
import os
import re
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd


class ForeshapError(Exception):
    """What went wrong with which file or event, and what to do, in one sentence."""

    def __init__(self, sentence=""):
        # Libraries and hostile files put paragraphs into it.
        super().__init__(" ".join(str(sentence).split()))


def first_line(error):
    """Return the first line of an exception's text, or its kind where it has none, str."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def whole_number(name, value, least=0):
    """Return a value as int; ForeshapError, with its name, unless it is whole and large enough."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ForeshapError(f"{name} is {value}: give at least {least}, a whole number.")
    return number


@contextmanager
def _writing(path):
    """Turn an OSError while writing into a ForeshapError; a network's errors stay."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        advice = "make room or choose another folder"
        if "unable to lock file" in str(error):
            advice = "its disk has no locks; set HDF5_USE_FILE_LOCKING=FALSE before Python starts"
        raise ForeshapError(
            f"{path} can't be written ({first_line(error)}): {advice}; what was there is as it was."
        ) from error


@contextmanager
def written_whole(path):
    """Write a file beside its name and rename it when whole: a file that exists is complete.

    yields: Path to write to; its folder is made, and it is removed again when the block raises
    """
    with _writing(path):
        partial = _partial(path)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path):
    """Write a folder of files beside its name; when all are whole they take their places.

    A process killed before that leaves the old files. One killed later leaves finish_moves() to
    complete its work: the next call does so, and whoever reads the folder by this package. Files
    there that are not written again are left.

    yields: Path of an empty folder to write to; removed again when the block raises
    """
    with _writing(path):
        path = Path(path)
        partial = _partial(path)
        if path.is_dir():
            finish_moves(path)
            partial = _partial(path / path.name)  # inside, for it may be a disk of its own
        partial.mkdir()
        try:
            yield partial
            if path.exists():
                os.replace(partial, path / f".{path.name}.{os.getpid()}.whole")
                finish_moves(path)
            else:
                os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def finish_moves(path):
    """Move the whole files of a killed folder_written_whole(path) to their places.

    Any number of processes may do this at once.
    """
    with _writing(path):
        for whole in Path(path).glob(".*.whole"):
            for folder, _, names in os.walk(whole, topdown=False):
                place = path / Path(folder).relative_to(whole)
                place.mkdir(parents=True, exist_ok=True)
                for name in names:
                    with suppress(FileNotFoundError):  # moved by another process
                        os.replace(Path(folder, name), place / name)
                with suppress(OSError):
                    os.rmdir(folder)


@contextmanager
def folder_replaced_whole(path):
    """Write a folder beside its name; when it is whole it replaces what was there, all of it.

    A process killed at any moment leaves the old folder or the new one; where it was killed
    between the two renames, the next call puts the old one back before it begins.

    yields: Path of an empty folder to write to; removed again when the block raises
    """
    with _writing(path):
        path = Path(path)
        partial = _partial(path)
        old, new = partial / "old", partial / "new"
        new.mkdir(parents=True)
        try:
            yield new
            if path.exists():
                os.replace(path, old)
            os.replace(new, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            shutil.rmtree(partial, ignore_errors=True)


def check_room(path, size):
    """Raise ForeshapError unless the disk of a file or folder (made here) has size bytes free."""
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path if path.exists() else path.parent).free
    if free < size:
        raise ForeshapError(
            f"{path} needs {size / 2**20:.1f} MiB and its disk has {free / 2**20:.1f}: "
            "make room first."
        )


def remove_left(path):
    """Remove what killed writers of a file or folder left; what they moved aside is put back."""
    path = Path(path)
    with _writing(path):
        for left in path.parent.glob(f".{path.name}.*.partial"):
            owner = re.fullmatch(r"\.(\d+)\.partial", left.name.removeprefix(f".{path.name}"))
            if not owner:
                continue
            process = int(owner[1])
            if process != os.getpid() and _runs(process):  # numbers come again
                continue
            if (left / "old").exists() and not path.exists():
                os.replace(left / "old", path)
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _partial(path):
    """Return a name beside a path to write to; its folder is made, and cleared of what was left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path)
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _runs(process):
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


def sha256(path):
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_result(path, key, compute, read=None, write=None):
    """Return what is kept at a path for this key, or compute it and keep it there.

    path: str or Path of the file that keeps the result, or None to compute it each time
    key: dict that JSON can hold: everything that the result depends on
    compute: function without arguments that returns the result
    read: function of a path that returns (key, result); it raises ForeshapError, OSError,
        ValueError, KeyError or TypeError where nothing of use is kept; left out: of a table
    write: function of (path, key, result) that writes the file whole; left out: of a table

    returns: the result
    """
    if path is None:
        return compute()
    try:
        kept_key, result = (read or _read_kept_table)(path)
        if kept_key == key:
            return result
    except (ForeshapError, OSError, ValueError, KeyError, TypeError):
        pass
    result = compute()
    (write or _write_kept_table)(path, key, result)
    return result


def _read_kept_table(path):
    """Read (key, DataFrame) as _write_kept_table() wrote them."""
    content = json.loads(Path(path).read_text())
    return content["key"], pd.DataFrame(content["rows"], columns=content["columns"])


def _write_kept_table(path, key, table):
    """Write a DataFrame and the key of what it depends on as JSON."""
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    content = {"key": key, "columns": list(table.columns), "rows": rows}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1))
