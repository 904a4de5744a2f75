"""Methods of attribution against known answers and other ways; what an inspection finds."""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import shap
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

import foreshap
from foreshap.explainability.methods import libraries as methods
from foreshap.explainability.methods.inspection import (
    ELEMENTWISE,
    LINEAR,
    POOLING,
    UNCHANGED,
    inspect_model,
)

SMALL = {  # every method, with options that make it fast
    "deep": (methods.deep_shap, {}),
    "expected-gradients": (methods.expected_gradients, {"samples": 40}),
    "integrated-gradients": (methods.integrated_gradients, {"steps": 10}),
    "partition-mean": (methods.partition, {"evaluations": 60}),
    "partition-blur": (methods.partition, {"evaluations": 60, "masker": "blur"}),
    "partition-telea": (methods.partition_telea, {"evaluations": 60}),
}


class Calls(nn.Module):
    """A network whose forward is the given function of itself and its input."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def ready(network):
    return network.eval().requires_grad_(False)


def curved(shape, dtype=torch.float64):
    """A small network that is far from linear."""
    torch.manual_seed(1)
    layers = nn.Flatten(), nn.Linear(int(np.prod(shape)), 6), nn.Tanh(), nn.Linear(6, 1)
    return ready(nn.Sequential(*layers).to(dtype))


def normal(n, shape, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(n).standard_normal((n, *shape)), dtype=dtype)


@pytest.fixture(scope="module")
def real(trained):
    """The trained network's margin, some of its events and a background."""
    checkpoint = foreshap.load_checkpoint(trained.path)
    margin = Calls(
        lambda self, x: foreshap.training.model.margin(self.model(x))[:, None],
        model=checkpoint.model,
    )
    x = checkpoint.scaling(trained.spectrograms.values[:15])
    return ready(margin), x[:3], x[3:]


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
@pytest.mark.parametrize(
    "name", ("deep", "expected-gradients", "integrated-gradients", "partition-mean")
)
def test_a_linear_network_has_its_known_answer(name, dtype):
    torch.manual_seed(0)
    network = ready(nn.Sequential(nn.Flatten(), nn.Linear(18, 1)).to(dtype))
    (event,), background = normal(1, (3, 2, 3), dtype), normal(45, (3, 2, 3), dtype)
    prepare, options = SMALL[name]
    options = options | ({"evaluations": 10**5} if "evaluations" in options else {})
    values, base, error = prepare(network, background, **options)(event, 7)
    weights = network[1].weight.reshape(3, 2, 3).numpy()
    expected = weights * (event - background.mean(dim=0)).numpy()
    tolerance = (
        1e-5 if dtype == torch.float32 else 1e-7 if name == "integrated-gradients" else 1e-12
    )
    if error is None:
        np.testing.assert_allclose(values, expected, atol=tolerance)
    else:  # of 18 values, 40 draws each
        assert 0.5 < np.sqrt(np.mean(((values - expected) / error) ** 2)) < 1.6
    assert base == pytest.approx(network(background).mean().item(), abs=1e-6)
    assert np.isfinite(values).all() and values.shape == (3, 2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_values_and_base_sum_to_the_output(real, name):
    network, x, background = real
    prepare, options = SMALL[name]
    explain, scale = prepare(network, background, **options), np.ptp(network(background).numpy())
    for key, event in enumerate(x):
        values, base, _ = explain(event, key)
        output = network(event[None]).item()
        loose = {
            "deep": 1e-4,
            "expected-gradients": 0.3,
            "integrated-gradients": 0.02,
            "partition-telea": 0.05,
        }
        tolerance = loose.get(name, 1e-5)
        assert abs(values.sum() + base - output) < tolerance * scale
        assert np.abs(values).max() > 0


def test_telea_adds_up_to_the_rounded_event(real):
    network, (event, *_), background = real
    values, base, _ = methods.partition_telea(network, background, evaluations=60)(event, 0)
    low, unit = event.min(), (event.max() - event.min()) / 255
    rounded = torch.round((event - low) / unit) * unit + low
    assert values.sum() + base == pytest.approx(network(rounded[None]).item(), abs=1e-5)
    hidden = rounded.mean(dim=(1, 2), keepdim=True).expand_as(rounded)
    assert base == pytest.approx(network(hidden[None]).item(), abs=1e-5)


def test_expected_gradients_are_those_of_their_definition():
    """Draws as the library documents them, gradients by autograd, mean and error by numpy."""
    shape, samples = (3, 2, 3), 30
    network, (event,), background = curved(shape), normal(1, shape), normal(9, shape)
    values, _, error = methods.expected_gradients(network, background, samples=samples, seed=5)(
        event, 8
    )
    draws = np.random.RandomState(np.random.default_rng([5, 8]).integers(2**32))
    terms = []
    for _ in range(samples):
        other, t = background[draws.choice(9)], draws.uniform()
        point = (t * event + (1 - t) * other).requires_grad_()
        terms.append(
            ((event - other) * torch.autograd.grad(network(point[None])[0, 0], point)[0]).numpy()
        )
    np.testing.assert_allclose(values, np.mean(terms, axis=0), atol=1e-6)
    np.testing.assert_allclose(error, np.std(terms, axis=0, ddof=1) / np.sqrt(samples), atol=1e-6)


def test_integrated_gradients_follow_the_trapezoid():
    shape = (3, 2, 3)
    network, (event,), background = curved(shape), normal(1, shape), normal(9, shape)
    values, base, _ = methods.integrated_gradients(network, background)(event, 0)
    mean, t = background.mean(dim=0), torch.linspace(0, 1, 2001, dtype=torch.float64)
    points = (mean + t[:, None, None, None] * (event - mean)).requires_grad_()
    gradients = torch.autograd.grad(network(points).sum(), points)[0]
    expected = (event - mean) * torch.trapezoid(gradients, t, dim=0)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert base == pytest.approx(network(mean[None]).item())


def siblings(pixel):
    """The groups that a pixel of (3, 2, 2) is parted from: components, frequency, then time."""
    c, f, t = pixel
    horizontal = [(k, i, j) for k, i, j in product((0, 1), (0, 1), (0, 1))]
    vertical = [(2, i, j) for i, j in product((0, 1), (0, 1))]
    groups = [horizontal] if c == 2 else [vertical, [p for p in horizontal if p[0] != c]]
    return groups + [[(c, 1 - f, 0), (c, 1 - f, 1)], [(c, f, 1 - t)]]


def test_partition_gives_owen_values():
    """Each pixel's contribution, averaged over the presence and absence of every other group."""
    shape = (3, 2, 2)
    network, (event,), background = curved(shape), normal(1, shape), normal(9, shape)
    values, base, _ = methods.partition(network, background, evaluations=10**5)(event, 0)
    mean = background.mean(dim=0)

    def output(visible):
        x = mean.clone()
        for p in visible:
            x[p] = event[p]
        return network(x[None]).item()

    for pixel in product(range(3), range(2), range(2)):
        groups, differences = siblings(pixel), []
        for present in product((0, 1), repeat=len(groups)):
            context = [p for group, there in zip(groups, present) if there for p in group]
            differences.append(output([*context, pixel]) - output(context))
        assert values[pixel] == pytest.approx(np.mean(differences), abs=1e-12)
    assert values.sum() + base == pytest.approx(network(event[None]).item(), abs=1e-12)


def test_partition_keeps_components_apart_where_the_published_setting_ties_them():
    shape = (3, 6, 8)
    reads_n = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 1))
    network = ready(Calls(lambda self, x: self.reads(x[:, 1:2]), reads=reads_n))
    (event,), background = normal(1, shape, torch.float32), normal(9, shape, torch.float32)
    for masker in methods.MASKERS:
        values, *_ = methods.partition(network, background, 200, masker)(event, 0)
        assert (
            np.abs(values[[0, 2]]).max() < 1e-7 < 1e-3 < np.abs(values[1]).max()
        )  # single precision's rounding
    tied, *_ = methods.partition_telea(network, background, evaluations=60)(event, 0)
    np.testing.assert_allclose(tied[0], tied[1], atol=1e-7)
    np.testing.assert_allclose(tied[2], tied[1], atol=1e-7)
    assert np.abs(tied).sum(axis=(1, 2)).min() > 0


def test_telea_is_what_the_library_gives_for_an_image():
    shape = (3, 2, 4)
    network = curved(shape, torch.float32)
    event = torch.tensor(
        np.random.default_rng(3).permutation(256)[:24].reshape(shape), dtype=torch.float32
    )
    event.view(-1)[:2] = torch.tensor((0.0, 255.0))  # levels of 8 bits already

    def output(images):
        return network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()

    explainer = shap.Explainer(output, shap.maskers.Image("inpaint_telea", (2, 4, 3)))
    image = event.numpy().transpose(1, 2, 0)[None]
    expected = explainer(image, max_evals=5000, silent=True).values[0, ..., 0].transpose(2, 0, 1)
    values, *_ = methods.partition_telea(network, event[None])(event, 0)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(
        values[2], values[0] + values[1], atol=1e-6
    )  # a half of every single pixel is Z's


def test_blur_smooths_each_component_on_its_own():
    """The base value is the output of what stands for an event with every pixel hidden."""
    event = normal(1, (3, 16, 24))
    network = curved((3, 16, 24))
    _, base, _ = methods.partition(network, event, 20, "blur")(event[0], 0)
    smooth = [ndimage.gaussian_filter(component, (2, 3)) for component in event[0].numpy()]
    assert base == pytest.approx(network(torch.tensor(np.array(smooth))[None]).item())


@pytest.mark.parametrize("name", SMALL)
def test_threads_give_the_bytes_of_one_and_leave_nothing_behind(real, name):
    network, x, background = real
    prepare, options = SMALL[name]
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    given, state = [x.clone(), background.clone()], np.random.get_state()[1:3]
    explain = prepare(network, background, **options)
    alone = [explain(event, key) for key, event in enumerate(x)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(explain, x[[2, 1, 0, 2]], [2, 1, 0, 2]))
    for key, found in zip([2, 1, 0, 2], together):
        assert found[1] == alone[key][1]
        for mine, other in zip(found[::2], alone[key][::2]):
            assert (mine is None and other is None) or mine.tobytes() == other.tobytes()
    assert (
        np.array_equal(np.random.get_state()[1], state[0]) and np.random.get_state()[2] == state[1]
    )
    after = network.state_dict()
    assert after.keys() == before.keys() and all(
        torch.equal(after[key], before[key]) for key in before
    )
    assert not any(
        m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in network.modules()
    )
    assert torch.equal(x, given[0]) and torch.equal(background, given[1]) and not x.requires_grad


def test_seed_and_key_decide_the_draws():
    """Draws choose points of expected gradients, and which of two equal blocks is halved first."""
    shape = (3, 4, 4)
    event, background = (
        torch.ones(shape, dtype=torch.float64),
        torch.zeros(1, *shape, dtype=torch.float64),
    )
    blocks = torch.tensor([[1.0, 3.0], [5.0, 9.0]], dtype=torch.float64).tile(3, 2, 2)
    even = ready(Calls(lambda self, x: (x * blocks).sum((1, 2, 3))[:, None]))
    for prepare, network in (
        (methods.expected_gradients, curved(shape)),
        (methods.partition, even),
    ):

        def explain(key, seed):
            return prepare(network, background, 150, seed=seed)(event, key)[0]

        assert np.array_equal(explain(1, 0), explain(1, 0))
        assert not np.array_equal(explain(1, 0), explain(2, 0))
        assert not np.array_equal(explain(1, 0), explain(1, 1))


def test_a_missing_library_and_bad_options_get_a_sentence(monkeypatch):
    network, background = curved((3, 2, 2)), normal(4, (3, 2, 2))
    for prepare, options, words in (
        (methods.partition, {"masker": "noise"}, "no masker 'noise': choose from mean, blur"),
        (methods.partition, {"evaluations": 1}, "evaluations is 1: give at least 2"),
        (methods.partition_telea, {"evaluations": 0}, "evaluations is 0"),
        (methods.expected_gradients, {"samples": 1}, "samples is 1"),
        (methods.integrated_gradients, {"steps": 0}, "steps is 0"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            prepare(network, background, **options)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        foreshap.ForeshapError, match=r"needs captum.attr, .* pip install 'foreshap\[methods\]'"
    ):
        methods.integrated_gradients(network, background)
    with pytest.raises(foreshap.ForeshapError, match=r"needs cv2, .*foreshap\[methods\]'"):
        methods.partition_telea(network, background)
    assert methods.partition(network, background)


SHAPE = (3, 6, 8)


def with_layer(*layers):
    """A convolution, some layers and a dense output, in evaluation mode."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), *layers, nn.Flatten())
    return nn.Sequential(*body, nn.Linear(body.eval()(torch.zeros(1, *SHAPE)).shape[1], 2)).eval()


def calling(function, **modules):
    """A network whose forward calls a function on what a dense layer gives."""
    torch.manual_seed(0)
    dense, output = nn.Linear(144, 20), nn.Linear(20, 2)
    return Calls(function, dense=dense, output=output, **modules).eval()


def library_error(model):
    """Largest additivity error of shap.DeepExplainer, as a share of the outputs' range."""
    model, x, background = ready(model).double(), normal(4, SHAPE), normal(30, SHAPE)
    values = (
        shap.DeepExplainer(model, background)
        .shap_values(x, check_additivity=False)
        .sum(axis=(1, 2, 3))
    )
    outputs, others = model(x).numpy(), model(background).numpy()
    return np.abs(values + others.mean(axis=0) - outputs).max() / np.ptp(others)


@pytest.mark.parametrize("name", foreshap.VARIANTS)
def test_our_network_passes_and_is_left_as_it_was(name):
    shape = foreshap.VARIANTS[name].shape
    model = foreshap.SpectrogramCNN(shape).eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    inspect_model(model, torch.zeros(1, *shape))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_kinds_of_modules_are_the_librarys():
    from shap.explainers._deep.deep_pytorch import op_handler

    kinds = {
        "passthrough": UNCHANGED,
        "linear_1d": LINEAR,
        "nonlinear_1d": ELEMENTWISE | {"Softmax"},
        "maxpool": POOLING,
    }
    for rule, names in kinds.items():
        assert names == {name for name, handler in op_handler.items() if handler.__name__ == rule}


@pytest.mark.parametrize(
    "layer",
    (
        *(getattr(nn, kind)() for kind in sorted(ELEMENTWISE)),
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, padding=1),
        nn.MaxPool2d((2, 3), ceil_mode=True),
        nn.MaxPool2d(2, stride=3),
        nn.AvgPool2d(3, stride=1),
        nn.AdaptiveAvgPool2d(2),
        nn.BatchNorm2d(5),
        nn.ConvTranspose2d(5, 4, 3),
        nn.Dropout(),
        nn.Identity(),
    ),
    ids=str,
)
def test_what_passes_is_right(layer):
    model = with_layer(layer)
    inspect_model(model, torch.zeros(1, *SHAPE))
    assert library_error(model) < 1e-12


@pytest.mark.parametrize(
    "forward",
    (
        lambda self, x: self.output(
            self.relu(self.dense((2 * x / x.shape[1] - self.shift).flatten(1)))
        ),
        lambda self, x: self.output(
            self.relu(self.dense((x + x.mean((2, 3), keepdim=True)).flatten(1)))
        ),
        lambda self, x: self.output(
            self.drop(self.relu(self.drop(self.dense(x.view(x.size(0), -1)))))
        ),
        lambda self, x: self.output(
            self.relu(self.dense(torch.cat([x[:, 2:], x[:, :2]], 1).view(-1, 144)))
        ),
        lambda self, x: self.output(self.relu(y := self.dense(x.flatten(1))) + y),
    ),
)
def test_linear_functions_pass_and_are_right(forward):
    model = calling(
        forward, relu=nn.ReLU(), drop=nn.Dropout(), shift=nn.Parameter(torch.ones(3, 1, 1))
    )
    inspect_model(model, torch.zeros(1, *SHAPE))
    assert library_error(model) < 1e-12


FOUND = {  # words of the sentence, and a model of which shap.DeepExplainer's sums are wrong
    r"2 \(ReLU\) is used 2 times": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(144, 20),
        relu := nn.ReLU(),
        nn.Linear(20, 20),
        relu,
        nn.Linear(20, 2),
    ).eval(),
    r"1 \(MaxPool2d\) has windows that overlap": lambda: with_layer(nn.MaxPool2d(3, stride=2)),
    r"1 \(SiLU\) is of a kind that DeepLIFT has no rule for": lambda: with_layer(nn.SiLU()),
    r"1 \(AdaptiveMaxPool2d\) is of a kind": lambda: with_layer(nn.AdaptiveMaxPool2d(2)),
    "another output when another event stands beside it": lambda: with_layer(
        nn.BatchNorm2d(5, track_running_stats=False)
    ),
}


@pytest.mark.parametrize("words", FOUND)
@pytest.mark.filterwarnings("ignore:unrecognized nn.Module")
def test_what_deeplift_gets_wrong_is_named(words):
    torch.manual_seed(0)
    model = FOUND[words]()
    with pytest.raises(foreshap.ForeshapError, match=words) as raised:
        inspect_model(model, torch.zeros(1, *SHAPE))
    assert str(raised.value).endswith(
        "or use the method 'expected-gradients' or 'tiles'."
    ) or "BatchNorm" in str(model)
    assert library_error(model) > 0.005


@pytest.mark.parametrize(
    "model",
    (
        calling(lambda self, x: self.output(F.relu(self.dense(x.flatten(1))))),
        calling(lambda self, x: self.output(self.dense(x.flatten(1)).sigmoid())),
        with_layer(nn.ReLU(), nn.Sequential(Calls(lambda self, x: x.tanh()))),
        Calls(
            lambda self, x: self.dense(F.max_pool2d(x, 2).flatten(1)), dense=nn.Linear(36, 2)
        ).eval(),
        calling(lambda self, x: self.output(self.dense(x.flatten(1)) ** 2)),
        calling(
            lambda self, x: self.output(
                self.dense(x.flatten(1)) * self.gate(self.dense2(x.flatten(1)))
            ),
            gate=nn.Sigmoid(),
            dense2=nn.Linear(144, 20),
        ),
    ),
    ids=("relu", "sigmoid", "tanh", "max_pool2d", "power", "product"),
)
def test_functions_that_deeplift_gets_wrong_are_refused(model):
    for method, advice in (("deep", "make F.relu"), ("deep-shap", "make it a module")):
        with pytest.raises(foreshap.ForeshapError, match=f"{advice}|of a kind"):
            foreshap.shap_tensors(model.double(), normal(4, SHAPE), normal(9, SHAPE), method)


def test_other_models_that_get_a_sentence():
    event = torch.zeros(1, *SHAPE)
    in_place = with_layer(nn.ReLU(inplace=True))
    softmax = nn.Sequential(nn.Flatten(), nn.Linear(144, 2), nn.Softmax(dim=1)).eval()
    nested = with_layer(nn.Dropout())
    nested[1].train()
    for model, x, words in (
        (in_place, event, r"1 \(ReLU\) overwrites its input: write nn.ReLU\(inplace=False\)"),
        (
            with_layer(nn.MaxPool2d(2, dilation=2)),
            event,
            r"1 \(MaxPool2d\) has windows that overlap or are dilated",
        ),
        (softmax, event, r"2 \(Softmax\) is of a kind"),
        (with_layer(), event[..., :5], r"fails on an event of shape \(1, 3, 6, 5\)"),
        (
            with_layer().train(),
            event,
            "is in training mode, where dropout draws anew each time: call model.eval",
        ),
        (nested, event, "is in training mode"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            inspect_model(model, x)


def test_what_forward_does_not_use_passes_and_what_it_keeps_is_kept():
    model = calling(
        lambda self, x: self.output(self.seen.append(1) or self.dense(x.flatten(1))),
        unused=nn.SiLU(),
    )
    model.seen = []
    inspect_model(model, torch.zeros(1, *SHAPE))
    assert not model.seen
