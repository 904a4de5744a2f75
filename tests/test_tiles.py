"""Shapley values of tiles: known answers, brute force, standard errors, frames counted by hand."""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

import foreshap
from foreshap.explainability.attribution import ChosenOutput
from foreshap.explainability.methods.tiles import (
    halves,
    physical_tiles,
    shapley_tiles,
    tile_names,
    tile_sums,
)
from foreshap.preprocessing.variants import WINDOWS, frame_windows

P64, S64 = foreshap.VARIANTS["P64"], foreshap.VARIANTS["S64"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nonlinear(n_background, shape=(3, 4, 6), seed=0):
    """A network with strong interactions, an event and a background."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    pixels = int(np.prod(shape))
    network = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16), nn.Tanh(), nn.Linear(16, 1)).eval()
    for parameter in network.parameters():
        parameter.data = draw(*parameter.shape) / 3
    return network, draw(*shape) + 0.5, draw(n_background, *shape)


def sums(map_, tiles):
    return tile_sums(map_[None], tiles[None], tiles.max() + 1)[0]


def test_a_linear_network_has_its_known_answer():
    _, event, background = nonlinear(9)
    weights = np.random.default_rng(0).standard_normal((3, 4, 6)).astype("f4")
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 1)).eval()
    network[1].weight.data = torch.tensor(weights.reshape(1, -1))
    tiles = halves((3, 4, 6))
    pixels = weights * (event - background.mean(dim=0)).numpy()
    values, base, error = shapley_tiles(network, background, evaluations=2**12 * 9)(event, 0)
    expected = np.array([pixels[tiles == tile].sum() for tile in range(12)])
    np.testing.assert_allclose(sums(values, tiles), expected, atol=1e-4)
    for tile in range(12):
        np.testing.assert_allclose(
            values[tiles == tile], expected[tile] / (tiles == tile).sum(), atol=1e-5
        )
    assert base == pytest.approx(network(background).mean().item(), abs=1e-5) and not error.any()
    # each pair of permutations is exact for its background event: nine pairs are exact for all nine
    values, _, error = shapley_tiles(network, background, evaluations=2 * 11 * 9 + 1)(event, 0)
    np.testing.assert_allclose(sums(values, tiles), expected, atol=1e-4)
    values, _, error = shapley_tiles(network, background, evaluations=2 * 11 * 18 + 1)(event, 0)
    assert error.max() < 1e-6  # nothing scatters between pairs with the same background event


def test_all_coalitions_are_all_permutations():
    network, event, background = nonlinear(5)
    tiles = np.arange(72).reshape(3, 4, 6) % 4 + 7  # numbers need not begin at 0
    values, base, _ = shapley_tiles(network, background, tiles, evaluations=80)(event, 0)
    expected, output = np.zeros(4), lambda x: network(x).mean().item()
    for order in permutations(range(4)):
        x, before = background.clone(), output(background)
        for tile in order:
            x[:, tiles == tile + 7] = event[tiles == tile + 7]
            expected[tile] += (output(x) - before) / 24
            before = output(x)
    np.testing.assert_allclose(sums(values, tiles)[7:], expected, atol=1e-5)
    assert values.sum() + base == pytest.approx(output(event[None]), abs=1e-5)


@pytest.mark.parametrize("n_background, pairs", [(100, 25), (5, 50)])
def test_permutations_agree_with_all_coalitions_within_their_error(n_background, pairs):
    """25 of 100 background events, where scatter among these counts; and each of 5 ten times."""
    z, correlation = [], []
    for seed in range(6):
        network, event, background = nonlinear(n_background, seed=seed)
        tiles = np.minimum(halves(event.shape), 7)
        exact, base, none = shapley_tiles(network, background, tiles, 10**6)(event, 0)
        exact = sums(exact, tiles)
        for draw in range(6):
            explain = shapley_tiles(network, background, tiles, 2 * 7 * pairs + 1, seed=draw)
            values, same, error = explain(event, 0)
            assert (
                values.sum() + same == pytest.approx(exact.sum() + base, abs=1e-6)
                and not none.any()
            )
            z.append((sums(values, tiles) - exact) / sums(error, tiles))
            correlation.append(np.corrcoef(sums(values, tiles), exact)[0, 1])
    assert 0.6 < np.sqrt(np.mean(np.square(z))) < 1.5
    assert n_background == 100 or np.mean(correlation) > 0.99


def test_a_trained_network_by_permutations_and_by_all_coalitions(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    x = checkpoint.scaling(trained.spectrograms.values[:5])
    tiles = physical_tiles(P64, 2.0) // len(WINDOWS)  # component by band,
    tiles[tiles % 3 == 2] -= 1  # two of them
    exact, base, _ = shapley_tiles(
        ChosenOutput(checkpoint.model, torch.tensor([-1.0, 1.0])),
        x[1:],
        tiles,
        evaluations=2**6 * 4,
    )(x[0], 0)
    values, _, error = shapley_tiles(
        ChosenOutput(checkpoint.model, torch.tensor([-1.0, 1.0])), x[1:], tiles, evaluations=201
    )(x[0], 0)
    assert np.corrcoef(sums(values, tiles), sums(exact, tiles))[0, 1] > 0.99
    assert (np.abs(sums(values - exact, tiles)) <= 4 * sums(error, tiles)).all()
    for map_ in (values, exact):
        assert map_.sum() + base == pytest.approx(
            checkpoint.outputs(trained.spectrograms.values[:1])[0], abs=1e-6
        )


def test_a_component_that_is_not_read_gets_nothing():
    network, event, background = nonlinear(6)
    network[1].weight.data.view(16, 3, 24)[:, 1] = 0
    for evaluations in (10**5, 500):
        values, _, error = shapley_tiles(network, background, evaluations=evaluations)(event, 0)
        np.testing.assert_allclose(values[1], 0, atol=1e-7)
        assert np.abs(values[[0, 2]]).min() > 1e-4 and error[1].max() < 1e-7


def test_masked_tiles_come_from_background_events():
    seen = []

    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return x.sum(dim=(1, 2, 3))[:, None]

    _, event, background = nonlinear(5)
    before = event.clone(), background.clone()
    shapley_tiles(Recorder(), background, evaluations=400)(event, 0)
    x, tiles = torch.cat(seen), torch.from_numpy(halves(event.shape))
    assert max(map(len, seen)) <= 64 and len(x) - len(background) <= 400
    whole = (
        (x[:, None] == background).flatten(2).float().mean(2).argmax(1)
    )  # nearest background event
    present = x == event
    assert (present | (x == background[whole])).all()
    for tile in range(12):
        inside = present[:, tiles == tile]
        assert (inside.all(dim=1) | ~inside.any(dim=1)).all()
    assert torch.equal(event, before[0]) and torch.equal(background, before[1])


def test_same_bytes_in_any_order_and_in_two_threads():
    torch.manual_seed(0)
    network = ChosenOutput(
        foreshap.SpectrogramCNN((3, 8, 12), widths=(8, 8)), torch.tensor([-1.0, 1.0])
    ).eval()
    x = torch.randn(16, 3, 8, 12)

    def tiles_of(key):
        return (halves((3, 8, 12)) + key) // 2

    explain = shapley_tiles(network, x[8:], tiles_of, evaluations=101, seed=3)
    alone = [explain(x[key], key) for key in range(8)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda key: explain(x[key], key), reversed(range(8))))[::-1]
    for a, b in zip(alone, together):
        assert (
            a[0].tobytes() == b[0].tobytes() and a[1] == b[1] and a[2].tobytes() == b[2].tobytes()
        )
    other = shapley_tiles(network, x[8:], tiles_of, evaluations=101, seed=4)(x[0], 0)
    assert not np.array_equal(other[0], alone[0][0]) and not np.array_equal(
        explain(x[0], 2)[0], alone[0][0]
    )


@pytest.mark.parametrize("variant", foreshap.VARIANTS.values(), ids=str)
@pytest.mark.parametrize("s_p", [0.4, 2.04, 4.3])
def test_every_pixel_lies_in_the_tile_that_its_name_says(variant, s_p):
    tiles, names = physical_tiles(variant, s_p), tile_names()
    assert tiles.shape == variant.shape and tiles.dtype == np.int8 and len(names) == 36
    p = 0 if variant.phase == "P" else -s_p
    ends = variant.times + variant.nperseg / variant.sampling_rate / 2
    limits = {
        "before P": (-9, p),
        "P to S": (p, p + s_p),
        "S": (p + s_p, p + 2 * s_p),
        "coda": (p + 2 * s_p, 99),
    }
    count = np.zeros(variant.shape, dtype=int)
    for tile, (component, band, window) in names.iterrows():
        low, high = map(float, band.removesuffix(" Hz").split("-"))
        rows = (low <= variant.frequencies) & (variant.frequencies < high + (high == 50))
        frames = (limits[window][0] + 1e-7 < ends) & (ends <= limits[window][1] + 1e-7)
        inside = np.zeros(variant.shape, dtype=bool)
        inside["ENZ".index(component)] = rows[:, None] & frames
        np.testing.assert_array_equal(tiles == tile, inside)
        count += inside
    assert (count == 1).all()


def test_windows_and_bands_counted_by_hand():
    """Frame k ends 0.64 + 0.32 k s into the window, row k is 1.5625 k Hz.

    P64, S-P 2.04 s: P at 5 s ends frame 13.6, S at 7.04 s frame 20 exactly, 9.08 s frame 26.4.
    S64, S-P 2.04 s: P at 2.96 s frame 7.25, S at 5 s frame 13.6, 7.04 s frame 20 exactly.
    """
    for variant, last in ((P64, (13, 20, 26, 76)), (S64, (7, 13, 20, 60))):
        tiles = physical_tiles(variant, 2.04)
        windows = np.repeat(np.arange(4), np.diff([-1, *last]))
        bands = np.repeat(np.arange(3), [4, 9, 20])  # to 4.6875 Hz, to 18.75 Hz, to 50 Hz
        expected = np.arange(3)[:, None, None] * 12 + bands[:, None] * 4 + windows
        np.testing.assert_array_equal(tiles, expected)
    assert not np.isin(
        physical_tiles(S64, 4.9) % 4, 0
    ).any()  # no frame ends before P: the tile is absent
    assert tile_names().loc[35].tolist() == ["Z", "20-50 Hz", "coda"]


@pytest.mark.parametrize("variant", foreshap.VARIANTS.values(), ids=str)
def test_frames_that_end_on_an_arrival_are_counted_in_samples(variant):
    ends = (
        variant.nperseg
        + variant.hop * np.arange(variant.shape[2])
        - round(100 * variant.seconds_before)
    )
    for s_p in range(20, 500):  # hundredths of a second, one sample each
        p = 0 if variant.phase == "P" else -s_p
        expected = (ends > p).astype(int) + (ends > p + s_p) + (ends > p + 2 * s_p)
        np.testing.assert_array_equal(frame_windows(variant, s_p / 100), expected)


def test_halves_are_twelve_boxes():
    tiles = halves((3, 5, 4))
    expected = np.array([[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 2)
    np.testing.assert_array_equal(tiles, np.stack([expected, expected + 4, expected + 8]))


def test_sums_over_tiles():
    values, tiles = (
        np.random.default_rng(0).standard_normal((4, 3, 5, 6)),
        np.stack([halves((3, 5, 6))] * 4),
    )
    tiles[2] = 3
    expected = [[values[i][tiles[i] == tile].sum() for tile in range(14)] for i in range(4)]
    np.testing.assert_allclose(tile_sums(values, tiles, 14), expected, atol=1e-12)
    np.testing.assert_allclose(tile_sums(values, tiles[:1], 14)[3], expected[3], atol=1e-12)
    assert tile_sums(values[:0], tiles[:1], 14).shape == (0, 14)


def test_bad_input_gets_a_sentence():
    network, event, background = nonlinear(5)
    whole = np.zeros((3, 4, 6), dtype=int)
    for tiles, evaluations, words in (
        (whole[:, :3], 2000, r"shape \(3, 3, 6\), the event has \(3, 4, 6\)"),
        (whole + 0.5, 2000, "tiles are float64"),
        (None, 44, "44 evaluations are too few for 12 tiles: give at least 45"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            shapley_tiles(network, background, tiles, evaluations)(event, 0)
    assert shapley_tiles(network, background, evaluations=45)(event, 0)[2].any()
    values, base, _ = shapley_tiles(network, background, whole, evaluations=3)(event, 0)
    assert values.sum() + base == pytest.approx(
        network(event[None]).item(), abs=1e-5
    )  # one tile: all of it
    with pytest.raises(foreshap.ForeshapError, match="S-P time of -0.2 s"):
        physical_tiles(P64, -0.2)


def test_an_event_without_s_has_windows_of_two_seconds_after_p():
    p64, s64 = foreshap.VARIANTS["P64"], foreshap.VARIANTS["S64"]
    known, unknown = (foreshap.physical_tiles(p64, s_p) for s_p in (2.0, float("nan")))
    np.testing.assert_array_equal(unknown, known)
    with pytest.raises(foreshap.ForeshapError, match="leave the event out"):
        foreshap.physical_tiles(s64, float("nan"))
