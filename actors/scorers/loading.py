"""Loads a scorer's library and weights; if anything is missing, the error is one line that says what to install.

Scorers run in environments of their own, which have NumPy and Pillow but not `predictor`: nothing of it is imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.scorers.registry import SCORERS


@contextmanager
def loading(scorer: str) -> Iterator[None]:
    """Inside, a scorer imports its library and loads its weights.

    Raises
    ------
    ModuleNotFoundError
        The library, or one that it needs, is not in this environment.
    ValueError
        The library raised any other error, for weights that cannot be loaded or do not fit into memory.

    Example:

        with loading("laion"):
            import pyiqa
    """
    install = SCORERS[scorer].install
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"scorer {scorer}: no module {error.name!r} in this environment; {install} and name it: "
            f"--set generic.{scorer}.python=ENVIRONMENT/bin/python"
        ) from error
    except Exception as error:  # the libraries and the hub's client raise a dozen kinds
        raise ValueError(f"scorer {scorer}: cannot be loaded: {_first_line(error)}; {install}") from error


def device() -> str:
    """torch's name for the GPU that the actor has reserved, or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _first_line(error: BaseException) -> str:
    """Type and first line of an error that is not blank; messages of transformers begin with a blank one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
