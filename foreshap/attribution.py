"""SHAP tensors of a network's margin: of single events, in a file that can be resumed, and their means.

Positive values push toward aftershock.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from .files import ForeshapError, sha256, written_whole
from .model import margin
from .spectrograms import attach_axes, open_waveforms, read_columns, read_events, write_axes, write_columns
from .variants import Variant
from .waveforms import CLASSES

METHODS = ("deep",)
PART = 20  # background events explained together: their activations stay in the processor's cache


@dataclass(frozen=True)
class ShapTensors:
    """SHAP tensors of some events for the margin logit(aftershock) - logit(foreshock).

    values: float array (N, 3, F, T)
    base_value: float, mean margin of the background
    outputs: float array (N,), the events' margins
    additivity_error: float array (N,), |sum of values + base_value - output| over the outputs' range
    method: str
    background: int, how many background events
    """

    values: np.ndarray
    base_value: float
    outputs: np.ndarray
    additivity_error: np.ndarray
    method: str
    background: int


class _Margin(nn.Module):
    """A network's margin as a single output (N, 1), as shap wants it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return margin(self.model(x))[:, None]


def shap_tensors(model, x, background, method="deep"):
    """SHAP tensors of some events, each with its additivity error.

    "deep" is shap.DeepExplainer (Lundberg and Lee, 2017; DeepLIFT: Shrikumar et al., 2017) on a copy
    of the network, averaged over the background.

    model: torch.nn.Module in evaluation mode, (N, 3, F, T) -> (N, 2)
    x: tensor or array (N, 3, F, T), scaled as the network wants it
    background: tensor or array (B, 3, F, T), scaled alike
    method: "deep"

    returns: ShapTensors
    raises: ForeshapError for a model in training mode, inputs that are not finite or differ in shape,
        an empty background, an unknown method
    """
    x, background = (torch.as_tensor(a, dtype=torch.float32) for a in (x, background))
    _check(model, x, background, method)
    explain = _deep(model, background)
    outputs, base, scale = _outputs(model, x.split(32), background)
    values = np.concatenate([explain(event[None]) for event in x])
    return ShapTensors(values, base, outputs, _error(values, base, outputs, scale), method, len(background))


def _check(model, x, background, method):
    if method not in METHODS:
        raise ForeshapError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    if model.training:
        raise ForeshapError(
            "The model is in training mode, where dropout draws anew each time: call model.eval() first."
        )
    if len(background) == 0 or x.shape[1:] != background.shape[1:]:
        raise ForeshapError(
            f"The background has shape {tuple(background.shape)}, the events {tuple(x.shape)}: give events of one variant."
        )
    if not (torch.isfinite(x).all() and torch.isfinite(background).all()):
        raise ForeshapError("The events or the background hold values that are not finite: leave those events out.")


def _outputs(model, batches, background):
    """Margins of the events, mean margin of the background, and the range of all these margins."""
    with torch.no_grad():
        events = torch.cat([margin(model(batch)) for batch in batches]).double().numpy()
        base = torch.cat([margin(model(part)) for part in background.split(32)]).double().numpy()
    scale = np.ptp(np.concatenate([events, base]))
    if scale == 0:
        raise ForeshapError(
            "The network gives every event the same output: there is nothing to explain, train it again."
        )
    return events, float(base.mean()), scale


def _error(values, base, outputs, scale):
    """Additivity error of each event, relative to the outputs' range."""
    return np.abs(values.sum(axis=(1, 2, 3), dtype=np.float64) + base - outputs) / scale


def _deep(model, background):
    """A function from events (N, 3, F, T) to their SHAP tensors by shap.DeepExplainer.

    The library leaves hooks and buffers in a model, so it gets a copy, without gradients of weights.
    """
    import shap  # takes seconds to import: only who explains waits

    single = _Margin(copy.deepcopy(model)).eval().requires_grad_(False)
    parts = background.split(PART)
    explainers = [(len(part) / len(background), shap.DeepExplainer(single, part)) for part in parts]

    def explain(x):
        tensors = (share * e.shap_values(x, check_additivity=False)[..., 0] for share, e in explainers)
        return sum(tensors).astype(np.float32)

    return explain


def background_rows(checkpoint, spectrograms, n, seed):
    """Training events drawn evenly from both classes.

    checkpoint: Checkpoint
    spectrograms: Spectrograms that it was trained on
    n: int, of both classes together; fewer are drawn where the smaller class has less than half of them
    seed: int

    returns: int array, sorted rows of the tensor file, as many of either class
    """
    rng = np.random.default_rng(seed)
    train = np.array(checkpoint.card["split"]["train"])
    classes = [train[spectrograms.labels[train] == label] for label in range(len(CLASSES))]
    each = min(n // 2, *map(len, classes))
    return np.sort(np.concatenate([rng.choice(rows, each, replace=False) for rows in classes]))


def chosen_test_rows(checkpoint, n=None, seed=0):
    """Test events of a checkpoint, all or a random sample of them.

    checkpoint: Checkpoint
    n: int, size of the sample; all where left out or where there are no more
    seed: int

    returns: int array, sorted rows of the tensor file
    """
    rows = np.array(checkpoint.card["split"]["test"])
    return rows if n is None or n >= len(rows) else np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


@dataclass(frozen=True)
class ShapFile:
    """The events of a SHAP file.

    path: Path
    variant: Variant
    values: h5py.Dataset (N, 3, F, T), read by slices
    table: DataFrame, one row an event: the tensor file's columns, row, output, predicted, correct
        and additivity_error
    base_value: float
    attributes: dict, of the file
    """

    path: Path
    variant: Variant
    values: h5py.Dataset
    table: pd.DataFrame
    base_value: float
    attributes: dict


def explain_events(checkpoint, spectrograms, rows, background, path, method="deep"):
    """Write the SHAP tensors of some events to a file, event by event; what is done already is kept.

    checkpoint: Checkpoint
    spectrograms: Spectrograms that the checkpoint was trained on
    rows: int array, events to explain
    background: int array, rows of the background events
    path: str or Path of the SHAP file; unfinished work stands beside it as <path>.unfinished
    method: str, see shap_tensors()

    returns: ShapFile
    raises: ForeshapError where path or its unfinished work was made from something else
    """
    checkpoint.check(spectrograms)
    path, identity = Path(path), _identity(checkpoint, spectrograms, rows, background, method)
    unfinished = path.with_name(path.name + ".unfinished")
    if not path.exists():
        scaled = lambda part: checkpoint.scaling(read_events(spectrograms.values, part))
        b = scaled(background)
        _check(checkpoint.model, scaled(rows[:1]), b, method)
        if not unfinished.exists():
            batches = (scaled(part) for part in np.split(rows, range(32, len(rows), 32)))
            outputs = _outputs(checkpoint.model, batches, b)
            _create(unfinished, checkpoint, spectrograms, rows, background, identity, outputs)
        _check_identity(unfinished, identity)
        _fill(unfinished, lambda row: scaled([row]), _deep(checkpoint.model, b))
        unfinished.replace(path)
    _check_identity(path, identity)
    return load_shap(path)


def _identity(checkpoint, spectrograms, rows, background, method):
    """What a SHAP file is made from, as text; two files with the same text hold the same tensors."""
    tensors = sha256(spectrograms.path)
    if tensors != checkpoint.card["tensor_file"]["sha256"]:
        raise ForeshapError(
            f"{checkpoint.path} was trained on another {spectrograms.path.name} than {spectrograms.path}: train it again."
        )
    names = spectrograms.table["trace_name"].to_numpy()
    made_from = {"checkpoint_sha256": checkpoint.card["sha256"], "tensors_sha256": tensors, "method": method}
    return json.dumps(made_from | {"events": names[rows].tolist(), "background": names[background].tolist()})


def _check_identity(path, identity):
    with open_waveforms(path) as file:
        found = json.loads(file["identity"].asstr()[()]) if "identity" in file else {}
    wanted = json.loads(identity)
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        raise ForeshapError(
            f"{path} was made with another {' and '.join(differing)}: move it away or give another path."
        )


def _create(path, checkpoint, spectrograms, rows, background, identity, outputs):
    """A SHAP file with room for every event and none explained: its additivity errors are NaN."""
    outputs, base, scale = outputs
    names, shape = spectrograms.table["trace_name"].to_numpy(), checkpoint.variant.shape
    predicted = (outputs > 0).astype("i1")
    table = spectrograms.table.iloc[rows].assign(row=rows, output=outputs, predicted=predicted)
    table = table.assign(correct=predicted == spectrograms.labels[rows], additivity_error=np.nan)
    with written_whole(path) as partial, h5py.File(partial, "w") as file:
        kept = {
            name: spectrograms.attributes[name] for name in ("dataset", "simulated") if name in spectrograms.attributes
        }
        file.attrs.update(kept | {"method": json.loads(identity)["method"], "base_value": base, "output_range": scale})
        file.attrs["checkpoint_sha256"] = checkpoint.card["sha256"]
        file.attrs["meaning"] = "SHAP of logit(aftershock) - logit(foreshock); positive pushes toward aftershock"
        write_axes(file, checkpoint.variant)
        write_columns(file, table)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_obj_track_times(False)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # later writes touch no structure: a kill can't break it
        space = h5py.h5s.create_simple((len(rows), *shape))
        h5py.h5d.create(file.id, b"shap", h5py.h5t.IEEE_F32LE, space, dcpl=plan)
        attach_axes(file["shap"])
        file["shap"].attrs["units"] = "1"
        file["background"] = names[background].astype(h5py.string_dtype())
        file["background"].make_scale("background")
        for name in ("mean", "mean_absolute", "standard_error"):
            file.create_dataset(name, data=np.full((len(CLASSES), *shape), np.nan, "f4"))
        file["class"] = np.array(CLASSES, dtype=h5py.string_dtype())
        file["n_events"] = np.array([(table["label"] == k).sum() for k in range(2)])
        file["identity"] = identity  # no attribute: those end at 64 KiB
        _name_mean_axes(file)


def _name_mean_axes(file):
    """The batch means' axes: class, channel, frequency, time."""
    file["class"].make_scale("class")
    for name in ("mean", "mean_absolute", "standard_error", "n_events"):
        for dimension, axis in zip(file[name].dims, ("class", "channel", "frequency", "time")):
            dimension.attach_scale(file[axis])


def _fill(path, event, explain):
    """Explain what isn't yet: an event's tensor first, its error (which says that it is done) after it."""
    with h5py.File(path, "r+") as file:
        errors, base, scale = file["additivity_error"], file.attrs["base_value"], file.attrs["output_range"]
        rows, outputs = file["row"][:], file["output"][:]
        variant = json.loads(file.attrs["variant"])["name"]
        for i in tqdm(np.flatnonzero(np.isnan(errors[:])), desc=f"SHAP {variant}", unit="event"):
            values = explain(event(rows[i]))
            file["shap"][i] = values[0]
            file.flush()
            errors[i] = _error(values, base, outputs[i : i + 1], scale)[0]
            file.flush()
        for label in range(len(CLASSES)):
            mean = batch_mean(file["shap"], np.flatnonzero(file["label"][:] == label))
            file["mean"][label], file["mean_absolute"][label] = mean.signed, mean.absolute
            file["standard_error"][label] = mean.standard_error


def load_shap(path):
    """Open a SHAP file; the tensors stay on disk until they are sliced.

    path: str or Path

    returns: ShapFile
    raises: ForeshapError where the file is damaged or no SHAP file
    """
    file = open_waveforms(path)
    try:
        variant = Variant(**json.loads(file.attrs["variant"]))
        table = read_columns(file).astype({"correct": bool})
        return ShapFile(Path(path), variant, file["shap"], table, float(file.attrs["base_value"]), dict(file.attrs))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ForeshapError(f"{path} is no SHAP file of foreshap.explain_events ({error}): make it again.") from error


@dataclass(frozen=True)
class BatchMean:
    """Mean SHAP tensors of some events, each (3, F, T).

    signed: mean
    absolute: mean of the absolute values
    standard_error: of signed, NaN for fewer than two events
    n_events: int
    """

    signed: np.ndarray
    absolute: np.ndarray
    standard_error: np.ndarray
    n_events: int


def batch_mean(values, rows):
    """Mean SHAP tensors of some events, read one by one.

    values: h5py.Dataset or array (N, 3, F, T)
    rows: int array, the events

    returns: BatchMean; all NaN without events
    """
    total, absolute, square = np.zeros((3, *values.shape[1:]))
    for row in rows:
        event = values[row].astype(np.float64)
        total, absolute, square = total + event, absolute + np.abs(event), square + event**2
    n = len(rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.maximum(square - n * mean**2, 0) / np.float64(n - 1 if n > 1 else np.nan)
        return BatchMean(mean, absolute / n, np.sqrt(variance / n), n)


def profiles(values, rows):
    """Each event's SHAP summed over components and time, and over components and frequency.

    values: h5py.Dataset or array (N, 3, F, T)
    rows: int array, the events

    returns: float arrays (len(rows), F) and (len(rows), T)
    """
    over_frequency, over_time = np.zeros((len(rows), values.shape[2])), np.zeros((len(rows), values.shape[3]))
    for i, row in enumerate(rows):
        event = values[row].sum(axis=0)
        over_frequency[i], over_time[i] = event.sum(axis=1), event.sum(axis=0)
    return over_frequency, over_time
