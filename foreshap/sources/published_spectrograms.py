"""Published spectrograms, without seismograms, as a tensor file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import ForeshapError, check_machine, check_zip, first_line, sha256, written_whole
from ..preprocessing.tensor_file import append_events, complete, create_tensor_file
from ..preprocessing.variants import SECONDS_BEFORE_P, Variant

TOGETHER = 16  # events written at a time
LARGEST = 2**30  # bytes that the arrays may have together
NAMES = "spectrogram", "label", "source_id", "frequency", "time"


def import_spectrograms(path, output, **attributes):
    """Write published spectrograms as a tensor file: P at 5 s, each event scaled to 0..255.

    path: str or Path, an .npz with spectrogram uint8 (N, 3, F, T), label (N,), source_id (N,),
        frequency (F,) [Hz] and time (T,) [s after the start of the trace, centres of frames]
    output: str or Path, folder for <variant name>.h5; the variant follows from the axes
    attributes: str, of the file: citation, doi...

    returns: Path of the tensor file
    raises: ForeshapError where the file is damaged or its arrays don't fit together
    """
    try:
        check_zip(path, LARGEST)
        with np.load(path, allow_pickle=False) as file:
            values, label, source_id, *axes = [file[name] for name in NAMES]
        variant = _variant_of(*axes)
        sources = source_id.astype(str)
        if values.dtype != np.uint8 or any("\0" in source for source in sources):
            raise ValueError("spectrogram is not uint8, or a source_id holds a zero byte")
        "".join(sources).encode()
        labels = np.unique(label).tolist()
        expected = len(label), *variant.shape
    except Exception as error:  # zipfile, numpy and zlib raise a dozen kinds for damaged files
        check_machine(path, error)
        raise ForeshapError(
            f"{path} holds no published spectrograms ({first_line(error)}): download it again."
        ) from error
    if values.shape != expected or len(source_id) != len(label) or not set(labels) <= {0, 1}:
        raise ForeshapError(
            f"{path} holds spectrograms of shape {values.shape} with labels {labels}, its axes ask "
            f"for {expected} and labels 0 and 1: download it again."
        )
    names = [f"{source}_EV" for source in sources]
    table = pd.DataFrame({"trace_name": names, "source_id": sources, "label": label.astype("i1")})
    about = {
        "scaled": "log10 of the power, each event to 0..255 over its components together",
        "source_sha256": json.dumps({Path(path).name: sha256(path)}),
        "history": "foreshap.import_spectrograms",
    }
    target = Path(output) / f"{variant.name}.h5"
    with written_whole(target) as partial, create_tensor_file(partial, variant) as file:
        tensors = file["spectrogram"]
        for first in range(0, len(label), TOGETHER):
            append_events(tensors, values[first : first + TOGETHER].astype(np.float32))
        tensors.attrs["units"] = "1"
        complete(file, table, about | attributes)
    return target


def _variant_of(frequency, time):
    """Return the variant that has these axes, P at 5 s of the trace."""
    rate, hop = 2 * frequency[-1], time[1] - time[0]
    nperseg = round(rate / frequency[1])
    seconds = round(nperseg / rate + (len(time) - 1) * hop)
    before, overlap = SECONDS_BEFORE_P, nperseg - round(hop * rate)
    name = f"P{nperseg}-{seconds}s"
    variant = Variant(name, "P", before, seconds - before, nperseg, overlap, float(rate))
    np.testing.assert_allclose(variant.times + before, time, atol=1e-6, err_msg="uneven times")
    return variant
