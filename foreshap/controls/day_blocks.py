"""Statistics that know about days: events of one day share their weather and their noise."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..training.scores import interval_95, roc_auc

BLOCK_DAYS = 3.0
NEAR_ONE = 0.97  # ROC AUC from which resampling has too little width
RESAMPLES = 400
NEAR_DAYS = 12.0  # from the mainshock, in which a jump is looked for
SHARE_OF_SPAN = 0.28  # of the shorter class, that a side of a date reaches
LEAST_NEAR = 15  # events of a side
LEAST_DATES = 8  # inside the classes, below which nothing can be said to stand out
MOST_A_LAG = 60  # events of a side at one lag
DRAWS = 6  # of the events of a date, whose distances are averaged


def day_blocks(days, labels, length=BLOCK_DAYS, pieces=12):
    """Number the blocks of days in which events lie; no block holds both classes.

    A block is full after its length, or when it holds one of so many pieces of its class.

    days: float array (N,), after the mainshock; NaN: an event is a block of its own
    labels: int array (N,)
    length: float [days]
    pieces: int

    returns: int array (N,)
    """
    blocks = np.zeros(len(days), int)
    number = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(days[rows], kind="stable")]
        most = max(len(rows) / pieces, 1)
        held, begun = most, np.nan
        for row in rows:
            if held >= most or not days[row] - begun <= length:
                number, held, begun = number + 1, 0, days[row]
            blocks[row] = number
            held += 1
    return blocks


def resample_blocks(blocks, labels, seed, resamples=RESAMPLES):
    """Draw as many blocks of each class as there are, with replacement, and count events.

    blocks, labels: int arrays (N,)

    returns: float array (resamples, N), how often each event is drawn
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(blocks)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        names, inverse = np.unique(blocks[rows], return_inverse=True)
        equal = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), equal, resamples)
        counts[:, rows] = drawn[:, inverse]
    return counts


def blocked_auc(scores, labels, blocks, weights=None, seed=0):
    """Compute a ROC AUC and its 95 % interval by resampling blocks of days in each class.

    Near 1, where resampling has no width, the interval is at least as wide as Wilson's (1927) with
    as many trials as the smaller class has blocks.

    scores: float array (N,), NaN left out
    labels, blocks: int arrays (N,)
    weights: float array (N,), 1 where left out

    returns: value, low, high; NaN where a class has fewer than three blocks
    """
    known = np.isfinite(scores)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    known &= weights > 0
    scores, labels, blocks = scores[known], np.asarray(labels)[known], blocks[known]
    weights = weights[known]
    n_blocks = [len(np.unique(blocks[labels == label])) for label in (0, 1)]
    if min(n_blocks) < 3:
        return np.nan, np.nan, np.nan
    counts = resample_blocks(blocks, labels, seed) * weights
    counts = np.vstack([weights, counts])
    auc = roc_auc(scores, labels == 1, counts)
    low, high = interval_95(auc[1:])
    value = float(auc[0])
    if value > NEAR_ONE or value < 1 - NEAR_ONE:
        wilson = stats.binomtest(round(value * min(n_blocks)), min(n_blocks)).proportion_ci(
            method="wilson"
        )
        low, high = min(low, wilson.low), max(high, wilson.high)
    return value, low, high


def blocked_mean(values, labels, blocks, weights=None, seed=0):
    """Compute the difference of the classes' means and its 95 % interval over blocks of days.

    values: float array (N,), NaN left out
    labels, blocks: int arrays (N,)
    weights: float array (N,), 1 where left out

    returns: value, low, high
    """
    known = np.isfinite(values)
    values, labels, blocks = values[known], np.asarray(labels)[known], blocks[known]
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)[known]
    counts = np.vstack([np.ones(len(values)), resample_blocks(blocks, labels, seed)]) * weights
    means = []
    for label in (0, 1):
        of_class = counts * (labels == label)
        with np.errstate(invalid="ignore"):
            means.append(of_class @ values / of_class.sum(axis=1))
    difference = means[1] - means[0]
    return float(difference[0]), *interval_95(difference[1:])


def weighted_quantile(values, weights, share):
    """Compute the value below which a share of the weight lies, float."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return values[order][np.searchsorted(reached, share * reached[-1])]


def jump_at_mainshock(scores, days, labels, weights=None, seed=0):
    """Compute how much scores jump at the mainshock, by a straight line on each side of it.

    Each side is fitted where its events lie within NEAR_DAYS of the mainshock, or the nearest
    LEAST_NEAR, with weights that fall linearly with time (local-linear regression at a boundary).

    scores, days: float arrays (N,)
    labels: int array (N,)
    weights: float array (N,), 1 where left out

    returns: jump, low, high (95 % over blocks of days near the mainshock), and the whole difference
        of the means
    """
    weights = np.ones(len(scores)) if weights is None else weights
    sides, means = [], []
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        means.append(np.average(scores[rows], weights=weights[rows]))
        lag = np.abs(days[rows])
        reach = max(NEAR_DAYS, np.partition(lag, LEAST_NEAR - 1)[LEAST_NEAR - 1])
        rows, lag = rows[lag < reach], lag[lag < reach]
        blocks = day_blocks(lag, np.zeros(len(rows), int), BLOCK_DAYS / 2, 8)
        counts = resample_blocks(blocks, np.zeros(len(rows), int), seed + label)
        counts = np.vstack([np.ones(len(rows)), counts]) * weights[rows] * (1 - lag / reach)
        sides.append(_value_at_zero(scores[rows], lag, counts))
    jump = sides[1] - sides[0]
    return float(jump[0]), *interval_95(jump[1:]), float(means[1] - means[0])


def _value_at_zero(values, lag, weights):
    """Value at lag 0 of weighted straight lines, weights (..., N): array (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=-1)
        lag_mean, mean = weights @ lag / total, weights @ values / total
        covariance = weights @ (lag * values) / total - lag_mean * mean
        variance = weights @ lag**2 / total - lag_mean**2
        return mean - covariance / variance * lag_mean


@dataclass(frozen=True)
class Placebo:
    """How far the classes lie apart at the mainshock, and at dates inside the classes.

    mainshock: float, distance of the two sides in deviations
    dates: DataFrame, a row a date inside a class: day, distance
    threshold: float, that the mainshock must exceed to stand out (one-sided, 5 %)
    reason: str, why nothing can be said; "" otherwise
    """

    mainshock: float
    dates: pd.DataFrame
    threshold: float
    reason: str = ""

    @property
    def stands_out(self):
        """Whether the mainshock stands out; False where nothing can be said."""
        return not self.reason and self.mainshock > self.threshold


def compare_dates(values, days, labels, distance, seed=0, n_dates=24):
    """Compare the mainshock with other dates, whose sides hold the same numbers at the same lags.

    values: array (N, columns), what may change
    days: float array (N,), after the mainshock
    labels: int array (N,)
    distance: function of (values, sides, blocks) that gives how far two sides lie apart, held out
    seed: int, of the draw of events
    n_dates: int, dates tried inside the classes

    returns: Placebo
    """
    nothing = pd.DataFrame({"day": [], "distance": []})
    if not np.isfinite(days).all():
        return Placebo(np.nan, nothing, np.nan, "the events' times are not known")
    spans = [np.ptp(days[labels == label]) for label in (0, 1)]
    edges = SHARE_OF_SPAN * min(spans) * np.array([0, 1 / 4, 1 / 2, 1])
    candidates = _candidate_dates(days, labels, edges[-1], n_dates)
    counts = _counts_by_lag(days, candidates, edges)
    room = counts.min(axis=1)  # of the poorer side: (dates, lags)
    wanted, fits = _common_counts(room)
    if wanted.sum() < LEAST_NEAR:
        reason = (
            f"fewer than {LEAST_DATES} dates inside the classes have {LEAST_NEAR} events a side"
        )
        return Placebo(np.nan, nothing, np.nan, reason)
    found = []
    for date in np.flatnonzero(fits):
        drawn = []
        for repeat in range(DRAWS):
            rng = np.random.default_rng([seed, date, repeat])
            rows, sides = _draw_sides(
                days - candidates[date][0], candidates[date][1], edges, wanted, rng
            )
            blocks = day_blocks(days[rows] - candidates[date][0], sides, BLOCK_DAYS / 2, 8)
            drawn.append(distance(values[rows], sides, blocks))
        found.append((candidates[date][0], np.mean(drawn)))
    table = pd.DataFrame(found[1:], columns=["day", "distance"])
    freedom = max(len(table) // 2 - 1, 2)
    spread = table["distance"].std() * np.sqrt(1 + 1 / len(table))
    threshold = max(table["distance"].mean(), 0) + stats.t.ppf(0.95, freedom) * spread
    return Placebo(float(found[0][1]), table, float(threshold))


def _candidate_dates(days, labels, reach, n_dates):
    """The mainshock, then dates inside the classes: list of (day, bool array of allowed events)."""
    dates = [(0.0, np.ones(len(days), bool))]
    for label in np.unique(labels):
        inside = labels == label
        first, last = days[inside].min() + reach, days[inside].max() - reach
        for day in np.linspace(first, last, n_dates // 2):
            dates.append((day, inside))
    return dates


def _common_counts(room):
    """Numbers of events by lag that many dates have, as many as can be, and which dates do.

    room: int array (dates, lags), events on the poorer side; the mainshock first
    """
    wanted = np.zeros(room.shape[1], int)
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        tried = np.minimum(room[0], np.quantile(room[1:], share, axis=0).astype(int))
        tried = np.minimum(tried, MOST_A_LAG)
        if (room[1:] >= tried).all(axis=1).sum() >= LEAST_DATES:
            wanted = tried
    return wanted, (room >= wanted).all(axis=1)


def _counts_by_lag(days, candidates, edges):
    """Events by date, side and lag, int array (dates, 2, lags)."""
    lags = len(edges) - 1
    counts = np.zeros((len(candidates), 2, lags), int)
    for place, (day, allowed) in enumerate(candidates):
        side, bins = _side_and_lag(days[allowed] - day, edges)
        for k in (0, 1):
            counts[place, k] = np.bincount(bins[side == k], minlength=lags + 2)[1 : lags + 1]
    return counts


def _side_and_lag(lag, edges):
    """Side of each event, 0 before and 1 after, and its place among the lags, from 1: int (N,)."""
    return (lag >= 0).astype(int), np.searchsorted(edges, np.abs(lag), side="right")


def _draw_sides(lag, allowed, edges, wanted, rng):
    """Draw events of both sides of a date, as many at each lag as are wanted: rows, sides."""
    rows, sides = [], []
    side, bins = _side_and_lag(lag, edges)
    for k in (0, 1):
        for place, count in enumerate(wanted):
            there = np.flatnonzero(allowed & (side == k) & (bins == place + 1))
            drawn = rng.permutation(there)[:count]
            rows.append(drawn)
            sides.append(np.full(len(drawn), k))
    return np.concatenate(rows), np.concatenate(sides)
