"""Evaluation: from proposals to candidates with images, and the scores of all users of a cohort.

    of_base           the base prompt
    of_proposals      every proposal that was not rejected; with previews, only the best of them
    verdicts          the guards' verdicts on whatever would be somebody's best, until everybody's best has passed
    with_fresh_seeds  winner and base prompt again: a maximum of noisy scores is biased upwards (winner's curse)

An image is scored for all users in one call, as soon as it is rendered. Whether previews rank as the images do is found
out as the run goes: a user's first round is finished whole, and from then on the user's own history tells.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.messages import RenderRequest, TasteFeatures
from actors.pool.actor_pool import CallRefusedError
from actors.pool.single_flight import SingleFlightCache
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.scoring import ScoringService
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.cohort import Cohort
from pipelines.search.guards import guard_verdict, reseed_notice
from pipelines.search.history import History
from pipelines.search.previews import best_previews, previews_help
from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Scores, new_images
from pipelines.search.trajectory import Trajectory, fresh_seeds
from pipelines.settings.search import SearchSettings


class RoundScores:
    """The scores of the images of one round, each asked for once, by whoever has rendered it first."""

    def __init__(self, scoring: ScoringService, history: History) -> None:
        self._scoring = scoring
        self._history = history
        self._scores: dict[str, Scores] = {}
        """Shape (M,), by image."""
        self._errors = SingleFlightCache[str, str | None](capacity=None)
        """By image, once it was asked about: why it has no scores, where it has none."""

    async def of(self, candidate: Candidate, request: RenderRequest, reference: Any) -> Candidate:
        """The candidate once its image has scores; with an error where it can have none."""
        key = str(candidate.image)
        if key in self._history.column_of_image:
            return candidate
        if (reason := self._history.refused.get(key)) is not None:
            return replace(candidate, error=reason)
        error = await self._errors.get(key, lambda: self._ask(key, request, reference))
        return candidate if error is None else replace(candidate, error=error)

    def matrix(self, proposed: Sequence[Proposed]) -> Scores:
        """Shape (M, N) of the N new images, in their order."""
        new = new_images(proposed, self._history.column_of_image.keys())
        columns = [self._scores[str(candidate.image)] for candidate, _ in new]
        return np.stack(columns, 1) if columns else np.empty((len(self._history.cohort), 0), np.float32)

    async def _ask(self, key: str, request: RenderRequest, reference: Any) -> str | None:
        cohort = self._history.cohort
        try:
            scores = await self._scoring.scores(cohort, cohort.trajectories, request, reference)
        except CallRefusedError as error:
            return str(error)
        if np.isnan(scores).all():
            return "its scores are not numbers"
        self._scores[key] = scores
        return None


class Evaluation:
    """Evaluates the candidates of one run. Used from one event loop."""

    def __init__(
        self,
        settings: SearchSettings,
        renders: RenderCache,
        scoring: ScoringService,
        waits: WaitAccounting,
        *,
        previews: bool,
    ) -> None:
        self._settings = settings
        self._renders = renders
        self._scoring = scoring
        self._waits = waits
        self._previews = previews

    def scores_of_round(self, history: History) -> RoundScores:
        """Where the scores of the next round are gathered."""
        return RoundScores(self._scoring, history)

    async def of_base(self, history: History, scores: RoundScores) -> Proposed:
        """The base prompt's image, for everybody."""
        cohort = history.cohort
        base = await self._render(cohort, Candidate(prompt=cohort.base_prompt), scores)
        return Proposed(users=cohort.users, candidates=(base,), shared=True)

    async def of_proposals(self, history: History, proposed: Proposed, scores: RoundScores) -> Proposed:
        """The proposals of one round, evaluated, in their order."""
        cohort, candidates = history.cohort, proposed.candidates
        eligible = sum(candidate.rejected is None for candidate in candidates)
        keep, user = self._settings.previews, proposed.users[0]
        if not self._previews or keep is None or eligible <= keep or not previews_help(history, user, self._settings):
            done = await asyncio.gather(*(self._render(cohort, candidate, scores) for candidate in candidates))
            return replace(proposed, candidates=tuple(done))
        trajectory = cohort.trajectories[cohort.row_of_user[user]]
        begun = await asyncio.gather(*(self._preview(cohort, trajectory, candidate) for candidate in candidates))
        first = history.searched == 1
        ranked = best_previews([candidate for candidate, _ in begun], eligible if first else keep)
        pairs = zip(ranked, (preview for _, preview in begun), strict=True)
        done = await asyncio.gather(*(self._render(cohort, candidate, scores, preview) for candidate, preview in pairs))
        return replace(proposed, candidates=tuple(done))

    async def verdicts(self, history: History, proposed: Sequence[Proposed], scores: Scores) -> dict[str, GuardVerdict]:
        """The guards' verdicts on a round: everybody's best candidate, if it is a new best, has passed them.

        Of the base prompt, only what it measures: the others are compared with that.
        """
        if not self._settings.guards.measures_images:
            return {}
        cohort = history.cohort
        prompts = {str(c.image): c.prompt for c, _ in new_images(proposed, history.column_of_image.keys())}
        keys, found = list(prompts), dict[str, GuardVerdict]()
        base = history.verdicts[history.images[0].key] if history.images else None
        while True:
            eligible = history.eligible(scores, keys, found)
            if not eligible.size:
                return found
            first = eligible.argmax(1)
            better = eligible[np.arange(len(first)), first] > history.best_scores
            unsure = [key for place, key in enumerate(keys) if place in first[better] and key not in found]
            if not unsure:
                return found
            made = await asyncio.gather(*(self.verdict(cohort, prompts[key], base) for key in unsure))
            found |= zip(unsure, made, strict=True)

    async def verdict(self, cohort: Cohort, prompt: str, base: GuardVerdict | None) -> GuardVerdict:
        """The guards' verdict on the image of one prompt; without `base`, the base image's, only what they measure."""
        try:
            with self._waits.during("scores"):
                measured = await self._scoring.measurements(cohort, prompt)
        except CallRefusedError as error:
            return GuardVerdict(error=f"it could not be guarded: {error}")
        return (
            GuardVerdict(measured=measured)
            if base is None
            else guard_verdict(measured, base.measured, self._settings.guards)
        )

    async def metadata(self, cohort: Cohort) -> Mapping[str, str]:
        """By which the images of a cohort are scored; errors as `taste_features`."""
        return await self._scoring.metadata(cohort, cohort.scorer)

    async def taste_features(self, cohort: Cohort, prompt: str) -> TasteFeatures:
        """What the predictor sees of the image of one prompt, whoever looks at it.

        Raises
        ------
        CallRefusedError
            It cannot be rendered or encoded.
        """
        return await self._scoring.taste_features(cohort, RenderRequest(prompt=prompt, seed=cohort.image_seed))

    async def with_fresh_seeds(self, history: History, users: Sequence[str]) -> dict[str, Reseeded]:
        """For each user the winner and the base prompt, rendered and scored with each of some fresh seeds.

        An image is scored in one call for all users who need it: the base prompt's for everybody, a winner's for those
        whom it won with. What is refused is recorded with its reason.
        """
        cohort = history.cohort
        seeds = fresh_seeds(cohort.image_seed, self._settings.guards.reseeds)
        winners = {user: history.images[history.best[cohort.row_of_user[user]]].prompt for user in users}
        who = {cohort.base_prompt: list(users)}
        for user, won in winners.items():  # none is the base prompt: `next_step` names no user whose winner is
            who.setdefault(won, []).append(user)
        wanted = [(prompt, seed) for prompt in who for seed in seeds]
        made = await asyncio.gather(*(self._fresh(cohort, who[prompt], prompt, seed) for prompt, seed in wanted))
        found = dict(zip(wanted, made, strict=True))

        def of(user: str, prompt: str) -> tuple[FreshImage, ...]:
            return tuple(found[prompt, seed][user] for seed in seeds)

        return {
            user: self._judged(
                Reseeded(prompt=won, seeds=tuple(seeds), initial=of(user, cohort.base_prompt), final=of(user, won))
            )
            for user, won in winners.items()
        }

    def _judged(self, again: Reseeded) -> Reseeded:
        """With what the guard says of it: nothing, where there is no seed with which both have a score."""
        guards = self._settings.guards
        before, after = again.means
        if math.isnan(before):
            return again
        if (notice := reseed_notice(before, after, guards)) is None:
            return again
        return replace(again, rejected=notice) if guards.reseed == "reject" else replace(again, warnings=(notice,))

    async def _fresh(self, cohort: Cohort, users: Sequence[str], prompt: str, seed: int) -> dict[str, FreshImage]:
        """The image of a prompt and a seed, with the score that each of the users gives it."""
        request = RenderRequest(prompt=prompt, seed=seed)
        trajectories = [cohort.trajectories[cohort.row_of_user[user]] for user in users]
        try:
            with self._waits.during("renders"):
                reference = await self._renders.image(request)
            scores = await self._scoring.scores(cohort, trajectories, request, reference)
        except CallRefusedError as error:
            return dict.fromkeys(users, FreshImage(error=str(error)))
        self._renders.made.shown += len(users)
        key = self._renders.key(request)
        return {
            user: FreshImage(image=key, score=float(score))
            if math.isfinite(score)
            else FreshImage(image=key, error="its score is not a number")
            for user, score in zip(users, scores, strict=True)
        }

    async def _render(
        self, cohort: Cohort, candidate: Candidate, scores: RoundScores, preview: Any = None
    ) -> Candidate:
        """A candidate with an image that has scores, or with the error. What is rejected stays as it is."""
        if candidate.rejected is not None or candidate.error is not None:
            return candidate
        request = RenderRequest(prompt=candidate.prompt, seed=cohort.image_seed)
        try:
            with self._waits.during("renders"):
                rendering = self._renders.image(request) if preview is None else self._renders.finish(request, preview)
                reference = await rendering
        except CallRefusedError as error:
            return replace(candidate, error=str(error))
        self._renders.made.shown += 1
        return await scores.of(replace(candidate, image=self._renders.key(request)), request, reference)

    async def _preview(self, cohort: Cohort, trajectory: Trajectory, candidate: Candidate) -> tuple[Candidate, Any]:
        """A candidate with its preview's score for one user, and a reference to the preview."""
        if candidate.rejected is not None:
            return candidate, None
        request = RenderRequest(prompt=candidate.prompt, seed=cohort.image_seed)
        try:
            with self._waits.during("renders"):
                preview = await self._renders.preview(request)
            (score,) = await self._scoring.scores(cohort, [trajectory], request, preview, preview=True)
        except CallRefusedError as error:
            return replace(candidate, error=str(error)), None
        if not math.isfinite(score):
            return replace(candidate, error="the preview's score is not a number"), None
        key = self._renders.preview_key(request)
        return replace(candidate, preview=key, preview_score=float(score)), preview
