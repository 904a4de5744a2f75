"""ObsPy's own test files, read by ours and by ObsPy."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_picks_and_recordings_are_those_that_obspy_reads():
    place = ROOT / "benchmarks/field_cases.py"
    spec = importlib.util.spec_from_file_location("field_cases", place)
    field_cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(field_cases)
    outcomes, faults = field_cases.compare_with_obspy()
    assert faults == []
    assert outcomes["picks equal"] >= 35 and outcomes["recording equal"] >= 60
    refused = sum(number for outcome, number in outcomes.items() if "refused" in outcome)
    assert refused <= 25  # channels of no direction, state of health, rates below 1 Hz
