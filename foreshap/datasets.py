"""The datasets that data/datasets.toml declares, and the folder of each in the waveform layout."""

import json
import tomllib
from pathlib import Path

from .demo import MAINSHOCK, simulate_sequence
from .files import ForeshapError, folder_replaced_whole
from .periods import periods
from .sources import from_continuous
from .spectrograms import import_spectrograms
from .waveforms import PERIODS, stations

SOURCES = {  # what a dataset's declaration must hold
    "simulated": (),
    "continuous": ("waveforms", "picks", "mainshock"),
    "layout": ("waveforms", "mainshock"),
    "spectrograms": ("file", "mainshock"),
}
SPANS = ("mainshock", "start", "end", "left_out")  # of periods.periods(); all but the first may be left out
RECIPE_FILE = "recipe.json"


def datasets(data="data"):
    """The datasets that a folder declares.

    data: str or Path, folder of datasets.toml

    returns: dict, name -> dict as declared
    raises: ForeshapError where the file is missing or no TOML
    """
    path = Path(data) / "datasets.toml"
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
        if others := [name for name, declared in found.items() if not isinstance(declared, dict)]:
            raise ValueError(f"{others[0]} is no dataset")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise ForeshapError(f"{path} can't be read ({error}): it declares the datasets.") from error


def _declared(name, data):
    """One dataset's declaration, complete."""
    known, path = datasets(data), Path(data) / "datasets.toml"
    if name not in known:
        raise ForeshapError(f"There is no dataset {name}: {path} declares {', '.join(known)}.")
    source = known[name].get("source")
    if source not in SOURCES:
        raise ForeshapError(f"Dataset {name} in {path} has the source {source}: choose from {', '.join(SOURCES)}.")
    if missing := set(SOURCES[source]) - set(known[name]):
        raise ForeshapError(f"Dataset {name} in {path} lacks {', '.join(sorted(missing))}: write it there.")
    return known[name]


def mainshock_time(name, data="data"):
    """Time of a dataset's mainshock.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: pandas.Timestamp [UTC]
    raises: ForeshapError for an unknown dataset
    """
    declared = _declared(name, data)
    return _spans({"mainshock": MAINSHOCK} if declared["source"] == "simulated" else declared).mainshock


def _spans(declared):
    """The Periods of a declaration."""
    return periods(**{name: declared[name] for name in SPANS if name in declared})


def waveform_folder(name, data="data", **simulation):
    """Folder of a dataset in the waveform layout, built when it isn't there yet.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml; what is built goes to <data>/<name>/waveforms
    simulation: n_events, seed, effects of simulate_sequence, instead of those declared; other datasets
        pass over them

    returns: Path
    raises: ForeshapError for an unknown dataset, or where its files are missing
    """
    declared, data = _declared(name, data), Path(data)
    folder = data / name / "waveforms"
    if declared["source"] == "simulated":
        recipe = {key: declared[key] for key in ("n_events", "seed", "effects") if key in declared} | simulation
        return _built(folder, recipe, lambda output: simulate_sequence(output, **recipe))
    if declared["source"] == "spectrograms":
        raise ForeshapError(f"Dataset {name} holds no seismograms: begin with explainability/controls.ipynb.")
    source = data / declared["waveforms"]
    if declared["source"] == "continuous":
        build = lambda output: from_continuous(source, data / declared["picks"], output, _spans(declared))
        recipe = {key: declared[key] for key in (*SOURCES["continuous"], *SPANS) if key in declared}
        return _built(folder, recipe, build)
    try:
        stations(source)
    except ForeshapError as error:
        files = " and ".join(f"<STATION>_{period}.hdf5 with <STATION>_{period}_attributes.csv" for period in PERIODS)
        raise ForeshapError(f"Dataset {name} is not complete: put {files} into {source} ({error})") from error
    return source


def tensor_files(name, data="data"):
    """Tensor files of a dataset, by variant; published spectrograms are imported when they aren't there yet.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: dict, variant name -> Path
    raises: ForeshapError for an unknown dataset, or where nothing is preprocessed yet
    """
    declared, folder = _declared(name, data), Path(data) / name
    if declared["source"] == "spectrograms" and not list(folder.glob("*.h5")):
        about = {key: str(declared[key]) for key in ("citation", "doi", "licence", "note") if key in declared}
        import_spectrograms(Path(data) / declared["file"], folder, dataset=name, **about)
    files = {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not files:
        raise ForeshapError(f"{folder} holds no tensor file: run preprocessing/preprocess.ipynb on {name} first.")
    return files


def _built(folder, recipe, build):
    """The folder, built aside and renamed when whole, unless it was built by the same recipe before."""
    text = json.dumps(recipe, default=str, indent=1, sort_keys=True)
    mark = folder / RECIPE_FILE
    if mark.exists() and mark.read_text() == text:
        return folder
    if folder.exists() and not mark.exists():
        raise ForeshapError(f"{folder} was not built from datasets.toml: move it away, then run again.")
    with folder_replaced_whole(folder) as aside:
        build(aside)
        (aside / RECIPE_FILE).write_text(text)
    return folder
