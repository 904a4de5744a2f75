"""Draw waveforms, spectrograms, maps and trainings: arrays and axes in, axes out.

What means the same in every figure: `ax` is a matplotlib Axes and `axes` are several, which are
returned; `variant` is a Variant; `s_p` the S-P time [s], float, NaN or None: not known; `phase` "P"
or "S", the arrival at time 0; `labels` an array (N,) of 0 and 1; `unit` that of the samples, str;
`label` the quantity and unit of an axis, str; `limit` half the width of a colour scale, float.
"""

import numpy as np
import pandas as pd
from cmcrameri import cm
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import EngFormatter
from scipy.signal import butter, sosfiltfilt

from ..preprocessing.variants import CLASSES, COMPONENTS, SAMPLING_RATE, SECONDS_BEFORE_P

CLASS_COLOURS = ("#0072B2", "#D55E00")  # foreshock, aftershock: safe for colour-blind readers
INK = "#0072B2"
MARKERS = "os^Dvp*"
HIGHPASS = 1.0  # corner of the seismograms drawn: microseisms lie below [Hz]
BINS = 30
STYLE = {  # matplotlib's settings in all notebooks
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "legend.frameon": False,
    "errorbar.capsize": 3,
}
LAYERS = {"classifier.4": "output", "classifier.2": "dense", "features.0": "convolution 1"}
LAYERS |= {"features.4": "convolution 2", "features.8": "convolution 3"}
LAYERS |= {f"features.{4 * k + 1}": f"normalisation {k + 1}" for k in range(3)}
ABOVE_AXES = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}


def white_centred(colours):
    """A diverging Colormap whose centre is lifted to white, in 257 steps."""
    table = colours(np.linspace(0, 1, 257))
    from_centre = np.abs(np.linspace(-1, 1, 257))[:, None]
    table[:, :3] += (1 - from_centre) * (1 - table[128, :3])
    return ListedColormap(np.clip(table, 0, 1))


SPECTRAL, SIGNED, ABSOLUTE = cm.batlow, white_centred(cm.vik), cm.devon_r


def by_class(labels, values=None):
    """Yield each class's events, bool (N,), with their colour and label; NaN of values left out."""
    labels = np.asarray(labels)
    for label, name in enumerate(CLASSES):
        chosen = labels == label
        if values is not None:
            chosen &= np.isfinite(values)
        yield chosen, {"color": CLASS_COLOURS[label], "label": f"{name}s ({chosen.sum()})"}


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


def event_title(event, margin=None, side=None):
    """Name an event (row of a table) in two lines: trace, classes, margin; magnitude, S-P, date.

    margin: float, logit(aftershock) - logit(foreshock); side: str, of the split
    """
    name = event["trace_name"].replace("$", r"\$")  # else it would begin a formula
    first = [name, CLASSES[int(event["label"])]]
    if margin is not None:
        first.append(f"predicted {CLASSES[int(margin > 0)]}, margin {margin:+.2f}")
    second = []
    for column, form in (("source_magnitude", "M {:.1f}"), ("p_s_diff_sec", "S-P {:.2f} s")):
        if np.isfinite(event.get(column, np.nan)):
            second.append(form.format(event[column]))
    if "trace_start_time" in event:
        second.append(str(event["trace_start_time"])[:16].replace("T", " "))
    if side is not None:
        second.append(side)
    return "\n".join(", ".join(parts) for parts in (first, second) if parts)


def finish(ax, x_label, y_label, legend=None, **settings):
    """Label the axes; legend: its font size; settings of Axes.set()."""
    ax.set(xlabel=x_label, ylabel=y_label, **settings)
    if legend:
        ax.legend(fontsize=legend)
    return ax


def panel_title(ax, text):
    """Write a title at the left, clear of the marks of P and S."""
    ax.set_title(text, loc="left", fontsize=11, pad=16)
    return ax


def mark_arrivals(ax, phase, s_p, label=True):
    """Draw lines at P (solid) and S (dashed) where they lie within the axes; label: write P, S."""
    s_p = np.nan if s_p is None else s_p
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


def _as_drawn(samples, highpass):
    """Samples (..., n) without mean and what lies below a corner [Hz], and their times after P."""
    samples = samples - samples.mean(axis=-1, keepdims=True)
    if highpass:
        corner = butter(2, highpass, "highpass", fs=SAMPLING_RATE, output="sos")
        samples = sosfiltfilt(corner, samples)
    return samples, np.arange(samples.shape[-1]) / SAMPLING_RATE - SECONDS_BEFORE_P


def waveforms(axes, samples, s_p, phase="P", unit="counts", highpass=HIGHPASS):
    """Draw a three-component seismogram, one component an axes, P and S marked.

    samples: array (3, n) [unit], the P arrival 5 s after the first
    highpass: float, corner frequency of what is drawn, stated on the axis [Hz]; 0 for none
    """
    samples, times = _as_drawn(samples, highpass)
    if phase == "S":
        times = times - s_p
    for ax, component, trace in zip(axes, COMPONENTS, samples):
        ax.plot(times, trace, color="0.25", linewidth=0.5)
        ax.set_ylabel(f"{component}\n[{unit}]")
        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set_xlim(times[0], times[-1])
        mark_arrivals(ax, phase, s_p, label=ax is axes[0])
    if highpass:
        place = {"transform": axes[0].transAxes, "ha": "right", "va": "bottom", "fontsize": 8}
        place["backgroundcolor"] = (1, 1, 1, 0.7)
        axes[0].text(0.99, 0.03, f"mean removed, above {highpass:g} Hz", **place)
    axes[-1].set_xlabel(time_label(phase))
    return axes


def tensor_image(ax, values, variant, colours=None, limits=(0, 1), alpha=None):
    """Draw one (frequency, time) map in physical axes.

    values: array (F, T), or (F, T, 3) for RGB; alpha: array (F, T), opacity
    colours: Colormap, None for RGB; limits: (low, high) of its scale
    """
    steps, extent = (variant.hop / variant.sampling_rate, variant.frequencies[1]), []
    for centres, step in zip((variant.times, variant.frequencies), steps):
        extent += [centres[0] - step / 2, centres[-1] + step / 2]
    options = {"cmap": colours, "norm": Normalize(*limits), "interpolation": "nearest"}
    ax.imshow(values, alpha=alpha, origin="lower", aspect="auto", extent=extent, **options)
    return finish(ax, time_label(variant.phase), "frequency [Hz]")


def colour_bar(ax, label):
    """Add a colour bar of the last image of one Axes, or of the first of several of one scale."""
    axes = np.ravel(ax)
    axes[0].figure.colorbar(axes[0].images[-1], ax=list(axes), label=label, pad=0.02)
    return ax


def spectrograms(axes, values, variant, s_p=None, unit="counts"):
    """Draw log-spectrograms (3, F, T) [log10(unit^2/Hz)] of the components on one colour scale."""
    limits = np.percentile(values, (2, 99.8))
    for ax, component, panel in zip(axes, COMPONENTS, values):
        tensor_image(ax, panel, variant, SPECTRAL, limits)
        mark_arrivals(ax, variant.phase, s_p)
        panel_title(ax, component).label_outer()
    return colour_bar(axes, power_label(unit))


def rgb(values):
    """Components E, N, Z as red, green, blue: array (3, F, T) -> (F, T, 3) in 0..1 on one scale."""
    low, high = np.percentile(values, (2, 99.8))
    return np.moveaxis(np.clip((values - low) / (high - low), 0, 1), 0, -1)


def rgb_spectrogram(ax, values, variant, s_p=None):
    """Draw log-spectrograms (3, F, T) [log10(unit^2/Hz)] as RGB: E red, N green, Z blue."""
    return mark_arrivals(tensor_image(ax, rgb(values), variant), variant.phase, s_p)


def shared_limit(*maps, percentile=99.8):
    """Find the half-width of one colour scale for all maps: their percentile of |value|."""
    values = np.concatenate([*map(np.ravel, maps)])
    return float(np.nanpercentile(np.abs(values), percentile)) or 1.0


def shap_map(ax, values, variant, limit, s_p=None, absolute=False):
    """Draw a SHAP map (F, T) on white, + toward aftershock; absolute: the scale begins at 0."""
    colours, lowest = (ABSOLUTE, 0) if absolute else (SIGNED, -limit)
    tensor_image(ax, values, variant, colours, (lowest, limit))
    return mark_arrivals(ax, variant.phase, s_p)


def shap_over_rgb(ax, values, spectrogram, variant, limit, s_p, opacity=0.6):
    """Draw a SHAP map over the event's RGB composite, nearly grey, so that colours are SHAP's own.

    values: array (F, T), positive pushes toward aftershock; the smaller, the more transparent
    spectrogram: array (3, F, T) [log10(unit^2/Hz)]
    opacity: float, of the composite below: 0 for a white ground
    """
    colours = rgb(spectrogram)
    below = 0.8 * colours.mean(axis=2, keepdims=True) + 0.2 * colours
    tensor_image(ax, 1 - opacity * (1 - below), variant)
    alpha = np.clip(np.abs(values) / limit, 0, 1) ** 0.5 if opacity else None
    tensor_image(ax, values, variant, SIGNED, (-limit, limit), alpha)
    return mark_arrivals(ax, variant.phase, s_p)


def class_maps(axes, means, variant, s_p, counts, label):
    """Draw the mean SHAP of each class on white and on one scale, summed over components.

    means: 2 arrays (3, F, T), foreshocks, aftershocks; counts: 2 ints, events
    """
    maps = [np.sum(mean, axis=0) for mean in means]
    limit = shared_limit(*maps)
    for ax, values, name, count in zip(axes, maps, CLASSES, counts):
        shap_map(ax, values, variant, limit, s_p)
        panel_title(ax, f"{name}s ({count})").label_outer()
    return colour_bar(axes, label)


def banner(axes, samples, spectrogram, values, variant, s_p, unit="counts"):
    """Draw one event side by side: seismogram, what the network sees, what it used.

    samples: array (3, n) [unit], the P arrival 5 s after the first; the vertical one is drawn
    spectrogram: array (3, F, T) [log10(unit^2/Hz)]
    values: array (F, T), SHAP, positive pushes toward aftershock
    """
    first, last = -2.0, max(8.0, s_p + 4)  # both arrivals and some seconds around them
    if variant.phase == "S":
        first, last = -max(2.0, s_p + 1), 8.0
    waveforms([axes[0]], samples[2:], s_p, variant.phase, unit)
    axes[0].set_ylabel(f"Z [{unit}]")
    rgb_spectrogram(axes[1], spectrogram, variant, s_p)
    shap_map(axes[2], values, variant, shared_limit(values, percentile=99.5), s_p)
    colour_bar(axes[2], "SHAP [logit] (+: aftershock)")
    for ax, title in zip(axes, ("seismogram", "what the network sees", "what it used")):
        panel_title(ax, title)
        ax.set_xlim(max(first, variant.times[0]), min(last, variant.times[-1]))
    return axes


def distribution_edges(values):
    """Edges of equal bins over the known values, float array (BINS + 1,)."""
    return np.linspace(np.nanmin(values), np.nanmax(values) + 1e-9, BINS + 1)


def _class_histograms(ax, values, labels, edges, in_percent=False):
    """Histogram of each class, filled and outlined."""
    for chosen, style in by_class(labels, values):
        weight = 100 / max(chosen.sum(), 1) if in_percent else 1
        weights = np.full(chosen.sum(), weight)
        ax.hist(values[chosen], edges, weights=weights, color=style["color"], alpha=0.35)
        ax.hist(values[chosen], edges, weights=weights, histtype="step", linewidth=1.5, **style)
    ax.legend()


def event_rate(ax, times, labels, mainshock):
    """Draw events a day by class, the mainshock marked (Series of datetimes, Timestamp, UTC)."""
    days = (times - mainshock).dt.total_seconds().to_numpy() / 86400
    edges = np.arange(np.floor(days.min()), np.ceil(days.max()) + 1)
    _class_histograms(ax, days, labels, edges)
    ax.axvline(0, color="black", linewidth=1.5)
    ax.annotate("mainshock", (0, 1), **ABOVE_AXES)
    label = f"days after the mainshock ({mainshock:%Y-%m-%d %H:%M} UTC)"
    return finish(ax, label, "events a day")


def distribution(ax, values, labels, label):
    """Draw a histogram of values (N,) by class, in percent where one has twice the events."""
    values = np.asarray(values, dtype=float)
    counts = np.bincount(np.asarray(labels)[np.isfinite(values)], minlength=2)
    differ = counts.max() > 2 * counts.min()
    if not counts.any():
        ax.annotate("not in this dataset", (0.5, 0.5), xycoords="axes fraction", ha="center")
    else:
        _class_histograms(ax, values, labels, distribution_edges(values), differ)
    return finish(ax, label, "events of a class [%]" if differ else "events")


def scatter_classes(ax, x, y, labels, size, alpha):
    """Points of each class in its colour and with its marker."""
    for (chosen, style), marker in zip(by_class(labels), "o^"):
        ax.scatter(x[chosen], y[chosen], s=size, alpha=alpha, marker=marker, **style)


def epicentres(ax, table, section=False):
    """Draw a map of the epicentres by class, the station a triangle; or depth against longitude.

    table: DataFrame with label, source_longitude, source_latitude or source_depth_km
    """
    vertical = "source_depth_km" if section else "source_latitude"
    scatter_classes(ax, table["source_longitude"], table[vertical], table["label"], 9, 0.6)
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(nbins=5)
    if section:
        ax.invert_yaxis()
        return finish(ax, "longitude [degrees]", "depth [km]")
    if "receiver_longitude" in table and "receiver_latitude" in table:
        stations = table[["receiver_longitude", "receiver_latitude"]].drop_duplicates()
        ax.scatter(*stations.to_numpy().T, marker="v", s=60, color="black", label="station")
    ax.set_aspect(1 / np.cos(np.radians(table[vertical].median())), adjustable="datalim")
    return finish(ax, "longitude [degrees]", "latitude [degrees]", legend=9)


def record_section(ax, traces, s_p, labels):
    """Draw seismograms of several events above each other by S-P time, each on its own scale.

    traces: list of arrays (n,), vertical component, the P arrival 5 s after the first sample
    s_p: array (N,), S-P times [s]
    """
    for name, colour in zip(CLASSES, CLASS_COLOURS):
        ax.plot([], [], color=colour, label=f"{name}s")
    for place, k in enumerate(np.argsort(s_p)):
        trace, times = _as_drawn(traces[k], HIGHPASS)
        trace = 0.8 * trace / np.abs(trace).max()
        ax.plot(times, place + trace, color=CLASS_COLOURS[labels[k]], linewidth=0.5)
        ax.plot([s_p[k]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.2)
    mark_arrivals(ax, "P", np.nan)
    ax.text(np.max(s_p), len(s_p) - 0.5, "S", ha="center", va="bottom")
    ax.set_yticks(range(len(s_p)), [f"{time:.1f}" for time in np.sort(s_p)], fontsize=8)
    panel_title(ax, f"component Z, above {HIGHPASS:g} Hz, each event on its own scale")
    limits = {"xlim": (-2, np.max(s_p) + 6), "ylim": (-3, len(s_p) + 1)}
    finish(ax, time_label("P"), "S-P time [s]", **limits)
    ax.legend(loc="lower right", ncols=2, fontsize=9)
    return ax


def class_spectra(ax, frequencies, spectra, labels, unit="counts"):
    """Draw the mean log-spectrum of each class (solid), and of its noise before P (dotted).

    frequencies: array (F,) [Hz]; spectra: array (N, 2, F), noise, signal [log10(unit^2/Hz)]
    """
    for name, (chosen, style) in zip(CLASSES, by_class(labels)):
        noise, signal = np.nanmean(spectra[chosen], axis=0)
        ax.plot(frequencies, signal, color=style["color"], label=f"{name}s, S")
        ax.plot(frequencies, noise, ":", color=style["color"], label=f"{name}s, before P")
    return finish(ax, "frequency [Hz]", power_label(unit), legend=9)


def learning_curves(ax, history, title=""):
    """Draw training and validation loss by epoch of a TrainingResult; the epoch kept is marked."""
    ax.plot(history["train_loss"], color="0.4", label="training")
    ax.plot(history["validation_loss"], "o-", color=INK, markersize=3, label="validation")
    kept = history["validation_loss"].idxmin()
    ax.axvline(kept, color="0.7", linestyle=":", label="epoch kept")
    highest = history[["train_loss", "validation_loss"]].max(axis=None)
    highest = max(ax.get_ylim()[1], 1.05 * highest)  # panels may share it
    return finish(ax, "epoch", "cross-entropy loss", 10, title=title, ylim=(0, highest))


def _cells(ax, values, texts, names, colours, limits, fontsize=9, **options):
    """Values (rows, columns) in colour with texts in the cells, white where it is dark."""
    ax.imshow(values, cmap=colours, norm=Normalize(*limits), **options)
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if abs(values[row, column]) > 0.6 * limits[1] else "black"
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=fontsize)
    ax.set_yticks(range(len(names[0])), names[0])
    ax.set_xticks(range(len(names[1])), names[1])
    return ax


def confusion(ax, labels, predicted, title=""):
    """Draw the confusion matrix in numbers of test events (labels and predicted: 0 or 1)."""
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    limits, names = (0, 1.2 * counts.max()), (CLASSES, CLASSES)
    _cells(ax, counts, counts.astype(str), names, ABSOLUTE, limits, fontsize=14)
    ax.set_yticks((0, 1), CLASSES, rotation=90, va="center")
    return finish(ax, "predicted", "true", title=title)


def draw_intervals(ax, places, table, scale=1, **style):
    """Values with their 95 % intervals: table has value, low and high, NaN without an interval."""
    value = table["value"].to_numpy(float)
    errors = np.nan_to_num(np.abs(table[["low", "high"]].to_numpy(float).T - value))
    ax.errorbar(places, scale * value, scale * errors, **style)
    return ax


def scores(ax, results):
    """Draw scores with their 95 % intervals, of a dict, name -> (metrics, intervals)."""
    lowest = 0.5
    for k, (name, (metrics, intervals)) in enumerate(results.items()):
        table = pd.DataFrame([intervals[metric] for metric in metrics], columns=["low", "high"])
        table["value"] = list(metrics.values())
        places = np.arange(len(table)) + 0.15 * (k - (len(results) - 1) / 2)
        style = series_style(k, len(results))
        draw_intervals(ax, places, table, linestyle="none", label=name, **style)
        lowest = np.nanmin([lowest, table["low"].min()])
    ax.axhline(0.5, color="0.6", linestyle=":", label="chance (balanced classes)")
    names = {"f1": "F1", "roc_auc": "ROC AUC"}
    ax.set_xticks(range(len(metrics)), [names.get(metric, metric) for metric in metrics])
    ax.set(ylabel="score on test events", ylim=(lowest - 0.2, 1.02))
    ax.legend(loc="lower center", ncol=3, fontsize=9)
    return ax


def margins(ax, values, margin, labels, label):
    """Draw the margin of each test event against one quantity; misclassified events are ringed.

    values: array (N,); margin: array (N,), logit(aftershock) - logit(foreshock)
    """
    values, margin, labels = map(np.asarray, (values, margin, labels))
    scatter_classes(ax, values, margin, labels, 14, 0.7)
    wrong = (margin > 0) != labels
    ring = {"facecolors": "none", "edgecolors": "black", "label": f"misclassified ({wrong.sum()})"}
    ax.scatter(values[wrong], margin[wrong], s=70, **ring)
    ax.axhline(0, color="0.6", linewidth=0.8)
    return finish(ax, label, "margin: logit(aftershock)\n$-$ logit(foreshock)", legend=9)


def other_arrivals(ax, s_p, phase):
    """Draw a histogram of the other phase's arrivals on a second axis (s_p: array (N,) [s])."""
    other, times = ("S", s_p) if phase == "P" else ("P", -np.asarray(s_p))
    limits = ax.get_xlim()
    twin = ax.twinx()
    counts, _, _ = twin.hist(times, np.arange(*limits, 0.25), histtype="step", color="black")
    highest = max(int(counts.max()), 1)
    twin.set(ylim=(0, 4 * highest), yticks=(0, highest))
    twin.set_ylabel(f"{other} arrivals\n[events / 0.25 s]", fontsize=9, loc="bottom")
    ax.set_xlim(limits)
    return ax


def profile(ax, positions, events, colour, label):
    """Draw the mean over events of a profile, with its 95 % interval (1.96 standard errors).

    positions: array (n,), frequency [Hz] or time [s]
    events: array (events, n); or (trainings, events, n), each training's mean a thin line
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
    ax.margins(y=0.25)  # room for the legend
    ax.legend(fontsize=9, loc="upper right")
    return ax


def write_row_counts(ax, counts):
    """Number of events at the right end of each row 0, 1, ..."""
    for row, count in enumerate(counts):
        place = {"xycoords": ("axes fraction", "data"), "va": "center"}
        ax.annotate(f" n = {count:.0f}", (1, row), fontsize=9, **place)


def weekly(ax, weeks, events, frequencies, limit):
    """Draw the mean SHAP profile over frequency of each week, grey without events; their number.

    weeks: int array (N,), after the mainshock
    events: array (N, F), SHAP per Hz of each event; frequencies: array (F,) [Hz]
    """
    shown = np.arange(weeks.min(), weeks.max() + 1)
    by_week = pd.DataFrame(events).groupby(np.asarray(weeks))
    means, counts = by_week.mean().reindex(shown), by_week.size().reindex(shown, fill_value=0)
    rows = np.arange(len(shown))
    ax.set_facecolor("0.85")  # a week without events
    ax.pcolormesh(frequencies, rows, means, cmap=SIGNED, vmin=-limit, vmax=limit, shading="nearest")
    ax.axhline(np.searchsorted(shown, 0) - 0.5, color="black", linewidth=1.5)
    ax.set_yticks(rows, shown)
    write_row_counts(ax, counts)
    ax.figure.colorbar(ax.collections[0], ax=ax, label="mean SHAP [logit / Hz]", pad=0.14)
    return finish(ax, "frequency [Hz]", "week after the mainshock")


def background_curve(ax, curve, chosen):
    """Draw the distance of maps to those with the whole background, by its size.

    curve: DataFrame of foreshap.background_curve(); chosen: int, number used in the maps
    """
    table = curve.assign(value=curve["distance"])
    draw_intervals(ax, curve["size"], table, fmt="o-", color=INK)
    ax.axvline(chosen, color="0.5", linestyle=":", label=f"used here: {chosen}")
    ax.set(xscale="log", yscale="log")
    ticks = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    ticks = ticks[ticks < 1.2 * curve["high"].max()]
    ax.set_xticks(curve["size"], curve["size"])
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    label = "relative L2 distance\nto the whole background"
    return finish(ax, "background events", label, legend=10)


def tile_values(ax, values, errors, names, limit):
    """Draw the values of one component's tiles as a table in colour, with their errors.

    values, errors: arrays (bands, windows), the error as half the width of a 95 % interval
    names: (bands, windows), two sequences of str
    """
    texts = np.strings.add(np.strings.mod("%+.2f\n", values), np.strings.mod("±%.2f", errors))
    _cells(ax, values, texts, names, SIGNED, (-limit, limit), origin="lower", aspect="auto")
    finish(ax, "window", "frequency band").label_outer()
    return ax


def matrix(ax, table, label):
    """Draw the agreement of every two maps, written into the cells (table: name x name, -1..1)."""
    values = table.to_numpy()
    names = table.index, table.columns
    _cells(ax, values, np.strings.mod("%.2f", values), names, SIGNED, (-1, 1))
    ax.set_xticks(range(len(table)), table.columns, rotation=40, ha="right")
    return colour_bar(ax, label)


def methods_cost(ax, seconds, scores, label):
    """Draw what each method costs against how well it does.

    seconds: dict, method -> seconds an event; scores: DataFrame, a row a method: value, low, high
    """
    for k, method in enumerate(scores.index):
        style = series_style(k, len(scores)) | {"markersize": 8, "label": method}
        draw_intervals(ax, seconds[method], scores.loc[[method]], **style)
    slowest, fastest = max(seconds.values()), min(seconds.values())
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100) if fastest < 4 * tick < 16 * slowest]
    ax.set_xscale("log")
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    return finish(ax, "seconds an event, one core", label)


def perturbation(ax, curves, kind):
    """Draw "deletion" or "insertion" of a dict, name -> foreshap.perturbation_curves()."""
    for k, (name, curve) in enumerate(curves.items()):
        style = series_style(k, len(curves))
        ax.plot(100 * curve["share"], curve[kind], markersize=4, label=name, **style)
    random = curve[f"random {kind}"]
    ax.plot(100 * curve["share"], random, color="0.5", linestyle=":", label="random order")
    ax.axhline(0, color="0.8", linewidth=0.8)
    return finish(ax, "pixels exchanged [%]", f"{kind}: output\n[share of the events' own]")


def randomisation(ax, table):
    """Draw the agreement with the original's maps while layer after layer is drawn anew.

    table: DataFrame, a row a layer: "signed" and "absolute", each (value, low, high)
    """
    places = np.arange(len(table))
    for kind, colour, marker in zip(("signed", "absolute"), CLASS_COLOURS, MARKERS):
        rows = pd.DataFrame(table[kind].to_list(), columns=["value", "low", "high"])
        draw_intervals(ax, places, rows, color=colour, marker=marker, label=kind)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.axhline(0.1, color="0.6", linestyle=":", label="0.1")
    ax.set_xticks(places, [LAYERS.get(name, name) for name in table.index], rotation=40, ha="right")
    label = "rank correlation\nwith the original's maps"
    return finish(ax, "layers drawn anew, from the output down to", label, legend=10)
