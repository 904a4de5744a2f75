"""Every notebook runs, and each cell rerun from the final state shows the same."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbconvert
import nbformat
import numpy as np
import pandas as pd
import pytest

import foreshap
import run_notebooks
from run_notebooks import MEDIA, NOTEBOOKS

ROOT = Path(__file__).parents[1]
FEW = {"MAX_EPOCHS": 1, "N_EVENTS": 5, "BACKGROUND": 8, "SEEDS": 2, "COMPARED": 2}
FEW["EVALUATIONS"] = {"partition": 60, "partition-telea": 60, "tiles": 320}
OTHER = {"MAX_EPOCHS": 2, "N_EVENTS": 4, "BACKGROUND": 6, "SEEDS": 1, "COMPARED": 1, "SEED": 1}
OTHER |= {"EVALUATIONS": {"partition": 40, "partition-telea": 40, "tiles": 400}, "EVENT": 3}
OTHER |= {"STATION": "DEMO", "VARIANT": "P32"}
NEW = {  # notebook -> cells that show something else with the OTHER constants
    "preprocess": ("event", "spectrograms", "rgb"),
    "p_wave_model_training": ("splits", "scores-table", "misclassified", "retrained"),
    "explainability_p": ("retrained", "background-figure", "shap", "choice", "single", "scores"),
    "controls": ("data", "network", "map", "agreement-figure", "faithful", "page"),
    "explore": ("explore",),
}
DEMO = """[demo]
source = "simulated"
n_events = 80
seed = 1
effects = {path = 0.01, missing_component = 0.05}
"""
RUN = [name for name in NOTEBOOKS if "s_wave" not in name and "_s." not in name]  # S is P's code
FIGURE_NAMES = {"fig", "ax", "axes"}  # every cell with a figure makes its own


def read(notebook):
    return nbformat.read(ROOT / notebook, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def run(notebook, *passes, again=False):
    """Run a notebook with each of several sets of constants, on top of the sets before.

    Cells of all but the last set have its number behind their id, of a rerun from last to first
    "again".
    """
    book = read(notebook)
    cells = code_cells(book)
    book.cells = []
    for number, constants in enumerate(passes, start=1 - len(passes)):
        for cell in cells:
            copy = nbformat.from_dict({**cell, "id": f"{cell.id}{number or ''}"})
            for name, value in constants.items() if cell is cells[0] else ():
                if f"{name} = " in cell.source:
                    copy.source += f"\n{name} = {value!r}"
            book.cells.append(copy)
    for cell in reversed(book.cells[-len(cells) :]) if again else ():
        book.cells.append(nbformat.from_dict({**cell, "id": f"{cell.id}-again"}))
    place = {"metadata": {"path": ROOT / Path(notebook).parent}}
    nbclient.NotebookClient(book, timeout=600, resources=place).execute()
    return book


def results(cell):
    """What a cell shows, without progress bars: printed text first, then tables and pictures."""
    found = [""]
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            found[0] += output.text
        elif "data" in output and "widget" not in str(output.data):
            kinds = output.data.keys() & {"text/plain", "image/png"}
            found.append({kind: output.data[kind] for kind in kinds})
    return found


def check_no_warnings(book):
    for cell in code_cells(book):
        text = " ".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert "Warning" not in text, f"{cell.id}: {text}"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "datasets.toml").write_text(DEMO)
    return {"DATA": str(folder), "CHECKPOINTS": str(folder / "checkpoints")}


@pytest.mark.parametrize("notebook", RUN)
def test_other_constants_and_cells_rerun(notebook, places, tmp_path):
    """Other constants, then these on top; each cell rerun from the final state shows the same."""
    record = tmp_path / "services.csv"
    record.write_text("start,end\n2000-01-01,2030-01-01\n")
    others = places | OTHER | {"STATION_RECORD": str(record)}
    book = run(notebook, others, places | FEW, again=True)
    check_no_warnings(book)
    cells = {cell.id: results(cell) for cell in code_cells(book)}
    for name, shown in cells.items():
        assert shown == cells.get(f"{name}-again", shown), name
    assert any("image/png" in result for shown in cells.values() for result in shown)
    for name in NEW[Path(notebook).stem]:
        assert cells[name] != cells[f"{name}-1"], name


@pytest.fixture(scope="module")
def real_places(tmp_path_factory, iquique):
    """The project's own declaration of Iquique, with its paths made absolute."""
    folder = tmp_path_factory.mktemp("iquique")
    declared = (ROOT / "data" / "datasets.toml").read_text()
    (folder / "datasets.toml").write_text(
        declared.replace("../../shared/data/iquique", str(iquique))
    )
    return {"DATASET": "iquique", "DATA": str(folder), "CHECKPOINTS": str(folder / "checkpoints")}


@pytest.mark.parametrize("notebook", RUN)
def test_the_same_notebooks_run_on_real_seismograms(notebook, real_places):
    few = real_places | FEW | {"SEEDS": 1, "COMPARED": 1}
    phases = "PS" if "PHASE = " in code_cells(read(notebook))[0].source else "P"
    check_no_warnings(run(notebook, *(few | {"PHASE": phase} for phase in phases)))
    data = Path(real_places["DATA"]) / "iquique"
    for name in foreshap.VARIANTS if notebook == NOTEBOOKS[3] else ():
        tensors = foreshap.load_spectrograms(data / f"{name}.h5")
        checkpoints = Path(real_places["CHECKPOINTS"]) / "iquique"
        checkpoint = foreshap.load_checkpoint(checkpoints / f"{name}.pt")
        shap = foreshap.load_shap(foreshap.find_shap(data / "shap", checkpoint)[0])
        assert np.bincount(tensors.labels).tolist() == [40, 334]
        asked = foreshap.chosen_test_rows(checkpoint, FEW["N_EVENTS"])
        wrong = foreshap.misclassified_rows(checkpoint, tensors) if name == "P64" else []
        assert set(asked) | set(wrong) <= set(shap.table["row"])
        assert shap.values.shape[1:] == foreshap.VARIANTS[name].shape
        assert shap.table["additivity_error"].max() < 1e-4
        assert "simulated" not in shap.attributes


def test_controls_of_published_spectrograms_without_dates(nrca, tmp_path):
    declared = (ROOT / "data" / "datasets.toml").read_text()
    (tmp_path / "datasets.toml").write_text(declared.replace("../../shared/data/nrca", str(nrca)))
    places = {"DATASET": "nrca_published", "DATA": str(tmp_path)}
    book = run(NOTEBOOKS[5], FEW | places | {"CHECKPOINTS": str(tmp_path / "checkpoints")})
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
        "10 physical units",
    }
    states = {finding["alternative"]: finding["state"] for finding in found["findings"]}
    assert states["noise"] == "shown" and "response" in found["open"]


def test_controls_of_too_few_events_and_of_one_class_reach_the_page(tmp_path):
    simulated = '[{}]\nsource = "simulated"\nn_events = {}\nseed = 1\n'
    sizes = {"few": 44, "one": 80}
    declared = "".join(simulated.format(*size) for size in sizes.items())
    (tmp_path / "datasets.toml").write_text(declared)
    passes = []
    for name in sizes:
        waveforms = foreshap.waveform_folder(name, tmp_path)
        if name == "one":
            table = next(waveforms.glob("*_post_attributes.csv"))
            table.write_text(table.read_text().splitlines()[0] + "\n")
        foreshap.preprocess(waveforms, tmp_path / name, [foreshap.VARIANTS["P64"]])
        places = {"DATASET": name, "DATA": str(tmp_path), "CHECKPOINTS": str(tmp_path / name)}
        passes.append(FEW | places)
    book = run(NOTEBOOKS[5], *passes)
    check_no_warnings(book)
    assert "image/png" in results(next(cell for cell in book.cells if cell.id == "page"))[1]
    few, one = (tmp_path / name / "controls" / "P64" / "verdict.json" for name in sizes)
    found = json.loads(few.read_text())
    assert found["verdict"] == "undecided" and "lacks" in found["reasons"][-1]
    assert "21 foreshocks, 21 aftershocks, 30 are needed" in found["skipped"]["1 windows"]
    found = json.loads(one.read_text())
    assert found["verdict"] == "undecided"
    assert "38 foreshocks, 0 aftershocks" in found["skipped"]["1 windows"]


def test_preprocessing_needs_three_columns(demo, tmp_path):
    (tmp_path / "own").mkdir()
    for path in demo.waveforms.glob("*.hdf5"):
        shutil.copy(path, tmp_path / "own")
        table = pd.read_csv(path.with_name(f"{path.stem}_attributes.csv"))
        needed = table[["trace_name", "trace_start_time", "p_s_diff_sec"]]
        needed.to_csv(tmp_path / "own" / f"{path.stem}_attributes.csv", index=False)
    declared = '[mine]\nsource = "layout"\nwaveforms = "own"\nmainshock = 2016-10-30T06:40:17Z\n'
    (tmp_path / "datasets.toml").write_text(declared)
    check_no_warnings(run(NOTEBOOKS[0], {"DATASET": "mine", "DATA": str(tmp_path)}))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_committed_notebooks_are_clean_and_short(notebook):
    text = (ROOT / notebook).read_text()
    book = read(notebook)
    assert book.metadata.kernelspec.name == "python3"
    assert nbformat.writes(book).strip() == text.strip()  # else git's filter would rewrite it
    for cell in code_cells(book):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert not cell.outputs and cell.execution_count is None
        assert len(lines) <= 15 and max(map(len, lines)) <= 100, cell.id
        assert "def " not in cell.source and "sys.path" not in cell.source
    assert code_cells(book)[0].metadata.tags == ["parameters"] and json.loads(text)["nbformat"] == 4


class CellNames(ast.NodeVisitor):
    """Names of one cell: assigned outside loops, bound anywhere, read from other cells."""

    def __init__(self, source):
        self.assigned, self.bound, self.read = set(), set(), set()
        self.in_loop = 0
        self.visit(ast.parse(source))

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load):
            self.read |= {node.id} - self.bound
        else:
            self.bound.add(node.id)
            if not self.in_loop:
                self.assigned.add(node.id)

    def visit_Assign(self, node):
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_For(self, node):
        self.visit(node.iter)
        self.in_loop += 1
        for part in (node.target, *node.body, *node.orelse):
            self.visit(part)
        self.in_loop -= 1

    def visit_alias(self, node):
        self.bound.add(node.asname or node.name.split(".")[0])

    def visit_Lambda(self, node):
        names = {argument.arg for argument in node.args.args}
        self.visit_inner(node.body, names)

    def visit_comprehension_of(self, node):
        names = set()
        for generator in node.generators:
            self.visit(generator.iter)
            names |= {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
        for part in ast.iter_child_nodes(node):
            self.visit_inner(part, names)

    visit_ListComp = visit_DictComp = visit_SetComp = visit_GeneratorExp = visit_comprehension_of

    def visit_inner(self, node, names):
        """Visit a part in which some names belong to it alone."""
        inner = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - names
        self.read |= inner - self.bound


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_no_name_is_assigned_by_two_cells(notebook):
    """Loops and figures have names of their own in each cell, which no other cell reads."""
    cells = {cell.id: CellNames(cell.source) for cell in code_cells(read(notebook))}
    for name in set().union(*(cell.assigned for cell in cells.values())) - FIGURE_NAMES:
        assert sum(name in cell.assigned for cell in cells.values()) == 1, name
    for place, cell in cells.items():
        for name in cell.read:
            others = [other for other, found in cells.items() if name in found.bound]
            assert len(others) <= 1, f"{place} reads {name} of {others}"


def test_an_event_is_found_by_its_name_or_row():
    table = pd.DataFrame({"trace_name": ["A.X.1_EV", "A.X.2_EV"]})
    assert foreshap.event_row(table, "A.X.2_EV") == foreshap.event_row(table, 1) == 1
    for event in ("A.X.3_EV", 2, -1):
        with pytest.raises(foreshap.ForeshapError, match="no event.*A.X.1_EV.*0 to 1"):
            foreshap.event_row(table, event)


@pytest.mark.parametrize("pair", [NOTEBOOKS[1:3], NOTEBOOKS[3:5]])
def test_p_and_s_notebooks_differ_in_one_constant(pair):
    p, s = ([cell.source for cell in code_cells(read(name))] for name in pair)
    assert p[0].replace('PHASE = "P"', 'PHASE = "S"') == s[0] and p[1:] == s[1:]


def test_the_first_plot_of_the_readme(tmp_path):
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "data/first/P64.h5").exists() and len(code.splitlines()) <= 5


def test_the_pages_show_the_figures_that_are_made():
    pages = "".join(page.read_text() for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    made = {name for figures in MEDIA.values() for name in figures}
    assert {path.name for path in (ROOT / "media").iterdir()} == made
    for name in made:
        assert f"media/{name}" in pages
    for name in ("header.png", "single_example.png", "mean_example.png"):
        assert f"media/{name}" in (ROOT / "README.md").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1300


def test_the_first_page_of_a_report_links_every_page(tmp_path, monkeypatch):
    """Titles, contents, thumbnails and the verdict; a second run adds nothing."""
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    reports = tmp_path / "reports" / "demo"
    (reports / "figures" / "preprocess").mkdir(parents=True)
    (reports / "figures" / "preprocess" / "rgb.png").write_bytes(b"png")
    verdict = tmp_path / "data" / "demo" / "controls" / "P64" / "verdict.json"
    verdict.parent.mkdir(parents=True)
    verdict.write_text(json.dumps({"verdict": "mixed", "reasons": ["noise < signal"]}))
    for name in ("preprocess", "controls"):
        cell = nbformat.v4.new_markdown_cell(f"# The page of {name}\n\n## First part\n\n## Second")
        book = nbformat.v4.new_notebook(cells=[cell])
        page, _ = nbconvert.HTMLExporter().from_notebook_node(book)
        (reports / f"{name}.html").write_text(page)
    for _ in range(2):
        run_notebooks.finish_pages(reports, "demo")
    page = (reports / "preprocess.html").read_text()
    assert "<title>The page of preprocess (demo)</title>" in page
    assert page.count('id="contents"') == 1 and '<a href="#First-part">First part</a>' in page
    index = (reports / "index.html").read_text()
    assert "P64: mixed" in index and "noise &lt; signal" in index and "http" not in index
    assert 'href="preprocess.html"' in index and 'href="controls.html"' in index
    assert index.count("<img") == 1 and "figures/preprocess/rgb.png" in index
