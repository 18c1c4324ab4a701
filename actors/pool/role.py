"""A role: which class a pool runs as actors, how many of them, and what each needs of the cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One kind of actor.

    Example:

        Role(name="renderer", make=Darkroom, arguments={"size": 256}, actors=2, num_gpus=1)
    """

    name: str
    make: Callable[..., Any]
    """A plain class with a cheap constructor and `setup()`; the pool makes actors of it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of its constructor."""
    actors: int = 1
    """Replicas that the pool keeps running."""
    num_cpus: float = 0
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    """Ray's custom resources, for each actor as CPUs and GPUs are."""
    in_flight: int = 2
    """Calls sent to one actor at a time: by default one that runs, and one that is there as soon as it is done."""
    timeout_s: float = 300
    """For one call, from when it runs; time in the actor's queue does not count."""
    setup_timeout_s: float = 600
    """For loading the weights."""
    startup_s: float = 60
    """An estimate of the same, for plans."""
    give_up_after_s: float = 600
    """Without an answer to any call, while calls failed."""
    first_pause_s: float = 1.0
    """Before a disturbed call is made again; each later pause is twice as long."""
    python: str | None = None
    """Interpreter of another environment, with the same versions of Ray and Python; None: the cluster's own."""

    @property
    def required_resources(self) -> dict[str, float]:
        """What one actor reserves: CPU, GPU and custom resources by Ray's names; zeros left out."""
        required = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        return {name: amount for name, amount in required.items() if amount}
