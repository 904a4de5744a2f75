"""SHAP tensors of a network's margin by several methods; positive: toward aftershock."""

import inspect
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..files import ForeshapError, first_line, whole_number
from ..parallel import map_in_order
from ..preprocessing.variants import CLASSES
from .methods import libraries
from .methods.deep import deep
from .methods.inspection import compute_output, copy_model, inspect_model
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
LARGEST_ERROR = 1e-3  # of additivity that rounding can explain
NUMPY_TYPES = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class ShapTensors:
    """SHAP tensors of some events for one output of a network."""

    values: np.ndarray  # float (N, 3, F, T)
    base_value: float  # what values start from, mostly the background's mean output; or (N,)
    outputs: np.ndarray  # float (N,)
    additivity_error: np.ndarray  # float (N,), see additivity_error()
    method: str
    background: int  # number of events
    standard_error: np.ndarray = None  # (N, 3, F, T) of values that were sampled


class ChosenOutput(nn.Module):
    """One linear combination of outputs (N, 1) by a copy without gradients of weights."""

    def __init__(self, model, weights):
        super().__init__()
        self.model = copy_model(model).requires_grad_(False)
        self.register_buffer("weights", weights)

    def forward(self, x):
        """Compute the chosen output (N, 1) of inputs (N, 3, F, T)."""
        return (self.model(x) @ self.weights)[:, None]


@torch.inference_mode(False)  # for gradients
def shap_tensors(model, x, background, method="deep", output="margin", **options):
    """Compute SHAP tensors of some events, each with its additivity error.

    model: torch.nn.Module in evaluation mode, (N, 3, F, T) -> (N, outputs)
    x, background: tensor or array (N, 3, F, T) and (B, 3, F, T), scaled as the network wants it
    method: str
        "deep": DeepLIFT-SHAP of a SpectrogramCNN, the numbers of the next, much sooner
        "deep-shap": shap.DeepExplainer
        "expected-gradients": shap.GradientExplainer; samples=200, seed=0
        "integrated-gradients": captum.attr.IntegratedGradients from the background's mean; steps=50
        "partition": shap.PartitionExplainer; evaluations=1000, masker="mean" or "blur", seed=0
        "partition-telea": the same as published; evaluations=5000
        "tiles": Shapley values of groups of pixels; tiles=None, evaluations=2000, seed=0
    output: str, "margin" for logit(aftershock) - logit(foreshock), or the only output of a network
        with one; "foreshock" or "aftershock"; "output 0", "output 1"... of a network with more
    options: of the method, as listed

    returns: ShapTensors
    raises: ForeshapError for a model, inputs or a request that a method can't go through
    """
    if not isinstance(model, nn.Module):
        raise ForeshapError(f"The model is a {type(model).__name__}: give a torch.nn.Module.")
    dtype = torch.float32
    for weights in model.parameters():
        dtype = weights.dtype
        if dtype not in NUMPY_TYPES or weights.device.type != "cpu":
            raise ForeshapError(
                f"The model has weights of {dtype} on the device {weights.device}: "
                "call model.float().cpu() first."
            )
    x = _own_tensor(x, dtype, "events")
    background = _own_tensor(background, dtype, "background")
    check_events(x, background)
    check_request(model, torch.cat([background, x]), method, output, options)
    explain = explainer(model, background, method, output, **options)
    outputs = outputs_of(model, x, output)
    maps = map_in_order(lambda i: explain(x[i], i), range(len(x)))
    bar = tqdm(maps, total=len(x), desc=f"SHAP, {method}", unit="event", delay=2, leave=False)
    values, base, errors = zip(*bar)
    values, base = np.stack(values), np.array(base)
    missed = additivity_error(values, base, outputs)
    check_additivity(missed, method)
    if (base == base[0]).all():
        base = float(base[0])
    sampled = None if errors[0] is None else np.stack(errors)
    return ShapTensors(values, base, outputs, missed, method, len(background), sampled)


def _own_tensor(values, dtype, name):
    """Copy an array of numbers of any kind, byte order and layout to a tensor."""
    try:
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().numpy()
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it holds {array.dtype}")
        return torch.from_numpy(array.astype(NUMPY_TYPES[dtype], order="C"))
    except Exception as error:  # of whatever library the values come from
        raise ForeshapError(
            f"The {name} can't be taken as numbers ({first_line(error)}): give a tensor or array "
            "(N, channel, frequency, time)."
        ) from error


def explainer(model, background, method, output="margin", **options):
    """Prepare to explain one event after another; arguments as in shap_tensors().

    returns: function (event (3, F, T), key) -> values (3, F, T), base value, standard error or
        None; key is an int that seeds the event's draws; threads may share the function
    """
    with _named_failure(method):
        weights = output_weights(compute_output(model, background[:1]), output)
        if method == "deep":
            return _named_failure(method)(deep(model, weights, background))
        network = ChosenOutput(model, weights).eval()
        if method not in BY_RULES:
            network.to(memory_format=torch.channels_last)  # half the time
            try:
                network(background[:1].repeat(2, 1, 1, 1))
            except RuntimeError:  # .view() in it doesn't allow that
                network.to(memory_format=torch.contiguous_format)
        explain = METHODS[method](network, background, **all_options(method, options))
        return _named_failure(method)(explain)


@contextmanager
def _named_failure(method):
    """Turn what torch, a library or a user's module raises into a sentence."""
    try:
        yield
    except (ForeshapError, MemoryError):
        raise
    except Exception as error:
        raise ForeshapError(
            f"The method '{method}' failed ({type(error).__name__}: {first_line(error)}): "
            f"choose another of {', '.join(METHODS)}."
        ) from error


def all_options(method, options):
    """Complete the options of a method, dict, by its defaults; ForeshapError for unknown ones."""
    if method not in METHODS:
        raise ForeshapError(f"There is no method '{method}': choose from {', '.join(METHODS)}.")
    known = {}
    for name, parameter in inspect.signature(METHODS[method]).parameters.items():
        if parameter.default is not parameter.empty:
            known[name] = parameter.default
    for name, value in options.items():
        if name not in known:
            raise ForeshapError(
                f"The method '{method}' has no option '{name}': "
                f"it takes {', '.join(known) or 'none'}."
            )
        if isinstance(known[name], int):
            value = whole_number(f"The option '{name}'", value)
        known[name] = value
    return known


def check_request(model, events, method, output, options):
    """Raise ForeshapError for what can't be explained; call it before threads start."""
    all_options(method, options)
    inspect_model(model, events[:1], rules=method in BY_RULES)
    if len(events) > 1 and np.ptp(outputs_of(model, events, output)) == 0:
        raise ForeshapError(
            "The network gives every event the same output: "
            "there is nothing to explain, train it again."
        )


def check_events(x, background):
    """Raise ForeshapError unless events (N, 3, F, T) and background are finite and of one shape."""
    for name, events in {"background": background, "array of events": x}.items():
        shape = tuple(events.shape)
        if len(shape) != 4 or 0 in shape or not torch.isfinite(events).all():
            raise ForeshapError(
                f"The {name} has shape {shape}, or values that are not finite: give finite events "
                "(N, channel, frequency, time), one at least."
            )
    if x.shape[1:] != background.shape[1:]:
        raise ForeshapError(
            f"The events have shape {tuple(x.shape)}, the background {tuple(background.shape)}: "
            "give one variant."
        )


def output_weights(outputs, name):
    """Make weights, tensor (outputs,), that pick one output by name from outputs (N, outputs)."""
    count = outputs.shape[1]
    if count == 1:
        choices = {"margin": [1.0]}
    elif count == 2:
        choices = {CLASSES[0]: [1.0, 0.0], CLASSES[1]: [0.0, 1.0], "margin": [-1.0, 1.0]}
    else:
        choices = {f"output {i}": row for i, row in enumerate(np.eye(count).tolist())}
    if name not in choices:
        raise ForeshapError(f"The model has no output '{name}': choose from {', '.join(choices)}.")
    return torch.tensor(choices[name]).to(outputs)


def outputs_of(model, x, output="margin"):
    """Compute a chosen output of events.

    model, output: as in shap_tensors()
    x: tensor (N, 3, F, T)

    returns: float64 array (N,)
    """
    parts = [compute_output(model, part).double() for part in x.split(32)]
    weights = output_weights(parts[0], output)
    return torch.cat([part @ weights for part in parts]).numpy()


def additivity_error(values, base, outputs):
    """Compute by how much each event's values (N, 3, F, T) miss its output, relative, float (N,).

    Relative to |output - base value|, but at least a twentieth of all that is summed and a
    hundredth of the outputs' sizes: where nothing is left to explain, rounding is no error.
    """
    axes = (1, 2, 3)
    missed = np.abs(values.sum(axis=axes, dtype=np.float64) + base - outputs)
    summed = np.abs(values).sum(axis=axes, dtype=np.float64) / 20
    sizes = (np.abs(base) + np.abs(outputs)) / 100 + np.finfo(float).tiny
    return missed / np.max([np.abs(outputs - base), summed, sizes], axis=0)


def check_additivity(errors, method):
    """Raise ForeshapError for values that aren't finite or miss by more than rounding explains."""
    if not np.isfinite(errors).all():
        raise ForeshapError(
            f"The values of '{method}' are not finite: the network overflows between an event and "
            "its background; train it again or choose another method."
        )
    if method in BY_RULES and errors.max() > LARGEST_ERROR:
        raise ForeshapError(
            f"The values of '{method}' miss what they explain of an output by {errors.max():.1e}, "
            "so the network holds something its rules get wrong, such as a function in forward: "
            'make it a module of torch.nn, or choose method="expected-gradients" or "tiles".'
        )
