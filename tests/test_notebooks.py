"""Every notebook runs, each code cell twice in a row with the same result, on the miniature and on real data."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

import foreshap
from run_notebooks import NOTEBOOKS, README_FIGURES, media_name

ROOT = Path(__file__).parents[1]
FEW = {
    "MAX_EPOCHS": 2, "N_EVENTS": 6, "BACKGROUND": 8, "SEEDS": 2, "COMPARED": 2,
    "EVALUATIONS": {"partition": 60, "partition-telea": 60, "tiles": 320},
}  # fmt: skip
DEMO = '[demo]\nsource = "simulated"\nn_events = 90\nseed = 1\neffects = {path = 0.01, missing_component = 0.05}\n'


def read(notebook):
    return nbformat.read(ROOT / notebook, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def run(notebook, twice=False, **parameters):
    """Execute a notebook with other constants in its first cell, each code cell twice in a row if asked."""
    book = read(notebook)
    first = code_cells(book)[0]
    known = {name: value for name, value in parameters.items() if f"{name} = " in first.source}
    first.source += "".join(f"\n{name} = {value!r}" for name, value in known.items())
    if twice:
        copies = [
            [cell, nbformat.from_dict({**cell, "id": f"{cell.id}-again"})] for cell in book.cells
        ]
        book.cells = [cell for pair in copies for cell in pair]
    nbclient.NotebookClient(
        book, timeout=600, resources={"metadata": {"path": ROOT / Path(notebook).parent}}
    ).execute()
    return book


def results(cell):
    """What a cell shows, without progress bars: printed text, tables and pictures."""
    printed = "".join(
        o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout"
    )
    shown = [o.data for o in cell.outputs if "data" in o and "widget" not in str(o.data)]
    return [
        printed,
        *({k: v for k, v in data.items() if k in ("text/plain", "image/png")} for data in shown),
    ]


def check_no_warnings(book):
    for cell in code_cells(book):
        text = " ".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert "Warning" not in text, f"{cell.id}: {text}"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "datasets.toml").write_text(DEMO)
    return {"DATA": str(folder), "CHECKPOINTS": str(folder / "checkpoints")}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_each_cell_run_twice_gives_the_same(notebook, places):
    twice = notebook not in (
        NOTEBOOKS[2],
        NOTEBOOKS[4],
    )  # the code of those is that of the ones before
    book = run(notebook, twice, **places, **FEW)
    check_no_warnings(book)
    cells = code_cells(book)
    for cell, again in zip(cells[::2], cells[1::2]) if twice else ():
        assert results(cell) == results(again), cell.id
    assert any("image/png" in result for cell in cells for result in results(cell))


@pytest.fixture(scope="module")
def real_places(tmp_path_factory, iquique):
    """The project's own declaration of Iquique, with its paths made absolute."""
    folder = tmp_path_factory.mktemp("iquique")
    declared = (ROOT / "data" / "datasets.toml").read_text()
    (folder / "datasets.toml").write_text(
        declared.replace("../../shared/data/iquique", str(iquique))
    )
    return {"DATASET": "iquique", "DATA": str(folder), "CHECKPOINTS": str(folder / "checkpoints")}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_same_notebooks_run_on_real_seismograms(notebook, real_places):
    check_no_warnings(run(notebook, **real_places, **FEW))
    data = Path(real_places["DATA"]) / "iquique"
    for name in foreshap.VARIANTS if notebook == NOTEBOOKS[4] else ():
        tensors, shap = (
            foreshap.load_spectrograms(data / f"{name}.h5"),
            foreshap.load_shap(data / "shap" / f"{name}.h5"),
        )
        assert np.bincount(tensors.labels).tolist() == [40, 334]
        assert shap.values.shape == (6, *foreshap.VARIANTS[name].shape)
        assert shap.table["additivity_error"].max() < 1e-4 and "simulated" not in shap.attributes


def test_controls_of_published_spectrograms_without_dates(nrca, tmp_path):
    declared = (ROOT / "data" / "datasets.toml").read_text()
    (tmp_path / "datasets.toml").write_text(declared.replace("../../shared/data/nrca", str(nrca)))
    book = run(
        NOTEBOOKS[5],
        **FEW,
        DATASET="nrca_published",
        DATA=str(tmp_path),
        CHECKPOINTS=str(tmp_path / "checkpoints"),
    )
    check_no_warnings(book)
    found = json.loads(
        (tmp_path / "nrca_published" / "controls" / "P64-13s" / "verdict.json").read_text()
    )
    measured = {row["control"]: row["measured"] for row in found["rows"]}
    assert found["verdict"] == "station/background" and found["simulated"] == "no"
    assert measured["noise before P"] > 0.95 > measured["minus own noise"] > 0.8
    no_split = {f"5 split: {kind}" for kind in ("clusters", "time blocks", "weeks")}
    no_part = {f"CNN on {part}" for part in ("P to S", "S", "coda", "minus own coda")}
    no_maps = {f"9 maps of P64-13s and {other}" for other in ("P64", "P32", "S64", "S32")}
    assert set(found["skipped"]) == no_split | no_part | no_maps | {
        "1 noise without events",
        "4 matched",
    }
    states = {finding["alternative"]: finding["state"] for finding in found["findings"]}
    assert states["noise"] == "shown" and "response" in found["open"]


def test_controls_of_too_few_events_say_so_and_run_to_the_end(tmp_path):
    (tmp_path / "datasets.toml").write_text(
        '[demo]\nsource = "simulated"\nn_events = 44\nseed = 1\n'
    )
    waveforms = foreshap.waveform_folder("demo", tmp_path)
    foreshap.preprocess(waveforms, tmp_path / "demo", [foreshap.VARIANTS["P64"]])
    check_no_warnings(
        run(NOTEBOOKS[5], **FEW, DATA=str(tmp_path), CHECKPOINTS=str(tmp_path / "checkpoints"))
    )
    found = json.loads((tmp_path / "demo" / "controls" / "P64" / "verdict.json").read_text())
    assert found["verdict"] == "undecided" and "lacks" in found["reasons"][-1]
    assert "22 foreshocks, 22 aftershocks, 30 are needed" in found["skipped"]["1 windows"]


def test_controls_of_one_class_reach_the_page(tmp_path):
    (tmp_path / "datasets.toml").write_text(
        '[demo]\nsource = "simulated"\nn_events = 80\nseed = 1\n'
    )
    waveforms = foreshap.waveform_folder("demo", tmp_path)
    table = waveforms / "DEMO_post_attributes.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    foreshap.preprocess(waveforms, tmp_path / "demo", [foreshap.VARIANTS["P64"]])
    book = run(NOTEBOOKS[5], **FEW, DATA=str(tmp_path), CHECKPOINTS=str(tmp_path / "checkpoints"))
    check_no_warnings(book)
    found = json.loads((tmp_path / "demo" / "controls" / "P64" / "verdict.json").read_text())
    assert (
        found["verdict"] == "undecided"
        and "40 foreshocks, 0 aftershocks" in found["skipped"]["1 windows"]
    )
    assert "image/png" in results(next(cell for cell in book.cells if cell.id == "page"))[1]


def test_preprocessing_needs_three_columns(demo, tmp_path):
    (tmp_path / "own").mkdir()
    for path in demo.waveforms.glob("*.hdf5"):
        shutil.copy(path, tmp_path / "own")
        table = pd.read_csv(path.with_name(f"{path.stem}_attributes.csv"))
        needed = table[["trace_name", "trace_start_time", "p_s_diff_sec"]]
        needed.to_csv(tmp_path / "own" / f"{path.stem}_attributes.csv", index=False)
    declared = '[mine]\nsource = "layout"\nwaveforms = "own"\nmainshock = 2016-10-30T06:40:17Z\n'
    (tmp_path / "datasets.toml").write_text(declared)
    check_no_warnings(run(NOTEBOOKS[0], DATASET="mine", DATA=str(tmp_path)))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_committed_notebooks_are_clean_and_short(notebook):
    text = (ROOT / notebook).read_text()
    book = read(notebook)
    assert book.metadata.kernelspec.name == "python3"
    for cell in code_cells(book):
        assert not cell.outputs and cell.execution_count is None
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 15, cell.id
        assert "def " not in cell.source and "sys.path" not in cell.source
    assert code_cells(book)[0].metadata.tags == ["parameters"] and json.loads(text)["nbformat"] == 4


@pytest.mark.parametrize("pair", [NOTEBOOKS[1:3], NOTEBOOKS[3:5]])
def test_p_and_s_notebooks_differ_in_one_constant(pair):
    p, s = ([cell.source for cell in code_cells(read(name))] for name in pair)
    assert p[0].replace('PHASE = "P"', 'PHASE = "S"') == s[0] and p[1:] == s[1:]


def test_the_first_plot_of_the_readme(tmp_path):
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "data/first/P64.h5").exists() and len(code.splitlines()) <= 5


def test_the_readme_shows_figures_that_are_there():
    readme = (ROOT / "README.md").read_text()
    for dataset, figures in README_FIGURES.items():
        for figure in figures:
            name = f"media/{media_name(dataset, figure)}"
            assert name in readme and (ROOT / name).exists()
