"""What is wrong with a model, for all methods or for DeepLIFT's rules, found beforehand."""

import copy
from collections import Counter

import torch

from ...files import ForeshapError, first_line

UNCHANGED = {"AlphaDropout", "Dropout", "Dropout2d", "Dropout3d", "Flatten", "Identity"}
LINEAR = {"Linear"}
for kind in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool", "AdaptiveAvgPool"):
    LINEAR |= {f"{kind}1d", f"{kind}2d", f"{kind}3d"}
ELEMENTWISE = {"ELU", "GELU", "LeakyReLU", "ReLU", "SELU", "Sigmoid", "Softplus", "Tanh"}
POOLING = {"MaxPool1d", "MaxPool2d", "MaxPool3d"}
ALIKE = {"rtol": 1e-3, "atol": 1e-4}


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
    """Compute a model's outputs (N, outputs) of events (N, 3, F, T); ForeshapError without any."""
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
    """Raise ForeshapError where no method can explain a model, or no rule fits one of its modules.

    The rules (Shrikumar et al., 2017), shap.DeepExplainer's or ours, compare a module's input and
    output for the event and the background. So each module must be of a known kind and work once,
    out of place, on one input. What forward does besides, the additivity of the values shows.

    event: tensor (1, 3, F, T), one that the model shall explain
    rules: bool, whether the rules are asked about
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
    both = compute_output(own, torch.cat([event, 2 * event.flip(-1) + 1]))
    if not torch.allclose(both[:1], output, **ALIKE):
        raise ForeshapError(
            "The model gives an event another output when another event stands beside it in the "
            "batch: let batch normalisation track running statistics, and let forward keep the "
            "first axis apart."
        )
    if rules:
        _check_modules(own, event)


def _check_modules(model, event):
    """Raise where DeepLIFT has no right rule for a module that a model uses."""
    uses = Counter()
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):  # it takes no hooks
            uses[name] = 1
        elif not list(module.children()):
            module.register_forward_pre_hook(lambda *call, name=name: uses.update([name]))
    compute_output(model, event)
    for name, count in uses.items():
        module = modules[name]
        kind = type(module).__name__
        fault = None
        if kind not in UNCHANGED | LINEAR | ELEMENTWISE | POOLING:
            known = ", ".join(sorted(ELEMENTWISE | POOLING))
            fault = f"is of a kind that DeepLIFT has no rule for: use one it knows ({known})"
        elif getattr(module, "inplace", False):
            fault = f"overwrites its input: write nn.{kind}(inplace=False)"
        elif kind in POOLING and not _is_plain(module):
            fault = "has windows that overlap or are dilated: give it a stride of its window"
        elif count > 1 and kind not in UNCHANGED:
            fault = f"is used {count} times in a forward pass: give each use a module of its own"
        if fault:
            raise ForeshapError(
                f"DeepLIFT would be wrong for this model, because {name} ({kind}) {fault}, or use "
                "the method 'expected-gradients' or 'tiles'."
            )


def _is_plain(pooling):
    """Whether no position belongs to two windows and none lies in a window's gaps."""
    sizes = []
    for size in (pooling.kernel_size, pooling.stride, pooling.dilation):
        sizes.append(size if isinstance(size, tuple) else (size,) * 3)
    return all(kernel <= stride and dilation == 1 for kernel, stride, dilation in zip(*sizes))
