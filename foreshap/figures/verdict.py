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
VERDICT_WORDS = {"station/background": "station, or the ground beneath it"}
STATE_STYLE = {  # in the order of the page: words, colour
    "shown": ("■ shown", "#D55E00"),
    "open": ("○ not excluded", "0.35"),
    "survived": ("◆ shown, but the change remains", "#0072B2"),
    "excluded": ("✓ excluded", "#00755A"),
}
PAGE_WIDTH, MARGIN = 11.0, 0.35  # of both pages [inch]
LINE, GAP = 0.148, 0.09  # from line to line, and between rows [inch]
CHARACTER = 0.069  # mean width at the pages' font size [inch]
BASELINE = 0.11  # below the upper end of a line [inch]
FINDING_COLUMNS = {  # heading -> width [inch]
    "alternative": 1.3,
    "state": 1.2,
    "witness": 1.7,
    "what it saw": 3.5,
    "what it could have seen": 2.6,
}
COLUMNS = {  # of the measurements: heading -> width [inch]
    "control": 2.6,
    "fault or path predicts": 1.75,
    "station or catalogue predicts": 2.25,
    "ROC AUC, or as named": 1.6,
}
AXIS_START, AXIS_LENGTH = 8.7, 1.2  # of the measurements' axis from 0 to 1 [inch]
HELD_OUT = ("place", "completeness", "hours")  # scores of the catalogue alone, on held-out events
BELOW_CHANCE = (
    "below chance, since days held out differ from days trained on: nothing is told apart"
)
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


def physical_units(ax, table):
    """Changes of t* and kappa with their 95 % intervals, a row each.

    table: DataFrame of foreshap.Controls, details of "10 physical units": quantity, component,
        measured, low, high [ms]
    """
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples()):
        ax.plot([row.low, row.high], [place, place], color=INK, linewidth=2.5, alpha=0.6)
        ax.plot(row.measured, place, "o", color=INK, markersize=6)
    ax.axvline(0, color="0.5", linestyle=":")
    ax.set_yticks(places, table["quantity"] + ", " + table["component"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlabel("aftershocks minus foreshocks [ms]")
    return ax


def verdict_page(fig, findings, verdict, opened, reasons, title, units=None):
    """The page to take away: verdict, what is open and what would close it, each alternative.

    fig: Figure, empty; it is made PAGE_WIDTH wide and as high as its text
    findings: list of foreshap.Finding
    verdict: one of foreshap.VERDICTS
    opened: list of str, of foreshap.Controls
    reasons: list of str, of foreshap.Controls
    title: str, dataset, number of events, "SIMULATED" where so
    units: DataFrame of the change in physical units, or None
    """
    named = tuple(f"{finding.alternative}:".capitalize() for finding in findings)
    sentences = [reason for reason in reasons if not reason.startswith(named)]
    first = _wrapped(sentences[:1], 0.8 * (PAGE_WIDTH - 2 * MARGIN))
    lines = _wrapped(sentences[1:] + _in_units(units))
    closing = _what_closes(findings, opened)
    order = list(STATE_STYLE)
    findings = sorted(findings, key=lambda finding: order.index(finding.state))
    rows = [_finding_cells(finding) for finding in findings]
    n_lines = 1.4 * len(first) + len(lines) + len(closing) + sum(map(_height, rows))
    ax = _page(fig, 1.6 + LINE * (n_lines + 2) + GAP * len(rows), title)
    colour, symbol = VERDICT_STYLE[verdict]
    style = {"color": colour, "weight": "bold", "family": "DejaVu Sans", "va": "center"}
    words = VERDICT_WORDS.get(verdict, verdict)
    ax.text(MARGIN, 0.62, f"{symbol} {words}", fontsize=20, **style)
    y = _write(ax, MARGIN, 0.9, first, 1.4 * LINE, fontsize=10.5) + GAP / 2
    y = _write(ax, MARGIN, y, lines) + GAP
    if closing:
        y = _write(ax, MARGIN, y, ["Not excluded, and what would close it"], weight="bold")
        y = _write(ax, MARGIN, y, closing) + GAP
    y = _headings(ax, y + GAP, FINDING_COLUMNS)
    for finding, cells in zip(findings, rows):
        ax.plot([MARGIN, PAGE_WIDTH - MARGIN], [y, y], color="0.85", linewidth=0.8)
        x = MARGIN
        for cell, (heading, width) in zip(cells, FINDING_COLUMNS.items()):
            style = {"weight": "bold"} if heading == "alternative" else {}
            if heading == "state":
                style = {"color": STATE_STYLE[finding.state][1]}
            _write(ax, x, y + GAP / 2, cell, **style)
            x += width
        y += LINE * _height(cells) + GAP
    return fig


def measurements_page(fig, table, skipped, title):
    """The second page: each measurement with what either cause predicts, and what lacks.

    fig: Figure, empty; it is made PAGE_WIDTH wide and as high as its rows
    table: DataFrame of foreshap.Controls, rows of other controls added or not
    skipped: dict, control -> reason
    title: str
    """
    lacking = _wrapped(f"{name}: {reason}" for name, reason in skipped.items()) or ["none"]
    is_below = (table["control"] == "catalogue alone") & (table["high"] < table["chance"])
    n_lines = len(table) + table["group"].nunique() + is_below.sum() + len(lacking)
    ax = _page(fig, 1.1 + 1.25 * LINE * (n_lines + 1), title)
    step = 1.25 * LINE
    y = 0.6
    for value in (0, 0.5, 1):
        _write(ax, _on_axis(value), y, [f"{value:g}"], weight="bold", ha="center")
    _write(ax, PAGE_WIDTH - MARGIN, y, ["events"], weight="bold", ha="right")
    y = _headings(ax, y, COLUMNS)
    for group, rows in table.groupby("group", sort=False):
        y = _write(ax, MARGIN, y, [group], step, weight="bold", color="0.35")
        for place, row in zip(rows.index, rows.itertuples(index=False)):
            _control_row(ax, y, row)
            y += step
            if is_below[place]:
                y = _write(ax, MARGIN + 0.3, y, [BELOW_CHANCE], step, color="0.35")
    y = _write(ax, MARGIN, y + GAP, ["Not measured"], weight="bold")
    _write(ax, MARGIN, y, lacking)
    return fig


def _page(fig, height, title):
    """Axes that fill a page of this height, in inches from its upper left corner."""
    fig.set_layout_engine("none")
    fig.set_size_inches(PAGE_WIDTH, height)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, PAGE_WIDTH), ylim=(height, 0))
    ax.axis("off")
    ax.text(MARGIN, 0.3, title, fontsize=10, va="center")
    return ax


def _headings(ax, y, columns):
    """Write the headings of columns; the place below them [inch]."""
    x = MARGIN
    for heading, width in columns.items():
        _write(ax, x, y, [heading], weight="bold")
        x += width
    return y + 1.5 * LINE


def _write(ax, x, y, lines, step=LINE, **style):
    """Write lines below one another; the place below them [inch]."""
    style = {"fontsize": 8.5, "family": "DejaVu Sans"} | style
    for k, line in enumerate(lines):
        ax.text(x, y + BASELINE + k * step, line, **style)
    return y + step * len(lines)


def _wrapped(sentences, width=PAGE_WIDTH - 2 * MARGIN):
    """Lines of a page, list of str; what goes on is indented."""
    lines = []
    for sentence in sentences:
        lines += textwrap.wrap(sentence, int(width / CHARACTER), subsequent_indent="    ")
    return lines


def _what_closes(findings, opened):
    """Lines with the open alternatives by the data that would decide them, list of str."""
    by_data = {}
    for finding in findings:
        if finding.alternative in opened:
            by_data.setdefault(finding.decides, []).append(finding.alternative)
    return _wrapped(f"{', '.join(names)}: {data or 'more data'}" for data, names in by_data.items())


def _finding_cells(finding):
    """Lines of each column of a finding, list of lists of str."""
    saw = finding.saw or "-"
    if finding.alternative in HELD_OUT and finding.high < 0.5:
        saw = f"{saw}; {BELOW_CHANCE}"
    state = STATE_STYLE[finding.state][0]
    texts = (finding.alternative, state, finding.witness, saw, finding.could_see)
    cells = []
    for text, width in zip(texts, FINDING_COLUMNS.values()):
        cells.append(textwrap.wrap(text, int((width - 0.1) / CHARACTER)))
    return cells


def _height(cells):
    """Lines of the longest cell, int."""
    return max(map(len, cells))


def _in_units(units):
    """The change in physical units as one sentence in a list; empty where none was measured."""
    if units is None:
        return []
    together = units[(units["component"] == "together") & units["measured"].notna()]
    texts = [
        f"{row.quantity} {row.measured:+.1f} ms ({row.low:+.1f} to {row.high:+.1f})"
        for row in together.itertuples()
    ]
    words = "Aftershocks minus foreshocks at equal catalogue, whatever the cause: "
    return [f"{words}{', '.join(texts)}."] if texts else []


def _on_axis(values):
    """Place on the page of values from 0 to 1; what lies beyond stands at the end."""
    return AXIS_START + AXIS_LENGTH * np.clip(values, 0, 1)


def _control_row(ax, y, row):
    """Write one control: its texts, a dot on an axis from 0 to 1, its number of events."""
    value = "not measured"
    if np.isfinite(row.measured):
        value = f"{row.measured:.2f}"
        if np.isfinite(row.low):  # one event has no interval
            value += f" ({row.low:.2f} to {row.high:.2f})"
    x = MARGIN
    for text, width in zip((row.control, row.if_path, row.if_station, value), COLUMNS.values()):
        _write(ax, x + 0.1 * (x == MARGIN), y, [text])
        x += width
    _write(ax, PAGE_WIDTH - MARGIN, y, [f"{row.n_events:.0f}"], ha="right")
    middle = y + LINE / 2
    ax.plot(_on_axis([0, 1]), [middle] * 2, color="0.85", linewidth=0.8)
    ax.plot(_on_axis([row.chance] * 2), [middle - 0.05, middle + 0.05], color="0.5", linewidth=0.8)
    ax.plot(_on_axis([row.low, row.high]), [middle] * 2, color=INK, linewidth=2)
    marker = "<" if row.measured < 0 else "o"  # it lies below the axis
    ax.plot(_on_axis(row.measured), middle, marker, color=INK, markersize=3)
