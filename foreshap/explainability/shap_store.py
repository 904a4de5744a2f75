"""The SHAP store: a folder of whole part files, each with the maps of some events.

All maps of a store have the same checkpoint, method, options, output and background; a hash of
these is in the folder's name. Parts are only ever added: any number of processes may work at once.
"""

import hashlib
import json
import time
import uuid
import warnings
from collections import namedtuple
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from .. import files
from ..files import ForeshapError
from ..hdf5 import open_dataset, open_hdf5
from ..parallel import map_in_order, one_thread
from ..preprocessing import tensor_file
from ..preprocessing.variants import COMPONENTS, Variant
from ..preprocessing.waveforms import known_s_p
from ..training.model import load_checkpoint
from . import attribution
from .background import Background
from .methods.tiles import physical_tiles

VERSION = 3  # of the parts' format
PART = 8  # largest number of events in a part
FEWEST_PARTS = 4  # so that several workers share a few events
TOLERANCE = 1e-8  # between stated and found additivity error
ADDED = ["row", "output", "predicted", "correct", "base_value", "additivity_error", "seconds"]
MARGIN = "logit(aftershock) - logit(foreshock); positive pushes toward aftershock"


def chosen_test_rows(checkpoint, n=None, seed=0, among=None):
    """Choose test events of a Checkpoint, all or a random sample of them.

    n, seed: int, size of the sample (all where left out or there are no more), and of its draw
    among: int array, rows that may be chosen, such as station_rows(); all where left out

    returns: int array, sorted rows of the tensor file
    """
    rows = np.array(checkpoint.card["split"]["test"])
    if among is not None:
        rows = np.intersect1d(rows, among)
    if n is None or n >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


def misclassified_rows(checkpoint, spectrograms, among=None):
    """List the test events that a Checkpoint puts into the other class, the surest errors first.

    spectrograms: Spectrograms that it was trained on
    among: int array, rows that may be listed; all where left out

    returns: int array, rows of the tensor file
    """
    rows = chosen_test_rows(checkpoint, among=among)
    margins = checkpoint.margins(spectrograms, rows)
    wrong = np.flatnonzero((margins > 0) != (spectrograms.labels[rows] == 1))
    return rows[wrong[np.argsort(-np.abs(margins[wrong]), kind="stable")]]


class StoredMaps:
    """Maps (a dataset's name) in the parts of a store: an array (N, 3, F, T) read by slices."""

    dtype = np.dtype(np.float32)

    def __init__(self, places, name, shape):
        self.shape = (len(places), *shape)
        self._places = places
        self._name = name

    def __len__(self):
        return len(self._places)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key):
        events, *others = key if isinstance(key, tuple) else (key,)
        if events is Ellipsis:
            return self[:][key]
        numbers = np.arange(len(self))[events]
        chosen = self._places.iloc[numbers.ravel()].reset_index(drop=True)
        values = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for path, events in chosen.groupby("path"):
            with _reading(path), open_hdf5(path) as file:
                stored = h5py.Dataset(open_dataset(file, self._name))
                for target, place in events["place"].items():
                    values[target] = stored[place]
                if self._name == "shap":
                    found = _additivity_error(values[events.index], events)
                    wrong = np.abs(found - events["additivity_error"]) > TOLERANCE
                    if wrong.any():
                        place = events["place"][wrong].iloc[0]
                        raise ValueError(f"the map at place {place} doesn't add up")
        values = values.reshape(*numbers.shape, *self.shape[1:])
        return values[(slice(None),) * numbers.ndim + tuple(others)]


def _additivity_error(values, table):
    """Additivity error of maps (N, 3, F, T) with their table, float (N,)."""
    base, outputs = table["base_value"].to_numpy(float), table["output"].to_numpy(float)
    return attribution.additivity_error(values, base, outputs)


@dataclass(frozen=True)
class StoredShap:
    """SHAP maps of some events in a store."""

    path: Path  # of the store
    variant: Variant
    values: StoredMaps  # (N, 3, F, T)
    standard_error: StoredMaps  # (N, 3, F, T) of values that were sampled, else None
    table: pd.DataFrame  # a row an event: the tensor file's columns, and those of ADDED
    attributes: dict  # of a part

    @property
    def base_value(self):
        """Mean of the events' own, float."""
        return float(self.table["base_value"].mean())

    def to_xarray(self):
        """Open as xarray.Dataset with named axes and a coordinate for each column of the table."""
        return tensor_file.as_xarray(self.values, "shap", self.variant, self.table, self.attributes)

    def to_explanation(self, spectrograms):
        """Make a shap.Explanation, a feature a pixel, with data of the Spectrograms explained."""
        import shap

        count = len(self.table)
        data = tensor_file.read_events(spectrograms.values, self.table["row"]).reshape(count, -1)
        pixels = product(COMPONENTS, self.variant.frequencies, self.variant.times)
        names = [f"{component} {f:.1f} Hz {t:.2f} s" for component, f, t in pixels]
        base = self.table["base_value"].to_numpy(float)
        values = self.values[:].reshape(count, -1)
        return shap.Explanation(values, base, data, feature_names=names)

    def _repr_html_(self):
        unit = f"{self.attributes['meaning']}, {self.attributes['method']}"
        labels = self.table["label"].to_numpy()
        return tensor_file.summary_html(self.path, self.variant, self.values.shape, labels, unit)


# What a worker needs: absolute paths (str), and JSON (str) of what the maps depend on.
Task = namedtuple("Task", "checkpoint tensors store made_from")


@torch.inference_mode(False)  # for gradients
def explain_events(
    checkpoint,
    spectrograms,
    rows,
    background,
    folder,
    method="deep",
    output="margin",
    executor=None,
    **options,
):
    """Return the SHAP maps of some events from their store; compute those that it lacks.

    checkpoint, spectrograms: Checkpoint and the Spectrograms that it was trained on
    rows: int array, events to explain
    background: Background of choose_background()
    folder: str or Path of the folder with all stores; the one is found by what its maps depend on
    method, output, options: see shap_tensors(); "tiles" takes each event's own from its S-P time
    executor: anything with .submit(...).result(), such as ProcessPoolExecutor or
        dask.distributed.Client, whose workers reach the same files; the maps are the same

    returns: StoredShap of these events, in this order
    raises: ForeshapError for what can't be explained or written; parts that are whole stay
    """
    checkpoint.check(spectrograms)
    rows, count = np.atleast_1d(np.asarray(rows)), len(spectrograms.labels)
    if rows.dtype == bool and rows.shape == (count,):
        rows = np.flatnonzero(rows)
    is_whole = rows.ndim == 1 and len(rows) and rows.dtype.kind in "iu"
    if not is_whole or rows.min() < 0 or rows.max() >= count:
        raise ForeshapError(f"There are no such events: give one or more rows, 0 to {count - 1}.")
    made_from = _describe(checkpoint, spectrograms, background, method, output, options)
    key = hashlib.sha256(made_from.encode()).hexdigest()[:12]
    store = Path(folder).resolve() / f"{checkpoint.path.stem}-{method}-{key}"
    parts = _read_parts(store, leave_damaged=True)
    present = [table["row"].to_numpy() for table, _ in parts]
    absent = np.setdiff1d(rows.astype(int), np.concatenate([[], *present]))
    if len(absent):
        examples = tensor_file.read_events(spectrograms.values, background.rows)
        examples = checkpoint.scaling(examples)
        attribution.check_request(checkpoint.model, examples, method, output, options)
        paths = (checkpoint.path, spectrograms.path, store)
        task = Task(*[str(path.resolve()) for path in paths], made_from)
        files.check_room(store, len(absent) * 4 * np.prod(checkpoint.variant.shape))
        prepared = None
        if executor is None:  # what was loaded, whatever has its name by now
            prepared = _prepare(checkpoint, spectrograms, made_from)
        parts += _explain_absent(task, absent, executor, prepared)
    return _collect(store, parts, rows)


def _describe(checkpoint, spectrograms, background, method, output, options):
    """Write down as JSON what maps depend on; ForeshapError for a background that can't be."""
    if not isinstance(background, Background):
        raise ForeshapError("It is no Background: draw it with foreshap.choose_background().")
    if len(np.unique(spectrograms.labels[background.rows])) < 2:
        raise ForeshapError("The background is empty or of one class: draw it again.")
    options = attribution.all_options(method, options)
    for name, value in options.items():
        if not isinstance(value, (int, float, str, type(None))):
            raise ForeshapError(f"A store can't keep the option '{name}': use shap_tensors().")
    made_from = {
        "format": VERSION,
        "checkpoint": checkpoint.card["sha256"],
        "tensor file": spectrograms.sha256,
        "method": method,
        "options": options,
        "output": output,
        "background": background.rows.tolist(),
    }
    if made_from["tensor file"] != checkpoint.card["tensor_file"]["sha256"]:
        raise ForeshapError(
            f"{checkpoint.path} was trained on another file than {spectrograms.path}: train again."
        )
    return json.dumps(made_from, sort_keys=True)


def _explain_absent(task, rows, executor, prepared):
    """Explain events part by part; return the parts."""
    files.remove_left(Path(task.store, "*"))
    size = min(PART, -(-len(rows) // FEWEST_PARTS))
    batches = np.split(rows, range(size, len(rows), size))
    name = Path(task.store).name.rpartition("-")[0]
    parts = []
    try:
        work = partial(_explain_part, task, prepared=prepared)
        paths = map_in_order(work, batches, executor)
        with tqdm(total=len(rows), desc=f"SHAP {name}", unit="event") as bar:
            for path, batch in zip(paths, batches):
                parts.append(_read_part(path))
                bar.update(len(batch))
    finally:
        _open.cache_clear()
    return parts


@lru_cache(maxsize=4)
def _open(task):
    """Open the files of a task in a worker, and prepare to explain their events."""
    made_from = json.loads(task.made_from)
    checkpoint = load_checkpoint(task.checkpoint)
    spectrograms = tensor_file.load_spectrograms(task.tensors)
    found = {"checkpoint": checkpoint.card["sha256"], "tensor file": spectrograms.sha256}
    if not found.items() <= made_from.items():
        raise ForeshapError(
            f"{task.checkpoint} or {task.tensors} has changed since it was loaded: load it again."
        )
    return _prepare(checkpoint, spectrograms, task.made_from)


@one_thread()  # in this process as in a worker, or the last bits would differ
def _prepare(checkpoint, spectrograms, made_from):
    """Prepare to explain an event by its row."""
    made_from = json.loads(made_from)
    options, variant, s_p = made_from["options"], checkpoint.variant, known_s_p(spectrograms.table)
    if made_from["method"] == "tiles":
        options["tiles"] = lambda row: physical_tiles(variant, s_p[row])
    background = tensor_file.read_events(spectrograms.values, made_from["background"])
    asked = (checkpoint.scaling(background), made_from["method"], made_from["output"])
    return checkpoint, spectrograms, attribution.explainer(checkpoint.model, *asked, **options)


@one_thread()
def _explain_part(task, rows, prepared=None):
    """Explain some events and write them as a part; runs in any thread or process."""
    made_from = json.loads(task.made_from)
    checkpoint, spectrograms, explain = prepared or _open(task)
    events = checkpoint.scaling(tensor_file.read_events(spectrograms.values, rows))
    attribution.check_events(events, events)
    values, errors, found = [], [], []
    for event, row in zip(events, rows):
        start = time.perf_counter()
        event_values, base, error = explain(event, int(row))
        seconds = time.perf_counter() - start
        values.append(event_values)
        errors.append(error)
        output = attribution.outputs_of(checkpoint.model, event[None], made_from["output"])[0]
        margin = attribution.outputs_of(checkpoint.model, event[None])[0]
        found.append((row, output, np.int8(margin > 0), base, seconds))
    maps = {"shap": np.stack(values).astype(np.float32)}
    if errors[0] is not None:
        maps["shap_standard_error"] = np.stack(errors).astype(np.float32)
    added = pd.DataFrame(found, columns=["row", "output", "predicted", "base_value", "seconds"])
    table = spectrograms.table.iloc[rows].reset_index(drop=True).assign(**added)
    table["correct"] = table["predicted"] == table["label"]
    table["additivity_error"] = _additivity_error(maps["shap"], table)
    attribution.check_additivity(table["additivity_error"], made_from["method"])
    path = Path(task.store, f"{uuid.uuid4().hex}.h5")
    with files.written_whole(path) as partial_path:
        content = _part_content(path.name, task.made_from, spectrograms, table, maps)
        partial_path.write_bytes(content)  # a full disk is an error here; HDF5 may say it too late
    return path


def _part_content(part, made_from, spectrograms, table, maps):
    """Make the bytes of a part: maps (name -> float32 array (N, 3, F, T)) and their table.

    part: str, unlike that of any part: two threads can't have open what HDF5 takes for one file
    """
    facts = json.loads(made_from)
    output = facts["output"]
    with h5py.File(part, "w", driver="core", backing_store=False) as file:
        for name in {"dataset", "simulated"}.intersection(spectrograms.attributes):
            file.attrs[name] = spectrograms.attributes[name]
        file.attrs.update(
            method=facts["method"],
            explained_output=output,
            meaning=f"SHAP of {MARGIN if output == 'margin' else output}",
            checkpoint_sha256=facts["checkpoint"],
        )
        tensor_file.write_axes(file, spectrograms.variant)
        tensor_file.write_columns(file, table)
        for name, values in maps.items():
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), fletcher32=True)
            file[name].attrs["units"] = "1"
            tensor_file.attach_axes(file[name])
        names = spectrograms.table["trace_name"].to_numpy()[facts["background"]]
        file["background"] = names.astype(h5py.string_dtype())
        file["background"].make_scale("background")
        file["made_from"] = made_from  # no attribute: those end at 64 KiB
        tensor_file.seal(file, len(table))
        file.flush()
        return file.id.get_file_image()


def _read_part(path):
    """Read all of a part but its maps: its table, with their places, and its attributes."""
    with _reading(path):
        _, values, table, attributes = tensor_file.open_events(path, "shap", "part of a SHAP store")
        with values.file as file:
            attributes["made_from"] = h5py.Dataset(open_dataset(file, "made_from")).asstr()[()]
            attributes["sampled"] = "shap_standard_error" in file
        for name in ADDED:
            if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
                raise ValueError(f"it has no numbers named {name}")
    table = table.astype({"row": int, "correct": bool})
    return table.assign(path=str(path), place=np.arange(len(table))), attributes


def _read_parts(store, leave_damaged=False):
    """Read the parts of a store by name; leave_damaged: warn of those that can't be read."""
    if store.is_file() or store.parent.is_file():
        raise ForeshapError(
            f"{store} is or lies in a single file, and SHAP files of before are not read: "
            "give a folder for SHAP stores and explain the events again."
        )
    parts = []
    for path in sorted(store.glob("*.h5")):
        try:
            parts.append(_read_part(path))
        except ForeshapError as error:
            if isinstance(error, files.MachineError) or not leave_damaged:
                raise
            warnings.warn(f"{error} Events that were asked for are computed anew.", stacklevel=3)
            continue
        if parts[-1][1]["made_from"] != parts[0][1]["made_from"]:
            raise ForeshapError(f"{path} was made from something else than its store: move it.")
    return parts


def _collect(store, parts, rows=None):
    """Put events of a store together; of several parts with an event the first counts."""
    _, attributes = parts[0]
    variant = Variant(**json.loads(attributes["variant"]))
    table = pd.concat([table for table, _ in parts]).drop_duplicates("row")
    table = table.set_index("row", drop=False).sort_index()
    if rows is not None:
        table = table.loc[rows]
    table = table.reset_index(drop=True)
    values = StoredMaps(table, "shap", variant.shape)
    error = None
    if attributes["sampled"]:
        error = StoredMaps(table, "shap_standard_error", variant.shape)
    table = table.drop(columns=["path", "place"])
    return StoredShap(store, variant, values, error, table, attributes)


def load_shap(store):
    """Open a store with all of its events; the maps stay on disk until they are sliced.

    store: str or Path of one store, such as StoredShap.path or one of find_shap()

    returns: StoredShap, sorted by row
    raises: ForeshapError where a part is damaged or there is none
    """
    store = Path(store)
    parts = _read_parts(store)
    if not parts:
        raise ForeshapError(f"{store} holds no SHAP maps: give the path of explain_events().path.")
    return _collect(store, parts)


def find_shap(folder, checkpoint, method="deep", output="margin"):
    """Find the stores with maps of a checkpoint.

    folder, checkpoint, method, output: as given to explain_events()

    returns: list of Path, one for each background and set of options, most events first
    raises: ForeshapError where a part is damaged
    """
    wanted = {"checkpoint_sha256": checkpoint.card["sha256"], "method": method}
    wanted["explained_output"] = output
    sizes = {}
    for store in sorted(Path(folder).glob(f"{checkpoint.path.stem}-{method}-*")):
        parts = _read_parts(store)
        if parts and wanted.items() <= parts[0][1].items():
            sizes[store] = sum(len(table) for table, _ in parts)
    return sorted(sizes, key=sizes.get, reverse=True)


@contextmanager
def _reading(path):
    """Turn what goes wrong while a part is read into a sentence that names the part."""
    try:
        yield
    except Exception as error:  # h5py, json and numpy raise a dozen kinds for damaged files
        files.check_machine(path, error)
        reason = files.first_line(error.__cause__ or error)
        raise ForeshapError(
            f"{path} is a damaged part of a SHAP store ({reason}): "
            "delete it and explain its events again."
        ) from error
