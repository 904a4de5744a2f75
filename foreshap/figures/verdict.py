"""Draw the controls and the verdict: tables and axes in, axes out; `ax` is a matplotlib Axes."""

import textwrap

import numpy as np
import pandas as pd

from ..preprocessing.variants import CLASSES
from .maps import CLASS_COLOURS, distribution_edges, draw_intervals, event_rate, write_row_counts

INK = "#0072B2"
VERDICT_STYLE = {  # colour and symbol: one is enough to tell them apart
    "path/source": ("#009E73", "▲"),
    "station/background": ("#D55E00", "■"),
    "catalogue": ("#E69F00", "◆"),
    "mixed": ("#CC79A7", "✚"),
    "undecided": ("0.45", "○"),
}
COLUMNS = {  # of the verdict's page: heading -> left end
    "control": 0.05,
    "fault or path predicts": 0.3,
    "station or catalogue predicts": 0.46,
    "ROC AUC, or as named": 0.665,
}
AXIS_START, AXIS_LENGTH = 0.815, 0.095  # of the page's axis from 0 to 1
PLACEBO_STYLE = {  # colour, marker, size
    "inside foreshocks": (CLASS_COLOURS[0], "o", 6),
    "inside aftershocks": (CLASS_COLOURS[1], "^", 6),
    "across": ("0.5", "s", 5),
    "mainshock": ("black", "*", 14),
}
AT_FOOT = {"xycoords": ("data", "axes fraction"), "fontsize": 8}


def measured(ax, table, label, chance=0.5):
    """Measurements with their 95 % intervals, a row each, the number of events at the right.

    table: DataFrame, a row a measurement: value, low, high, n_events; without rows it says so
    label: str, quantity of the horizontal axis
    chance: float, dotted
    """
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples()):
        ax.plot([row.low, row.high], [place, place], color=INK, linewidth=2.5, alpha=0.6)
        ax.plot(row.value, place, "o", color=INK, markersize=6)
    write_row_counts(ax, table["n_events"])
    ax.axvline(chance, color="0.5", linestyle=":")
    ax.set_yticks(places, table.index)
    ax.set_ylim(max(len(table), 1) - 0.5, -0.5)
    if table.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
    ax.set_xlabel(f"{label} (dotted: chance)")
    lowest = np.nanmin(table[["low", "value"]].to_numpy(float), initial=chance - 0.1)
    ax.set_xlim(lowest - 0.02, 1.02)
    return ax


def overlap(ax, values, labels, weights, label, bins=25):
    """One quantity by class: as it is (outline), and weighted until the classes match (filled).

    values: array (N,)
    labels: array (N,), 0 or 1
    weights: array (N,), each class's scaled to its number of events
    label: str, quantity and unit
    """
    values, labels, weights = map(np.asarray, (values, labels, weights))
    edges = distribution_edges(values, bins)
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        chosen = labels == k
        scaled = weights[chosen] * chosen.sum() / weights[chosen].sum()
        outline = {"histtype": "step", "linewidth": 1.4, "linestyle": ("-", "--")[k]}
        ax.hist(values[chosen], edges, color=colour, label=f"{name}s", **outline)
        filled = {"alpha": 0.35, "label": "matched"}
        ax.hist(values[chosen], edges, weights=scaled, color=colour, **filled)
    ax.set(xlabel=label, ylabel="events")
    return ax


def placebo(axes, table, times, labels, mainshock, gaps=(), services=None):
    """ROC AUC of telling events before from after a dividing date, over the event rate.

    axes: 2 Axes that share time
    table: DataFrame, a row a date: time [UTC], kind, value, low, high, n_events
    times: Series of datetimes [UTC], of the events
    labels: array (N,), 0 or 1
    mainshock: Timestamp [UTC]
    gaps: sequence of (start, end), datetimes [UTC]
    services: DataFrame with columns time, what; None draws none
    """
    days = _days_after(table["time"], mainshock)
    days = days.where(table["kind"] != "mainshock", 0)  # its side ends and begins where events do
    for kind, (colour, marker, size) in PLACEBO_STYLE.items():
        rows = table[table["kind"] == kind]
        style = {"fmt": marker, "color": colour, "markersize": size, "label": kind}
        draw_intervals(axes[0], days[rows.index], rows, **style)
    axes[0].axhline(0.5, color="0.5", linestyle=":")
    fewest, most = table["n_events"].min(), table["n_events"].max()
    axes[0].set_ylabel(f"ROC AUC\n({fewest:.0f} to {most:.0f} events a date)")
    axes[0].set_ylim(min(0.3, table["low"].min() - 0.02), 1.02)
    axes[0].legend(fontsize=9, ncol=2, loc="upper left")
    if not axes[1].patches:
        event_rate(axes[1], times, labels, mainshock)
    for ax in axes:
        for start, end in gaps:
            first, last = _days_after([start, end], mainshock)
            ax.axvspan(first, last, color="0.85", zorder=0)
        if services is not None:
            for day, what in zip(_days_after(services["time"], mainshock), services["what"]):
                ax.axvline(day, color="0.3", linestyle="--", linewidth=1)
                ax.annotate(what, (day, 0.02), rotation=90, **AT_FOOT)
    return axes


def _days_after(times, mainshock):
    """Days from the mainshock to some times."""
    return (pd.to_datetime(times, utc=True) - mainshock) / pd.Timedelta(days=1)


def drift(ax, days, scores, labels):
    """Held-out score of each event against time, with the running median of each class.

    days: array (N,), after the mainshock [days]
    scores: array (N,), positive leans to aftershock
    labels: array (N,), 0 or 1
    """
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        order = np.flatnonzero(labels == k)[np.argsort(days[labels == k])]
        style = {"color": colour, "markersize": 2.5, "alpha": 0.4}
        ax.plot(days[order], scores[order], "o^"[k], label=f"{name}s ({len(order)})", **style)
        smooth = pd.Series(scores[order]).rolling(41, center=True, min_periods=10).median()
        ax.plot(days[order], smooth, color="white", linewidth=4)
        ax.plot(days[order], smooth, color=colour, linewidth=2, label="running median of 41")
    ax.axvline(0, color="black", linewidth=1.5)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="days after the mainshock", ylabel="held-out log-odds\n(+: aftershock)")
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def reliability(ax, table, error):
    """Observed share of aftershocks against the probability given, with numbers of events.

    table: DataFrame of foreshap.reliability()
    error: float, expected calibration error
    """
    table = table.assign(value=table["observed"])
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="calibrated")
    draw_intervals(ax, table["predicted"], table, fmt="o", color=INK)
    for row in table.itertuples():
        place = {"xytext": (5, -9), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(f"{row.n_events}", (row.predicted, row.value), **place)
    ax.set(xlim=(-0.03, 1.08), ylim=(-0.05, 1.05), title=f"expected calibration error {error:.3f}")
    ax.set_xlabel("probability of aftershock by the network")
    ax.set_ylabel("share of aftershocks (numbers: events)")
    return ax


def accuracy_by(ax, table, label):
    """Accuracy in bins of one quantity, the number of events below.

    table: DataFrame of foreshap.accuracy_by()
    label: str, quantity and unit
    """
    draw_intervals(ax, table["centre"], table, fmt="o-", color=INK)
    for row in table.itertuples():
        ax.annotate(f"{row.n_events}", (row.centre, 0.02), ha="center", **AT_FOOT)
    ax.axhline(0.5, color="0.5", linestyle=":")
    ax.set(xlabel=label, ylabel="accuracy (numbers: events)")
    ax.set_ylim(min(0.4, table["low"].min() - 0.08), 1.02)
    return ax


def shares(ax, table, label):
    """Shares of |SHAP| of several series, beside the share of the area.

    table: DataFrame of foreshap.share_table(): part, series, value, low, high, area, n_events
    label: str, what the parts are
    """
    parts, series = table["part"].unique(), table["series"].unique()
    places = np.arange(len(parts))
    for k, name in enumerate(series):
        rows = table[table["series"] == name].set_index("part").loc[parts]
        style = {"fmt": "o^s"[k % 3], "color": (*CLASS_COLOURS, "0.35")[k % 3]}
        shifted = places + 0.18 * (k - (len(series) - 1) / 2)
        label_k = f"{name} ({rows['n_events'].iloc[0]})"
        draw_intervals(ax, shifted, rows, scale=100, label=label_k, **style)
    areas = 100 * table.drop_duplicates("part").set_index("part").loc[parts, "area"]
    style = {"color": "0.6", "linewidth": 5, "alpha": 0.5, "label": "area"}
    ax.hlines(areas, places - 0.4, places + 0.4, **style)
    ax.set_xticks(places, parts)
    ax.set(xlabel=label, ylabel="share of |SHAP| [%]", ylim=(0, None))
    ax.legend(fontsize=9)
    return ax


def shares_by_week(ax, table, area, part):
    """Share of |SHAP| in one window or band by week and class.

    table: DataFrame of foreshap.share_by_week()
    area: float, share of the area, dotted
    part: str, its name
    """
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        rows = table[table["series"] == f"{name}s"]
        style = {"fmt": "o^"[k], "color": colour, "label": f"{name}s"}
        draw_intervals(ax, rows["week"], rows, scale=100, **style)
        for row in rows.itertuples():
            ax.annotate(f"{row.n_events}", (row.week, 0.02), ha="center", **AT_FOOT)
    ax.axvline(-0.5, color="black", linewidth=1.5)
    ax.axhline(100 * area, color="0.5", linestyle=":", label="area")
    ax.set(xlabel="week after the mainshock\n(numbers: events)", ylabel="share of |SHAP| [%]")
    ax.set_title(part, fontsize=10)
    return ax


def verdict_page(fig, table, verdict, reasons, skipped, title):
    """The page to take away: verdict, reasons, each control with its predictions, what lacks.

    fig: Figure, empty, portrait A4
    table: DataFrame of foreshap.Controls, rows of other controls added or not
    verdict: one of foreshap.VERDICTS
    reasons: list of str
    skipped: dict, control -> reason
    title: str, dataset, number of events, "SIMULATED" where so
    """
    fig.set_layout_engine("none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    colour, symbol = VERDICT_STYLE[verdict]
    style = {"color": colour, "weight": "bold", "family": "DejaVu Sans"}
    ax.text(0.04, 0.972, title, fontsize=10, va="center")
    ax.text(0.04, 0.943, f"{symbol} {verdict}", fontsize=22, va="center", **style)
    small = {"fontsize": 7, "va": "top", "linespacing": 1.35}
    why = _wrapped(reasons)
    ax.text(0.04, 0.922, "\n".join(why), **small)
    lacking = _wrapped(f"{name}: {reason}" for name, reason in skipped.items()) or ["none"]
    foot = 0.025 + 0.0125 * (len(lacking) + 1)
    ax.text(0.04, foot, "\n".join(["Not measured:", *lacking]), **small)
    _controls_table(ax, table, 0.905 - 0.0118 * len(why), foot + 0.012)
    return fig


def _wrapped(sentences):
    """Lines of a page, list of str."""
    lines = []
    for sentence in sentences:
        lines += textwrap.wrap(sentence, 135, subsequent_indent="    ")
    return lines


def _controls_table(ax, table, top, bottom):
    """Write one row a control from top to bottom, each group below its name."""
    n_rows = len(table) + table["group"].nunique() + 1
    step = min(0.018, (top - bottom) / n_rows)
    style = {"fontsize": float(np.clip(540 * step, 5.5, 6.4)), "va": "center"}
    for name, x in COLUMNS.items():
        ax.text(x, top, name, weight="bold", **style)
    for value in (0, 0.5, 1):
        ax.text(_on_axis(value), top, f"{value:g}", weight="bold", ha="center", **style)
    ax.text(0.97, top, "events", weight="bold", ha="right", **style)
    y = top
    for group, rows in table.groupby("group", sort=False):
        y -= step
        ax.text(0.04, y, group, weight="bold", color="0.35", **style)
        for row in rows.itertuples(index=False):
            y -= step
            _control_row(ax, y, row, style)


def _on_axis(values):
    """Place on the page of values from 0 to 1; what lies beyond stands at the end."""
    return AXIS_START + AXIS_LENGTH * np.clip(values, 0, 1)


def _control_row(ax, y, row, style):
    """Write one control: its texts, a dot on an axis from 0 to 1, its number of events."""
    value = "not measured"
    if np.isfinite(row.measured):
        value = f"{row.measured:.2f}"
        if np.isfinite(row.low):  # one event has no interval
            value += f" ({row.low:.2f} to {row.high:.2f})"
    texts = (row.control, row.if_path, row.if_station, value, f"{row.n_events:.0f}")
    for x, text in zip((*COLUMNS.values(), 0.97), texts):
        ax.text(x, y, text, ha="right" if x == 0.97 else "left", **style)
    ax.plot(_on_axis([0, 1]), [y, y], color="0.85", linewidth=0.8)
    ax.plot(_on_axis([row.chance] * 2), [y - 0.004, y + 0.004], color="0.5", linewidth=0.8)
    ax.plot(_on_axis([row.low, row.high]), [y, y], color=INK, linewidth=2)
    marker = "<" if row.measured < 0 else "o"  # it lies below the axis
    ax.plot(_on_axis(row.measured), y, marker, color=INK, markersize=3)
