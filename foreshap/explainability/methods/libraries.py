"""Slow and reference methods of attribution, all with one protocol; attribution.py names them.

Each function prepares a method from `network` (N, 3, F, T) -> (N, 1), in evaluation mode without
gradients of weights, and `background`, float tensor (B, 3, F, T), and returns explain(event, key),
which several threads may call at once: event, float tensor (3, F, T); key, int, whose draws come
from numpy.random.default_rng([seed, key]). That returns the values (3, F, T), the base value and
the values' standard error (3, F, T) or None: the same bytes, whatever else runs.
"""

import copy
import functools
import importlib
import math
from types import FunctionType, SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from ...files import ForeshapError, whole_number
from .inspection import copy_model

PART = 20  # inputs computed together: their activations stay in the processor's cache
BLURRED = 8  # the standard deviation of "blur" is this part of an axis
MASKERS = ("mean", "blur", "inpaint")


def deep_shap(network, background):
    """Prepare DeepLIFT averaged over the background, as shap.DeepExplainer computes it.

    Lundberg and Lee (2017), section 4.2; rescale rule: Shrikumar et al. (2017). The library keeps
    hooks and values in a network, so every call gets its own copy. Base value: mean output of the
    background.
    """
    import shap  # takes seconds to import: only who explains waits

    parts = background.split(PART)
    base = _mean_output(network, background)
    prepared = [shap.DeepExplainer(network, part) for part in parts]

    def explain(event, key):
        values = 0
        for part, explainer in zip(parts, copy.deepcopy(prepared)):
            of_part = explainer.shap_values(event[None], check_additivity=False)[0, ..., 0]
            values = values + of_part * (len(part) / len(background))
        return values, base, None

    return explain


def expected_gradients(network, background, samples=200, seed=0):
    """Prepare gradients at random points between event and background, by shap.GradientExplainer.

    Erion et al. (2021), equation 3. The library draws the points in single precision. Its
    "variances" are the samples' variance over the root of their number; the standard error is
    computed from them here. Base value: mean output of the background, which values and base reach
    together up to their error of sampling.
    """
    import shap

    whole_number("samples", samples, 2)
    cast = copy_model(network)
    cast.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(background.dtype),))
    prepared = shap.GradientExplainer(cast, background, batch_size=PART).explainer
    base = _mean_output(network, background)

    def explain(event, key):
        draws = _seed_of_draws(seed, key)
        shap_values = _with_own_draws(prepared.shap_values, draws)
        values, variances = shap_values(event[None], samples, rseed=draws, return_variances=True)
        error = np.sqrt(variances[0][0] * math.sqrt(samples) / (samples - 1))
        return values[0, ..., 0], base, error

    return explain


def integrated_gradients(network, background, steps=50):
    """Prepare the mean gradient on the line from the background's mean to the event, by captum.

    Sundararajan et al. (2017), equation 1; Gauss-Legendre quadrature. Base value: output of the
    background's mean.
    """
    whole_number("steps", steps, 1)
    mean = background.mean(dim=0, keepdim=True)
    integrated = _import_optional("captum.attr").IntegratedGradients(network)
    base = _mean_output(network, mean)

    def explain(event, key):
        options = {"target": 0, "n_steps": steps, "internal_batch_size": PART}
        values = integrated.attribute(event[None], mean, **options)
        return values[0].detach().numpy(), base, None

    return explain


def partition(network, background, evaluations=1000, masker="mean", seed=0):
    """Prepare Owen values of a tree that never ties components, by shap.PartitionExplainer.

    Owen (1977); Lundberg and Lee's library computes them from the top of the tree downward, the
    largest differences first (equal ones by the seed), and spreads evenly what is left when the
    evaluations are used up. The tree parts Z from the horizontal components, E from N, then halves
    the longer of frequency and time. Base value: output of the event with every pixel hidden.

    masker: str, what stands for a hidden pixel; see filling()
    """
    import shap

    whole_number("evaluations", evaluations, 2)
    if masker not in MASKERS:
        raise ForeshapError(f"There is no masker '{masker}': choose from {', '.join(MASKERS)}.")
    if masker == "inpaint":
        _import_optional("cv2")
    mean = background.mean(dim=0).numpy()
    tree = _tree(tuple(background.shape[1:]))
    prepared = shap.PartitionExplainer(_on_arrays(network), _masker(tree, None))

    def explain(event, key):
        event = event.numpy()
        own = copy.copy(prepared)  # explain_row() leaves its state there
        own.masker = _masker(tree, filling(masker, event, mean))
        values, base = _owen_values(own, event, evaluations, PART, _seed_of_draws(seed, key))
        return values, base, None

    return explain


def partition_telea(network, background, evaluations=5000, seed=0):
    """Prepare the published maps' setting: shap.PartitionExplainer with Image("inpaint_telea").

    Filling: Telea (2004). Three things are lost. A pixel hidden in one component is hidden in all,
    so the components share what the three did together, whatever the network reads: evenly, but a
    half to Z where the tree was followed down to single pixels. Each event is rounded to 8 bits of
    its range, so values and base value sum to the output of the rounded event. And fillings are the
    event's own: where all is hidden, its components' means. Base value: as in partition().
    """
    import shap

    whole_number("evaluations", evaluations, 2)
    _import_optional("cv2")
    channels, frequencies, times = background.shape[1:]
    masker = shap.maskers.Image("inpaint_telea", (frequencies, times, channels))
    outputs = _on_arrays(network)
    prepared = shap.PartitionExplainer(outputs, masker)

    def explain(event, key):
        event = event.numpy()
        low = event.min()
        unit = (np.ptp(event) or 1) / 255
        image = np.rint((event - low) / unit).transpose(1, 2, 0)
        own = copy.copy(prepared)
        own.model = lambda images: outputs(images.transpose(0, 3, 1, 2) * unit + low)
        values, base = _owen_values(own, image, evaluations, 10, _seed_of_draws(seed, key))
        return values.transpose(2, 0, 1), base, None

    return explain


def _mean_output(network, inputs):
    with torch.no_grad():
        return float(torch.cat([network(part) for part in inputs.split(PART)]).double().mean())


def _on_arrays(network):
    """The network as a function of arrays: (N, 3, F, T) -> (N,)."""

    def outputs(x):
        with torch.no_grad():
            return network(torch.from_numpy(np.ascontiguousarray(x)))[:, 0].numpy()

    return outputs


def _import_optional(name):
    """Import a library that only some methods need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"This method needs {name}, which is missing: pip install 'foreshap[methods]'."
        raise ForeshapError(message) from error


def _seed_of_draws(seed, key):
    """The seed of a library's draws for one event."""
    return int(np.random.default_rng([seed, key]).integers(2**32))


def _with_own_draws(method, seed):
    """A library's method that draws from a generator of its own in place of numpy's global one.

    So numpy's global state stays as it is, and threads don't take each other's draws.
    """
    function = method.__func__
    own = SimpleNamespace(**vars(np) | {"random": np.random.RandomState(seed)})
    names = function.__globals__ | {"np": own}
    drawing = FunctionType(function.__code__, names, argdefs=function.__defaults__)
    return drawing.__get__(method.__self__)


def _owen_values(explainer, event, evaluations, together, seed):
    """Owen values of an event, in its shape, and the base value."""
    explainer.owen = _with_own_draws(explainer.owen, seed)
    options = {"main_effects": False, "error_bounds": False, "outputs": None, "silent": True}
    row = explainer.explain_row(event, max_evals=evaluations, batch_size=together, **options)
    return row["values"].reshape(event.shape), float(row["expected_values"])


@functools.lru_cache
def _tree(shape):
    """A partition tree over the pixels of (3, F, T): rows of two children, 1, number of pixels."""
    pixels, rows = math.prod(shape), []

    def grow(block):
        if block.size == 1:
            return block.item()
        axis = 0 if len(block) > 1 else 1 + int(np.argmax(block.shape[1:]))
        first, second = (grow(half) for half in np.array_split(block, 2, axis))
        rows.append((first, second, 1, block.size))
        return pixels + len(rows) - 1

    grow(np.arange(pixels).reshape(shape))
    return np.array(rows, dtype=float)


def _masker(tree, fill):
    """What shap.PartitionExplainer calls a masker: a function of a flat mask, with attributes."""

    def masker(visible, event):
        return (fill(visible.reshape(event.shape))[None],)

    masker.clustering = tree
    masker.shape = (1, len(tree) + 1)
    masker.immutable_outputs = True
    return masker


def filling(masker, event, mean):
    """Make a function of a mask (3, F, T), True: visible, that fills the hidden pixels of an event.

    "mean": by the background's mean; "blur": by the event's own component, smoothed by a Gaussian
    of an eighth of either axis; "inpaint": by Telea's (2004) method from the component's visible
    pixels within 3 pixels, in 16 bits of its range, or by the mean where all of it is hidden.
    """
    if masker == "inpaint":
        return _inpainting(event, mean)
    hidden = mean
    if masker == "blur":
        _, frequencies, times = event.shape
        hidden = ndimage.gaussian_filter(event, [0, frequencies / BLURRED, times / BLURRED])
    return lambda visible: np.where(visible, event, hidden)


def _inpainting(event, mean):
    import cv2

    low = event.min(axis=(1, 2))
    unit = np.ptp(event, axis=(1, 2)) / 65535
    unit[unit == 0] = 1
    levels = np.rint((event - low[:, None, None]) / unit[:, None, None]).astype(np.uint16)

    def fill(visible):
        filled = mean.copy()
        for k in np.flatnonzero(visible.any(axis=(1, 2))):
            hidden = (~visible[k]).astype(np.uint8)
            telea = cv2.inpaint(levels[k], hidden, inpaintRadius=3, flags=cv2.INPAINT_TELEA)
            filled[k] = telea * unit[k] + low[k]
        return np.where(visible, event, filled)

    return fill
