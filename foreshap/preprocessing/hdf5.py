"""HDF5 files that are read: none is trusted, neither where it points nor how large it says it is."""

import math
import os
import struct
from functools import lru_cache

import h5py

from ..files import ForeshapError, first_line

LARGEST_CHUNK = 2**26  # bytes: HDF5 reads whole chunks, however few samples are asked for
HEAP = b"GCOL\x01\0\0\0"  # how a heap of texts begins
ENDS = 2**24  # bytes at either end of a file that are searched for it


def open_hdf5(path):
    """Open an HDF5 file for reading.

    path: str or Path

    returns: h5py.File
    raises: ForeshapError where it is missing or damaged
    """
    try:
        found = os.stat(path)
        _check_heaps(path, (found.st_ino, found.st_size, found.st_mtime_ns))
        return h5py.File(path, "r")
    except (OSError, ValueError, RuntimeError) as error:
        raise ForeshapError(
            f"{path} can't be read as HDF5 ({first_line(error)}): make or download it again."
        ) from error


def open_dataset(file, name):
    """A dataset whose values stand in the file itself: h5py would follow a file's pointers to any other file.

    file: h5py.File
    name: str, in the root group

    returns: h5py.h5d.DatasetID
    raises: OSError, KeyError or ValueError where it is none: a group, a link, damaged, or stored elsewhere
    """
    if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise OSError(f"{name} is a link to another place")
    dataset = h5py.h5d.open(file.id, name.encode())  # a third of the time of file[name]
    check_stored(dataset)
    return dataset


def check_stored(dataset):
    """Raise OSError where the values of a dataset (h5py.h5d.DatasetID) stand in another file or in too large chunks."""
    if dataset.get_offset() is not None:  # in one piece in this file
        return
    plan = dataset.get_create_plist()
    kind, name = (
        plan.get_layout(),
        h5py.h5i.get_name(dataset).decode("utf-8", "backslashreplace").lstrip("/"),
    )
    if kind == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise OSError(f"{name} is stored in another file")
    if (
        kind == h5py.h5d.CHUNKED
        and math.prod(plan.get_chunk()) * dataset.dtype.itemsize > LARGEST_CHUNK
    ):
        raise OSError(f"{name} has chunks of more than {LARGEST_CHUNK // 2**20} MiB")


@lru_cache(maxsize=64)
def _check_heaps(path, state):
    """Raise OSError where a heap of texts holds a free piece of no length: HDF5 (2.0 at least) would loop for ever.

    Once for a file in one state (inode, size, time): up to 32 MiB are read.
    """
    with open(path, "rb") as file:  # not mapped into memory: a disk's error would end the process
        size = file.seek(0, 2)
        if size == 0:
            raise OSError("it is empty")
        for first in {0, max(ENDS, size - ENDS)} if size > ENDS else {0}:
            file.seek(first)
            content, at = file.read(ENDS), -1
            while (at := content.find(HEAP, at + 1)) >= 0:
                if not _ends(content, at):
                    raise OSError(f"the heap at byte {first + at} is damaged")


def _ends(content, heap):
    """Whether the pieces of a heap lead to its end (HDF5 File Format Specification, III.E)."""
    at, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
    while at + 16 <= min(end, len(content)):
        index, _, size = struct.unpack("<HH4xQ", content[at : at + 16])
        length = 16 + -(-size // 8) * 8 if index else size
        if length < 16 or at + length > end:
            return False
        at += length
    return True
