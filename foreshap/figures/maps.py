"""Draw waveforms, spectrograms, maps and trainings: arrays and axes in, axes out.

`ax` is a matplotlib Axes, and what is returned. Times are relative to the arrival that a variant is
aligned on; the other arrival follows from S-P.
"""

import numpy as np
from cmcrameri import cm
from matplotlib.colors import ListedColormap, Normalize

from ..preprocessing.variants import CLASSES, COMPONENTS, SECONDS_BEFORE_P

CLASS_COLOURS = ("#0072B2", "#D55E00")  # foreshock, aftershock: safe for colour-blind readers
MARKERS = "os^Dvp*"
STYLE = {  # matplotlib's settings in all notebooks
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "legend.frameon": False,
    "errorbar.capsize": 3,
}
ABOVE_AXES = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}


def white_centred(colours):
    """A diverging Colormap whose centre is lifted to white, in 257 steps."""
    table = colours(np.linspace(0, 1, 257))
    from_centre = np.abs(np.linspace(-1, 1, 257))[:, None]
    table[:, :3] += (1 - from_centre) * (1 - table[128, :3])
    return ListedColormap(np.clip(table, 0, 1))


SPECTRAL, SIGNED, ABSOLUTE = cm.batlow, white_centred(cm.vik), cm.devon_r


def series_style(k, n):
    """Colour and marker of the k-th of n series, dict."""
    return {"color": cm.batlow(0.85 * k / max(n - 1, 1)), "marker": MARKERS[k % len(MARKERS)]}


def power_label(unit="counts"):
    """Label a log-spectrogram of samples in a unit ("counts", "nm/s")."""
    squared = f"({unit})" if "/" in unit else unit
    return rf"log$_{{10}}$ PSD [{squared}$^2$/Hz]"


def time_label(phase):
    """Label a time axis relative to an arrival ("P" or "S")."""
    return f"time after {phase} [s]"


def event_title(event, margin=None):
    """Name an event (row of a table) in one line: trace, class, magnitude, S-P time, margin."""
    name = event["trace_name"].replace("$", r"\$")  # else it would begin a formula
    parts = [name, CLASSES[int(event["label"])]]
    for column, form in (("source_magnitude", "M {:.1f}"), ("p_s_diff_sec", "S-P {:.2f} s")):
        if np.isfinite(event.get(column, np.nan)):
            parts.append(form.format(event[column]))
    if margin is not None:
        parts.append(f"margin {margin:+.2f}")
    return ", ".join(parts)


def panel_title(ax, text):
    """Title at the left, clear of the marks of P and S."""
    ax.set_title(text, loc="left", fontsize=11, pad=16)
    return ax


def mark_arrivals(ax, phase, s_p, label=True):
    """Vertical lines at P (solid) and S (dashed), where they lie within the axes.

    phase: "P" or "S", the arrival at time 0
    s_p: float, S-P time [s]; NaN where it isn't known: then phase alone is marked
    label: bool, write P and S above the axes
    """
    arrivals = {"P": 0.0, "S": s_p} if phase == "P" else {"P": -s_p, "S": 0.0}
    first, last = ax.get_xlim()
    for name, time in arrivals.items():
        if not first <= time <= last:
            continue
        ax.axvline(time, color="white", linewidth=2.2, alpha=0.6)
        ax.axvline(time, color="black", linewidth=1.2, linestyle="-" if name == "P" else "--")
        if label:
            ax.annotate(name, (time, 1.0), fontsize=10, annotation_clip=True, **ABOVE_AXES)
    return ax


def waveforms(axes, samples, s_p, sampling_rate=100.0, phase="P", unit="counts"):
    """Three-component seismogram, one component an axes, P and S marked.

    axes: 3 Axes
    samples: array (3, n) [unit], the P arrival 5 s after the first
    s_p: float, S-P time [s]
    sampling_rate: float [Hz]
    phase: "P" or "S", the arrival at time 0
    unit: str
    """
    times = np.arange(samples.shape[1]) / sampling_rate - SECONDS_BEFORE_P
    if phase == "S":
        times = times - s_p
    for ax, component, trace in zip(axes, COMPONENTS, samples):
        ax.plot(times, trace, color="0.25", linewidth=0.5)
        ax.set_ylabel(f"{component}\n[{unit}]")
        ax.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        ax.set_xlim(times[0], times[-1])
        mark_arrivals(ax, phase, s_p, label=ax is axes[0])
    axes[-1].set_xlabel(time_label(phase))
    return axes


def tensor_image(ax, values, variant, colours, limits, **options):
    """One (frequency, time) map in physical axes.

    values: array (F, T), or (F, T, 3) for RGB
    variant: Variant
    colours: Colormap, None for RGB
    limits: (low, high) of the colour scale
    options: of imshow
    """
    half_step = variant.hop / variant.sampling_rate / 2
    half_row = variant.frequencies[1] / 2
    left, right = variant.times[0] - half_step, variant.times[-1] + half_step
    bottom, top = variant.frequencies[0] - half_row, variant.frequencies[-1] + half_row
    options |= {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    options |= {"cmap": colours, "norm": Normalize(*limits), "extent": (left, right, bottom, top)}
    ax.imshow(values, **options)
    ax.set(xlabel=time_label(variant.phase), ylabel="frequency [Hz]")
    return ax


def colour_bar(ax, label):
    """Colour bar of the last image of one Axes, or of the first of several of one scale."""
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

    values: array (3, F, T) [log10(unit^2/Hz)]
    variant: Variant
    s_p: float, S-P time [s]; P and S are not marked without it
    """
    tensor_image(ax, rgb(values), variant, None, (0, 1))
    return ax if s_p is None else mark_arrivals(ax, variant.phase, s_p)


def shared_limit(*maps, percentile=99.8):
    """Half-width of one zero-centred colour scale for all maps: their percentile of |value|."""
    values = np.concatenate([np.abs(values).ravel() for values in maps])
    return float(np.nanpercentile(values, percentile)) or 1.0


def shap_map(ax, values, variant, limit, s_p=None, absolute=False):
    """A SHAP map on white, in the variant's physical axes.

    values: array (F, T), positive pushes toward aftershock
    variant: Variant
    limit: float, the colour scale runs from -limit to limit (from 0 for absolute values)
    s_p: float, S-P time [s], to mark P and S
    absolute: bool, values are absolute
    """
    if absolute:
        tensor_image(ax, values, variant, ABSOLUTE, (0, limit))
    else:
        tensor_image(ax, values, variant, SIGNED, (-limit, limit))
    return ax if s_p is None else mark_arrivals(ax, variant.phase, s_p)


def shap_over_rgb(ax, values, spectrogram, variant, limit, s_p):
    """A SHAP map over the event's RGB composite; the smaller |SHAP|, the more transparent.

    values: array (F, T), positive pushes toward aftershock
    spectrogram: array (3, F, T) [log10(unit^2/Hz)]
    variant: Variant
    limit: float, half-width of the colour scale
    s_p: float, S-P time [s]
    """
    tensor_image(ax, 0.35 + 0.65 * rgb(spectrogram), variant, None, (0, 1))
    alpha = np.clip(np.abs(values) / limit, 0, 1) ** 0.5
    tensor_image(ax, values, variant, SIGNED, (-limit, limit), alpha=alpha)
    return mark_arrivals(ax, variant.phase, s_p)


def class_maps(axes, means, variant, s_p, counts, label):
    """Mean SHAP of each class on white and on one scale, summed over components.

    axes: 2 Axes
    means: 2 arrays (3, F, T), foreshocks, aftershocks
    variant: Variant
    s_p: float, median S-P time [s]
    counts: 2 ints, events
    label: str, of the colour bar
    """
    maps = [np.sum(mean, axis=0) for mean in means]
    limit = shared_limit(*maps)
    for ax, values, name, count in zip(axes, maps, CLASSES, counts):
        shap_map(ax, values, variant, limit, s_p)
        panel_title(ax, f"{name}s ({count})")
        ax.label_outer()
    colour_bar(axes, label)
    return axes


def banner(axes, samples, spectrogram, values, variant, s_p, unit="counts", seconds=(-2.0, 8.0)):
    """One event in three steps side by side: seismogram, what the network sees, what it used.

    axes: 3 Axes
    samples: array (3, n) [unit], the P arrival 5 s after the first; the vertical one is drawn
    spectrogram: array (3, F, T) [log10(unit^2/Hz)]
    values: array (F, T), SHAP, positive pushes toward aftershock
    variant: Variant
    s_p: float, S-P time [s]
    unit: str, of the samples
    seconds: (first, last) time drawn, relative to the variant's arrival [s]
    """
    waveforms([axes[0]], samples[2:], s_p, phase=variant.phase, unit=unit)
    axes[0].set_ylabel(f"Z [{unit}]")
    rgb_spectrogram(axes[1], spectrogram, variant, s_p)
    shap_map(axes[2], values, variant, shared_limit(values, percentile=99.5), s_p)
    colour_bar(axes[2], "SHAP [logit] (+: aftershock)")
    titles = ("seismogram", "what the network sees", "what it used")
    for ax, title in zip(axes, titles):
        panel_title(ax, title)
        ax.set_xlim(*seconds)
    return axes


def distribution_edges(values, bins):
    """Edges of equal bins over the known values, float array (bins + 1,)."""
    return np.linspace(np.nanmin(values), np.nanmax(values) + 1e-9, bins + 1)


def _class_histograms(ax, values, labels, edges):
    """Histogram of each class, filled and outlined."""
    for label, name in enumerate(CLASSES):
        chosen = values[(np.asarray(labels) == label) & np.isfinite(values)]
        style = {"color": CLASS_COLOURS[label], "label": f"{name}s ({len(chosen)})"}
        ax.hist(chosen, edges, color=CLASS_COLOURS[label], alpha=0.35)
        ax.hist(chosen, edges, histtype="step", linewidth=1.5, **style)
    ax.legend()


def event_rate(ax, times, labels, mainshock):
    """Events a day, by class, the mainshock marked.

    times: Series of datetimes [UTC]
    labels: array (N,), 0 or 1
    mainshock: Timestamp [UTC]
    """
    days = (times - mainshock).dt.total_seconds().to_numpy() / 86400
    edges = np.arange(np.floor(days.min()), np.ceil(days.max()) + 1)
    _class_histograms(ax, days, labels, edges)
    ax.axvline(0, color="black", linewidth=1.5)
    ax.annotate("mainshock", (0, 1), **ABOVE_AXES)
    label = f"days after the mainshock ({mainshock:%Y-%m-%d %H:%M} UTC)"
    ax.set(xlabel=label, ylabel="events a day")
    return ax


def distribution(ax, values, labels, label, bins=30):
    """Histogram of one quantity by class.

    values: array (N,), NaN left out
    labels: array (N,), 0 or 1
    label: str, quantity and unit
    """
    values = np.asarray(values, dtype=float)
    if np.isfinite(values).any():
        _class_histograms(ax, values, labels, distribution_edges(values, bins))
    else:
        ax.annotate("not in this dataset", (0.5, 0.5), xycoords="axes fraction", ha="center")
    ax.set(xlabel=label, ylabel="events")
    return ax


def learning_curves(ax, history, title=""):
    """Training and validation loss by epoch; the epoch kept is marked.

    history: DataFrame of a TrainingResult
    """
    validation = history["validation_loss"]
    style = {"color": CLASS_COLOURS[0], "marker": "o", "markersize": 3}
    ax.plot(history.index, history["train_loss"], color="0.4", label="training")
    ax.plot(history.index, validation, label="validation", **style)
    ax.axvline(validation.idxmin(), color="0.7", linestyle=":", label="epoch kept")
    highest = max(
        ax.get_ylim()[1], 1.05 * history[["train_loss", "validation_loss"]].max(axis=None)
    )
    ax.set(xlabel="epoch", ylabel="cross-entropy loss", title=title, ylim=(0, highest))
    ax.legend()
    return ax


def write_cells(ax, texts, dark, fontsize=10):
    """Write texts, array (rows, columns), into the cells of an image, white where it is dark."""
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if dark[row, column] else "black"
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=fontsize)
    return ax


def confusion(ax, labels, predicted, title=""):
    """Confusion matrix in numbers of test events.

    labels, predicted: arrays (N,), 0 or 1
    """
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    ax.imshow(counts, cmap=ABSOLUTE, vmin=0, vmax=1.4 * counts.max())
    write_cells(ax, counts.astype(str), counts > 0.7 * counts.max(), fontsize=14)
    ax.set_xticks((0, 1), CLASSES)
    ax.set_yticks((0, 1), CLASSES, rotation=90, va="center")
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return ax


def draw_intervals(ax, places, table, scale=1, **style):
    """Values with their 95 % intervals: table has value, low and high, NaN without an interval."""
    value = table["value"].to_numpy(float)
    errors = np.nan_to_num(np.abs(table[["low", "high"]].to_numpy(float).T - value))
    ax.errorbar(places, scale * value, scale * errors, **style)
    return ax


def scores(ax, results):
    """Scores of several evaluations with their 95 % intervals; chance for balanced classes dotted.

    results: dict, name -> (metrics, intervals)
    """
    lowest = 0.5
    for k, (name, (metrics, intervals)) in enumerate(results.items()):
        value = np.array(list(metrics.values()))
        bounds = np.array([intervals[metric] for metric in metrics])
        places = np.arange(len(value)) + 0.15 * (k - (len(results) - 1) / 2)
        errors = np.maximum(np.abs(bounds.T - value), 0)
        style = series_style(k, len(results))
        ax.errorbar(places, value, errors, linestyle="none", label=name, **style)
        lowest = np.nanmin([lowest, np.nanmin(bounds)])
    ax.axhline(0.5, color="0.6", linestyle=":", label="chance (balanced classes)")
    names = {"f1": "F1", "roc_auc": "ROC AUC"}
    ax.set_xticks(range(len(metrics)), [names.get(metric, metric) for metric in metrics])
    ax.set(ylabel="score on test events", ylim=(lowest - 0.05, 1.02))
    ax.legend(loc="center", fontsize=10)
    return ax


def margins(ax, values, margin, labels, label):
    """Margin of each test event against one quantity; misclassified events are ringed.

    values: array (N,)
    margin: array (N,), logit(aftershock) - logit(foreshock)
    labels: array (N,), 0 or 1
    label: str, quantity and unit
    """
    values, margin, labels = map(np.asarray, (values, margin, labels))
    for k, name in enumerate(CLASSES):
        style = {"color": CLASS_COLOURS[k], "marker": "o^"[k], "label": f"{name}s"}
        ax.scatter(values[labels == k], margin[labels == k], s=14, alpha=0.7, **style)
    wrong = (margin > 0) != labels
    ring = {"facecolors": "none", "edgecolors": "black", "label": f"misclassified ({wrong.sum()})"}
    ax.scatter(values[wrong], margin[wrong], s=70, **ring)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel=label, ylabel="margin: logit(aftershock)\n$-$ logit(foreshock)")
    ax.legend(fontsize=9)
    return ax


def other_arrivals(ax, s_p, phase):
    """Histogram of the other phase's arrival times on a second axis.

    ax: Axes, time relative to the arrival phase
    s_p: array (N,), S-P times [s]
    phase: "P" or "S", the arrival at time 0
    """
    other, times = ("S", s_p) if phase == "P" else ("P", -np.asarray(s_p))
    limits = ax.get_xlim()
    twin = ax.twinx()
    twin.hist(times, np.arange(*limits, 0.25), histtype="step", color="black", linewidth=1.0)
    highest = max(int(twin.get_ylim()[1] / 1.05 + 0.5), 1)
    twin.set(ylim=(0, 4 * highest), yticks=(0, highest))
    twin.set_ylabel(f"{other} arrivals\n[events / 0.25 s]", fontsize=9, loc="bottom")
    ax.set_xlim(limits)
    return mark_arrivals(ax, phase, np.nan)


def profile(ax, positions, events, colour, label):
    """Mean over events of a profile, with its 95 % interval (1.96 standard errors).

    positions: array (n,), frequency [Hz] or time [s]
    events: array (events, n); or (trainings, events, n), each training's mean a thin line
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
        style = {"color": colour, "alpha": 0.25, "linewidth": 0}
        ax.fill_between(positions, mean - error, mean + error, **style)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.legend()
    return ax


def write_row_counts(ax, counts):
    """Number of events at the right end of each row 0, 1, ..."""
    for row, count in enumerate(counts):
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        ax.annotate(f" n = {count:.0f}", (1, row), fontsize=9, **place)
    return ax


def weekly(ax, weeks, events, frequencies, limit):
    """Mean SHAP profile over frequency of each week; the number of events stands at the right.

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
    write_row_counts(ax, counts)
    ax.set(xlabel="frequency [Hz]", ylabel="week after the mainshock")
    ax.figure.colorbar(ax.collections[0], ax=ax, label="mean SHAP [logit / Hz]", pad=0.14)
    return ax


def background_curve(ax, curve, chosen):
    """Distance of maps to those with the whole background, by the number of background events.

    curve: DataFrame of foreshap.background_curve(): size, distance, low, high
    chosen: int, number used in the maps
    """
    table = curve.assign(value=curve["distance"])
    draw_intervals(ax, curve["size"], table, fmt="o-", color=CLASS_COLOURS[0])
    ax.axvline(chosen, color="0.5", linestyle=":", label=f"used here: {chosen}")
    ax.set(xscale="log", yscale="log", xlabel="background events")
    ax.set_ylabel("relative L2 distance\nto the whole background")
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick < 1.2 * curve["high"].max()]
    ax.set_xticks(curve["size"], curve["size"])
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    ax.legend()
    return ax


def tile_values(ax, values, errors, names, limit):
    """Values of the tiles of one component as a table in colour, written with their errors.

    values, errors: arrays (bands, windows), the error as half the width of a 95 % interval
    names: (bands, windows), two sequences of str
    limit: float, half-width of the colour scale
    """
    ax.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, origin="lower", aspect="auto")
    texts = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        texts[place] = f"{value:+.2f}\n±{errors[place]:.2f}"
    write_cells(ax, texts, np.abs(values) > 0.6 * limit)
    ax.set_xticks(range(len(names[1])), names[1])
    ax.set_yticks(range(len(names[0])), names[0])
    ax.set(xlabel="window", ylabel="frequency band")
    ax.label_outer()
    return ax


def matrix(ax, table, label):
    """Agreement of every two maps, written into the cells.

    table: DataFrame, name x name, -1..1
    label: str, of the colour bar
    """
    values = table.to_numpy()
    ax.imshow(values, cmap=SIGNED, vmin=-1, vmax=1)
    write_cells(ax, np.strings.mod("%.2f", values), np.abs(values) > 0.6, fontsize=9)
    ax.set_xticks(range(len(table)), table.columns, rotation=40, ha="right")
    ax.set_yticks(range(len(table)), table.index)
    return colour_bar(ax, label)


def methods_cost(ax, seconds, scores, label):
    """What each method costs against how well it does.

    seconds: dict, method -> seconds an event
    scores: DataFrame, a row a method: value, low, high
    label: str, of the score
    """
    for k, method in enumerate(scores.index):
        style = series_style(k, len(scores))
        draw_intervals(
            ax, seconds[method], scores.loc[[method]], markersize=8, label=method, **style
        )
    slowest, fastest = max(seconds.values()), min(seconds.values())
    ticks = [
        tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if fastest < 2 * tick < 4 * slowest
    ]
    ax.set(xscale="log", xlabel="seconds an event, one core", ylabel=label)
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    return ax


def perturbation(ax, curves, kind):
    """Deletion or insertion, beside random order.

    curves: dict, name -> DataFrame of foreshap.perturbation_curves()
    kind: "deletion" or "insertion"
    """
    for k, (name, curve) in enumerate(curves.items()):
        style = series_style(k, len(curves))
        ax.plot(100 * curve["share"], curve[kind], markersize=4, label=name, **style)
    random = curve[f"random {kind}"]
    ax.plot(100 * curve["share"], random, color="0.5", linestyle=":", label="random order")
    ax.axhline(0, color="0.8", linewidth=0.8)
    ax.set(xlabel="pixels exchanged [%]", ylabel=f"{kind}: output [share of the events' own]")
    return ax


def randomisation(ax, table):
    """Agreement with the original's maps while layer after layer is drawn anew.

    table: DataFrame, a row a layer in the order of their drawing: "signed" and "absolute", each
        (value, low, high)
    """
    places = np.arange(len(table))
    for kind, colour, marker in zip(("signed", "absolute"), CLASS_COLOURS, MARKERS):
        value, low, high = np.array(table[kind].to_list()).T
        style = {"color": colour, "marker": marker, "label": kind}
        ax.errorbar(places, value, np.abs([value - low, high - value]), **style)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.axhline(0.1, color="0.6", linestyle=":", label="0.1")
    ax.set_xticks(places, table.index, rotation=40, ha="right")
    ax.set_xlabel("layers drawn anew, from the output down to")
    ax.set_ylabel("rank correlation\nwith the original's maps")
    ax.legend()
    return ax
