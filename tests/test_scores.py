"""Calibration, accuracy in bins and shares of maps, with known answers."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

import foreshap
from foreshap.preprocessing.variants import WINDOWS, frame_windows


def test_a_calibrated_network_has_no_calibration_error():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    table, error = foreshap.reliability(logit(probability), rng.random(20_000) < probability)
    assert error < 0.02 and table["n_events"].sum() == 20_000
    assert ((table["low"] < table["predicted"]) & (table["predicted"] < table["high"])).mean() > 0.7
    sure, error = foreshap.reliability(np.full(100, logit(0.9)), np.repeat([1, 0], [60, 40]))
    assert len(sure) == 1 and error == pytest.approx(0.3)


def test_wilsons_interval_by_its_formula():
    table = foreshap.accuracy_by(np.arange(50.0), np.arange(50) % 5 > 0, bins=1)
    z, n, p = NormalDist().inv_cdf(0.975), 50, 0.8
    middle, half = (
        (p + z**2 / 2 / n) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2),
    )
    assert table.loc[0, ["value", "low", "high", "centre"]].to_list() == pytest.approx(
        [p, middle - half, middle + half, 24.5]
    )


def test_accuracy_falls_where_it_falls():
    values = np.r_[np.linspace(0, 1, 100), np.nan]
    table = foreshap.accuracy_by(values, values < 0.4)
    assert (
        table["value"].to_list() == pytest.approx([1, 1, 0, 0, 0])
        and table["n_events"].sum() == 100
    )
    with pytest.raises(foreshap.ForeshapError, match="too few to bin"):
        foreshap.accuracy_by(values[:9], values[:9] < 1)


def test_values_that_are_all_the_same_are_one_bin():
    table = foreshap.accuracy_by(np.full(20, 2.5), np.arange(20) < 15)
    assert table[["centre", "value", "n_events"]].to_numpy().tolist() == [[2.5, 0.75, 20]]


def test_shares_of_windows_and_bands():
    variant, s_p = foreshap.VARIANTS["P64"], np.array([1.0, 2.5])
    maps = -np.ones((2, *variant.shape))
    maps[0][..., frame_windows(variant, 1.0) != 0] = 0  # all before P
    shares = foreshap.window_shares(maps, variant, s_p)
    assert shares.loc[0].to_list() == [1, 0, 0, 0]
    counts = np.bincount(frame_windows(variant, 2.5), minlength=4) / variant.shape[2]
    np.testing.assert_allclose(shares.loc[1], counts)
    bands = foreshap.band_shares(np.ones((1, *variant.shape)), variant)
    edges = [(0, 10), (10, 25), (25, 45), (45, 51)]
    expected = [
        ((variant.frequencies >= low) & (variant.frequencies < high)).mean() for low, high in edges
    ]
    np.testing.assert_allclose(bands.loc[0], expected)
    table = foreshap.share_table(
        shares, shares, {"first": np.array([True, False]), "both": np.array([True, True])}
    )
    both = table[(table["series"] == "both") & (table["part"] == WINDOWS[0])].iloc[0]
    assert (
        both["value"] == pytest.approx((1 + counts[0]) / 2)
        and both["n_events"] == 2
        and len(table) == 8
    )


def test_a_narrow_band_is_named():
    variant = foreshap.VARIANTS["P64"]
    maps = np.random.default_rng(0).normal(size=(5, *variant.shape))
    assert foreshap.narrow_bands(maps, variant) == []
    maps[:, :, 12] *= 3
    (band,) = foreshap.narrow_bands(maps, variant)
    assert band[0] < variant.frequencies[12] < band[1] and band[1] - band[0] == pytest.approx(
        variant.frequencies[1]
    )


def test_weeks_and_shares_by_week(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    weeks = foreshap.weeks_after(s.table, pd.Timestamp(foreshap.demo.MAINSHOCK, tz="UTC"))
    assert (np.sign(weeks + 0.5) == np.where(s.labels == 1, 1, -1)).all()
    share = np.where(s.labels == 1, 0.3, 0.1)
    table = foreshap.share_by_week(share, weeks.astype(int), s.labels)
    assert set(zip(table["series"], table["value"].round(6))) == {
        ("foreshocks", 0.1),
        ("aftershocks", 0.3),
    }
    assert table["n_events"].sum() == len(s.labels)
