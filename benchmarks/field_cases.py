"""Run the field cases, and take real files of other people through the stages: a line each.

    python benchmarks/field_cases.py cases ../shared/field_cases [sources]
    python benchmarks/field_cases.py data ../shared/data/field
    python benchmarks/field_cases.py obspy

`cases` runs every script and says ok, FAULT or what it printed last; `data` prints how many traces
of each folder were written and rejected, by reason; `obspy` reads ObsPy's own test files of events
and recordings by ours and by ObsPy, and counts the outcomes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import obspy
import pandas as pd

import foreshap
from foreshap.sources.recordings import index_recordings, read_recording

RIGHT = {  # script of sources/: what it prints when all is well
    "01": r"written 9 of instrument \['HH'\]",
    "02": r"rate: \['recorded_rate_hz'\]",
    "03": r"(?s)(\[919\].*){4}",
    "04": r"receiver_latitude \[42.8\]",
    "05": r"00:01:03\+00:00",
    "06": r"written 1 unit of the file: nm/s",
    "07": "E is BH1",
    "08": r"from_continuous: written 0 \['gap inside the window'\]",
    "09": r"(?s)written 6 of 6; \[\].*and back: 6",
    "10": "(?s)(2 of 2.*){5}",
    "11": r"(?s)(\['', 'TST'\]).*(\['IV', 'TST'\].*){3}",
    "12": r"written 2 \[\]",
    "13": r"(?s)(written 1.*){5}time that can't be read",
    "14": r"written 1 rejected \[\['BAD', 'samples are no numbers'\]\]",
    "15": r"(?s)(written 1 \[\].*){6}",
    "16": r"written 1 \[\]",
    "17": "written 1",
    "18": "samples not finite",
    "19": r"written 1 of 1 earthquake; .*'source_type'",
    "20": r"columns that say so: \['source_status'\]",
    "21": "(?s)(preprocess: 1.*){4}",
    "22": "(?s)(kept 2 events.*){4}",
    "23": r"written 2 \[\]",
    "24": "(?s)(1 pair.s. in 1 row.*){7}",
    "25": "(?s)(pairs: 1.*){2}",
    "26": "(?s)(written 1.*){2}",
    "27": "(?s)(written 1.*){2}",
    "28": r"written 1 \[\]",
}
EVENTS = ["gse2", "hypodd", "iaspei", "nlloc", "nordic", "pde", "quakeml", "scml", "sh"]  # ObsPy's
MOVED = {  # names of the day a case was found: today's
    "from foreshap.model import": "from foreshap.training.model import",
    "from foreshap import demo": "from foreshap.preprocessing import simulation as demo",
    "from foreshap.sources import answers": "from foreshap.sources import fdsn as answers",
    "answers.waiting": "answers.wait_time",
    'answers.ask(Path(tempfile.mkdtemp()) / "a", lambda path: None': (
        "foreshap.fetch_fdsn(tempfile.mkdtemp()"
    ),
    '{"method": "GET", "url": url}': 'foreshap.FdsnQuery(url.removesuffix("/q"))',
    "foreshap.training import evaluate": "foreshap.training.scores import evaluate",
    "foreshap.datasets": "foreshap.sources.datasets",
    "_from_services = lambda store, query, output, options:": (
        "_build = lambda source, declared, store, output:"
    ),
    "from foreshap.sources.answers import BadAnswer": "from foreshap.sources.fdsn import BadAnswer",
    "import _checked_events, _window": "import check_events",
    '_checked_events(path, "IV", "TST", partial(_window, latitude=42.8, longitude=13.1))': (
        'check_events(path, "IV", "TST", (42.8, 13.1))'
    ),
}


def run_cases(folder, wanted):
    """Run the scripts of a folder; wanted: names of its subfolders, all when empty."""
    environment = os.environ | {"PYTHONPATH": str(Path(foreshap.__file__).parents[1])}
    for path in sorted(folder.rglob("*.py")):
        if wanted and path.parent.name not in wanted:
            continue
        code = path.read_text()
        for old, new in MOVED.items():
            code = code.replace(old, new)
        code = f"__file__ = {str(path)!r}\n" + code
        with tempfile.TemporaryDirectory() as here:
            script = Path(here, path.name)
            script.write_text(code)
            options = {"capture_output": True, "text": True, "env": environment, "timeout": 600}
            done = subprocess.run([sys.executable, script], cwd=here, **options)
        print(f"{path.parent.name}/{path.stem[:40]:40} {judge(path, done)}", flush=True)


def judge(path, done):
    """Say ok, or what went wrong, in a line."""
    right = RIGHT.get(path.stem[:2]) if path.parent.name == "sources" else None
    is_right = bool(re.search(right, done.stdout)) if right else done.returncode == 0
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    return "ok" if is_right and "FAULT" not in done.stdout else f"FAULT {lines[-1][:120]}"


def take_through(folder, name, waveforms, picks, mainshock, **options):
    """Import and preprocess files; print how many were written and rejected by reason."""
    with tempfile.TemporaryDirectory() as here:
        try:
            table = picks
            if isinstance(picks, pd.DataFrame):
                table = Path(here, "picks.csv")
                picks.to_csv(table, index=False)
            out = Path(here, "out")
            report = foreshap.from_continuous(waveforms, table, out, mainshock, **options)
            reasons = Counter(report.rejected["reason"])
            print(f"{name}: {report.written} written, rejected {dict(reasons)}")
            reports = foreshap.preprocess(out, Path(here, "tensors")) if report.written else {}
            for variant, one in reports.items():
                print(f"    {variant}: {one.written}, {dict(Counter(one.rejected['reason']))}")
        except foreshap.ForeshapError as error:
            print(f"{name}: refused: {str(error).replace(here, '').replace(str(folder), '')[:200]}")


def regular_picks(path, step=60.0):
    """A pick of P a minute at each station: for recordings that nobody picked."""
    index = index_recordings(path)
    rows = []
    for (network, station), part in index.groupby(["network", "station"]):
        start, end = pd.Timestamp(part["start"].min()), pd.Timestamp(part["end"].max())
        times = pd.date_range(start + pd.Timedelta("10s"), end, freq=pd.Timedelta(seconds=step))
        for number, time in enumerate(times[:40]):
            rows.append((f"{station}{number}", network, station, str(time), ""))
    names = ["event_id", "network", "station", "p_time", "s_time"]
    return pd.DataFrame(rows, columns=names)


def run_data(folder):
    """Take every folder of real files through the stages."""
    for path in sorted(folder.iterdir()):
        if path.name == "picks_formats":
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                try:
                    picks = foreshap.read_picks(file)
                    words = f"{len(picks)} rows, {picks['event_id'].nunique()} events"
                except foreshap.ForeshapError as error:
                    words = f"refused: {str(error).replace(str(file), '')[:110]}"
                print(f"{file.relative_to(folder)}: {words}")
            continue
        try:
            picks = regular_picks(path)
        except foreshap.ForeshapError as error:
            print(f"{path.name}: refused: {error}")
            continue
        if (path / "nlloc").exists():
            take_through(folder, path.name, path, path / "nlloc", "2011-06-18")
        else:
            times = pd.to_datetime(picks["p_time"], format="ISO8601").sort_values()
            middle = times.iloc[len(times) // 2]
            take_through(folder, path.name, path, picks, str(middle))


def compare_with_obspy():
    """Read ObsPy's own test files by ours and by ObsPy; returns Counter of outcomes, faults."""
    outcomes, faults = Counter(), []
    root = Path(obspy.__file__).parent
    for path in sorted(root.rglob("io/*/tests/data/**/*")):
        module = path.relative_to(root).parts[1]
        if not path.is_file() or path.stat().st_size > 200_000:
            continue
        compare = compare_recordings if module in ("mseed", "sac") else compare_events
        if module in EVENTS or module in ("mseed", "sac"):
            with warnings.catch_warnings(action="ignore"):
                outcome = compare(path)
            if outcome:
                outcomes[outcome] += 1
                if outcome.startswith("FAULT"):
                    faults.append(f"{path.relative_to(root)}: {outcome}")
    return outcomes, faults


def compare_events(path):
    """Say how picks of a file compare with ObsPy's, "" where ObsPy finds no P or S pick."""
    try:
        events = obspy.read_events(str(path))
        count = sum(len(event.picks) > 0 for event in events)
    except Exception:
        return ""
    if not count:
        return ""
    theirs = set()
    for event in events:
        for pick in event.picks:
            if pick.time is not None:
                theirs.add(pd.Timestamp(str(pick.time)))
    try:
        pairs = foreshap.read_picks(path)
    except foreshap.ForeshapError as error:
        return "picks refused: " + re.sub(r"^\S+ |[:(].*", "", str(error))[:50]
    ours = {*pairs["p_time"].dropna(), *pairs["s_time"].dropna()}
    return "picks equal" if ours and ours <= theirs else "FAULT picks differ"


def compare_recordings(path):
    """Say how the traces of a miniSEED or SAC file compare with ObsPy's, "" for other files."""
    try:
        stream = obspy.read(str(path))
        forms = {trace.stats._format for trace in stream}
    except Exception:
        return ""
    if not forms & {"MSEED", "SAC", "SACXY"}:
        return ""
    try:
        index = index_recordings(path)
    except foreshap.ForeshapError as error:
        return "recording refused: " + re.sub(r"^\S+ |[:(].*", "", str(error))[:50]
    theirs = {(trace.id, trace.stats.starttime.ns, trace.stats.endtime.ns) for trace in stream}
    ours = set(zip(index["seed_id"], index["start"], index["end"]))
    samples = read_recording(path)[0]
    same = len(samples) == len(stream)
    for one, other in zip(samples, stream):
        same = same and np.array_equal(one.data, other.data, equal_nan=other.data.dtype.kind == "f")
    return "recording equal" if same and ours <= theirs else "FAULT recording differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cases", "data", "obspy"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    if given.what == "obspy":
        outcomes, faults = compare_with_obspy()
        for outcome, number in outcomes.most_common():
            print(f"{number:5} {outcome}")
        print("\n".join(faults))
    elif given.what == "data":
        run_data(given.folder.resolve())
    else:
        run_cases(given.folder.resolve(), given.names)


if __name__ == "__main__":
    main()
