"""What DeepLIFT's rules get wrong in a model, found before anything is computed."""

import copy
from collections import Counter

import torch
from torch import fx

from ...files import ForeshapError

UNCHANGED = {"AlphaDropout", "Dropout", "Dropout2d", "Dropout3d", "Flatten", "Identity"}
LINEAR = {
    "Linear", *(f"{kind}{n}d" for n in (1, 2, 3)
    for kind in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool", "AdaptiveAvgPool")),
}  # fmt: skip
ELEMENTWISE = {"ELU", "GELU", "LeakyReLU", "ReLU", "SELU", "Sigmoid", "Softplus", "Tanh"}
POOLING = {"MaxPool1d", "MaxPool2d", "MaxPool3d"}
LINEAR_FUNCTIONS = set(
    "add cat chunk contiguous flatten getitem mean neg permute reshape split squeeze stack sub sum transpose "
    "unflatten unsqueeze view".split()
)
SIZES = (
    {"dim", "size"},
    {"device", "dtype", "ndim", "shape"},
)  # methods and attributes that are no activations
OTHERWISE = "or use the method 'expected-gradients' or 'tiles'"


def inspect_model(model, event):
    """Raise where DeepLIFT's rules, shap.DeepExplainer's or ours, would give wrong values for a model.

    The rules (Shrikumar et al., 2017) compare a module's input and output for the event and the background.
    So each non-linearity must be a module of a known kind and work once, out of place, on one input.

    model: torch.nn.Module, (N, 3, F, T) -> (N, outputs), the user's own and not a wrapper; it is left as it is
    event: tensor (1, 3, F, T), one that the model shall explain

    raises: ForeshapError naming the module or function
    """
    if any(module.training for module in model.modules()):
        raise ForeshapError(
            "The model is in training mode, where dropout draws anew each time: call model.eval() first."
        )
    own = copy.deepcopy(model)
    output = _output(own, event)
    graph, modules = _graph(own), dict(own.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for name in calls:
        _check_module(name, modules[name])
    _check_uses(Counter(calls), modules)
    _check_functions(graph)
    _check_batch(own, event, output)


def _output(model, event):
    try:
        with torch.no_grad():
            return model(event)
    except Exception as error:  # whatever the user's forward raises
        raise ForeshapError(
            f"The model fails on an event of shape {tuple(event.shape)} ({_first_line(error)}): "
            "give events of the variant it was made for, in the precision of its weights."
        ) from error


def _graph(model):
    try:
        return fx.symbolic_trace(model).graph
    except Exception as error:  # torch raises many kinds
        raise ForeshapError(
            f"The model's forward can't be followed ({_first_line(error)}), so nothing says that DeepLIFT is right "
            f"for it: write it without conditions on its input, {OTHERWISE}."
        ) from error


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _check_module(name, module):
    kind = type(module).__name__
    label = f"{name} ({kind})"
    if kind not in UNCHANGED | LINEAR | ELEMENTWISE | POOLING:
        known = ", ".join(sorted(ELEMENTWISE | POOLING))
        _refuse(
            f"{label} is of a kind that DeepLIFT has no rule for", f"use one it knows ({known})"
        )
    if getattr(module, "inplace", False):
        _refuse(f"{label} overwrites its input", f"write nn.{kind}(inplace=False)")
    if kind in POOLING and not _is_plain(module):
        _refuse(
            f"{label} has windows that overlap or are dilated",
            "give it a stride of its window and no dilation",
        )


def _is_plain(pooling):
    """Whether no position belongs to two windows and none lies in a window's gaps."""
    sizes = (pooling.kernel_size, pooling.stride, pooling.dilation)
    axes = zip(*(size if isinstance(size, tuple) else (size,) * 3 for size in sizes))
    return all(kernel <= stride and dilation == 1 for kernel, stride, dilation in axes)


def _check_uses(uses, modules):
    for name, count in uses.items():
        kind = type(modules[name]).__name__
        if count > 1 and kind not in UNCHANGED:
            _refuse(
                f"{name} ({kind}) is used {count} times in a forward pass, and only the last use is kept",
                "give each use a module of its own",
            )


def _check_functions(graph):
    """Functions that are called in forward and aren't linear in what comes from the input."""
    active = set()
    for node in graph.nodes:
        inputs = [n for n in node.all_input_nodes if n in active]
        if node.op == "placeholder" or (inputs and not _is_size(node)):
            active.add(node)
        if node.op in ("call_function", "call_method") and node in active:
            _check_function(node, active)


def _is_size(node):
    methods, attributes = SIZES
    return (node.op == "call_method" and node.target in methods) or (
        node.target is getattr and node.args[1] in attributes
    )


def _check_function(node, active):
    name = (
        node.target
        if node.op == "call_method"
        else getattr(node.target, "__name__", str(node.target))
    )
    place = next(reversed(node.meta.get("nn_module_stack") or {}), "") or "forward"
    factors = [argument in active for argument in node.args if isinstance(argument, fx.Node)]
    if name in ("mul", "multiply", "matmul", "bmm") and sum(factors) > 1:
        _refuse(
            f"{place} multiplies two activations ({name})", "let the model add or concatenate them"
        )
    scales = name in ("mul", "multiply", "matmul") or (
        name in ("div", "truediv") and node.args[1] not in active
    )
    if name not in LINEAR_FUNCTIONS and not scales:
        _refuse(f"{place} calls the function {name}", "use a module of torch.nn for it, each once")


def _check_batch(model, event, output):
    """An event's output must not depend on the event beside it."""
    with torch.no_grad():
        both = model(torch.cat([event, 2 * event.flip(-1) + 1]))
    if len(both) != 2 or not torch.allclose(both[:1], output, rtol=1e-3, atol=1e-4):
        raise ForeshapError(
            "The model gives an event another output when another event stands beside it in the batch: "
            "let batch normalisation track running statistics, and let forward keep the first axis apart."
        )


def _refuse(what, repair):
    raise ForeshapError(
        f"DeepLIFT would be wrong for this model, because {what}: {repair}, {OTHERWISE}."
    )
