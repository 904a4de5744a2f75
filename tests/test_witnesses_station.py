"""Witnesses of the signal and the station on made-up evidence, against independent formulas."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import FREQUENCIES, make_evidence

from foreshap.controls.witnesses.coda_of_sequence import examine_coda_of_sequence, noise_level
from foreshap.controls.witnesses.date import examine_change, examine_date
from foreshap.controls.witnesses.noise import (
    examine_noise,
    ground_share,
    noise_features,
    whose_noise,
)
from foreshap.controls.witnesses.orientation import examine_orientation, turn_of_window
from foreshap.controls.witnesses.response import (
    ask_the_noise,
    examine_response,
    windows_against_each_other,
)
from foreshap.controls.witnesses.signal import change, distance_of, held_out, without_catalogue

TILT = -0.02 * FREQUENCIES  # log10 of power, as t* of 7 ms


def changed(**options):
    """Evidence, its Change, and what a response would be asked."""
    evidence = make_evidence(**options)
    return evidence, change(evidence)


def test_a_change_is_found_on_days_that_were_not_learnt():
    evidence, found = changed(signal=TILT)
    assert found.low > 0.75 and found.distance > 2
    _, nothing = changed()
    assert nothing.low < 0.5 < nothing.high + 0.05
    assert distance_of(0.5) == 0 and distance_of(0.9213504) == pytest.approx(2, abs=1e-4)


def test_the_discriminant_is_fishers():
    rng = np.random.default_rng(0)
    labels, blocks = np.repeat([0, 1], 300), np.arange(600) // 10
    values = rng.normal(size=(600, 2)) @ np.array([[1.0, 0.6], [0, 0.8]])
    values[labels == 1] += [1.0, -0.5]
    scores = held_out(values, labels, blocks, penalty=0.0)
    covariance = np.cov(values[labels == 0].T) + np.cov(values[labels == 1].T)
    direction = np.linalg.solve(
        covariance, values[labels == 1].mean(axis=0) - values[labels == 0].mean(axis=0)
    )
    assert np.corrcoef(scores, values @ direction)[0, 1] > 0.99


def test_what_the_catalogue_explains_is_taken_away_and_nothing_else():
    rng = np.random.default_rng(1)
    labels, size = np.repeat([0, 1], 200), rng.normal(size=400)
    values = (3 * size + 0.7 * labels)[:, None]
    rest = without_catalogue(values, pd.DataFrame({"size": size}), labels)[:, 0]
    assert rest[labels == 1].mean() - rest[labels == 0].mean() == pytest.approx(0.7, abs=0.02)
    assert (rest - 0.7 * labels).std() < 0.05 < values.std()


def test_noise_does_not_reach_the_signals_features():
    loud = make_evidence(noise=np.full(33, 0.5))
    assert change(loud).low < 0.55


def test_windows_of_an_event_do_not_see_a_steady_response():
    evidence = make_evidence(signal=TILT, noise=TILT)
    ratios = windows_against_each_other(evidence)
    assert change(evidence, values=ratios).low < 0.55
    spared = make_evidence(signal=TILT)
    spared.cross[spared.labels == 1, 1] /= 10 ** TILT[:, None, None]  # P did not change
    other = windows_against_each_other(spared)
    assert change(spared, values=other).low > 0.8
    cross = evidence.cross[7].astype(complex)
    rows = (FREQUENCIES > 3) & (FREQUENCIES < 8)
    logs = [np.log10(np.linalg.det(cross[window, :, :2, :2]).real)[rows] for window in (1, 2)]
    assert ratios.iloc[7, 0] == pytest.approx((logs[0] - logs[1])[:3].mean(), abs=1e-4)


def test_the_noise_follows_a_response_and_not_a_path():
    for noise in (TILT, None):
        evidence, found = changed(signal=TILT, noise=noise)
        answer = ask_the_noise(evidence, found.weights)
        assert answer.shows == (noise is not None) and answer.excludes == (noise is None)
        assert answer.low > 0.8 if answer.shows else answer.low < 0 < answer.high < 0.35
        assert answer.in_ground > 0.9  # the ground's share is a lower bound: b may exceed 1


def test_a_recorders_own_noise_acquits_nobody():
    evidence = make_evidence(signal=TILT)
    rng = np.random.default_rng(5)
    steady = rng.chisquare(76, (400, 2, 33)) / 76
    share = ground_share(np.log10(steady))
    assert np.median(share) < 0.1
    varying = steady * 10 ** rng.normal(0, 0.2, (400, 1, 1))
    assert np.median(ground_share(np.log10(varying))) > 0.4
    level = evidence.power[:, 0].mean(axis=(1, 2))
    evidence.cross[:, 0] /= 10 ** (level - level.mean())[:, None, None, None]
    assert "recorder's own" in whose_noise(evidence)
    finding = examine_response(evidence, change(evidence))
    assert finding.state == "open" and "recorder" in finding.could_see and finding.decides


def test_a_response_is_shown_by_the_noise_and_open_without_cross_spectra():
    evidence, found = changed(signal=TILT, noise=TILT)
    assert examine_response(evidence, found).state == "shown"
    finding = examine_response(evidence, found, under_coda=True)
    assert finding.state == "open" and "coda of the sequence" in finding.could_see
    bare, found = changed(signal=TILT, with_cross=False)
    finding = examine_response(bare, found)
    assert finding.state == "open" and "no cross-spectra" in finding.could_see


@pytest.mark.parametrize("angle", [-25.0, 15.0])
def test_a_turned_sensor_is_found_by_its_angle(angle):
    evidence = make_evidence(turn=angle)
    for window in (0, 2):
        value, low, high, explained = turn_of_window(evidence, window)
        assert value == pytest.approx(angle, abs=3) and low < value < high and explained > 0.9
    finding = examine_orientation(evidence)
    assert finding.state == "shown" and finding.group == "station"
    assert examine_orientation(make_evidence()).state == "open"
    tilted = make_evidence(signal=TILT)
    assert examine_orientation(tilted).state == "excluded"
    bare = make_evidence(signal=TILT, with_cross=False)
    assert examine_orientation(bare).state == "excluded"


def test_noise_of_the_recorders_own_cannot_say_that_the_sensor_did_not_turn():
    evidence = make_evidence(signal=TILT, level=0.0)
    assert "recorder's own" in whose_noise(evidence)
    steady = examine_orientation(evidence)  # S is polarised, and stands still
    assert steady.state == "excluded"
    evidence.cross[..., 0, 1] = evidence.cross[..., 1, 0] = 0
    evidence.cross[..., 1, 1] = evidence.cross[..., 0, 0]
    finding = examine_orientation(evidence)
    assert finding.state == "open" and "mute: the noise" in finding.could_see


def test_noise_that_changes_at_the_mainshock_is_shown():
    louder = make_evidence(n=800, noise=np.full(33, 0.3))
    finding = examine_noise(louder)
    assert finding.state == "shown" and "ground" in finding.could_see
    assert examine_noise(make_evidence(n=800)).state == "excluded"
    assert examine_noise(louder, under_coda=True).state == "open"
    nowhen = replace(louder, days=np.full(800, np.nan))
    assert examine_noise(nowhen).state == "shown"


def test_scaled_noise_is_asked_for_its_shape_alone():
    evidence = replace(make_evidence(), calibrated=False)
    evidence.tensor_spectra[evidence.labels == 1] *= 1.7
    evidence.tensor_spectra[evidence.labels == 1] += 2.0
    shapes = noise_features(evidence)
    np.testing.assert_allclose(shapes.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(shapes.std(axis=1), 1, atol=1e-6)
    assert examine_noise(evidence).state == "excluded"
    peak = np.exp(-((FREQUENCIES - 16) ** 2) / 8)
    mounted = replace(make_evidence(n=800, noise=peak), calibrated=False)
    assert examine_noise(mounted).state == "shown"


def test_a_coda_that_fades_is_told_from_a_step():
    evidence = make_evidence(n=800)
    after = evidence.labels == 1
    fading = np.where(after, 1.2 / np.sqrt(np.maximum(evidence.days, 0.1)), 0)
    step = np.where(after, 0.5, 0)
    found = []
    for louder in (fading, step, 0 * step):
        cross = evidence.cross.copy()
        cross[:, 0] *= 10 ** louder[:, None, None, None]
        found.append(examine_coda_of_sequence(replace(evidence, cross=cross)))
    assert [finding.state for finding in found] == ["shown", "excluded", "excluded"]
    assert found[0].high < 0 and 0 < found[0].keep[after].mean() < 1
    nowhen = examine_coda_of_sequence(replace(evidence, days=np.full(800, np.nan)))
    assert nowhen.state == "open" and noise_level(evidence).shape == (800,)


def test_a_change_at_the_mainshock_is_dated_and_a_slow_one_is_not():
    evidence, found = changed(n=800, signal=TILT)
    assert examine_change(found, found).state == "excluded"
    assert examine_date(evidence, found).state == "excluded"
    slow = make_evidence(n=800)
    tilt = 10 ** (TILT * slow.days[:, None] / 50)
    slow.cross[:, 1:] *= tilt[:, None, :, None, None]
    found = change(slow)
    dated = examine_date(slow, found)
    assert found.low > 0.7 and dated.state == "shown"
    nowhen = replace(slow, days=np.full(800, np.nan))
    dated = examine_date(nowhen, found)
    assert dated.state == "open" and "times" in dated.saw


def test_too_few_events_give_a_change_without_numbers_and_the_reason():
    evidence = make_evidence(n=400)
    found = change(evidence.only(np.arange(400) % 20 == 0))
    assert np.isnan(found.low) and "events" in found.reason
