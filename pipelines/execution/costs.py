"""The cost of a run: time of each role's actors, GPU hours, renders, and renders that sharing saved."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.messages import Renderer
from actors.pool.actor_pool import ActorPool


@dataclass(slots=True)
class ImageCounts:
    """Images that were rendered, and candidates that have one."""

    rendered: int = 0
    shown: int = 0
    """Candidates that have one."""
    previews: int = 0
    finished: int = 0
    """Of the rendered images, those that went on from their preview's state."""

    @property
    def saved(self) -> int:
        """Candidates whose image was on the disk, or was rendered for another one too."""
        return max(0, self.shown - self.rendered)


class CostAccount:
    """The costs of one start of a run, from before its actors come up; each `--resume` has an account of its own.

    A GPU costs as long as an actor holds it, busy or idle.
    """

    def __init__(self, pools: Sequence[ActorPool]) -> None:
        self._pools = pools
        self._began = time.monotonic()

    def as_dict(
        self, images: ImageCounts, renderer: Renderer, price_per_gpu_hour: float | None = None
    ) -> dict[str, Any]:
        """As run.json has it. `render_equivalents` counts previews as the fraction of a whole render that they cost."""
        whole = images.rendered - images.finished
        equivalents = whole + renderer.preview_cost * images.previews + renderer.finish_cost * images.finished
        roles = {pool.role.name: _role(pool) for pool in self._pools}
        gpu_hours = sum(role["gpu_hours"] for role in roles.values())
        return {
            "wall_s": round(time.monotonic() - self._began, 3),
            "renders": images.rendered,
            "previews": images.previews,
            "render_equivalents": round(equivalents, 3),
            "renders_saved": images.saved,
            "gpu_hours": round(gpu_hours, 6),
            "money": None if price_per_gpu_hour is None else round(gpu_hours * price_per_gpu_hour, 2),
            "roles": roles,
        }


def _role(pool: ActorPool) -> dict[str, Any]:
    ledger = pool.accounting
    ledger.settle()
    return {
        "actors": pool.role.actors,
        "replaced": pool.replaced,
        "calls": ledger.calls,
        "busy_s": round(ledger.busy_s, 3),
        "idle_s": {why: round(seconds, 3) for why, seconds in sorted(ledger.idle_s.items())},
        "starting_s": round(ledger.starting_s, 3),
        "gpu_hours": round(ledger.total_s * pool.role.num_gpus / 3600, 6),
    }
