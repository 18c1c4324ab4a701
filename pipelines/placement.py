"""Where a role runs: settings on which nothing in the records depends, so that they may change when a run goes on."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Closed(BaseModel):
    """Settings that refuse a key they do not know and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Placement(Closed):
    """Where a role runs; nothing in the records depends on it."""

    where: ClassVar[frozenset[str]] = frozenset()
    """Fields of a subclass that say where or how fast it runs too."""

    actors: int = Field(default=1, ge=1)
    num_cpus: float = Field(default=0, ge=0, description="CPUs each actor reserves in Ray")
    num_gpus: float = Field(default=0, ge=0, description="GPUs each actor reserves in Ray; a fraction shares one")
    resources: dict[str, float] = Field(default={}, description="custom Ray resources each actor reserves")
    in_flight: int = Field(default=2, ge=1, description="calls on one actor at a time")
    timeout_s: float = Field(default=300, gt=0, description="an actor that takes longer for one call is replaced")
    setup_timeout_s: float = Field(default=600, gt=0)
    seconds_per_call: float = Field(default=0.02, gt=0, description="an estimate, for the plan of --dry-run")
