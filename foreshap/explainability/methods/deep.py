"""DeepLIFT SHAP of a SpectrogramCNN: the numbers of shap.DeepExplainer, many times sooner.

What the network makes of the background before each ReLU is computed once. An event costs a forward
pass and a backward pass of *multipliers* (Shrikumar et al., 2017) over the background, in tiles
that stay in the processor's cache: by turns a linear map transposed (batch normalisation folded in)
and an element-wise rule (ReLU and pooling fused). Activations come from the network's own modules,
so a pooling sees the same maxima and ties as in the library. One difference: at a unit where event
and background lie within 1e-6 of zero, one on either side, the library gives two gradients to a max
pooling below; here it gets the background's.
"""

from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...files import ForeshapError
from ...parallel import map_in_order
from .inspection import copy_model

TILE_BYTES = 3 * 2**20  # of the widest layer in one tile of the background: a core's cache
INSTEAD = 'choose method="deep-shap", which knows more modules, "expected-gradients" or "tiles"'
READS = (
    "a chain of convolutions (stride 1, no groups, padding in numbers) and dense layers, the last "
    "one dense, behind each batch normalisation, ReLU and unpadded pooling side by side"
)
UNCHANGED = (nn.Dropout, nn.Dropout2d, nn.Identity)


def deep(model, weights, background):
    """Prepare to explain one linear combination of the outputs of a chain of modules.

    weights: tensor (outputs,); (-1, 1) explains logit[1] - logit[0]
    returns: function (event (3, F, T), key) -> SHAP values (3, F, T), base value, None
    """
    with torch.inference_mode():
        modules = _modules_in_order(copy_model(model), background[:1])
        linears, rules = _read_chain(modules, background[:1])
        parts = map_in_order(lambda part: _activations(modules, part), background.split(8))
        activations, outputs = zip(*parts)
        references = [np.concatenate(layer) for layer in zip(*activations)]
        base = float((torch.cat(outputs).double() @ weights.double()).mean())
        top = weights.view(1, -1, 1, 1).to(background)
        if rules:
            top = linears[-1].backward(top)
        first = linears[0]
        if isinstance(first, _Convolution):
            first = _FirstConvolution(first, background.shape[2:])
        folded = first.fold(background)
    in_tiles = max(1, sum(isinstance(linear, _Convolution) for linear in linears))
    widest = max((layer[0].nbytes for layer in references), default=TILE_BYTES)
    size = int(max(1, TILE_BYTES // widest))

    @torch.inference_mode()
    def explain(event, key=None):
        event = event[None]
        levels = list(zip(linears, rules, _activations(modules, event)[0], references))
        multipliers = top.expand(len(background), -1, -1, -1)
        for linear, rule, x, b in levels[: in_tiles - 1 : -1]:  # large matrices: not in tiles
            multipliers = linear.backward(rule(multipliers, x, b))
        event = first.fold(event)
        total = 0
        for start in range(0, len(background), size):
            tile = slice(start, start + size)
            m = multipliers[tile]
            for linear, rule, x, b in levels[in_tiles - 1 : 0 : -1]:
                m = linear.backward(rule(m, x, b[tile]))
            if levels:
                _, rule, x, b = levels[0]
                m = rule(m, x, b[tile], first.room)
            change = first.backward(m) * (event - folded[tile])
            total = total + change.sum(0, dtype=torch.float64)
        values = first.unfold(total / len(background))
        return values.to(background.dtype).numpy(), base, None

    return explain


def _refusal(what):
    return ForeshapError(f'"deep" reads {READS}, not {what}: {INSTEAD}.')


def _modules_in_order(model, event):
    """List the modules in the order in which a model calls them, with the flattening in forward."""
    calls, hooks = [], []
    for module in model.modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(lambda *call: calls.append(call)))
    model(event)
    for hook in hooks:
        hook.remove()
    modules = []
    ramp = torch.linspace(-1, 2, event.numel(), dtype=event.dtype)
    probe = (event + ramp.view_as(event)).repeat(2, 1, 1, 1)
    try:
        x = event
        for module, _, output in calls:
            if isinstance(module, nn.Linear) and x.ndim == 4:
                modules.append(nn.Flatten())
            modules.append(module)
            x = output
        is_chain = torch.equal(_activations(modules, probe)[1], model(probe))
    except Exception:  # torch raises several kinds
        is_chain = False
    if not is_chain:
        raise _refusal("functions that forward calls besides (make F.relu and the like modules)")
    return modules


def _read_chain(modules, x):
    """Read the linear maps of a chain, and the rules between them."""
    linears, rules = [], []
    last = None  # "linear", "ReLU" or "pooling"
    for module in modules:
        if x.ndim == 4:
            shape = x.shape[1:]  # of what a dense layer reads
        x = module(x)
        if isinstance(module, UNCHANGED):
            continue
        if isinstance(module, nn.Flatten) and last != "linear" and x.ndim == 2:
            continue
        if isinstance(module, nn.Conv2d) and last != "linear":
            linears.append(_Convolution(module))
            last = "linear"
        elif isinstance(module, nn.Linear) and last != "linear":
            linears.append(_Dense(module, shape))
            shape = (module.out_features, 1, 1)
            last = "linear"
        elif isinstance(module, nn.BatchNorm2d) and last == "linear":
            linears[-1].absorb(module)
        elif isinstance(module, nn.ReLU) and last == "linear":
            rules.append(_rule(through_average, (1, 1)))
            last = "ReLU"
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)) and last == "ReLU":
            rules[-1] = _pooling_rule(module)
            last = "pooling"
        else:
            raise _refusal(f"{module} here")
    if last != "linear" or not isinstance(linears[-1], _Dense):
        raise _refusal("this end")
    return linears, rules


@torch.inference_mode()
def _activations(modules, x):
    """What each ReLU gets for inputs x, list of arrays (n, F, T, C), and the network's outputs.

    One input goes in twice: alone, torch rounds it otherwise than the library's batches, and a
    maximum may flip.
    """
    before_relu = []
    n = len(x)
    if n == 1:
        x = x.repeat(2, 1, 1, 1)
    for module in modules:
        if isinstance(module, nn.ReLU):
            maps = x if x.ndim == 4 else x[:, :, None, None]
            before_relu.append(_channels_behind(maps[:n]))
        x = module(x)
    return before_relu, x[:n]


def _channels_behind(x):
    """The array (n, F, T, C) of a tensor (n, C, F, T)."""
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def _channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def _pooling_rule(module):
    """The rule of a ReLU and the pooling behind it."""
    sizes = []
    for name in ("kernel_size", "stride", "padding", "dilation"):
        size = getattr(module, name, 1)
        sizes.append(size if isinstance(size, tuple) else (size, size))
    window = sizes[0]
    uneven = module.ceil_mode or getattr(module, "divisor_override", None)
    if sizes[1:] != [window, (0, 0), (1, 1)] or uneven:
        raise _refusal(module)
    return _rule(through_max if isinstance(module, nn.MaxPool2d) else through_average, window)


def _rule(kernel, window):
    """Multipliers before ReLU (n, C, F, T) from those behind the pooling; room: zeros appended."""

    def rule(multipliers, x, b, room=(0, 0)):
        m = _channels_behind(multipliers)
        n, high, wide, channels = b.shape
        pooled = (n, high // window[0], wide // window[1], channels)
        if m.shape != pooled or x.shape[1:] != b.shape[1:]:  # kernels would write elsewhere
            raise _refusal("this model")
        out = np.zeros((n, high + room[0], wide + room[1], channels), b.dtype)
        compiled(kernel, b.dtype)(m, x[0], b, *window, out)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    return rule


class _Convolution:
    """The transpose of a convolution with stride 1: another convolution."""

    def __init__(self, conv):
        settings = (conv.stride, conv.dilation, conv.groups, conv.padding_mode)
        if settings != ((1, 1), (1, 1), 1, "zeros") or isinstance(conv.padding, str):
            raise _refusal(conv)
        self.padding = tuple(k - 1 - p for k, p in zip(conv.kernel_size, conv.padding))
        self.weight = _channels_last(conv.weight.flip(2, 3).transpose(0, 1))

    def absorb(self, norm):
        """Fold in the batch normalisation behind the convolution."""
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.affine:
            scale = scale * norm.weight.double()
        self.weight = (self.weight * scale[None, :, None, None]).to(self.weight.dtype)

    def backward(self, multipliers, stride=1):
        """Convolve; negative padding cuts, where a layer pads by more than its kernel reaches."""
        high, wide = self.padding
        if min(self.padding) < 0:
            multipliers = F.pad(multipliers, (wide, wide, high, high))
            high = wide = 0
        return F.conv2d(multipliers, self.weight, stride=stride, padding=(high, wide))


class _FirstConvolution(_Convolution):
    """The same for the first convolution, its result folded: 2 x 2 neighbours become channels.

    The three channels of a spectrogram would leave most of a vector register empty; twelve don't.
    """

    def __init__(self, convolution, size):
        inputs, outputs, high, wide = convolution.weight.shape
        weight = convolution.weight.new_zeros(inputs, 2, 2, outputs, high + 1, wide + 1)
        for i, j in np.ndindex(2, 2):
            weight[:, i, j, :, i : i + high, j : j + wide] = convolution.weight
        self.weight = _channels_last(weight.flatten(0, 2))
        self.padding = convolution.padding
        self.size = size
        self.room = (size[0] % 2, size[1] % 2)

    def fold(self, x):
        """(n, C, F, T) -> (n, 4 C, F / 2, T / 2), odd sizes padded."""
        return _channels_last(F.pixel_unshuffle(F.pad(x, (0, self.room[1], 0, self.room[0])), 2))

    def unfold(self, x):
        """(4 C, F / 2, T / 2) -> (C, F, T)."""
        return F.pixel_shuffle(x, 2)[:, : self.size[0], : self.size[1]]

    def backward(self, multipliers):
        return super().backward(multipliers, stride=2)


class _Dense:
    """The transpose of a dense layer on inputs of shape (C, F, T)."""

    room = (0, 0)

    def __init__(self, layer, shape):
        self.channels, self.high, self.wide = shape
        weight = layer.weight.reshape(-1, *shape)
        self.weight = weight.permute(0, 2, 3, 1).flatten(1)  # in the order of memory

    def backward(self, multipliers):
        product = multipliers.flatten(1) @ self.weight
        return product.view(-1, self.high, self.wide, self.channels).permute(0, 3, 1, 2)

    def fold(self, x):
        return x

    unfold = fold


@cache
def compiled(kernel, dtype):
    """Compile a kernel; numba takes half a second to import, so only who explains waits."""
    import numba

    number = numba.from_dtype(dtype)
    event, events = number[:, :, ::1], number[:, :, :, ::1]
    signature = numba.void(events, event, events, numba.int64, numba.int64, events)
    try:
        return numba.njit(signature, nogil=True, error_model="numpy", cache=True)(kernel)
    except Exception:  # its cache is damaged or nowhere
        return numba.njit(signature, nogil=True, error_model="numpy")(kernel)


# The element-wise rules. m (n, F', T', C): multipliers behind the pooling; x (F, T, C) and
# b (n, F, T, C): the event and the background before ReLU; out, zeros: takes the multipliers before
# ReLU. The thresholds are the library's.


def through_average(m, x, b, high, wide, out):
    """Apply the rescale rule for ReLU and average pooling, of single values where there is none."""
    zero, small, size = x.dtype.type(0), x.dtype.type(1e-6), x.dtype.type(high * wide)
    for n in range(len(m)):
        for i in range(m.shape[1] * high):
            for j in range(m.shape[2] * wide):
                behind = m[n, i // high, j // wide]
                for c in range(x.shape[2]):
                    xc, bc = x[i, j, c], b[n, i, j, c]
                    rescaled = behind[c] * ((max(xc, zero) - max(bc, zero)) / (xc - bc))
                    gradient = behind[c] if bc > zero else zero
                    out[n, i, j, c] = (rescaled if abs(xc - bc) >= small else gradient) / size


def through_max(m, x, b, high, wide, out):
    """Apply the rescale rule for ReLU and, behind it, the library's rule for max pooling.

    A window's difference is owed to one position: where the event has its maximum if that is the
    larger of the two maxima, else where the background has its own; among equals, the first.
    """
    zero, small, smaller = x.dtype.type(0), x.dtype.type(1e-6), x.dtype.type(1e-7)
    _, rows, columns, channels = m.shape
    top_x = np.empty(channels, x.dtype)
    top_b = np.empty(channels, x.dtype)
    owed = np.empty(channels, x.dtype)
    for window in range(m.size // channels):
        n = window // (rows * columns)
        i = window // columns % rows
        j = window % columns
        for c in range(channels):
            top_x[c] = top_b[c] = zero
        for p in range(high * wide):
            row, column = i * high + p // wide, j * wide + p % wide
            xs, bs = x[row, column], b[n, row, column]
            for c in range(channels):
                top_x[c] = max(top_x[c], xs[c])
                top_b[c] = max(top_b[c], bs[c])
        for c in range(channels):
            owed[c] = m[n, i, j, c] * (top_x[c] - top_b[c])
        for p in range(high * wide):
            row, column = i * high + p // wide, j * wide + p % wide
            xs, bs, before = x[row, column], b[n, row, column], out[n, row, column]
            for c in range(channels):
                xc, bc, tx, tb, debt = xs[c], bs[c], top_x[c], top_b[c], owed[c]
                change, rectified = xc - bc, max(xc, zero) - max(bc, zero)
                # no "and", "or": branches cost time
                here = ((tx > tb) & (xc == tx)) | ((tx < tb) & (bc == tb))
                steep = abs(change) >= small
                share = debt / (change if steep else rectified)
                paid = here & (abs(rectified) >= smaller) & (steep | (bc > zero))
                before[c] = share if paid else zero
                owed[c] = zero if here else debt
