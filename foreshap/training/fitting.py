"""Fit one CNN and test it."""

import math
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from tqdm import tqdm

from ..files import ForeshapError, find_result, whole_number
from ..parallel import call_side_by_side, has_bfloat16
from ..preprocessing.tensor_file import read_events
from ..preprocessing.variants import Variant
from .model import Scaling, SpectrogramCNN, load_checkpoint, margin, min_max, write_checkpoint
from .scores import evaluate
from .splits import Split


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained."""

    learning_rate: float = 1e-3  # of Adam at its largest, see one_cycle()
    batch_size: int = 32  # events
    max_epochs: int = 12
    patience: int = 5  # epochs without a lower validation loss after which training stops
    dropout: float = 0.5  # rounded down to 256ths
    seed: int = 0  # of the weights, the order of the events and dropout
    bfloat16: bool = has_bfloat16()  # products in training; all that is kept is float32


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and its scores on the test events."""

    model: SpectrogramCNN  # of the epoch with the lowest validation loss, in evaluation mode
    variant: Variant
    scaling: Scaling
    split: Split
    key: dict  # what all depends on: tensor_file, split and config, as on the card
    history: pd.DataFrame  # a row an epoch: train_loss, validation_loss, validation_accuracy
    metrics: dict  # accuracy, precision, recall, f1 and roc_auc of the test events
    intervals: dict  # the same names -> (low, high), 95 %, see evaluate()
    predictions: pd.DataFrame  # a test event a row: row, trace_name, label, margin, predicted...
    beside: dict = field(default_factory=dict)  # other splits' metrics and intervals, by name


def train(spectrograms, split, config=TrainingConfig()):
    """Fit a network to the training events, keep its best epoch, test it.

    Deterministic on a CPU for a seed and a number of threads. Tensors are read batch by batch.

    spectrograms, split, config: Spectrograms, Split of their rows, TrainingConfig

    returns: TrainingResult
    raises: ForeshapError where a side has events of one class only, for a config that can't be,
        where the loss is never finite, or the file was changed
    """
    for name, least in {"max_epochs": 1, "batch_size": 1, "patience": 0, "seed": 0}.items():
        whole_number(name, getattr(config, name), least)
    if not 0 < config.learning_rate < np.inf or not 0 <= config.dropout < 1:
        raise ForeshapError(
            f"A learning rate of {config.learning_rate} with a dropout of {config.dropout} can't "
            "be: give a rate above 0, such as 0.001, and a dropout from 0 to below 1."
        )
    for side, rows in split.rows().items():
        if len(np.unique(spectrograms.labels[rows])) < 2:
            raise ForeshapError(
                f"The {side} side of the split '{split.name}' needs events of both classes, "
                f"it has {len(rows)} events."
            )
    key = _key(spectrograms, split, config)
    scaling = fit_scaling(spectrograms.values, split.train)
    if not np.isfinite([scaling.mean, scaling.std]).all():
        raise ForeshapError(
            f"{spectrograms.path} holds training events with values that are not finite: "
            "leave them out of the split, or make the file again."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = SpectrogramCNN(spectrograms.variant.shape, dropout=config.dropout)
        model = model.to(memory_format=torch.channels_last)
        history = _fit(model, spectrograms, split, scaling, config)
    predictions = _predict(model, spectrograms, split.test, scaling, config)
    metrics, intervals = evaluate(predictions["label"], predictions["margin"])
    if _key(spectrograms, split, config) != key:
        raise ForeshapError(f"{spectrograms.path} was changed while it was read: train again.")
    trained = (model, spectrograms.variant, scaling, split, key, history)
    return TrainingResult(*trained, metrics, intervals, predictions)


def _fit(model, spectrograms, split, scaling, config):
    """Train until the validation loss no longer falls, then go back to the best epoch."""
    labels = spectrograms.labels[split.train]
    weights = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    loss_function = nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float32))
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate, fused=True)
    steps = config.max_epochs * math.ceil(len(split.train) / config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step / steps))
    rng = np.random.default_rng(config.seed)
    history = []
    best_loss, best_epoch, best_weights = np.inf, 0, None
    title, bfloat16 = f"{spectrograms.variant.name}, {split.name}", config.bfloat16
    for epoch in tqdm(range(config.max_epochs), desc=title, unit="epoch"):
        batches = event_batches(spectrograms, rng.permutation(split.train), scaling, config)
        train_loss = train_epoch(model, loss_function, optimiser, schedule, batches, bfloat16)
        logits, labels = _logits(model, spectrograms, split.validation, scaling, config)
        loss = loss_function(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        history.append((train_loss, loss, accuracy))
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            best_weights = deepcopy(model.state_dict())
        if epoch - best_epoch >= config.patience:
            break
    if best_weights is None:
        raise ForeshapError(
            "The validation loss is not finite after any epoch: lower the learning rate of "
            f"{config.learning_rate:g}, and look for such values in {spectrograms.path}."
        )
    model.load_state_dict(best_weights)
    columns = ["train_loss", "validation_loss", "validation_accuracy"]
    return pd.DataFrame(history, columns=columns).rename_axis("epoch")


def train_epoch(model, loss_function, optimiser, schedule, batches, bfloat16=False):
    """Train on each batch once and return their mean loss."""
    model.train()
    losses = []
    for x, labels in batches:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, bfloat16):
            logits = logits_in_training(model, x)
        loss = loss_function(logits.float(), labels)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def logits_in_training(model, x):
    """Compute model(x) sooner: each maximum before its ReLU, and dropout by bytes, not floats."""
    layers = [*model.features, *model.classifier]
    for k in range(len(layers) - 1):
        if isinstance(layers[k + 1], nn.MaxPool2d):
            layers[k : k + 2] = layers[k + 1], layers[k]
    for layer in layers:
        if isinstance(layer, nn.Dropout):
            numbers = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
            left_out = int(256 * layer.p)
            kept = numbers.view(torch.uint8)[: x.numel()].view(x.shape) >= left_out
            x = x * kept * (256 / (256 - left_out))
        else:
            x = layer(x)
    return x


def _logits(model, spectrograms, rows, scaling, config):
    """Logits (n, 2) and labels (n,) of some events, without training."""
    model.eval()
    logits, labels = [], []
    with torch.no_grad():
        for x, known in event_batches(spectrograms, rows, scaling, config):
            logits.append(model(x))
            labels.append(known)
    return torch.cat(logits), torch.cat(labels)


def _predict(model, spectrograms, rows, scaling, config):
    """Margin and predicted class of some events, DataFrame as in TrainingResult."""
    logits, _ = _logits(model, spectrograms, rows, scaling, config)
    names = spectrograms.table["trace_name"].to_numpy()[rows]
    table = pd.DataFrame({"row": rows, "trace_name": names, "label": spectrograms.labels[rows]})
    table["margin"] = margin(logits).numpy()
    table["predicted"] = (table["margin"] > 0).astype("i1")
    table["correct"] = table["predicted"] == table["label"]
    return table


def event_batches(spectrograms, rows, scaling, config):
    """Read and scale events a batch at a time; yields inputs (n, 3, F, T) and labels (n,)."""
    for first in range(0, len(rows), config.batch_size):
        batch = rows[first : first + config.batch_size]
        x = scaling(read_events(spectrograms.values, batch))
        labels = torch.from_numpy(spectrograms.labels[batch].astype(np.int64))
        yield x.contiguous(memory_format=torch.channels_last), labels


class EventDataset(torch.utils.data.Dataset):
    """Events as a torch Dataset of (input (3, F, T), label), for a DataLoader of one's own.

    spectrograms, rows, scaling: Spectrograms; int array, events; Scaling of a checkpoint
    """

    def __init__(self, spectrograms, rows, scaling):
        self.spectrograms, self.rows, self.scaling = spectrograms, rows, scaling

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        row = self.rows[place]
        x = self.scaling(self.spectrograms.values[row : row + 1])[0]
        return x, int(self.spectrograms.labels[row])


def fit_scaling(values, rows):
    """Compute the Scaling of training events: rows of values (N, 3, F, T), read one by one."""
    total, squares = np.zeros(3), np.zeros(3)
    for row in rows:
        event = min_max(values[row : row + 1])[0].astype(np.float64)
        total += event.mean(axis=(1, 2))
        squares += (event**2).mean(axis=(1, 2))
    mean = total / len(rows)
    std = np.sqrt(squares / len(rows) - mean**2)
    return Scaling(tuple(mean.tolist()), tuple(std.tolist()))


def one_cycle(done):
    """Share of the learning rate when a share of all steps is done: up for a quarter, then down.

    At full rate from the start the units of the wide dense layer die.
    """
    if done < 0.25:
        return 4 * done + 0.01
    return (1 + math.cos(math.pi * (done - 0.25) / 0.75)) / 2


def kept_training(spectrograms, path, split, config=TrainingConfig()):
    """Return the training of these tensors, split and configuration; train and save it if absent.

    spectrograms, split, config: as in train(); path: str or Path of its checkpoint, ending in .pt
    returns: TrainingResult
    raises: ForeshapError as train() does
    """
    return kept_trainings([(spectrograms, path, split, config)])[0]


def kept_trainings(jobs):
    """Return kept_training() of each job; absent ones are trained and kept side by side.

    jobs: list of tuples, the arguments of kept_training()
    returns: list of TrainingResult
    raises: ForeshapError as train() does, or where two have one path; MachineError where a process
        was killed
    """
    paths = [Path(path).resolve() for _, path, *_ in jobs]
    if len(set(paths)) < len(paths):
        raise ForeshapError("Two of the trainings have one path: give each a path of its own.")
    results = [_find_training(*job) for job in jobs]
    absent = [job for job, result in zip(jobs, results) if result is None]
    call_side_by_side(_keep_training, absent, "trainings")
    return [result or _find_training(*job) for job, result in zip(jobs, results)]


def _keep_training(spectrograms, path, split, config):
    save_checkpoint(train(spectrograms, split, config), path)


def _find_training(spectrograms, path, split, config):
    """Read the TrainingResult that a checkpoint holds; None where it is another or not there."""
    key = _key(spectrograms, split, config)

    def read(path):
        kept = load_checkpoint(path)
        card = kept.card
        found = {name: card[name] for name in key}
        if found != key:
            return found, None
        predictions = _predict(kept.model, spectrograms, split.test, kept.scaling, config)
        history = pd.DataFrame(card["history"]).rename_axis("epoch")
        intervals = {name: tuple(interval) for name, interval in card["intervals_95"].items()}
        trained = (kept.model, kept.variant, kept.scaling, split, key, history)
        scores = (card["metrics"], intervals, predictions, card["beside"])
        return found, TrainingResult(*trained, *scores)

    return find_result(path, key, read)


def save_checkpoint(result, path):
    """Write a trained network and its card.

    result, path: TrainingResult; str or Path, ending in .pt: the card's ends in .json
    """
    card = result.key | {
        "variant": asdict(result.variant),
        "scaling": asdict(result.scaling),
        "test_events": result.predictions["trace_name"].tolist(),
        "metrics": result.metrics,
        "intervals_95": result.intervals,
        "beside": result.beside,
        "epochs": len(result.history),
        "history": result.history.to_dict("list"),
        "versions": {name: version(name) for name in ("foreshap", "torch", "numpy")},
    }
    write_checkpoint(path, result.model, result.variant, result.scaling, card)


def _key(spectrograms, split, config):
    """Everything a network depends on, as its card says it."""
    rows = {side: rows.tolist() for side, rows in split.rows().items()}
    tensor_file = {"name": spectrograms.path.name, "sha256": spectrograms.sha256}
    return {
        "tensor_file": tensor_file,
        "split": {"name": split.name} | rows,
        "config": asdict(config),
    }
