"""Fitting one CNN, and what its test events say of it."""

import math
import warnings
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import nn
from tqdm.auto import tqdm

from ..files import ForeshapError, sha256
from ..preprocessing.tensor_file import read_events
from ..preprocessing.variants import Variant
from .model import Scaling, SpectrogramCNN, load_checkpoint, margin, min_max, write_checkpoint
from .splits import Split


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    learning_rate: float, of Adam, where it is largest: it rises for the first quarter and then falls to
        zero (one cycle; at full rate from the start the wide dense layer's units die)
    batch_size: int, events
    max_epochs: int
    patience: int, epochs without a lower validation loss after which training stops
    dropout: float
    seed: int, of the weights, the order of the events and dropout
    """

    learning_rate: float = 1e-3
    batch_size: int = 32
    max_epochs: int = 12
    patience: int = 5
    dropout: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and what its test events say of it.

    model: SpectrogramCNN of the epoch with the lowest validation loss, in evaluation mode
    variant, scaling, split, config: what it was trained with
    history: DataFrame, one row an epoch: train_loss, validation_loss, validation_accuracy
    metrics: dict, accuracy, precision, recall, f1 and roc_auc of the test events
    intervals: dict, the same names -> (low, high), bootstrap 95 %
    predictions: DataFrame, one row a test event: row, trace_name, label, margin, predicted, correct
    tensor_file: dict, name and sha256 of the tensor file
    beside: dict, name of another split -> its metrics and intervals, kept on the card
    """

    model: SpectrogramCNN
    variant: Variant
    scaling: Scaling
    split: Split
    config: TrainingConfig
    history: pd.DataFrame
    metrics: dict
    intervals: dict
    predictions: pd.DataFrame
    tensor_file: dict
    beside: dict = field(default_factory=dict)


def train(spectrograms, split, config=TrainingConfig()):
    """Fit a network to the training events, keep its best epoch, test it.

    Deterministic on a CPU for a seed and a number of threads. Tensors are read batch by batch.

    spectrograms: Spectrograms
    split: Split, rows of spectrograms
    config: TrainingConfig

    returns: TrainingResult
    raises: ForeshapError where a side has events of one class only
    """
    _check_sides(spectrograms.labels, split)
    scaling = fit_scaling(spectrograms.values, split.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = SpectrogramCNN(spectrograms.variant.shape, dropout=config.dropout)
        model = model.to(memory_format=torch.channels_last)
        history = _fit(model, spectrograms, split, scaling, config)
    predictions = predict(model, scaling, spectrograms, split.test)
    metrics, intervals = evaluate(predictions["label"], predictions["margin"], config.seed)
    source = {"name": spectrograms.path.name, "sha256": sha256(spectrograms.path)}
    return TrainingResult(
        model.eval(),
        spectrograms.variant,
        scaling,
        split,
        config,
        history,
        metrics,
        intervals,
        predictions,
        source,
    )


def _check_sides(labels, split):
    for side in ("train", "validation", "test"):
        rows = getattr(split, side)
        if len(rows) == 0 or len(np.unique(labels[rows])) < 2:
            raise ForeshapError(
                f"The {side} side of the split '{split.name}' needs events of both classes, it has {len(rows)} events."
            )


def fit_scaling(values, rows):
    """Mean and standard deviation of each channel over the training events.

    values: h5py.Dataset or array (N, 3, F, T)
    rows: int array, the training events

    returns: Scaling
    """
    sums = np.zeros((2, 3))
    for row in rows:
        scaled = min_max(values[row : row + 1]).astype(np.float64)[0]
        sums += scaled.mean(axis=(1, 2)), (scaled**2).mean(axis=(1, 2))
    mean, square = sums / len(rows)
    return Scaling(tuple(mean.tolist()), tuple(np.sqrt(square - mean**2).tolist()))


def _fit(model, spectrograms, split, scaling, config):
    """Train until the validation loss no longer falls; leaves the best epoch's weights in the model."""
    labels = spectrograms.labels
    loss_function = nn.CrossEntropyLoss(class_weights(labels[split.train]))
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate)
    steps = config.max_epochs * math.ceil(len(split.train) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step / steps))
    rng = np.random.default_rng(config.seed)
    epochs, best = [], (np.inf, -1, None)
    progress = tqdm(
        range(config.max_epochs), desc=f"{spectrograms.variant.name}, {split.name}", unit="epoch"
    )
    for epoch in progress:
        train_loss = train_epoch(
            model,
            loss_function,
            optimiser,
            schedule,
            event_batches(spectrograms, split.train, scaling, config, rng),
        )
        loss, accuracy = _validate(
            model, loss_function, event_batches(spectrograms, split.validation, scaling, config)
        )
        epochs.append(
            {"train_loss": train_loss, "validation_loss": loss, "validation_accuracy": accuracy}
        )
        progress.set_postfix(validation_accuracy=f"{accuracy:.2f}")
        if loss < best[0]:
            best = (
                loss,
                epoch,
                {name: tensor.clone() for name, tensor in model.state_dict().items()},
            )
        if epoch - best[1] >= config.patience:
            break
    progress.close()
    model.load_state_dict(best[2])
    return pd.DataFrame(epochs).rename_axis("epoch")


def one_cycle(done):
    """Share of the learning rate when a share of all steps is done: up for a quarter, down by a cosine."""
    return 4 * done + 0.01 if done < 0.25 else (1 + math.cos(math.pi * (done - 0.25) / 0.75)) / 2


def class_weights(labels):
    """Weights that make both classes count alike, float tensor (2,)."""
    counts = np.bincount(labels, minlength=2)
    return torch.tensor(len(labels) / (2 * counts), dtype=torch.float32)


def event_batches(spectrograms, rows, scaling, config, rng=None):
    """Scaled inputs and labels of some events, a batch at a time, in random order where a generator is given."""
    rows = rows if rng is None else rng.permutation(rows)
    for first in range(0, len(rows), config.batch_size):
        batch = rows[first : first + config.batch_size]
        x = scaling(read_events(spectrograms.values, batch)).contiguous(
            memory_format=torch.channels_last
        )
        yield x, torch.from_numpy(spectrograms.labels[batch].astype(np.int64))


def train_epoch(model, loss_function, optimiser, schedule, batches):
    """One pass over the training events; returns the mean loss of its batches."""
    model.train()
    losses = []
    for x, y in batches:
        optimiser.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _validate(model, loss_function, batches):
    """Loss and accuracy of the validation events."""
    model.eval()
    with torch.no_grad():
        logits, labels = (torch.cat(part) for part in zip(*((model(x), y) for x, y in batches)))
    return loss_function(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def predict(model, scaling, spectrograms, rows, batch_size=32):
    """Outputs of a network for some events.

    model: SpectrogramCNN
    scaling: Scaling
    spectrograms: Spectrograms
    rows: int array

    returns: DataFrame, one row an event: row, trace_name, label, margin, predicted, correct
    """
    model.eval()
    parts = np.split(rows, range(batch_size, len(rows), batch_size))
    with torch.no_grad():
        margins = [
            margin(model(scaling(read_events(spectrograms.values, part)))).numpy() for part in parts
        ]
    frame = pd.DataFrame(
        {"row": rows, "trace_name": spectrograms.table["trace_name"].iloc[rows].to_numpy()}
    )
    frame = frame.assign(label=spectrograms.labels[rows], margin=np.concatenate(margins))
    return frame.assign(
        predicted=(frame["margin"] > 0).astype("i1"),
        correct=(frame["margin"] > 0) == frame["label"],
    )


def evaluate(labels, margins, seed, resamples=1000):
    """Scores of a binary classifier with bootstrap 95 % intervals over events; aftershock is positive.

    labels: array (N,), 0 or 1
    margins: array (N,), positive leans to aftershock
    seed: int
    resamples: int

    returns: two dicts with the keys accuracy, precision, recall, f1, roc_auc: values, (low, high)
    """
    labels, margins = np.asarray(labels).astype(bool), np.asarray(margins)
    draws = np.random.default_rng(seed).integers(len(labels), size=(resamples, len(labels)))
    value = _scores(labels[None], margins[None])
    spread = _scores(labels[draws], margins[draws])
    with warnings.catch_warnings(
        action="ignore"
    ):  # a score may be undefined in every resample: NaN
        bounds = {name: np.nanpercentile(v, (2.5, 97.5)) for name, v in spread.items()}
    return {name: float(v[0]) for name, v in value.items()}, {
        n: tuple(b.tolist()) for n, b in bounds.items()
    }


def _scores(labels, margins):
    """Scores of each row of (resamples, N) arrays; NaN where a score is not defined."""
    predicted = margins > 0
    hits, found, real = (
        (a & b).sum(1) for a, b in ((predicted, labels), (predicted, predicted), (labels, labels))
    )
    negatives = labels.shape[1] - real
    ranks = (rankdata(margins, axis=1) * labels).sum(1)
    with np.errstate(invalid="ignore"):
        return {
            "accuracy": (predicted == labels).mean(1),
            "precision": hits / found,
            "recall": hits / real,
            "f1": 2 * hits / (found + real),
            "roc_auc": (ranks - real * (real + 1) / 2) / (real * negatives),  # Mann-Whitney U
        }


def trained(spectrograms, path, split, config=TrainingConfig()):
    """A checkpoint from its file where it was trained on these tensors, or trained now and saved there.

    spectrograms: Spectrograms
    path: str or Path, ending in .pt
    split: Split, used where it is trained now
    config: TrainingConfig, alike

    returns: Checkpoint
    raises: ForeshapError as train() and load_checkpoint() do
    """
    if Path(path).exists():
        kept = load_checkpoint(path)
        if kept.card["tensor_file"]["sha256"] == sha256(spectrograms.path):
            return kept
    save_checkpoint(train(spectrograms, split, config), path)
    return load_checkpoint(path)


def save_checkpoint(result, path):
    """Write a trained network and its card.

    result: TrainingResult
    path: str or Path, ending in .pt; the card gets the same name with .json
    """
    names = result.predictions["trace_name"].tolist()
    card = {
        "variant": asdict(result.variant),
        "scaling": asdict(result.scaling),
        "config": asdict(result.config),
        "tensor_file": result.tensor_file,
        "split": {"name": result.split.name}
        | {s: getattr(result.split, s).tolist() for s in ("train", "validation", "test")},
        "test_events": names,
        "metrics": result.metrics,
        "intervals_95": result.intervals,
        "beside": result.beside,
        "epochs": len(result.history),
        "versions": {name: version(name) for name in ("foreshap", "torch", "numpy")},
    }
    write_checkpoint(path, result.model, result.variant, result.scaling, card)
