"""SHAP tensors: known answers, the library's numbers, additivity, sentences for what can't be."""

import copy

import numpy as np
import pytest
import shap
import torch
from torch import nn

import foreshap
from foreshap.explainability.attribution import ChosenOutput
from foreshap.training.model import Scaling

WEIGHTS = torch.tensor([-1.0, 1.0])


def library(model, x, background, weights=WEIGHTS):
    """shap.DeepExplainer on one combination of outputs, the whole background at once."""
    single = ChosenOutput(model, weights.to(x)).eval()
    return shap.DeepExplainer(single, background).shap_values(x, check_additivity=False)[..., 0]


def worst(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("method", ["deep", "deep-shap"])
def test_a_linear_network_has_its_known_answer(method):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, background = (rng.standard_normal((n, 3, 4, 5)).astype("f4") for n in (7, 45))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).eval()
    weights = model[1].weight.detach().numpy()
    expected = (weights[1] - weights[0]).reshape(3, 4, 5) * (x - background.mean(axis=0))
    found = foreshap.shap_tensors(model, x, background, method)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    logits = model(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found.outputs, logits[:, 1] - logits[:, 0], atol=1e-5)
    assert found.additivity_error.max() < 1e-6 and (found.background, found.method) == (45, method)


@pytest.mark.parametrize("method", ["deep", "deep-shap"])
def test_one_hidden_unit_follows_the_rescale_rule(method):
    """DeepLIFT through a ReLU: the difference of outputs, shared like the differences of inputs."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    rng = np.random.default_rng(1)
    x, background = (rng.standard_normal((n, 3, 2, 2)).astype("f4") for n in (3, 8))
    w, b, (low, high) = (
        p.detach().numpy() for p in (model[1].weight[0], model[1].bias, model[3].weight[:, 0])
    )

    def hidden(a):
        return a.reshape(len(a), -1) @ w + b

    before, reference = hidden(x)[:, None], hidden(background)
    multiplier = (np.maximum(before, 0) - np.maximum(reference, 0)) / (before - reference)  # (N, B)
    difference = x.reshape(3, 1, -1) - background.reshape(1, 8, -1)
    expected = ((high - low) * multiplier[..., None] * w * difference).mean(axis=1).reshape(x.shape)
    np.testing.assert_allclose(
        foreshap.shap_tensors(model, x, background, method).values, expected, atol=1e-5
    )


@pytest.fixture(scope="module", params=foreshap.VARIANTS)
def networks(request, demo):
    """A variant's tensors, an untrained network and one after an epoch."""
    s = foreshap.load_spectrograms(demo.folder / f"{request.param}.h5")
    torch.manual_seed(0)
    untrained = foreshap.SpectrogramCNN(s.variant.shape).eval()
    result = foreshap.train(
        s, foreshap.random_split(s.table, 0), foreshap.TrainingConfig(max_epochs=1)
    )
    return s, (untrained, result.model)


@pytest.mark.parametrize(["kind", "most"], [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_deep_has_the_numbers_of_the_library(networks, kind, most):
    s, models = networks
    for model in models:
        model, x = (
            copy.deepcopy(model).to(kind),
            Scaling((0.5,) * 3, (0.2,) * 3)(s.values[:8]).to(kind),
        )
        found = foreshap.shap_tensors(model, x[:2], x[2:])
        assert found.values.shape == (2, *s.variant.shape) and found.values.dtype == str(
            kind
        ).removeprefix("torch.")
        assert worst(found.values, library(model, x[:2], x[2:])) < most
        assert found.additivity_error.max() < 1e-5
        total = found.values.sum(axis=(1, 2, 3), dtype=float) + found.base_value
        np.testing.assert_allclose(total, found.outputs, atol=1e-5 * np.ptp(found.outputs) + 1e-6)


def tied(shape):
    """Inputs full of ties: whole numbers, an event that equals a background event, an empty one."""
    x = torch.randint(-2, 3, (9, *shape), generator=torch.Generator().manual_seed(3)).to(
        torch.float64
    )
    x[1], x[4] = x[6], 0
    return x


def averaging(shape):
    model = foreshap.SpectrogramCNN(shape)
    model.features[3] = nn.AvgPool2d(2)
    return model


@pytest.mark.parametrize(
    ["shape", "make"],
    [
        ((3, 33, 20), lambda shape: foreshap.SpectrogramCNN(shape, widths=(5, 7), hidden=11)),
        ((3, 17, 40), lambda shape: foreshap.SpectrogramCNN(shape, widths=(4, 6, 8, 10))),
        ((3, 17, 40), lambda shape: foreshap.SpectrogramCNN(shape, n_outputs=1)),
        ((3, 17, 40), averaging),
        ((3, 9, 8), lambda shape: foreshap.SpectrogramCNN(shape, widths=(6,))),
    ],
    ids=["other widths", "more blocks", "one output", "average pooling", "one block"],
)
def test_other_networks_and_ties_as_in_the_library(shape, make):
    torch.manual_seed(1)
    model, x = make(shape).double(), tied(shape)
    for part in x.split(3):
        model.train()(part)  # so that batch normalisation has something to fold
    with torch.no_grad():
        model.features[0].weight.mul_(8).round_().div_(8)  # ties before the first pooling
        model.features[1].weight.copy_(
            torch.where(torch.arange(len(model.features[1].weight)) % 2 == 0, 1.0, -1.0)
        )
    model.eval()
    weights = torch.ones(1) if model.classifier[-1].out_features == 1 else WEIGHTS
    found = foreshap.shap_tensors(model, x[:5], x[5:])
    assert worst(found.values, library(model, x[:5], x[5:], weights)) < 1e-9


def test_an_output_is_chosen_by_name(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    x = checkpoint.scaling(trained.spectrograms.values[:9])
    named = {
        o: foreshap.shap_tensors(checkpoint.model, x[:2], x[2:], output=o)
        for o in ("foreshock", "aftershock")
    }
    margin = foreshap.shap_tensors(checkpoint.model, x[:2], x[2:])
    assert worst(named["aftershock"].values - named["foreshock"].values, margin.values) < 1e-4
    logits = checkpoint.model(x[:2]).detach().numpy()
    np.testing.assert_allclose(named["foreshock"].outputs, logits[:, 0], rtol=1e-5)
    three = foreshap.SpectrogramCNN((3, 33, 77), n_outputs=3).eval()
    third = foreshap.shap_tensors(three, x[:2], x[2:], output="output 2")
    np.testing.assert_allclose(third.outputs, three(x[:2]).detach().numpy()[:, 2], rtol=1e-4)
    for model, names in (
        (three, "output 0, output 1, output 2"),
        (checkpoint.model, "foreshock, aftershock, margin"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=f"no output 'fault': choose from {names}"):
            foreshap.shap_tensors(model, x[:2], x[2:], output="fault")


@pytest.mark.parametrize("method", foreshap.METHODS)
def test_every_method_gives_one_result_and_leaves_the_model_alone(trained, method):
    pytest.importorskip(
        {"integrated-gradients": "captum", "partition-telea": "cv2"}.get(method, "shap")
    )
    checkpoint = foreshap.load_checkpoint(trained.path)
    few = {
        "partition": {"evaluations": 40},
        "partition-telea": {"evaluations": 40},
        "tiles": {"evaluations": 100},
    }
    before = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    x = checkpoint.scaling(trained.spectrograms.values[:12])
    kept = x.clone()
    found = foreshap.shap_tensors(checkpoint.model, x[:2], x[2:], method, **few.get(method, {}))
    again = foreshap.shap_tensors(checkpoint.model, x[:2], x[2:], method, **few.get(method, {}))
    np.testing.assert_array_equal(found.values, again.values)
    assert (
        found.values.shape == (2, 3, 33, 77) and found.method == method and found.background == 10
    )
    assert found.additivity_error.shape == (2,) and np.isfinite(found.additivity_error).all()
    assert (found.standard_error is not None) == (method in ("expected-gradients", "tiles"))
    after = checkpoint.model.state_dict()
    assert torch.equal(x, kept) and after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(m._forward_hooks or m._backward_hooks for m in checkpoint.model.modules())
    assert all(p.requires_grad and p.grad is None for p in checkpoint.model.parameters())


def test_bad_input_gets_a_sentence(trained):
    checkpoint = foreshap.load_checkpoint(trained.path)
    x = checkpoint.scaling(trained.spectrograms.values[:6])
    model, nan = checkpoint.model, torch.full_like(x[:1], torch.nan)
    for arguments, words in {
        (model, x, x[:0]): "background has shape",
        (model, x[:0], x): "events has shape .*one at least",
        (model, x[..., :9], x): "give one variant",
        (model, x[..., :50], x[..., :50]): "variant it was made for",
        (model, nan, x): "events has shape .* not finite",
        (model, x, nan): "give finite events",
        (model, x, x, "guess"): "no method 'guess'",
    }.items():
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.shap_tensors(*arguments)
    with pytest.raises(
        foreshap.ForeshapError, match="no option 'samples': it takes evaluations, masker, seed"
    ):
        foreshap.shap_tensors(model, x, x, "partition", samples=3)
    with pytest.raises(foreshap.ForeshapError, match="training mode"):
        foreshap.shap_tensors(foreshap.SpectrogramCNN((3, 33, 77)), x, x)


@pytest.mark.parametrize(
    ["module", "words"],
    [
        (nn.GELU(), "not GELU"),
        (nn.MaxPool2d(3, stride=2), "features.3 .* overlap"),
        (nn.Conv2d(32, 32, 3, stride=2, padding=1), "stride 1"),
        (nn.ReLU(inplace=True), r"features.2 .*\(inplace=False\)"),
    ],
)
def test_a_module_that_the_rules_do_not_cover_is_named(module, words):
    torch.manual_seed(0)
    model, x = foreshap.SpectrogramCNN((3, 33, 77)).eval(), torch.randn(6, 3, 33, 77)
    place = 3 if isinstance(module, nn.MaxPool2d) else 0 if isinstance(module, nn.Conv2d) else 2
    model.features[place] = nn.Sequential(model.features[0], module) if place == 0 else module
    with torch.no_grad():
        flat = model.features(x).flatten(1).shape[1]
    model.classifier[2] = nn.Linear(flat, 128)
    model.eval()
    with pytest.raises(foreshap.ForeshapError, match=words) as caught:
        foreshap.shap_tensors(model, x[:1], x[1:])
    assert "'tiles'" in str(caught.value) or '"tiles"' in str(caught.value)
