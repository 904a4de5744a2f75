"""A few of the attacks of attacks.py; its kills are in test_kills.py."""

import attacks


def test_nothing_is_lost_or_silently_wrong():
    steps = ["preprocessing", "training", "reports"]  # the others at length: README.md
    found = attacks.run({"kills": 0, "disks": 6, "flips": 200, "pairs": 3}, 1, steps)
    for name, counts in found.items():
        assert counts["tried"] and not counts["lost"] and not counts["wrong"], (name, counts)
    for target in ("tensors", "checkpoint", "card", "kept result"):
        assert found["flips", target]["noticed"] > 20
