"""SHAP tensors of a network's margin by several methods, with one result type.

Positive values push toward aftershock.
"""

import copy
import inspect
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..files import ForeshapError
from ..parallel import map_in_order
from ..preprocessing.variants import CLASSES
from .methods import libraries
from .methods.deep import deep
from .methods.inspection import inspect_model
from .methods.tiles import shapley_tiles

METHODS = {
    "deep": deep,
    "deep-shap": libraries.deep_shap,
    "expected-gradients": libraries.expected_gradients,
    "integrated-gradients": libraries.integrated_gradients,
    "partition": libraries.partition,
    "partition-telea": libraries.partition_telea,
    "tiles": shapley_tiles,
}
BY_RULES = ("deep", "deep-shap")  # additive where their rules cover every module of a network
LARGEST_ERROR = 1e-3  # of additivity, relative to the outputs' range, that rounding can explain


@dataclass(frozen=True)
class ShapTensors:
    """SHAP tensors of some events for one output of a network.

    values: float array (N, 3, F, T)
    base_value: float, what the values of an event start from (the mean output of the background,
        for most methods); float array (N,) where the method gives each event its own
    outputs: float array (N,), the events' outputs
    additivity_error: float array (N,), |sum of values + base_value - output| / range of outputs
    method: str
    background: int, number of background events
    standard_error: float array (N, 3, F, T) of values that were sampled; None where they weren't
    """

    values: np.ndarray
    base_value: float
    outputs: np.ndarray
    additivity_error: np.ndarray
    method: str
    background: int
    standard_error: np.ndarray = None


class ChosenOutput(nn.Module):
    """Give one linear combination of outputs (N, 1) by a copy without gradients of weights.

    model: torch.nn.Module
    weights: tensor (outputs,)
    """

    def __init__(self, model, weights):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("weights", weights)

    def forward(self, x):
        """Compute the chosen output (N, 1) of inputs (N, 3, F, T)."""
        return (self.model(x) @ self.weights)[:, None]


def shap_tensors(model, x, background, method="deep", output="margin", **options):
    """Compute SHAP tensors of some events, each with its additivity error.

    model: torch.nn.Module in evaluation mode, (N, 3, F, T) -> (N, outputs)
    x: tensor or array (N, 3, F, T), scaled as the network wants it
    background: tensor or array (B, 3, F, T), scaled alike
    method: str
        "deep": DeepLIFT-SHAP of a SpectrogramCNN, the numbers of the next, much sooner
        "deep-shap": shap.DeepExplainer
        "expected-gradients": shap.GradientExplainer; samples=200, seed=0
        "integrated-gradients": captum.attr.IntegratedGradients from the background's mean; steps=50
        "partition": shap.PartitionExplainer; evaluations=1000, masker="mean", "blur" or "inpaint",
            seed=0
        "partition-telea": the same as published; evaluations=5000
        "tiles": Shapley values of groups of pixels; tiles=None, evaluations=2000, seed=0
    output: str, "margin" for logit(aftershock) - logit(foreshock), or the only output of a network
        with one; "foreshock" or "aftershock"; "output 0", "output 1"... of a network with more
    options: of the method, as listed

    returns: ShapTensors
    raises: ForeshapError for a model in training mode or one that a method can't go through, inputs
        that are not finite or differ in shape, an empty background, an unknown method, output or
        option
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    x = torch.as_tensor(x).to(dtype)
    background = torch.as_tensor(background).to(dtype)
    check_request(model, background, method, options)
    check_events(x, background)
    explain = explainer(model, background, method, output, **options)
    outputs = outputs_of(model, x, output)
    spread = output_range(np.concatenate([outputs, outputs_of(model, background, output)]))
    maps = map_in_order(lambda i: explain(x[i], i), range(len(x)))
    bar = tqdm(maps, total=len(x), desc=f"SHAP, {method}", unit="event", delay=2, leave=False)
    values, base, errors = zip(*bar)
    values = np.stack(values)
    base = np.array(base)
    missed = additivity_error(values, base, outputs, spread)
    check_additivity(missed, method)
    if (base == base[0]).all():
        base = float(base[0])
    sampled = None if errors[0] is None else np.stack(errors)
    return ShapTensors(values, base, outputs, missed, method, len(background), sampled)


def explainer(model, background, method, output="margin", **options):
    """Prepare to explain event after event.

    model, method, output, options: as in shap_tensors()
    background: tensor (B, 3, F, T)

    returns: function (event (3, F, T), key) -> values (3, F, T), base value, standard error or
        None; key is an int that seeds the event's draws; threads may share the function
    """
    weights = output_weights(model, background[:1], output)
    if method == "deep":
        return deep(model, weights, background)
    network = ChosenOutput(model, weights).eval()
    if method not in BY_RULES:  # the same but for rounding, in half the time
        network = network.to(memory_format=torch.channels_last)
    return METHODS[method](network, background, **options)


def all_options(method, options):
    """Complete the options of a method, dict, by its defaults; ForeshapError for unknown ones."""
    if method not in METHODS:
        raise ForeshapError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    known = {}
    for name, parameter in inspect.signature(METHODS[method]).parameters.items():
        if parameter.default is not parameter.empty:
            known[name] = parameter.default
    for name in options:
        if name not in known:
            raise ForeshapError(
                f"The method '{method}' has no option '{name}': "
                f"it takes {', '.join(known) or 'none'}."
            )
    return known | options


def check_request(model, background, method, options):
    """Raise ForeshapError for what can't be explained; call it before threads start.

    model, method, options: as in shap_tensors()
    background: tensor (B, 3, F, T)
    """
    all_options(method, options)
    if model.training:
        raise ForeshapError(
            "The model is in training mode, where dropout draws anew each time: "
            "call model.eval() first."
        )
    if len(background) == 0 or not torch.isfinite(background).all():
        raise ForeshapError(
            f"The background has shape {tuple(background.shape)}: give finite events, one at least."
        )
    if method in BY_RULES:
        inspect_model(model, background[:1])


def check_events(x, background):
    """Raise ForeshapError unless events (N, 3, F, T) are finite and of the background's shape."""
    if len(x) == 0:
        raise ForeshapError("There are no events to explain: give one at least.")
    if x.shape[1:] != background.shape[1:]:
        raise ForeshapError(
            f"The events have shape {tuple(x.shape)}, the background {tuple(background.shape)}: "
            "give one variant."
        )
    if not torch.isfinite(x).all():
        raise ForeshapError("The events hold values that are not finite: leave those events out.")


def output_weights(model, event, output):
    """Make weights that pick one output, chosen by name, out of all outputs.

    model, output: as in shap_tensors()
    event: tensor (1, 3, F, T)

    returns: tensor (outputs,)
    """
    try:
        with torch.no_grad():
            count = model(event).shape[1]
    except RuntimeError as error:
        raise ForeshapError(
            f"The model can't take events of shape {tuple(event.shape[1:])}: "
            "give the variant it was made for."
        ) from error
    if count == 1:
        choices = {"margin": [1.0]}
    elif count == 2:
        choices = {CLASSES[0]: [1.0, 0.0], CLASSES[1]: [0.0, 1.0], "margin": [-1.0, 1.0]}
    else:
        choices = {f"output {i}": row for i, row in enumerate(np.eye(count).tolist())}
    if output not in choices:
        raise ForeshapError(
            f"The model has no output '{output}': choose from {', '.join(choices)}."
        )
    return torch.tensor(choices[output]).to(event)


def outputs_of(model, x, output="margin"):
    """Compute a chosen output of events.

    model, output: as in shap_tensors()
    x: tensor (N, 3, F, T)

    returns: float64 array (N,)
    """
    weights = output_weights(model, x[:1], output).double()
    with torch.no_grad():
        parts = [model(part).double() @ weights for part in x.split(32)]
    return torch.cat(parts).numpy()


def output_range(outputs):
    """Find the range of events' outputs, float array (N,), to which errors are relative."""
    spread = np.ptp(outputs)
    if spread == 0:
        raise ForeshapError(
            "The network gives every event the same output: "
            "there is nothing to explain, train it again."
        )
    return float(spread)


def additivity_error(values, base, outputs, spread):
    """Compute by how much each event's values miss its output, relative to the outputs' range.

    values: float array (N, 3, F, T)
    base: float or float array (N,)
    outputs: float array (N,)
    spread: float or float array (N,), range of the outputs

    returns: float array (N,)
    """
    return np.abs(values.sum(axis=(1, 2, 3), dtype=np.float64) + base - outputs) / spread


def check_additivity(errors, method):
    """Raise ForeshapError where a method by rules misses by more than rounding explains."""
    largest = errors.max()
    if method in BY_RULES and largest > LARGEST_ERROR:
        raise ForeshapError(
            f"The values of '{method}' miss an output by {largest:.1e} of the outputs' range, so "
            "the network holds something its rules get wrong: "
            'choose method="expected-gradients" or "tiles".'
        )
