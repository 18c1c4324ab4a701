"""Threads: PyTorch and BLAS on one of them, so that arithmetic is reproducible, and independent work on all of them.

Both split sums among their threads, so that last digits depend on the number of cores. The models here are too small to
gain much by a second thread; and after each product of matrices, the other threads of BLAS wait for the next one at the
cost of a core each, for longer than the product took.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, cached_property, wraps
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def made_once(make: Callable[[], Result]) -> Callable[[], Result]:
    """Decorator: the result is made by the first call, for which other threads wait, and kept for the process.

    `functools.cache` alone would have each of several threads make one.
    """
    made, turn = cache(make), threading.Lock()

    @wraps(make)
    def get() -> Result:
        with turn:
            return made()

    return get


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


class _OneBlasThread:
    """A limit for the whole process, from when the first has entered until the last has left."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._turn:
            if not self._inside:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._turn:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()

    @cached_property
    def _controller(self) -> ThreadpoolController:
        """Of the libraries that are loaded by now, NumPy's among them."""
        return ThreadpoolController()


one_blas_thread = _OneBlasThread()
"""A context in which products of matrices run on one thread each, in all of this process; several may overlap.

Another thread than the one that entered first must not be the last to leave: OpenBLAS does not start threads for it.
"""


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
