"""Take a pickled data frame apart: a program of its own, that read_frame() runs with limits.

The pickle comes by standard input. Nothing in it is called: each class or function that it may name
becomes a Part, which records what it was given. Standard output gets one line of JSON, {"nodes": [...]},
children first, and then the bytes of the arrays; or {"refused": why}, {"damaged": why}.
"""

import json
import os
import pickle
import resource
import sys

GROWTH = 32  # times a file's size that its values may take, counted each time they are met
DEEPEST = 40  # values within one another
MEMORY = 2**28, 8  # bytes, and bytes more for each of the file
SECONDS = 2, 5e6  # of computing, and bytes of the file for which there is one more
ALLOWED = {
    "__builtin__": "slice bytes",
    "builtins": "slice bytes",
    "_codecs": "encode",
    "datetime": "datetime timedelta timezone",
    "pytz": "_UTC",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "pandas": "DataFrame Index RangeIndex DatetimeIndex StringDtype DatetimeTZDtype",
    "pandas.arrays": "DatetimeArray StringArray",
    "pandas.core.frame": "DataFrame",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.numeric": "Int64Index Float64Index UInt64Index",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.internals.managers": "BlockManager",
    "pandas.core.internals.blocks": "new_block",
    "pandas.core.arrays.datetimes": "DatetimeArray",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.dtypes.dtypes": "DatetimeTZDtype",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.tslibs.nattype": "_nat_unpickle __nat_unpickle",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp Timestamp",
}  # those of numpy 1 and 2, of pandas 1, 2 and 3


class Refused(Exception):
    """What a file asks for that no data frame needs."""


class Part:
    """A thing that the pickle names, with the arguments and the state that it gave."""

    def __new__(cls, *arguments):
        part = object.__new__(cls)
        part.arguments, part.state = arguments, None
        return part

    def __setstate__(self, state):
        self.state = state


class Text(Part):
    """Bytes that protocol 2 wrote as text."""

    def __new__(cls, text="", codec="latin1"):
        return text.encode("latin1")


class Unpickler(pickle.Unpickler):
    """Python's own, which finds nothing but Parts."""

    parts = {}

    def find_class(self, module, name):
        if name not in ALLOWED.get(module, "").split():
            raise Refused(f"{module}.{name}")
        base = Text if name in ("bytes", "encode") else Part
        return self.parts.setdefault(name, type(name, (base,), {}))


class Encoder:
    """Lists what a value consists of, each thing once."""

    def __init__(self, size):
        self.most = GROWTH * size + 10**5
        self.nodes, self.contents, self.known = [], [], {}

    def encode(self, value, depth=0):
        """Return (value itself, or [number of its node]; its size with all that it holds)."""
        if value is None or type(value) in (bool, float):
            return value, 1
        if type(value) is str:
            return value, 1 + len(value)
        if type(value) is int and abs(value) < 2**63:
            return value, 1
        if id(value) not in self.known:
            if depth > DEEPEST:
                raise Refused(f"values within more than {DEEPEST} others")
            node, size = self.open(value, depth + 1)
            if size > self.most:
                raise Refused(f"values of more than {GROWTH} times its size")
            self.known[id(value)] = [len(self.nodes)], size
            self.nodes.append(node)
        return self.known[id(value)]

    def open(self, value, depth):
        """Return the node of a value that holds others, and its size."""
        kind = type(value)
        if kind is int:
            return ["int", hex(value)], value.bit_length() // 8
        if kind in (bytes, bytearray):
            self.contents.append(value)
            return ["bytes", len(value)], 1 + len(value)
        if isinstance(value, type) and issubclass(value, Part):
            return ["name", value.__name__], 1
        if isinstance(value, Part):
            held = ["part", kind.__name__], [value.arguments, value.state]
        elif kind in (list, tuple):
            held = [kind.__name__], value
        elif kind is dict:
            held = ["dict"], [*value, *value.values()]
        else:
            raise Refused(f"a {kind.__name__}")
        node, total = held[0], 1
        for one in held[1]:
            reference, size = self.encode(one, depth)
            node.append(reference)
            total += size
        return node, total


def limit(kind, value):
    """Limit this process, as far as it isn't limited already."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def main():
    size = os.fstat(0).st_size
    limit(resource.RLIMIT_AS, MEMORY[0] + MEMORY[1] * size)
    limit(resource.RLIMIT_CPU, SECONDS[0] + round(size / SECONDS[1]))
    limit(resource.RLIMIT_NOFILE, 3)  # no file but those that are open
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        limit(kind, 0)
    contents = []
    try:
        encoder = Encoder(size)
        root = encoder.encode(Unpickler(sys.stdin.buffer).load())[0]
        answer, contents = {"nodes": encoder.nodes, "root": root}, encoder.contents
        line = json.dumps(answer)
    except Refused as refused:
        line = json.dumps({"refused": str(refused)})
    except MemoryError:
        line = json.dumps({"refused": "more memory than its size allows"})
    except Exception as error:  # pickle raises a dozen kinds for damaged bytes
        line = json.dumps({"damaged": f"{type(error).__name__} {error}"[:200]})
    sys.stdout.buffer.write(line.encode() + b"\n")
    for content in contents:
        sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
