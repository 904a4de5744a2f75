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
ARCHIVES = {
    "nrca archive": from_nrca_archive,
    "nine stations": from_nine_stations,
    "frames": from_frames,
    "seisbench": from_seisbench,
}
STUDY = "start end left_out"
FDSN = "provider catalogue radius_km min_magnitude channels"  # of FdsnQuery
SOURCES = {  # source: what it needs; what it may have besides ABOUT
    "simulated": ("", "n_events seed effects"),
    "layout": ("mainshock waveforms", ""),
    "spectrograms": ("mainshock file", ""),
    "nrca archive": ("mainshock archive", STUDY),
    "nine stations": ("mainshock archive", f"{STUDY} component_order stations"),
    "frames": ("mainshock archive", STUDY),
    "seisbench": ("mainshock archive", f"{STUDY} stations instrument"),
    "continuous": ("mainshock waveforms picks", f"{STUDY} instrument inventory predict"),
    "fdsn": ("mainshock start end network station", f"left_out predict remove_response {FDSN}"),
}
TYPES = {  # str where nothing is said
    "n_events": int,
    "seed": int,
    "effects": dict,
    "stations": list[str],
    "radius_km": float,
    "min_magnitude": float,
    "remove_response": bool,
    "predict": str | dict,
    "left_out": tuple[pd.Timestamp, pd.Timestamp],
} | dict.fromkeys(("mainshock", "start", "end"), pd.Timestamp)


def datasets(data="data"):
    """Read the datasets that a folder declares.

    data: str or Path, folder of datasets.toml

    returns: dict, name -> dict as declared
    raises: ForeshapError where the file is missing or no TOML
    """
    path = Path(data) / "datasets.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
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
    """Return the source of a dataset, str, and what it declares, checked, dict."""
    known, path = datasets(data), Path(data) / "datasets.toml"
    if name not in known:
        raise ForeshapError(f"There is no dataset {name}: {path} declares {', '.join(known)}.")
    source = known[name].pop("source", None)
    if not isinstance(source, str) or source not in SOURCES:
        raise ForeshapError(
            f"Dataset {name} in {path} has the source {source}: choose from {', '.join(SOURCES)}."
        )
    needed, further = (names.split() for names in SOURCES[source])
    fields = [(field, TYPES.get(field, str)) for field in needed]
    for field in (*further, *ABOUT):
        fields.append((field, TYPES.get(field, str) | None, None))
    declaration = msgspec.defstruct("Declaration", fields, forbid_unknown_fields=True)
    try:
        declared = msgspec.convert(known[name], declaration, dec_hook=_read_time)
    except msgspec.ValidationError as error:
        brings = "" if "start" in needed + further else "brings its classes with it and "
        raise ForeshapError(
            f"Dataset {name} in {path}: {str(error).replace(' | null', '')}; the source {source} "
            f"{brings}takes {', '.join((*needed, *further, *ABOUT))}: correct it there."
        ) from error
    values = msgspec.structs.asdict(declared)
    return source, {field: value for field, value in values.items() if value is not None}


def _read_time(kind, value):
    """Return a declared time as Timestamp [UTC], for msgspec."""
    if not isinstance(value, str | date):
        raise ValueError(f"{value!r} is no time: give it like 2016-10-30T06:40:17")
    try:
        return utc(value)
    except ForeshapError as error:
        raise ValueError(str(error).rstrip(".")) from error


def _part(declared, names):
    """Return what a declaration holds of some fields, dict."""
    return {name: declared[name] for name in names if name in declared}


def _spans(declared):
    """Return the Periods of a declaration."""
    return periods(**{"mainshock": MAINSHOCK} | _part(declared, SPANS))


def mainshock_time(name, data="data"):
    """Read the time of a dataset's mainshock.

    name, data: as waveform_folder() takes them

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
    (source, declared), data = _read_declaration(name, data), Path(data)
    if source == "spectrograms":
        raise ForeshapError(
            f"Dataset {name} holds no seismograms: begin with explainability/controls.ipynb."
        )
    if source == "layout":
        return _check_layout(name, data / declared["waveforms"], _spans(declared))
    if source == "simulated":
        declared |= simulation
    folder = data / name / "waveforms"
    remove_left(folder)
    paths = {key: data / path for key, path in _part(declared, PATHS).items()}
    recipe = _recipe(declared, paths)
    if _is_built(folder / RECIPE_FILE, recipe):
        return folder
    if folder.exists() and not (folder / RECIPE_FILE).exists():
        raise ForeshapError(
            f"{folder} was not built from datasets.toml: move it away, then run again."
        )
    with folder_replaced_whole(folder) as aside:
        _build(source, declared | paths, data / name / "fdsn", aside)
        (aside / RECIPE_FILE).write_text(json.dumps(recipe, indent=1, sort_keys=True))
        for beside, file in product(BESIDE, (*VARIANTS, CROSS_SPECTRA)):  # of the folder before
            (folder.parent / beside / file).with_suffix(".h5").unlink(missing_ok=True)
    return folder


def _recipe(declared, paths):
    """Return everything that a folder depends on, as JSON holds it, without passwords."""
    recipe = _part(declared, declared.keys() - {*ABOUT})
    for key in recipe.keys() & {"provider", "catalogue"}:
        recipe[key] = public(recipe[key])
    recipe["inputs"] = {}
    for key, path in paths.items():  # number of files, bytes, newest modification [ns]
        states = [file.stat() for file in (path, *path.rglob("*")) if file.is_file()]
        if states:
            newest = max(state.st_mtime_ns for state in states)
            recipe["inputs"][key] = [len(states), sum(state.st_size for state in states), newest]
    return json.loads(json.dumps(recipe, default=str))


def _is_built(path, recipe):
    """Whether a recipe that was kept is this one; inputs that are gone are as they were."""
    try:
        kept = json.loads(path.read_text())
        kept["inputs"] = _part(kept["inputs"], recipe["inputs"])
        return kept == recipe
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        check_machine(path, error)
        return False


def _build(source, declared, store, output):
    """Write a dataset's folder in the waveform layout from what it declares."""
    options = _part(declared, declared.keys() - {*SPANS, *ABOUT})
    spans = _spans(declared)
    if source == "simulated":
        simulate_sequence(output, **options)
    elif source == "continuous":
        from_continuous(options.pop("waveforms"), options.pop("picks"), output, spans, **options)
    elif source == "fdsn":
        fields = {"left_out": None} | _part(declared, FdsnQuery.__dataclass_fields__)
        fetch_fdsn(store, FdsnQuery(**fields))
        options = _part(declared, ["predict"])
        if declared.get("remove_response"):
            options["inventory"] = store / "station.xml"
        from_continuous(store / "waveforms", store / "picks.xml", output, spans, **options)
    else:
        ARCHIVES[source](options.pop("archive"), output, spans, **options)


def _check_layout(name, folder, spans):
    """Return a folder that is in the waveform layout already and agrees with the mainshock."""
    try:
        found = stations(folder)
    except ForeshapError as error:
        raise ForeshapError(f"Dataset {name} is not complete: {error}") from error
    for station, (label, side) in product(found, enumerate(SIDES)):
        table = read_table(folder, station, side)
        times = event_times(table)
        wrong = times.notna() & (classes(times, spans)[0] != label)
        if wrong.any():
            raise ForeshapError(
                f"{table['trace_name'][wrong].iloc[0]} in {waveform_file(folder, station, side)} "
                f"has its P at {times[wrong].iloc[0]}, the mainshock of dataset {name} is at "
                f"{spans.mainshock}: correct the latter, or put the trace into the other file."
            )
    return folder


def tensor_files(name, data="data"):
    """Find the tensor files of a dataset; published spectrograms are imported when needed.

    name, data: as waveform_folder() takes them

    returns: dict, variant name -> Path
    raises: ForeshapError for an unknown dataset, or where nothing is preprocessed yet
    """
    source, declared = _read_declaration(name, data)
    folder = Path(data) / name
    if source == "spectrograms" and not list(folder.glob("*.h5")):
        about = _part(declared, ABOUT)
        import_spectrograms(Path(data) / declared["file"], folder, dataset=name, **about)
    paths = [path for path in sorted(folder.glob("*.h5")) if path.name != CROSS_SPECTRA]
    if not paths:
        raise ForeshapError(
            f"{folder} holds no tensor file: run preprocessing/preprocess.ipynb on {name} first."
        )
    return {path.stem: path for path in paths}
