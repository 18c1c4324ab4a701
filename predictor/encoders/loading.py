"""Loading of downloaded weights: the device, and the libraries' messages.

These models use all cores, unlike the small encoders that ship with their weights. So the last digits of a vector may
depend on the number of cores; the cache keeps the first vector.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from predictor.error_messages import first_line


def device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Silence transformers while the block loads weights: it lists the unused half of a checkpoint as unexpected.

    Raises
    ------
    ValueError
        Whatever the libraries raise for a checkpoint that is broken, incomplete, or too large for the device.
    """
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # the libraries raise a dozen kinds, and a checkpoint's own code any
        raise ValueError(f"{name}: cannot be loaded: {first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
