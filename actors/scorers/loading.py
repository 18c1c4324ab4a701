"""How a scorer's library and weights are loaded: what is missing is one line that says what to install."""

from collections.abc import Iterator
from contextlib import contextmanager

from actors.scorers.scales import SCORERS


@contextmanager
def loading(scorer: str) -> Iterator[None]:
    """Import a library and load its weights.

    Raises
    ------
    ModuleNotFoundError
        The library, or one that it needs, is not in this environment; the message says what to install.
    ValueError
        Whatever the library raises for weights that cannot be had or do not fit.
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
        raise ValueError(f"scorer {scorer}: cannot be loaded: {_gist(error)}; {install}") from error


def device() -> str:
    """The GPU that the actor has reserved, if any."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _gist(error: BaseException) -> str:
    """The first line that says something; transformers begins its messages with an empty one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
