"""A small seeded run of every stage, and what it gave before the package was last reordered.

python tests/reference_run.py    write the values of the code as it is to tests/reference/
"""

import hashlib
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch

import foreshap

FOLDER = Path(__file__).parent / "reference"
EVENTS = 160
SAMPLE = 997  # every so many-th value is kept to compare on other processors


def small_run(folder):
    """Simulate, preprocess, train, explain and judge 160 events.

    folder: Path, empty

    returns: dict, name -> array
    """
    waveforms = foreshap.simulate_sequence(folder / "waveforms", EVENTS, 3)
    foreshap.preprocess(waveforms, folder / "tensors")
    found = {}
    for name in foreshap.VARIANTS:
        found[f"tensors {name}"] = foreshap.load_spectrograms(folder / f"tensors/{name}.h5").values[
            :
        ]
    for name in ("P64", "S32"):
        spectrograms = foreshap.load_spectrograms(folder / f"tensors/{name}.h5")
        split = foreshap.random_split(spectrograms.table, 0)
        config = foreshap.TrainingConfig(max_epochs=1, bfloat16=False)  # on any processor
        result = foreshap.train(spectrograms, split, config)
        path = folder / f"{name}.pt"
        foreshap.save_checkpoint(result, path)
        checkpoint = foreshap.load_checkpoint(path)
        found[f"outputs {name}"] = checkpoint.outputs(spectrograms.values[:])
        x = checkpoint.scaling(spectrograms.values[:12])
        found[f"shap {name}"] = foreshap.shap_tensors(checkpoint.model, x[:3], x[3:]).values
    controls = foreshap.run_controls(foreshap.load_spectrograms(folder / "tensors/P64.h5"))
    found["controls"] = controls.table[["measured", "low", "high"]].to_numpy(float)
    text = json.dumps(
        [controls.table["control"].tolist(), controls.verdict, sorted(controls.skipped)]
    )
    found["verdict"] = np.frombuffer(text.encode(), np.uint8)
    return found


def processor():
    """Name what decides the rounding: processor as torch sees it, and libraries' versions."""
    parts = (
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        torch.__version__,
        np.__version__,
    )
    return " ".join(parts)


def digest(array):
    """Hash of an array's bytes, str."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = small_run(Path(folder))
    digests = {"processor": processor()} | {name: digest(array) for name, array in found.items()}
    (FOLDER / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
    thinned = {}
    for name, array in found.items():
        step = 1 if array.size < 10_000 else SAMPLE
        thinned[name] = array.ravel()[::step]
    np.savez_compressed(FOLDER / "values.npz", **thinned)


if __name__ == "__main__":
    main()
