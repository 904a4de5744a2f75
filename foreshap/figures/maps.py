"""Pictures of waveforms, spectrograms, maps and trainings: each takes arrays and axes, draws, returns the axes.

Times are relative to the arrival that a variant is aligned on; the other arrival follows from S-P.
"""

import numpy as np
from cmcrameri import cm
from matplotlib.colors import Normalize

from ..preprocessing.variants import CLASSES, COMPONENTS, SECONDS_BEFORE_P

CLASS_COLOURS = ("#0072B2", "#D55E00")  # foreshock, aftershock: told apart by colour-blind readers
SPECTRAL, SIGNED, ABSOLUTE = cm.batlow, cm.vik, cm.lapaz_r


def power_label(unit="counts"):
    """Label of a log-spectrogram of samples in a unit ("counts", "nm/s")."""
    return rf"log$_{{10}}$ PSD [{f'({unit})' if '/' in unit else unit}$^2$/Hz]"


def waveforms(axes, samples, s_p, sampling_rate=100.0, phase="P", unit="counts"):
    """Three-component seismogram, one component an axes, P and S marked.

    axes: 3 Axes
    samples: array (3, n) [unit], the P arrival 5 s after the first
    s_p: float, S-P time [s]
    sampling_rate: float [Hz]
    phase: "P" or "S", the arrival at time 0
    unit: str
    """
    times = (
        np.arange(samples.shape[1]) / sampling_rate
        - SECONDS_BEFORE_P
        - (s_p if phase == "S" else 0)
    )
    for ax, component, trace in zip(axes, COMPONENTS, samples):
        ax.plot(times, trace, color="0.25", linewidth=0.5)
        ax.set_ylabel(f"{component}\n[{unit}]")
        ax.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        ax.set_xlim(times[0], times[-1])
        mark_arrivals(ax, phase, s_p, label=ax is axes[0])
    axes[-1].set_xlabel(time_label(phase))
    return axes


def time_label(phase):
    """Label of a time axis relative to an arrival ("P" or "S")."""
    return f"time after {phase} [s]"


def mark_arrivals(ax, phase, s_p, label=True):
    """Vertical lines at P and S, where they lie within the axes.

    ax: Axes, time relative to the arrival phase
    phase: "P" or "S"
    s_p: float, S-P time [s]; NaN where it isn't known: then phase alone is marked
    label: bool, write P and S above the axes
    """
    for name, time in (("P", -s_p if phase == "S" else 0.0), ("S", 0.0 if phase == "S" else s_p)):
        if not ax.get_xlim()[0] <= time <= ax.get_xlim()[1]:
            continue
        ax.axvline(time, color="white", linewidth=2.2, alpha=0.6)
        ax.axvline(time, color="black", linewidth=1.2, linestyle="-" if name == "P" else "--")
        if label:
            at = {"xycoords": ("data", "axes fraction"), "annotation_clip": True}
            ax.annotate(name, (time, 1.0), ha="center", va="bottom", fontsize=10, **at)
    return ax


def panel_title(ax, text):
    """Title at the left, clear of the marks of P and S."""
    ax.set_title(text, loc="left", fontsize=11, pad=16)
    return ax


def tensor_image(ax, values, variant, colours, limits, **options):
    """One (F, T) map in physical axes.

    ax: Axes
    values: array (F, T), or (F, T, 3) for RGB
    variant: Variant
    colours: Colormap, None for RGB
    limits: (low, high) of the colour scale
    """
    half_step, half_row = variant.hop / variant.sampling_rate / 2, variant.frequencies[1] / 2
    times, frequencies = variant.times, variant.frequencies
    extent = (
        times[0] - half_step,
        times[-1] + half_step,
        frequencies[0] - half_row,
        frequencies[-1] + half_row,
    )
    ax.imshow(
        values, extent=extent, origin="lower", aspect="auto", cmap=colours, norm=Normalize(*limits),
        interpolation="nearest", **options,
    )  # fmt: skip
    ax.set_xlabel(time_label(variant.phase))
    ax.set_ylabel("frequency [Hz]")
    return ax


def colour_bar(ax, label):
    """Colour bar of the last image of one axes, or of the first of several.

    ax: Axes or sequence of Axes that share the scale
    label: str, quantity and unit
    """
    axes = np.ravel(ax)
    axes[0].figure.colorbar(axes[0].images[-1], ax=list(axes), label=label, pad=0.02)
    return ax


def spectrograms(axes, values, variant, s_p=None, limits=None, unit="counts"):
    """Log-spectrograms of the three components on one colour scale.

    axes: 3 Axes
    values: array (3, F, T) [log10(unit^2/Hz)]
    variant: Variant
    s_p: float, S-P time [s]
    limits: (low, high) of the colour scale; 2nd to 99.8th percentile when left out
    unit: str, of the samples
    """
    limits = limits or np.percentile(values, (2, 99.8))
    for ax, component, panel in zip(axes, COMPONENTS, values):
        tensor_image(ax, panel, variant, SPECTRAL, limits)
        panel_title(ax, component)
        if s_p is not None:
            mark_arrivals(ax, variant.phase, s_p)
        ax.label_outer()
    colour_bar(axes, power_label(unit))
    return axes


def rgb(values):
    """Components E, N, Z as red, green, blue: array (3, F, T) -> (F, T, 3) in 0..1 on one scale."""
    low, high = np.percentile(values, (2, 99.8))
    return np.moveaxis(np.clip((values - low) / (high - low), 0, 1), 0, -1)


def rgb_spectrogram(ax, values, variant, s_p=None):
    """The RGB composite of an event's log-spectrograms: E red, N green, Z blue.

    ax: Axes
    values: array (3, F, T) [log10(unit^2/Hz)]
    variant: Variant
    s_p: float, S-P time [s]
    """
    tensor_image(ax, rgb(values), variant, None, (0, 1))
    return ax if s_p is None else mark_arrivals(ax, variant.phase, s_p)


def event_rate(ax, times, labels, mainshock):
    """Events a day, by class, the mainshock marked.

    ax: Axes
    times: Series of datetimes [UTC]
    labels: array (N,), 0 or 1
    mainshock: Timestamp [UTC]
    """
    days = (times - mainshock).dt.total_seconds().to_numpy() / 86400
    edges = np.arange(np.floor(days.min()), np.ceil(days.max()) + 1)
    _class_histograms(ax, days, labels, edges)
    ax.axvline(0, color="black", linewidth=1.5)
    ax.annotate("mainshock", (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    ax.set_xlabel(f"days after the mainshock ({mainshock:%Y-%m-%d %H:%M} UTC)")
    ax.set_ylabel("events a day")
    return ax


def distribution(ax, values, labels, label, bins=30):
    """Histogram of one quantity by class.

    ax: Axes
    values: array (N,), NaN left out
    labels: array (N,), 0 or 1
    label: str, quantity and unit
    bins: int
    """
    values = np.asarray(values, dtype=float)
    if np.isfinite(values).any():
        _class_histograms(ax, values, labels, distribution_edges(values, bins))
    else:
        ax.annotate("not in this dataset", (0.5, 0.5), xycoords="axes fraction", ha="center")
    ax.set_xlabel(label)
    ax.set_ylabel("events")
    return ax


def distribution_edges(values, bins):
    """Edges of equal bins over the known values, float array (bins + 1,)."""
    return np.linspace(np.nanmin(values), np.nanmax(values) + 1e-9, bins + 1)


def _class_histograms(ax, values, labels, edges):
    for label, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        chosen = values[(np.asarray(labels) == label) & np.isfinite(values)]
        ax.hist(chosen, edges, color=colour, alpha=0.35)
        ax.hist(
            chosen,
            edges,
            color=colour,
            histtype="step",
            linewidth=1.5,
            label=f"{name}s ({len(chosen)})",
        )
    ax.legend(frameon=False)


def learning_curves(ax, history, title=""):
    """Training and validation loss by epoch; the epoch kept is marked.

    ax: Axes
    history: DataFrame of a TrainingResult
    title: str
    """
    ax.plot(history.index, history["train_loss"], color="0.4", label="training")
    ax.plot(
        history.index,
        history["validation_loss"],
        color=CLASS_COLOURS[0],
        marker="o",
        markersize=3,
        label="validation",
    )
    ax.axvline(history["validation_loss"].idxmin(), color="0.7", linestyle=":", label="epoch kept")
    ax.set(xlabel="epoch", ylabel="cross-entropy loss", title=title, ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def confusion(ax, labels, predicted, title=""):
    """Confusion matrix in numbers of test events.

    ax: Axes
    labels, predicted: arrays (N,), 0 or 1
    title: str
    """
    counts = np.array([[np.sum((labels == i) & (predicted == j)) for j in (0, 1)] for i in (0, 1)])
    ax.imshow(counts, cmap=cm.lapaz_r, vmin=0, vmax=1.4 * counts.max())
    for (i, j), count in np.ndenumerate(counts):
        ax.text(
            j,
            i,
            count,
            ha="center",
            va="center",
            fontsize=14,
            color="white" if count > 0.7 * counts.max() else "black",
        )
    ax.set_xticks((0, 1), CLASSES)
    ax.set_yticks((0, 1), CLASSES, rotation=90, va="center")
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return ax


def scores(ax, results):
    """Scores of several evaluations with their 95 % intervals; chance for balanced classes dotted.

    ax: Axes
    results: dict, name -> (metrics, intervals)
    """
    markers = ("o", "s", "^", "D")
    for k, (name, (metrics, intervals)) in enumerate(results.items()):
        values, places = (
            np.array(list(metrics.values())),
            np.arange(len(metrics)) + 0.15 * (k - (len(results) - 1) / 2),
        )
        bounds = np.array([intervals[m] for m in metrics])
        errors = np.maximum(np.abs(bounds - values[:, None]).T, 0)
        ax.errorbar(
            places,
            values,
            errors,
            fmt=markers[k % 4],
            color=cm.batlow(0.8 * k / max(len(results) - 1, 1)),
            capsize=3,
            label=name,
        )
    ax.axhline(0.5, color="0.6", linestyle=":", label="chance (balanced classes)")
    names = {"f1": "F1", "roc_auc": "ROC AUC"}
    ax.set_xticks(range(len(metrics)), [names.get(m, m) for m in metrics])
    ax.set(ylabel="score on test events", ylim=(min(0.45, np.nanmin(bounds) - 0.05), 1.02))
    ax.legend(frameon=False, loc="center", fontsize=10)
    return ax


def shared_limit(*maps, percentile=99.8):
    """Half-width of a zero-centred colour scale that serves all maps given: their percentile of |value|."""
    limit = np.nanpercentile(np.concatenate([np.abs(m).ravel() for m in maps]), percentile)
    return float(limit) or 1.0


def shap_map(ax, values, variant, limit, s_p=None, absolute=False):
    """A SHAP map on white, in the variant's physical axes.

    ax: Axes
    values: array (F, T), positive pushes toward aftershock
    variant: Variant
    limit: float, the colour scale runs from -limit to limit (from 0 for absolute values)
    s_p: float, S-P time [s], to mark P and S
    absolute: bool, values are absolute
    """
    tensor_image(
        ax, values, variant, ABSOLUTE if absolute else SIGNED, (0 if absolute else -limit, limit)
    )
    return ax if s_p is None else mark_arrivals(ax, variant.phase, s_p)


def shap_over_rgb(ax, values, spectrogram, variant, limit, s_p):
    """A SHAP map over the event's RGB composite; the smaller |SHAP|, the more transparent.

    ax: Axes
    values: array (F, T), positive pushes toward aftershock
    spectrogram: array (3, F, T) [log10(unit^2/Hz)]
    variant: Variant
    limit: float, half-width of the colour scale
    s_p: float, S-P time [s]
    """
    grey = 0.35 + 0.65 * rgb(spectrogram)
    tensor_image(ax, grey, variant, None, (0, 1))
    tensor_image(
        ax,
        values,
        variant,
        SIGNED,
        (-limit, limit),
        alpha=np.clip(np.abs(values) / limit, 0, 1) ** 0.5,
    )
    return mark_arrivals(ax, variant.phase, s_p)


def other_arrivals(ax, s_p, phase):
    """Histogram of the other phase's arrival times on a second axis.

    ax: Axes, time relative to the arrival phase
    s_p: array (N,), S-P times [s]
    phase: "P" or "S", the arrival at time 0
    """
    other, times = ("S", s_p) if phase == "P" else ("P", -np.asarray(s_p))
    shown = ax.get_xlim()
    twin = ax.twinx()
    twin.hist(times, np.arange(*shown, 0.25), histtype="step", color="black", linewidth=1.0)
    highest = max(int(twin.get_ylim()[1] / 1.05 + 0.5), 1)
    twin.set(ylim=(0, 4 * highest), yticks=(0, highest))
    twin.set_ylabel(f"{other} arrivals\n[events / 0.25 s]", fontsize=9, loc="bottom")
    ax.set_xlim(shown)
    ax.axvline(0, color="black", linewidth=1.2, linestyle="-" if phase == "P" else "--")
    ax.annotate(phase, (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    return ax


def profile(ax, positions, events, colour, label):
    """Mean over events of a profile, with its 95 % interval (1.96 standard errors) where there are two or more.

    ax: Axes
    positions: array (n,), frequency [Hz] or time [s]
    events: array (events, n); or (trainings, events, n), whose mean is drawn, each training's own as a thin line
    colour: a matplotlib colour
    label: str
    """
    if events.ndim == 3:
        for training in events if events.shape[1] else ():
            ax.plot(positions, training.mean(axis=0), color=colour, linewidth=0.4, alpha=0.7)
        events = events.mean(axis=0)
    mean = events.mean(axis=0) if len(events) else np.full(len(positions), np.nan)
    ax.plot(positions, mean, color=colour, linewidth=1.5, label=f"{label} ({len(events)})")
    if len(events) > 1:
        error = 1.96 * events.std(axis=0, ddof=1) / np.sqrt(len(events))
        ax.fill_between(
            positions, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0
        )
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.legend(frameon=False)
    return ax


def weekly(ax, weeks, events, frequencies, limit):
    """Mean SHAP profile over frequency of each week; the number of events stands at the right.

    ax: Axes
    weeks: int array (N,), week after the mainshock of each event
    events: array (N, F), SHAP per Hz of each event
    frequencies: array (F,) [Hz]
    limit: float, half-width of the colour scale
    """
    shown, counts = np.unique(weeks, return_counts=True)
    means = np.stack([events[weeks == week].mean(axis=0) for week in shown])
    rows = np.arange(len(shown))
    ax.pcolormesh(frequencies, rows, means, cmap=SIGNED, vmin=-limit, vmax=limit, shading="nearest")
    ax.axhline(np.searchsorted(shown, 0) - 0.5, color="black", linewidth=1.5)
    ax.set_yticks(rows, shown)
    for row, count in zip(rows, counts):
        ax.annotate(
            f" n = {count}", (1, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    ax.set(xlabel="frequency [Hz]", ylabel="week after the mainshock")
    ax.figure.colorbar(ax.collections[0], ax=ax, label="mean SHAP per Hz", pad=0.14)
    return ax


def margins(ax, values, margin, labels, label):
    """Margin of each test event against one quantity; misclassified events are ringed.

    ax: Axes
    values: array (N,)
    margin: array (N,), logit(aftershock) - logit(foreshock)
    labels: array (N,), 0 or 1
    label: str, quantity and unit
    """
    values, margin, labels = map(np.asarray, (values, margin, labels))
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        ax.scatter(
            values[labels == k],
            margin[labels == k],
            s=14,
            color=colour,
            marker="o^"[k],
            alpha=0.7,
            label=f"{name}s",
        )
    wrong = (margin > 0) != labels
    ax.scatter(
        values[wrong],
        margin[wrong],
        s=70,
        facecolors="none",
        edgecolors="black",
        label=f"misclassified ({wrong.sum()})",
    )
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel=label, ylabel="margin: logit(aftershock)\n$-$ logit(foreshock)")
    ax.legend(frameon=False, fontsize=9)
    return ax


def background_curve(ax, curve, chosen):
    """Distance of maps to those with the whole background, by the number of background events.

    ax: Axes
    curve: DataFrame of controls.background_curve(): size, distance, low, high
    chosen: int, number used in the maps
    """
    bounds = np.abs(curve[["low", "high"]].to_numpy().T - curve["distance"].to_numpy())
    ax.errorbar(
        curve["size"], curve["distance"], bounds, fmt="o-", color=CLASS_COLOURS[0], capsize=3
    )
    ax.axvline(chosen, color="0.5", linestyle=":", label=f"used here: {chosen}")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="background events",
        ylabel="relative L2 distance\nto the whole background",
    )
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick < 1.2 * curve["high"].max()]
    ax.set_xticks(curve["size"], curve["size"])
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    ax.legend(frameon=False)
    return ax


def tile_values(ax, values, errors, names, limit):
    """Values of the tiles of one component as a table in colour, written with their errors.

    ax: Axes
    values, errors: arrays (bands, windows), the error as half the width of a 95 % interval
    names: (bands, windows), two sequences of str
    limit: float, half-width of the colour scale
    """
    ax.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * limit else "black"
        text = f"{value:+.2f}\n±{errors[row, column]:.2f}"
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    ax.set_xticks(range(len(names[1])), names[1])
    ax.set_yticks(range(len(names[0])), names[0])
    ax.set(xlabel="window", ylabel="frequency band")
    ax.label_outer()
    return ax


def methods_cost(ax, seconds, scores, label):
    """What each method costs against how well it does.

    ax: Axes
    seconds: dict, method -> seconds an event
    scores: DataFrame, a row a method: value, low, high
    label: str, of the score
    """
    for k, method in enumerate(scores.index):
        value, low, high = scores.loc[method, ["value", "low", "high"]]
        ax.errorbar(
            seconds[method], value, np.abs([[value - low], [high - value]]), fmt="os^Dvp*"[k % 7], markersize=8,
            color=cm.batlow(0.85 * k / max(len(scores) - 1, 1)), capsize=3, label=method,
        )  # fmt: skip
    ax.set(xscale="log", xlabel="seconds an event, one core", ylabel=label)
    return ax


def perturbation(ax, curves, kind):
    """Deletion or insertion, beside random order.

    ax: Axes
    curves: dict, name -> DataFrame of controls.perturbation_curves()
    kind: "deletion" or "insertion"
    """
    for k, (name, curve) in enumerate(curves.items()):
        colour = cm.batlow(0.85 * k / max(len(curves) - 1, 1))
        ax.plot(
            100 * curve["share"],
            curve[kind],
            color=colour,
            marker="os^Dvp*"[k % 7],
            markersize=4,
            label=name,
        )
    ax.plot(
        100 * curve["share"],
        curve[f"random {kind}"],
        color="0.5",
        linestyle=":",
        label="random order",
    )
    ax.axhline(0, color="0.8", linewidth=0.8)
    ax.set(xlabel="pixels exchanged [%]", ylabel=f"{kind}: output [share of the events' own]")
    return ax


def matrix(ax, table, label):
    """Agreement of every two maps, written into the cells.

    ax: Axes
    table: DataFrame, name x name, -1..1
    label: str, of the colour bar
    """
    ax.imshow(table, cmap=SIGNED, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        colour = "white" if abs(value) > 0.6 else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    ax.set_xticks(range(len(table)), table.columns, rotation=40, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    return colour_bar(ax, label)


def randomisation(ax, table):
    """Agreement with the original's maps while layer after layer is drawn anew.

    ax: Axes
    table: DataFrame, a row a layer in the order of their drawing: "signed" and "absolute", each (value, low, high)
    """
    places = np.arange(len(table))
    for kind, colour, marker in zip(("signed", "absolute"), CLASS_COLOURS, "os"):
        value, low, high = np.array(table[kind].to_list()).T
        ax.errorbar(
            places,
            value,
            np.abs([value - low, high - value]),
            color=colour,
            marker=marker,
            capsize=3,
            label=kind,
        )
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.axhline(0.1, color="0.6", linestyle=":", label="0.1")
    ax.set_xticks(places, table.index, rotation=40, ha="right")
    ax.set(
        xlabel="layers drawn anew, from the output down to",
        ylabel="rank correlation\nwith the original's maps",
    )
    ax.legend(frameon=False)
    return ax
