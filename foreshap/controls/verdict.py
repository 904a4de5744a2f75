"""All controls of one dataset, and the verdict that follows from the witnesses by a stated rule."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError, MachineError, keep_result, sha256, written_whole
from ..preprocessing.cross_spectra import FILE_NAME, load_cross_spectra
from .data_checks import COLUMNS, CONTROLS
from .evidence import gather_evidence
from .joined_rule import VERDICTS as VERDICTS
from .joined_rule import examine, explain, judge
from .witnesses.finding import Finding
from .witnesses.physical_units import measure_units

VERSION = 6  # of what the controls compute: kept results of another are computed anew
WITNESSES, UNITS = "witnesses", "10 physical units"


@dataclass(frozen=True)
class Controls:
    """What the controls found.

    table: DataFrame, a row a measurement: group, control, measured, low, high, chance, n_events,
        if_path, if_station
    details: dict, control -> DataFrame with all its rows and columns
    skipped: dict, control -> reason
    verdict: one of VERDICTS
    reasons: list of str, why, in plain words
    findings: list of Finding, one an alternative
    open: list of str, alternatives that no witness could exclude
    """

    table: pd.DataFrame
    details: dict
    skipped: dict
    verdict: str
    reasons: list
    findings: list
    open: list


def run_controls(
    spectrograms,
    seed=0,
    folder=None,
    notches=(),
    noise=None,
    cross_spectra=None,
    station_record=None,
):
    """Hear all witnesses and run all plain controls on a tensor file, and judge.

    spectrograms: Spectrograms
    seed: int, of folds, draws and resamples
    folder: str or Path, where each result is kept as JSON and not computed twice; nowhere when left
        out
    notches: sequence of (low, high) [Hz], narrow bands that the maps name
    noise: Spectrograms of windows without an event, where the source offers them
    cross_spectra: CrossSpectra, or the path of their file; when left out, cross_spectra.h5 beside
        the tensor file, where there is one
    station_record: str or Path, StationXML or CSV of services, where there is one

    returns: Controls; what can't run on this dataset is in skipped
    raises: ForeshapError where the cross-spectra or the station's record can't be read
    """
    cross_spectra = _found_cross_spectra(spectrograms, cross_spectra)
    try:
        evidence = gather_evidence(spectrograms, cross_spectra, seed, noise, station_record)
    except MachineError:
        raise  # no reason of the data
    except ForeshapError as error:
        return _judged({}, dict.fromkeys(CONTROLS, str(error)), [], {})
    key = [VERSION, _digest(evidence), seed, [list(map(float, n)) for n in notches]]
    path = partial(_kept_path, folder)
    findings = keep_result(path(WITNESSES), key, partial(_findings_table, evidence))
    clean = evidence.only(evidence.clean)
    steps = {name: partial(control, clean) for name, control in CONTROLS.items()}
    steps["7 bands"] = partial(CONTROLS["7 bands"], clean, notches=notches)
    steps[UNITS] = partial(measure_units, clean)
    details, skipped = {}, {}
    for name, step in tqdm(steps.items(), desc="controls", unit="control"):
        try:
            details[name] = keep_result(path(name), key, step)
        except MachineError:
            raise
        except ForeshapError as error:
            skipped[name] = str(error)
    return _judged(details, skipped, _read_findings(findings), evidence.left_out)


def _found_cross_spectra(spectrograms, given):
    """The cross-spectra that are given or lie beside the tensors; None where there are none."""
    if given is None:
        given = Path(spectrograms.path).with_name(FILE_NAME)
        if not given.exists():
            return None
    return load_cross_spectra(given) if isinstance(given, str | Path) else given


def _kept_path(folder, name):
    """Where the result of a control is kept, Path or None."""
    return Path(folder, f"{name.replace(' ', '-')}.json") if folder else None


def _findings_table(evidence):
    """All findings, a row each, DataFrame; what later steps would use of them is left out."""
    rows = [
        asdict(finding) for finding in tqdm(examine(evidence), desc="witnesses", unit="witness")
    ]
    return pd.DataFrame(rows).drop(columns="keep")


def _read_findings(table):
    """List of Finding of a table of them."""
    numbers = ("measured", "low", "high")
    findings = []
    for row in table.to_dict("records"):
        known = {name: float(np.nan if row[name] is None else row[name]) for name in numbers}
        findings.append(Finding(**row | known))
    return findings


def _digest(evidence):
    """Hash that other events, windows, cross-spectra or records would not have."""
    digest = hashlib.sha256(f"{evidence.variant} {evidence.calibrated}".encode())
    digest.update(evidence.tensor_spectra.tobytes())
    digest.update(evidence.table.assign(label=evidence.labels).to_csv().encode())
    digest.update(evidence.days.tobytes())
    if evidence.cross is not None:
        digest.update(evidence.cross.tobytes())
        digest.update(evidence.measurements.to_csv().encode())
    parts = [digest.hexdigest()]
    if evidence.noise is not None:
        noise = evidence.noise
        digest.update(noise.table.assign(label=noise.labels).to_csv().encode())
        parts = [digest.hexdigest(), noise.sha256]
    if evidence.station_record is not None:
        parts.append(sha256(evidence.station_record))
    return " ".join(parts)


def _judged(details, skipped, findings, left_out):
    """Controls with their verdict; a row without a measurement is skipped for its reason."""
    columns = ["group", *COLUMNS[:-1]]
    measured, tables = {}, []
    for name, table in details.items():
        if "reason" in table:
            for row in table[table["reason"].notna()].itertuples():
                skipped = skipped | {f"{name[:2]}{row.control}": row.reason}
        measured[name] = table[table["measured"].notna()]
        if name != UNITS:
            tables.append(measured[name].assign(group=name)[columns])
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    verdict, opened = judge(findings)
    reasons = explain(findings, verdict, opened, left_out)
    return Controls(table, measured, skipped, verdict, reasons, findings, opened)


def page_rows(table, parts, agreeing, shares):
    """Join the plain controls' rows with those of the CNN and its maps: for the second page.

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
    """Write the verdict for programs, as JSON: what is open, all findings, rows, what was skipped.

    controls: Controls
    path: str or Path
    about: what else JSON can hold: dataset, variant, simulated...
    """
    findings = pd.DataFrame([asdict(finding) for finding in controls.findings])
    findings = findings.drop(columns="keep", errors="ignore")
    content = about | {"verdict": controls.verdict, "reasons": controls.reasons}
    content |= {"open": controls.open, "findings": _records(findings)}
    content |= {"skipped": controls.skipped, "rows": _records(controls.table)}
    with written_whole(Path(path)) as partial_file:
        text = json.dumps(content, indent=2, default=float, allow_nan=False)
        partial_file.write_text(text + "\n")


def _records(table):
    """Rows as dicts that JSON can hold, without NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
