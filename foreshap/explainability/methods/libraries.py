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
MASKERS = ("mean", "blur")


def deep_shap(network, background):
    """Prepare DeepLIFT averaged over the background, as shap.DeepExplainer computes it.

    Lundberg and Lee (2017), section 4.2; rescale rule: Shrikumar et al. (2017). The library keeps
    values in a network, so every call gets its own copy. Base value: mean output of the background.
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

    Erion et al. (2021), equation 3. The library draws the points in single precision; its
    "variances" are the samples' variance over the root of their number. Base value: mean output of
    the background.
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

    Sundararajan et al. (2017), equation 1, Gauss-Legendre. Base value: output of that mean.
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

    masker: str, what stands for a hidden pixel: the background's "mean", or a "blur": the event's
        own component, smoothed by a Gaussian of an eighth of either axis
    """
    import shap

    whole_number("evaluations", evaluations, 2)
    if masker not in MASKERS:
        raise ForeshapError(f"There is no masker '{masker}': choose from {', '.join(MASKERS)}.")
    mean = background.mean(dim=0).numpy()
    _, frequencies, times = mean.shape
    tree = _tree(mean.shape)
    prepared = shap.PartitionExplainer(_on_arrays(network), _masker(tree, mean))

    def explain(event, key):
        event = event.numpy()
        hidden = mean
        if masker == "blur":
            hidden = ndimage.gaussian_filter(event, [0, frequencies / BLURRED, times / BLURRED])
        own = copy.copy(prepared)  # explain_row() leaves its state there
        own.masker = _masker(tree, hidden)
        values, base = _owen_values(own, event, evaluations, PART, _seed_of_draws(seed, key))
        return values, base, None

    return explain


def partition_telea(network, background, evaluations=5000, seed=0):
    """Prepare the published maps' setting: shap.PartitionExplainer with Image("inpaint_telea").

    Filling: Telea (2004). A pixel hidden in one component is hidden in all, so the components share
    what the three did together: evenly, but a half to Z where the tree was followed down to single
    pixels. Events are rounded to 8 bits of their range: values and base sum to that output. Where
    all is hidden, the event's own means stand for its components: the base value.
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
    """A library's method that draws from a generator of its own, not from numpy's global one."""
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


def _masker(tree, hidden):
    """What shap.PartitionExplainer calls a masker: a function of a flat mask, with attributes."""

    def masker(visible, event):
        return (np.where(visible.reshape(event.shape), event, hidden)[None],)

    masker.clustering = tree
    masker.shape = (1, len(tree) + 1)
    masker.immutable_outputs = True
    return masker
