"""A network trains on the published spectrograms of IV.NRCA (real, already normalised, no dates)."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

import foreshap


def test_a_network_learns_real_spectrograms(nrca, tmp_path):
    with np.load(nrca / "nrca_spectrograms.npz", allow_pickle=False) as file:
        values, labels = file["spectrogram"].astype(np.float32), file["label"].astype(np.int8)
    (tmp_path / "nrca").write_bytes(b"stands for a tensor file")
    start = pd.Timestamp("2016-09-01") + pd.to_timedelta(np.arange(400), unit="h")  # no dates: any that don't overlap
    table = pd.DataFrame(
        {"trace_name": np.arange(400).astype(str), "trace_start_time": start.astype(str), "label": labels}
    )
    variant = replace(foreshap.VARIANTS["P64"], name="NRCA", seconds_after=8.0, noverlap=51)
    assert variant.shape == values.shape[1:]
    spectrograms = SimpleNamespace(path=tmp_path / "nrca", variant=variant, values=values, labels=labels, table=table)
    result = foreshap.train(spectrograms, foreshap.random_split(table, 0), foreshap.TrainingConfig(max_epochs=4))
    assert result.metrics["accuracy"] >= 0.9  # these 400 were all classified correctly by the published network
    assert len(result.predictions) == 80
