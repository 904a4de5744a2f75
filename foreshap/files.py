"""Files that are whole or absent, their hashes, and the one exception of this package."""

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

import pandas as pd


class ForeshapError(Exception):
    """What went wrong with which file or event, what was expected and what to do, in one sentence."""


@contextmanager
def written_whole(path):
    """Write a file beside its name and rename it when whole: a file that exists is complete.

    path: str or Path, the final name; its folder is made when missing

    yields: Path to write to; removed again when the block raises
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path):
    """Hash of a file's content.

    path: str or Path

    returns: str of 64 hexadecimal digits
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept(path, key, compute):
    """A table from a file that holds it for this key, or computed and written there.

    path: Path, or None to compute it each time
    key: what the table depends on, as JSON can hold it
    compute: function without arguments that returns a DataFrame

    returns: DataFrame
    """
    if path is None:
        return compute()
    try:
        content = json.loads(Path(path).read_text())
        if content["key"] == key:
            return pd.DataFrame(content["rows"], columns=content["columns"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    table = compute()
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    with written_whole(Path(path)) as partial:
        partial.write_text(json.dumps({"key": key, "columns": list(table.columns), "rows": rows}, indent=1))
    return table
