"""The datasets that data/datasets.toml declares, and the folder of each in the waveform layout."""

import json
import re
import tomllib
from datetime import date
from itertools import product
from pathlib import Path

import msgspec
import pandas as pd

from ..files import ForeshapError, check_machine, folder_replaced_whole, remove_left
from ..preprocessing.cross_spectra.file import FILE_NAME as CROSS_SPECTRA
from ..preprocessing.periods import classes, periods, utc
from ..preprocessing.simulation import MAINSHOCK, simulate_sequence
from ..preprocessing.variants import SIDES, VARIANTS
from ..preprocessing.waveforms import event_times, read_table, stations, waveform_file
from .continuous import from_continuous
from .downloads import PLAIN
from .fdsn import FdsnQuery, fetch_fdsn, public
from .norcia_archives import from_frames, from_nine_stations, from_nrca_archive
from .published_spectrograms import import_spectrograms
from .seisbench import from_seisbench

SPANS = ("mainshock", "start", "end", "left_out")  # of periods.periods()
PATHS = ("waveforms", "archive", "picks", "inventory")  # relative to the folder of datasets.toml
ABOUT = ("citation", "doi", "licence", "note")  # nothing that is built depends on them
RECIPE_FILE = "recipe.json"
BESIDE = ("truth", "noise")  # folders that a source writes within its own; also of their tensors


class Declaration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What any dataset may declare."""

    citation: str | None = None
    doi: str | None = None
    licence: str | None = None
    note: str | None = None


class Simulated(Declaration, kw_only=True):
    n_events: int | None = None
    seed: int | None = None
    effects: dict | None = None


class Layout(Declaration, kw_only=True):
    mainshock: pd.Timestamp
    waveforms: str


class Spectrograms(Declaration, kw_only=True):
    mainshock: pd.Timestamp
    file: str


class Study(Declaration, kw_only=True):
    """A source whose events are foreshocks or aftershocks by their times."""

    mainshock: pd.Timestamp
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    left_out: tuple[pd.Timestamp, pd.Timestamp] | None = None


class Archive(Study, kw_only=True):
    archive: str


class NineStations(Archive, kw_only=True):
    component_order: str | None = None
    stations: list[str] | None = None


class SeisBench(Archive, kw_only=True):
    stations: list[str] | None = None
    instrument: str | None = None


class Continuous(Study, kw_only=True):
    waveforms: str
    picks: str
    instrument: str | None = None
    inventory: str | None = None
    predict: str | dict | None = None


class Fdsn(Study, kw_only=True):
    network: str
    station: str
    start: pd.Timestamp
    end: pd.Timestamp
    provider: str | None = None
    catalogue: str | None = None
    radius_km: float | None = None
    min_magnitude: float | None = None
    channels: str | None = None
    remove_response: bool | None = None
    predict: str | dict | None = None


SOURCES = {
    "simulated": Simulated,
    "layout": Layout,
    "nrca archive": Archive,
    "nine stations": NineStations,
    "frames": Archive,
    "seisbench": SeisBench,
    "continuous": Continuous,
    "fdsn": Fdsn,
    "spectrograms": Spectrograms,
}


def datasets(data="data"):
    """Read the datasets that a folder declares.

    data: str or Path, folder of datasets.toml

    returns: dict, name -> dict as declared
    raises: ForeshapError where the file is missing or no TOML
    """
    path = Path(data) / "datasets.toml"
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
        for name, declared in found.items():
            if not isinstance(declared, dict):
                raise ValueError(f"{name} is no dataset")
            if not re.fullmatch(PLAIN, name):
                raise ValueError(f"{name!r} can name no folder: use letters, digits, _ and -")
    except (OSError, ValueError, RecursionError) as error:
        check_machine(path, error)
        raise ForeshapError(f"{path} can't be read ({error}): it declares the datasets.") from error
    return found


def _read_declaration(name, data):
    """Return the source of a dataset, str, and its checked Declaration."""
    known, path = datasets(data), Path(data) / "datasets.toml"
    if name not in known:
        raise ForeshapError(f"There is no dataset {name}: {path} declares {', '.join(known)}.")
    table = known[name]
    source = table.pop("source", None)
    if not isinstance(source, str) or source not in SOURCES:
        raise ForeshapError(
            f"Dataset {name} in {path} has the source {source}: choose from {', '.join(SOURCES)}."
        )
    try:
        return source, msgspec.convert(table, SOURCES[source], dec_hook=_read_time)
    except msgspec.ValidationError as error:
        fields = SOURCES[source].__struct_fields__
        brings = "" if "start" in fields else "brings its classes with it and "
        raise ForeshapError(
            f"Dataset {name} in {path}: {str(error).replace(' | null', '')}; "
            f"the source {source} {brings}takes {', '.join(fields)}: correct it there."
        ) from error


def _read_time(kind, value):
    """Return a declared time as Timestamp [UTC], for msgspec."""
    if not isinstance(value, str | date):
        raise ValueError(f"{value!r} is no time: give it like 2016-10-30T06:40:17")
    try:
        return utc(value)
    except ForeshapError as error:
        raise ValueError(str(error).rstrip(".")) from error


def _fields(declared, *names):
    """Return what a Declaration holds of some fields, of all when left out, dict."""
    values = msgspec.structs.asdict(declared)
    names = names or values
    return {name: values[name] for name in names if values.get(name) is not None}


def _spans(declared):
    """Return the Periods of a Declaration."""
    return periods(**{"mainshock": MAINSHOCK} | _fields(declared, *SPANS))


def mainshock_time(name, data="data"):
    """Read the time of a dataset's mainshock.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: pandas.Timestamp [UTC]
    raises: ForeshapError for an unknown dataset
    """
    return _spans(_read_declaration(name, data)[1]).mainshock


def waveform_folder(name, data="data", **simulation):
    """Find the folder of a dataset in the waveform layout; build it when it isn't there yet.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml; what is built goes to <data>/<name>/waveforms
    simulation: n_events, seed, effects of simulate_sequence, instead of those declared; other
        datasets pass over them

    returns: Path
    raises: ForeshapError for an unknown dataset, or where its files are missing
    """
    source, declared = _read_declaration(name, data)
    data = Path(data)
    if source == "spectrograms":
        raise ForeshapError(
            f"Dataset {name} holds no seismograms: begin with explainability/controls.ipynb."
        )
    if source == "layout":
        return _check_layout(name, data / declared.waveforms, _spans(declared))
    if source == "simulated":
        declared = msgspec.structs.replace(declared, **simulation)
    folder = data / name / "waveforms"
    remove_left(folder)
    recipe = {k: v for k, v in _fields(declared).items() if k not in ABOUT}
    for key in recipe.keys() & {"provider", "catalogue"}:
        recipe[key] = public(recipe[key])  # without a password
    paths = {key: data / path for key, path in _fields(declared, *PATHS).items()}
    kept = {}
    try:
        kept = dict(json.loads((folder / RECIPE_FILE).read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        check_machine(folder / RECIPE_FILE, error)
    if paths:
        recipe["inputs"] = dict(kept.get("inputs", {}))  # what is gone is as it was
        for key, path in paths.items():
            state = _file_state(path)
            if state:
                recipe["inputs"][key] = state
    text = json.dumps(recipe, default=str, indent=1, sort_keys=True)
    if json.loads(text) == kept:
        return folder
    if folder.exists() and not (folder / RECIPE_FILE).exists():
        raise ForeshapError(
            f"{folder} was not built from datasets.toml: move it away, then run again."
        )
    with folder_replaced_whole(folder) as aside:
        _build(source, declared, paths, data / name / "fdsn", aside)
        (aside / RECIPE_FILE).write_text(text)
        made = (*(f"{variant}.h5" for variant in VARIANTS), CROSS_SPECTRA)
        for beside, made_file in product(BESIDE, made):  # of the folder before
            (folder.parent / beside / made_file).unlink(missing_ok=True)
    return folder


def _build(source, declared, paths, store, output):
    """Write a dataset's folder in the waveform layout from what it declares."""
    options = {k: v for k, v in _fields(declared).items() if k not in (*SPANS, *ABOUT)} | paths
    spans = _spans(declared)
    if source == "simulated":
        simulate_sequence(output, **options)
    elif source == "continuous":
        waveforms, picks = options.pop("waveforms"), options.pop("picks")
        from_continuous(waveforms, picks, output, spans, **options)
    elif source == "fdsn":
        fields = _fields(declared, *FdsnQuery.__dataclass_fields__)
        fetch_fdsn(store, FdsnQuery(**{"left_out": None} | fields))
        options = {"predict": declared.predict}
        if declared.remove_response:
            options["inventory"] = store / "station.xml"
        from_continuous(store / "waveforms", store / "picks.xml", output, spans, **options)
    else:
        readers = {
            "nrca archive": from_nrca_archive,
            "nine stations": from_nine_stations,
            "frames": from_frames,
            "seisbench": from_seisbench,
        }
        readers[source](options.pop("archive"), output, spans, **options)


def _file_state(path):
    """Return number of files at a path, bytes, newest modification [ns]; None without files."""
    files = [path, *path.rglob("*")]
    found = [file.stat() for file in files if file.is_file()]
    if not found:
        return None
    newest = max(state.st_mtime_ns for state in found)
    return [len(found), sum(state.st_size for state in found), newest]


def _check_layout(name, folder, spans):
    """Return a folder that is in the waveform layout already and agrees with the mainshock."""
    try:
        found = stations(folder)
    except ForeshapError as error:
        raise ForeshapError(
            f"Dataset {name} is not complete: put <STATION>_pre.hdf5, <STATION>_post.hdf5 and "
            "their <STATION>_pre_attributes.csv, <STATION>_post_attributes.csv "
            f"into {folder} ({error})."
        ) from error
    for station, (label, period) in product(found, enumerate(SIDES)):
        table = read_table(folder, station, period)
        times = event_times(table)
        wrong = times.notna() & (classes(times, spans)[0] != label)
        if wrong.any():
            raise ForeshapError(
                f"{table['trace_name'][wrong].iloc[0]} in {waveform_file(folder, station, period)} "
                f"has its P at {times[wrong].iloc[0]}, the mainshock of dataset {name} is at "
                f"{spans.mainshock}: correct the latter, or put the trace into the other file."
            )
    return folder


def tensor_files(name, data="data"):
    """Find the tensor files of a dataset; published spectrograms are imported when needed.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: dict, variant name -> Path
    raises: ForeshapError for an unknown dataset, or where nothing is preprocessed yet
    """
    source, declared = _read_declaration(name, data)
    folder = Path(data) / name
    if source == "spectrograms" and not list(folder.glob("*.h5")):
        about = _fields(declared, *ABOUT)
        import_spectrograms(Path(data) / declared.file, folder, dataset=name, **about)
    paths = [path for path in sorted(folder.glob("*.h5")) if path.name != CROSS_SPECTRA]
    files = {path.stem: path for path in paths}
    if not files:
        raise ForeshapError(
            f"{folder} holds no tensor file: run preprocessing/preprocess.ipynb on {name} first."
        )
    return files
