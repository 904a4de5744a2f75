"""All plain controls of one dataset, and the verdict that follows from them by stated rules."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..files import ForeshapError, MachineError, keep_result, written_whole
from .data_checks import COLUMNS, CONTROLS, gather, stands_out

VERDICTS = ("path/source", "station/background", "catalogue", "mixed", "undecided")
SEPARATES = 0.55  # ROC AUC that a 95 % interval must lie above: less could not carry a map
RESIDUE = (
    0.65  # the same for the signal where the noise separates: a change of the site leaves some
)
NOISE, CATALOGUE = "noise before P, matched", "catalogue alone"
FLAT = 0.15  # shape over level of the signal's change: below it could be a gain, or another scale
SHAPE = "shape over level of the change"
SIGNAL = ("signal above a common floor, matched", "signal minus own noise, matched")
VERSION = 5  # of what the controls compute: kept results of another are computed anew


@dataclass(frozen=True)
class Controls:
    """What the controls found.

    table: DataFrame, a row a measurement: group, control, measured, low, high, chance, n_events,
        if_path, if_station
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
    folder: str or Path, where each control's result is kept as JSON and not computed twice; nowhere
        when left out
    notches: sequence of (low, high) [Hz], narrow bands that the maps name
    noise: Spectrograms of windows without an event, where the source offers them

    returns: Controls; one that can't run on this dataset is in skipped
    """
    try:
        evidence = gather(spectrograms, seed, noise)
    except MachineError:
        raise  # no reason of the data
    except ForeshapError as error:
        return _judged({}, dict.fromkeys(CONTROLS, str(error)))
    key = [VERSION, _digest(evidence), seed, [list(map(float, n)) for n in notches]]
    details, skipped = {}, {}
    for name, control in tqdm(CONTROLS.items(), desc="controls", unit="control"):
        options = {"notches": notches} if name == "7 bands" else {}
        path = Path(folder, f"{name.replace(' ', '-')}.json") if folder else None
        try:
            details[name] = keep_result(path, key, partial(control, evidence, **options))
        except MachineError:
            raise
        except ForeshapError as error:
            skipped[name] = str(error)
    return _judged(details, skipped)


def _digest(evidence):
    """Hash that other events, or windows without any, would not have."""
    digest = hashlib.sha256(f"{evidence.variant} {evidence.calibrated}".encode())
    digest.update(evidence.spectra.tobytes())
    digest.update(evidence.table.assign(label=evidence.labels).to_csv().encode())
    noise = evidence.noise
    if noise is None:
        return digest.hexdigest()
    digest.update(noise.table.assign(label=noise.labels).to_csv().encode())
    return digest.hexdigest() + noise.sha256


def _judged(details, skipped):
    """Controls with their verdict; a row without a measurement is skipped for its reason."""
    columns = ["group", *COLUMNS[:-1]]
    measured, tables = {}, []
    for name, table in details.items():
        if "reason" in table:
            for row in table[table["reason"].notna()].itertuples():
                skipped = skipped | {f"{name[:2]}{row.control}": row.reason}
        measured[name] = table[table["measured"].notna()]
        tables.append(_listed(measured[name]).assign(group=name)[columns])
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return Controls(table, measured, skipped, *judge(table, measured, skipped))


def _listed(table):
    """The rows of a control for the common table; of placebo dates only the two that matter."""
    if "kind" not in table:
        return table
    inside = table[table["kind"].str.startswith("inside")]
    highest = inside.loc[inside.groupby("what")["measured"].idxmax()]
    highest = highest.assign(control="placebo, " + highest["what"] + ": highest inside a class")
    return pd.concat([table[table["kind"] == "mainshock"], highest])


def judge(table, details, skipped):
    """Judge by rules that a reader can follow.

    Station: noise before P tells the classes apart, after their catalogues were matched. No
    earthquake made that noise. (Without a catalogue, the noise as it is; where catalogues can't be
    matched and differ, nothing can be said.) Catalogue: magnitude, S-P, location or hour alone tell
    them apart. Path or source: with matched catalogues the signal tells them apart both above a
    floor that no noise reaches (which a change of the noise can't do) and relative to the event's
    own noise (which a change of the recording can't do; but signal and noise differ within a
    frequency row, so where the noise separates more is asked), its change is not alike in all
    windows and frequencies (which a gain under a constant noise would be, or magnitudes of another
    scale), the mainshock stands out among placebo dates, and the signal does not drift the same way
    through both classes. One of the three: that is the verdict; several: mixed; none: undecided.

    table, details, skipped: as in Controls

    returns: verdict, list of reasons
    """
    rows = table.drop_duplicates("control").set_index("control")
    low = rows["low"]
    catalogue = bool(low.get(CATALOGUE, np.nan) > SEPARATES)
    noise = NOISE if NOISE in rows.index or catalogue else "noise before P"
    station = bool(low.get(noise, np.nan) > SEPARATES)
    least = RESIDUE if station else SEPARATES
    signal = all(low.get(name, np.nan) > least for name in SIGNAL)
    shaped = rows["measured"].get(SHAPE, np.nan) > FLAT
    singled_out = _singled_out(details)
    found = {
        "station/background": station,
        "catalogue": catalogue,
        "path/source": bool(signal and shaped and singled_out == "yes"),
    }
    causes = [cause for cause, yes in found.items() if yes]
    verdict = (causes or ["undecided"])[0] if len(causes) < 2 else "mixed"
    return verdict, _reasons(rows, found, noise, singled_out, skipped)


def _singled_out(details):
    """Whether the mainshock is the date at which the signal changes: yes, no (why), or unknown."""
    if not {"6 placebo", "6 drift"} <= set(details) or details["6 drift"].empty:
        return "not measured"
    if not stands_out(details["6 placebo"], SEPARATES):
        return "no"
    drifts = (details["6 drift"]["low"] > 0).all()
    return "no, the signal drifts through both classes" if drifts else "yes"


def _reasons(rows, found, noise, singled_out, skipped):
    """Why, a sentence for each cause, with its numbers."""
    lacking = [name for name in (noise, CATALOGUE, *SIGNAL, SHAPE) if name not in rows.index]
    lacking += [name for name in skipped if name.startswith("6 ")]
    needed = {
        "station/background": {noise},
        "catalogue": {CATALOGUE},
        "path/source": {*SIGNAL, SHAPE, "6 placebo", "6 drift"},
    }
    answers = {cause: "yes" if yes else "no" for cause, yes in found.items()}
    for cause in found:
        if needed[cause] & set(lacking):
            answers[cause] = "can't be said"
    numbers = dict.fromkeys((noise, CATALOGUE, *SIGNAL, SHAPE), "not measured")
    for name in rows.index.intersection(list(numbers)):
        numbers[name] = "{measured:.2f} ({low:.2f} to {high:.2f})".format(**rows.loc[name])
    signal = "; of ".join(f"{name}: {numbers[name]}" for name in SIGNAL)
    lines = [
        f"Station or background: {answers['station/background']}. "
        f"ROC AUC of {noise}: {numbers[noise]}.",
        f"Catalogue: {answers['catalogue']}. ROC AUC of {CATALOGUE}: {numbers[CATALOGUE]}.",
        f"Path or source: {answers['path/source']}. ROC AUC of {signal}; {SHAPE} {numbers[SHAPE]}; "
        f"the mainshock stands out among placebo dates: {singled_out}.",
        f"A cause counts where the whole 95 % interval lies above {SEPARATES}; the signal beside a "
        f"changed noise, {RESIDUE}. Shape over level counts above {FLAT}.",
    ]
    if lacking:
        lines.append(f"The verdict lacks: {', '.join(lacking)}.")
    return lines


def page_rows(table, parts, agreeing, shares):
    """Join the plain controls' rows with those of the CNN and its maps: for the verdict's page.

    table: DataFrame of Controls
    parts: DataFrame of train_parts()
    agreeing: DataFrame of agreements()
    shares: DataFrame of share_table(), windows

    returns: DataFrame with the columns of table
    """
    before = shares[shares["part"] == "before P"].set_index("series")
    is_noise = parts.index.isin(["before P", "noise without events"])
    expected, decided = np.where(is_noise, "chance", "above chance"), "high: the data decided"
    groups = {
        "CNN trained on a part": (parts, 0.5, expected, "above chance"),
        "maps: rank correlation": (agreeing, 0.0, decided, decided),
        "maps: share of |SHAP| before P": (
            before,
            before["area"].mean(),
            "as with random weights",
            "more",
        ),
    }
    tables = [table]
    for group, (found, chance, path, station) in groups.items():
        rows = found[["value", "low", "high", "n_events"]].rename(columns={"value": "measured"})
        rows = rows.rename_axis("control").reset_index()
        tables.append(rows.assign(group=group, chance=chance, if_path=path, if_station=station))
    return pd.concat(tables, ignore_index=True)[list(table.columns)]


def write_verdict(controls, path, **about):
    """Write the verdict for programs: verdict, reasons, all rows and what was skipped, as JSON.

    controls: Controls
    path: str or Path
    about: what else JSON can hold: dataset, variant, simulated...
    """
    rows = controls.table.astype(object).where(controls.table.notna(), None).to_dict("records")
    judged = {"verdict": controls.verdict, "reasons": controls.reasons}
    content = about | judged | {"skipped": controls.skipped, "rows": rows}
    with written_whole(Path(path)) as partial_file:
        text = json.dumps(content, indent=2, default=float, allow_nan=False)
        partial_file.write_text(text + "\n")
