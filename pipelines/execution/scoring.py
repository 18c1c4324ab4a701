"""What is thought of an image: a user's score, and what the guards go by.

A score is one call for one trajectory. What is measured beside it depends on the image and its prompt alone, and is
never asked twice at a time.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from actors.messages import RenderRequest, ScoreRequest
from actors.pool.actor_pool import ActorPool, ArgumentLostError, CallFailedError
from actors.pool.render_path import LOSSES
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.guards import HELD_OUT, LEAST_SUBJECT, SUBJECT
from pipelines.search.trajectory import Candidate, Trajectory, fresh_seeds
from pipelines.settings.search import GuardSettings


class ScoringService:
    """Asks scorers and the feature extractor about images. Used from one event loop."""

    def __init__(
        self,
        renders: RenderCache,
        scorers: Mapping[str, ActorPool],
        waits: WaitAccounting,
        guards: GuardSettings,
        *,
        feature_extractor: ActorPool | None,
        describer: ActorPool | None,
        beholder: ActorPool | None,
        described: Mapping[str, Mapping[str, str]],
        on_description: Callable[[str, Mapping[str, str]], None],
    ) -> None:
        """
        Parameters
        ----------
        describer
            The predictor, where it can tell metadata from an image.
        beholder
            The predictor, where it can tell how like an image and a text are.
        """
        self._renders = renders
        self._scorers = scorers
        self._waits = waits
        self._guards = guards
        self._feature_extractor = feature_extractor
        self._describer = describer
        self._beholder = beholder
        self._described = dict(described)
        self._on_description = on_description
        self._least: dict[str, float] = {}
        """By base prompt: how like it an image is to be at least."""
        self._asked: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def score(
        self, trajectory: Trajectory, candidate: Candidate, wanted: RenderRequest, reference: Any
    ) -> Candidate:
        """The candidate with the score of its image, or with the error."""
        try:
            score = await self.scored(trajectory, wanted, reference)
        except CallFailedError as error:
            return replace(candidate, error=str(error))
        return _with(candidate, score)

    async def score_for_each(
        self, members: Sequence[Trajectory], candidate: Candidate, wanted: RenderRequest
    ) -> list[Candidate]:
        """A candidate with the score that each of several users of one scorer gives its image."""
        first = members[0]
        try:
            reference = await self._renders.image(wanted)
            with self._waits.during("scores"):
                requests = [await self._request(member, member.scorer, member.members) for member in members]
                scores = await self._ask(wanted, reference, self._scorers[first.scorer], "score_each", requests)
        except CallFailedError as error:
            return [replace(candidate, error=str(error)) for _ in members]
        return [_with(candidate, score) for score in scores]

    async def scored(self, trajectory: Trajectory, wanted: RenderRequest, reference: Any, **how: Any) -> float:
        """What a trajectory's scorer says of an image, or, with `preview=True`, of its preview.

        Raises
        ------
        CallFailedError, PoolBrokenError
            As `ActorPool.call`.
        """
        with self._waits.during("scores"):
            request = await self._request(trajectory, trajectory.scorer, trajectory.members)
            return await self._ask(wanted, reference, self._scorers[trajectory.scorer], "score", request, **how)

    async def measure(self, trajectory: Trajectory, candidate: Candidate) -> Candidate:
        """The candidate with what the guards go by; one that cannot be measured has an error and no score."""
        try:
            with self._waits.during("scores"):
                measured = await self._measured(trajectory, self._wanted(trajectory, candidate.prompt))
        except CallFailedError as error:
            return replace(candidate, score=None, error=f"it could not be guarded: {error}")
        return replace(candidate, measured=measured)

    async def _measured(self, trajectory: Trajectory, wanted: RenderRequest) -> dict[str, float]:
        guards, measured = self._guards, {}
        key = self._renders.key(wanted)
        if guards.drift != "off" and self._feature_extractor is not None:
            measured |= await self._once("drift", key, ask=lambda: self._drift(wanted))
        held_out = guards.held_out_scorer
        if guards.held_out != "off" and held_out in self._scorers and held_out != trajectory.scorer:
            measured[HELD_OUT] = await self._once(
                "held out", trajectory.prompt_id, key, ask=lambda: self._held_out(trajectory, wanted)
            )
        if guards.image != "off" and self._beholder is not None:
            prompt = trajectory.base_prompt
            measured[SUBJECT] = await self._once("like", prompt, key, ask=lambda: self._likeness(prompt, wanted))
            if prompt not in self._least:
                self._least[prompt] = await self._once("least", prompt, ask=lambda: self._least_likeness(trajectory))
            measured[LEAST_SUBJECT] = self._least[prompt]
        return measured

    async def _drift(self, wanted: RenderRequest) -> Mapping[str, float]:
        assert self._feature_extractor is not None
        return await self._ask(wanted, await self._renders.image(wanted), self._feature_extractor, "measure")

    async def _held_out(self, trajectory: Trajectory, wanted: RenderRequest) -> float:
        scorer = self._guards.held_out_scorer
        request = await self._request(trajectory, scorer, ())
        return await self._ask(wanted, await self._renders.image(wanted), self._scorers[scorer], "score", request)

    async def _likeness(self, text: str, wanted: RenderRequest) -> float:
        assert self._beholder is not None
        return await self._ask(wanted, await self._renders.image(wanted), self._beholder, "similarity", text)

    async def _least_likeness(self, trajectory: Trajectory) -> float:
        """Three standard deviations below the mean over base images, the one of the run among them."""
        seeds = [trajectory.image_seed, *fresh_seeds(trajectory, self._guards.image_seeds)]
        wanted = [RenderRequest(prompt=trajectory.base_prompt, seed=seed) for seed in seeds]
        likeness = await asyncio.gather(*(self._likeness(trajectory.base_prompt, request) for request in wanted))
        return fmean(likeness) - 3 * stdev(likeness)

    async def _request(self, trajectory: Trajectory, scorer: str, users: tuple[str, ...]) -> ScoreRequest:
        metadata = {**await self._description(trajectory, scorer), **trajectory.metadata}
        return ScoreRequest(users=users, base_prompt=trajectory.base_prompt, metadata=metadata)

    async def _description(self, trajectory: Trajectory, scorer: str) -> Mapping[str, str]:
        """What the base prompt's image shows: found once a prompt, and the same for all its candidates.

        Like the base prompt that a scorer sees in place of the rewritten one: a proposal wins by its image, not
        by being sorted into a category that people like.
        """
        if self._describer is None or self._scorers[scorer] is not self._describer:
            return {}
        if trajectory.prompt_id in self._described:
            return self._described[trajectory.prompt_id]
        describer = self._describer
        return await self._once("describe", trajectory.prompt_id, ask=lambda: self._describe(describer, trajectory))

    async def _describe(self, describer: ActorPool, trajectory: Trajectory) -> Mapping[str, str]:
        base = self._wanted(trajectory, trajectory.base_prompt)
        found = await self._ask(base, await self._renders.image(base), describer, "describe", dict(trajectory.metadata))
        self._described[trajectory.prompt_id] = found
        self._on_description(trajectory.prompt_id, found)
        return found

    async def _once(self, *question: str, ask: Callable[[], Any]) -> Any:
        """The answer to a question that is never asked twice at a time."""
        task = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(ask())
            task.add_done_callback(lambda _: self._asked.pop(question, None))
        return await asyncio.shield(task)

    async def _ask(
        self,
        wanted: RenderRequest,
        reference: Any,
        pool: ActorPool,
        method: str,
        *question: object,
        preview: bool = False,
    ) -> Any:
        """What an actor says of an image; one that was lost with its node is taken from the disk again."""
        for _ in range(LOSSES):
            try:
                return (await pool.call(method, *question, reference))[1]
            except ArgumentLostError:
                again = self._renders.preview(wanted) if preview else self._renders.image(wanted, lost=reference)
                reference = await again
        return (await pool.call(method, *question, reference))[1]

    @staticmethod
    def _wanted(trajectory: Trajectory, prompt: str) -> RenderRequest:
        return RenderRequest(prompt=prompt, seed=trajectory.image_seed)


def _with(candidate: Candidate, score: float) -> Candidate:
    if not math.isfinite(score):
        return replace(candidate, error=f"the score is not a number: {score}")
    return replace(candidate, score=score)
