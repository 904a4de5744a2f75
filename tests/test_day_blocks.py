"""Statistics that know about days, against numbers that are known."""

import numpy as np
import pytest

from foreshap.controls.day_blocks import (
    blocked_auc,
    blocked_mean,
    compare_dates,
    day_blocks,
    jump_at_mainshock,
    resample_blocks,
)
from foreshap.controls.witnesses.signal import held_out_distance
from foreshap.training.scores import roc_auc

DAYS = np.sort(np.random.default_rng(0).uniform(-50, 50, 800))
LABELS = (DAYS > 0).astype(int)
BLOCKS = day_blocks(DAYS, LABELS)


def test_no_block_is_longer_than_its_length_or_holds_both_classes():
    for block in np.unique(BLOCKS):
        inside = BLOCKS == block
        assert np.ptp(DAYS[inside]) <= 3 and np.ptp(LABELS[inside]) == 0
    minutes = day_blocks(DAYS / 1440, LABELS)  # a sequence of an hour has blocks, too
    assert len(np.unique(minutes)) >= 20
    assert len(np.unique(day_blocks(np.full(10, np.nan), LABELS[:10]))) == 10


def test_resampled_blocks_are_drawn_whole():
    counts = resample_blocks(BLOCKS, LABELS, 0, resamples=20)
    for block in np.unique(BLOCKS):
        assert np.ptp(counts[:, BLOCKS == block], axis=1).max() == 0


def test_what_wanders_has_a_wider_interval_than_what_does_not():
    rng = np.random.default_rng(1)
    independent = rng.normal(size=len(DAYS)) + 0.5 * LABELS
    slow = rng.normal(size=BLOCKS.max() + 1)[BLOCKS] + 0.5 * LABELS
    widths = []
    for scores in (independent, slow):
        value, low, high = blocked_auc(scores, LABELS, BLOCKS)
        assert value == pytest.approx(roc_auc(scores, LABELS == 1)) and low < value < high
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]
    value, low, high = blocked_mean(independent, LABELS, BLOCKS)
    apart = independent[LABELS == 1].mean() - independent[LABELS == 0].mean()
    assert value == pytest.approx(apart) and low < apart < high


def test_a_perfect_score_is_not_certain():
    value, low, high = blocked_auc(LABELS.astype(float), LABELS, BLOCKS)
    assert value == high == 1 and 0.7 < low < 0.97


def test_a_step_jumps_and_a_slope_does_not():
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.2, len(DAYS))
    step, *interval, whole = jump_at_mainshock(LABELS + noise, DAYS, LABELS)
    assert interval[0] < 1 < interval[1] and whole == pytest.approx(1, abs=0.05)
    slope, low, high, whole = jump_at_mainshock(DAYS / 50 + noise, DAYS, LABELS)
    assert low < 0 < high and whole == pytest.approx(1, abs=0.1) and abs(slope) < 0.3
    assert step == pytest.approx(1, abs=0.2)


def test_the_line_at_the_mainshock_is_that_of_numpy():
    rng = np.random.default_rng(3)
    scores, ends = rng.normal(size=len(DAYS)), []
    for side in (-1, 1):
        rows = side * DAYS > 0
        weights = np.sqrt(np.maximum(1 - np.abs(DAYS[rows]) / 12, 0))
        ends.append(np.polyfit(np.abs(DAYS[rows]), scores[rows], 1, w=weights)[1])
    jump = jump_at_mainshock(scores, DAYS, LABELS)[0]
    assert jump == pytest.approx(ends[1] - ends[0], abs=1e-9)


def test_the_mainshock_stands_out_among_dates_only_if_it_is_one():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(len(DAYS), 3))
    step = compare_dates(noise + LABELS[:, None], DAYS, LABELS, held_out_distance)
    nothing = compare_dates(noise, DAYS, LABELS, held_out_distance)
    season = np.sin(2 * np.pi * DAYS / 100)[:, None]
    slow = compare_dates(noise + 1.5 * season, DAYS, LABELS, held_out_distance)
    assert step.stands_out and not nothing.stands_out and not slow.stands_out
    assert step.mainshock > 1.2 and len(step.dates) >= 8
    few = compare_dates(noise[::20], DAYS[::20], LABELS[::20], held_out_distance)
    assert "fewer than" in few.reason and not few.stands_out
    unknown = compare_dates(noise, np.full(len(DAYS), np.nan), LABELS, held_out_distance)
    assert "times" in unknown.reason
