"""Pickled data frames, read without running what they hold."""

import datetime
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..files import ForeshapError, first_line
from .unpickle_child import MEMORY, Refused

DTYPE = "[<>|=]?([biufcO][0-9]*|[SU][1-9][0-9]*|[mM]8)"  # no records, nothing of size zero
UNITS = {7: "s", 8: "ms", 9: "us", 10: "ns"}  # numpy's numbers of them
CELLS = (str, bytes, int, float, type(None), list, tuple, dict, np.ndarray, np.generic)
CELLS = (*CELLS, datetime.datetime, datetime.timedelta)
PATIENCE = 60, 1e6  # s until the child is ended, and bytes of the file for which there is one more


class Backed(NamedTuple):
    """An array and the type that pandas gives to it."""

    values: np.ndarray
    dtype: object


def read_frame(path):
    """Read a pickled DataFrame without running anything from the file.

    Another process takes the pickle apart, with limits on memory and time, see unpickle_child.py.
    Numbers, texts, times and arrays come in, as pandas 1, 2 and 3 write them (pickle protocol 2 to 5);
    text columns that pyarrow holds don't. The whole frame is in memory.

    path: str or Path

    returns: DataFrame
    raises: ForeshapError where the file asks for anything else, which it names, is damaged or no frame
    """
    try:
        size = Path(path).stat().st_size
        child = [sys.executable, "-I", "-S", Path(__file__).with_name("unpickle_child.py")]
        with (
            open(path, "rb") as file,
            subprocess.Popen(
                child,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
            ) as process,
        ):
            timer = threading.Timer(PATIENCE[0] + size / PATIENCE[1], process.kill)
            timer.start()
            try:
                frame = _read_answer(process.stdout, MEMORY[0] + MEMORY[1] * size)
            finally:
                timer.cancel()
                process.kill()
        if not isinstance(frame, pd.DataFrame):
            raise ValueError("it holds no DataFrame")
        return frame
    except Refused as refused:
        raise ForeshapError(
            f"{path} asks for {refused}, which a pickled data frame doesn't need: it is refused, "
            "download it again."
        ) from None
    except Exception as error:  # whatever numpy and pandas raise for damaged values
        raise ForeshapError(
            f"{path} can't be read as a pickled data frame ({first_line(error)}): download it again."
        ) from None


def _read_answer(stream, most):
    """Put together what the child tells; most: bytes that it may tell."""
    line = stream.readline(most)
    if not line.endswith(b"\n"):
        raise Refused("more time or memory than its size allows")
    answer = json.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    if "damaged" in answer:
        raise ValueError(answer["damaged"])
    things = []

    def value_of(reference):
        return things[reference[0]] if isinstance(reference, list) else reference

    for kind, *held in answer["nodes"]:
        if kind == "bytes":
            most -= held[0]
            if most < 0:
                raise Refused("more memory than its size allows")
            thing = stream.read(held[0])
        elif kind == "int":
            thing = int(held[0], 16)
        elif kind == "name":
            thing = held[0]
        elif kind == "part":
            thing = _rebuild(held[0], value_of(held[1]), value_of(held[2]))
        else:
            thing = [value_of(reference) for reference in held]
            if kind == "tuple":
                thing = tuple(thing)
            if kind == "dict":
                thing = dict(zip(thing[: len(thing) // 2], thing[len(thing) // 2 :]))
        things.append(thing)
    return value_of(answer["root"])


def _rebuild(name, given, state):
    """What a part of a pickled frame stands for; given and state: what it was called with and then given."""
    match name:
        case "dtype":
            return _dtype(given[0], state)
        case "_reconstruct":
            shape, dtype, fortran, content = state[1:]
            values = _array(content, dtype, shape, "F" if fortran else "C")
            return values.astype(dtype.newbyteorder("="), copy=False)
        case "_frombuffer":
            return _array(*given)
        case "scalar":
            return _array(given[1], given[0], (1,), "C")[0]
        case "_new_Index" | "_new_DatetimeIndex":
            return _index(*given)
        case "DatetimeTZDtype":
            return pd.DatetimeTZDtype(state["unit"], state["tz"])
        case "__pyx_unpickle_NDArrayBacked":
            return Backed(state[1], state[0])
        case "DatetimeArray":
            return Backed(state["_data"], state["_dtype"])
        case "_unpickle_block" | "new_block":
            return {"values": given[0], "mgr_locs": given[1]}
        case "BlockManager":
            return dict(zip(("blocks", "axes"), given)) or state[3]["0.14.1"]
        case "DataFrame":
            return _frame(**(state.get("_mgr") or state["_data"]))
        case "Timestamp" | "_unpickle_timestamp":
            return _timestamp(*given)
        case "_nat_unpickle" | "__nat_unpickle":
            return pd.NaT
        case "_UTC":
            return datetime.UTC
        case "datetime" | "timedelta" | "timezone":
            return getattr(datetime, name)(*given)
        case "slice":
            return slice(*given)
        case "StringDtype":
            return pd.StringDtype(*given)
    raise Refused(f"a call of {name}")


def _dtype(name, state):
    """A plain numpy dtype in the byte order of its state."""
    if not isinstance(name, str) or not re.fullmatch(DTYPE, name):
        raise Refused(f"dtype {name!r:.40}")
    if name[-2:] in ("M8", "m8"):
        unit = state[8][1][0].decode()
        if unit not in UNITS.values():
            raise Refused(f"dtype {name}[{unit}]")
        name = f"{name}[{unit}]"
    return np.dtype(name).newbyteorder(state[1])


def _array(content, dtype, shape, order):
    """An array of bytes, or of a list of objects."""
    if not dtype.hasobject:
        return np.frombuffer(content, dtype).reshape(shape, order=order)
    if not isinstance(content, list):
        raise Refused("objects that are none")
    values = np.empty(len(content), object)
    for place, cell in enumerate(content):
        if not isinstance(cell, CELLS):
            raise Refused(f"cells of {type(cell).__name__}")
        values[place] = cell
    return values.reshape(shape, order=order)


def _timestamp(value, freq=None, tz=None, unit=10):
    """A time from its number of units since 1970."""
    time = pd.Timestamp(np.datetime64(value, UNITS[unit]))
    return time if tz is None else time.tz_localize("UTC").tz_convert(tz)


def _index(kind, options):
    """An index of rows or columns."""
    if kind == "RangeIndex":
        return pd.RangeIndex(**options)
    column = _column(options["data"])
    return pd.Index(column, dtype=column.dtype, name=options["name"])


def _column(values):
    """One column as pandas holds it."""
    if not isinstance(values, Backed):
        return pd.Series(values, dtype=values.dtype)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        times = pd.Series(values.values)
        return times.dt.tz_localize("UTC").dt.tz_convert(values.dtype.tz)
    return pd.Series(values.values, dtype=values.dtype)


def _frame(axes, blocks):
    """The frame of some blocks of columns."""
    columns, rows = axes
    if not all(isinstance(name, str) for name in columns):
        raise ValueError("its columns have no names")
    found = {}
    for block in blocks:
        values, dtype = block["values"], None
        if isinstance(values, Backed):
            values, dtype = values
        for name, one in zip(columns[block["mgr_locs"]], np.atleast_2d(values), strict=True):
            found[name] = _column(one if dtype is None else Backed(one, dtype)).set_axis(rows)
    if len(found) != len(columns):
        raise ValueError("its columns are damaged")
    frame = pd.DataFrame(found, columns=list(columns), index=rows)
    return frame.set_axis(columns, axis=1)
