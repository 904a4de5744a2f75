"""The CNN, the scaling of its input, and the checkpoint that holds both."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
from torch import nn

from .. import files
from ..preprocessing.tensor_file import read_events
from ..preprocessing.variants import Variant


class SpectrogramCNN(nn.Module):
    """Three 3x3 convolutions and two dense layers: log-spectrograms to one logit a class.

    Every module is used once, nothing works in place, activations are modules and pooling windows
    don't overlap: DeepLIFT-style attribution is exact only then.

    shape: (channel, frequency, time) of one input
    n_outputs, widths, hidden: int, logits; channels of the convolutions; units of the dense layer
    dropout: float, share of units left out in training
    """

    def __init__(self, shape, n_outputs=2, widths=(32, 64, 128), hidden=128, dropout=0.5):
        super().__init__()
        channels, frequencies, times = shape
        layers = []
        for width in widths:
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers[:-1])  # no pooling after the last convolution
        halvings = 2 ** (len(widths) - 1)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * (frequencies // halvings) * (times // halvings), hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_outputs),
        )

    def forward(self, x):
        """Logits (N, n_outputs) of inputs (N, channel, frequency, time)."""
        return self.classifier(self.features(x))


def margin(logits):
    """Logit(aftershock) - logit(foreshock), the explained output, tensor (N,) of logits (N, 2)."""
    return logits[:, 1] - logits[:, 0]


@dataclass(frozen=True)
class Scaling:
    """Input scaling: each event to 0..1 over its components, then each channel standardised."""

    mean: tuple[float, float, float]  # of the training events after the first step
    std: tuple[float, float, float]

    def __call__(self, values):
        """Scale log-spectrograms (N, 3, F, T) to a float32 tensor of that shape."""
        mean = np.asarray(self.mean, dtype=np.float32)[:, None, None]
        std = np.asarray(self.std, dtype=np.float32)[:, None, None]
        return torch.from_numpy((min_max(values) - mean) / std)


def min_max(values):
    """Scale each event of (N, 3, F, T) to 0..1 over its components together, float32 array."""
    values = np.asarray(values, dtype=np.float32)
    low = values.min(axis=(1, 2, 3), keepdims=True)
    high = values.max(axis=(1, 2, 3), keepdims=True)
    return (values - low) / np.maximum(high - low, np.float32(1e-6))


Rows = list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]]


class CardSplit(msgspec.Struct):
    """Which events a network was trained and tested on, as its card says it."""

    name: str
    train: Rows
    validation: Rows
    test: Rows


class Card(msgspec.Struct):
    """What a card holds at least."""

    tensor_file: dict[str, str]
    split: CardSplit
    config: dict[str, float | bool | None]
    test_events: list[str]
    metrics: dict[str, float | None]
    intervals_95: dict[str, tuple[float | None, float | None]]

    def __post_init__(self):
        if not {"name", "sha256"} <= self.tensor_file.keys():
            raise ValueError("its card names no tensor file")
        if len(self.test_events) != len(self.split.test):
            raise ValueError("its card has other test events than rows of them")


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and everything needed to use it."""

    path: Path
    model: SpectrogramCNN  # in evaluation mode
    variant: Variant
    scaling: Scaling
    card: dict  # the .json beside it: configuration, split, metrics, hashes, versions

    def check(self, spectrograms):
        """Raise ForeshapError unless this network is of the variant and rows of Spectrograms."""
        split = self.card["split"]
        last = max(split["train"] + split["validation"] + split["test"], default=0)
        if self.variant != spectrograms.variant or last >= len(spectrograms.labels):
            raise files.ForeshapError(
                f"{self.path} was trained on event {last + 1} of a file of {self.variant}, but "
                f"{spectrograms.path} holds {len(spectrograms.labels)} events of "
                f"{spectrograms.variant}: load the tensors that it was trained on."
            )

    def outputs(self, values):
        """Margins (N,), float32, of log-spectrograms (N, 3, F, T)."""
        with torch.no_grad():
            return margin(self.model(self.scaling(values))).numpy()

    def margins(self, spectrograms, rows):
        """Margins (len(rows),) of some events of Spectrograms, read a few at a time."""
        margins = np.zeros(len(rows))
        for first in range(0, len(rows), 32):
            some = slice(first, first + 32)
            margins[some] = self.outputs(read_events(spectrograms.values, rows[some]))
        return margins


def write_checkpoint(path, model, variant, scaling, card):
    """Write a network (weights, plain numbers and text only), and its card as .json beside it."""
    path = Path(path)
    content = {
        "state_dict": {name: w.contiguous().clone() for name, w in model.state_dict().items()},
        "variant": asdict(variant),
        "scaling": asdict(scaling),
        "card": json.dumps(card),
    }
    with files.folder_written_whole(path.parent) as new:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        (new / path.name).write_bytes(buffer.getvalue())
        (new / path.name).with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def load_checkpoint(path):
    """Open a checkpoint without running any code from it.

    path: str or Path, ending in .pt

    returns: Checkpoint, its model in evaluation mode
    raises: ForeshapError where the file is missing, damaged or no checkpoint of this package
    """
    path = Path(path)
    files.finish_moves(path.parent)
    try:
        stored = path.read_bytes()
        files.check_zip(io.BytesIO(stored), len(stored))
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        variant = Variant(**content["variant"])
        scaling = msgspec.convert(content["scaling"], Scaling)
        if not np.isfinite([scaling.mean, scaling.std]).all() or min(scaling.std) <= 0:
            raise ValueError(f"its scaling is {scaling}")
        model = _model(variant, content["state_dict"])
        card = json.loads(content["card"])
        msgspec.convert(card, Card)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        files.check_machine(path, error)
        raise files.ForeshapError(
            f"{path} is no checkpoint that foreshap can open ({files.first_line(error)}): "
            "train the model again."
        ) from error
    card["sha256"] = hashlib.sha256(stored).hexdigest()
    return Checkpoint(path, model.eval(), variant, scaling, card)


def _model(variant, state):
    """Make the network of a variant that has these weights; an error where it can't be."""
    lengths = [len(w) for name, w in state.items() if name.endswith("weight") and w.ndim > 1]
    *widths, hidden, n_outputs = lengths
    with torch.device("meta"):  # nothing is allocated
        model = SpectrogramCNN(variant.shape, n_outputs, tuple(widths), hidden)
    for name, wanted in model.state_dict().items():
        if state[name].dtype != wanted.dtype or not state[name].is_contiguous():
            raise ValueError(f"its {name} is not stored as numbers of a network")
    model.load_state_dict(state, assign=True)  # RuntimeError where names or shapes differ
    return model
