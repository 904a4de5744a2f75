"""Speed and memory of building the waveform layout, from recordings and from a SeisBench set.

    python benchmarks/sources.py [--traces 20000] [--iquique ../shared/data/iquique]

Each source is built twice in this run: by foreshap, and by the loop that a reader would write, one
trace at a time. For recordings it reads the files of each event with ObsPy, slices and writes with
h5py; for a SeisBench set it calls WaveformDataset.get_waveforms (without SeisBench: h5py
reads each trace). Memory: the largest resident size of a process of its own that only builds, at a
quarter of the events and at all.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

IQUIQUE_MAINSHOCK = "2014-04-01T23:46:47"
MAINSHOCK, BLOCK, SAMPLES = "2016-10-30T06:40:17", 500, 4000
CHILD = """
import contextlib, json, resource, sys, time
sys.path.insert(0, sys.argv[1])
import sources
build, arguments = getattr(sources, sys.argv[2]), sys.argv[4:]
with contextlib.suppress(ImportError):
    __import__(sys.argv[3])  # before the clock starts
start = time.perf_counter()
written = build(*arguments)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([written, seconds, peak]))
"""


def our_recordings(folder, picks, output):
    from foreshap import from_continuous

    return from_continuous(folder, picks, output, IQUIQUE_MAINSHOCK).written


def their_recordings(folder, picks, output):
    """One event at a time: read the files that hold it, slice three channels, write one dataset."""
    import obspy

    table, written = pd.read_csv(Path(picks).with_suffix(".csv")), 0
    with h5py.File(output, "w") as file:
        for pair in table.itertuples():
            p, s = obspy.UTCDateTime(pair.p_time), obspy.UTCDateTime(pair.s_time)
            end = p + max(20, s - p + 15) + 1
            stream = obspy.Stream()
            for path in sorted(Path(folder).rglob(f"{pair.network}.{pair.station}*")):
                if p.strftime("%Y-%m-%d") in path.name or p.strftime("%Y.%j") in path.name:
                    stream += obspy.read(str(path)).slice(p - 5, end)
            if len(stream) == 3 and all(
                trace.stats.npts >= 100 * (end - p + 5) for trace in stream
            ):
                samples = [trace.data for trace in stream.sort(["channel"])]
                file[f"{pair.station}.{pair.event_id}"] = np.stack(
                    [one[: len(samples[0])] for one in samples]
                )
                written += 1
    return written


def our_set(folder, output):
    from foreshap import from_seisbench

    return from_seisbench(folder, output, MAINSHOCK).written


def their_set(folder, output):
    """One trace at a time: its samples, cut from 5 s before P, written as one dataset."""
    get, metadata = _getter(folder)
    with h5py.File(output, "w") as file:
        for index, row in enumerate(metadata.itertuples()):
            first = row.trace_p_arrival_sample - 500
            length = 600 + max(2000, row.trace_s_arrival_sample - row.trace_p_arrival_sample + 1500)
            file[f"{row.station_code}.{row.source_id}"] = get(index)[:, first : first + length]
    return len(metadata)


def _getter(folder):
    """A function row -> samples (E, N, Z), of SeisBench where it is installed, and the table."""
    try:
        import seisbench.data
    except ImportError:
        metadata = pd.read_csv(Path(folder) / "metadata.csv")
        data = h5py.File(Path(folder) / "waveforms.hdf5")["data"]
        place = (
            metadata["trace_name"]
            .str.extract(r"(?P<block>.*)\$(?P<index>\d+),")
            .astype({"index": int})
        )
        return lambda row: data[place["block"][row]][place["index"][row]][[2, 1, 0]], metadata
    dataset = seisbench.data.WaveformDataset(folder, component_order="ENZ")
    return dataset.get_waveforms, dataset.metadata


def simulated_set(folder, n_traces):
    """A set of noise in blocks as SeisBench writes them; returns its folder."""
    folder.mkdir()
    rng, number = np.random.default_rng(0), np.arange(n_traces)
    time_ = pd.Timestamp(MAINSHOCK) + pd.to_timedelta((number - n_traces / 2) * 60, unit="s")
    p = rng.integers(600, 1000, n_traces)
    pd.DataFrame(
        {
            "trace_name": [f"bucket{n // BLOCK}${n % BLOCK},:3,:{SAMPLES}" for n in number],
            "trace_start_time": time_.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "trace_p_arrival_sample": p,
            "trace_s_arrival_sample": p + rng.integers(150, 450, n_traces),
            "station_code": "NOISE",
            "station_network_code": "XX",
            "source_id": number,
            "source_magnitude": rng.exponential(1, n_traces),
            "source_latitude_deg": 42.8,
            "source_longitude_deg": 13.1,
            "source_depth_km": 9.0,
            "split": "train",
        }
    ).to_csv(folder / "metadata.csv", index=False)
    with h5py.File(folder / "waveforms.hdf5", "w") as file:
        for first in range(0, n_traces, BLOCK):
            shape = min(BLOCK, n_traces - first), 3, SAMPLES
            file[f"data/bucket{first // BLOCK}"] = rng.standard_normal(shape, dtype=np.float32)
        for name, value in {
            "dimension_order": "CW",
            "component_order": "ZNE",
            "sampling_rate": 100,
        }.items():
            file[f"data_format/{name}"] = value
    return folder


def first_picks(iquique, folder, part):
    """The picks of the first events of the Iquique archive, as picks.csv in a folder."""
    picks = pd.read_csv(iquique / "picks.csv", dtype=str)
    folder.mkdir()
    picks[: round(part * len(picks))].to_csv(folder / "picks.csv", index=False)
    return folder / "picks.csv"


def measured(build, library, *arguments):
    """Events written, seconds and peak memory [MiB] of a process of its own."""
    call = [
        sys.executable,
        "-c",
        CHILD,
        str(Path(__file__).parent),
        build.__name__,
        library,
        *map(str, arguments),
    ]
    return json.loads(
        subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    )


def compare(source, ours, theirs, library, inputs, folder):
    """Print a line a size: both speeds, their ratio and both peaks."""
    for size, arguments in inputs.items():
        written, seconds, peak = measured(
            ours, "foreshap.sources.datasets", *arguments, folder / f"{source}_{size}"
        )
        also, slower, other_peak = measured(
            theirs, library, *arguments, folder / f"{source}_{size}.hdf5"
        )
        ours_a_second, theirs_a_second = written / seconds, also / slower
        print(
            f"{source:10} {written:6} {ours_a_second:9.0f} {theirs_a_second:9.0f} "
            f"{ours_a_second / theirs_a_second:7.1f} {peak:9.0f} {other_peak:9.0f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=20_000)
    shared = Path(__file__).parents[2] / "shared/data/iquique"
    parser.add_argument(
        "--iquique",
        type=Path,
        default=shared,
        help="folder with waveforms/, picks.xml and picks.csv",
    )
    arguments = parser.parse_args()
    print("source     events  events/s    loop/s   ratio  peak MiB  loop MiB")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sizes = {
            n: [simulated_set(folder / str(n), n)]
            for n in (arguments.traces // 4, arguments.traces)
        }
        compare("SeisBench", our_set, their_set, "seisbench.data", sizes, folder)
        if not arguments.iquique.exists():
            print(f"{arguments.iquique} is absent: no comparison with recordings")
            return
        waveforms, picks = arguments.iquique / "waveforms", arguments.iquique / "picks.xml"
        quarter = first_picks(arguments.iquique, folder / "quarter", 1 / 4)
        sizes = {"quarter": (waveforms, quarter), "all": (waveforms, picks)}
        compare("recordings", our_recordings, their_recordings, "obspy", sizes, folder)


if __name__ == "__main__":
    main()
