"""Pickled data frames, read without running what they hold."""

import datetime
import pickle
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import ForeshapError, check_machine, first_line
from .unpickle_child import Refused

CHILD = [sys.executable, "-I", "-S", Path(__file__).with_name("unpickle_child.py")]
DTYPE = "[<>|=]?([biufcO][0-9]*|[SU][1-9][0-9]*|[mM]8)"  # no records, nothing of size zero
UNITS = {7: "s", 8: "ms", 9: "us", 10: "ns"}  # numpy's numbers of them
CELLS = (str, bytes, int, float, type(None), list, tuple, dict, np.ndarray, np.generic)
CELLS = (*CELLS, datetime.datetime, datetime.timedelta)
Typed = namedtuple("Typed", "values dtype")  # an array, and the type that pandas gives to it


def read_frame(path):
    """Read a pickled DataFrame without running anything from the file.

    A process with limits on memory and time takes it apart. Numbers, texts, times and arrays come
    in, as pandas 1, 2 and 3 write them (protocol 2 to 5); texts that pyarrow holds don't.

    path: str or Path

    returns: DataFrame, in memory
    raises: ForeshapError where the file asks for anything else, is damaged or holds no frame
    """
    try:
        with open(path, "rb") as file:
            frame = _read_by_child(file)
        if not isinstance(frame, pd.DataFrame):
            raise ValueError("it holds no DataFrame")
        return frame
    except Refused as refused:
        raise ForeshapError(
            f"{path} asks for {refused}, which a pickled data frame doesn't need: it is refused, "
            "download it again."
        ) from None
    except Exception as error:  # whatever numpy and pandas raise for damaged values
        check_machine(path, error)
        raise ForeshapError(
            f"{path} can't be read as a pickled data frame ({first_line(error)}): "
            "download it again."
        ) from None


def _read_by_child(file):
    """Return what an open file holds."""
    options = {"stdin": file, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(CHILD, cwd="/", env={}, **options) as child:
        try:
            kind, found = Rebuilder(child.stdout).load()
        except (EOFError, pickle.UnpicklingError) as error:  # it was ended
            raise Refused("more time or memory than its size allows") from error
        finally:
            child.kill()
    if kind == "refused":
        raise Refused(found)
    if kind == "damaged":
        raise ValueError(found)
    return found


class Rebuilder(pickle.Unpickler):
    """Put together what the child tells: plain containers, and Parts by their names."""

    def find_class(self, module, name):
        """Refuse: the child names nothing in this way."""
        raise Refused(f"{module}.{name}")

    def persistent_load(self, part):
        """Return what a part (name, arguments, state) stands for."""
        kind, given, state = part
        if given is None:
            return kind
        if kind in MADE:
            return MADE[kind](*given)
        match kind:
            case "dtype":
                return _dtype(given[0], state)
            case "_reconstruct":
                _, shape, dtype, fortran, content = state
                values = _array(content, dtype, shape, "F" if fortran else "C")
                return values.astype(dtype.newbyteorder("="), copy=False)
            case "scalar":
                return _array(given[1], given[0], (1,), "C")[0]
            case "__pyx_unpickle_NDArrayBacked":
                return Typed(state[1], state[0])
            case "DatetimeArray":
                return Typed(state["_data"], state["_dtype"])
            case "DatetimeTZDtype":
                return pd.DatetimeTZDtype(state["unit"], state["tz"])
            case "_unpickle_block" | "new_block":
                return {"values": given[0], "mgr_locs": given[1]}
            case "BlockManager":
                return dict(zip(("blocks", "axes"), given)) or state[3]["0.14.1"]
            case "DataFrame":
                return _frame(**(state.get("_mgr") or state["_data"]))
            case "_nat_unpickle" | "__nat_unpickle":
                return pd.NaT
            case "_UTC":
                return datetime.UTC
        raise Refused(f"a call of {kind}")


def _dtype(name, state):
    """Return a plain numpy dtype in the byte order of its state."""
    if not re.fullmatch(DTYPE, name):
        raise Refused(f"dtype {name!r:.40}")
    if name.lower().endswith("m8"):
        name += f"[{state[8][1][0].decode('ascii')}]"
    return np.dtype(name).newbyteorder(state[1])


def _array(content, dtype, shape, order):
    """Return an array of bytes, or of a list of objects."""
    if not dtype.hasobject:
        return np.frombuffer(content, dtype).reshape(shape, order=order)
    if type(content) is not list:
        raise Refused("objects that are none")
    values = np.empty(len(content), object)
    for place, cell in enumerate(content):
        if not isinstance(cell, CELLS):
            raise Refused(f"cells of {type(cell).__name__}")
        values[place] = cell
    return values.reshape(shape, order=order)


def _timestamp(value, freq=None, tz=None, unit=10):
    """Return a time, from its number of units since 1970."""
    time = pd.Timestamp(np.datetime64(value, UNITS[unit]))
    return time if tz is None else time.tz_localize("UTC").tz_convert(tz)


def _column(values, dtype):
    """Return one column as pandas holds it."""
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pd.Series(values).dt.tz_localize("UTC").dt.tz_convert(dtype.tz)
    return pd.Series(values, dtype=dtype)


def _index(kind, options):
    """Return an index of rows or of columns."""
    if kind == "RangeIndex":
        return pd.RangeIndex(**options)
    column = _column(*_typed(options["data"]))
    return pd.Index(column, dtype=column.dtype, name=options["name"])


def _typed(values):
    """Return an array and the type that pandas gives to its values."""
    return values if isinstance(values, Typed) else Typed(values, values.dtype)


def _frame(blocks, axes):
    """Return the frame of some blocks, each of columns of one type."""
    columns, rows = axes
    if not all(isinstance(name, str) for name in columns):
        raise ValueError("its columns have no names")
    found = {}
    for block in blocks:
        typed = _typed(block["values"])
        table = np.atleast_2d(typed.values)
        for name, one in zip(columns[block["mgr_locs"]], table, strict=True):
            found[name] = _column(one, typed.dtype).set_axis(rows)
    if len(found) != len(columns):
        raise ValueError("its columns are damaged")
    return pd.DataFrame(found, index=rows)[list(columns)].set_axis(columns, axis=1)


MADE = {  # part without a state: function of its arguments
    "_frombuffer": _array,
    "StringDtype": pd.StringDtype,
    "_new_Index": _index,
    "_new_DatetimeIndex": _index,
    "Timestamp": _timestamp,
    "_unpickle_timestamp": _timestamp,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    "slice": slice,
}
