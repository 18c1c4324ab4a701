"""From the best prompt so far to the prompts that are worth rendering.

    propose, at most `MAX_PROPOSAL_ATTEMPTS` times  -> admit: new ones only  -> subject guard  -> screen  -> rendered

Every admitted proposal is recorded, in the order in which it was made; one that is not rendered says why. A shared
first round is proposed once per prompt and run, without a score, because it has to suit all its users.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.messages import ProposalRequest, Proposals
from actors.pool.actor_pool import ActorPool, CallRefusedError
from actors.pool.single_flight import SingleFlightCache
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.search.cohort import Cohort
from pipelines.search.guards import missing_words, subject_notice, with_notice
from pipelines.search.history import History
from pipelines.search.rounds import Candidate, Proposed
from pipelines.search.screening import LEAST_SCORED, FittedScreen
from pipelines.search.state_machine import Propose, admit
from pipelines.search.trajectory import Trajectory, proposal_seed, shared_proposal_seed
from pipelines.settings.search import SearchSettings
from predictor.threads import one_blas_thread

MAX_PROPOSAL_ATTEMPTS = 3
"""Calls of the proposer in one iteration, after which the search goes on with too few proposals."""


class RoundScreen:
    """The screen of one round of a cohort: fitted once, when the first user's proposals need it."""

    def __init__(self, history: History, settings: SearchSettings) -> None:
        self._history = history
        self._settings = settings
        self._fitted = SingleFlightCache[str, FittedScreen](capacity=None)
        """By cohort, of which there is one."""

    async def of(self, user: str, proposed: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """A user's proposals, those outside the screen rejected; none is where there are too few scores to rank by."""
        keep, history = self._settings.screen, self._history
        places = [place for place, candidate in enumerate(proposed) if candidate.rejected is None]
        if keep is None or len(places) <= keep or len(history.images) < LEAST_SCORED:
            return tuple(proposed)
        fitted = await self._fitted.get(history.cohort.id, self._fit)
        prompts, row = [proposed[place].prompt for place in places], history.cohort.row_of_user[user]
        with one_blas_thread:
            screened = await asyncio.to_thread(fitted.screen, prompts, row, keep=keep, novelty=self._settings.novelty)
        notices = {places[place]: notice for place, notice in screened.rejected.items()}
        return tuple(replace(c, rejected=notices.get(place, c.rejected)) for place, c in enumerate(proposed))

    async def _fit(self) -> FittedScreen:
        evaluated = [image.prompt for image in self._history.images]
        with one_blas_thread:
            return await asyncio.to_thread(FittedScreen, evaluated, self._history.scores)


class Proposing:
    """Calls the proposer, and filters its proposals. Used from one event loop."""

    def __init__(
        self,
        settings: SearchSettings,
        proposer: ActorPool,
        embeddings: TextEmbeddings | None,
        waits: WaitAccounting,
        first_rounds: Mapping[tuple[str, int], Proposed],
    ) -> None:
        """`first_rounds`: shared first rounds that are recorded already, by prompt id and run."""
        self._settings = settings
        self._proposer = proposer
        self._embeddings = embeddings
        self._waits = waits
        self._first_rounds = SingleFlightCache[tuple[str, int], Proposed](capacity=None)
        self._recorded = first_rounds

    def shares(self, step: Propose) -> bool:
        """Whether all users of a prompt have the same proposals in this round."""
        return step.number == 1 and self._settings.shares_first_round

    def screen_of_round(self, history: History) -> RoundScreen:
        """The screen of the next round."""
        return RoundScreen(history, self._settings)

    async def shared(self, cohort: Cohort) -> Proposed:
        """The first proposals for a prompt, which all its users and scorers share in one run.

        Raises
        ------
        PoolBrokenError
            As `ActorPool.call`, of the proposer.
        """
        key, first = (cohort.prompt_id, cohort.run), cohort.trajectories[0]
        if (known := self._recorded.get(key)) is not None:
            guarded = await self._guarded(cohort.base_prompt, [candidate.prompt for candidate in known.candidates])
            return replace(known, users=cohort.users, candidates=tuple(guarded), shared=True)
        found = await self._first_rounds.get(
            key,
            lambda: self._propose(
                cohort.users, cohort.base_prompt, cohort.base_prompt, None, lambda n: shared_proposal_seed(first, n)
            ),
        )
        return replace(found, users=cohort.users, shared=True)

    async def variations(self, history: History, user: str, number: int, screen_of_round: RoundScreen) -> Proposed:
        """The proposals of one round for one user; errors as `shared`."""
        cohort = history.cohort
        row = cohort.row_of_user[user]
        best = history.images[history.best[row]]
        trajectory: Trajectory = cohort.trajectories[row]
        found = await self._propose(
            (user,),
            cohort.base_prompt,
            best.prompt,
            float(history.best_scores[row]),
            lambda n: proposal_seed(trajectory, number, n),
        )
        with self._waits.during("proposals"):
            return replace(found, candidates=await screen_of_round.of(user, found.candidates))

    async def _propose(
        self, users: tuple[str, ...], base_prompt: str, context: str, score: float | None, seed: Callable[[int], int]
    ) -> Proposed:
        """Propose until there are enough new prompts that keep the subject, or `MAX_PROPOSAL_ATTEMPTS` times."""
        found: list[Candidate] = []
        seeds: list[int] = []
        refused: dict[str, int] = {}
        while (room := self._room(found)) > 0 and len(seeds) < MAX_PROPOSAL_ATTEMPTS:
            request = ProposalRequest(
                base_prompt=base_prompt, best_prompt=context, best_score=score, count=room, seed=seed(len(seeds))
            )
            seeds.append(request.seed)
            try:
                with self._waits.during("proposals"):
                    _, proposals = await self._proposer.call("propose", request)
            except CallRefusedError as error:
                refused[str(error)] = refused.get(str(error), 0) + room
                continue
            assert isinstance(proposals, Proposals)
            admitted, dropped = admit(proposals.prompts, [context, *(c.prompt for c in found)], room)
            found += await self._guarded(base_prompt, admitted)
            for reasons in (proposals.refused, dropped):
                for reason, count in reasons.items():
                    refused[reason] = refused.get(reason, 0) + count
        return Proposed(users=users, candidates=tuple(found), seeds=tuple(seeds), refused=refused)

    def _room(self, found: Sequence[Candidate]) -> int:
        return self._settings.candidates - sum(candidate.rejected is None for candidate in found)

    async def _guarded(self, base_prompt: str, prompts: Sequence[str]) -> list[Candidate]:
        """Proposals, those warned or rejected that lack key words and are not similar to the base prompt."""
        guards = self._settings.guards
        candidates = [Candidate(prompt=prompt) for prompt in prompts]
        if guards.subject == "off":
            return candidates
        lacking = [place for place, prompt in enumerate(prompts) if missing_words(base_prompt, prompt)]
        if not lacking:
            return candidates
        base, *rewritten = await self._embedded([base_prompt, *(prompts[place] for place in lacking)])
        for place, vector in zip(lacking, rewritten, strict=True):
            notice = subject_notice(base_prompt, prompts[place], float(base @ vector), guards)
            if notice is not None:
                candidates[place] = with_notice(candidates[place], guards.subject, notice)
        return candidates

    async def _embedded(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(prompts), d)."""
        assert self._embeddings is not None
        with self._waits.during("proposals"):
            return await self._embeddings.of(prompts)
