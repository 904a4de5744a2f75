"""Whole items for each worker: what torch computes then doesn't depend on how many workers there are."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

AHEAD = 32  # items handed out before the first result is asked for: what waits in memory


def map_in_order(function, items, executor=None):
    """Results of a function for each item, in order.

    function: item -> result
    items: iterable
    executor: anything with .submit(function, item).result(), such as ProcessPoolExecutor or
        dask.distributed.Client; where left out, each of torch's threads takes whole items and gives torch one
        thread, which is faster than sharing an item's arithmetic and keeps the bytes of the result

    yields: results
    """
    if executor is not None:
        yield from _in_order(executor, function, items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from _in_order(pool, function, items)
    finally:
        torch.set_num_threads(
            threads
        )  # a worker's 1 is its own, but threads started later would inherit it


def _in_order(executor, function, items):
    """Hand out items a few ahead of the results."""
    pending = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for job in pending:
            job.cancel()


@contextmanager
def one_thread():
    """Give torch one thread in the block, as map_in_order() does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
