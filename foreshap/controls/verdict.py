"""All controls of one dataset, and the verdict that follows from the witnesses by a stated rule."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from ..files import ForeshapError, MachineError, keep_result, sha256, written_whole
from ..preprocessing.cross_spectra import FILE_NAME, load_cross_spectra
from .data_checks import COLUMNS, CONTROLS, measure
from .evidence import gather_evidence
from .joined_rule import examine, explain, judge
from .witnesses.finding import Finding
from .witnesses.physical_units import measure_units

VERSION = 8  # of what the controls compute: kept results of another are computed anew
UNITS = "10 physical units"


@dataclass(frozen=True)
class Controls:
    """What the controls found."""

    table: pd.DataFrame  # a row a measurement: group, and COLUMNS of the plain controls
    details: dict  # control -> DataFrame with all its rows and columns
    skipped: dict  # control -> reason
    verdict: str  # one of VERDICTS
    reasons: list  # of str, why, in plain words
    findings: list  # of Finding, one an alternative
    open: list  # of str, alternatives that no witness could exclude


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
    folder: str or Path, where each result is kept and not computed twice; None keeps none
    notches: sequence of (low, high) [Hz], narrow bands that the maps name
    noise: Spectrograms of windows without an event, where the source offers them
    cross_spectra: CrossSpectra, or their file; left out: the one beside the tensor file, if any
    station_record: str or Path, StationXML or CSV of services, where there is one

    returns: Controls; what can't run on this dataset is in skipped
    raises: ForeshapError where the cross-spectra or the station's record can't be read
    """
    beside = Path(spectrograms.path).with_name(FILE_NAME)
    if cross_spectra is None and beside.exists():
        cross_spectra = beside
    if isinstance(cross_spectra, str | Path):
        cross_spectra = load_cross_spectra(cross_spectra)
    try:
        evidence = gather_evidence(spectrograms, cross_spectra, seed, noise, station_record)
    except MachineError:
        raise  # no reason of the data
    except ForeshapError as error:
        return _judged({}, dict.fromkeys(CONTROLS, str(error)), [], {})
    key = [VERSION, _digest(evidence), seed, [list(map(float, n)) for n in notches]]
    clean = evidence.only(evidence.clean)
    steps = {name: partial(measure, clean, control) for name, control in CONTROLS.items()}
    steps["7 bands"] = partial(measure, clean, CONTROLS["7 bands"], notches=notches)
    steps[UNITS] = partial(measure_units, clean)
    findings = _keep(folder, "witnesses", key, partial(_hear_witnesses, evidence))
    details, skipped = {}, {}
    for name, step in tqdm(steps.items(), desc="controls", unit="control"):
        try:
            details[name] = _keep(folder, name, key, step)
        except MachineError:
            raise
        except ForeshapError as error:
            skipped[name] = str(error)
    return _judged(details, skipped, _read_findings(findings), evidence.left_out)


def _keep(folder, name, key, compute):
    """The table of one step, kept in the folder where there is one."""
    path = Path(folder, f"{name.replace(' ', '-')}.json") if folder else None
    return keep_result(path, key, compute)


def _hear_witnesses(evidence):
    """All findings, a row each, DataFrame."""
    return _findings_table(tqdm(examine(evidence), desc="witnesses", unit="witness"))


def _findings_table(findings):
    """Findings, a row each, DataFrame; what later steps would use of them is left out."""
    table = pd.DataFrame([asdict(finding) for finding in findings])
    return table.drop(columns="keep", errors="ignore")


def _read_findings(table):
    """List of Finding of a table of them; numbers that are not known are NaN."""
    numbers = ["measured", "low", "high"]
    table = table.assign(**table[numbers].astype(float))
    return [Finding(**row) for row in table.to_dict("records")]


def _digest(evidence):
    """Hash that other events, windows, cross-spectra or records would not have."""
    digest = hashlib.sha256(f"{evidence.variant} {evidence.calibrated}".encode())
    for array in (evidence.labels, evidence.days, evidence.tensor_spectra, evidence.cross):
        digest.update(b"" if array is None else array.tobytes())
    for table in (evidence.table, evidence.measurements):
        digest.update(b"" if table is None else table.to_csv().encode())
    if evidence.noise is not None:
        noise = evidence.noise
        digest.update(noise.table.assign(label=noise.labels).to_csv().encode())
        digest.update(noise.sha256.encode())
    if evidence.station_record is not None:
        digest.update(sha256(evidence.station_record).encode())
    return digest.hexdigest()


def _judged(details, skipped, findings, left_out):
    """Controls with their verdict; a row without a measurement is skipped for its reason."""
    columns = ["group", *COLUMNS[:-1]]
    measured, tables = {}, [pd.DataFrame(columns=columns)]
    for name, table in details.items():
        measured[name] = table[table["measured"].notna()]
        if name == UNITS:
            continue
        for row in table[table["reason"].notna()].itertuples():
            skipped = skipped | {f"{name[:2]}{row.control}": row.reason}
        tables.append(measured[name].assign(group=name)[columns])
    table = pd.concat(tables[1:] or tables, ignore_index=True)
    verdict, opened = judge(findings)
    reasons = explain(findings, verdict, opened, left_out)
    return Controls(table, measured, skipped, verdict, reasons, findings, opened)


def write_verdict(controls, path, **about):
    """Write the verdict for programs, as JSON: what is open, all findings, rows, what was skipped.

    controls: Controls
    path: str or Path
    about: what else JSON can hold: dataset, variant, simulated...
    """
    findings = _findings_table(controls.findings)
    content = about | {"verdict": controls.verdict, "reasons": controls.reasons}
    content |= {"open": controls.open, "skipped": controls.skipped}
    for name, table in (("findings", findings), ("rows", controls.table)):
        content[name] = table.astype(object).where(table.notna(), None).to_dict("records")
    with written_whole(Path(path)) as partial_file:
        text = json.dumps(content, indent=2, default=float, allow_nan=False)
        partial_file.write_text(text + "\n")
