"""Placement: where and how fast a role runs. No record depends on it, so it may change when a run is resumed."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Closed(BaseModel):
    """Settings that are frozen, and refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Placement(Closed):
    """Where and how fast a role runs; no record depends on it."""

    where: ClassVar[frozenset[str]] = frozenset()
    """Further fields of a subclass on which no record depends."""

    actors: int = Field(default=1, ge=1)
    num_cpus: float = Field(default=0, ge=0, description="CPUs each actor reserves in Ray")
    num_gpus: float = Field(default=0, ge=0, description="GPUs each actor reserves in Ray; a fraction shares one")
    resources: dict[str, float] = Field(default={}, description="custom Ray resources each actor reserves")
    in_flight: int = Field(default=2, ge=1, description="calls on one actor at a time")
    timeout_s: float = Field(default=300, gt=0, description="an actor that takes longer for one call is replaced")
    setup_timeout_s: float = Field(default=600, gt=0)
    startup_s: float = Field(
        default=60, ge=0, description="an estimate of how long it loads, downloads included, for the plan of --dry-run"
    )
    seconds_per_call: float = Field(default=0.02, gt=0, description="an estimate, for the plan of --dry-run")

    @field_validator("num_cpus", "num_gpus")
    @classmethod
    def _can_be_reserved(cls, amount: float) -> float:
        _check_amount(amount)
        return amount

    @field_validator("resources")
    @classmethod
    def _are_custom(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if name in _OWN_KEYS:
                raise ValueError(f"{name} is no custom resource; set {_OWN_KEYS[name]}")
            if amount <= 0:
                raise ValueError(f"{name} must be more than 0, got {amount:g}")
            _check_amount(amount)
        return resources


_OWN_KEYS = {"CPU": "num_cpus", "GPU": "num_gpus"}


def _check_amount(amount: float) -> None:
    """Ray counts resources in steps of 0.0001, and above 1 in whole numbers."""
    if amount > 1 and amount != int(amount):
        raise ValueError(f"must be a whole number above 1, got {amount:g}")
    if amount != round(amount, 4):
        raise ValueError(f"must be a multiple of 0.0001, got {amount:g}")
