"""What the demo's networks reach on a random split, and what they must not reach.

    python benchmarks/accuracy.py [--events 1200] [--variants P64 P32 S64 S32]

Three trainings a variant on simulated events: the default effect (asked: at least 0.90), every
effect off (0.40 to 0.60), and the default effect with frames that end before P alone (0.40 to
0.60). Tensors of an S variant are cut at the P arrival of their closest event.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import foreshap


def before_p(spectrograms):
    """The same events, with the frames alone that end before P in each of them."""
    variant, s_p = spectrograms.variant, spectrograms.table["p_s_diff_sec"]
    end = 0.0 if variant.phase == "P" else -s_p.max()
    frames = int((variant.times + variant.nperseg / variant.sampling_rate / 2 <= end).sum())
    seconds = (variant.nperseg + (frames - 1) * variant.hop) / variant.sampling_rate
    cut = replace(variant, seconds_after=seconds - variant.seconds_before)
    assert cut.shape == (*variant.shape[:2], frames)
    return replace(spectrograms, variant=cut, values=spectrograms.values[..., :frames])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1200)
    parser.add_argument("--variants", nargs="+", default=list(foreshap.VARIANTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind, effects in (("default", None), ("off", {})):
            place = Path(folder, kind)
            n_events = arguments.events
            waveforms = foreshap.simulate_sequence(place / "waveforms", n_events, 0, effects)
            foreshap.preprocess(waveforms, place)
        for name in arguments.variants:
            default = foreshap.load_spectrograms(Path(folder, "default", f"{name}.h5"))
            inputs = {
                "default effect": default,
                "effects off": foreshap.load_spectrograms(Path(folder, "off", f"{name}.h5")),
                "before P alone": before_p(default),
            }
            for what, s in inputs.items():
                result = foreshap.train(s, foreshap.random_split(s.table, 0))
                numbers = result.metrics["accuracy"], *result.intervals["accuracy"]
                score = "{:.3f} ({:.3f} to {:.3f})".format(*numbers)
                print(f"{name}, {what}: {score}, {len(result.predictions)} test events", flush=True)


if __name__ == "__main__":
    main()
