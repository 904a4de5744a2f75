"""Training throughput, read from disk batch by batch, against a bare loop over tensors in memory.

    python benchmarks/training.py

Both fit the same network with the same optimiser, in the same arithmetic, on the same events, in
turn, in this run.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import foreshap
from foreshap.preprocessing.tensor_file import read_events
from foreshap.training.fitting import event_batches, logits_in_training, train_epoch
from foreshap.training.model import Scaling

EVENTS, SCALING = 320, Scaling((0.5,) * 3, (0.2,) * 3)


def parts(spectrograms):
    """A fresh network, loss and optimiser."""
    torch.manual_seed(0)
    model = foreshap.SpectrogramCNN(spectrograms.variant.shape).to(
        memory_format=torch.channels_last
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    return (
        model,
        nn.CrossEntropyLoss(),
        optimiser,
        torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0),
    )


def bare(model, loss_function, optimiser, batches, bfloat16):
    """Forward, backward, step, and nothing else."""
    model.train()
    for x, y in batches:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, bfloat16):
            logits = logits_in_training(model, x)
        loss_function(logits.float(), y).backward()
        optimiser.step()


def main():
    config, rows = foreshap.TrainingConfig(), np.arange(EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        foreshap.preprocess(
            foreshap.simulate_sequence(Path(folder) / "waveforms", EVENTS, 0), folder
        )
        for name in ("P64", "P32"):
            s = foreshap.load_spectrograms(Path(folder) / f"{name}.h5")
            x = SCALING(read_events(s.values, rows)).contiguous(memory_format=torch.channels_last)
            labels = torch.tensor(s.labels, dtype=torch.long)
            memory = list(zip(x.split(config.batch_size), labels.split(config.batch_size)))
            ratios = []
            for _ in range(6):  # the first warms up
                start = time.perf_counter()
                bare(*parts(s)[:3], memory, config.bfloat16)
                middle = time.perf_counter()
                order = np.random.default_rng(0).permutation(rows)
                batches = event_batches(s, order, SCALING, config)
                train_epoch(*parts(s), batches, config.bfloat16)
                ratios.append((middle - start) / (time.perf_counter() - middle))
            median = statistics.median(ratios[1:])
            print(f"{name}: throughput {median:.2f} of the bare loop (asked: 0.9)", end=" ")
            print(np.round(ratios, 2))


if __name__ == "__main__":
    main()
