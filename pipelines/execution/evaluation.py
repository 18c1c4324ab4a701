"""Evaluation: from prompts to candidates with images and scores.

    base              render, score and measure the base prompt
    all_of            render and score every proposal that was not rejected; with previews, only the best of them
    score_pool        score images that others have rendered
    guarded           apply the guards to whatever would be the best, from the highest score down, until one passes
    with_fresh_seeds  render winner and base prompt again: a maximum of noisy scores is biased upwards (winner's curse)

Whether previews rank as the images do is found out as the run goes: a trajectory's first round is finished whole, and
from then on its own history tells.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.messages import RenderRequest
from actors.pool.actor_pool import CallFailedError
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.scoring import ScoringService
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.guards import apply_guards, reseed_notice
from pipelines.search.previews import best_previews, previews_help
from pipelines.search.trajectory import (
    Candidate,
    History,
    Iteration,
    Reseeded,
    Trajectory,
    beats,
    best_so_far,
    fresh_seeds,
)
from pipelines.settings.search import SearchSettings


class Evaluation:
    """Evaluates the candidates of one run. Used from one event loop."""

    def __init__(
        self,
        protocol: SearchSettings,
        renders: RenderCache,
        scoring: ScoringService,
        waits: WaitAccounting,
        *,
        previews: bool,
    ) -> None:
        self._protocol = protocol
        self._renders = renders
        self._scoring = scoring
        self._waits = waits
        self._previews = previews

    async def base(self, trajectory: Trajectory) -> Candidate:
        """The base prompt, with the measurements that the guards compare others with."""
        candidate = await self._render(trajectory, Candidate(prompt=trajectory.base_prompt))
        return candidate if candidate.score is None else await self._scoring.measure(trajectory, candidate)

    async def all_of(
        self, trajectory: Trajectory, candidates: Sequence[Candidate], history: History
    ) -> list[Candidate]:
        """The proposals of one round, evaluated, in their order."""
        eligible = sum(candidate.rejected is None for candidate in candidates)
        keep = self._protocol.previews
        if not self._previews or keep is None or eligible <= keep or not previews_help(history, self._protocol):
            return await asyncio.gather(*(self._render(trajectory, candidate) for candidate in candidates))
        begun = await asyncio.gather(*(self._preview(trajectory, candidate) for candidate in candidates))
        ranked = best_previews([candidate for candidate, _ in begun], eligible if len(history) == 1 else keep)
        pairs = zip(ranked, (preview for _, preview in begun), strict=True)
        return await asyncio.gather(*(self._render(trajectory, candidate, preview) for candidate, preview in pairs))

    async def score_pool(
        self, pool: Mapping[str, Sequence[Candidate]], members: Mapping[str, Trajectory]
    ) -> dict[str, list[Candidate]]:
        """Pooled images, scored for each member that has not rendered them itself: one call an image.

        Parameters
        ----------
        pool
            The candidates of each member, by trajectory id.
        members
            The trajectories, by id.
        """
        wanted: dict[str, list[tuple[str, int]]] = {}
        for name, candidates in pool.items():
            for place, candidate in enumerate(candidates):
                wanted.setdefault(str(candidate.image), []).append((name, place))
        scored = await asyncio.gather(
            *(
                self._score_for([members[name] for name, _ in places], pool[places[0][0]][places[0][1]])
                for places in wanted.values()
            )
        )
        found = {name: list(candidates) for name, candidates in pool.items()}
        for places, candidates in zip(wanted.values(), scored, strict=True):
            for (name, place), candidate in zip(places, candidates, strict=True):
                found[name][place] = replace(candidate, origin=found[name][place].origin)
        return found

    async def _score_for(self, members: Sequence[Trajectory], candidate: Candidate) -> list[Candidate]:
        request = RenderRequest(prompt=candidate.prompt, seed=members[0].image_seed)
        return await self._scoring.score_for_each(members, candidate, request)

    async def guarded(
        self, trajectory: Trajectory, own: Iteration, pooled: Sequence[Candidate], history: History
    ) -> Iteration:
        """The round as it is recorded: its best candidate, if it is a new best, has passed the guards."""
        candidates = [*own.candidates, *pooled]
        if self._protocol.guards.measures_images and history:
            best, base = best_so_far(history), history[0].candidates[0]
            better = [place for place, c in enumerate(candidates) if c.eligible and beats(c, best)]
            for place in sorted(better, key=lambda at: -(candidates[at].score or 0.0)):
                measured = await self._scoring.measure(trajectory, candidates[place])
                candidates[place] = apply_guards(measured, base, self._protocol.guards)
                if candidates[place].eligible:
                    break
        count = len(own.candidates)
        return replace(own, candidates=tuple(candidates[:count]), pooled=tuple(candidates[count:]))

    async def with_fresh_seeds(self, trajectory: Trajectory, winner: Candidate) -> Reseeded:
        """The winner and the base prompt, rendered and scored with each of some fresh seeds.

        Raises
        ------
        CallFailedError
            There is no seed for which both could be rendered and scored.
        """
        guards = self._protocol.guards
        seeds = fresh_seeds(trajectory, guards.reseeds)
        prompts = (trajectory.base_prompt, winner.prompt)
        rendered = await asyncio.gather(
            *(self._render(trajectory, Candidate(prompt=prompt), seed=seed) for prompt in prompts for seed in seeds)
        )
        initial, final = rendered[: len(seeds)], rendered[len(seeds) :]
        again = Reseeded(prompt=winner.prompt, seeds=tuple(seeds), initial=tuple(initial), final=tuple(final))
        before, after = again.means
        if math.isnan(before):
            raise CallFailedError(f"with fresh seeds: {initial[0].error or final[0].error}")
        if (notice := reseed_notice(before, after, guards)) is None:
            return again
        return replace(again, rejected=notice) if guards.reseed == "reject" else replace(again, warnings=(notice,))

    async def _render(
        self, trajectory: Trajectory, candidate: Candidate, preview: Any = None, *, seed: int | None = None
    ) -> Candidate:
        """A candidate with image and score, or with the error. What is rejected or has an error stays as it is."""
        if candidate.rejected is not None or candidate.error is not None:
            return candidate
        request = RenderRequest(prompt=candidate.prompt, seed=trajectory.image_seed if seed is None else seed)
        try:
            with self._waits.during("renders"):
                rendering = self._renders.image(request) if preview is None else self._renders.finish(request, preview)
                reference = await rendering
        except CallFailedError as error:
            return replace(candidate, error=str(error))
        if candidate.origin is None:
            self._renders.made.shown += 1
        candidate = replace(candidate, image=self._renders.key(request))
        return await self._scoring.score(trajectory, candidate, request, reference)

    async def _preview(self, trajectory: Trajectory, candidate: Candidate) -> tuple[Candidate, Any]:
        """A candidate with its preview's score, and a reference to the preview."""
        if candidate.rejected is not None:
            return candidate, None
        request = RenderRequest(prompt=candidate.prompt, seed=trajectory.image_seed)
        try:
            with self._waits.during("renders"):
                preview = await self._renders.preview(request)
            score = await self._scoring.score_image(trajectory, request, preview, preview=True)
        except CallFailedError as error:
            return replace(candidate, error=str(error)), None
        if not math.isfinite(score):
            return replace(candidate, error=f"the preview's score is not a number: {score}"), None
        return replace(candidate, preview=self._renders.preview_key(request), preview_score=score), preview
