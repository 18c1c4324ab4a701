"""The actor pools of a run: places are reserved, actors come up, drivers are made on them, and all of it is released.

One set of pools serves one driver (`cluster_run`) or many, one after the other or at the same time (`live`).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actors.pool.actor_pool import ActorPool, PoolBrokenError
from actors.pool.render_path import RenderPath
from actors.pool.reservation import Reservation
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.driver import Driver
from pipelines.execution.observer import Observer
from pipelines.execution.scoring import ScorerPool
from pipelines.planning.capabilities import can_classify_metadata, can_compare_with_text
from pipelines.planning.plan import Plan
from pipelines.planning.roles import RunRoles
from pipelines.records.journal import Journal
from pipelines.records.run_folder import RunFolder
from pipelines.search.rounds import Proposed
from pipelines.settings.settings import differences

logger = logging.getLogger(__name__)

_HEAD_START_S = 4.0
"""Actors that only score start this much later than those that render, unless those are up sooner: importing PyTorch
on the same cores would delay the first image."""


class ActorsNeverUpError(PoolBrokenError):
    """A role's actors never came up, and so no candidate has been scored."""


class RunPools:
    """The pools of all roles of a plan. Used from one event loop."""

    def __init__(self, roles: RunRoles, plan: Plan) -> None:
        unlike = partial(_unlike, dict(plan.renderer.identity()))
        give_up_after_s = plan.settings.give_up_after_s
        self.roles = roles
        self.by_name = {
            role.name: ActorPool(
                replace(role, give_up_after_s=give_up_after_s), refuse=unlike if role is roles.renderer else None
            )
            for role in roles.all
        }
        extractor = roles.feature_extractor
        self.embeddings = TextEmbeddings(self.by_name[extractor.name]) if extractor else None
        self._reservation = Reservation()

    @property
    def renderer(self) -> ActorPool:
        return self.by_name[self.roles.renderer.name]

    @property
    def scorers(self) -> dict[str, ActorPool]:
        """By the names of the scorers; several may have one pool."""
        return {name: self.by_name[role.name] for name, role in self.roles.scorers.items()}

    async def start(self, nodes_timeout_s: float, waiting: Callable[[str], None]) -> Awaitable[None]:
        """Wait until the pools that render are up; returns an awaitable that is done when the others are up too.

        Raises
        ------
        ClusterError
            The cluster lacks what the roles need.
        ActorsNeverUpError
            A role's actors do not come up.
        """
        await self._reservation.make(self.roles.all, nodes_timeout_s, waiting)
        roles = self.roles
        needed = {role.name for role in (roles.renderer, roles.text_encoder, roles.feature_extractor) if role}
        first = asyncio.create_task(self._up([pool for name, pool in self.by_name.items() if name in needed]))
        others: list[asyncio.Task[None]] = []
        try:
            await asyncio.wait({first}, timeout=_HEAD_START_S)
            later = [pool for name, pool in self.by_name.items() if name not in needed]
            others.append(asyncio.create_task(self._up(later)))
            await first
        except BaseException:
            for task in (first, *others):
                task.cancel()
            raise
        return others[0]

    def driver(
        self,
        plan: Plan,
        folder: RunFolder,
        journal: Journal,
        observer: Observer,
        *,
        scorers: Mapping[str, ScorerPool] | None = None,
        first_rounds: Mapping[tuple[str, int], Proposed] = {},
    ) -> Driver:
        """A driver that writes to a run folder.

        Parameters
        ----------
        plan
            With the settings and the predictor of these pools.
        scorers
            By name, in place of the pools' own.
        first_rounds
            See `Driver`.
        """
        roles = self.roles
        predictor = self.by_name[roles.predictor.name] if roles.predictor else None
        return Driver(
            settings=plan.protocol,
            renderer=self.render_path(),
            renderer_identity=plan.renderer.identity(),
            proposer=self.by_name[roles.proposer.name],
            scorers=self.scorers if scorers is None else scorers,
            images=folder.images,
            journal=journal,
            observer=observer,
            preview_identity=plan.renderer.preview_identity() if plan.protocol.previews else None,
            feature_extractor=self.by_name[roles.feature_extractor.name] if roles.feature_extractor else None,
            embeddings=self.embeddings,
            describer=predictor if can_classify_metadata(plan) else None,
            similarity_scorer=predictor if can_compare_with_text(plan) else None,
            described=folder.about.get("zero_shot", {}),
            on_description=folder.record_metadata,
            first_rounds=first_rounds,
        )

    def render_path(self) -> RenderPath:
        """The way from a prompt to an image."""
        text_encoder = self.roles.text_encoder
        return RenderPath(
            self.renderer, self.by_name[text_encoder.name] if text_encoder else None, self._embed_for_renderers()
        )

    def stop(self) -> None:
        """Stop all actors, and release their places."""
        for pool in self.by_name.values():
            pool.stop()
        self._reservation.release()

    def _embed_for_renderers(self) -> Callable[[str], Awaitable[Any]] | None:
        """What makes of a prompt the embedding that renderers are given, where they are given one."""
        embeddings, text = self.embeddings, self.roles.embedded_text
        if embeddings is None or text is None:
            return None

        async def embed(prompt: str) -> Any:
            (vector,) = await embeddings.of([text(prompt)])
            return vector

        return embed

    async def _up(self, pools: Sequence[ActorPool]) -> None:
        try:
            await asyncio.gather(*(self._start(pool) for pool in pools))
        except PoolBrokenError as error:
            raise ActorsNeverUpError(str(error)) from error

    async def _start(self, pool: ActorPool) -> None:
        began = time.monotonic()
        await pool.start(self._reservation.places(pool.role))
        logger.info("%s: up after %.1f s, actors: %d", pool.role.name, time.monotonic() - began, pool.role.actors)


def _unlike(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """How a renderer's identity differs from the one on this machine, which the keys of images are made of."""
    if not (changed := differences(here, dict(there))):
        return ""
    return (
        f"it is not the one on this machine: {'; '.join(changed)}; "
        "install the same versions and photographs on every node"
    )
