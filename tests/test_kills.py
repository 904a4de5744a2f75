"""A few of the kills of kills.py."""

import kills
import pytest


@pytest.mark.parametrize("step", ["import", "preprocessing", "training", "reports"])
def test_killed_at_random_moments_it_ends_as_if_undisturbed(step, tmp_path):
    counts = kills.kill(step, 4, seed=1, base=tmp_path)
    assert counts["killed"] > 0, counts
