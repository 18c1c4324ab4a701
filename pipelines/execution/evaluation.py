"""From prompts to candidates: previews and images are drawn, scored, and looked at by the guards.

    all_of            draw every prompt that was not rejected; with previews, finish only the best of them
    score_pool        images that are on the disk already, for those who have not drawn them
    guarded           measure whatever would be the best, from the highest score down, until one passes
    with_fresh_seeds  the winner beside the base prompt (the winner's curse)

Previews are judged by themselves as the run goes: the first round of a trajectory is finished whole, and from then on
its history says how well previews rank.
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
from pipelines.search.guards import examined, luck
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
    """Tries candidates of one run. Used from one event loop."""

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
        """The base prompt, measured as whatever is compared with it will be."""
        candidate = await self._draw(trajectory, Candidate(prompt=trajectory.base_prompt))
        return candidate if candidate.score is None else await self._measured(trajectory, candidate)

    async def all_of(
        self, trajectory: Trajectory, candidates: Sequence[Candidate], history: History
    ) -> list[Candidate]:
        """What becomes of the proposals of one round, in their order."""
        drawn = [place for place, candidate in enumerate(candidates) if candidate.rejected is None]
        keep = self._protocol.previews
        if not self._previews or keep is None or len(drawn) <= keep or not previews_help(history, self._protocol):
            return await asyncio.gather(*(self._draw(trajectory, candidate) for candidate in candidates))
        begun = await asyncio.gather(*(self._begin(trajectory, candidate) for candidate in candidates))
        looked_at = best_previews([candidate for candidate, _ in begun], len(drawn) if len(history) == 1 else keep)
        pairs = zip(looked_at, (preview for _, preview in begun), strict=True)
        return await asyncio.gather(*(self._draw(trajectory, candidate, preview) for candidate, preview in pairs))

    async def score_pool(
        self, pool: Mapping[str, Sequence[Candidate]], members: Mapping[str, Trajectory]
    ) -> dict[str, list[Candidate]]:
        """Images that are on the disk, scored for each member that has not drawn them: one call an image.

        Parameters
        ----------
        pool
            The candidates of each member, by trajectory id.
        """
        asking: dict[str, list[tuple[str, int]]] = {}
        for name, candidates in pool.items():
            for place, candidate in enumerate(candidates):
                asking.setdefault(str(candidate.image), []).append((name, place))
        scored = await asyncio.gather(
            *(
                self._score_for([members[name] for name, _ in places], pool[places[0][0]][places[0][1]])
                for places in asking.values()
            )
        )
        found = {name: list(candidates) for name, candidates in pool.items()}
        for places, verdicts in zip(asking.values(), scored, strict=True):
            for (name, place), verdict in zip(places, verdicts, strict=True):
                found[name][place] = replace(verdict, origin=found[name][place].origin)
        return found

    async def _score_for(self, members: Sequence[Trajectory], candidate: Candidate) -> list[Candidate]:
        wanted = RenderRequest(prompt=candidate.prompt, seed=members[0].image_seed)
        return await self._scoring.score_for_each(members, candidate, wanted)

    async def guarded(
        self, trajectory: Trajectory, own: Iteration, others: Sequence[Candidate], history: History
    ) -> Iteration:
        """The round as it is recorded: no candidate is the best that the guards have not seen."""
        candidates = [*own.candidates, *others]
        if self._protocol.guards.measures_images and history:
            best, base = best_so_far(history), history[0].candidates[0]
            unseen = [place for place, c in enumerate(candidates) if c.eligible and beats(c, best)]
            for place in sorted(unseen, key=lambda at: -(candidates[at].score or 0.0)):
                measured = await self._measured(trajectory, candidates[place])
                candidates[place] = examined(measured, base, self._protocol.guards)
                if candidates[place].eligible:
                    break
        mine = len(own.candidates)
        return replace(own, candidates=tuple(candidates[:mine]), pooled=tuple(candidates[mine:]))

    async def with_fresh_seeds(self, trajectory: Trajectory, winner: Candidate) -> Reseeded:
        """The winner and the base prompt with each of some other seeds.

        Raises
        ------
        CallFailedError
            Not one pair of images could be drawn and scored.
        """
        guards = self._protocol.guards
        seeds = fresh_seeds(trajectory, guards.reseeds)
        prompts = (trajectory.base_prompt, winner.prompt)
        drawings = [self._draw(trajectory, Candidate(prompt=prompt), seed=seed) for prompt in prompts for seed in seeds]
        drawn = await asyncio.gather(*drawings)
        initial, final = drawn[: len(seeds)], drawn[len(seeds) :]
        look = Reseeded(prompt=winner.prompt, seeds=tuple(seeds), initial=tuple(initial), final=tuple(final))
        before, after = look.means
        if math.isnan(before):
            raise CallFailedError(f"with fresh seeds: {initial[0].error or final[0].error}")
        if (notice := luck(before, after, guards)) is None:
            return look
        return replace(look, rejected=notice) if guards.reseed == "reject" else replace(look, warnings=(notice,))

    async def _draw(
        self, trajectory: Trajectory, candidate: Candidate, preview: Any = None, *, seed: int | None = None
    ) -> Candidate:
        """A candidate with image and score, or with the error; what is rejected stays as it is."""
        if candidate.rejected is not None or candidate.error is not None:
            return candidate
        wanted = RenderRequest(prompt=candidate.prompt, seed=trajectory.image_seed if seed is None else seed)
        try:
            with self._waits.during("renders"):
                drawing = self._renders.image(wanted) if preview is None else self._renders.finish(wanted, preview)
                reference = await drawing
        except CallFailedError as error:
            return replace(candidate, error=str(error))
        if candidate.origin is None:
            self._renders.made.shown += 1
        candidate = replace(candidate, image=self._renders.key(wanted))
        return await self._scoring.score(trajectory, candidate, wanted, reference)

    async def _begin(self, trajectory: Trajectory, candidate: Candidate) -> tuple[Candidate, Any]:
        """A candidate with its preview's score, and a reference to the preview."""
        if candidate.rejected is not None:
            return candidate, None
        wanted = RenderRequest(prompt=candidate.prompt, seed=trajectory.image_seed)
        try:
            with self._waits.during("renders"):
                preview = await self._renders.preview(wanted)
            score = await self._scoring.scored(trajectory, wanted, preview, preview=True)
        except CallFailedError as error:
            return replace(candidate, error=str(error)), None
        if not math.isfinite(score):
            return replace(candidate, error=f"the preview's score is not a number: {score}"), None
        return replace(candidate, preview=self._renders.preview_key(wanted), preview_score=score), preview

    async def _measured(self, trajectory: Trajectory, candidate: Candidate) -> Candidate:
        return await self._scoring.measure(trajectory, candidate)
