"""Run all notebooks on one dataset; write them as HTML, and their figures, into reports/.

python run_notebooks.py                    the built-in simulated sequence, from scratch
python run_notebooks.py --dataset iquique  a dataset that data/datasets.toml declares
python run_notebooks.py --media            every dataset shown in media/, and its figures there
"""

import argparse
import base64
import html
import json
import os
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbconvert
import nbformat
import papermill
from filelock import FileLock

import foreshap
from foreshap.files import folder_written_whole, written_whole

ROOT = Path(__file__).parent
NOTEBOOKS = (
    "preprocessing/preprocess.ipynb",
    "training/p_wave_model_training.ipynb",
    "training/s_wave_model_training.ipynb",
    "explainability/explainability_p.ipynb",
    "explainability/explainability_s.ipynb",
    "explainability/controls.ipynb",
    "explainability/explore.ipynb",
)
STAGES = (NOTEBOOKS[:1], NOTEBOOKS[1:3], NOTEBOOKS[3:5], NOTEBOOKS[5:6], NOTEBOOKS[6:])
KEEP_FREED_MEMORY = {  # else glibc returns blocks that training asks for again: 10 to 15 % slower
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
THUMBNAILS = {  # notebook -> cell of its figure on the first page
    "preprocess": "rgb",
    "p_wave_model_training": "scores",
    "s_wave_model_training": "scores",
    "explainability_p": "mean-example",
    "explainability_s": "mean-example",
    "controls": "page",
    "explore": "explore",
}
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>foreshap: {dataset}</title><style>
body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto; }}
main {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1.5em; }}
main h2 {{ font-size: 1.05em; }}
img {{ max-width: 100%; max-height: 16em; }}
</style></head><body><h1>{dataset}</h1>{verdicts}<main>{entries}</main></body></html>
"""
SCRIPTS = (  # what nbconvert's pages load from elsewhere
    *("require_js_url", "mathjax_url", "mermaid_js_url", "mermaid_layout_elk_js_url", "jquery_url"),
    *("jupyter_widgets_base_url", "widget_renderer_url"),
)
POLICY = """
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 font-src data:; style-src 'unsafe-inline'">"""
MEDIA = {  # dataset -> name in media/ -> notebook and cell
    "demo": {
        "header.png": "explainability_p/header",
        "single_example.png": "explainability_p/single",
        "mean_example.png": "explainability_p/mean-example",
        "preprocess-rgb.png": "preprocess/rgb",
        "p_wave_model_training-scores.png": "p_wave_model_training/scores",
        "explainability_s-means-figure.png": "explainability_s/means-figure",
        "explainability_s-tiles-figure.png": "explainability_s/tiles-figure",
        "explainability_s-truth.png": "explainability_s/truth",
        "controls-page.png": "controls/page",
    },
    "nrca_published": {"nrca_published-controls-page.png": "controls/page"},
    "iquique": {"iquique-controls-page.png": "controls/page"},
}


def run(notebook, reports, dataset):
    """Execute one notebook in its own folder; write it as HTML and its figures as <cell id>.png.

    The page needs no network and runs no script, neither its own nor others'.
    """
    with folder_written_whole(reports) as new:
        executed = new / f"{Path(notebook).stem}.ipynb"
        folder = str((ROOT / notebook).parent)
        quiet = {"progress_bar": False, "extra_arguments": ["--log-level=40"]}
        constants = {"DATASET": dataset}
        papermill.execute_notebook(
            str(ROOT / notebook), str(executed), constants, cwd=folder, **quiet
        )
        book = nbformat.read(executed, as_version=4)
        page, _ = nbconvert.HTMLExporter(**dict.fromkeys(SCRIPTS, "data:,")).from_notebook_node(
            book
        )
        page = page.replace("<head>", f"<head>{POLICY}", 1)
        executed.with_suffix(".html").write_text(page, encoding="utf-8")
        figures = new / "figures" / executed.stem
        figures.mkdir(parents=True)
        for cell in book.cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    picture = base64.b64decode(output["data"]["image/png"])
                    (figures / f"{cell['id']}.png").write_bytes(picture)


def run_dataset(dataset):
    """Run the notebooks of a dataset, those of one stage side by side, one core each.

    Another run of the same dataset waits.

    returns: Path of the folder with their reports
    """
    reports = ROOT / "reports" / dataset
    with FileLock(reports.with_name(f".{dataset}.lock")):
        _run_stages(dataset, reports)
    print(f"Read {reports.relative_to(ROOT)}/index.html")
    return reports


def _run_stages(dataset, reports):
    """Run the notebooks of a dataset, stage after stage."""
    stages = STAGES
    if foreshap.datasets(ROOT / "data")[dataset]["source"] == "spectrograms":
        stages = STAGES[-2:]  # no seismograms: the controls train the network
    if dataset == "demo":  # simulated: nothing is lost by starting from scratch
        for folder in ("data", "checkpoints"):
            shutil.rmtree(ROOT / folder / "demo", ignore_errors=True)
    for stage in stages:
        print(f"{' and '.join(stage)} ...", flush=True)
        start = time.monotonic()
        one_core = {"OMP_NUM_THREADS": "1"} if len(stage) > 1 else {}
        work = partial(run, reports=reports, dataset=dataset)
        pool = ProcessPoolExecutor(len(stage), initializer=os.environ.update, initargs=(one_core,))
        with pool:
            list(pool.map(work, stage))
        print(f"{' and '.join(stage)}: {time.monotonic() - start:.0f} s", flush=True)
    finish_pages(reports, dataset)


def finish_pages(reports, dataset):
    """Give each page a title and a table of contents, and write index.html with the verdict."""
    entries = []
    for stem in THUMBNAILS:
        path = reports / f"{stem}.html"
        if not path.exists():
            continue
        page = path.read_text(encoding="utf-8")
        title = re.search(r"<h1[^>]*>(.*?)<", page)[1]
        headings = re.findall(r'<h2 id="([^"]+)"[^>]*>(.*?)<a', page, re.DOTALL)
        links = [f'<li><a href="#{name}">{text}</a></li>' for name, text in headings]
        contents = f'<nav id="contents"><a href="index.html">{dataset}</a>'
        contents += f"<ul>{''.join(links)}</ul></nav>"
        if 'id="contents"' not in page:
            page = re.sub(
                "<title>.*?</title>", f"<title>{title} ({dataset})</title>", page, count=1
            )
            page = re.sub("(<body[^>]*>)", rf"\1{contents}", page, count=1)
            with written_whole(path) as partial:
                partial.write_text(page, encoding="utf-8")
        picture = reports / "figures" / stem / f"{THUMBNAILS[stem]}.png"
        image = f'<img src="figures/{stem}/{picture.name}" alt="">' if picture.exists() else ""
        entries.append(f'<a href="{stem}.html"><h2>{title}</h2>{image}</a>')
    verdicts = []
    for path in sorted((ROOT / "data" / dataset / "controls").glob("*/verdict.json")):
        found = json.loads(path.read_text())
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in found["reasons"])
        verdict = html.escape(f"{path.parent.name}: {found['verdict']}")
        verdicts.append(f"<h2>{verdict}</h2><ul>{reasons}</ul>")
    text = INDEX.format(dataset=dataset, verdicts="".join(verdicts), entries="".join(entries))
    with written_whole(reports / "index.html") as partial:
        partial.write_text(text, encoding="utf-8")


def is_there(dataset):
    """Whether the files that a dataset's declaration names exist."""
    declared = foreshap.datasets(ROOT / "data")[dataset]
    named = [declared[key] for key in ("waveforms", "file") if key in declared]
    return all((ROOT / "data" / path).exists() for path in named)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="name in data/datasets.toml; demo when left out")
    parser.add_argument("--media", action="store_true", help="put the figures shown into media/")
    arguments = parser.parse_args()
    os.environ.update(KEEP_FREED_MEMORY)  # for the kernels started below
    every = arguments.media and arguments.dataset is None
    for dataset in MEDIA if every else [arguments.dataset or "demo"]:
        if every and not is_there(dataset):
            print(f"{dataset}: its files are not here, its figures in media/ stay as they are")
            continue
        reports = run_dataset(dataset)
        for name, figure in MEDIA.get(dataset, {}).items() if arguments.media else ():
            shutil.copy(reports / "figures" / f"{figure}.png", ROOT / "media" / name)


if __name__ == "__main__":
    main()
