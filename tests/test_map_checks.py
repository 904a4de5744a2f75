"""What can prove a map wrong: known answers, other programs, and maps without information."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

import foreshap
from foreshap.controls import map_checks
from foreshap.preprocessing.simulation import MAINSHOCK
from foreshap.preprocessing.variants import WINDOWS, frame_windows

SHAPE = (3, 8, 10)
MEASURES = ["relevance mass", "rank accuracy", "ROC AUC", "correlation"]


def effects(n, rng):
    """A block of effect, of either sign, over a weak rest; labels."""
    differences, sign = 0.01 * rng.standard_normal((n, *SHAPE)), rng.choice([-1, 1])
    differences[:, :, 2:5, 3:7] = rng.uniform(0.8, 1.0, (n, 3, 3, 4)) * sign
    return differences, rng.integers(2, size=n)


def scored(values, differences, labels):
    return map_checks.truth_scores(
        values, differences, labels, map_checks.effect_region(differences)
    )


def toward_class(values, labels):
    return values * np.where(labels == 1, 1, -1)[:, None, None, None]


def test_the_perfect_map_has_perfect_scores():
    differences, labels = effects(12, np.random.default_rng(0))
    scores = scored(toward_class(np.abs(differences), labels), differences, labels)
    assert list(scores.index) == MEASURES and list(scores.columns) == [
        "value",
        "low",
        "high",
        "chance",
        "n_events",
    ]
    assert scores.loc["relevance mass", "value"] > 0.9
    assert (scores.loc[["rank accuracy", "ROC AUC"], "value"] == 1).all()
    np.testing.assert_allclose(scores.loc["correlation", ["value", "low", "high"]].astype(float), 1)
    np.testing.assert_allclose(scores["chance"], [0.15, 0.15, 0.5, 0])  # 36 of 240 pixels
    assert (scores["n_events"] == 12).all()
    inverted = scored(toward_class(-np.abs(differences), labels), differences, labels)
    np.testing.assert_allclose(inverted["value"], scores["value"] * [1, 1, 1, -1])


def test_random_maps_score_chance():
    rng = np.random.default_rng(1)
    differences, labels = effects(200, rng)
    scores = scored(rng.standard_normal(differences.shape), differences, labels)
    assert ((scores["low"] < scores["chance"]) & (scores["chance"] < scores["high"])).all()
    assert ((scores["high"] - scores["low"]) < 0.04).all()


def test_truth_scores_are_those_of_other_programs():
    rng = np.random.default_rng(2)
    differences, labels = effects(9, rng)
    values = rng.standard_normal(differences.shape) + toward_class(np.abs(differences), labels)
    region = np.zeros(differences.shape, bool)
    region[:, :, 2:5, 3:7] = True
    expected = []
    for shap, inside, effect, label in zip(values, region, np.abs(differences), labels):
        largest = np.argsort(np.abs(shap), axis=None)[-inside.sum() :]
        mass = sum(abs(v) for v, i in zip(shap.flat, inside.flat) if i) / sum(
            abs(v) for v in shap.flat
        )
        auc = roc_auc_score(inside.ravel(), np.abs(shap).ravel())
        own = shap if label == 1 else -shap
        expected.append(
            (mass, inside.flat[largest].mean(), auc, np.corrcoef(own.ravel(), effect.ravel())[0, 1])
        )
    scores = scored(values, differences, labels)
    np.testing.assert_allclose(scores["value"], np.mean(expected, axis=0))
    assert ((scores["low"] < scores["value"]) & (scores["value"] < scores["high"])).all()


def test_the_region_is_where_the_mean_effect_has_half_of_its_largest_value():
    differences = np.zeros((2, *SHAPE))
    differences[:, 0, 0, :4] = (2, -1.01, 0.99, 1)
    differences[:, 2, 3, 4] = (50, -50)  # chance: its mean is nothing
    expected = np.zeros(SHAPE, bool)
    expected[0, 0, [0, 1, 3]] = True
    np.testing.assert_array_equal(map_checks.effect_region(differences), expected)


def test_tied_pixels_count_with_their_mean():
    """A map of one value knows nothing; an event whose map is zero has a mass no more."""
    differences, labels = effects(5, np.random.default_rng(3))
    values = np.ones_like(differences)
    scores = scored(values, differences, labels)["value"]
    assert scores["rank accuracy"] == pytest.approx(0.15)
    assert scores["ROC AUC"] == pytest.approx(0.5)
    values[0] = 0
    scores = scored(values, differences, labels)
    assert scores["n_events"].tolist() == [4, 5, 5, 0]  # a constant has no correlation either
    assert scores.loc["relevance mass", "value"] == pytest.approx(0.15)


def test_bad_input_gets_a_sentence():
    differences, labels = effects(4, np.random.default_rng(4))
    with pytest.raises(foreshap.ForeshapError, match="change nothing in these events"):
        map_checks.effect_region(0 * differences)
    maps = {"a": differences, "b": differences[:3]}
    with pytest.raises(foreshap.ForeshapError, match="can't be compared"):
        map_checks.agreement({"both": [tuple(maps.values())]})
    with pytest.raises(foreshap.ForeshapError, match="can't be compared"):
        map_checks.agreement_matrix(maps)
    x = torch.randn(4, *SHAPE)
    with pytest.raises(foreshap.ForeshapError, match="tells no event"):
        map_checks.perturbation_curves(lambda t: 0 * t[:, 0, 0, 0], x, differences, x[:2])
    with pytest.raises(foreshap.ForeshapError, match="can't be compared"):
        map_checks.perturbation_curves(lambda t: t[:, 0, 0, 0], x, differences, x[:0])


@pytest.fixture
def linear():
    """A linear network, events, a background of one event, and the exact attribution."""
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    x, background = (torch.randn(n, *SHAPE, generator=generator) for n in (15, 1))

    def outputs(inputs):
        return (inputs * weight).sum(dim=(1, 2, 3)) + 0.3

    return outputs, x, background, (weight * (x - background)).numpy()


def test_a_linear_network_has_its_known_curves(linear):
    outputs, x, background, values = linear
    curves, areas = map_checks.perturbation_curves(outputs, x, values, background, steps=24)
    toward = values.reshape(15, -1) * np.sign(values.sum(axis=(1, 2, 3)))[:, None]
    ordered, whole = -np.sort(-toward, axis=1), toward.sum(axis=1).mean()
    gone = np.array(
        [[event[: 10 * step].sum() for step in range(25)] for event in ordered]
    )  # 240 pixels
    np.testing.assert_allclose(curves["share"], np.arange(25) / 24)
    np.testing.assert_allclose(curves["insertion"], gone.mean(axis=0) / whole, atol=1e-6)
    np.testing.assert_allclose(curves["deletion"], 1 - gone.mean(axis=0) / whole, atol=1e-6)
    np.testing.assert_allclose(
        areas["value"], [np.trapezoid(curves[name], curves["share"]) for name in areas.index]
    )
    assert ((areas["low"] < areas["value"]) & (areas["value"] < areas["high"])).all()
    assert (areas["n_events"] == 15).all()


def test_no_order_is_steeper_than_the_exact_one_and_the_random_one_is_straight(linear):
    outputs, x, background, values = linear
    curves, areas = map_checks.perturbation_curves(outputs, x, values, background)
    rng = np.random.default_rng(7)
    for noise in (0.3, 1, 10):
        noisy = values + noise * rng.standard_normal(values.shape)
        other, other_areas = map_checks.perturbation_curves(outputs, x, noisy, background)
        assert (other["deletion"] >= curves["deletion"] - 1e-6).all()
        assert (other["insertion"] <= curves["insertion"] + 1e-6).all()
        assert other_areas.loc["deletion", "value"] > areas.loc["deletion", "value"]
    random_orders = [
        map_checks.perturbation_curves(outputs, x, values, background, seed=s)[0] for s in range(20)
    ]
    mean = np.mean([c[["random deletion", "random insertion"]] for c in random_orders], axis=0).T
    np.testing.assert_allclose(mean, [1 - curves["share"], curves["share"]], atol=0.1)
    assert areas.loc["deletion", "high"] < areas.loc["random deletion", "low"]
    assert areas.loc["insertion", "low"] > areas.loc["random insertion", "high"]


def test_all_four_curves_begin_and_end_alike(linear):
    outputs, x, _, values = linear
    background = torch.randn(30, *SHAPE, generator=torch.Generator().manual_seed(8))
    before = x.clone(), background.clone(), values.copy()
    curves, _ = map_checks.perturbation_curves(outputs, x, values, background, seed=3)
    first, last = curves.iloc[0], curves.iloc[-1]
    assert (
        first["deletion"]
        == first["random deletion"]
        == last["insertion"]
        == last["random insertion"]
    )
    assert first["deletion"] == pytest.approx(1)
    assert (
        first["insertion"]
        == first["random insertion"]
        == last["deletion"]
        == last["random deletion"]
    )
    assert curves.equals(map_checks.perturbation_curves(outputs, x, values, background, seed=3)[0])
    starts = []  # of the events drawn from the background
    for seed in range(60):
        again, _ = map_checks.perturbation_curves(
            outputs, x, values, background, steps=1, seed=seed
        )
        starts.append(again["insertion"].iloc[0])
    assert np.mean(starts) == pytest.approx(0, abs=0.15) and len(set(starts)) == 60
    assert all(np.array_equal(a, b) for a, b in zip(before, (x, background, values)))


def test_agreement_is_that_of_scipy():
    rng = np.random.default_rng(9)
    a = rng.standard_normal((7, *SHAPE)).astype("f4")
    b = np.round(a + rng.standard_normal(a.shape), 1)  # with ties
    pairs = {"signed": [(a, b)], "absolute": [(np.abs(a), np.abs(b))]}
    found = map_checks.agreement(pairs)
    for name, ((u, v),) in pairs.items():
        expected = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(u, v)]
        assert found.loc[name, "value"] == pytest.approx(np.mean(expected))
        assert found.loc[name, "low"] < found.loc[name, "value"] < found.loc[name, "high"]
    matrix = map_checks.agreement_matrix({"a": a, "b": b, "minus a": -a})
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert matrix.loc["a", "b"] == matrix.loc["b", "a"] == pytest.approx(found["value"].iloc[0])
    assert matrix.loc["a", "minus a"] == pytest.approx(-1)


def test_independent_maps_do_not_agree():
    a, b = np.random.default_rng(10).standard_normal((2, 100, *SHAPE))
    found = map_checks.agreement({"both": [(a, b)]}).iloc[0]
    assert abs(found["value"]) < 0.02 and found["low"] < 0 < found["high"]
    a[0] = 0  # a map of zeros has no ranks
    assert map_checks.agreement({"both": [(a, b)]})["n_events"].tolist() == [99]
    assert map_checks.agreement_matrix({"a": a, "b": b}).notna().all(axis=None)


def pixel_areas(variant):
    """Area of each pixel [s Hz], half as much at 0 Hz and at the Nyquist frequency."""
    heights = np.full(variant.shape[1], variant.sampling_rate / variant.nperseg)
    heights[[0, -1]] /= 2
    return np.outer(heights, np.full(variant.shape[2], variant.hop / variant.sampling_rate))


def test_common_axes_keep_sums_and_densities():
    p64, p32 = foreshap.VARIANTS["P64"], foreshap.VARIANTS["P32"]
    values = np.random.default_rng(11).standard_normal((2, *p64.shape))
    binned = map_checks.on_axes(values, p64, np.linspace(-6, 21, 14), np.linspace(0, 50, 7))
    assert binned.shape == (2, 3, 6, 13)
    np.testing.assert_allclose(binned.sum(axis=(2, 3)), values.sum(axis=(2, 3)))
    between = (p64.frequencies[1:] + p64.frequencies[:-1]) / 2
    own_times = np.append(p64.times - 0.16, p64.times[-1] + 0.16)
    np.testing.assert_allclose(
        map_checks.on_axes(values, p64, own_times, [0, *between, 50]), values, atol=1e-12
    )
    time_edges, frequency_edges = np.array([-4.5, -1, 0.2, 1.7, 19]), np.array([0, 3, 10, 17.3, 50])
    expected = np.outer(np.diff(frequency_edges), np.diff(time_edges))
    for variant in (p64, p32):
        found = map_checks.on_axes(pixel_areas(variant), variant, time_edges, frequency_edges)
        np.testing.assert_allclose(found, expected)


def test_layers_forget_one_after_another(trained):
    model = foreshap.load_checkpoint(trained.path).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    steps = list(map_checks.randomised(model, seed=0))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    layers = [name.removesuffix(".weight") for name in before if name.endswith(".weight")]
    assert [name for name, _ in steps] == layers[::-1]
    for done, (_, forgetful) in enumerate(steps, start=1):
        weights = forgetful.state_dict()
        drawn = [
            name
            for name in layers
            if not torch.equal(weights[f"{name}.weight"], before[f"{name}.weight"])
        ]
        assert drawn == layers[-done:] and not forgetful.training
    again = list(map_checks.randomised(model, seed=0))[-1][1].state_dict()
    assert all(
        torch.equal(again[name], tensor) for name, tensor in steps[-1][1].state_dict().items()
    )
    other = list(map_checks.randomised(model, seed=1))[0][1].state_dict()
    assert not torch.equal(
        other[f"{layers[-1]}.weight"], steps[0][1].state_dict()[f"{layers[-1]}.weight"]
    )


def test_a_layer_forgets_as_it_was_made():
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 1))
    nn.init.constant_(model[0].weight, 7.0)
    (_, first), (_, last) = map_checks.randomised(model, seed=0)
    assert (first[0].weight == 7).all()
    bound = last[0].weight.abs().max().item()
    assert bound == pytest.approx(
        1 / np.sqrt(400), rel=0.01
    )  # the uniform distribution of nn.Linear


def test_the_seed_that_made_a_network_does_not_make_it_again():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 30))
    *_, (_, last) = map_checks.randomised(model, seed=0)
    for layer in (0, 2):
        both = torch.stack([model[layer].weight.flatten(), last[layer].weight.flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < 0.1


def test_maps_of_both_alignments_meet_in_time_after_p():
    """One pixel at a known time after P lands in the same bin whatever the alignment."""
    edges, s_p = (np.arange(-2, 12.1, 1.0), np.arange(0, 50.1, 10.0)), np.array([1.5, 2.7])
    found = []
    for name in ("P64", "S64"):
        variant = foreshap.VARIANTS[name]
        maps = np.zeros((2, *variant.shape))
        for k, s in enumerate(s_p):
            at = 4.5 - (s if variant.phase == "S" else 0)
            maps[k, 0, 10, np.abs(variant.times - at).argmin()] = 1
        found.append(foreshap.on_axes(maps, variant, *edges, s_p))
    for binned in found:
        assert (
            binned[:, 0, 1, 5:8].sum(axis=1) == pytest.approx(1)
        ) and binned.sum() == pytest.approx(2)
        assert (binned[:, 0, 1].argmax(axis=1) == 6).all()


def test_several_pairs_count_with_their_mean():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(10, 3, 4, 5)) for _ in range(3))
    trainings = list(combinations([a, a, b], 2))
    table = foreshap.agreement(
        {"trainings": trainings, "same": [(c, 3 * c)], "opposite": [(c, -c)], "nothing": []}
    )
    assert list(table.index) == ["trainings", "same", "opposite"]
    assert table["value"][["same", "opposite"]].to_list() == pytest.approx([1, -1])
    between = foreshap.agreement({"": [(a, b)]})["value"].iloc[0]
    assert table.loc["trainings", "value"] == pytest.approx((1 + 2 * between) / 3)


def test_randomisation_steps_lose_the_signed_map(trained):
    s, model = trained.spectrograms, trained.result.model
    x = trained.result.scaling(s.values[:8])
    maps = foreshap.shap_tensors(model, x[:3], x).values
    steps = map_checks.randomisation_steps(model, x[:3], x, maps, 0)
    layers = [name for name, layer in model.named_modules() if hasattr(layer, "reset_parameters")]
    assert list(steps.index) == layers[::-1] and abs(steps["signed"].iloc[-1][0]) < 0.3


def test_maps_of_one_earthquake_at_two_stations_are_compared():
    here, sources = np.arange(5), pd.Series(["a", "a", "b", "c", "c"])
    table = pd.DataFrame({"source_id": sources, "receiver_name": ["X", "Y", "X", "Y", "X"]})
    ((what, [(x, y)]),) = map_checks.between_stations(here, table).items()
    assert what == "stations X and Y" and x.tolist() == [0, 4] and y.tolist() == [1, 3]
    assert map_checks.between_stations(here, table.drop(columns="source_id")) == {}
    assert map_checks.between_stations(here, table.assign(receiver_name="X")) == {}


def test_maps_of_one_event_are_found_in_another_variant():
    variant, edges = foreshap.VARIANTS["P64"], (np.arange(-2, 12.1, 1.0), np.arange(0, 50.1, 10.0))
    values = np.random.default_rng(0).normal(size=(3, *variant.shape))
    table = pd.DataFrame({"trace_name": ["c", "a", "d"], "p_s_diff_sec": [1.0, 2.0, 3.0]})
    other = SimpleNamespace(table=table, values=values, variant=variant, path="maps")
    here = np.arange(3)
    mine, theirs = map_checks.same_events(here, ["a", "b", "c"], other, *edges)
    assert mine.tolist() == [0, 2]
    np.testing.assert_allclose(theirs, foreshap.on_axes(values[[1, 0]], variant, *edges))
    with pytest.raises(foreshap.ForeshapError, match="maps explains none of these events"):
        map_checks.same_events(here[:1], ["b"], other, *edges)


def test_shares_of_windows_and_bands():
    variant, s_p = foreshap.VARIANTS["P64"], np.array([1.0, 2.5])
    maps = -np.ones((2, *variant.shape))
    area = map_checks.map_shares(maps, variant, s_p)
    maps[0][..., frame_windows(variant, 1.0) != 0] = 0  # all before P
    shares = map_checks.map_shares(maps, variant, s_p)
    assert shares.loc[0, list(WINDOWS)].to_list() == [1, 0, 0, 0]
    counts = np.bincount(frame_windows(variant, 2.5), minlength=4) / variant.shape[2]
    np.testing.assert_allclose(shares.loc[1, list(WINDOWS)], counts)
    edges = [(0, 10), (10, 25), (25, 45), (45, 51)]
    expected = [
        ((variant.frequencies >= low) & (variant.frequencies < high)).mean() for low, high in edges
    ]
    np.testing.assert_allclose(area.loc[0, list(map_checks.BANDS)], expected)
    both = map_checks.share_table(shares, area, pd.DataFrame({"series": ["both", "both"]}))
    first = both[both["part"] == WINDOWS[0]].iloc[0]
    assert first["value"] == pytest.approx((1 + counts[0]) / 2) and first["n_events"] == 2
    assert first["area"] == area[WINDOWS[0]].mean() and len(both) == 8
    by = pd.DataFrame({"series": ["foreshocks", "aftershocks"], "week": [-1, 3]})
    alone = map_checks.share_table(shares, area, by)
    assert set(zip(alone["series"], alone["week"])) == {("foreshocks", -1), ("aftershocks", 3)}
    assert (alone["n_events"] == 1).all() and alone["low"].isna().all()


def test_a_narrow_band_is_named():
    variant = foreshap.VARIANTS["P64"]
    maps = np.random.default_rng(0).normal(size=(5, *variant.shape))
    assert map_checks.narrow_bands(maps, variant) == []
    maps[:, :, 12] *= 3
    (band,) = map_checks.narrow_bands(maps, variant)
    assert band[0] < variant.frequencies[12] < band[1] and band[1] - band[0] == pytest.approx(
        variant.frequencies[1]
    )


def test_weeks_are_numbered_from_the_mainshock(demo):
    s = foreshap.load_spectrograms(demo.folder / "P64.h5")
    weeks = foreshap.weeks_after(s.table, pd.Timestamp(MAINSHOCK, tz="UTC"))
    assert (np.sign(weeks + 0.5) == np.where(s.labels == 1, 1, -1)).all()
