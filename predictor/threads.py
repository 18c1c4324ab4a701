"""Reproducible arithmetic: PyTorch on one thread.

PyTorch splits sums among its threads, so that last digits depend on the number of cores. The models here are too small
to gain much by a second thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager


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
