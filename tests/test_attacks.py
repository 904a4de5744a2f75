"""A few of the attacks of attacks.py."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import attacks
import kills


def attack(*arguments):
    """Attack with fewer events than at length."""
    kills.EVENTS = 40
    return attacks.run(*arguments)


def test_nothing_is_lost_or_silently_wrong(monkeypatch):
    steps = ["import", "preprocessing", "training", "reports"]  # the others at length: README.md
    numbers = {"kills": 8, "disks": 4, "flips": 100, "pairs": 4}
    # In a fresh process of one thread: one that used torch's threads hangs in its forked children.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(attack, numbers, 1, steps).result()
    for name, counts in found.items():
        assert counts["tried"] and not counts["lost"] and not counts["wrong"], (name, counts)
    for step in steps:
        assert found["kills", step]["noticed"]
    for target in ("tensors", "checkpoint", "card", "kept result"):
        assert found["flips", target]["noticed"] > 10
