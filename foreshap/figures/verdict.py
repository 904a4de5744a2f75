"""Pictures of the controls: each function takes tables and axes, draws, and returns the axes."""

import textwrap

import numpy as np
import pandas as pd

from ..preprocessing.variants import CLASSES
from .maps import CLASS_COLOURS, distribution_edges, event_rate

INK = "#0072B2"
VERDICT_STYLE = {  # colour and symbol: one is enough to tell them apart
    "path/source": ("#009E73", "▲"),
    "station/background": ("#D55E00", "■"),
    "catalogue": ("#E69F00", "◆"),
    "mixed": ("#CC79A7", "✚"),
    "undecided": ("0.45", "○"),
}
COLUMNS, AXIS = (
    (0.05, 0.3, 0.46, 0.665),
    (0.8, 0.105),
)  # of the verdict's page: texts, and start and length of 0 to 1
KINDS = {  # of placebo dates: colour, marker, size
    "inside foreshocks": (CLASS_COLOURS[0], "o", 6),
    "inside aftershocks": (CLASS_COLOURS[1], "^", 6),
    "across": ("0.5", "s", 5),
    "mainshock": ("black", "*", 14),
}


def measured(ax, table, label, chance=0.5):
    """Measurements with their 95 % intervals, one below the other, the number of events at the right.

    ax: Axes
    table: DataFrame, a row a measurement, index its name: value, low, high, n_events; without rows it says so
    label: str, quantity of the horizontal axis
    chance: float, dotted
    """
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples()):
        ax.plot([row.low, row.high], [place, place], color=INK, linewidth=2.5, alpha=0.6)
        ax.plot(row.value, place, "o", color=INK, markersize=6)
        ax.annotate(
            f" n = {row.n_events:.0f}",
            (1, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    ax.axvline(chance, color="0.5", linestyle=":")
    ax.set_yticks(places, table.index)
    ax.set_ylim(max(len(table), 1) - 0.5, -0.5)
    if table.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
    ax.set_xlabel(f"{label} (dotted: chance)")
    lowest = np.nanmin(table[["low", "value"]].to_numpy(float), initial=chance)
    ax.set_xlim(min(lowest, chance - 0.1) - 0.02, 1.02)
    return ax


def overlap(ax, values, labels, weights, label, bins=25):
    """One quantity of the catalogue by class: as it is (outline), and weighted until the classes match (filled).

    ax: Axes
    values: array (N,)
    labels: array (N,), 0 or 1
    weights: array (N,), each class's scaled to its number of events
    label: str, quantity and unit
    bins: int
    """
    values, labels, weights = map(np.asarray, (values, labels, weights))
    edges = distribution_edges(values, bins)
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        mine = labels == k
        scaled = weights[mine] * mine.sum() / weights[mine].sum()
        ax.hist(
            values[mine],
            edges,
            histtype="step",
            color=colour,
            linewidth=1.4,
            linestyle=("-", "--")[k],
            label=f"{name}s",
        )
        ax.hist(values[mine], edges, weights=scaled, color=colour, alpha=0.35, label="matched")
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
    after = lambda times: (pd.to_datetime(times, utc=True) - mainshock) / pd.Timedelta(days=1)
    days = after(table["time"]).where(
        table["kind"] != "mainshock", 0
    )  # its side ends and begins where events do
    for kind, (colour, marker, size) in KINDS.items():
        rows = table[table["kind"] == kind]
        bounds = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["value"].to_numpy(float))
        axes[0].errorbar(
            days[rows.index],
            rows["value"],
            bounds,
            fmt=marker,
            color=colour,
            markersize=size,
            capsize=3,
            label=kind,
        )
    axes[0].axhline(0.5, color="0.5", linestyle=":")
    counts = table["n_events"].min(), table["n_events"].max()
    axes[0].set(
        ylabel=f"ROC AUC\n({counts[0]:.0f} to {counts[1]:.0f} events a date)",
        ylim=(min(0.3, table["low"].min() - 0.02), 1.02),
    )
    axes[0].legend(frameon=False, fontsize=9, ncol=2, loc="upper left")
    if not axes[1].patches:
        event_rate(axes[1], times, labels, mainshock)
    for ax in axes:
        for start, end in gaps:
            ax.axvspan(after(start), after(end), color="0.85", zorder=0)
        for time, what in (
            () if services is None else services[["time", "what"]].itertuples(index=False)
        ):
            ax.axvline(after(time), color="0.3", linestyle="--", linewidth=1)
            ax.annotate(
                what,
                (after(time), 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=8,
            )
    return axes


def drift(ax, days, scores, labels):
    """Held-out score of each event against time, with the running median of each class.

    ax: Axes
    days: array (N,), after the mainshock [days]
    scores: array (N,), positive leans to aftershock
    labels: array (N,), 0 or 1
    """
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        order = np.flatnonzero(labels == k)[np.argsort(days[labels == k])]
        ax.plot(
            days[order],
            scores[order],
            "o^"[k],
            color=colour,
            markersize=2.5,
            alpha=0.4,
            label=f"{name}s ({len(order)})",
        )
        smooth = pd.Series(scores[order]).rolling(41, center=True, min_periods=10).median()
        ax.plot(days[order], smooth, color="white", linewidth=4)
        ax.plot(days[order], smooth, color=colour, linewidth=2, label="running median of 41")
    ax.axvline(0, color="black", linewidth=1.5)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="days after the mainshock", ylabel="held-out log-odds\n(+: aftershock)")
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def reliability(ax, table, error):
    """Observed share of aftershocks against the probability given; the number of events at each point.

    ax: Axes
    table: DataFrame of calibration.reliability()
    error: float, expected calibration error
    """
    bounds = np.abs(table[["low", "high"]].to_numpy().T - table["observed"].to_numpy())
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="calibrated")
    ax.errorbar(table["predicted"], table["observed"], bounds, fmt="o", color=INK, capsize=3)
    for row in table.itertuples():
        ax.annotate(
            f"{row.n_events}",
            (row.predicted, row.observed),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=8,
        )
    ax.set(xlabel="probability of aftershock by the network", ylabel="share of aftershocks (numbers: events)",
           xlim=(-0.03, 1.08), ylim=(-0.05, 1.05), title=f"expected calibration error {error:.3f}")  # fmt: skip
    return ax


def accuracy_by(ax, table, label):
    """Accuracy in bins of one quantity, the number of events below.

    ax: Axes
    table: DataFrame of calibration.accuracy_by()
    label: str, quantity and unit
    """
    bounds = np.abs(table[["low", "high"]].to_numpy().T - table["value"].to_numpy())
    ax.errorbar(table["centre"], table["value"], bounds, fmt="o-", color=INK, capsize=3)
    for row in table.itertuples():
        ax.annotate(
            f"{row.n_events}",
            (row.centre, 0.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            fontsize=8,
        )
    ax.axhline(0.5, color="0.5", linestyle=":")
    ax.set(
        xlabel=label,
        ylabel="accuracy (numbers: events)",
        ylim=(min(0.4, table["low"].min() - 0.08), 1.02),
    )
    return ax


def shares(ax, table, label):
    """Shares of |SHAP| of several series, beside the share of the area.

    ax: Axes
    table: DataFrame of map_shares.share_table(): part, series, value, low, high, area, n_events
    label: str, what the parts are
    """
    parts, series = table["part"].unique(), table["series"].unique()
    for k, name in enumerate(series):
        rows = table[table["series"] == name].set_index("part").loc[parts]
        places = np.arange(len(parts)) + 0.18 * (k - (len(series) - 1) / 2)
        bounds = 100 * np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
        colour = (*CLASS_COLOURS, "0.35")[k % 3]
        ax.errorbar(places, 100 * rows["value"], bounds, fmt="o^s"[k % 3], color=colour, capsize=3,
                    label=f"{name} ({rows['n_events'].iloc[0]})")  # fmt: skip
    areas = table.drop_duplicates("part").set_index("part").loc[parts, "area"]
    ax.hlines(
        100 * areas,
        np.arange(len(parts)) - 0.4,
        np.arange(len(parts)) + 0.4,
        color="0.6",
        linewidth=5,
        alpha=0.5,
        label="area",
    )
    ax.set_xticks(range(len(parts)), parts)
    ax.set(xlabel=label, ylabel="share of |SHAP| [%]", ylim=(0, None))
    ax.legend(frameon=False, fontsize=9)
    return ax


def shares_by_week(ax, table, area, part):
    """Share of |SHAP| in one window or band by week and class.

    ax: Axes
    table: DataFrame of map_shares.share_by_week()
    area: float, share of the area, dotted
    part: str, its name
    """
    for k, (name, colour) in enumerate(zip(CLASSES, CLASS_COLOURS)):
        rows = table[table["series"] == f"{name}s"]
        bounds = 100 * np.abs(
            np.nan_to_num(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
        )
        ax.errorbar(
            rows["week"],
            100 * rows["value"],
            bounds,
            fmt="o^"[k],
            color=colour,
            capsize=3,
            label=f"{name}s",
        )
        for row in rows.itertuples():
            ax.annotate(
                f"{row.n_events}",
                (row.week, 0.02),
                xycoords=("data", "axes fraction"),
                ha="center",
                fontsize=8,
            )
    ax.axvline(-0.5, color="black", linewidth=1.5)
    ax.axhline(100 * area, color="0.5", linestyle=":", label="area")
    ax.set(xlabel="week after the mainshock\n(numbers: events)", ylabel="share of |SHAP| [%]")
    ax.set_title(part, fontsize=10)
    return ax


def verdict_page(fig, table, verdict, reasons, skipped, title):
    """The page that a reader takes away: the verdict, why, every control and what either cause predicts, what lacks.

    fig: Figure, empty, portrait A4
    table: DataFrame of verdict.Controls, rows of other controls added or not
    verdict: one of verdict.VERDICTS
    reasons: list of str
    skipped: dict, control -> reason
    title: str, dataset, number of events, "SIMULATED" where so

    returns: the Figure
    """
    fig.set_layout_engine("none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    colour, symbol = VERDICT_STYLE[verdict]
    ax.text(0.04, 0.972, title, fontsize=10, va="center")
    ax.text(
        0.04,
        0.943,
        f"{symbol} {verdict}",
        fontsize=22,
        color=colour,
        weight="bold",
        va="center",
        family="DejaVu Sans",
    )
    lines = [
        piece
        for reason in reasons
        for piece in textwrap.wrap(reason, 135, subsequent_indent="    ")
    ]
    ax.text(0.04, 0.922, "\n".join(lines), fontsize=7, va="top", linespacing=1.35)
    lacking = [
        p
        for n, r in skipped.items()
        for p in textwrap.wrap(f"{n}: {r}", 135, subsequent_indent="    ")
    ] or ["none"]
    foot = 0.025 + 0.0125 * (len(lacking) + 1)
    ax.text(
        0.04, foot, "Not measured:\n" + "\n".join(lacking), fontsize=7, va="top", linespacing=1.35
    )
    _controls_table(ax, table, 0.905 - 0.0118 * len(lines), foot + 0.012)
    return fig


def _controls_table(ax, table, top, bottom):
    """Rows from top to bottom: control, two predictions, measured as text and as a dot, number of events."""
    headings = len(table["group"].unique())
    step = min(0.018, (top - bottom) / (len(table) + headings + 1))
    size = float(np.clip(540 * step, 5.5, 6.4))
    write = lambda x, y, text, **options: ax.text(x, y, text, fontsize=size, va="center", **options)
    for x, name in zip(
        COLUMNS,
        (
            "control",
            "fault or path predicts",
            "station or catalogue predicts",
            "ROC AUC, or as named",
        ),
    ):
        write(x, top, name, weight="bold")
    for x, name in zip(
        (*(AXIS[0] + AXIS[1] * np.array([0, 0.5, 1])), 0.97), ("0", "0.5", "1", "events")
    ):
        write(x, top, name, weight="bold", ha="center" if name != "events" else "right")
    y = top
    for group, rows in table.groupby("group", sort=False):
        y -= step
        write(0.04, y, group, weight="bold", color="0.35")
        for row in rows.itertuples(index=False):
            y -= step
            _control_row(ax, write, y, row)


def _control_row(ax, write, y, row):
    """One control: texts, and its dot on an axis from 0 to 1; what lies below points there."""
    place = lambda value: AXIS[0] + AXIS[1] * np.clip(value, 0, 1)
    interval = (
        f" ({row.low:.2f} to {row.high:.2f})" if np.isfinite(row.low) else ""
    )  # one event has none
    measured = f"{row.measured:.2f}{interval}" if np.isfinite(row.measured) else "not measured"
    for x, text in zip(COLUMNS, (row.control, row.if_path, row.if_station, measured)):
        write(x, y, text)
    ax.plot(place(np.array([0, 1])), [y, y], color="0.85", linewidth=0.8)
    ax.plot(place(np.array([row.chance] * 2)), [y - 0.004, y + 0.004], color="0.5", linewidth=0.8)
    ax.plot(place(np.array([row.low, row.high])), [y, y], color=INK, linewidth=2)
    ax.plot(place(row.measured), y, "<" if row.measured < 0 else "o", color=INK, markersize=3)
    return write(0.97, y, f"{row.n_events:.0f}", ha="right")
