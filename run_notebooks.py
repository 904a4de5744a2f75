"""Run all notebooks top to bottom on one dataset; write them as HTML, and their figures, into reports/.

python run_notebooks.py                    the built-in simulated sequence, from scratch
python run_notebooks.py --dataset iquique  a dataset that data/datasets.toml declares
python run_notebooks.py --media            also put the figures that the README shows into media/
"""

import argparse
import base64
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbconvert
import nbformat
import papermill

import foreshap

ROOT = Path(__file__).parent
NOTEBOOKS = (
    "preprocessing/preprocess.ipynb",
    "training/p_wave_model_training.ipynb",
    "training/s_wave_model_training.ipynb",
    "explainability/explainability_p.ipynb",
    "explainability/explainability_s.ipynb",
    "explainability/controls.ipynb",
)
TOGETHER = NOTEBOOKS[3:5]  # side by side, one core each: events are explained on one core anyway
KEEP_FREED_MEMORY = {  # glibc gives large blocks back at once and each training step asks again: 10 to 15 % slower
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
README_FIGURES = {
    "demo": (
        "preprocess/rgb",
        "p_wave_model_training/scores",
        "explainability_s/means-figure",
        "explainability_s/tiles-figure",
        "explainability_s/truth",
        "controls/page",
    ),
    "nrca_published": ("controls/page",),
    "iquique": ("controls/page",),
}


def run(notebook, reports, parameters):
    """Execute one notebook in its own folder; write it as HTML and its figures as <cell id>.png."""
    reports.mkdir(parents=True, exist_ok=True)
    executed = reports / f"{Path(notebook).stem}.ipynb"
    papermill.execute_notebook(
        str(ROOT / notebook),
        str(executed),
        parameters,
        cwd=str((ROOT / notebook).parent),
        progress_bar=False,
        extra_arguments=["--log-level=40"],
    )
    book = nbformat.read(executed, as_version=4)
    page, _ = nbconvert.HTMLExporter().from_notebook_node(book)
    executed.with_suffix(".html").write_text(page, encoding="utf-8")
    figures = reports / "figures" / executed.stem
    figures.mkdir(parents=True, exist_ok=True)
    for cell in book.cells:
        pictures = [
            o["data"]["image/png"]
            for o in cell.get("outputs", [])
            if "image/png" in o.get("data", {})
        ]
        for picture in pictures:
            (figures / f"{cell['id']}.png").write_bytes(base64.b64decode(picture))


def media_name(dataset, figure):
    """Name in media/ of a figure, <notebook>/<cell id>."""
    return ("" if dataset == "demo" else f"{dataset}-") + figure.replace("/", "-") + ".png"


def stages(dataset):
    """Notebooks to run on a dataset, those of one tuple side by side."""
    if (
        foreshap.datasets(ROOT / "data")[dataset]["source"] == "spectrograms"
    ):  # no seismograms: the controls alone
        return [NOTEBOOKS[-1:]]
    return [NOTEBOOKS[:1], NOTEBOOKS[1:2], NOTEBOOKS[2:3], TOGETHER, NOTEBOOKS[5:]]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="demo", help="name in data/datasets.toml")
    parser.add_argument(
        "--media", action="store_true", help="update the README's figures of this dataset in media/"
    )
    arguments = parser.parse_args()
    reports = ROOT / "reports" / arguments.dataset
    os.environ.update(KEEP_FREED_MEMORY)  # for the kernels started below
    if arguments.dataset == "demo":  # simulated: nothing is lost by starting from scratch
        for folder in ("data", "checkpoints"):
            shutil.rmtree(ROOT / folder / "demo", ignore_errors=True)
    for stage in stages(arguments.dataset):
        start = time.monotonic()
        cores = {"OMP_NUM_THREADS": "1"} if len(stage) > 1 else {}
        with ProcessPoolExecutor(
            len(stage), initializer=os.environ.update, initargs=(cores,)
        ) as pool:
            list(
                pool.map(
                    partial(run, reports=reports, parameters={"DATASET": arguments.dataset}), stage
                )
            )
        print(f"{' and '.join(stage)}: {time.monotonic() - start:.0f} s", flush=True)
    if arguments.media:
        for figure in README_FIGURES[arguments.dataset]:
            shutil.copy(
                reports / "figures" / f"{figure}.png",
                ROOT / "media" / media_name(arguments.dataset, figure),
            )
    print(f"Read {reports.relative_to(ROOT)}/*.html")


if __name__ == "__main__":
    main()
