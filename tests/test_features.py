"""What plain models see, against direct loops, brute force and another program's distances."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from obspy.geodetics import gps2dist_azimuth

import foreshap
from foreshap.controls import features
from foreshap.preprocessing.variants import frame_windows


@pytest.mark.parametrize("name", ["P64", "S32"])
def test_window_spectra_are_means_over_the_windows_frames(demo, name):
    s = foreshap.load_spectrograms(demo.folder / f"{name}.h5")
    spectra = features.window_spectra(s)
    for event in (0, 70):
        s_p = s.table["p_s_diff_sec"][event]
        window, after_p = (
            frame_windows(s.variant, s_p),
            s.variant.times + (s_p if s.variant.phase == "S" else 0),
        )
        frames = [window == 0, window == 1, window == 2, (window == 3) & (after_p <= 4)]
        frames += [(window == 3) & (after_p > 4) & (after_p <= 8), (window == 3) & (after_p > 8)]
        for part, inside in enumerate(frames):
            np.testing.assert_allclose(
                spectra[event, part],
                s.values[event][..., inside].mean(axis=-1),
                rtol=1e-5,
                atol=1e-6,
            )


def test_no_frame_before_p_reaches_p():
    variant = foreshap.VARIANTS["P64"]
    values = np.where(variant.times + 0.32 > 0, 1.0, 0.0) * np.ones(
        (2, *variant.shape)
    )  # 1 where a frame touches P
    table = pd.DataFrame({"p_s_diff_sec": [0.5, 3.0]})
    spectra = features.window_spectra(
        SimpleNamespace(variant=variant, values=values, table=table, path="made up")
    )
    assert (spectra[:, 0] == 0).all() and np.allclose(
        spectra[:, 1:][np.isfinite(spectra[:, 1:])], 1
    )


def test_a_gain_cancels_relative_to_noise():
    rng = np.random.default_rng(0)
    spectra = np.concatenate(
        [rng.normal(0, 0.1, (50, 1, 3, 5)), rng.normal(3, 1, (50, 5, 3, 5))], axis=1
    )
    louder = spectra + 0.7
    np.testing.assert_allclose(features.above_own_noise(louder), features.above_own_noise(spectra))


def test_an_event_in_another_ones_coda_is_found(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    spectra = features.window_spectra(s)
    before = spectra.copy()
    spectra[13, 0] += 3
    quiet = features.quiet_before_p(spectra, s.table)
    assert not quiet[13] and quiet.mean() > 0.95
    assert features.quiet_before_p(before, s.table)[13]
    louder = (
        before + 3 * (np.arange(len(before)) % 8 == 0)[:, None, None, None]
    )  # a second station, no coda
    two = s.table.assign(receiver_name=np.where(np.arange(len(before)) % 8, "A", "B"))
    assert features.quiet_before_p(louder, two).mean() > 0.95


def test_catalogue_against_obspy(demo):
    table = foreshap.load_spectrograms(demo.folder / "P64.h5").table
    found, row = features.catalogue(table), table.iloc[3]
    names = ("receiver_latitude", "receiver_longitude", "source_latitude", "source_longitude")
    metres, azimuth, _ = gps2dist_azimuth(*row[list(names)])
    assert found["distance"][3] == pytest.approx(metres / 1000, rel=0.01)
    assert found["azimuth, sine"][3] == pytest.approx(np.sin(np.radians(azimuth)), abs=0.02)
    assert found["S-P"][3] == np.log10(row["p_s_diff_sec"])
    moment = pd.Timestamp(row["trace_start_time"]) + pd.Timedelta(seconds=5)
    assert features.hours(table)[3] == pytest.approx(
        moment.hour + moment.minute / 60 + moment.second / 3600, abs=1e-3
    )


def test_an_unknown_column_is_no_covariate(demo):
    table = foreshap.load_spectrograms(demo.folder / "P64.h5").table
    bare = table[["trace_name", "label"]].assign(source_magnitude=np.nan)
    assert features.catalogue(bare).shape == (len(table), 0)
    of_one_class = table["source_magnitude"].where(table["label"] == 1)
    assert "magnitude" not in features.catalogue(table.assign(source_magnitude=of_one_class))
    two = table.assign(
        receiver_name=np.where(np.arange(len(table)) % 3, "A", "B"), source_magnitude=np.inf
    )
    found = features.catalogue(two)
    assert found["station_B"].sum() == (len(table) + 2) // 3 and "magnitude" not in found
