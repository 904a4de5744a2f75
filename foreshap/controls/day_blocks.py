"""Statistics that know about days: events of one day share their weather and their noise."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..training.scores import interval_95, roc_auc

BLOCK_DAYS = 3.0
NEAR_ONE = 0.97  # ROC AUC from which resampling has too little width
FEWEST_BLOCKS = 3  # of a class, below which there is no interval
RESAMPLES = 400
NEAR_DAYS = 12.0  # from the mainshock, in which a jump is looked for
SHARE_OF_SPAN = 0.28  # of the shorter class, that a side of a date reaches
LAGS = np.array([0, 1 / 4, 1 / 2, 1])  # edges, in shares of a side
DATES = 24  # tried inside the classes
LEAST_NEAR = 15  # events of a side
LEAST_DATES = 8  # inside the classes, below which nothing can be said to stand out
MOST_A_LAG = 60  # events of a side at one lag
DRAWS = 6  # of the events of a date, whose distances are averaged


def day_blocks(days, labels, length=BLOCK_DAYS, pieces=12):
    """Number the blocks of days in which events lie, int (N,); no block holds both classes.

    A block is full after its length [days], or when it holds one of so many pieces of its class.
    An event whose day is NaN is a block of its own.
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
    """Draw as many blocks of each class as there are: how often each event is, (resamples, N)."""
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
    as many trials as the smaller class has blocks. NaN where it has fewer than FEWEST_BLOCKS.
    """
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    known = np.isfinite(scores) & (weights > 0)
    scores, labels, blocks = scores[known], np.asarray(labels)[known], blocks[known]
    weights = weights[known]
    trials = min(len(np.unique(blocks[labels == label])) for label in (0, 1))
    if trials < FEWEST_BLOCKS:
        return np.nan, np.nan, np.nan
    counts = resample_blocks(blocks, labels, seed) * weights
    auc = roc_auc(scores, labels == 1, np.vstack([weights, counts]))
    value = float(auc[0])
    low, high = interval_95(auc[1:])
    if value > NEAR_ONE or value < 1 - NEAR_ONE:
        test = stats.binomtest(round(value * trials), trials)
        wilson = test.proportion_ci(method="wilson")
        low, high = min(low, wilson.low), max(high, wilson.high)
    return value, low, high


def blocked_mean(values, labels, blocks, seed=0):
    """Compute the difference of the classes' means, low, high over blocks of days; NaN left out."""
    known = np.isfinite(values)
    values, labels, blocks = values[known], np.asarray(labels)[known], blocks[known]
    counts = np.vstack([np.ones(len(values)), resample_blocks(blocks, labels, seed)])
    means = []
    for label in (0, 1):
        of_class = counts * (labels == label)
        with np.errstate(invalid="ignore"):
            means.append(of_class @ values / of_class.sum(axis=1))
    difference = means[1] - means[0]
    return float(difference[0]), *interval_95(difference[1:])


def jump_at_mainshock(scores, days, labels, weights=None, seed=0):
    """Compute the jump of scores at the mainshock, low, high, and the whole difference of means.

    A straight line is fitted on each side to the events within NEAR_DAYS, or the nearest
    LEAST_NEAR, with weights that fall linearly with time (local-linear regression at a boundary);
    the 95 % interval is over blocks of days there.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    sides, means = [], []
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        means.append(np.average(scores[rows], weights=weights[rows]))
        lag = np.abs(days[rows])
        reach = max(NEAR_DAYS, np.partition(lag, LEAST_NEAR - 1)[LEAST_NEAR - 1])
        rows, lag = rows[lag < reach], lag[lag < reach]
        one_class = np.zeros(len(rows), int)
        blocks = day_blocks(lag, one_class, BLOCK_DAYS / 2, 8)
        counts = resample_blocks(blocks, one_class, seed + label)
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
    """How far the two sides lie apart at the mainshock, and at dates inside the classes."""

    mainshock: float = np.nan  # in deviations
    dates: pd.DataFrame | None = None  # a row a date inside a class: day, distance
    threshold: float = np.nan  # that the mainshock must exceed to stand out (one-sided, 5 %)
    stands_out: bool = False
    reason: str = ""  # why nothing can be said


def compare_dates(values, days, labels, distance, seed=0):
    """Compare the mainshock with other dates, whose sides hold the same numbers at the same lags.

    distance: function of (values, sides, blocks) that gives how far two sides lie apart, held out.
    """
    if not np.isfinite(days).all():
        return Placebo(reason="the events' times are not known")
    reach = SHARE_OF_SPAN * min(np.ptp(days[labels == label]) for label in (0, 1))
    dates, cells = [0.0], [_cells(days, reach)]
    for label in np.unique(labels):
        inside = labels == label
        first, last = days[inside].min() + reach, days[inside].max() - reach
        for date in np.linspace(first, last, DATES // 2):
            dates.append(date)
            cells.append(np.where(inside, _cells(days - date, reach), -1))
    wanted, fits = _common_counts(cells)
    if wanted.sum() < LEAST_NEAR:
        few = f"fewer than {LEAST_DATES} dates inside the classes have {LEAST_NEAR} events a side"
        return Placebo(reason=few)
    found = []
    for place in np.flatnonzero(fits):
        drawn = []
        for repeat in range(DRAWS):
            rows, sides = _draw_sides(cells[place], wanted, [seed, place, repeat])
            blocks = day_blocks(days[rows] - dates[place], sides, BLOCK_DAYS / 2, 8)
            drawn.append(distance(values[rows], sides, blocks))
        found.append((dates[place], np.mean(drawn)))
    table = pd.DataFrame(found[1:], columns=["day", "distance"])
    freedom = max(len(table) // 2 - 1, 2)
    spread = table["distance"].std() * np.sqrt(1 + 1 / len(table))
    threshold = max(table["distance"].mean(), 0) + stats.t.ppf(0.95, freedom) * spread
    mainshock = float(found[0][1])
    return Placebo(mainshock, table, float(threshold), bool(mainshock > threshold))


def _cells(lag, reach):
    """Cell of each event, by side of a date (before, after) and lag, int (N,); -1 beyond reach."""
    place = np.searchsorted(reach * LAGS, np.abs(lag), side="right") - 1
    n_lags = len(LAGS) - 1
    return np.where(place < n_lags, n_lags * (lag >= 0) + place, -1)


def _common_counts(cells):
    """Numbers of events by lag that many dates have, as many as can be, and which dates do."""
    n_lags = len(LAGS) - 1
    room = []  # on the poorer side of each date; the mainshock first
    for cell in cells:
        counts = np.bincount(cell[cell >= 0], minlength=2 * n_lags)
        room.append(counts.reshape(2, n_lags).min(axis=0))
    room, wanted = np.array(room), np.zeros(n_lags, int)
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        tried = np.minimum(room[0], np.quantile(room[1:], share, axis=0).astype(int))
        tried = np.minimum(tried, MOST_A_LAG)
        if (room[1:] >= tried).all(axis=1).sum() >= LEAST_DATES:
            wanted = tried
    return wanted, (room >= wanted).all(axis=1)


def _draw_sides(cell, wanted, seed):
    """Draw events of both sides of a date, as many at each lag as are wanted: rows, sides."""
    rng = np.random.default_rng(seed)
    rows, sides = [], []
    for number, count in enumerate(np.tile(wanted, 2)):
        drawn = rng.permutation(np.flatnonzero(cell == number))[:count]
        rows.append(drawn)
        sides.append(np.full(len(drawn), number // len(wanted)))
    return np.concatenate(rows), np.concatenate(sides)
