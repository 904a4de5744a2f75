"""Published spectrograms, without seismograms, as a tensor file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import ForeshapError, first_line, sha256, written_whole
from ..preprocessing.tensor_file import (
    append_events,
    attach_axes,
    create_tensor_file,
    write_columns,
)
from ..preprocessing.variants import SECONDS_BEFORE_P, Variant

BATCH = 16  # events written together


def import_spectrograms(path, output, **attributes):
    """Turn published spectrograms into a tensor file: aligned on P at 5 s, each event scaled to 0..255.

    path: str or Path, an .npz with spectrogram uint8 (N, 3, F, T), label (N,), source_id (N,), frequency (F,) [Hz] and
        time (T,) [s after the start of the trace, centres of frames]
    output: str or Path, folder for <variant name>.h5; the variant follows from the axes
    attributes: str, of the file: citation, doi...

    returns: Path of the tensor file
    raises: ForeshapError where the file is damaged or its arrays don't fit together
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: file[name]
                for name in ("spectrogram", "label", "source_id", "frequency", "time")
            }
        variant = _variant_of(arrays["frequency"], arrays["time"])
        n, shape, labels = (
            len(arrays["label"]),
            arrays["spectrogram"].shape,
            np.unique(arrays["label"]).tolist(),
        )
    except Exception as error:  # zipfile, numpy and zlib raise a dozen kinds for damaged files
        raise ForeshapError(
            f"{path} holds no published spectrograms ({first_line(error)}): download it again."
        ) from error
    if shape != (n, *variant.shape) or not set(labels) <= {0, 1} or len(arrays["source_id"]) != n:
        raise ForeshapError(
            f"{path} holds spectrograms of shape {shape} for {n} labels {labels}, its axes ask for "
            f"{(n, *variant.shape)} and labels 0 and 1: download it again."
        )
    names = [f"{source}_EV" for source in arrays["source_id"]]
    table = pd.DataFrame({"trace_name": names, "source_id": arrays["source_id"].astype(str)})
    table = table.assign(label=arrays["label"].astype("i1"))
    target = Path(output) / f"{variant.name}.h5"
    with written_whole(target) as partial, create_tensor_file(partial, variant) as file:
        for first in range(0, n, BATCH):
            append_events(
                file["spectrogram"], arrays["spectrogram"][first : first + BATCH].astype(np.float32)
            )
        file["spectrogram"].attrs["units"] = "1"
        write_columns(file, table)
        attach_axes(file["spectrogram"])
        file.attrs["scaled"] = (
            "log10 of the power, each event to 0..255 over its components together"
        )
        file.attrs["source_sha256"] = json.dumps({Path(path).name: sha256(path)})
        file.attrs.update({"history": "foreshap.import_spectrograms"} | attributes)
    return target


def _variant_of(frequency, time):
    """The variant that has these axes, P at 5 s of the trace."""
    rate, hop = 2 * frequency[-1], time[1] - time[0]
    nperseg = round(rate / frequency[1])
    seconds = nperseg / rate + (len(time) - 1) * hop
    before, overlap = SECONDS_BEFORE_P, nperseg - round(hop * rate)
    variant = Variant(
        f"P{nperseg}-{seconds:.0f}s",
        "P",
        before,
        round(seconds) - before,
        nperseg,
        overlap,
        float(rate),
    )
    np.testing.assert_allclose(variant.times + before, time, atol=1e-6, err_msg="uneven times")
    return variant
