"""Threads: PyTorch on one of them, so that arithmetic is reproducible, and independent work on all of them.

PyTorch splits sums among its threads, so that last digits depend on the number of cores. The models here are too small
to gain much by a second thread.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch's operators on the calling thread alone."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[Result]:
    """Results in the order of the items, computed on so many threads; default: one a core.

    For functions that spend their time in Pillow or NumPy, which let go of the interpreter. Two items a thread are
    under way at a time, whatever their number; the first error is raised in its item's turn, and what was not begun is
    dropped.
    """
    threads = threads or os.cpu_count() or 1
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as executor:
        under_way: deque[Future[Result]] = deque()
        try:
            while True:
                room = 2 * threads - len(under_way)
                under_way += [executor.submit(function, item) for item in islice(remaining, room)]
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
