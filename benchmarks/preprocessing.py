"""Speed and memory of foreshap.preprocess, all four variants, from files to files.

    python benchmarks/preprocessing.py [--speed-events 2000] [--scale-events 10000 100000]

Speed: against a loop over events, components and variants with scipy.signal.spectrogram and log10
that reads each trace once and appends to the same kind of tensor file; both in this run, in turn.
Cross-spectra: processors' time of foreshap.preprocess with and without them, in turn.
Scale: seconds an event and the largest resident size of a process of its own that only
preprocesses; the events are 10,000 simulated ones, repeated under other names. 100,000 of them need
22 GiB of disk in the folder for temporary files (TMPDIR).
"""

import argparse
import itertools
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.signal

import foreshap
from foreshap.preprocessing import spectrograms
from foreshap.preprocessing.waveforms import read_table, write_waveforms

SIMULATED = 10_000  # events; more are copies of these
CHILD = """
import resource, sys, time, foreshap
begun, cpu = time.perf_counter(), time.process_time()
foreshap.preprocess(*sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(time.perf_counter() - begun, time.process_time() - cpu, peak)
"""


def loop(folder, output):
    """Do what a reader would write by hand: scipy.signal.spectrogram component by component."""
    files = {name: h5py.File(output / f"loop_{name}.h5", "w") for name in foreshap.VARIANTS}
    for name, variant in foreshap.VARIANTS.items():
        shape = variant.shape
        files[name].create_dataset(
            "spectrogram", (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape)
        )
    for period in ("pre", "post"):
        s_p = read_table(folder, "DEMO", period).set_index("trace_name")["p_s_diff_sec"].to_dict()
        with h5py.File(folder / f"DEMO_{period}.hdf5") as waveforms:
            for trace_name in waveforms:
                samples = waveforms[trace_name][:].astype(float)
                for name, variant in foreshap.VARIANTS.items():
                    start = 0 if variant.phase == "P" else round(100 * s_p[trace_name])
                    tensor = []
                    for component in samples[:, start : start + variant.samples]:
                        _, _, power = scipy.signal.spectrogram(
                            component,
                            variant.sampling_rate,
                            nperseg=variant.nperseg,
                            noverlap=variant.noverlap,
                        )
                        tensor.append(np.log10(power + 1e-10))
                    dataset = files[name]["spectrogram"]
                    dataset.resize(len(dataset) + 1, axis=0)
                    dataset[-1] = tensor
    for file in files.values():
        file.close()


def repeated(simulated, folder, n):
    """Write a folder of n events, those of a simulated one again and again under other names."""
    for period in ("pre", "post"):
        table = read_table(simulated, "DEMO", period)
        copies = [
            table.assign(trace_name=table["trace_name"].str.replace("_EV", f"-{k}_EV"))
            for k in range(-(-n // 2 // len(table)))
        ]
        rows = pd.concat(copies, ignore_index=True).iloc[: n // 2]
        with h5py.File(simulated / f"DEMO_{period}.hdf5") as file:
            samples = [file[name][:] for name in table["trace_name"]]
            traces = zip(rows["trace_name"], itertools.cycle(samples))
            write_waveforms(folder, "DEMO", period, traces, rows, simulated=file.attrs["simulated"])
    return folder


def scale(folder, counts):
    """Seconds an event and peak memory at several numbers of events."""
    simulated = foreshap.simulate_sequence(folder / "simulated", min(SIMULATED, max(counts)), 0)
    costs = []
    for n in counts:
        waveforms, tensors = repeated(simulated, folder / str(n), n), folder / f"tensors{n}"
        call = [sys.executable, "-c", CHILD, waveforms, tensors]
        wall, cpu, peak = map(
            float, subprocess.run(call, stdout=subprocess.PIPE, check=True).stdout.split()
        )
        costs.append(cpu / n)
        print(
            f"{n} events: {1e3 * wall / n:.3f} ms an event, {1e3 * cpu / n:.3f} ms of processors, "
            f"{costs[-1] / costs[0]:.2f} times that of the first; peak memory {peak:.2f} GiB "
            "(asked: under 2)"
        )
        for part in (waveforms, tensors):
            shutil.rmtree(part)


def cost_of_cross_spectra(waveforms, output, n):
    """Print what the cross-spectra add to the processors' time of a run over n events."""
    usual = spectrograms.LEAST_RATE
    without, added = [], []
    for _ in range(6):  # the first warms up
        times = []
        for spectrograms.LEAST_RATE in (math.inf, usual):  # above any rate: none is written
            begun = time.process_time()
            foreshap.preprocess(waveforms, output)
            times.append(time.process_time() - begun)
        without.append(times[0])
        added.append((times[1] - times[0]) / times[0])
    print(
        f"cross-spectra add {statistics.median(added[1:]):.0%} to "
        f"{1e3 * statistics.median(without[1:]) / n:.2f} ms an event (asked: a third at most)"
    )


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speed-events", type=int, default=2000)
    parser.add_argument("--scale-events", type=int, nargs="*", default=[10_000, 100_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        waveforms = foreshap.simulate_sequence(folder / "speed", arguments.speed_events, 0)
        ratios = []
        for round_ in range(4):  # the first warms up
            ours = seconds(foreshap.preprocess, waveforms, folder / f"ours{round_}")
            theirs = seconds(loop, waveforms, folder)
            ratios.append(theirs / ours)
            print(
                f"{arguments.speed_events} events: foreshap {ours:.2f} s, "
                f"loop {theirs:.2f} s, ratio {theirs / ours:.1f}"
            )
        print(f"median ratio of rounds 2 to 4: {statistics.median(ratios[1:]):.1f} (asked: 5)")
        cost_of_cross_spectra(waveforms, folder / "cross", arguments.speed_events)
        if arguments.scale_events:
            scale(folder, arguments.scale_events)


if __name__ == "__main__":
    main()
