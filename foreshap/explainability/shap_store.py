"""The SHAP file: events explained batch after batch into a file that can be resumed, and reading it back."""

import json
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError, check_room, sha256, written_whole
from ..parallel import map_in_order, one_thread
from ..preprocessing.hdf5 import open_hdf5 as open_waveforms
from ..preprocessing.tensor_file import (
    attach_axes,
    load_spectrograms,
    open_events,
    read_events,
    write_axes,
    write_columns,
)
from ..preprocessing.variants import CLASSES, Variant
from ..preprocessing.waveforms import known_s_p
from ..training.model import load_checkpoint
from .attribution import (
    SAMPLED,
    additivity_error,
    check_events,
    check_request,
    explainer,
    output_range,
    outputs_of,
)
from .background import Background, own_noise
from .means import group_means
from .methods.tiles import physical_tiles

BATCH = 8  # events explained by one worker at a time, and written together
FILLED = (
    "shap",
    "shap_standard_error",
    "base_value",
    "seconds",
    "additivity_error",
)  # in this order
MEANS = ("mean", "mean_absolute", "standard_error")


def chosen_test_rows(checkpoint, n=None, seed=0):
    """Test events of a checkpoint, all or a random sample of them.

    checkpoint: Checkpoint
    n: int, size of the sample; all where left out or where there are no more
    seed: int

    returns: int array, sorted rows of the tensor file
    """
    rows = np.array(checkpoint.card["split"]["test"])
    return (
        rows
        if n is None or n >= len(rows)
        else np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
    )


@dataclass(frozen=True)
class ShapFile:
    """The events of a SHAP file.

    path: Path
    variant: Variant
    values: h5py.Dataset (N, 3, F, T), read by slices
    table: DataFrame, one row an event: the tensor file's columns, row, output, predicted, correct, base_value,
        additivity_error and seconds (of one thread)
    base_value: float, mean of the events' own
    attributes: dict, of the file
    """

    path: Path
    variant: Variant
    values: h5py.Dataset
    table: pd.DataFrame
    base_value: float
    attributes: dict


@dataclass(frozen=True)
class Task:
    """What a worker needs to explain events: it opens the files itself, and writes none.

    checkpoint, tensors: str, paths
    sha256: str, of the checkpoint
    kind: str, of the background
    background: tuple of int, its rows
    n, seed: int, of a background of the event's own noise
    method, output: str
    options: tuple of (name, value)
    """

    checkpoint: str
    tensors: str
    sha256: str
    kind: str
    background: tuple
    n: int
    seed: int
    method: str
    output: str
    options: tuple


def explain_events(
    checkpoint,
    spectrograms,
    rows,
    background,
    path,
    method="deep",
    output="margin",
    executor=None,
    **options,
):
    """Write the SHAP tensors of some events to a file, batch by batch; what is done already is kept.

    checkpoint: Checkpoint
    spectrograms: Spectrograms that the checkpoint was trained on
    rows: int array, events to explain
    background: Background of choose_background()
    path: str or Path of the SHAP file; unfinished work stands beside it as <path>.unfinished
    method, output, options: see shap_tensors(); "tiles" takes each event's own from its S-P time
    executor: anything with .submit(...).result(), such as ProcessPoolExecutor or dask.distributed.Client; the
        tensors are the same, and this process alone writes

    returns: ShapFile
    raises: ForeshapError where path or its unfinished work was made from something else, or the disk is full
    """
    checkpoint.check(spectrograms)
    _check_arguments(spectrograms, background, options)
    path = Path(path)
    task = Task(
        str(checkpoint.path), str(spectrograms.path), checkpoint.card["sha256"], background.kind,
        tuple(background.rows.tolist()), background.n, background.seed, method, output, tuple(sorted(options.items())),
    )  # fmt: skip
    identity = _identity(checkpoint, spectrograms, rows, task)
    unfinished = path.with_name(path.name + ".unfinished")
    if not path.exists():
        try:
            if not unfinished.exists():
                _create(unfinished, checkpoint, spectrograms, rows, task, identity)
            _check_identity(unfinished, identity)
            _fill(unfinished, task, executor)
        except OSError as error:
            raise ForeshapError(
                f"{unfinished} can't be written on ({error}): make room and run this again, the events done are kept."
            ) from error
        finally:
            _prepared.cache_clear()
            _opened.cache_clear()
        unfinished.replace(path)
    _check_identity(path, identity)
    return load_shap(path)


def _check_arguments(spectrograms, background, options):
    """Raise unless the background holds the classes that it says, and a file's identity can hold the options."""
    if others := [
        name for name, value in options.items() if not isinstance(value, (int, float, str))
    ]:
        raise ForeshapError(
            f"A SHAP file can't keep the option '{others[0]}': use shap_tensors() for it."
        )
    if not isinstance(background, Background):
        raise ForeshapError(
            "The background is no Background: draw it with foreshap.choose_background()."
        )
    if background.kind == "both" and len(np.unique(spectrograms.labels[background.rows])) < 2:
        raise ForeshapError(
            'The background is empty or of one class: draw it with kind="foreshocks" or "aftershocks" if meant.'
        )


def _identity(checkpoint, spectrograms, rows, task):
    """What a SHAP file is made from, as text; two files with the same text hold the same tensors."""
    tensors = sha256(spectrograms.path)
    if tensors != checkpoint.card["tensor_file"]["sha256"]:
        raise ForeshapError(
            f"{checkpoint.path} was trained on another file than {spectrograms.path}: train it again."
        )
    names = spectrograms.table["trace_name"].to_numpy()
    own = {"n": task.n, "seed": task.seed} if task.kind == "own noise" else {}
    made_from = {
        "checkpoint": task.sha256,
        "tensor file": tensors,
        "method": task.method,
        "output": task.output,
        "options": dict(task.options),
        "background": {"kind": task.kind, "events": names[list(task.background)].tolist(), **own},
        "events": names[rows].tolist(),
    }
    return json.dumps(made_from)


def _check_identity(path, identity):
    with open_waveforms(path) as file:
        found = json.loads(file["identity"].asstr()[()]) if "identity" in file else {}
    wanted = json.loads(identity)
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        raise ForeshapError(
            f"{path} was made with another {' and '.join(differing)}: move it away or give another path."
        )


@lru_cache(maxsize=1)
def _opened(task):
    """Checkpoint and spectrograms of a task."""
    checkpoint = load_checkpoint(task.checkpoint)
    if checkpoint.card["sha256"] != task.sha256:
        raise ForeshapError(f"{task.checkpoint} has changed since it was loaded: load it again.")
    return checkpoint, load_spectrograms(task.tensors)


@lru_cache(maxsize=1)
def _prepared(task):
    """Function from an event and its row to its values, base value and standard error."""
    checkpoint, spectrograms = _opened(task)
    variant, s_p = (
        checkpoint.variant,
        known_s_p(spectrograms.table),
    )  # asked for by tiles and own noise alone
    options = dict(task.options)
    if task.method == "tiles":
        options = {"tiles": lambda row: physical_tiles(variant, s_p[row])} | options
    prepare = partial(
        explainer, checkpoint.model, method=task.method, output=task.output, **options
    )
    if task.kind == "own noise":
        noise = lambda event, row: own_noise(event, variant, s_p[row], task.n, [task.seed, row])
        return lambda event, row: prepare(noise(event, row))(event, row)
    return prepare(_scaled(task, task.background))


def _scaled(task, rows):
    checkpoint, spectrograms = _opened(task)
    return checkpoint.scaling(read_events(spectrograms.values, rows))


def _explain(task, rows):
    """Values, base values, standard errors and seconds of a batch of events; runs in any thread or process."""
    with one_thread():
        explain = _prepared(task)
        results = [
            _timed(explain, event, int(row)) for event, row in zip(_scaled(task, rows), rows)
        ]
    values, base, error, seconds = zip(*results)
    return (
        np.stack(values),
        np.array(base),
        None if error[0] is None else np.stack(error),
        np.array(seconds),
    )


def _timed(explain, event, key):
    start = time.perf_counter()
    return *explain(event, key), time.perf_counter() - start


def _create(path, checkpoint, spectrograms, rows, task, identity):
    """A SHAP file with room for every event and none explained: its additivity errors are NaN."""
    background = _scaled(task, task.background or rows[:BATCH])
    check_request(checkpoint.model, background, task.method, dict(task.options))
    check_events(_scaled(task, rows[:1]), background)
    with one_thread():  # as the workers, or the last bits of what is kept would differ
        _prepared(task)  # what can't be explained leaves no file
    outputs, margins = (_outputs(task, rows, output) for output in (task.output, "margin"))
    spread = output_range(outputs, outputs_of(checkpoint.model, background, task.output))
    predicted = (margins > 0).astype("i1")
    table = spectrograms.table.iloc[rows].assign(row=rows, output=outputs, predicted=predicted)
    table = table.assign(correct=predicted == spectrograms.labels[rows])
    table = table.assign(base_value=np.nan, additivity_error=np.nan, seconds=np.nan)
    names, simulated = spectrograms.table["trace_name"].to_numpy(), ("dataset", "simulated")
    kept = {
        name: spectrograms.attributes[name] for name in simulated if name in spectrograms.attributes
    }
    check_room(path, len(rows) * 4 * np.prod(checkpoint.variant.shape))
    with written_whole(path) as partial_path, h5py.File(partial_path, "w") as file:
        file.attrs.update(
            kept | {"method": task.method, "explained_output": task.output, "output_range": spread}
        )
        file.attrs.update(checkpoint_sha256=task.sha256, background_kind=task.kind)
        explained = {
            "margin": "logit(aftershock) - logit(foreshock); positive pushes toward aftershock"
        }
        file.attrs["meaning"] = f"SHAP of {explained.get(task.output, task.output)}"
        write_axes(file, checkpoint.variant)
        write_columns(file, table)
        for name in ("shap",) + ("shap_standard_error",) * (task.method in SAMPLED):
            _make_room(file, name, (len(rows), *checkpoint.variant.shape))
        file["background"] = names[list(task.background)].astype(h5py.string_dtype())
        file["background"].make_scale("background")
        file["identity"] = identity  # no attribute: those end at 64 KiB
        _make_means(file, checkpoint.variant.shape, table["label"])


def _outputs(task, rows, output):
    """One output of events, a few at a time: float64 array (len(rows),)."""
    parts = np.split(rows, range(32, len(rows), 32))
    return np.concatenate(
        [outputs_of(_opened(task)[0].model, _scaled(task, part), output) for part in parts]
    )


def _make_room(file, name, shape):
    """Tensors in one piece whose place is known at once: later writes touch no structure, so a kill breaks nothing."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(
        file.id, name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), dcpl=plan
    )
    attach_axes(file[name])
    file[name].attrs["units"] = "1"


def _make_means(file, shape, labels):
    """The batch means, still NaN, with their axes class, channel, frequency, time."""
    for name in MEANS:
        file.create_dataset(name, data=np.full((len(CLASSES), *shape), np.nan, "f4"))
    file["class"] = np.array(CLASSES, dtype=h5py.string_dtype())
    file["n_events"] = np.array([(labels == k).sum() for k in range(len(CLASSES))])
    file["class"].make_scale("class")
    for name in (*MEANS, "n_events"):
        for dimension, axis in zip(file[name].dims, ("class", "channel", "frequency", "time")):
            dimension.attach_scale(file[axis])


def _fill(path, task, executor):
    """Explain what isn't yet: a batch's tensors first, its errors (which say that it is done) after them."""
    if executor is None:
        _prepared(task)  # before several threads ask for it
    with h5py.File(path) as file:
        errors, rows, outputs, spread = (
            file["additivity_error"][:], file["row"][:], file["output"][:], file.attrs["output_range"],
        )  # fmt: skip
        places = {
            n: (file[n].id.get_offset(), file[n].dtype, file[n][0].size)
            for n in FILLED
            if n in file
        }
    todo = np.flatnonzero(np.isnan(errors))
    batches = [todo[first : first + BATCH] for first in range(0, len(todo), BATCH)]
    results = map_in_order(partial(_explain, task), [rows[batch] for batch in batches], executor)
    what = f"SHAP {path.name.removesuffix('.h5.unfinished')}, {task.method}"
    bar = tqdm(total=len(rows), initial=len(rows) - len(todo), desc=what, unit="event")
    with open(path, "r+b") as file, bar:
        for batch, (values, base, sampled, seconds) in zip(batches, results):
            missed = additivity_error(values, base, outputs[batch], spread, task.method)
            for name, found in zip(FILLED, (values, sampled, base, seconds, missed)):
                if name in places:
                    _put(file, *places[name], batch, found)
            bar.update(len(batch))
    _write_means(path)


def _put(file, offset, kind, size, batch, values):
    """Write events into a dataset's own bytes: a full disk is an error here, while HDF5 may report it too late."""
    for i, value in zip(batch, values):
        file.seek(offset + int(i) * size * kind.itemsize)
        file.write(np.asarray(value, kind).tobytes())
    file.flush()


def _write_means(path):
    """Batch means of each class."""
    shap = load_shap(path)
    means = group_means(shap, shap.table["label"])
    shap.values.file.close()
    with h5py.File(path, "r+") as file:
        for label, mean in means.items():
            for name, value in zip(MEANS, (mean.signed, mean.absolute, mean.standard_error)):
                file[name][label] = value


def load_shap(path):
    """Open a SHAP file; the tensors stay on disk until they are sliced.

    path: str or Path

    returns: ShapFile
    raises: ForeshapError where the file is damaged or no SHAP file
    """
    variant, values, table, attributes = open_events(
        path, "shap", "SHAP file of foreshap.explain_events"
    )
    if lacking := {"correct", "base_value", "row", "output", "additivity_error"} - set(table):
        values.file.close()
        raise ForeshapError(
            f"{path} is no SHAP file, it lacks {', '.join(sorted(lacking))}: make it again."
        )
    table = table.astype({"correct": bool})
    return ShapFile(
        Path(path), variant, values, table, float(table["base_value"].mean()), attributes
    )
