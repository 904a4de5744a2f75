"""The simulated sequence: statistics, physics, and a truth that holds nothing but the effect."""

import json
import time

import h5py
import numpy as np
import pandas as pd
import pytest

import foreshap
from foreshap.preprocessing import simulation
from foreshap.preprocessing.simulation import EFFECTS, MAINSHOCK, MEDIAN_S_P


def traces(folder, period):
    with h5py.File(folder / f"DEMO_{period}.hdf5") as file:
        return {name: file[name][:] for name in file}


def tables(folder):
    return [
        pd.read_csv(folder / f"DEMO_{p}_attributes.csv", dtype={"source_id": str})
        for p in ("pre", "post")
    ]


def test_same_seed_same_bytes_other_seed_other_events(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        time.sleep(0.6)  # no clock in the files
        foreshap.simulate_sequence(tmp_path / name, 10, seed)
    for file in (
        "DEMO_pre.hdf5",
        "DEMO_post.hdf5",
        "truth/DEMO_pre.hdf5",
        "DEMO_post_attributes.csv",
    ):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b and a != c


def drawn(n, seed, **effects):
    """The tables of so many events before and after the mainshock, without their traces."""
    found = []
    for label in (0, 1):
        change = dict.fromkeys(EFFECTS, 0.0) | {
            name: label * size for name, size in effects.items()
        }
        rng = np.random.default_rng([seed, label])
        found.append(simulation._draw_events(rng, n, label, change, False))
    return found


def test_distributions_of_a_normal_faulting_sequence():
    table = pd.concat(drawn(1000, seed=5))
    magnitude, s_p = table["source_magnitude"], table["p_s_diff_sec"]
    assert magnitude.between(0.6, 3.5).all() and s_p.between(0.5, 3.0).all()
    assert np.log10(np.e) / (magnitude.mean() - 0.6) == pytest.approx(
        1.0, abs=0.08
    )  # b-value (Aki, 1965)
    assert s_p.median() == pytest.approx(1.2, abs=0.05)
    np.testing.assert_allclose(table["s_travel_sec"] - table["p_travel_sec"], s_p, atol=0.0011)
    days = (
        pd.to_datetime(table["source_origin_time"]) - pd.Timestamp(MAINSHOCK, tz="UTC")
    ).dt.total_seconds() / 86400
    for sign in (
        -1,
        1,
    ):  # Omori with p = 1, c = 1 day: equally many events from 0 to 1 day and from 1 to 3
        t = days[np.sign(days) == sign].abs()
        assert len(t) == 1000 and (t < 1).sum() / t.between(1, 3).sum() == pytest.approx(
            1, abs=0.25
        )


def test_it_is_called_simulated(demo):
    for file in demo.waveforms.rglob("*.hdf5"):
        with h5py.File(file) as opened:
            assert opened.attrs["simulated"].startswith("yes") and json.loads(
                opened.attrs["effects"]
            ) == {"path": 0.01}


def levels(folder, part):
    """Logarithm of each component's standard deviation in a part of the traces."""
    found = []
    for period in ("pre", "post"):
        for samples in traces(folder, period).values():
            found.append(np.log(samples[:, part].std(axis=1)))
    return found


def test_windows_without_events_hold_the_noise_that_events_have_before_p(demo):
    events = levels(demo.waveforms, slice(0, 500))
    shaking = levels(demo.waveforms, slice(500, 1000))
    noise = levels(demo.waveforms / "noise", slice(0, 500))
    later = levels(demo.waveforms / "noise", slice(500, 1000))  # no arrival, no coda
    assert len(noise) == 40
    assert np.abs(np.mean(noise, axis=0) - np.mean(events, axis=0)).max() < 0.15
    assert np.abs(np.mean(later, axis=0) - np.mean(noise, axis=0)).max() < 0.15
    assert (np.mean(shaking, axis=0) - np.mean(events, axis=0)).min() > 1


def test_nothing_but_its_own_noise_before_p(demo):
    """The truth has the same samples before P: no effect, no wave runs ahead of its arrival."""
    for period in ("pre", "post"):
        true = traces(demo.waveforms / "truth", period)
        for name, samples in traces(demo.waveforms, period).items():
            assert np.abs(samples[:, :499] - true[name][:, :499]).max() <= 1  # rounding to counts
            assert np.abs(samples[:, 500:2000] - true[name][:, 500:2000]).max() > 1


@pytest.mark.parametrize(
    ("variant", "likeness", "tolerance"), [("S64", 0.97, 0.07), ("S32", 0.92, 0.15)]
)
def test_the_path_effect_is_that_of_its_formula(demo, variant, likeness, tolerance):
    """Power falls by exp(-2 pi f dt*), dt* = 10 ms times S-P / 1.2 s, where S is above the noise.

    Frames of 0.32 s leak more of the low frequencies' power into the high ones than of 0.64 s.
    """
    s = foreshap.load_spectrograms(demo.folder / f"{variant}.h5")
    truth = foreshap.load_spectrograms(demo.folder / "truth" / f"{variant}.h5")
    found = foreshap.effect_differences(s, truth, np.arange(80))
    f, t = s.variant.frequencies, s.variant.times
    rows, frames = (f > 8) & (f < 25), (t > 0.4) & (t < 1.5)
    delta = 0.010 * s.table["p_s_diff_sec"].to_numpy() / MEDIAN_S_P
    expected = -2 * np.pi * f[rows] * delta[:, None] * np.log10(np.e)
    measured = found[:, :2][..., rows, :][..., frames].mean(axis=(1, 3))
    assert np.corrcoef(measured.ravel(), expected.ravel())[0, 1] > likeness
    assert (measured / expected).mean() == pytest.approx(1, abs=tolerance)


def test_without_effects_the_truth_is_the_sequence(tmp_path):
    folder = foreshap.simulate_sequence(tmp_path, 8, 0, effects={})
    for period in ("pre", "post"):
        for name, samples in traces(folder, period).items():
            np.testing.assert_array_equal(samples, traces(folder / "truth", period)[name])


@pytest.mark.parametrize(
    ("effect", "size"),
    [
        ("kappa", 0.01),
        ("stress_drop", 0.5),
        ("coda_q", 0.3),
        ("noise_band", 3.0),
        ("site_peak", 2.0),
        ("noise_level", 0.5),
        ("gain", 0.3),
        ("corner", 0.02),
    ],
)
def test_each_effect_acts_where_it_should(tmp_path, effect, size):
    folder = foreshap.simulate_sequence(tmp_path, 40, 1, effects={effect: size})
    variants = (foreshap.VARIANTS["P64"],)
    foreshap.preprocess(folder, folder, variants)
    foreshap.preprocess(folder / "truth", folder / "truth", variants)
    s, truth = (foreshap.load_spectrograms(f / "P64.h5") for f in (folder, folder / "truth"))
    change = foreshap.effect_differences(s, truth, np.arange(40)).mean(axis=0)
    f, t = s.variant.frequencies, s.variant.times
    noise = change[..., t < -0.4].mean(axis=2)  # (channel, frequency)
    late = change[..., (t > 8) & (t < 18)].mean(axis=2)
    shaking = change[..., (t > 1.5) & (t < 3)].mean(axis=2)
    inside, site = np.abs(f - 18) < 0.9, np.abs(f - 6.5) < 1.5
    if effect == "noise_band":  # amplitude x 4 between 17 and 19 Hz, in the 5 s before P
        assert noise[:, inside].mean() > 0.7 and np.abs(noise[:, np.abs(f - 18) > 6]).max() < 0.05
        before = [
            np.stack([t[:, :490] for t in traces(folder / part, "post").values()])
            for part in ("", "truth")
        ]
        power = [np.abs(np.fft.rfft(b * np.hanning(490))) ** 2 for b in before]
        line = np.abs(np.fft.rfftfreq(490, 0.01) - 18) < 0.6
        assert np.log10(power[0][..., line].sum() / power[1][..., line].sum()) == pytest.approx(
            2 * np.log10(4), abs=0.05
        )
    elif effect == "noise_level":
        np.testing.assert_allclose(noise[:, 2:-1], 1.0, atol=0.02)
    elif effect == "gain":
        np.testing.assert_allclose(
            change[:, 2:-1].mean(axis=2), 0.6, atol=0.03
        )  # waves and noise alike
    elif effect == "corner":  # one pole at 50 Hz
        expected = -np.log10(1 + (f / 50) ** 2)
        np.testing.assert_allclose(
            noise[:, 2:22], np.tile(expected, (3, 1))[:, 2:22], atol=0.03
        )  # above: what the taper leaks
        np.testing.assert_allclose(shaking[:, 2:25], np.tile(expected, (3, 1))[:, 2:25], atol=0.05)
    elif effect == "site_peak":  # the noise crosses the same site
        np.testing.assert_allclose(noise[:2, 3:25], shaking[:2, 3:25], atol=0.1)
        assert noise[:2, site].mean() > 0.1 and np.abs(noise[2]).max() < 0.02
    else:
        assert np.abs(noise).max() < 0.02
    if effect == "site_peak":
        assert shaking[:2, site].mean() > 0.1 and np.abs(shaking[2]).max() < 0.02
    if effect in ("kappa", "stress_drop"):
        expected = -2 * np.pi * f * size * np.log10(np.e) if effect == "kappa" else None
        high = (f > 12) & (f < 25)
        if effect == "kappa":
            np.testing.assert_allclose(shaking[:, high].mean(axis=0), expected[high], rtol=0.1)
        else:
            assert (
                0.1 < shaking[:, high].mean() < 4 / 3 * size
            )  # at most (drop)^(4/3) far above the corner
    if effect == "coda_q":
        assert late[:, (f > 3) & (f < 12)].mean() > shaking[:, (f > 3) & (f < 12)].mean() > 0


def test_catalogue_effects_and_nuisances(tmp_path):
    folder = foreshap.simulate_sequence(
        tmp_path / "a", 8, 2, effects={"magnitude": 0.5, "s_p": 0.2}
    )
    pre, post = drawn(4, 2, magnitude=0.5, s_p=0.2)
    for table, drawn_table in zip(tables(folder), (pre, post)):
        np.testing.assert_array_equal(table["p_s_diff_sec"], drawn_table["p_s_diff_sec"])
    pre, post = drawn(200, 2, magnitude=0.5, s_p=0.2)
    assert post["source_magnitude"].mean() - pre["source_magnitude"].mean() == pytest.approx(
        0.5, abs=0.12
    )
    assert np.log10(post["p_s_diff_sec"].median() / pre["p_s_diff_sec"].median()) == pytest.approx(
        0.2, abs=0.04
    )
    plain = traces(foreshap.simulate_sequence(tmp_path / "b", 40, 2, effects={}), "pre")
    messy = traces(
        foreshap.simulate_sequence(
            tmp_path / "c", 40, 2, effects={"second_event": 0.5, "missing_component": 0.25}
        ),
        "pre",
    )
    lost = [name for name in messy if len(messy[name]) == 2]
    second = [name for name in messy if np.abs(messy[name][0] - plain[name][0]).max() > 1]
    assert 1 <= len(lost) <= 10 and 4 <= len(second) <= 16


def test_other_hours_and_a_noise_that_follows_them(tmp_path):
    folder = foreshap.simulate_sequence(tmp_path, 300, 5, effects={"hours": 0.8})
    foreshap.preprocess(folder, folder, (foreshap.VARIANTS["P64"],))
    s = foreshap.load_spectrograms(folder / "P64.h5")
    hour = foreshap.event_times(s.table).dt.hour.to_numpy()
    at_work = (hour >= 8) & (hour < 16)
    assert at_work[s.labels == 0].mean() == pytest.approx(1 / 3, abs=0.08)
    assert at_work[s.labels == 1].mean() == pytest.approx(0.8 + 0.2 / 3, abs=0.06)
    before = s.values[:][..., s.variant.times < -0.4].mean(axis=(1, 2, 3))
    for label in (
        0,
        1,
    ):  # of both classes: the hour makes the noise, not the class; +- 0.2 in amplitude
        noon, night = (
            before[(s.labels == label) & which].mean()
            for which in (np.abs(hour - 11.5) < 2, (hour < 3) | (hour > 20))
        )
        assert noon - night == pytest.approx(2 * 0.2 * 1.7, abs=0.25)
    after = foreshap.event_times(s.table) > pd.Timestamp(MAINSHOCK, tz="UTC")
    assert (after == (s.labels == 1)).all()


def test_stations_record_the_same_earthquakes_each_with_its_own_effects(tmp_path):
    alone = foreshap.simulate_sequence(tmp_path / "alone", 20, 5)
    pair = {"DEMO": None, "SECOND": {"path": 0.0, "gain": 0.3}}
    both = foreshap.simulate_sequence(tmp_path / "both", 20, 5, stations=pair)
    for period in ("pre", "post"):
        name = f"DEMO_{period}_attributes.csv"
        assert (alone / name).read_bytes() == (both / name).read_bytes()
        before, after = traces(alone, period), traces(both, period)
        assert all((before[trace] == after[trace]).all() for trace in before)
        first, second = (
            pd.read_csv(both / f"{station}_{period}_attributes.csv") for station in pair
        )
        of_earthquakes = [column for column in first if column.startswith("source_")]
        pd.testing.assert_frame_equal(first[of_earthquakes], second[of_earthquakes])
        assert second["trace_name"].str.startswith("SECOND.XX.").all()
        assert (first["receiver_latitude"] < second["receiver_latitude"]).all()
        km = np.hypot(
            111.2 * (second["source_latitude"] - second["receiver_latitude"]),
            81.5 * (second["source_longitude"] - second["receiver_longitude"]),
        )
        km = np.hypot(km, second["source_depth_km"])
        travel = second["s_travel_sec"] * 3.1
        assert np.abs(travel - km.clip(lower=0.5 * 6.944)).max() < 0.1
        assert not np.allclose(first["p_s_diff_sec"], second["p_s_diff_sec"])
        with h5py.File(both / f"SECOND_{period}.hdf5") as file:
            assert json.loads(file.attrs["effects"]) == {"gain": 0.3}
            assert len(file) == 10
    for folder in ("truth", "noise"):
        assert (both / folder / "SECOND_post.hdf5").exists()
    levels = []
    for folder in (both, both / "truth"):
        with h5py.File(folder / "SECOND_post.hdf5") as file:
            levels.append(np.mean([np.abs(file[name][:]).mean() for name in file]))
    assert levels[0] / levels[1] == pytest.approx(10**0.3, rel=0.02)


def test_effects_of_earthquakes_are_the_same_at_all_stations(tmp_path):
    with pytest.raises(foreshap.ForeshapError, match="stress_drop is one of earthquakes"):
        foreshap.simulate_sequence(
            tmp_path, 10, 1, {"stress_drop": 0.3}, stations={"A": None, "B": {"gain": 0.1}}
        )
    with pytest.raises(foreshap.ForeshapError, match="wind"):
        foreshap.simulate_sequence(tmp_path, 10, 1, stations={"A": {"wind": 1.0}})


def test_unknown_effects_are_refused(tmp_path):
    with pytest.raises(foreshap.ForeshapError, match="No effect weather"):
        foreshap.simulate_sequence(tmp_path, 10, 0, effects={"weather": 1})
    with pytest.raises(foreshap.ForeshapError, match="at least"):
        foreshap.simulate_sequence(tmp_path, 1, 0)
    assert not list(tmp_path.iterdir()) and len(EFFECTS) == 14
