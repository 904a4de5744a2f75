"""SHAP tensors of a network's margin by several methods, with one result type.

Positive values push toward aftershock.
"""

import copy
import inspect
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..files import ForeshapError
from ..parallel import map_in_order
from ..preprocessing.variants import CLASSES
from .methods.deep import deep
from .methods.inspection import inspect_model
from .methods.libraries import (
    deep_shap,
    expected_gradients,
    integrated_gradients,
    partition,
    partition_telea,
)
from .methods.tiles import shapley_tiles

METHODS = {
    "deep": deep,
    "deep-shap": deep_shap,
    "expected-gradients": expected_gradients,
    "integrated-gradients": integrated_gradients,
    "partition": partition,
    "partition-telea": partition_telea,
    "tiles": shapley_tiles,
}
BY_RULES = (
    "deep",
    "deep-shap",
)  # go through a network module by module: additive, if they know every module
SAMPLED = ("expected-gradients", "tiles")  # give a standard error
LARGEST_ERROR = 1e-3  # of additivity, relative to the outputs' range, that rounding can explain


@dataclass(frozen=True)
class ShapTensors:
    """SHAP tensors of some events for one output of a network.

    values: float array (N, 3, F, T)
    base_value: float, what the values of an event start from (the mean output of the background, for most
        methods); float array (N,) where the method gives each event its own
    outputs: float array (N,), the events' outputs
    additivity_error: float array (N,), |sum of values + base_value - output| over the outputs' range
    method: str
    background: int, how many background events
    standard_error: float array (N, 3, F, T), of values that were sampled; None where they weren't
    """

    values: np.ndarray
    base_value: float
    outputs: np.ndarray
    additivity_error: np.ndarray
    method: str
    background: int
    standard_error: np.ndarray = None


class ChosenOutput(nn.Module):
    """One linear combination of a network's outputs, as (N, 1): a copy of the network, without gradients of weights.

    model: torch.nn.Module
    weights: tensor (outputs,)
    """

    def __init__(self, model, weights):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("weights", weights)

    def forward(self, x):
        """Chosen output (N, 1) of inputs (N, 3, F, T)."""
        return (self.model(x) @ self.weights)[:, None]


def shap_tensors(model, x, background, method="deep", output="margin", **options):
    """SHAP tensors of some events, each with its additivity error.

    model: torch.nn.Module in evaluation mode, (N, 3, F, T) -> (N, outputs)
    x: tensor or array (N, 3, F, T), scaled as the network wants it
    background: tensor or array (B, 3, F, T), scaled alike
    method: str
        "deep": DeepLIFT-SHAP of a SpectrogramCNN (foreshap/deep.py), the numbers of the next, much sooner
        "deep-shap": shap.DeepExplainer
        "expected-gradients": shap.GradientExplainer; samples=200, seed=0
        "integrated-gradients": captum.attr.IntegratedGradients from the background's mean; steps=50
        "partition": shap.PartitionExplainer; evaluations=1000, masker="mean", "blur" or "inpaint", seed=0
        "partition-telea": the same as published; evaluations=5000
        "tiles": Shapley values of groups of pixels; tiles=None, evaluations=2000, seed=0
    output: str, "margin" for logit(aftershock) - logit(foreshock), or the only output of a network with one;
        "foreshock" or "aftershock"; "output 0", "output 1"... of a network with more
    options: of the method, as listed

    returns: ShapTensors
    raises: ForeshapError for a model in training mode or one that a method can't go through, inputs that are
        not finite or differ in shape, an empty background, an unknown method, output or option
    """
    kind = next((p.dtype for p in model.parameters()), torch.float32)
    x, background = (torch.as_tensor(a).to(kind) for a in (x, background))
    check_request(model, background, method, options)
    check_events(x, background)
    explain = explainer(model, background, method, output, **options)
    outputs, base = (outputs_of(model, part, output) for part in (x, background))
    spread = output_range(outputs, base)
    jobs = map_in_order(lambda i: explain(x[i], i), range(len(x)))
    bar = tqdm(jobs, total=len(x), desc=f"SHAP, {method}", unit="event", delay=2, leave=False)
    values, starts, errors = zip(*bar)
    values, starts = np.stack(values), np.array(starts)
    missed = additivity_error(values, starts, outputs, spread, method)
    start = float(starts[0]) if (starts == starts[0]).all() else starts
    sampled = None if errors[0] is None else np.stack(errors)
    return ShapTensors(values, start, outputs, missed, method, len(background), sampled)


def explainer(model, background, method, output="margin", **options):
    """Prepare to explain event after event.

    model, method, output, options: as in shap_tensors()
    background: tensor (B, 3, F, T)

    returns: function (event (3, F, T), key) -> values (3, F, T), base value, standard error or None; key is an
        int that seeds the event's draws; threads may share the function
    """
    weights = output_weights(model, background[:1], output)
    if method == "deep":
        return deep(model, weights, background)
    network = ChosenOutput(model, weights).eval()
    if method not in BY_RULES:
        network = network.to(
            memory_format=torch.channels_last
        )  # the same but for rounding, in half the time
    return METHODS[method](network, background, **options)


def check_request(model, background, method, options):
    """Raise ForeshapError for what can't be explained; call it before threads start, as it follows the model's forward.

    model, method, options: as in shap_tensors()
    background: tensor (B, 3, F, T)
    """
    if method not in METHODS:
        raise ForeshapError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    known = [
        name
        for name, p in inspect.signature(METHODS[method]).parameters.items()
        if p.default is not p.empty
    ]
    if unknown := [name for name in options if name not in known]:
        raise ForeshapError(
            f"The method '{method}' has no option '{unknown[0]}': it takes {', '.join(known) or 'none'}."
        )
    if model.training:
        raise ForeshapError(
            "The model is in training mode, where dropout draws anew each time: call model.eval() first."
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
            f"The events have shape {tuple(x.shape)}, the background {tuple(background.shape)}: give one variant."
        )
    if not torch.isfinite(x).all():
        raise ForeshapError("The events hold values that are not finite: leave those events out.")


def output_weights(model, event, output):
    """Weights that make one output, chosen by name, out of all outputs.

    model: torch.nn.Module
    event: tensor (1, 3, F, T)
    output: str, see shap_tensors()

    returns: tensor (outputs,)
    raises: ForeshapError for an unknown name or an event of another shape than the model's
    """
    try:
        with torch.no_grad():
            count = model(event).shape[1]
    except RuntimeError as error:
        raise ForeshapError(
            f"The model can't take events of shape {tuple(event.shape[1:])}: give the variant it was made for."
        ) from error
    names = {1: ["margin"], 2: list(CLASSES)}.get(count, [f"output {i}" for i in range(count)])
    if output == "margin" and count == 2:
        return torch.tensor([-1.0, 1.0]).to(event)
    if output not in names:
        raise ForeshapError(
            f"The model has no output '{output}': choose from {', '.join(names + ['margin'] * (count == 2))}."
        )
    return torch.tensor([float(name == output) for name in names]).to(event)


def outputs_of(model, x, output="margin"):
    """Chosen output of events.

    model, output: as in shap_tensors()
    x: tensor (N, 3, F, T)

    returns: float64 array (N,)
    """
    weights = output_weights(model, x[:1], output)
    with torch.no_grad():
        return torch.cat([model(part).double() @ weights.double() for part in x.split(32)]).numpy()


def output_range(outputs, base):
    """Range of the outputs of events and background, float arrays (N,) and (B,), for relative errors."""
    spread = np.ptp(np.concatenate([outputs, base]))
    if spread == 0:
        raise ForeshapError(
            "The network gives every event the same output: there is nothing to explain, train it again."
        )
    return float(spread)


def additivity_error(values, base, outputs, spread, method):
    """By how much each event's values miss its output, relative to the outputs' range.

    values: float array (N, 3, F, T)
    base: float or float array (N,)
    outputs: float array (N,)
    spread: float, range of the outputs
    method: str

    returns: float array (N,)
    raises: ForeshapError where a method that is additive by its rules misses by more than rounding explains
    """
    errors = np.abs(values.sum(axis=(1, 2, 3), dtype=np.float64) + base - outputs) / spread
    if method in BY_RULES and errors.max(initial=0) > LARGEST_ERROR:
        raise ForeshapError(
            f"The values of '{method}' miss an output by {errors.max():.1e} of the outputs' range, so the network "
            'holds something its rules get wrong: choose method="expected-gradients" or "tiles".'
        )
    return errors
