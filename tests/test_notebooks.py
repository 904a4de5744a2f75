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
FEW = {"MAX_EPOCHS": 2, "N_EVENTS": 6, "BACKGROUND": 8, "SEEDS": 2, "COMPARED": 2}
FEW["EVALUATIONS"] = {"partition": 60, "partition-telea": 60, "tiles": 320}
DEMO = """[demo]
source = "simulated"
n_events = 90
seed = 1
effects = {path = 0.01, missing_component = 0.05}
"""
FIGURE_NAMES = {"fig", "ax", "axes"}  # every cell with a figure makes its own


def read(notebook):
    return nbformat.read(ROOT / notebook, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def run(notebook, again=False, **parameters):
    """Execute a notebook with other constants; then, if asked, its cells from last to first."""
    book = read(notebook)
    cells = code_cells(book)
    for name, value in parameters.items():
        if f"{name} = " in cells[0].source:
            cells[0].source += f"\n{name} = {value!r}"
    if again:
        for cell in reversed(cells):
            copy = nbformat.from_dict({**cell, "id": f"{cell.id}-again"})
            book.cells.append(copy)
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


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_each_cell_rerun_from_the_final_state_gives_the_same(notebook, places):
    again = notebook not in (NOTEBOOKS[2], NOTEBOOKS[4])  # their code is that of the ones before
    book = run(notebook, again, **places, **FEW)
    check_no_warnings(book)
    cells = {cell.id: results(cell) for cell in code_cells(book)}
    for name, shown in cells.items():
        assert shown == cells.get(f"{name}-again", shown), name
    assert any("image/png" in result for shown in cells.values() for result in shown)


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
        tensors = foreshap.load_spectrograms(data / f"{name}.h5")
        checkpoints = Path(real_places["CHECKPOINTS"]) / "iquique"
        checkpoint = foreshap.load_checkpoint(checkpoints / f"{name}.pt")
        shap = foreshap.load_shap(foreshap.find_shap(data / "shap", checkpoint)[0])
        assert np.bincount(tensors.labels).tolist() == [40, 334]
        asked = foreshap.chosen_test_rows(checkpoint, 6)
        wrong = foreshap.misclassified_rows(checkpoint, tensors) if name == "P64" else []
        assert set(asked) | set(wrong) <= set(shap.table["row"])
        assert shap.values.shape[1:] == foreshap.VARIANTS[name].shape
        assert shap.table["additivity_error"].max() < 1e-4
        assert "simulated" not in shap.attributes


def test_other_constants_meet_no_refusal(places):
    """Another number of events, background and event, after a first run with others."""
    other = FEW | {"N_EVENTS": 7, "BACKGROUND": 6, "SEED": 1, "EVENT": 3}
    check_no_warnings(run(NOTEBOOKS[3], **places, **other))


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
        "10 physical units",
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
    assert "21 foreshocks, 21 aftershocks, 30 are needed" in found["skipped"]["1 windows"]


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
        and "38 foreshocks, 0 aftershocks" in found["skipped"]["1 windows"]
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
