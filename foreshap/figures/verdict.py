"""Draw the controls and the verdict: tables and axes in, axes out; names as in maps.py."""

import textwrap

import numpy as np
import pandas as pd

from .maps import INK, by_class, distribution_edges, draw_intervals, finish, write_row_counts

VERDICT_STYLE = {  # colour, symbol and words: one is enough to tell them apart
    "path/source": ("#009E73", "▲ path/source"),
    "station/background": ("#D55E00", "■ station, or the ground beneath it"),
    "catalogue": ("#E69F00", "◆ catalogue"),
    "mixed": ("#CC79A7", "✚ mixed"),
    "undecided": ("0.45", "○ undecided"),
}
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
FINDING_COLUMNS = {"alternative": 1.3, "state": 1.2, "witness": 1.7, "what it saw": 3.5}
FINDING_COLUMNS |= {"what it could have seen": 2.6}  # heading -> width [inch]
COLUMNS = {"control": 2.6, "fault or path predicts": 1.75, "station or catalogue predicts": 2.25}
COLUMNS |= {"ROC AUC, or as named": 1.6}  # of the measurements: heading -> width [inch]
AXIS_START, AXIS_LENGTH = 8.7, 1.2  # of the measurements' axis from 0 to 1 [inch]
HELD_OUT = ("place", "completeness", "hours")  # scores of the catalogue alone, on held-out events
BELOW_CHANCE = "below chance, since days held out differ from days trained on: nothing told apart"


def measured(ax, table, label, chance=0.5):
    """Draw measurements with their 95 % intervals, a row each, the number of events at the right.

    table: DataFrame, a row a measurement: value, low, high, n_events; without rows it says so
    chance: float, dotted
    """
    _interval_rows(ax, table, table["value"], table.index, chance)
    write_row_counts(ax, table["n_events"])
    if table.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
    lowest = np.nanmin(table[["low", "value"]].to_numpy(float), initial=chance - 0.1)
    return finish(ax, f"{label} (dotted: chance)", "", xlim=(lowest - 0.02, 1.02))


def physical_units(ax, table):
    """Draw changes of t* and kappa with their 95 % intervals, a row each.

    table: DataFrame, details of "10 physical units" in foreshap.Controls
    """
    names = table["quantity"] + ", " + table["component"]
    _interval_rows(ax, table, table["measured"], names, 0)
    return finish(ax, "aftershocks minus foreshocks [ms]", "")


def _interval_rows(ax, table, values, names, zero):
    """Rows of values with their intervals (low, high), from the top downward."""
    places = np.arange(len(table))
    ax.hlines(places, table["low"], table["high"], color=INK, linewidth=2.5, alpha=0.6)
    ax.plot(values, places, "o", color=INK, markersize=6)
    ax.axvline(zero, color="0.5", linestyle=":")
    ax.set_yticks(places, names)
    ax.set_ylim(max(len(table), 1) - 0.5, -0.5)


def overlap(ax, values, labels, weights, label):
    """Draw one quantity by class: as it is (outline), weighted until the classes match (filled).

    values, weights: arrays (N,), each class's weights scaled to its number of events
    """
    values, weights = np.asarray(values), np.asarray(weights)
    edges = distribution_edges(values)
    for (chosen, style), line in zip(by_class(labels), ("-", "--")):
        ax.hist(values[chosen], edges, histtype="step", linewidth=1.4, linestyle=line, **style)
        scaled = weights[chosen] * chosen.sum() / weights[chosen].sum()
        style |= {"alpha": 0.35, "label": "matched"}
        ax.hist(values[chosen], edges, weights=scaled, **style)
    return finish(ax, label, "events")


def drift(ax, days, scores, labels):
    """Draw the held-out score of each event against time, with the running median of each class.

    days, scores: arrays (N,), after the mainshock [days]; positive leans to aftershock
    """
    for (chosen, style), marker in zip(by_class(labels), "o^"):
        order = np.flatnonzero(chosen)[np.argsort(days[chosen])]
        ax.plot(days[order], scores[order], marker, markersize=2.5, alpha=0.4, **style)
        smooth = pd.Series(scores[order]).rolling(41, center=True, min_periods=10).median()
        ax.plot(days[order], smooth, color="white", linewidth=4)
        style["label"] = "running median of 41"
        ax.plot(days[order], smooth, linewidth=2, **style)
    ax.axvline(0, color="black", linewidth=1.5)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return finish(ax, "days after the mainshock", "held-out log-odds\n(+: aftershock)")


def _counts_at_foot(ax, places, counts, rotation=0):
    style = {"xycoords": ("data", "axes fraction"), "ha": "center", "fontsize": 9}
    for place, count in zip(places, counts):
        ax.annotate(f"{count}", (place, 0.02), rotation=rotation, **style)


def reliability(ax, table, error):
    """Draw the observed share of aftershocks against the probability given, with their numbers.

    table, error: of foreshap.reliability()
    """
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="calibrated")
    rows = table.assign(value=table["observed"])
    draw_intervals(ax, table["predicted"], rows, fmt="o", color=INK)
    _counts_at_foot(ax, table["predicted"], table["n_events"])
    ax.set(xlim=(-0.03, 1.05), ylim=(-0.13, 1.05), title=f"expected calibration error {error:.3f}")
    label = "share of aftershocks (numbers: events)"
    return finish(ax, "probability of aftershock by the network", label)


def accuracy_by(ax, table, label):
    """Draw the accuracy in bins of one quantity, a table of foreshap.accuracy_by(), and events."""
    draw_intervals(ax, table["centre"], table, fmt="o-", color=INK)
    _counts_at_foot(ax, table["centre"], table["n_events"])
    ax.axhline(0.5, color="0.5", linestyle=":")
    ylim = min(0.4, table["low"].min() - 0.08), 1.02
    return finish(ax, label, "accuracy (numbers: events)", ylim=ylim)


def shares(ax, table, label):
    """Draw shares of |SHAP| of several series, beside the share of the area (label: the parts).

    table: DataFrame of foreshap.share_table(): part, series, value, low, high, area, n_events
    """
    parts, series = table["part"].unique(), table["series"].unique()
    places = np.arange(len(parts))
    for k, name in enumerate(series):
        rows = table[table["series"] == name].set_index("part").loc[parts]
        shifted = places + 0.18 * (k - (len(series) - 1) / 2)
        style = {"color": ("#0072B2", "#D55E00", "0.35")[k % 3], "fmt": "o^s"[k % 3]}
        style["label"] = f"{name} ({rows['n_events'].iloc[0]})"
        draw_intervals(ax, shifted, rows, scale=100, **style)
    areas = 100 * table.drop_duplicates("part").set_index("part").loc[parts, "area"]
    style = {"color": "0.6", "linewidth": 5, "alpha": 0.5, "label": "area"}
    ax.hlines(areas, places - 0.4, places + 0.4, **style)
    ax.set_xticks(places, parts)
    ax.set(xlabel=label, ylabel="share of |SHAP| [%]", ylim=(0, 1.25 * ax.get_ylim()[1]))
    ax.legend(fontsize=9, ncol=2, loc="upper left")
    return ax


def shares_by_week(ax, table, area, part):
    """Draw the share of |SHAP| in one window or band by week and class.

    table: DataFrame of foreshap.share_by_week(); part: str, its name
    area: float, share of the area, dotted
    """
    for (chosen, style), marker in zip(by_class(table["series"] == "aftershocks"), "o^"):
        rows = table[chosen]
        style["label"] = style["label"].split()[0]
        draw_intervals(ax, rows["week"], rows, scale=100, fmt=marker, **style)
    _counts_at_foot(ax, table["week"], table["n_events"], rotation=90)
    ax.axvline(-0.5, color="black", linewidth=1.5)
    ax.axhline(100 * area, color="0.5", linestyle=":", label="area")
    ax.set_title(part, fontsize=10)
    return finish(ax, "week after the mainshock\n(numbers: events)", "share of |SHAP| [%]")


def verdict_page(fig, findings, verdict, opened, reasons, title, units=None):
    """Draw the page to take away: verdict, what is open and would close it, each alternative.

    fig: Figure, empty; it is made PAGE_WIDTH wide and as high as its text
    findings: list of foreshap.Finding; verdict: one of foreshap.VERDICTS
    opened, reasons: lists of str, of foreshap.Controls
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
    rows, heights = [], []
    for finding in findings:
        rows.append(_finding_cells(finding))
        heights.append(LINE * max(map(len, rows[-1])) + GAP)
    n_lines = 1.4 * len(first) + len(lines) + len(closing) + 2
    ax = _page(fig, 1.6 + LINE * n_lines + sum(heights), title)
    colour, words = VERDICT_STYLE[verdict]
    style = {"color": colour, "weight": "bold", "family": "DejaVu Sans", "va": "center"}
    ax.text(MARGIN, 0.62, words, fontsize=20, **style)
    y = _write(ax, MARGIN, 0.9, first, 1.4 * LINE, fontsize=10.5) + GAP / 2
    y = _write(ax, MARGIN, y, lines) + GAP
    if closing:
        y = _write(ax, MARGIN, y, ["Not excluded, and what would close it"], weight="bold")
        y = _write(ax, MARGIN, y, closing) + GAP
    _write_row(ax, y + GAP, FINDING_COLUMNS, FINDING_COLUMNS, [{"weight": "bold"}] * 5)
    y += GAP + 1.5 * LINE
    for finding, cells, height in zip(findings, rows, heights):
        ax.plot([MARGIN, PAGE_WIDTH - MARGIN], [y, y], color="0.85", linewidth=0.8)
        styles = [{"weight": "bold"}, {"color": STATE_STYLE[finding.state][1]}, {}, {}, {}]
        _write_row(ax, y + GAP / 2, cells, FINDING_COLUMNS, styles)
        y += height
    return fig


def measurements_page(fig, table, skipped, title):
    """Draw the second page: each measurement with what either cause predicts, and what lacks.

    fig: Figure, empty; it is made PAGE_WIDTH wide and as high as its rows
    table: DataFrame of foreshap.Controls, rows of other controls added or not
    skipped: dict, control -> reason; title: str
    """
    lacking = _wrapped(f"{name}: {reason}" for name, reason in skipped.items()) or ["none"]
    is_below = (table["control"] == "catalogue alone") & (table["high"] < table["chance"])
    n_lines = len(table) + table["group"].nunique() + is_below.sum() + len(lacking)
    step = 1.25 * LINE
    ax = _page(fig, 1.1 + step * (n_lines + 1), title)
    y = 0.6
    bold = {"weight": "bold"}
    for value in (0, 0.5, 1):
        _write(ax, *_on_axis(value), y, [f"{value:g}"], ha="center", **bold)
    _write(ax, PAGE_WIDTH - MARGIN, y, ["events"], ha="right", **bold)
    _write_row(ax, y, COLUMNS, COLUMNS, [bold] * 4)
    y += 1.5 * LINE
    for group, rows in table.groupby("group", sort=False):
        y = _write(ax, MARGIN, y, [group], step, color="0.35", **bold)
        for place, row in zip(rows.index, rows.itertuples(index=False)):
            _control_row(ax, y, row)
            y += step
            if is_below[place]:
                y = _write(ax, MARGIN + 0.3, y, [BELOW_CHANCE], step, color="0.35")
    y = _write(ax, MARGIN, y + GAP, ["Not measured"], **bold)
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


def _write(ax, x, y, lines, step=LINE, **style):
    """Write lines below one another; the place below them [inch]."""
    style = {"fontsize": 8.5, "family": "DejaVu Sans"} | style
    for k, line in enumerate(lines):
        ax.text(x, y + BASELINE + k * step, line, **style)
    return y + step * len(lines)


def _write_row(ax, y, cells, columns, styles):
    """Write the cells of a row, a text or list of lines each, in columns (heading -> width)."""
    x = MARGIN
    for cell, width, style in zip(cells, columns.values(), styles):
        _write(ax, x, y, [cell] if isinstance(cell, str) else cell, **style)
        x += width


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


def _in_units(units):
    """The change in physical units as one sentence in a list; empty where none was measured."""
    if units is None:
        return []
    together = units[(units["component"] == "together") & units["measured"].notna()]
    texts = []
    for row in together.itertuples():
        texts.append(f"{row.quantity} {row.measured:+.1f} ms ({row.low:+.1f} to {row.high:+.1f})")
    words = "Aftershocks minus foreshocks at equal catalogue, whatever the cause: "
    return [f"{words}{', '.join(texts)}."] if texts else []


def _on_axis(*values):
    """Place on the page of values from 0 to 1; what lies beyond stands at the end."""
    return AXIS_START + AXIS_LENGTH * np.clip(values, 0, 1)


def _control_row(ax, y, row):
    """Write one control: its texts, a dot on an axis from 0 to 1, its number of events."""
    value = "not measured"
    if np.isfinite(row.measured):
        value = f"{row.measured:.2f}"
        if np.isfinite(row.low):  # one event has no interval
            value += f" ({row.low:.2f} to {row.high:.2f})"
    texts = (row.control, row.if_path, row.if_station, value)
    _write_row(ax, y, texts, COLUMNS, [{}] * 4)
    _write(ax, PAGE_WIDTH - MARGIN, y, [f"{row.n_events:.0f}"], ha="right")
    middle = y + LINE / 2
    ax.plot(_on_axis(0, 1), [middle] * 2, color="0.85", linewidth=0.8)
    ax.plot(
        _on_axis(row.chance, row.chance), [middle - 0.05, middle + 0.05], color="0.5", linewidth=0.8
    )
    ax.plot(_on_axis(row.low, row.high), [middle] * 2, color=INK, linewidth=2)
    marker = "<" if row.measured < 0 else "o"  # it lies below the axis
    ax.plot(_on_axis(row.measured), middle, marker, color=INK, markersize=3)
