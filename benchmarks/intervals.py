"""How often 95 % intervals of scores hold the truth, near 1 above all.

python benchmarks/intervals.py [trials]

Margins of two classes are drawn from normal, unequal normal and logistic distributions, scored by
foreshap.training.scores.evaluate(), and the intervals are compared with the known truth. Beside it
the bootstrap that was used before.
"""

import sys

import numpy as np
import pandas as pd
from scipy import integrate, stats

from foreshap.training.scores import evaluate, roc_auc_interval

CLASSES = {
    "normal": (stats.norm(), 1),
    "unequal": (stats.norm(), 2),
    "logistic": (stats.logistic(), 1),
}
SIZES = ((40, 40), (15, 65), (119, 119))  # foreshocks and aftershocks among the test events
AREAS = (0.76, 0.92, 0.983, 0.9933, 0.9977)


def shift_for(area, kind, width):
    """Find how far apart two classes lie for a ROC AUC."""

    def area_at(shift):
        def density(x):
            return kind.cdf(x * width + shift) * kind.pdf(x)

        return integrate.quad(density, -40, 40)[0]

    low, high = 0.0, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if area_at(middle) < area else (low, middle)
    return low


def bootstrap(actual, margins, seed):
    """Interval of the ROC AUC as it was: percentiles over resamples of events."""
    return roc_auc_interval(margins, actual, seed=seed)[1:]


def measure(kind, width, sizes, area, trials, rng):
    """Share of trials whose intervals hold the truth, and mean widths."""
    shift = shift_for(area, kind, width)
    actual = np.repeat([False, True], sizes)
    cut = shift / (1 + width)  # where the classes are told apart
    truth = (sizes[0] * kind.cdf(cut) + sizes[1] * kind.sf((cut - shift) / width)) / sum(sizes)
    found = []
    for trial in range(trials):
        margins = kind.rvs(len(actual), random_state=rng) - cut
        margins[actual] = (margins[actual] + cut) * width + shift - cut
        _, intervals = evaluate(actual, margins)
        row = []
        for (low, high), right in (
            (intervals["accuracy"], truth),
            (intervals["roc_auc"], area),
            (bootstrap(actual, margins, trial), area),
        ):
            row += [low <= right <= high, high - low]
        found.append(row)
    return np.mean(found, axis=0)


def main():
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rng = np.random.default_rng(0)
    rows = {}
    for sizes in SIZES:
        for name, (kind, width) in CLASSES.items():
            for area in AREAS:
                rows[(*sizes, name, area)] = measure(kind, width, sizes, area, trials, rng)
    columns = pd.MultiIndex.from_product([["accuracy", "ROC AUC", "bootstrap"], ["holds", "width"]])
    index = pd.MultiIndex.from_tuples(rows, names=["foreshocks", "aftershocks", "classes", "AUC"])
    table = pd.DataFrame(list(rows.values()), index, columns)
    print(table.round(3).to_string())
    print(table.xs("holds", axis=1, level=1).agg(["min", "mean"]).round(3).to_string())


if __name__ == "__main__":
    main()
