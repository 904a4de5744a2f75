"""A few of the kills of kills.py."""

import kills
import pytest


@pytest.mark.parametrize("step", kills.STEPS)
def test_killed_at_random_moments_it_ends_as_if_undisturbed(step, tmp_path):
    counts = kills.kill(step, 6, seed=1, base=tmp_path)
    assert counts["killed"] > 0, counts
