"""A function over many items: whole items for each worker, results in order."""

import os
import pickle
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from tqdm import tqdm

from .files import MachineError


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


def has_bfloat16():
    """Whether this processor multiplies bfloat16 itself; elsewhere float32 is faster."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


def call_side_by_side(function, jobs, title):
    """Call a function of a module with each job's arguments, in a process for each thread of torch.

    One thread each, so the results are the same however many processes there are. Processes are
    new ones (spawned): a script that calls this needs its `if __name__ == "__main__":`.

    jobs: list of tuples that can be pickled; title: str, of the progress bar
    returns: list of results, as the jobs; an interrupt or error ends the processes
    raises: MachineError where a process was killed
    """
    import torch

    workers = min(torch.get_num_threads(), len(jobs))
    if workers < 2:
        with one_thread():
            return [function(*job) for job in tqdm(jobs, title, disable=not jobs)]
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        futures = [pool.submit(_call, pickle.dumps((function, job))) for job in jobs]
        for future in tqdm(as_completed(futures), title, len(jobs)):
            future.result()
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise MachineError(
            f"A process for {title} was ended, for lack of memory or because a script lacks "
            '`if __name__ == "__main__":` before its calls: mend that, or run it again after '
            "torch.set_num_threads(1), for one at a time; what was done is kept."
        ) from error
    except BaseException:  # an interrupt, too
        for process in list(pool._processes.values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker():
    """Give a new process one thread and no bars, and end it when the process that asked is gone."""
    import torch

    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent_process().join()
    os._exit(1)


def _call(pickled):
    """Call a function; what can't be unpickled is an error here, not the end of the process."""
    function, job = pickle.loads(pickled)
    return function(*job)
