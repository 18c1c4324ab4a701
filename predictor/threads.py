"""One thread for what has to come out the same on every machine.

PyTorch splits sums among its threads, so that last digits depend on the number of cores. The models here
are small enough that a second thread would hardly help.
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
