"""Processes killed at random moments: all files are the old or the new ones.

The last run ends as if undisturbed.

    python tests/kills.py [--kills 200] [--seed 0] [--steps import preprocessing]

Each step works on two inputs in turn, so that old and new files differ. A further step is two lines
in STEPS.
"""

import argparse
import hashlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import obspy
import pandas as pd

import foreshap
from foreshap import from_continuous
from foreshap.files import finish_moves

EVENTS = 80
PRELOAD = ["foreshap.explainability.shap_store", "foreshap.controls.verdict", "run_notebooks"]
PRELOAD += ["foreshap.preprocessing.spectrograms", "foreshap.sources.continuous", "kills"]


def make_recordings(folder, seed):
    """Ten minutes of noise, a pick of P every seven seconds."""
    rng, start = np.random.default_rng(seed), obspy.UTCDateTime(2020, 1, 1)
    header = {"network": "NA", "station": "TST", "sampling_rate": 100.0, "starttime": start}
    samples = rng.integers(-(2**20), 2**20, (3, 62000), dtype=np.int32)
    traces = [obspy.Trace(one, header | {"channel": f"HH{c}"}) for one, c in zip(samples, "ENZ")]
    folder.mkdir(parents=True)
    obspy.Stream(traces).write(str(folder / "all.mseed"), format="MSEED")
    p = [10 + 7 * i for i in range(EVENTS)]
    pairs = {"event_id": [f"{seed}-{i}" for i in range(EVENTS)], "network": "NA", "station": "TST"}
    times = {
        name: [str(start + s + later) for s in p]
        for name, later in (("p_time", 0), ("s_time", 1 + seed))
    }
    pd.DataFrame(pairs | times).to_csv(folder / "picks.csv", index=False)


def import_recordings(folder, output):
    from_continuous(folder, folder / "picks.csv", output / "layout", "2020-01-01T00:05:00")


def make_waveforms(folder, seed):
    foreshap.simulate_sequence(folder, EVENTS, seed)


def make_tensors(folder, seed):
    sequence = foreshap.simulate_sequence(folder / "waveforms", EVENTS, seed)
    foreshap.preprocess(sequence, folder, [foreshap.VARIANTS["P64"]])


def train_network(folder, output):
    s = foreshap.load_spectrograms(folder / "P64.h5")
    config = foreshap.TrainingConfig(max_epochs=1)
    result = foreshap.train(s, foreshap.random_split(s.table, 0), config)
    foreshap.save_checkpoint(result, output / "networks/P64.pt")


def make_checkpoint(folder, seed):
    make_tensors(folder, seed)
    train_network(folder, folder)


def explain(folder, output):
    s = foreshap.load_spectrograms(folder / "P64.h5")
    checkpoint = foreshap.load_checkpoint(folder / "networks/P64.pt")
    background = foreshap.choose_background(checkpoint, s, 6)
    foreshap.explain_events(checkpoint, s, np.arange(8), background, output / "shap")


def control(folder, output):
    s = foreshap.load_spectrograms(folder / "P64.h5")
    controls = foreshap.run_controls(s, 0, output / "controls")
    foreshap.write_verdict(controls, output / "controls/verdict.json")


def make_notebook(folder, seed):
    folder.mkdir(parents=True)
    cell = nbformat.v4.new_markdown_cell(f"page {seed} " * 20_000, id="text")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "book.ipynb")


def report(folder, output):
    import run_notebooks

    def execute(source, target, *arguments, **options):
        shutil.copy(folder / "book.ipynb", target)

    run_notebooks.papermill.execute_notebook = execute
    run_notebooks.run("preprocessing/preprocess.ipynb", output / "reports", "demo")


STEPS = {  # name -> make the input of a seed in a folder, work from there into an output folder
    "import": (make_recordings, import_recordings),
    "preprocessing": (make_waveforms, foreshap.preprocess),
    "training": (make_tensors, train_network),
    "SHAP": (make_checkpoint, explain),
    "controls": (make_tensors, control),
    "reports": (make_notebook, report),
}
ONE_BY_ONE = {"SHAP", "controls"}  # steps whose files stay when others come: each is old or new


def work(step, folder, output, ready):
    """What runs in the process that is killed."""
    ready.send("go")
    STEPS[step][1](folder, output)


def started(step, folder, output):
    """Start a process, forked from one that has imported the package; returns it at its work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(step, folder, output, theirs))
    process.start()
    assert ours.recv() == "go"
    return process


def state(folder):
    """Hash every file in a folder, but those being written, as the package's readers find them.

    Maps are found by their store and row: parts have random names, and times in them.
    """
    for inner in (folder, *folder.iterdir()):
        finish_moves(inner)
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".partial" not in str(path):
            name = str(path.relative_to(folder))
            if name.startswith("shap"):
                hashes |= maps(path.parent)
            else:
                hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def maps(store):
    """Hash every map in a store."""
    shap = foreshap.load_shap(store)
    names = [f"{store.name} {row}" for row in shap.table["row"]]
    return dict(zip(names, [hashlib.sha256(values).hexdigest() for values in shap.values[:]]))


def may_be(step, found, *allowed):
    """Whether the files found are those of one of some states, or each of any one of them."""
    if step in ONE_BY_ONE:
        return set(found.items()) <= {item for one in allowed for item in one.items()}
    return found in allowed


def is_done(step, found, whole):
    """Whether the files found are those of an undisturbed run, and others where these may stay."""
    return found == whole or step in ONE_BY_ONE and whole.items() <= found.items()


def undisturbed(step, base):
    """Make two inputs and let a step end on both; returns inputs, states of files, seconds."""
    inputs, whole, needed = [], [], []
    for k in range(2):
        inputs.append(base / f"input{k}")
        STEPS[step][0](inputs[k], k)
        (base / f"whole{k}").mkdir()
        process, begun = started(step, inputs[k], base / f"whole{k}"), time.monotonic()
        process.join()
        assert process.exitcode == 0, step
        needed.append(time.monotonic() - begun)
        whole.append(state(base / f"whole{k}"))
    return inputs, whole, needed


def kill(step, kills, seed, base, inputs, whole, needed):
    """Kill a step again and again, and let it run to its end.

    returns: dict: killed, how many runs were at work when killed; old and new, after how many kills
        all files were those of the run before, or of the run itself
    raises: AssertionError where files are neither old nor new
    """
    assert whole[0] and whole[0] != whole[1]
    rng = np.random.default_rng(seed)
    counts = {"killed": 0, "old": 0, "new": 0}
    output = base / "output"
    shutil.copytree(base / "whole1", output)  # there are old files from the beginning on
    before = whole[1]
    for i in range(kills):
        process = started(step, inputs[i % 2], output)
        time.sleep(rng.uniform(0, 1.25) * needed[i % 2])
        process.kill()
        process.join()
        counts["killed"] += process.exitcode != 0
        found = state(output)
        is_right = may_be(step, found, before, whole[i % 2])
        assert is_right, "the files are neither the old nor the new ones"
        counts["old"] += found == before
        counts["new"] += found == whole[i % 2] != before
        before = found
    for k in (1 - kills % 2, kills % 2):
        process = started(step, inputs[k], output)
        process.join()
        is_right = process.exitcode == 0 and is_done(step, state(output), whole[k])
        assert is_right, "the last run's files are others"
    assert not [path for path in base.rglob("*partial*")], "something half-written is left"
    return counts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=list(STEPS))
    arguments = parser.parse_args()
    for step in arguments.steps:
        number = -(-arguments.kills // len(arguments.steps))
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            counts = kill(step, number, arguments.seed, base, *undisturbed(step, base))
        print(f"{step}: {counts}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
