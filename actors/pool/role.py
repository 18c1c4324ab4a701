"""What a pool runs: which class, how many actors of it, and what each needs of the cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What to run how often, and on what.

    Example:

        Role(name="renderer", make=Darkroom, arguments={"size": 256}, actors=2, num_gpus=1)
    """

    name: str
    make: Callable[..., Any]
    """A plain class with a cheap constructor and `setup()`; made into an actor here."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    actors: int = 1
    num_cpus: float = 0
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    in_flight: int = 2
    """Calls on one actor at a time: one that runs, and one that is there when it is done."""
    timeout_s: float = 300
    setup_timeout_s: float = 600
    python: str | None = None
    """The interpreter of another environment to run in, with the same Ray and Python; none: the cluster's own."""
