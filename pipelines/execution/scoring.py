"""The scoring service: users' scores of an image, and the measurements that the guards compare.

The scores of all users of a cohort are one call. A measurement depends on the image and its prompt alone, so those who
want the same one at the same time share one call.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean, stdev
from typing import Any, Protocol

import numpy as np

from actors.messages import RenderRequest, ScoreRequest, TasteFeatures
from actors.pool.accounting import TimeAccounting
from actors.pool.actor_pool import ActorPool, ArgumentLostError, CallRefusedError
from actors.pool.role import Role
from actors.pool.single_flight import SingleFlightCache
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.cohort import Cohort
from pipelines.search.guards import HELD_OUT, LEAST_SUBJECT, SUBJECT
from pipelines.search.rounds import Scores
from pipelines.search.trajectory import Trajectory, fresh_seeds
from pipelines.settings.search import Guard, GuardSettings

logger = logging.getLogger(__name__)

Metadata = Mapping[str, str]


class ScorerPool(Protocol):
    """What scores images: an `ActorPool`, or something before one that knows people whom its actors do not."""

    @property
    def role(self) -> Role: ...
    @property
    def accounting(self) -> TimeAccounting: ...
    async def call(self, method: str, *arguments: Any) -> tuple[Any, Any]: ...


class ScoringService:
    """Calls scorers and the feature extractor on images. Used from one event loop."""

    def __init__(
        self,
        renders: RenderCache,
        scorers: Mapping[str, ScorerPool],
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
        self._least_similarities = SingleFlightCache[str, float | None](capacity=None)
        """By base prompt."""
        self._descriptions = SingleFlightCache[str, Metadata](capacity=None)
        """By prompt id."""

    async def scores(
        self,
        cohort: Cohort,
        trajectories: Sequence[Trajectory],
        request: RenderRequest,
        reference: Any,
        *,
        preview: bool = False,
    ) -> Scores:
        """The scores that the users of these trajectories give an image, or, with `preview`, its preview; shape (n,).

        Rounded to single precision, as they are recorded; nan where a score is not a finite number.

        Raises
        ------
        CallRefusedError, PoolBrokenError
            As `ActorPool.call`.
        """
        with self._waits.during("scores"):
            audiences = tuple(trajectory.user_ids for trajectory in trajectories)
            question = await self._score_request(cohort, cohort.scorer, audiences)
            pool = self._scorers[cohort.scorer]
            if hasattr(pool.role.make, "score_each"):
                found = await self._call(request, reference, pool, "score_each", question, preview=preview)
            else:
                found = [await self._call(request, reference, pool, "score", question, preview=preview)]
        if len(found) != len(trajectories):
            raise CallRefusedError(f"{pool.role.name}: gave {len(found)} scores for {len(trajectories)} users")
        scores = np.array(found, np.float64)
        return np.where(np.isfinite(scores), scores, np.nan).astype(np.float32)

    async def taste_features(self, cohort: Cohort, request: RenderRequest) -> TasteFeatures:
        """What the predictor sees of an image, whoever looks at it; errors as `scores`."""
        question = await self._score_request(cohort, cohort.scorer, ())
        reference = await self._renders.image(request)
        return await self._call(request, reference, self._scorers[cohort.scorer], "taste_features", question)

    async def measurements(self, cohort: Cohort, prompt: str) -> dict[str, float]:
        """What the guards compare, of the image of a prompt; errors as `scores`, of guards that reject.

        What is refused to a guard that only warns is not measured.
        """
        guards, measured = self._guards, dict[str, float]()
        request = RenderRequest(prompt=prompt, seed=cohort.image_seed)
        held_out = guards.held_out_scorer
        guarded: tuple[tuple[Guard, bool, Callable[[], Awaitable[Mapping[str, float]]]], ...] = (
            (guards.drift, self._feature_extractor is not None, lambda: self._drift(request)),
            (
                guards.held_out,
                held_out in self._scorers and held_out != cohort.scorer,
                lambda: self._held_out(cohort, request),
            ),
            (guards.image, self._similarity_scorer is not None, lambda: self._subject(cohort, request)),
        )
        for level, can_be_measured, measure in guarded:
            if level == "off" or not can_be_measured:
                continue
            try:
                measured |= await measure()
            except CallRefusedError as error:
                if level == "reject":
                    raise
                logger.info("cohort %s: %r is not guarded: %s", cohort.id, prompt, error)
        return measured

    async def _drift(self, request: RenderRequest) -> Mapping[str, float]:
        extractor = self._feature_extractor
        assert extractor is not None

        async def measure() -> Mapping[str, float]:
            return await self._call(request, await self._renders.image(request), extractor, "measure")

        return await self._drifts.get(self._renders.key(request), measure)

    async def _held_out(self, cohort: Cohort, request: RenderRequest) -> Mapping[str, float]:
        scorer = self._guards.held_out_scorer

        async def score() -> float:
            question = await self._score_request(cohort, scorer, ((),))
            reference = await self._renders.image(request)
            return float(await self._call(request, reference, self._scorers[scorer], "score", question))

        return {HELD_OUT: await self._held_out_scores.get((cohort.prompt_id, self._renders.key(request)), score)}

    async def _subject(self, cohort: Cohort, request: RenderRequest) -> Mapping[str, float]:
        """How similar image and base prompt are, and how similar they have to be."""
        base_prompt = cohort.base_prompt
        key = base_prompt, self._renders.key(request)
        similarity = await self._similarities.get(key, lambda: self._similarity(base_prompt, request))
        least = await self._least_similarities.get(base_prompt, lambda: self._least_similarity(cohort))
        if least is None:
            raise CallRefusedError(f"all base images of {base_prompt!r} with fresh seeds were refused")
        return {SUBJECT: similarity, LEAST_SUBJECT: least}

    async def _similarity(self, text: str, request: RenderRequest) -> float:
        assert self._similarity_scorer is not None
        reference = await self._renders.image(request)
        return float(await self._call(request, reference, self._similarity_scorer, "similarity", text))

    async def _least_similarity(self, cohort: Cohort) -> float | None:
        """Three standard deviations below the mean over base images: the run's own, and some with fresh seeds.

        None where all but one were refused.
        """
        seeds = [cohort.image_seed, *fresh_seeds(cohort.image_seed, self._guards.image_seeds)]
        requests = [RenderRequest(prompt=cohort.base_prompt, seed=seed) for seed in seeds]

        async def unless_refused(request: RenderRequest) -> float | None:
            with suppress(CallRefusedError):
                return await self._similarity(cohort.base_prompt, request)
            return None

        answers = await asyncio.gather(*(unless_refused(request) for request in requests))
        found = [similarity for similarity in answers if similarity is not None]
        self._renders.made.shown += max(0, len(found) - 1)  # the run's own is counted as a candidate
        return fmean(found) - 3 * stdev(found) if len(found) > 1 else None

    async def _score_request(self, cohort: Cohort, scorer: str, audiences: tuple[tuple[str, ...], ...]) -> ScoreRequest:
        metadata = await self.metadata(cohort, scorer)
        return ScoreRequest(audiences=audiences, base_prompt=cohort.base_prompt, metadata=metadata)

    async def metadata(self, cohort: Cohort, scorer: str) -> Metadata:
        """What the prompts file says of a cohort's images, and what was found beyond it; errors as `scores`."""
        return {**await self._description(cohort, scorer), **cohort.metadata}

    async def _description(self, cohort: Cohort, scorer: str) -> Metadata:
        """The metadata of the base prompt's image, found once per prompt and used for all its candidates.

        Like the base prompt, which a scorer is given in place of the rewritten one, they are the same for all: a
        proposal has to win by its image, not by being classified into a category that people like.
        """
        if self._describer is None or self._scorers[scorer].role is not self._describer.role:
            return {}
        if (recorded := self._described.get(cohort.prompt_id)) is not None:
            return recorded
        describer = self._describer
        return await self._descriptions.get(cohort.prompt_id, lambda: self._describe(describer, cohort))

    async def _describe(self, describer: ActorPool, cohort: Cohort) -> Metadata:
        request = RenderRequest(prompt=cohort.base_prompt, seed=cohort.image_seed)
        reference = await self._renders.image(request)
        found = await self._call(request, reference, describer, "describe", dict(cohort.metadata))
        await asyncio.to_thread(self._on_description, cohort.prompt_id, found)
        return found

    async def _call(
        self,
        request: RenderRequest,
        reference: Any,
        pool: ScorerPool,
        method: str,
        *arguments: object,
        preview: bool = False,
    ) -> Any:
        """Call a method with an image; where the image was lost with its node, with another reference to it."""
        while True:
            try:
                return (await pool.call(method, *arguments, reference))[1]
            except ArgumentLostError:
                again = self._renders.preview(request) if preview else self._renders.image(request, lost=reference)
                reference = await again
