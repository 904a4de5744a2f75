"""Chains and networks of every kind under all methods: the library's numbers or a true sentence."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import foreshap

SHAPE = (3, 8, 10)
FEW = {
    "deep": {},
    "deep-shap": {},
    "expected-gradients": {"samples": 4},
    "integrated-gradients": {"steps": 3},
    "partition": {"evaluations": 20},
    "partition-telea": {"evaluations": 20},
    "tiles": {"evaluations": 50},
}
LAYERS = {  # by letter, of so many channels
    "C": lambda n: nn.Conv2d(n, 4, 3, padding=1),
    "V": lambda n: nn.Conv2d(n, 4, (2, 3)),
    "1": lambda n: nn.Conv2d(n, 4, 1, padding=1),
    "3": lambda n: nn.Conv2d(n, 4, 3, padding=3),
    "0": lambda n: nn.Conv2d(n, 4, (3, 1), padding=(0, 2)),
    "S": lambda n: nn.Conv2d(n, 4, 3, stride=2),
    "g": lambda n: nn.Conv2d(4, 4, 3, groups=2),
    "w": lambda n: nn.Conv2d(n, 4, 3, padding="same", padding_mode="reflect"),
    "B": lambda n: nn.BatchNorm2d(n),
    "R": lambda n: nn.ReLU(),
    "M": lambda n: nn.MaxPool2d(2),
    "N": lambda n: nn.MaxPool2d((1, 3)),
    "O": lambda n: nn.MaxPool2d(2, padding=1),
    "K": lambda n: nn.MaxPool2d(3, ceil_mode=True),
    "A": lambda n: nn.AvgPool2d(2),
    "a": lambda n: nn.AdaptiveAvgPool2d(2),
    "D": lambda n: nn.Dropout(),
    "I": lambda n: nn.Identity(),
    "F": lambda n: nn.Flatten(),
    "f": lambda n: nn.Flatten(2),
    "L": lambda n: nn.LazyLinear(5),
    "T": lambda n: nn.Tanh(),
    "G": lambda n: nn.GELU(),
    "E": lambda n: nn.LeakyReLU(0.2),
    "b": lambda n: nn.BatchNorm1d(5),
    "Q": lambda n: nn.PReLU(),
}
READ = (  # by "deep", too
    "FL FLRL FLRFL FLRLRL FLDRL CRFL CRL CRMFL CRAFL CRMDFL CBRFL CBRMCRFL CRMCRMFL CRMCBRAFLRL "
    "VRFL VRNFL 1RFL 3RFL 0RFL 1RMFL 3RM3RFL CIRIMFL CRMFDLRL CRMFILDRL CRMCRACRFLRLRL"
).split()
NOT_READ = (
    "CMRFL CRCMRFL VMRFL CAFL CFRL CRRFL CCRFL CRMMFL MCRFL BCRFL RFL CRBFL CRMBFL CRAMFL CRgRFL "
    "wRFL CTFL CGFL CEFL CRaFL SRFL CROFL CRKFL FLbRL LRL FLL CRfLFL CQFL FLRLb LF"
).split()


def chain(letters):
    """A seeded network of these layers and a dense one, in double precision."""
    torch.manual_seed(len(letters))
    layers, x = [], torch.randn(4, *SHAPE)
    for letter in letters:
        layers.append(LAYERS[letter](x.shape[1]))
        x = layers[-1](x)
    if x.ndim > 2:
        layers.append(nn.Flatten())
    layers.append(nn.LazyLinear(2))
    network = nn.Sequential(*layers)
    network(torch.randn(4, *SHAPE))
    return network.eval().double()


def events(n, seed=0):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed)).double()


def explained(network, method, x=None, background=None):
    """The result of a method, or its sentence."""
    x = events(2, 1) if x is None else x
    background = events(5, 2) if background is None else background
    try:
        return foreshap.shap_tensors(network, x, background, method, **FEW[method])
    except foreshap.ForeshapError as error:
        return str(error)


@pytest.mark.parametrize("letters", READ + NOT_READ)
def test_chains_have_the_librarys_numbers_or_are_refused(letters):
    if letters.endswith("L"):  # the last dense layer is the one that chain() adds
        letters = letters[:-1]
    network = chain(letters)
    found = explained(network, "deep")
    right = explained(network, "deep-shap")
    if isinstance(right, str):
        assert "DeepLIFT would be wrong" in right or "its rules get wrong" in right
        assert isinstance(found, str)
        return
    assert right.additivity_error.max() < 1e-9
    if f"{letters}L" in READ:
        np.testing.assert_allclose(found.values, right.values, atol=1e-9 * np.ptp(right.values))
    else:
        assert 'choose method="deep-shap"' in found


class Calls(nn.Module):
    """A network whose forward is the given function of itself and its input."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def headed(end, relu=None):
    """A convolution and a dense layer, with what stands between them in forward."""
    torch.manual_seed(0)
    parts = {"conv": nn.Conv2d(3, 3, 3, padding=1), "relu": relu or nn.ReLU()}
    return Calls(end, dense=nn.Linear(240, 2), **parts).double().eval()


def keeping(self, x):
    self.last = self.conv(x)
    return self.dense(self.relu(self.last).flatten(1))


def weight_normed(norm):
    network = headed(lambda self, x: self.dense(self.relu(self.conv(x)).flatten(1)))
    network.conv = norm(network.conv)
    return network


def unused(network):
    network.spare = nn.SiLU().eval()
    return network


def scripted(network):
    return torch.jit.script(chain(network))


FORWARDS = {
    "flatten": lambda self, x: self.dense(torch.flatten(self.relu(self.conv(x)), 1)),
    "view": lambda self, x: self.dense(self.relu(self.conv(x)).view(x.size(0), -1)),
    "reshape": lambda self, x: self.dense(self.relu(self.conv(x)).reshape(-1, 240)),
    "permuted": lambda self, x: self.dense(self.relu(self.conv(x)).permute(0, 2, 3, 1).flatten(1)),
    "residual": lambda self, x: self.dense((x + self.relu(self.conv(x))).flatten(1)),
    "functional ReLU": lambda self, x: self.dense(F.relu(self.conv(x)).flatten(1)),
    "twice": lambda self, x: self.dense(self.relu(self.conv(self.relu(self.conv(x)))).flatten(1)),
    "gate": lambda self, x: self.dense((x * self.relu(self.conv(x))).flatten(1)),
    "softmax": lambda self, x: self.dense(self.relu(self.conv(x)).flatten(1)).softmax(1),
    "dropout": lambda self, x: self.dense(F.dropout(self.relu(self.conv(x)), 0.5).flatten(1)),
    "(N,)": lambda self, x: self.dense(self.conv(x).flatten(1))[:, 0],
    "(N, 2, 1)": lambda self, x: self.dense(self.conv(x).flatten(1))[..., None],
    "no outputs": lambda self, x: self.dense(self.conv(x).flatten(1))[:, :0],
    "tuple": lambda self, x: (self.dense(self.conv(x).flatten(1)), x),
    "dict": lambda self, x: {"logits": self.dense(self.conv(x).flatten(1))},
    "classes": lambda self, x: self.dense(self.conv(x).flatten(1)).argmax(1, keepdim=True),
    "one event": lambda self, x: self.dense(self.conv(x).view(1, -1)),
    "mean of batch": lambda self, x: self.dense((x - x.mean(0, keepdim=True)).flatten(1)),
    "raises": lambda self, x: self.dense(self.missing(x)),
    "NaN": lambda self, x: self.dense(self.conv(x).flatten(1)) / 0 * 0,
    "constant": lambda self, x: self.dense(self.conv(x).flatten(1) * 0),
    "keeps its activation": keeping,
}
OTHERS = {
    "weight_norm": lambda: weight_normed(torch.nn.utils.weight_norm),
    "parametrised": lambda: weight_normed(torch.nn.utils.parametrizations.weight_norm),
    "spectral_norm": lambda: weight_normed(torch.nn.utils.spectral_norm),
    "unused": lambda: unused(headed(FORWARDS["flatten"])),
    "script": lambda: scripted("CRF"),
    "in place": lambda: headed(FORWARDS["flatten"], nn.ReLU(inplace=True)),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2)).double().eval(),
    "three outputs": lambda: nn.Sequential(chain("CRF"), nn.Linear(2, 3).double()).eval(),
    "mixed precision": lambda: nn.Sequential(chain("CRF"), nn.Linear(2, 2)).eval(),
    "half": lambda: chain("CRF").half(),
    "one layer in training": lambda: nn.Sequential(chain("CBRF"), nn.Dropout().train()),
    "function": lambda: torch.sin,
}
WORDS = {  # of the sentence, where there must be one, whatever the method
    **dict.fromkeys(["(N,)", "(N, 2, 1)", "no outputs", "tuple", "dict", "classes"], "one tensor"),
    "one event": "fails on an event|one tensor",
    "mean of batch": "another event stands beside",
    "dropout": "another output each time",
    "raises": "no attribute 'missing'",
    "NaN": "outputs are not finite",
    "constant": "every event the same output",
    "three outputs": "no output 'margin': choose from output 0",
    "mixed precision": "precision of its weights",
    "half": r"model.float\(\)",
    "one layer in training": "model is in training mode",
    "function": "give a torch.nn.Module",
}


@pytest.mark.parametrize("name", [*FORWARDS, *OTHERS])
@pytest.mark.filterwarnings("ignore")
def test_networks_give_numbers_or_a_sentence_under_all_methods(name):
    network = headed(FORWARDS[name]) if name in FORWARDS else OTHERS[name]()
    found = {method: explained(network, method) for method in FEW}
    for method, result in found.items():
        if name in WORDS:
            assert isinstance(result, str)
            pytest.raises(foreshap.ForeshapError, explained_or_raise, network, method).match(
                WORDS[name]
            )
        elif not isinstance(result, str):
            assert np.isfinite(result.values).all() and result.values.any()
    if name in ("flatten", "view", "reshape", "unused", "weight_norm", "keeps its activation"):
        assert not any(isinstance(result, str) for result in found.values()), found
        expected = found["deep-shap"].values
        np.testing.assert_allclose(found["deep"].values, expected, atol=1e-9 * np.ptp(expected))
    if name in ("permuted", "residual"):
        assert 'choose method="deep-shap"' in found["deep"]
        assert found["deep-shap"].additivity_error.max() < 1e-9


def explained_or_raise(network, method):
    return foreshap.shap_tensors(network, events(2, 1), events(5, 2), method, **FEW[method])


def test_additivity_is_relative_to_what_an_event_has_to_explain():
    from foreshap.explainability.attribution import additivity_error, check_additivity

    values = np.zeros((3, 1, 1, 2))
    values[0] = 0.5, 0.25
    values[1] = 20, -20
    outputs = np.array([1.0, 0.1, 0.0])
    found = additivity_error(values, np.array([0.0, 0.0, 0.0]), outputs)
    assert found == pytest.approx([0.25, 0.1 / 2, 0])
    assert additivity_error(values[:1], 0.0, outputs[:1]) == pytest.approx([0.25])
    check_additivity(found, "tiles")
    for method, errors, words in (
        ("deep", found, "miss what they explain of an output by 2.5e-01"),
        ("tiles", found * np.nan, "'tiles' are not finite"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            check_additivity(errors, method)


def test_a_loud_background_event_hides_no_error():
    network, background = chain("CRMF"), events(20, 4)
    background[0] *= 1000
    x = events(2, 5)
    network.register_forward_hook(
        lambda *given: given[2] + 0.01 * given[1][0].sum((1, 2, 3))[:, None] ** 2
    )
    found = explained(network, "deep", x, background)
    assert isinstance(found, str)


def test_arrays_of_every_kind():
    network, x, background = chain("CRMF").float(), events(3, 1).float(), events(5, 2).float()
    right = explained(network, "deep", x, background).values
    wide = np.zeros((3, *SHAPE[:2], 2 * SHAPE[2]), "f4")
    wide[..., ::2] = x.numpy()
    for given in (
        x.numpy().astype(">f4"),
        x.numpy().astype("f8"),
        x.numpy()[..., ::-1].copy()[..., ::-1],
        np.asfortranarray(x.numpy()),
        wide[..., ::2],
        x.tolist(),
        x.clone().requires_grad_(),
        x.double(),
    ):
        np.testing.assert_allclose(
            explained(network, "deep", given, background).values, right, atol=1e-6
        )
    for given, words in (
        (0.0, "background has shape"),
        ("text", "can't be taken as numbers"),
        (x + 1j, "can't be taken as numbers"),
        (x[0], "background has shape"),
        ([[1.0], [2.0, 3.0]], "can't be taken as numbers"),
        (x.to_sparse(), "can't be taken as numbers"),
        (None, "can't be taken as numbers"),
    ):
        with pytest.raises(foreshap.ForeshapError, match=words):
            foreshap.shap_tensors(network, x, given)
    with torch.inference_mode():
        for method in FEW:
            assert not isinstance(explained(network, method, x.clone(), background.clone()), str)


@pytest.mark.parametrize(
    ["method", "options", "words"],
    [
        ("expected-gradients", {"samples": 20.5}, "'samples' is 20.5: give at least 0, a whole"),
        ("expected-gradients", {"seed": -1}, "'seed' is -1"),
        ("integrated-gradients", {"steps": "many"}, "'steps' is many"),
        ("partition", {"evaluations": None}, "'evaluations' is None"),
        ("partition", {"masker": ["mean"]}, "no masker"),
        ("tiles", {"tiles": "all"}, "give an integer for each"),
        ("tiles", {"tiles": [[1], [2, 3]]}, "'tiles' failed"),
    ],
)
def test_options_of_every_kind(method, options, words):
    with pytest.raises(foreshap.ForeshapError, match=words):
        foreshap.shap_tensors(chain("CRF"), events(1, 1), events(5, 2), method, **options)
    with pytest.raises(foreshap.ForeshapError, match="'deep-shap' failed .*determinis"):
        torch.use_deterministic_algorithms(True)
        try:
            foreshap.shap_tensors(chain("CRMF"), events(1, 1), events(5, 2), "deep-shap")
        finally:
            torch.use_deterministic_algorithms(False)


def test_integrated_gradients_hold_few_steps_at_once(monkeypatch):
    sizes = []
    network = chain("CRF")
    forward = type(network).forward
    monkeypatch.setattr(
        type(network), "forward", lambda self, x: sizes.append(len(x)) or forward(self, x)
    )
    foreshap.shap_tensors(network, events(1, 1), events(5, 2), "integrated-gradients", steps=200)
    assert sum(sizes) >= 200 and max(sizes) <= 20


def test_a_damaged_compilers_cache_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    code = """
import pathlib, sys, torch, foreshap
from torch import nn
from foreshap.explainability.methods.deep import compiled
torch.manual_seed(0)
n = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
x = torch.ones(4, 3, 2, 2).cumsum(0)
for pattern in ("*.none", "*.nbi", "*.nbc"):
    compiled.cache_clear()
    for file in pathlib.Path(sys.argv[1]).rglob(pattern):
        file.write_bytes(file.read_bytes()[:20])
    print(foreshap.shap_tensors(n, x[:1], x[1:]).values.sum())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) == 3 and len(set(found)) == 1 and list(tmp_path.rglob("*.nbc"))
