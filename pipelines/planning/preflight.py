"""The GPUs and custom resources that a plan needs, and those that there are. Imports neither Ray nor torch."""

import os
from collections.abc import Mapping
from pathlib import Path

from actors.pool.cluster import required_resources
from actors.pool.role import Role
from pipelines.planning.roles import run_roles
from pipelines.settings.settings import Settings

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def roles_of(settings: Settings) -> list[Role]:
    """All roles of a run, whichever predictor it has: what they take is the same."""
    return run_roles(settings, Path() if settings.wants_predictor else None).all


def wanted(settings: Settings) -> dict[str, float]:
    """GPUs and custom resources of all actors together, without zeros."""
    total = {"GPU": 0.0} | required_resources(roles_of(settings))  # GPUs first, as `shortage` names them
    return {name: amount for name, amount in total.items() if amount and name != "CPU"}


def local_gpus() -> int:
    """GPUs that programs on this machine may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])
    return len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0


def shortage(settings: Settings, there: Mapping[str, float] | None) -> str:
    """One line: how much of each resource is wanted, and how much there is.

    Example:

        shortage(settings, {"GPU": 1}) == "3 GPU wanted, 1 there: 2 missing"
    """
    parts = []
    for name, amount in (wanted(settings) or {"GPU": 0.0}).items():
        have = None if there is None else there.get(name, 0)
        missing = f": {amount - have:g} missing" if have is not None and have < amount else ""
        parts.append(f"{amount:g} {name} wanted" + ("" if have is None else f", {have:g} there") + missing)
    return "; ".join(parts)
