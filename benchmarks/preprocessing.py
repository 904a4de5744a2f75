"""Speed and memory of foreshap.preprocess, all four variants, from files to files.

    python benchmarks/preprocessing.py [--speed-events 2000] [--memory-events 5000 20000]

Speed: against a loop over events, components and variants with scipy.signal.spectrogram and log10 that
reads each trace once and appends to the same kind of tensor file; both in this run, in turn.
Memory: the largest resident size of a process of its own that only preprocesses.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.signal

import foreshap
from foreshap.waveforms import read_table

PEAK = """
import resource, sys, foreshap
foreshap.preprocess(*sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""


def loop(folder, output):
    """What a reader would write by hand: one scipy.signal.spectrogram an event, component and variant."""
    files = {name: h5py.File(output / f"loop_{name}.h5", "w") for name in foreshap.VARIANTS}
    for name, variant in foreshap.VARIANTS.items():
        shape = variant.shape
        files[name].create_dataset("spectrogram", (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape))
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
                            component, variant.sampling_rate, nperseg=variant.nperseg, noverlap=variant.noverlap
                        )
                        tensor.append(np.log10(power + 1e-10))
                    dataset = files[name]["spectrogram"]
                    dataset.resize(len(dataset) + 1, axis=0)
                    dataset[-1] = tensor
    for file in files.values():
        file.close()


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed-events", type=int, default=2000)
    parser.add_argument("--memory-events", type=int, nargs="*", default=[5000, 20000])
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
                f"{arguments.speed_events} events: foreshap {ours:.2f} s, loop {theirs:.2f} s, ratio {theirs / ours:.1f}"
            )
        print(f"median ratio of rounds 2 to 4: {statistics.median(ratios[1:]):.1f} (asked: 5)")
        for n in arguments.memory_events:
            waveforms = foreshap.simulate_sequence(folder / str(n), n, 0)
            call = [sys.executable, "-c", PEAK, waveforms, folder / f"tensors{n}"]
            peak = float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
            print(f"{n} events: peak memory {peak:.2f} GiB (asked: under 1)")


if __name__ == "__main__":
    main()
