"""SHAP tensors: "deep" against shap.DeepExplainer, the published setting and bare arithmetic.

    python benchmarks/attribution.py [--events 8]

Trained P64 and P32 networks (two epochs on simulated events), 100 background events, 2 threads; all
in this run, in turn, medians of three. The floor is what any computation of these numbers has to do
and nothing else: for each event, one forward pass of the event and, for each of the 100 background
events, the transposed convolutions and matrix products of one backward pass, by torch on
channels-last tensors that are ready in memory; whole events a thread or both threads on one,
whichever is faster. Peak memory and the first tensor are taken from fresh Linux processes: "first
tensor" is that of a notebook cell which opens checkpoint and tensors and explains one event, after
`import foreshap`, whose time stands beside it; the first line may include the rules' compilation.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import shap
import torch

import foreshap
from foreshap.explainability.attribution import ChosenOutput, output_weights
from foreshap.explainability.methods.deep import deep
from foreshap.parallel import map_in_order

BACKGROUND, THREADS, ROUNDS = 100, 2, 3
CHILD = """
import sys, time
start = time.perf_counter()
import foreshap
ready = time.perf_counter()
folder, name, events = sys.argv[1:]
checkpoint = foreshap.load_checkpoint(f"{folder}/{name}.pt")
s = foreshap.load_spectrograms(f"{folder}/{name}.h5")
rows = [i % len(s.labels) for i in range(100 + int(events))]
x = checkpoint.scaling(s.values[:])[rows]
foreshap.shap_tensors(checkpoint.model, x[100:101], x[:100])
first = time.perf_counter() - ready
background = foreshap.choose_background(checkpoint, s, 100, 0)
rows = foreshap.chosen_test_rows(checkpoint, int(events))
foreshap.explain_events(checkpoint, s, rows, background, f"{folder}/shap-{events}")
status = open("/proc/self/status")  # not what the parent had
peak = next(line for line in status if line.startswith("VmHWM"))
print(ready - start, first, int(peak.split()[1]) / 2**20)
"""


def make(folder, n_events=400):
    """Tensors and checkpoints of P64 and P32."""
    variants = [foreshap.VARIANTS[name] for name in ("P64", "P32")]
    foreshap.preprocess(
        foreshap.simulate_sequence(folder / "waveforms", n_events, 0), folder, variants
    )
    for variant in variants:
        s = foreshap.load_spectrograms(folder / f"{variant.name}.h5")
        result = foreshap.train(
            s, foreshap.random_split(s.table, 0), foreshap.TrainingConfig(max_epochs=2)
        )
        foreshap.save_checkpoint(result, folder / f"{variant.name}.pt")


def products(model, shape):
    """The bare products of one event's backward pass over the background, one function a layer."""
    jobs, x = [], torch.zeros(1, *shape)
    for module in [m for m in model.modules() if not list(m.children())]:
        x = module(x)
        if isinstance(module, torch.nn.Conv2d):
            m = torch.randn(BACKGROUND, *x.shape[1:]).contiguous(memory_format=torch.channels_last)
            weight = (
                module.weight.flip(2, 3)
                .transpose(0, 1)
                .contiguous(memory_format=torch.channels_last)
            )
            jobs.append(lambda m=m, weight=weight: torch.nn.functional.conv2d(m, weight, padding=1))
        if isinstance(module, torch.nn.Linear):
            m = torch.randn(BACKGROUND, x.shape[1])
            jobs.append(lambda m=m, weight=module.weight: m @ weight)
    return jobs


def floor(model, x, threads_share_events):
    """Time [s] of the bare products of events x."""
    jobs = products(model, x.shape[1:])

    @torch.inference_mode()
    def one(event):
        model(event[None])
        for job in jobs:
            job()

    start = time.perf_counter()
    if threads_share_events:
        for event in x:
            one(event)
    else:
        list(map_in_order(one, x))
    return time.perf_counter() - start


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(name, folder, n_events):
    """Print the ratios of one variant."""
    checkpoint = foreshap.load_checkpoint(folder / f"{name}.pt")
    s = foreshap.load_spectrograms(folder / f"{name}.h5")
    model, x = checkpoint.model, checkpoint.scaling(s.values[: BACKGROUND + n_events])
    background, x = x[:BACKGROUND], x[BACKGROUND:]
    weights = output_weights(model, x[:1], "margin")
    single = ChosenOutput(model, weights).eval()
    explain = deep(model, weights, background)
    telea = foreshap.explainability.attribution.explainer(
        model, background, "partition-telea", evaluations=1000
    )
    whole = ChosenOutput(model, weights).model.eval()

    def ours():
        return list(map_in_order(lambda i: explain(x[i], i), range(len(x))))

    def library(net):
        return shap.DeepExplainer(net, background).shap_values(x[:2], check_additivity=False)

    ours(), library(single)  # warm
    times = {"deep": [], "one output": [], "both outputs": [], "partition": [], "floor": []}
    for _ in range(ROUNDS):
        times["deep"].append(timed(ours) / n_events)
        times["one output"].append(timed(lambda: library(single)) / 2)
        times["both outputs"].append(timed(lambda: library(whole)) / 2)
        times["partition"].append(timed(lambda: telea(x[0], 0)))
        times["floor"].append(min(floor(model, x, share) for share in (False, True)) / n_events)
    middle = {what: statistics.median(t) for what, t in times.items()}
    print(
        f"{name}: {1e3 * middle['deep']:.1f} ms an event, {1 / middle['deep']:.0f} events a second"
    )
    asked = {"one output": 15, "both outputs": 40, "partition": 15}
    for what, least in asked.items():
        ratio = middle[what] / middle["deep"]
        print(
            f"  {ratio:.1f} times as fast as {what} "
            f"({1e3 * middle[what]:.0f} ms an event; asked: {least})"
        )
    print(f"  {middle['deep'] / middle['floor']:.2f} times the floor's time (asked: 2.5 at most)")
    values, reference = np.stack([explain(e, 0)[0] for e in x[:2]]), library(single)[..., 0]
    difference = np.abs(values - reference).max() / np.abs(reference).max()
    print(f"  largest difference {difference:.1e} of the largest value")


def fresh(name, folder):
    """Print the first tensor's time and the peak memory of fresh processes."""
    for events in (10, 40, 80):
        command = [sys.executable, "-W", "ignore", "-c", CHILD, str(folder), name, str(events)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        imported, first, peak = map(float, out)
        print(
            f"{name}, fresh process: first tensor {first:.2f} s (asked: 2) after",
            f"{imported:.1f} s of import,",
            end=" ",
        )
        print(f"{events} events explained, peak memory {peak:.2f} GiB (asked: 1.5)")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for name in ("P64", "P32"):
            fresh(name, Path(folder))
            compare(name, Path(folder), arguments.events)


if __name__ == "__main__":
    main()
