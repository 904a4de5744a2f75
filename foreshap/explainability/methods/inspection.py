"""What is wrong with a model, for all methods or for DeepLIFT's rules, found beforehand."""

import copy
import threading
from collections import Counter

import torch
from torch import fx

from ...files import ForeshapError, first_line

UNCHANGED = {"AlphaDropout", "Dropout", "Dropout2d", "Dropout3d", "Flatten", "Identity"}
LINEAR = {"Linear"}
for kind in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool", "AdaptiveAvgPool"):
    LINEAR |= {f"{kind}1d", f"{kind}2d", f"{kind}3d"}
ELEMENTWISE = {"ELU", "GELU", "LeakyReLU", "ReLU", "SELU", "Sigmoid", "Softplus", "Tanh"}
POOLING = {"MaxPool1d", "MaxPool2d", "MaxPool3d"}
LINEAR_FUNCTIONS = set(
    "add cat chunk contiguous flatten getitem mean neg permute reshape split squeeze stack sub sum "
    "transpose unflatten unsqueeze view".split()
)
SIZE_METHODS = {"dim", "size"}  # they give no activations
SIZE_ATTRIBUTES = {"device", "dtype", "ndim", "shape"}
OTHERWISE = "or use the method 'expected-gradients' or 'tiles'"
ALIKE = {"rtol": 1e-3, "atol": 1e-4}
TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Follow a forward in one thread: torch patches the modules of all threads meanwhile."""

    def __init__(self):
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m, forward, args, kwargs):
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def copy_model(model):
    """Copy a model; ForeshapError where it can't be copied.

    Tensors that a forward pass left in attributes (weight normalisation does) lose their history.
    """
    left = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                left[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, left)
    except Exception as error:  # whatever the user's modules hold
        raise ForeshapError(
            f"The model can't be copied ({first_line(error)}): let it keep nothing but weights, "
            "buffers and plain values."
        ) from error


def compute_output(model, events):
    """Compute a model's outputs (N, outputs) of events (N, 3, F, T).

    raises: ForeshapError where it fails, or gives something else or values that are not finite
    """
    try:
        with torch.no_grad():
            output = model(events)
    except Exception as error:  # whatever the user's forward raises
        raise ForeshapError(
            f"The model fails on an event of shape {tuple(events.shape)} ({first_line(error)}): "
            "give events of the variant it was made for, in the precision of its weights."
        ) from error
    kind = type(output).__name__
    if isinstance(output, torch.Tensor):
        kind = f"{output.dtype} of shape {tuple(output.shape)}"
    is_tensor = isinstance(output, torch.Tensor) and output.is_floating_point()
    if not is_tensor or output.ndim != 2 or len(output) != len(events) or output.shape[1] == 0:
        raise ForeshapError(
            f"The model gives {kind} for a batch of {len(events)}: let its forward return one "
            "tensor (events, outputs) of floating-point numbers."
        )
    if not torch.isfinite(output).all():
        raise ForeshapError(
            "The network's outputs are not finite: train it again with a lower learning rate, "
            "or scale the events as in training."
        )
    return output


def inspect_model(model, event, rules=True):
    """Raise where no method can explain a model, or where DeepLIFT's rules would be wrong.

    The rules (Shrikumar et al., 2017), shap.DeepExplainer's or ours, compare a module's input and
    output for the event and the background. So each non-linearity must be a module of a known kind
    and work once, out of place, on one input.

    model: torch.nn.Module, (N, 3, F, T) -> (N, outputs), the user's own and not a wrapper
    event: tensor (1, 3, F, T), one that the model shall explain
    rules: bool, whether the rules are asked about

    raises: ForeshapError naming the module or function; for a module in training mode; for outputs
        that are no finite tensor (N, outputs), or depend on chance or on the event beside
    """
    if any(module.training for module in model.modules()):
        raise ForeshapError(
            "The model is in training mode, where dropout draws anew each time: "
            "call model.eval() first."
        )
    own = copy_model(model)
    output = compute_output(own, event)
    if not torch.allclose(compute_output(own, event), output, **ALIKE):
        raise ForeshapError(
            "The model gives an event another output each time: let its forward draw no random "
            "numbers and keep nothing in evaluation mode."
        )
    if rules:
        graph = _trace(own)
        modules = dict(own.named_modules())
        uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
        for name, count in uses.items():
            _check_module(name, modules[name], count)
        _check_functions(graph)
    both = compute_output(own, torch.cat([event, 2 * event.flip(-1) + 1]))
    if not torch.allclose(both[:1], output, **ALIKE):
        raise ForeshapError(
            "The model gives an event another output when another event stands beside it in the "
            "batch: let batch normalisation track running statistics, and let forward keep the "
            "first axis apart."
        )


def _trace(model):
    try:
        with TRACING:
            return _Tracer().trace(model)
    except Exception as error:  # torch raises many kinds
        raise ForeshapError(
            f"The model's forward can't be followed ({first_line(error)}), so nothing says that "
            "DeepLIFT is right for it: write it without conditions on its input, "
            f"{OTHERWISE}."
        ) from error


def _check_module(name, module, uses):
    """Raise where DeepLIFT has no right rule for a module that is used so many times."""
    kind = type(module).__name__
    label = f"{name} ({kind})"
    if kind not in UNCHANGED | LINEAR | ELEMENTWISE | POOLING:
        known = ", ".join(sorted(ELEMENTWISE | POOLING))
        raise _wrong(
            f"{label} is of a kind that DeepLIFT has no rule for", f"use one it knows ({known})"
        )
    if getattr(module, "inplace", False):
        raise _wrong(f"{label} overwrites its input", f"write nn.{kind}(inplace=False)")
    if kind in POOLING and not _is_plain(module):
        raise _wrong(
            f"{label} has windows that overlap or are dilated",
            "give it a stride of its window and no dilation",
        )
    if uses > 1 and kind not in UNCHANGED:
        raise _wrong(
            f"{label} is used {uses} times in a forward pass, and only the last use is kept",
            "give each use a module of its own",
        )


def _is_plain(pooling):
    """Whether no position belongs to two windows and none lies in a window's gaps."""
    sizes = []
    for size in (pooling.kernel_size, pooling.stride, pooling.dilation):
        sizes.append(size if isinstance(size, tuple) else (size,) * 3)
    return all(kernel <= stride and dilation == 1 for kernel, stride, dilation in zip(*sizes))


def _check_functions(graph):
    """Check functions that are called in forward on what comes from the input."""
    active = set()
    for node in graph.nodes:
        fed = any(other in active for other in node.all_input_nodes)
        if node.op == "placeholder" or (fed and not _is_size(node)):
            active.add(node)
            if node.op in ("call_function", "call_method"):
                _check_function(node, active)


def _is_size(node):
    if node.op == "call_method":
        return node.target in SIZE_METHODS
    return node.target is getattr and node.args[1] in SIZE_ATTRIBUTES


def _check_function(node, active):
    """Raise unless a function is linear in what comes from the input."""
    name = node.target
    if node.op == "call_function":
        name = getattr(node.target, "__name__", str(node.target))
    place = next(reversed(node.meta.get("nn_module_stack") or {}), "") or "forward"
    factors = [isinstance(argument, fx.Node) and argument in active for argument in node.args]
    if name in ("mul", "multiply", "matmul", "bmm") and sum(factors) > 1:
        raise _wrong(
            f"{place} multiplies two activations ({name})", "let the model add or concatenate them"
        )
    scales = name in ("mul", "multiply", "matmul")
    divides = name in ("div", "truediv") and node.args[1] not in active
    if not (name in LINEAR_FUNCTIONS or scales or divides):
        raise _wrong(
            f"{place} calls the function {name}", "use a module of torch.nn for it, each once"
        )


def _wrong(reason, repair):
    return ForeshapError(
        f"DeepLIFT would be wrong for this model, because {reason}: {repair}, {OTHERWISE}."
    )
