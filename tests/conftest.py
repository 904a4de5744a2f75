"""What several tests share: real data beside the clone, and a miniature of the demo sequence."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import foreshap

SHARED = Path(__file__).parents[2] / "shared" / "data"
LONG = ("test_notebooks", "test_browser", "test_verdict", "test_shap_store", "test_attacks")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores


def pytest_collection_modifyitems(items):
    """Long files first, so that no worker is left with one at the end."""
    order = {f"{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def iquique():
    return _real("iquique")


@pytest.fixture(scope="session")
def nrca():
    return _real("nrca")


def _real(name):
    if not (SHARED / name).exists():
        pytest.skip(f"no real data: {name} is not in the folder shared/data beside this clone")
    return SHARED / name


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("a disk of 3 MiB can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """80 simulated events with the default effect, and their tensors."""
    folder = tmp_path_factory.mktemp("demo")
    waveforms = foreshap.simulate_sequence(folder / "waveforms", 80, seed=3)
    foreshap.preprocess(waveforms, folder)
    foreshap.preprocess(waveforms / "truth", folder / "truth")
    return SimpleNamespace(folder=folder, waveforms=waveforms)


@pytest.fixture(scope="session")
def trained(demo):
    """A P64 network after two epochs on the miniature, and its checkpoint."""
    spectrograms = foreshap.load_spectrograms(demo.folder / "P64.h5")
    split = foreshap.random_split(spectrograms.table, 0)
    result = foreshap.train(spectrograms, split, foreshap.TrainingConfig(max_epochs=2))
    foreshap.save_checkpoint(result, demo.folder / "P64.pt")
    return SimpleNamespace(spectrograms=spectrograms, result=result, path=demo.folder / "P64.pt")
