"""The verdict against causes that are known because they are simulated, by two simulators.

    python benchmarks/verdicts.py [--seeds 1000 1001] [--grounds PB01 ...] [--causes ...]
    python benchmarks/verdicts.py --only wandering     what wanders alone: how often it is believed

Sequences of `sequences.py` (real noise, other sources; each cause on a ground that rotates with the
seed, or on all of them with --every-ground) and of `simulate_sequence`. Counted: "path/source" or
"mixed" where neither path nor source changed, with Wilson's interval; how often a changed path is
found; what is wrong, by name. The rules were chosen on seeds below 1000.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sequences import CAUSES, SHAPES, available_grounds, build_sequence, scale_tensors

import foreshap
from foreshap.controls.day_blocks import blocked_auc, compare_dates, day_blocks, jump_at_mainshock
from foreshap.controls.joined_rule import examine, judge
from foreshap.controls.witnesses.date import SEPARATES, SHARE
from foreshap.controls.witnesses.signal import held_out, held_out_distance
from foreshap.preprocessing.cross_spectra import FILE_NAME, load_cross_spectra

PATH, STATION, CATALOGUE, MIXED, NOTHING = foreshap.VERDICTS
ASSERTS_PATH = PATH, MIXED


@dataclass(frozen=True)
class Known:
    """What the older simulator changes, and what is right to say: as Cause of sequences.py."""

    effects: dict
    innocent: bool
    verdicts: tuple


OLDER = {
    "path attenuation": Known({"path": 0.010}, False, (PATH,)),
    "weak path attenuation": Known({"path": 0.005}, False, (PATH,)),
    "kappa of the path": Known({"kappa": 0.010}, False, (PATH,)),
    "stress drop": Known({"stress_drop": 0.4}, False, (PATH,)),
    "coda Q": Known({"coda_q": 0.20}, False, (PATH,)),
    "noise band": Known({"noise_band": 1.0}, True, (STATION, NOTHING)),
    "site peak": Known({"site_peak": 2.0}, True, (STATION, NOTHING)),
    "noise level": Known({"noise_level": 0.15}, True, (STATION, NOTHING)),
    "gain": Known({"gain": 0.15}, True, (STATION, NOTHING)),
    "corner": Known({"corner": 0.02}, True, (STATION, NOTHING)),
    "magnitudes": Known({"magnitude": 0.4}, True, (CATALOGUE, NOTHING)),
    "S-P": Known({"s_p": 0.15}, True, (CATALOGUE, NOTHING)),
    "hours": Known({"hours": 0.8}, True, (CATALOGUE, NOTHING)),
    "path and noise band": Known({"path": 0.010, "noise_band": 1.0}, False, (PATH, MIXED)),
    "path and magnitudes": Known({"path": 0.010, "magnitude": 0.4}, False, (PATH, MIXED)),
    "site peak and hours": Known(
        {"site_peak": 2.0, "hours": 0.8}, True, (STATION, CATALOGUE, NOTHING)
    ),
    "nothing": Known({}, True, (NOTHING,)),
    "gain, same noise": Known(  # can't be told from magnitudes of another scale
        {"gain": 0.2, "noise_level": -0.2}, True, (STATION, CATALOGUE, NOTHING)
    ),
}


def judged(simulator, name, ground, seed, shape, events):
    """The verdict that run_controls() gives a sequence, dict; an exception is kept as text."""
    os.environ["TQDM_DISABLE"] = "1"
    row = {"simulator": simulator, "cause": name, "ground": ground, "seed": seed, "shape": shape}
    try:
        with tempfile.TemporaryDirectory() as folder:
            spectrograms = tensors_of(folder, simulator, name, ground, seed, shape, events)
            start = time.perf_counter()
            cross = Path(folder, FILE_NAME)
            cross = load_cross_spectra(cross) if cross.exists() else None
            findings = list(examine(foreshap.gather_evidence(spectrograms, cross, seed)))
            row["seconds"] = time.perf_counter() - start
    except Exception:  # a benchmark counts what fails
        return row | {"verdict": "exception", "why": traceback.format_exc()[-400:]}
    states = {finding.alternative: finding.state for finding in findings}
    named = [f"{name} {state}" for name, state in states.items() if state != "excluded"]
    return row | {"verdict": judge(findings)[0], "why": ", ".join(named)}


def tensors_of(folder, simulator, name, ground, seed, shape, events):
    """Spectrograms of one sequence, with cross-spectra beside them where its cause allows it."""
    waveforms, scaled = Path(folder) / "waveforms", False
    if simulator == "older":
        foreshap.simulate_sequence(waveforms, events or 1200, seed, OLDER[name].effects)
    else:
        build_sequence(waveforms, name, ground, seed, shape, events)
        scaled = CAUSES[name].scaled
    foreshap.preprocess(waveforms, folder, [foreshap.VARIANTS["P64"]])
    spectrograms = foreshap.load_spectrograms(f"{folder}/P64.h5")
    if scaled:
        attributes = spectrograms.attributes | {"scaled": "0 to 255"}
        values = scale_tensors(spectrograms.values[:])
        Path(folder, FILE_NAME).unlink()  # published tensors come without
        return replace(spectrograms, values=values, attributes=attributes)
    return spectrograms


def jobs_of(arguments):
    """The sequences to judge, list of tuples."""
    grounds, jobs = arguments.grounds or available_grounds(), []
    for seed in arguments.seeds:
        for place, name in enumerate(CAUSES):
            chosen = [grounds[(place + seed) % len(grounds)]]
            for ground in grounds if arguments.every_ground else chosen:
                jobs.append(("sequences", name, ground, seed, arguments.shape, arguments.events))
        for name in OLDER:
            jobs.append(("older", name, "", seed, "", arguments.events))
    if arguments.only in ("sequences", "older"):
        jobs = [job for job in jobs if job[0] == arguments.only]
    if arguments.causes:
        jobs = [job for job in jobs if job[1] in arguments.causes]
    order = np.random.default_rng(0).permutation(len(jobs))  # an interrupted run is a fair sample
    return [jobs[place] for place in order]


def known_cause(row):
    """The Cause or Known of a row."""
    return (OLDER if row.simulator == "older" else CAUSES)[row.cause]


def share(hits, total):
    """A share with Wilson's 95 % interval, str."""
    if total == 0:
        return "0 of 0"
    interval = binomtest(hits, total).proportion_ci(method="wilson")
    return f"{hits} of {total} ({interval.low:.1%} to {interval.high:.1%})"


def report(table):
    """Print the confusion matrix, the shares, and every sequence that was judged wrong."""
    known = [known_cause(row) for row in table.itertuples()]
    table["innocent"] = [cause.innocent for cause in known]
    table["right"] = [v in cause.verdicts for v, cause in zip(table["verdict"], known)]
    table["kind"] = ["innocent" if cause.innocent else cause.verdicts[0] for cause in known]
    print(pd.crosstab(table["kind"], table["verdict"]).to_string())
    for simulator, part in [("both", table), *table.groupby("simulator")]:
        innocent, others = part[part["innocent"]], part[part["kind"] == PATH]
        wrong = innocent["verdict"].isin(ASSERTS_PATH).sum()
        found = others["verdict"].isin(ASSERTS_PATH).sum()
        print(f"{simulator}: path or mixed for innocent causes: {share(wrong, len(innocent))}")
        print(f"{simulator}: changed paths found: {share(found, len(others))}")
        print(f"{simulator}: right by name: {share(part['right'].sum(), len(part))}")
    nothing = table[table["cause"].str.startswith("nothing")]
    print(f"nothing, all regimes, right: {share(nothing['right'].sum(), len(nothing))}")
    print(f"exceptions: {(table['verdict'] == 'exception').sum()}")
    print(f"seconds a sequence: {table['seconds'].median():.0f}, most {table['seconds'].max():.0f}")
    for row in table[~table["right"]].itertuples():
        print(f"wrong: {row.cause}, {row.ground} {row.seed}: {row.verdict} ({row.why})")


def wandering(memory, strength, step, seed, events=1200, columns=20):
    """Whether features that wander are believed to change at the mainshock.

    memory: float [days]; strength: share of their variance that wanders
    step: float, deviations by which the first column steps at the mainshock

    returns: dict: by event (the usual bootstrap), by blocks, dated (jump and placebo as well)
    """
    rng = np.random.default_rng([seed, round(10 * memory), round(100 * step)])
    days = np.concatenate([-draw_days(rng, events // 2), draw_days(rng, events // 2)])
    days = np.sort(days)
    labels = (days > 0).astype(int)
    slow = np.zeros((events, columns))
    value = rng.standard_normal(columns)
    for row, wait in enumerate(np.diff(days, prepend=days[0])):
        kept = np.exp(-wait / memory)
        value = kept * value + np.sqrt(1 - kept**2) * rng.standard_normal(columns)
        slow[row] = value
    values = np.sqrt(strength) * slow + np.sqrt(1 - strength) * rng.standard_normal(slow.shape)
    values[:, 0] += step * labels
    blocks = day_blocks(days, labels)
    scores = held_out(values, labels, blocks)
    alone = held_out(values, labels, np.arange(events))
    by_event = blocked_auc(alone, labels, np.arange(events))[1]
    by_block = blocked_auc(scores, labels, blocks)[1]
    jump, low, _, whole = jump_at_mainshock(scores, days, labels)
    dates = compare_dates(values, days, labels, held_out_distance, seed)
    dated = by_block > SEPARATES and low > 0 and jump > SHARE * whole and dates.stands_out
    return {"by event": by_event > SEPARATES, "by blocks": by_block > SEPARATES, "dated": dated}


def draw_days(rng, count):
    """Days after the mainshock by Omori's law, to 50."""
    return 2 * (26 ** rng.random(count) - 1)


def report_wandering(arguments):
    """Print how often wandering alone, and a step within it, is believed."""
    print("share of sequences in which the features are said to change, by what is asked")
    cases = [(m, s, 0.0) for m in (0.2, 2.0, 15.0) for s in (0.2, 0.5)]
    cases += [(m, 0.2, step) for m in (0.2, 2.0, 15.0) for step in (0.8, 1.5)]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for memory, strength, step in cases:
            tries = range(1000, 1000 + arguments.tries)
            futures = [pool.submit(wandering, memory, strength, step, seed) for seed in tries]
            found = pd.DataFrame([future.result() for future in futures])
            counts = ", ".join(f"{name} {share(found[name].sum(), len(found))}" for name in found)
            print(f"memory {memory:g} d, share {strength:g}, step {step:g}: {counts}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1000, 1006)))
    parser.add_argument("--grounds", nargs="+")
    parser.add_argument("--causes", nargs="+")
    parser.add_argument("--shape", default="even", choices=list(SHAPES))
    parser.add_argument("--events", type=int)
    parser.add_argument("--every-ground", action="store_true")
    parser.add_argument("--only", choices=("sequences", "older", "wandering"))
    parser.add_argument("--tries", type=int, default=100, help="sequences of features that wander")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", help="CSV file for a row a sequence")
    arguments = parser.parse_args()
    if arguments.only != "wandering":
        with ProcessPoolExecutor(arguments.workers) as pool:
            futures = [pool.submit(judged, *job) for job in jobs_of(arguments)]
            rows = []
            for future in futures:
                rows.append(future.result())
                print(f"{len(rows)} of {len(futures)}", end="\r", file=sys.stderr)
                if arguments.table:
                    pd.DataFrame(rows).to_csv(arguments.table, index=False)
        table = pd.DataFrame(rows)
        report(table)
    if arguments.only in (None, "wandering"):
        report_wandering(arguments)


if __name__ == "__main__":
    main()
