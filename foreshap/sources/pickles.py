"""Pickled data frames, read without running what they hold."""

import datetime
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
from pandas._libs import arrays, internals
from pandas._libs.tslibs import nattype, timestamps
from pandas.compat import pickle_compat
from pandas.core.internals import managers

from ..files import ForeshapError

GROWTH = 32  # times a file's size that its arrays may take in memory, copies counted
DTYPE = (
    "[<>|=]?([biufcO][0-9]*|[SU][1-9][0-9]*|[mM]8)"  # plain ones: no records, nothing of size zero
)
NDARRAY = "numpy.ndarray"  # stands for the class, which a call could lay over any address
UNITS = ("s", "ms", "us", "ns")


def _dtype(name, align=False, copy=True):
    """A plain numpy dtype; a record's could make an address out of a number."""
    if not re.fullmatch(DTYPE, name):
        raise ForeshapError(f"dtype {name!r:.40}")
    return np.dtype(name, False, True)  # a copy, since the next instruction sets its byte order


def _scalar(dtype, value):
    """numpy.core.multiarray.scalar, without objects."""
    if dtype.hasobject:
        raise ForeshapError("a scalar that is an object")
    return np.frombuffer(value, dtype, 1)[0]


def _new_index(kind, options):
    """pandas' _new_Index; its data must be an array, which is as large as what the file holds."""
    if kind is not pd.RangeIndex and not isinstance(
        options["data"], (np.ndarray, pd.api.extensions.ExtensionArray)
    ):
        raise ForeshapError("an index that is made of no array")
    if not all(isinstance(one, PLAIN) for name, one in options.items() if name != "data"):
        raise ForeshapError("an index whose name is no text")
    return pd.core.indexes.base._new_Index(kind, options)


def _new_datetime_index(kind, options):
    """pandas' DatetimeIndex from its array."""
    if options["data"].dtype.kind != "M":
        raise ForeshapError("an index of times that are none")
    return _new_index(kind, {name: options[name] for name in ("data", "name")})


_LISTED = {  # modules of numpy 1 and 2, of pandas 1, 2 and 3: what a frame may ask for there
    "builtins __builtin__": {"slice": slice, "bytes": lambda: b""},
    "_codecs": {"encode": lambda text, codec: text.encode("latin1")},
    "datetime": {name: getattr(datetime, name) for name in ("datetime", "timedelta", "timezone")},
    "pytz": {"_UTC": lambda: datetime.UTC},
    "numpy": {"dtype": _dtype, "ndarray": NDARRAY},  # only ever named, as what _reconstruct makes
    "numpy.core.multiarray numpy._core.multiarray": {
        "_reconstruct": lambda kind, shape, dtype: np.empty(0, "b"),
        "scalar": _scalar,
    },
    "numpy.core.numeric numpy._core.numeric": {
        "_frombuffer": lambda buffer, dtype, shape, order: np.frombuffer(buffer, dtype).reshape(
            shape, order=order
        )
    },
    "pandas pandas.core.frame": {"DataFrame": pd.DataFrame},
    "pandas pandas.core.indexes.base": {"Index": pd.Index},
    "pandas pandas.core.indexes.range": {"RangeIndex": pd.RangeIndex},
    "pandas pandas.core.indexes.datetimes": {"DatetimeIndex": pd.DatetimeIndex},
    "pandas.core.indexes.numeric": dict.fromkeys(
        ("Int64Index", "Float64Index", "UInt64Index"), pd.Index
    ),
    "pandas.core.indexes.base": {"_new_Index": _new_index},
    "pandas.core.indexes.datetimes": {"_new_DatetimeIndex": _new_datetime_index},
    "pandas.core.internals.managers": {"BlockManager": managers.BlockManager},
    "pandas.core.internals.blocks": {"new_block": internals._unpickle_block},
    "pandas._libs.internals": {"_unpickle_block": internals._unpickle_block},
    "pandas.arrays pandas.core.arrays.datetimes": {"DatetimeArray": pd.arrays.DatetimeArray},
    "pandas.arrays pandas.core.arrays.string_": {"StringArray": pd.arrays.StringArray},
    "pandas pandas.core.arrays.string_": {"StringDtype": pd.StringDtype},
    "pandas pandas.core.dtypes.dtypes": {"DatetimeTZDtype": pd.DatetimeTZDtype},
    "pandas._libs.arrays": {
        "__pyx_unpickle_NDArrayBacked": getattr(arrays, "__pyx_unpickle_NDArrayBacked")
    },
    "pandas._libs.tslibs.timestamps": {
        "_unpickle_timestamp": timestamps._unpickle_timestamp,
        "Timestamp": pd.Timestamp,
    },
    "pandas._libs.tslibs.nattype": dict.fromkeys(
        ("_nat_unpickle", "__nat_unpickle"), nattype._nat_unpickle
    ),
}
ALLOWED = {
    (module, name): thing
    for modules, things in _LISTED.items()
    for module in modules.split()
    for name, thing in things.items()
}  # exact names: a dotted one isn't among them
PLAIN = (
    str,
    bytes,
    int,
    float,
    type(None),
    datetime.timedelta,
    datetime.tzinfo,
    np.dtype,
)  # made of nothing else
CELLS = (*PLAIN, datetime.datetime, np.generic, np.ndarray)
KEYS = (str, int, float, type(None))
DEEPEST = 20  # containers in one another
NAMED_ONLY = (
    NDARRAY,
    pd.DataFrame,
    pd.Index,
    pd.RangeIndex,
    pd.DatetimeIndex,
    pd.arrays.StringArray,
)  # never called
MADE = (
    pd.DataFrame,
    managers.BlockManager,
    pd.arrays.DatetimeArray,
    pd.DatetimeTZDtype,
)  # empty, then built
BUILT = (
    np.ndarray, np.dtype, pd.DataFrame, managers.BlockManager, pd.DatetimeTZDtype, arrays.NDArrayBacked,
)  # fmt: skip
OF_PARTS = tuple(  # what is called with more than plain values
    ALLOWED[one] for one in [
        ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer"),
        ("pandas.core.indexes.base", "_new_Index"), ("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
        ("pandas.core.internals.managers", "BlockManager"), ("pandas._libs.internals", "_unpickle_block"),
        ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
    ]
)  # fmt: skip
UNUSED = (
    "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER",
    "DICT", "EMPTY_SET", "ADDITEMS", "FROZENSET",
)  # fmt: skip


class _Unpickler(pickle_compat.Unpickler):
    """pandas' own, which knows its older forms, kept to ALLOWED and to data that the file really holds."""

    dispatch = dict(pickle_compat.Unpickler.dispatch)

    def __init__(self, file, size):
        super().__init__(file)
        self.spare = GROWTH * size + 10**5  # bytes

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise ForeshapError(f"{module}.{name}")
        return ALLOWED[module, name]

    def charge(self, size):
        self.spare -= size
        if self.spare < 0:
            raise ForeshapError(f"arrays of more than {GROWTH} times its size")

    def charge_reached(self, value):
        """Charge what a function could go through, what is shared each time that it is met; set of the types in it."""
        within, met = [iter((value,))], set()
        while within:
            for one in within[-1]:
                if isinstance(one, (tuple, list, dict)):
                    self.charge(len(one))
                    within.append(iter(one.values() if isinstance(one, dict) else one))
                    break
                met.add(type(one))
                if isinstance(one, (np.ndarray, arrays.NDArrayBacked)):
                    self.charge(one.nbytes)
                if type(one) is np.ndarray and one.dtype.hasobject:
                    within.append(one.flat)
                    break
            else:
                within.pop()
            if len(within) > DEEPEST:
                raise ForeshapError(f"values within more than {DEEPEST} others")
        return met

    def load_reduce(self):
        called, given = self.stack[-2:]
        plain = isinstance(given, tuple) and all(isinstance(one, PLAIN) for one in given)
        if any(called is one for one in NAMED_ONLY) or not (
            plain or any(called is one for one in OF_PARTS)
        ):
            raise ForeshapError(f"a call of {_named(called)}")
        self.charge(sum(len(one) for one in given if isinstance(one, (str, bytes, bytearray))))
        if not plain:
            self.charge_reached(given)
        pickle_compat.Unpickler.dispatch[pickle.REDUCE[0]](self)

    def load_newobj(self):
        if not any(self.stack[-2] is one for one in MADE):
            raise ForeshapError(f"a new {_named(self.stack[-2])}")
        pickle_compat.Unpickler.dispatch[pickle.NEWOBJ[0]](self)

    def load_build(self):
        target, state = self.stack[-2:]
        if not isinstance(target, BUILT):
            raise ForeshapError(f"values set on {_named(target)}")
        if isinstance(target, pd.DataFrame):  # the rest of its state is of no use
            state = self.stack[-1] = {
                name: state[name] for name in ("_mgr", "_data", "_typ") if name in state
            }
        if isinstance(target, np.dtype) and not _own_state(target, state):
            raise ForeshapError(f"a state that numpy gives to no {target}")
        if isinstance(target, pd.DatetimeTZDtype) and not all(
            isinstance(one, PLAIN) for one in state.values()
        ):
            raise ForeshapError("a time zone that is none")
        if isinstance(target, np.ndarray):
            self.charge(int(np.prod([float(n) for n in state[1]])) * state[2].itemsize)
        self.charge_reached(state)
        super().load_build()

    def load_setitem(self):
        self.check_items(self.stack[-3], self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self):
        self.check_items(self.metastack[-1][-1], self.stack[::2])
        super().load_setitems()

    def check_items(self, target, keys):
        if type(target) is not dict or not all(isinstance(key, KEYS) for key in keys):
            raise ForeshapError("a key that is neither text nor number")

    def load_append(self):
        self.check_list(self.stack[-2])
        super().load_append()

    def load_appends(self):
        self.check_list(self.metastack[-1][-1])
        super().load_appends()

    def check_list(self, target):
        if type(target) is not list:
            raise ForeshapError(f"values appended to {_named(target)}")

    def load_bytearray8(self):
        size = int.from_bytes(self.read(8), "little")
        self.charge(size)
        self.append(bytearray(self.read(size)))

    def load_unused(self):
        raise ForeshapError("an instruction that frames don't use")

    dispatch |= {
        pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_newobj, pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends, pickle.BYTEARRAY8[0]: load_bytearray8,
        **dict.fromkeys([getattr(pickle, one)[0] for one in UNUSED], load_unused),
    }  # fmt: skip


def _named(thing):
    """Name of a class, or of a thing's class: to put what a file made into words could take for ever."""
    return (
        thing
        if thing is NDARRAY
        else thing.__name__
        if isinstance(thing, type)
        else type(thing).__name__
    )


def _own_state(dtype, state):
    """Whether a dtype's pickled state is one that numpy itself gives to this dtype."""
    units = [f"[{unit}]" for unit in UNITS] if dtype.kind in "mM" else [""]
    known = [
        np.dtype(f"{dtype.str[1:].split('[')[0]}{unit}").newbyteorder(way)
        for unit in units
        for way in "<>"
    ]
    own = [one.__reduce__()[2] for one in known]
    return any(
        tuple(state[:8]) == one[:8] and [m[1] for m in state[8:]] == [m[1] for m in one[8:]]
        for one in own
    )


def read_frame(path):
    """A pickled DataFrame, read without running anything from the file.

    Only the numpy and pandas classes that a frame of numbers, texts, times and arrays needs are admitted, as
    pandas 1, 2 and 3 write it (pickle protocol 2 to 5); text columns that pyarrow holds are not. The whole frame
    is in memory: a pickle can't be read in a stream.

    path: str or Path

    returns: DataFrame
    raises: ForeshapError where the file asks for anything else, which it names, is damaged or no frame
    """
    try:
        with open(path, "rb") as file:
            size = Path(path).stat().st_size
            unpickler = _Unpickler(file, size)
            return _checked(unpickler.load(), size, unpickler.charge_reached)
    except ForeshapError as error:
        raise ForeshapError(
            f"{path} asks for {error}, which a pickled data frame doesn't need: it is refused, download it again."
        ) from error
    except Exception as error:  # whatever pickle, numpy and pandas raise for damaged bytes
        why = (
            error
            if all(isinstance(one, (str, int)) for one in error.args)
            else type(error).__name__
        )
        raise ForeshapError(
            f"{path} can't be read as a pickled data frame ({why}): download it again."
        ) from None


def _checked(frame, size, charge):
    """A frame of the same columns and of nothing else that the pickle set, once they are found whole."""
    if (
        type(frame) is not pd.DataFrame
        or type(manager := vars(frame)["_mgr"]) is not managers.BlockManager
    ):
        raise ValueError("it holds no DataFrame")
    manager._verify_integrity()
    rows, columns = manager.axes[1], manager.items
    if not all(isinstance(axis, pd.Index) for axis in (rows, columns)):
        raise ValueError("its rows or columns are damaged")
    if not all(isinstance(name, str) for name in columns):
        raise ValueError("its columns have no names")
    if max(manager.shape) > size or not columns.is_unique:
        raise ValueError("its rows or columns are damaged")
    if sorted(place for block in manager.blocks for place in block.mgr_locs) != list(
        range(len(columns))
    ):
        raise ValueError("its columns are damaged")
    for values in (rows._values, *(block.values for block in manager.blocks)):
        kinds = charge(
            getattr(values, "_ndarray", values)
        )  # lists in its cells may have grown since they were there
        if strange := [kind for kind in kinds if not issubclass(kind, CELLS)]:
            raise ForeshapError(f"cells of {strange[0].__name__}")
    return pd.DataFrame._from_mgr(manager, manager.axes)
