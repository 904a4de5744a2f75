"""Files that are whole or absent, their hashes, and the one exception of this package."""

import errno
import fcntl
import hashlib
import json
import operator
import os
import re
import secrets
import shutil
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pandas as pd

OF_FILES = {  # numbers of errors that a file or its name is the cause of, not the machine
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EINVAL, errno.EOVERFLOW),  # a damaged file points to such places
}
LOCK = ".lock"  # in the folder of a writer at work
NO_LOCKS = "its disk has no locks: set HDF5_USE_FILE_LOCKING=FALSE before Python starts"


class ForeshapError(Exception):
    """What went wrong with which file or event, and what to do, in one sentence."""

    def __init__(self, sentence=""):
        super().__init__(" ".join(str(sentence).split()))  # libraries put paragraphs into it


class MachineError(ForeshapError):
    """What the machine lacked; it says nothing about any data, so nothing follows from it."""


def first_line(error):
    """Return the first line of an exception's text, or its kind where it has none, str."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def whole_number(name, value, least=0):
    """Return a value as int; ForeshapError, with its name, unless it is whole and large enough."""
    with suppress(TypeError):
        if operator.index(value) >= least:
            return operator.index(value)
    raise ForeshapError(f"{name} is {value}: give at least {least}, a whole number.")


@contextmanager
def reading(path, what, advice, *kinds):
    """Turn errors of some kinds while a file is read into a sentence: what it is, and advice."""
    try:
        yield
    except kinds or Exception as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} {what} ({first_line(error)}): {advice}.") from error


def check_machine(path, error):
    """Raise MachineError where an error (HDF5's too) while a file was read is not the file's."""
    if isinstance(error, MachineError):
        raise error
    if "unable to lock file" in str(error):
        raise MachineError(f"{path} is open elsewhere, or {NO_LOCKS}.") from error
    if _is_of_machine(error):
        lacks = "the machine lacks memory, open files or a disk: mend that, the file may be good"
        raise MachineError(f"{path} can't be read now ({first_line(error)}): {lacks}.") from error


def _is_of_machine(error):
    """Whether an error is one of the machine, not of the data that was read."""
    number = getattr(error, "errno", None)
    in_hdf5 = re.search(r"errno = (\d+)", str(error))
    if number is None and in_hdf5:
        number = int(in_hdf5[1])
    return isinstance(error, MemoryError) or bool(number) and number not in OF_FILES


@contextmanager
def _writing(path):
    """Turn an error of the machine while writing into a MachineError; a network's errors stay."""
    try:
        yield
    except ForeshapError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) is None and not _is_of_machine(error):
            raise
        advice = "make room or choose another folder; what was there is as it was"
        if "unable to lock file" in str(error):
            advice = NO_LOCKS
        raise MachineError(f"{path} can't be written ({first_line(error)}): {advice}.") from error


@contextmanager
def written_whole(path):
    """Write a file beside its name (the Path yielded), and rename it when it is whole."""
    with _aside(path) as (aside, path):
        partial = aside / path.name
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)


@contextmanager
def folder_written_whole(path):
    """Write files into a folder aside (the Path yielded); all whole, they take their places.

    A process killed before that leaves the old files, one killed later the new ones, which the next
    call or reader moves by finish_moves(). Files there that are not written again are left.
    """
    finish_moves(path)
    with _aside(path, inside=True) as (aside, path):
        new = aside / "new"
        new.mkdir()
        yield new
        _sync(*new.rglob("*"), new)
        whole = path / f".{path.name}.whole"  # where files wait for their places
        while not _could_rename(new, whole if path.exists() else path):
            finish_moves(path)
        _sync(path.parent)
        finish_moves(path)


@contextmanager
def folder_replaced_whole(path):
    """Write a folder aside (the Path yielded); when it is whole it replaces all that was there.

    A process killed between the two renames leaves remove_left() to put the old one back.
    """
    with _aside(path) as (aside, path):
        old, new = aside / "old", aside / "new"
        new.mkdir()
        try:
            yield new
            _sync(*new.rglob("*"), new)
            while new.exists():
                shutil.rmtree(old, ignore_errors=True)  # of another process that was sooner
                with suppress(FileNotFoundError):
                    os.replace(path, old)
                _could_rename(new, path)
            _sync(path.parent)
        except BaseException:
            with suppress(OSError):  # nothing was moved, or another process was sooner
                os.replace(old, path)
            raise


def finish_moves(path):
    """Move the whole files of a killed folder_written_whole() to their places, several at once."""
    with _writing(path):
        path = _resolved(path)
        whole = path / f".{path.name}.whole"
        if whole.is_symlink() or not whole.is_dir():
            return
        for folder, _, names in os.walk(whole, topdown=False):
            place = path / Path(folder).relative_to(whole)
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                with suppress(FileNotFoundError):  # moved by another process
                    os.replace(Path(folder, name), place / name)
            with suppress(OSError):
                os.rmdir(folder)
            _sync(place)


def _could_rename(folder, path):
    """Rename a folder, unless another process has its files there: whether it could be done."""
    try:
        os.replace(folder, path)
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False


def check_room(path, size):
    """Raise ForeshapError unless the disk of a file or folder (made here) has size bytes free."""
    with _writing(path):
        path = _resolved(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path if path.exists() else path.parent).free
        if free < size:
            sizes = f"{size / 2**20:.1f} MiB and its disk has {free / 2**20:.1f}"
            raise MachineError(f"{path} needs {sizes}: make room first.")


def remove_left(path):
    """Remove what killed writers left of a path (named "*": of all beside it), put back the old.

    The partial folder of a writer at work is locked, whichever machine or container it runs in.
    """
    with _writing(path):
        path = _resolved(path)
        name = ".+" if path.name == "*" else re.escape(path.name)
        for left in path.parent.glob(".*.partial"):
            ours = re.fullmatch(rf"\.({name})\.[0-9a-f]{{16}}\.partial", left.name)
            if not ours or left.is_symlink():
                continue  # not made here
            with suppress(OSError):
                left.rmdir()  # empty: nobody has locked it
            with suppress(FileNotFoundError), _locked(left) as is_locked:
                if not is_locked:
                    continue  # its writer is at work
                place = left.with_name(ours[1])
                if (left / "old").exists() and not place.exists():
                    os.replace(left / "old", place)
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _aside(path, inside=False):
    """Make a locked folder beside a path, or inside a folder, to write in; yields both paths."""
    with _writing(path), ExitStack() as stack:
        path = _resolved(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left(path)
        place = path
        if inside and path.is_dir():  # it may be a disk of its own
            place = path / path.name
            remove_left(place)
        aside = place.with_name(f".{place.name}.{secrets.token_hex(8)}.partial")
        is_ours = False
        while not is_ours:  # before it is locked, another process may take it for left
            with suppress(FileNotFoundError):
                aside.mkdir(exist_ok=True)
                is_locked = stack.enter_context(_locked(aside, "a"))
                is_ours = is_locked and (aside / LOCK).exists()
        try:
            yield aside, path
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _locked(folder, mode="r+"):
    """Lock a partial folder, until this process ends at the latest; yields whether it could be."""
    with open(folder / LOCK, mode) as file:
        is_locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_locked = False
        yield is_locked


def _resolved(path):
    """Return the whole Path of a file or folder; ForeshapError where it can't be one."""
    path = Path(path)
    if "\0" in str(path):
        raise ForeshapError(f"{str(path)!r} names no file: a name can't hold a zero byte.")
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _sync(*paths):
    """Wait until files and folders' names are on the disk, so that a power cut takes neither."""
    for path in paths:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sha256(path):
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_states(folder):
    """List name and file_state() of each file in a folder: another list, other files."""
    paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return [(path.name, *file_state(path)) for path in paths]


def file_state(path):
    """Return device, inode, size and times of a path or an opened file's number.

    The second time is the inode's: whoever edits a file can put back the first, but not that.
    """
    state = os.stat(path)
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def check_zip(file, largest):
    """Raise ValueError where a zip file's parts hold more than so many bytes, or are damaged."""
    with zipfile.ZipFile(file) as parts:
        size = sum(part.file_size for part in parts.infolist())
        if size > largest:
            raise ValueError(f"its parts hold {size} bytes, more than {largest}")
        damaged = parts.testzip()
    if damaged:
        raise ValueError(f"{damaged} is damaged")


def keep_result(path, key, compute, read=None, write=None):
    """Return what is kept at a path for this key, or compute it and keep it; path None: compute.

    key: dict that JSON can hold, of all that the result depends on; read(path) returns it and the
    result, write(path, key, result) writes them; both left out: a table
    """
    if path is None:
        return compute()
    result = find_result(path, key, read)
    if result is None:
        result = compute()
        (write or _write_kept_table)(path, key, result)
    return result


def find_result(path, key, read=None):
    """Return what keep_result() kept at a path for this key, or None."""
    try:
        kept_key, result = (read or _read_kept_table)(path)
        return result if kept_key == key else None
    except (ForeshapError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        check_machine(path, error)


def _read_kept_table(path):
    """Read (key, DataFrame) as _write_kept_table() wrote them; ValueError where they changed."""
    content = json.loads(Path(path).read_text())
    if content.pop("sha256") != _json_sha256(content):
        raise ValueError(f"{path} was changed after it was written")
    return content["key"], pd.DataFrame(content["rows"], columns=content["columns"])


def _write_kept_table(path, key, table):
    """Write a DataFrame, the key of what it depends on and the hash of both as JSON."""
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    content = {"key": key, "columns": list(table.columns), "rows": rows}
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content | {"sha256": _json_sha256(content)}, indent=1))


def _json_sha256(content):
    """Return the SHA-256 of what JSON can hold, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
