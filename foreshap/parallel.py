"""A function over many items: whole items for each worker, results in order."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def map_in_order(function, items, executor=None, ahead=32):
    """Yield a function's result of each item, in order; at most `ahead` items wait in memory.

    executor: anything with .submit(function, item).result(). Where left out, each of torch's
        threads takes whole items: faster than sharing an item's arithmetic, and the same bytes
        however many threads there are.
    """
    if executor is None:
        import torch  # here, for not all that share this file need it

        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            with pool:
                yield from map_in_order(function, items, pool, ahead)
        finally:  # a worker's 1 is its own, but threads started later would inherit it
            torch.set_num_threads(threads)
        return
    pending = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for job in pending:
            job.cancel()


@contextmanager
def one_thread():
    """Give torch one thread in the block, as map_in_order() does."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
