"""HDF5 files: none that is read is trusted; the disk's errors while writing become exceptions."""

import hashlib
import io
import math
import os
import re
import struct
from contextlib import contextmanager
from functools import lru_cache

import h5py
import numpy as np

from .files import ForeshapError, file_state, reading

LARGEST_CHUNK = 2**26  # bytes: HDF5 reads whole chunks, however few samples are asked for
HEAP = rb"GCOL\x01\0\0\0"  # how a heap of texts begins
ENDS = 2**22  # bytes at either end of a file, where texts stand, that are searched for it
_hashes = {}  # file_state() -> SHA-256


class OutputFile(io.FileIO):
    """A file whose first error is kept: told of it, HDF5 would crash when the process ends."""

    error = None

    def seek(self, *place):
        return 0 if self.error or self.closed else super().seek(*place)

    def write(self, data):
        left = memoryview(data).cast("B")
        try:
            while len(left) and not self.error:
                left = left[super().write(left) :]
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.error = error
        return len(data)

    def truncate(self, size=None):
        try:
            return size if self.error else super().truncate(size)
        except (OSError, ValueError) as error:
            self.error = error
            return size

    def close(self):
        super().close()
        if self.error:
            raise self.error


@contextmanager
def create_hdf5(path, mode="w"):
    """Create an HDF5 file, or write on ("r+"); an error of the disk is raised at the end."""
    with OutputFile(path, f"{mode[0]}+") as output, h5py.File(output, mode) as file:
        yield file


def open_hdf5(path):
    """Open an HDF5 file for reading; ForeshapError where it is missing or damaged."""
    kinds = OSError, ValueError, RuntimeError, MemoryError
    with reading(path, "can't be read as HDF5", "make or download it again", *kinds):
        _check_heaps(path, file_state(path))
        return h5py.File(path, "r", rdcc_nbytes=0)  # a chunk is read once


def opened_sha256(file):
    """Return the SHA-256 of the file that was opened, though another may have its name by now."""
    number = file.id.get_vfd_handle()
    state = file_state(number)
    if state not in _hashes:
        digest, place = hashlib.sha256(), 0
        while piece := os.pread(number, 2**20, place):
            digest.update(piece)
            place += len(piece)
        _hashes[state] = digest.hexdigest()
    return _hashes[state]


def open_dataset(file, name):
    """Open a dataset (DatasetID) in a file's root that holds its values, or OSError, KeyError..."""
    if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise OSError(f"{name} is a link to another place")
    dataset = h5py.h5d.open(file.id, name.encode())  # a third of the time of file[name]
    check_stored(dataset)
    return dataset


class StoredArray(h5py.Dataset):
    """An array on disk; what can't be read, or was changed there, is a ForeshapError."""

    def __getitem__(self, *arguments, **options):
        try:
            return super().__getitem__(*arguments, **options)
        except (OSError, RuntimeError, MemoryError) as error:
            with reading(self.file.filename, f"is damaged in {self.name}", "make it again"):
                raise error

    def __array__(self, *arguments, **options):
        return np.asarray(self[()], *arguments, **options)

    def __reduce__(self):
        """Pickle the path of the file, its SHA-256 and the name: another process opens them."""
        file = self.file
        return _open_again, (os.path.abspath(file.filename), opened_sha256(file), self.name)


def _open_again(path, expected, name):
    """Open an array of a file that another process has open."""
    file = open_hdf5(path)
    if opened_sha256(file) != expected:
        raise ForeshapError(f"{path} was changed after it was opened: load it again.")
    return StoredArray(open_dataset(file, name))


def memory_size(dataset):
    """Return the bytes that a column (N,) takes in memory; many texts may be one on the disk."""
    size = max(dataset.nbytes, dataset.id.get_storage_size())
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or text.length is not None or size == 0:
        return size
    place = dataset.id.get_offset()
    if place is None:
        raise ValueError(f"{dataset.name} holds texts in pieces")
    lengths = os.pread(dataset.file.id.get_vfd_handle(), size, place)
    return int(np.frombuffer(lengths, "<u4")[::4].sum())  # of 16 bytes a text, HDF5's III.E


def check_stored(dataset):
    """Raise OSError where a dataset's values stand in another file or in too large chunks."""
    if dataset.get_offset() is not None:  # in one piece in this file
        return
    plan = dataset.get_create_plist()
    storage = plan.get_layout()
    if storage == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise OSError("values are stored in another file")
    if storage == h5py.h5d.CHUNKED:
        if math.prod(plan.get_chunk()) * dataset.dtype.itemsize > LARGEST_CHUNK:
            raise OSError(f"values are in chunks of more than {LARGEST_CHUNK // 2**20} MiB")


@lru_cache(maxsize=64)
def _check_heaps(path, state):
    """Raise OSError where a heap of texts holds a free piece of no length, once for a state.

    HDF5 (2.0 at least) would read such a heap for ever.
    """
    size = state[2]
    if size == 0:
        raise OSError("it is empty")
    with open(path, "rb") as file:  # not mapped into memory: a disk's error would end the process
        for start in {0, max(size - ENDS, 0)}:
            file.seek(start)
            content = file.read(ENDS)
            for heap in re.finditer(HEAP, content):
                if not _is_whole(content, heap.start()):
                    raise OSError(f"the heap at byte {start + heap.start()} is damaged")


def _is_whole(content, heap):
    """Whether the pieces of a heap lead to its end (HDF5 File Format Specification, III.E)."""
    place, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
    last = min(end, len(content)) - 16
    while place <= last:
        index, size = struct.unpack_from("<H6xQ", content, place)
        length = 16 + (size + 7) // 8 * 8 if index else size  # in use: a head, and bytes by eights
        if length < 16 or place + length > end:
            return False
        place += length
    return True
