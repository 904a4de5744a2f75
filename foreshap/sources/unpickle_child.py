"""Take a pickled data frame apart: a program of its own, which read_frame() runs.

The pickle comes by standard input. Nothing in it is called: what it names becomes a Part, which
records what it is given. Standard output gets a line of JSON, {"nodes": ..., "root": ...}, where a
thing comes after those that it holds, and then the bytes of all arrays; or {"refused": why}.
"""

import json
import os
import pickle
import resource
import sys

GROWTH = 32  # times a file's size that its values may take, counted each time they are met
DEEPEST = 40  # values within one another
BYTES = 2**28, 8  # of memory, and further ones for each of the file
SECONDS = 2, 5e6  # of computing, and bytes of the file for which there is one more
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


class Encoder:
    """Lists what a value consists of, each thing once; most: how much that may be."""

    def __init__(self, most):
        self.most = most
        self.nodes, self.arrays, self.known = [], [], {}

    def encode(self, value, depth=0):
        """Return the value itself, or [number of its node], and its size with all that it holds."""
        if type(value) is int and abs(value) >= 2**63:
            return None, 1  # no column of numbers holds it
        if value is None or type(value) in (bool, int, float, str):
            return value, 1 + len(value) if type(value) is str else 1
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
        if kind in (bytes, bytearray):
            self.arrays.append(value)
            return ["bytes", len(value)], 1 + len(value)
        if kind is type:
            return ["name", value.__name__], 1
        held = value
        if kind is dict:
            held = [*value, *value.values()]
        elif isinstance(value, Part):
            held = value.held
        elif kind not in (list, tuple):
            raise Refused(f"a {kind.__name__}")
        node, total = [kind.__name__], 1
        for one in held:
            reference, size = self.encode(one, depth)
            node.append(reference)
            total += size
        return node, total


def limit(kind, value):
    """Limit this process, if it isn't limited more already."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def main():
    size = os.fstat(0).st_size
    limit(resource.RLIMIT_AS, BYTES[0] + BYTES[1] * size)
    limit(resource.RLIMIT_CPU, SECONDS[0] + round(size / SECONDS[1]))
    limit(resource.RLIMIT_NOFILE, 3)  # only those that are open
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        limit(kind, 0)
    encoder = Encoder(GROWTH * size + 10**5)
    arrays = []
    try:
        root = encoder.encode(Unpickler(sys.stdin.buffer).load())[0]
        line = json.dumps({"nodes": encoder.nodes, "root": root})
        arrays = encoder.arrays
    except (Refused, MemoryError) as error:
        line = json.dumps({"refused": str(error) or "more memory than its size allows"})
    except Exception as error:  # pickle raises a dozen kinds for damaged bytes
        line = json.dumps({"damaged": f"{type(error).__name__} {error}"[:200]})
    sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.writelines(arrays)


if __name__ == "__main__":
    main()
