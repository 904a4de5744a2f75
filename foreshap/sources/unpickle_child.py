"""Take a pickled data frame apart: a program of its own, which read_frame() runs.

The pickle comes by standard input. Nothing in it is called: what it names becomes a Part, which
records what it is given. Standard output gets a pickle of ("frame", value) in which each Part is a
persistent id (name, arguments, state); or ("refused", why) or ("damaged", why).
"""

import os
import pickle
import resource
import sys

GROWTH = 32  # times a file's size that its values may take, counted each time they are met
DEEPEST = 40  # values within one another
BYTES = 2**28, 8  # of memory, and further ones for each of the file
SECONDS = 1, 5e6  # of computing, and bytes of the file for which there is one more
ALLOWED = {  # package: names that a frame of numpy 1 and 2, of pandas 1, 2 and 3 needs of it
    "builtins": "slice bytes",
    "__builtin__": "slice bytes",
    "_codecs": "encode",
    "datetime": "datetime timedelta timezone",
    "pytz": "_UTC",
    "numpy": "dtype ndarray scalar _reconstruct _frombuffer",
    "pandas": "DataFrame BlockManager new_block _unpickle_block Index RangeIndex DatetimeIndex "
    "Int64Index UInt64Index Float64Index _new_Index _new_DatetimeIndex DatetimeArray StringArray "
    "__pyx_unpickle_NDArrayBacked StringDtype DatetimeTZDtype Timestamp _unpickle_timestamp "
    "_nat_unpickle __nat_unpickle",
}


class Refused(Exception):
    """What a file asks for that no data frame needs."""


class Part:
    """What the pickle names, with the arguments and the state that it gives."""

    def __new__(cls, *arguments):
        part = object.__new__(cls)
        part.held = [arguments, None]
        return part

    def __setstate__(self, state):
        self.held[1] = state


class Text(Part):
    """Bytes that protocol 2 writes as text."""

    def __new__(cls, text="", codec="latin1"):
        return text.encode("latin1")


class Unpickler(pickle.Unpickler):
    """Python's own, which finds nothing but Parts."""

    def find_class(self, module, name):
        if name not in ALLOWED.get(module.split(".")[0], "").split():
            raise Refused(f"{module}.{name}")
        return type(name, (Text if name in ("bytes", "encode") else Part,), {})


class Pickler(pickle.Pickler):
    """Python's own, which names Parts; most: how much a value may hold."""

    def __init__(self, file, most):
        super().__init__(file, protocol=5)
        self.most, self.sizes = most, {}

    def persistent_id(self, value):
        if isinstance(value, Part):
            return type(value).__name__, *value.held
        return (value.__name__, None, None) if isinstance(value, type) else None

    def size(self, value, depth=0):
        """Return the size of a value with all that it holds, each time it is met."""
        kind = type(value)
        if value is None or kind in (bool, float, type):
            return 1
        if kind in (str, bytes, bytearray):
            return 1 + len(value)
        if kind is int:
            return 1 + value.bit_length() // 8
        held = value.held if isinstance(value, Part) else value
        if kind is dict:
            held = [*value, *value.values()]
        if type(held) not in (list, tuple):
            raise Refused(f"a {kind.__name__}")
        if depth > DEEPEST:
            raise Refused(f"values within more than {DEEPEST} others")
        if id(value) not in self.sizes:
            self.sizes[id(value)] = 1 + sum(self.size(one, depth + 1) for one in held)
            if self.sizes[id(value)] > self.most:
                raise Refused(f"values of more than {GROWTH} times its size")
        return self.sizes[id(value)]


def main():
    size = os.fstat(0).st_size
    limits = {
        resource.RLIMIT_AS: BYTES[0] + BYTES[1] * size,
        resource.RLIMIT_CPU: SECONDS[0] + round(size / SECONDS[1]),
        resource.RLIMIT_NOFILE: 3,  # only those that are open
    }
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        limits[kind] = 0
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    pickler = Pickler(sys.stdout.buffer, GROWTH * size + 10**5)
    try:
        found = "frame", Unpickler(sys.stdin.buffer).load()
        pickler.size(found)
    except (Refused, MemoryError) as error:
        found = "refused", str(error) or "more memory than its size allows"
    except Exception as error:  # pickle raises a dozen kinds for damaged bytes
        found = "damaged", f"{type(error).__name__} {error}"[:200]
    pickler.dump(found)


if __name__ == "__main__":
    main()
