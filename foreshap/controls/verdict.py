"""All plain controls of one dataset, and the verdict that follows from them by stated rules."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError, keep_result, sha256, written_whole
from .data_checks import CONTROLS, gather, stands_out

VERDICTS = ("path/source", "station/background", "catalogue", "mixed", "undecided")
SEPARATES = (
    0.55  # ROC AUC whose 95 % interval must lie above this: less could not carry a network's map
)
RESIDUE = 0.65  # the same for the signal where the noise separates: a change of the site leaves some of itself
NOISE, CATALOGUE = "noise before P, matched", "catalogue alone"
FLAT = 0.15  # shape over level of the signal's change: what lies below could be a gain, or other magnitudes' scale
SHAPE = "shape over level of the change"
SIGNAL = ("signal above a common floor, matched", "signal minus own noise, matched")
VERSION = 5  # of what the controls compute: kept results of another are computed anew


@dataclass(frozen=True)
class Controls:
    """What the controls found.

    table: DataFrame, a row a measurement: group, control, measured, low, high, chance, n_events, if_path, if_station
    details: dict, control -> DataFrame with all its rows and columns
    skipped: dict, control -> reason
    verdict: one of VERDICTS
    reasons: list of str, why, in plain words
    """

    table: pd.DataFrame
    details: dict
    skipped: dict
    verdict: str
    reasons: list


def run_controls(spectrograms, seed=0, folder=None, notches=(), noise=None):
    """Run all plain controls on a tensor file and judge.

    spectrograms: Spectrograms
    seed: int, of folds, draws and bootstraps
    folder: str or Path, where each control's result is kept as JSON and not computed twice; nowhere when left out
    notches: sequence of (low, high) [Hz], narrow bands that the maps name
    noise: Spectrograms of windows without an event, where the source offers them

    returns: Controls; one that can't run on this dataset is in skipped
    """
    try:
        evidence = gather(spectrograms, seed, noise)
    except ForeshapError as error:
        return _judged({}, dict.fromkeys(CONTROLS, str(error)))
    key = [VERSION, _digest(evidence), seed, [list(map(float, n)) for n in notches]]
    details, skipped = {}, {}
    for name, control in tqdm(CONTROLS.items(), desc="controls", unit="control"):
        options = {"notches": notches} if name == "7 bands" else {}
        try:
            details[name] = keep_result(
                folder and Path(folder) / f"{name.replace(' ', '-')}.json",
                key,
                lambda: control(evidence, **options),
            )
        except ForeshapError as error:
            skipped[name] = str(error)
    return _judged(details, skipped)


def _digest(evidence):
    """Hash that other events, or windows without any, would not have."""
    found = hashlib.sha256(f"{evidence.variant} {evidence.calibrated}".encode())
    found.update(evidence.spectra.tobytes())
    for table, labels in [(evidence.table, evidence.labels)] + [
        (n.table, n.labels) for n in (evidence.noise,) if n
    ]:
        found.update(table.assign(label=labels).to_csv().encode())
    return found.hexdigest() + (sha256(evidence.noise.path) if evidence.noise else "")


def _judged(details, skipped):
    """Controls with their verdict; a row without a measurement is skipped for its reason."""
    for name, lacking in [(n, t[t["reason"].notna()]) for n, t in details.items() if "reason" in t]:
        skipped = skipped | {f"{name[:2]}{row.control}": row.reason for row in lacking.itertuples()}
    details = {name: t[t["measured"].notna()] for name, t in details.items()}
    listed = {name: _listed(table) for name, table in details.items()}
    columns = [
        "group",
        "control",
        "measured",
        "low",
        "high",
        "chance",
        "n_events",
        "if_path",
        "if_station",
    ]
    tables = [table.assign(group=name)[columns] for name, table in listed.items()]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return Controls(table, details, skipped, *judge(table, details, skipped))


def _listed(table):
    """The rows of a control for the common table; of the placebo dates the mainshock and the highest inside a class."""
    if "kind" not in table:
        return table
    inside = table[table["kind"].str.startswith("inside")]
    highest = inside.loc[inside.groupby("what")["measured"].idxmax()]
    highest = highest.assign(control="placebo, " + highest["what"] + ": highest inside a class")
    return pd.concat([table[table["kind"] == "mainshock"], highest])


def judge(table, details, skipped):
    """The verdict, by rules that a reader can follow.

    Station: noise before P tells the classes apart, after their catalogues were matched. No earthquake made that noise.
    (Without a catalogue, the noise as it is; where catalogues can't be matched and differ, nothing can be said.)
    Catalogue: magnitude, S-P, location or hour alone tell them apart.
    Path or source: with matched catalogues the signal tells them apart both above a floor that no noise reaches (which
    a change of the noise can't do) and relative to the event's own noise (which a change of the recording can't do;
    but signal and noise differ within a frequency row, so where the noise separates more is asked), its change is not
    alike in all windows and frequencies (which a gain under a constant noise would be, or magnitudes of another scale),
    the mainshock stands out among placebo dates, and the signal does not drift the same way through both classes.
    One of the three: that is the verdict; several: mixed; none: undecided.

    table, details, skipped: as in Controls

    returns: verdict, list of reasons
    """
    rows = table.drop_duplicates("control").set_index("control")
    separates = lambda name, least=SEPARATES: bool(rows["low"].get(name, np.nan) > least)
    noise = NOISE if NOISE in rows.index or separates(CATALOGUE) else "noise before P"
    station = separates(noise)
    least = RESIDUE if station else SEPARATES
    singled_out, shaped = _singled_out(details), bool(rows["measured"].get(SHAPE, np.nan) > FLAT)
    signal = all(separates(name, least) for name in SIGNAL) and shaped and singled_out == "yes"
    found = {
        "station/background": station,
        "catalogue": separates(CATALOGUE),
        "path/source": signal,
    }
    causes = [cause for cause, yes in found.items() if yes]
    verdict = causes[0] if len(causes) == 1 else "mixed" if causes else "undecided"
    return verdict, _reasons(rows, found, noise, singled_out, skipped)


def _singled_out(details):
    """Whether the mainshock is the date at which the signal changes: yes, no (why), or not measured."""
    if not {"6 placebo", "6 drift"} <= set(details) or details["6 drift"].empty:
        return "not measured"
    if not stands_out(details["6 placebo"], SEPARATES):
        return "no"
    return (
        "no, the signal drifts through both classes"
        if (details["6 drift"]["low"] > 0).all()
        else "yes"
    )


def _reasons(rows, found, noise, singled_out, skipped):
    """Why, a sentence for each cause, with its numbers."""
    number = lambda name: (
        "{measured:.2f} ({low:.2f} to {high:.2f})".format(**rows.loc[name])
        if name in rows.index
        else "not measured"
    )
    lacking = [name for name in (noise, CATALOGUE, *SIGNAL, SHAPE) if name not in rows.index]
    lacking += [name for name in skipped if name.startswith("6 ")]
    needed = {
        "station/background": {noise},
        "catalogue": {CATALOGUE},
        "path/source": {*SIGNAL, SHAPE, "6 placebo", "6 drift"},
    }
    says = lambda cause: (
        "can't be said" if needed[cause] & {*lacking} else "yes" if found[cause] else "no"
    )
    lines = [
        f"Station or background: {says('station/background')}. ROC AUC of {noise}: {number(noise)}.",
        f"Catalogue: {says('catalogue')}. ROC AUC of {CATALOGUE}: {number(CATALOGUE)}.",
        f"Path or source: {says('path/source')}. ROC AUC of {SIGNAL[0]}: {number(SIGNAL[0])}; of {SIGNAL[1]}: "
        f"{number(SIGNAL[1])}; {SHAPE} {number(SHAPE)}; the mainshock stands out among placebo dates: {singled_out}.",
        f"A cause counts where the whole 95 % interval lies above {SEPARATES}; the signal beside a changed noise, "
        f"{RESIDUE}. Shape over level counts above {FLAT}.",
    ]  # fmt: skip
    return lines + ([f"The verdict lacks: {', '.join(lacking)}."] if lacking else [])


def page_rows(table, parts, agreeing, shares):
    """The plain controls' rows, and for the reader those of the CNN and its maps: for figures.verdict_page().

    table: DataFrame of Controls
    parts: DataFrame of train_parts()
    agreeing: DataFrame of controls.agreements()
    shares: DataFrame of share_table(), windows

    returns: DataFrame with the columns of table
    """
    before = shares[shares["part"] == "before P"].set_index("series")
    noise = parts.index.isin(["before P", "noise without events"])
    added = {
        "CNN trained on a part": (
            parts,
            0.5,
            np.where(noise, "chance", "above chance"),
            "above chance",
        ),
        "maps: rank correlation": (
            agreeing,
            0.0,
            "high: the data decided",
            "high: the data decided",
        ),
        "maps: share of |SHAP| before P": (
            before,
            before["area"].mean(),
            "as with random weights",
            "more",
        ),
    }
    tables = [
        found[["value", "low", "high", "n_events"]].rename(columns={"value": "measured"}).rename_axis("control")
        .reset_index().assign(group=group, chance=chance, if_path=path, if_station=station)
        for group, (found, chance, path, station) in added.items()
    ]  # fmt: skip
    return pd.concat([table, *tables], ignore_index=True)[list(table.columns)]


def write_verdict(controls, path, **about):
    """Write the verdict for programs: verdict, reasons, all rows and what was skipped, as JSON.

    controls: Controls
    path: str or Path
    about: what else JSON can hold: dataset, variant, simulated...
    """
    rows = controls.table.astype(object).where(controls.table.notna(), None).to_dict("records")
    content = about | {
        "verdict": controls.verdict,
        "reasons": controls.reasons,
        "skipped": controls.skipped,
        "rows": rows,
    }
    with written_whole(Path(path)) as partial:
        partial.write_text(json.dumps(content, indent=2, default=float, allow_nan=False) + "\n")
