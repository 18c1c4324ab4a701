"""What a run has cost: where the time of each role's actors went, GPU hours, and the renders that were saved."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.messages import Renderer
from actors.pool.actor_pool import ActorPool


@dataclass(slots=True)
class Images:
    """How candidates came by their images."""

    rendered: int = 0
    shown: int = 0
    """Candidates that have one."""
    previews: int = 0
    finished: int = 0
    """Of those that were rendered, from where their previews had stopped."""

    @property
    def saved(self) -> int:
        """Taken from the disk, or made once for several trajectories."""
        return max(0, self.shown - self.rendered)


class Costs:
    """The account of one start of a run, from when its actors are asked for; a run that goes on has one for each.

    A GPU is paid for as long as an actor holds it, at work or not.
    """

    def __init__(self, pools: Sequence[ActorPool]) -> None:
        self._pools = pools
        self._began = time.monotonic()

    def as_dict(self, images: Images, renderer: Renderer) -> dict[str, Any]:
        """Seconds and hours, as run.json has them; previews as the parts of whole renders that they cost."""
        whole = images.rendered - images.finished
        equivalents = whole + renderer.preview_cost * images.previews + renderer.finish_cost * images.finished
        roles = {pool.role.name: _role(pool) for pool in self._pools}
        return {
            "wall_s": round(time.monotonic() - self._began, 3),
            "renders": images.rendered,
            "previews": images.previews,
            "render_equivalents": round(equivalents, 3),
            "renders_saved": images.saved,
            "gpu_hours": round(sum(role["gpu_hours"] for role in roles.values()), 6),
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
