"""The scoring service: users' scores of an image, and the measurements that the guards compare.

A score is one call for one trajectory, or one call for all members of a cohort. A measurement depends on the image and
its prompt alone, so trajectories that want the same one at the same time share one call.
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
from actors.pool.single_flight import SingleFlightCache
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.guards import HELD_OUT, LEAST_SUBJECT, SUBJECT
from pipelines.search.trajectory import Candidate, Trajectory, fresh_seeds
from pipelines.settings.search import GuardSettings

Metadata = Mapping[str, str]


class ScoringService:
    """Calls scorers and the feature extractor on images. Used from one event loop."""

    def __init__(
        self,
        renders: RenderCache,
        scorers: Mapping[str, ActorPool],
        waits: WaitAccounting,
        guards: GuardSettings,
        *,
        feature_extractor: ActorPool | None,
        describer: ActorPool | None,
        similarity_scorer: ActorPool | None,
        described: Mapping[str, Metadata],
        on_description: Callable[[str, Metadata], None],
    ) -> None:
        """
        Parameters
        ----------
        feature_extractor
            Measures saturation and sharpness.
        describer
            The predictor, where it can classify an image's metadata zero-shot.
        similarity_scorer
            The predictor, where it can score the similarity of image and text.
        described
            Prompt id -> metadata that an earlier start of the run has found.
        on_description
            Called with a prompt id and its metadata, before anything is scored by them.
        """
        self._renders = renders
        self._scorers = scorers
        self._waits = waits
        self._guards = guards
        self._feature_extractor = feature_extractor
        self._describer = describer
        self._similarity_scorer = similarity_scorer
        self._described = described
        self._on_description = on_description
        self._drifts = SingleFlightCache[str, Mapping[str, float]]()
        """By image key."""
        self._held_out_scores = SingleFlightCache[tuple[str, str], float]()
        """By prompt id and image key."""
        self._similarities = SingleFlightCache[tuple[str, str], float]()
        """By base prompt and image key."""
        self._least_similarities = SingleFlightCache[str, float](capacity=None)
        """By base prompt."""
        self._descriptions = SingleFlightCache[str, Metadata](capacity=None)
        """By prompt id."""

    async def score(
        self, trajectory: Trajectory, candidate: Candidate, request: RenderRequest, reference: Any
    ) -> Candidate:
        """The candidate with the score of its image, or with the error."""
        try:
            score = await self.score_image(trajectory, request, reference)
        except CallFailedError as error:
            return replace(candidate, error=str(error))
        return _with_score(candidate, score)

    async def score_for_each(
        self, members: Sequence[Trajectory], candidate: Candidate, request: RenderRequest
    ) -> list[Candidate]:
        """The candidate with each member's score of its image, in the order of the members: one call for all."""
        scorer = members[0].scorer
        try:
            reference = await self._renders.image(request)
            with self._waits.during("scores"):
                requests = [await self._score_request(member, scorer, member.members) for member in members]
                scores = await self._call(request, reference, self._scorers[scorer], "score_each", requests)
        except CallFailedError as error:
            return [replace(candidate, error=str(error)) for _ in members]
        return [_with_score(candidate, score) for score in scores]

    async def score_image(
        self, trajectory: Trajectory, request: RenderRequest, reference: Any, *, preview: bool = False
    ) -> float:
        """The score that a trajectory's scorer gives an image, or, with `preview`, its preview.

        Raises
        ------
        CallFailedError, PoolBrokenError
            As `ActorPool.call`.
        """
        with self._waits.during("scores"):
            question = await self._score_request(trajectory, trajectory.scorer, trajectory.members)
            pool = self._scorers[trajectory.scorer]
            return await self._call(request, reference, pool, "score", question, preview=preview)

    async def measure(self, trajectory: Trajectory, candidate: Candidate) -> Candidate:
        """The candidate with what the guards compare; where that fails, with an error and without its score."""
        try:
            with self._waits.during("scores"):
                measured = await self._measurements(trajectory, self._request(trajectory, candidate.prompt))
        except CallFailedError as error:
            return replace(candidate, score=None, error=f"it could not be guarded: {error}")
        return replace(candidate, measured=measured)

    async def _measurements(self, trajectory: Trajectory, request: RenderRequest) -> dict[str, float]:
        guards, measured = self._guards, {}
        key, prompt = self._renders.key(request), trajectory.base_prompt
        if guards.drift != "off" and self._feature_extractor is not None:
            measured |= await self._drifts.get(key, lambda: self._drift(request))
        held_out = guards.held_out_scorer
        if guards.held_out != "off" and held_out in self._scorers and held_out != trajectory.scorer:
            measured[HELD_OUT] = await self._held_out_scores.get(
                (trajectory.prompt_id, key), lambda: self._held_out_score(trajectory, request)
            )
        if guards.image != "off" and self._similarity_scorer is not None:
            measured[SUBJECT] = await self._similarities.get((prompt, key), lambda: self._similarity(prompt, request))
            measured[LEAST_SUBJECT] = await self._least_similarities.get(
                prompt, lambda: self._least_similarity(trajectory)
            )
        return measured

    async def _drift(self, request: RenderRequest) -> Mapping[str, float]:
        assert self._feature_extractor is not None
        return await self._call(request, await self._renders.image(request), self._feature_extractor, "measure")

    async def _held_out_score(self, trajectory: Trajectory, request: RenderRequest) -> float:
        scorer = self._guards.held_out_scorer
        question = await self._score_request(trajectory, scorer, ())
        return await self._call(request, await self._renders.image(request), self._scorers[scorer], "score", question)

    async def _similarity(self, text: str, request: RenderRequest) -> float:
        assert self._similarity_scorer is not None
        reference = await self._renders.image(request)
        return await self._call(request, reference, self._similarity_scorer, "similarity", text)

    async def _least_similarity(self, trajectory: Trajectory) -> float:
        """Three standard deviations below the mean over base images: the run's own, and some with fresh seeds."""
        seeds = [trajectory.image_seed, *fresh_seeds(trajectory, self._guards.image_seeds)]
        requests = [RenderRequest(prompt=trajectory.base_prompt, seed=seed) for seed in seeds]
        found = await asyncio.gather(*(self._similarity(trajectory.base_prompt, request) for request in requests))
        return fmean(found) - 3 * stdev(found)

    async def _score_request(self, trajectory: Trajectory, scorer: str, users: tuple[str, ...]) -> ScoreRequest:
        metadata = {**await self._description(trajectory, scorer), **trajectory.metadata}
        return ScoreRequest(users=users, base_prompt=trajectory.base_prompt, metadata=metadata)

    async def _description(self, trajectory: Trajectory, scorer: str) -> Metadata:
        """The metadata of the base prompt's image, found once a prompt and used for all its candidates.

        Like the base prompt, which a scorer is given in place of the rewritten one, they are the same for all: a
        proposal has to win by its image, not by being classified into a category that people like.
        """
        if self._describer is None or self._scorers[scorer] is not self._describer:
            return {}
        if (recorded := self._described.get(trajectory.prompt_id)) is not None:
            return recorded
        describer = self._describer
        return await self._descriptions.get(trajectory.prompt_id, lambda: self._describe(describer, trajectory))

    async def _describe(self, describer: ActorPool, trajectory: Trajectory) -> Metadata:
        request = self._request(trajectory, trajectory.base_prompt)
        reference = await self._renders.image(request)
        found = await self._call(request, reference, describer, "describe", dict(trajectory.metadata))
        self._on_description(trajectory.prompt_id, found)
        return found

    async def _call(
        self,
        request: RenderRequest,
        reference: Any,
        pool: ActorPool,
        method: str,
        *arguments: object,
        preview: bool = False,
    ) -> Any:
        """Call a method with an image; where the image was lost with its node, with another reference to it."""
        for _ in range(LOSSES):
            try:
                return (await pool.call(method, *arguments, reference))[1]
            except ArgumentLostError:
                again = self._renders.preview(request) if preview else self._renders.image(request, lost=reference)
                reference = await again
        return (await pool.call(method, *arguments, reference))[1]

    @staticmethod
    def _request(trajectory: Trajectory, prompt: str) -> RenderRequest:
        return RenderRequest(prompt=prompt, seed=trajectory.image_seed)


def _with_score(candidate: Candidate, score: float) -> Candidate:
    if not math.isfinite(score):
        return replace(candidate, error=f"the score is not a number: {score}")
    return replace(candidate, score=score)
