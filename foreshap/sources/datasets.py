"""The datasets that data/datasets.toml declares, and the folder of each in the waveform layout."""

import json
import os
import tomllib
from contextlib import suppress
from datetime import date, datetime
from itertools import product
from pathlib import Path

from ..files import ForeshapError, folder_replaced_whole, remove_left
from ..preprocessing.periods import classes, periods
from ..preprocessing.simulation import MAINSHOCK, simulate_sequence
from ..preprocessing.variants import PERIODS, VARIANTS
from ..preprocessing.waveforms import event_times, read_table, stations, waveform_file
from .continuous import from_continuous
from .fdsn import FdsnQuery, fetch_fdsn
from .norcia_archives import from_frames, from_nine_stations, from_nrca_archive
from .published_spectrograms import import_spectrograms
from .seisbench import from_seisbench

SPANS = ("start", "end", "left_out")  # of periods.periods(), beside the mainshock
SOURCES = {  # what a dataset's declaration must hold, and what it may hold besides ABOUT: parameters of the source
    "simulated": ((), ("n_events", "seed", "effects")),
    "layout": (("waveforms", "mainshock"), ()),
    "nrca archive": (("archive", "mainshock"), SPANS),
    "nine stations": (("archive", "mainshock"), ("component_order", "stations", *SPANS)),
    "frames": (("archive", "mainshock"), SPANS),
    "seisbench": (("archive", "mainshock"), ("stations", "instrument", *SPANS)),
    "continuous": (
        ("waveforms", "picks", "mainshock"),
        ("instrument", "inventory", "predict", *SPANS),
    ),
    "fdsn": (
        ("network", "station", "mainshock", "start", "end"),
        (
            "provider",
            "catalogue",
            "radius_km",
            "min_magnitude",
            "channels",
            "remove_response",
            "predict",
            "left_out",
        ),
    ),
    "spectrograms": (("file", "mainshock"), ()),
}
ARCHIVES = {"nrca archive": from_nrca_archive, "nine stations": from_nine_stations, "frames": from_frames,
            "seisbench": from_seisbench}  # fmt: skip
PATHS = ("waveforms", "archive", "picks", "inventory")  # relative to the folder of datasets.toml
ABOUT = ("citation", "doi", "licence", "note")  # what any declaration may hold
KINDS = {  # of the values in datasets.toml, and in words; the others are texts
    **dict.fromkeys(("mainshock", "start", "end"), ((datetime, date, str), "a time")),
    **dict.fromkeys(("radius_km", "min_magnitude"), ((float, int), "a number")),
    **dict.fromkeys(("n_events", "seed"), ((int,), "a whole number")),
    "remove_response": ((bool,), "true or false"),
    "left_out": ((list,), "a pair of times"),
    "stations": ((list,), "a list of codes"),
    "effects": ((dict,), "a table"),
    "predict": ((str, dict), "a text or a table"),
}
RECIPE_FILE = "recipe.json"
BESIDE = (
    "truth",
    "noise",
)  # folders that a source may write within its own; their tensors have these names, too


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
    if source not in list(SOURCES):  # which may be anything
        raise ForeshapError(
            f"Dataset {name} in {path} has the source {source}: choose from {', '.join(SOURCES)}."
        )
    if missing := set(SOURCES[source][0]) - set(known[name]):
        raise ForeshapError(
            f"Dataset {name} in {path} lacks {', '.join(sorted(missing))}: write it there."
        )
    _check_values(known[name], f"Dataset {name} in {path}")
    return known[name]


def _check_values(declared, where):
    """Raise ForeshapError for a key that the source doesn't know, or a value of another kind than it takes."""
    known = ("source", *sum(SOURCES[declared["source"]], ()), *ABOUT)
    for key, value in declared.items():
        if key not in known:
            why = ", which brings its classes with it" if key in SPANS else ""
            raise ForeshapError(
                f"{where} has {key}, unknown to the source {declared['source']}{why}: choose from {', '.join(known)}."
            )
        kinds, words = KINDS.get(key, ((str,), "a text"))
        if type(value) not in kinds:
            raise ForeshapError(f"{where} has {key} = {value!r}: write {words}.")


def mainshock_time(name, data="data"):
    """Time of a dataset's mainshock.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: pandas.Timestamp [UTC]
    raises: ForeshapError for an unknown dataset
    """
    declared = _declared(name, data)
    return _spans(
        {"mainshock": MAINSHOCK} if declared["source"] == "simulated" else declared
    ).mainshock


def _spans(declared):
    """The Periods of a declaration."""
    return periods(**{name: declared[name] for name in ("mainshock", *SPANS) if name in declared})


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
    source, folder = declared["source"], data / name / "waveforms"
    if source == "spectrograms":
        raise ForeshapError(
            f"Dataset {name} holds no seismograms: begin with explainability/controls.ipynb."
        )
    if source == "layout":
        return _checked_layout(name, data / declared["waveforms"], _spans(declared))
    recipe = {key: declared[key] for key in sum(SOURCES[source], ()) if key in declared}
    if source == "simulated":
        recipe |= simulation
        return _built(folder, recipe, lambda output: simulate_sequence(output, **recipe))
    options = {key: value for key, value in recipe.items() if key not in ("mainshock", *SPANS)}
    options |= (paths := {key: data / recipe[key] for key in PATHS if key in recipe})
    if source == "fdsn":
        asked = {key: recipe[key] for key in recipe if key in FdsnQuery.__dataclass_fields__}
        query = FdsnQuery(**{"left_out": None} | asked)
        build = lambda output: _from_services(data / name / "fdsn", query, output, options)
    elif source == "continuous":
        where = options.pop("waveforms"), options.pop("picks")
        build = lambda output: from_continuous(*where, output, _spans(declared), **options)
    else:
        archive = options.pop("archive")
        build = lambda output: ARCHIVES[source](archive, output, _spans(declared), **options)
    return _built(folder, recipe, build, paths)


def _from_services(store, query, output, options):
    """Fetch what is missing from FDSN web services, and cut it."""
    fetch_fdsn(store, query)
    inventory = store / "station.xml" if options.get("remove_response") else None
    from_continuous(
        store / "waveforms", store / "picks.xml", output, query.periods, inventory=inventory,
        predict=options.get("predict"),
    )  # fmt: skip


def _checked_layout(name, folder, spans):
    """A folder that is in the waveform layout already, and agrees with the mainshock."""
    try:
        found = stations(folder)
    except ForeshapError as error:
        files = " and ".join(
            f"<STATION>_{period}.hdf5 with <STATION>_{period}_attributes.csv" for period in PERIODS
        )
        raise ForeshapError(
            f"Dataset {name} is not complete: put {files} into {folder} ({error})"
        ) from error
    for station, (label, period) in product(found, enumerate(PERIODS)):
        table = read_table(folder, station, period)
        times = event_times(table)
        if (wrong := times.notna() & (classes(times, spans)[0] != label)).any():
            raise ForeshapError(
                f"{table['trace_name'][wrong].iloc[0]} in {waveform_file(folder, station, period)} has its P at "
                f"{times[wrong].iloc[0]}, the mainshock of dataset {name} is at {spans.mainshock}: correct the latter, "
                "or put the trace into the other file."
            )
    return folder


def tensor_files(name, data="data"):
    """Tensor files of a dataset, by variant; published spectrograms are imported when they aren't there yet.

    name: str, as declared in datasets.toml
    data: str or Path, folder of datasets.toml

    returns: dict, variant name -> Path
    raises: ForeshapError for an unknown dataset, or where nothing is preprocessed yet
    """
    declared, folder = _declared(name, data), Path(data) / name
    if declared["source"] == "spectrograms" and not list(folder.glob("*.h5")):
        about = {key: declared[key] for key in ABOUT if key in declared}
        import_spectrograms(Path(data) / declared["file"], folder, dataset=name, **about)
    files = {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not files:
        raise ForeshapError(
            f"{folder} holds no tensor file: run preprocessing/preprocess.ipynb on {name} first."
        )
    return files


def _built(folder, recipe, build, paths=()):
    """The folder, built aside and renamed when whole, unless it was built by the same recipe from the same files."""
    remove_left(folder)
    mark, kept = folder / RECIPE_FILE, {}
    with suppress(OSError, ValueError):
        kept = json.loads(mark.read_text())
    inputs = {key: state for key in paths if (state := _state(paths[key]))}
    recipe = recipe | (
        {"inputs": kept.get("inputs", {}) | inputs} if paths else {}
    )  # what is gone is as it was
    text = json.dumps(recipe, default=str, indent=1, sort_keys=True)
    if json.loads(text) == kept:
        return folder
    if folder.exists() and not mark.exists():
        raise ForeshapError(
            f"{folder} was not built from datasets.toml: move it away, then run again."
        )
    with folder_replaced_whole(folder) as aside:
        build(aside)
        (aside / RECIPE_FILE).write_text(text)
        for beside, variant in product(BESIDE, VARIANTS):  # made of the folder before
            (folder.parent / beside / f"{variant}.h5").unlink(missing_ok=True)
    return folder


def _state(path):
    """How many files there are at a path, their bytes, and the newest modification [ns]; None where there is none."""
    files = (
        [path]
        if path.is_file()
        else [Path(top, name) for top, _, names in os.walk(path) for name in names]
    )
    found = [file.stat() for file in files if file.exists()]
    return (
        [len(found), sum(s.st_size for s in found), max(s.st_mtime_ns for s in found)]
        if found
        else None
    )
