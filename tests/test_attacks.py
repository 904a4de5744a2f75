"""A few of the attacks of attacks.py; its kills are in test_kills.py."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import attacks


def test_nothing_is_lost_or_silently_wrong(monkeypatch):
    steps = ["preprocessing", "training", "reports"]  # the others at length: README.md
    numbers = {"kills": 0, "disks": 6, "flips": 200, "pairs": 3}
    # In a fresh process of one thread: one that used torch's threads hangs in its forked children.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(attacks.run, numbers, 1, steps).result()
    for name, counts in found.items():
        assert counts["tried"] and not counts["lost"] and not counts["wrong"], (name, counts)
    for target in ("tensors", "checkpoint", "card", "kept result"):
        assert found["flips", target]["noticed"] > 20
