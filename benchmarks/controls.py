"""Time of the controls notebook, top to bottom: networks trained anew, nothing kept from before.

    python -m benchmarks.controls [--events 2000] [--variant P64]

Asked: at most 15 minutes for 2,000 simulated events of one variant on 2 cores. Preprocessing comes
before and doesn't count.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import foreshap
from run_notebooks import KEEP_FREED_MEMORY, NOTEBOOKS, run

DATASET = '[simulated]\nsource = "simulated"\nn_events = {}\nseed = 0\n'


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--variant", default="P64")
    arguments = parser.parse_args()
    os.environ.update(KEEP_FREED_MEMORY)  # for the kernel started below
    with tempfile.TemporaryDirectory() as data:
        Path(data, "datasets.toml").write_text(DATASET.format(arguments.events))
        waveforms = foreshap.waveform_folder("simulated", data)
        variants = [foreshap.VARIANTS[arguments.variant]]
        for part in ("", "noise"):
            foreshap.preprocess(waveforms / part, Path(data, "simulated", part), variants)
        places = {"DATASET": "simulated", "DATA": data, "CHECKPOINTS": f"{data}/checkpoints"}
        start = time.monotonic()
        run(NOTEBOOKS[-1], Path(data, "reports"), places | {"VARIANT": arguments.variant})
        minutes = (time.monotonic() - start) / 60
    print(
        f"{arguments.events} simulated events, {arguments.variant}: {minutes:.1f} min (asked: 15)"
    )


if __name__ == "__main__":
    main()
