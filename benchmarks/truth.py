"""Every method's maps scored against effects that are known exactly, because they are simulated.

    python benchmarks/truth.py [--events 20] [--variant P64]

Two sequences of 1,200 simulated events: one whose aftershocks have more noise between 17 and 19 Hz,
a narrow effect (asked of "deep": ROC AUC at least 0.90, relevance mass at least 5 times the
region's area), and the default one, more attenuation on the path, a broad effect (asked of "deep":
lower ends of the intervals above chance). Test events of a random split, 200 background events; the
region is where the mean effect over all test events has half of its largest value; intervals are
bootstrap 95 % over events.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

import foreshap

EFFECTS = {"noise band": {"noise_band": 1.0}, "path": None}


def trained(folder, effects, variant):
    """Tensors, truth and checkpoint of a simulated sequence."""
    waveforms = foreshap.simulate_sequence(folder / "waveforms", 1200, 0, effects)
    for source, output in ((waveforms, folder), (waveforms / "truth", folder / "truth")):
        foreshap.preprocess(source, output, [foreshap.VARIANTS[variant]])
    tensors = foreshap.load_spectrograms(folder / f"{variant}.h5")
    truth = foreshap.load_spectrograms(folder / f"truth/{variant}.h5")
    split = foreshap.random_split(tensors.table, 0)
    foreshap.kept_training(tensors, folder / f"{variant}.pt", split)
    return tensors, truth, foreshap.load_checkpoint(folder / f"{variant}.pt")


def scored(folder, tensors, truth, checkpoint, method, n_events):
    """Scores of one method's maps as text."""
    rows = foreshap.chosen_test_rows(checkpoint, n_events)
    background = foreshap.choose_background(checkpoint, tensors)
    shap = foreshap.explain_events(checkpoint, tensors, rows, background, folder / "shap", method)
    true = foreshap.effect_differences(tensors, truth, rows)
    all_rows = foreshap.chosen_test_rows(checkpoint)
    region = foreshap.effect_region(foreshap.effect_differences(tensors, truth, all_rows))
    scores = foreshap.truth_scores(shap.values[:], true, tensors.labels[rows], region)
    text = {"seconds an event": f"{shap.table['seconds'].median():.2f}"}
    for row in scores.itertuples():
        text[row.Index] = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
    return text, scores["chance"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--variant", default="P64")
    arguments = parser.parse_args()
    for name, effects in EFFECTS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts = trained(Path(folder), effects, arguments.variant)
            table = {m: scored(Path(folder), *parts, m, arguments.events) for m in foreshap.METHODS}
        chance = {"chance": table["deep"][1].map("{:.3f}".format)}
        accuracy = parts[2].card["metrics"]["accuracy"]
        print(f"{arguments.variant}, {name} (simulated): accuracy {accuracy:.3f}", end=", ")
        print(f"{arguments.events} events explained")
        texts = {method: text for method, (text, _) in table.items()}
        print(pd.DataFrame(texts | chance).T.to_string(), flush=True)


if __name__ == "__main__":
    main()
