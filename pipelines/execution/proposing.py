"""From the best prompt so far to the prompts that are worth rendering.

    propose, at most `MAX_PROPOSAL_ATTEMPTS` times  -> admit: new ones only  -> subject guard  -> screen  -> rendered

Every admitted proposal is recorded, in the order in which it was made; one that is not rendered says why. A shared
first round is proposed once a prompt and run, without a score, because it has to suit all its users.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actors.messages import ProposalRequest, Proposals
from actors.pool.actor_pool import ActorPool
from actors.pool.single_flight import SingleFlightCache
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.replay import FirstRound
from pipelines.search.guards import missing_words, subject_notice, with_notice
from pipelines.search.screening import LEAST_SCORED, screen
from pipelines.search.state_machine import Propose, admit
from pipelines.search.trajectory import Candidate, History, Trajectory, proposal_seed, shared_proposal_seed
from pipelines.settings.search import SearchSettings

MAX_PROPOSAL_ATTEMPTS = 3
"""Calls of the proposer in one iteration, after which the search goes on with too few proposals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """The proposals of one round, the seed of each attempt, and how many proposals were dropped, by reason."""

    candidates: list[Candidate]
    """Those with `rejected` are not rendered."""
    seeds: tuple[int, ...]
    refused: Mapping[str, int]


class Proposing:
    """Calls the proposer, and filters its proposals. Used from one event loop."""

    def __init__(
        self,
        protocol: SearchSettings,
        proposer: ActorPool,
        embeddings: TextEmbeddings | None,
        waits: WaitAccounting,
        first_rounds: Mapping[tuple[str, int], FirstRound],
    ) -> None:
        self._protocol = protocol
        self._proposer = proposer
        self._embeddings = embeddings
        self._waits = waits
        self._first_rounds = SingleFlightCache[tuple[str, int], Variations](capacity=None)
        self._recorded = first_rounds

    async def variations(self, trajectory: Trajectory, step: Propose, history: History) -> Variations:
        """The proposals of one round of a trajectory.

        Raises
        ------
        CallFailedError, PoolBrokenError
            As `ActorPool.call`, of the proposer.
        """
        if step.number == 1 and self._protocol.shares_first_round:
            found = await self._shared(trajectory)
        else:
            found = await self._propose(
                trajectory, step.context.prompt, step.context.score, lambda n: proposal_seed(trajectory, step.number, n)
            )
        return replace(found, candidates=await self._screened(found.candidates, history))

    async def _shared(self, trajectory: Trajectory) -> Variations:
        key = (trajectory.prompt_id, trajectory.run)
        if (known := self._recorded.get(key)) is not None:
            guarded = [await self._guarded(trajectory, prompt) for prompt in known.prompts]
            return Variations(candidates=guarded, seeds=known.seeds, refused=known.refused)
        return await self._first_rounds.get(
            key,
            lambda: self._propose(
                trajectory, trajectory.base_prompt, None, lambda n: shared_proposal_seed(trajectory, n)
            ),
        )

    async def _propose(
        self, trajectory: Trajectory, context: str, score: float | None, seed: Callable[[int], int]
    ) -> Variations:
        """Propose until there are enough new prompts that keep the subject, or `MAX_PROPOSAL_ATTEMPTS` times."""
        found: list[Candidate] = []
        seeds: list[int] = []
        refused: dict[str, int] = {}
        while (room := self._room(found)) > 0 and len(seeds) < MAX_PROPOSAL_ATTEMPTS:
            request = ProposalRequest(
                base_prompt=trajectory.base_prompt,
                best_prompt=context,
                best_score=score,
                count=room,
                seed=seed(len(seeds)),
            )
            seeds.append(request.seed)
            with self._waits.during("proposals"):
                _, proposals = await self._proposer.call("propose", request)
            assert isinstance(proposals, Proposals)
            admitted, dropped = admit(proposals.prompts, [context, *(c.prompt for c in found)], room)
            found += [await self._guarded(trajectory, prompt) for prompt in admitted]
            for reasons in (proposals.refused, dropped):
                for reason, count in reasons.items():
                    refused[reason] = refused.get(reason, 0) + count
        return Variations(candidates=found, seeds=tuple(seeds), refused=refused)

    def _room(self, found: Sequence[Candidate]) -> int:
        return self._protocol.candidates - sum(candidate.rejected is None for candidate in found)

    async def _guarded(self, trajectory: Trajectory, prompt: str) -> Candidate:
        candidate, guards = Candidate(prompt=prompt), self._protocol.guards
        if guards.subject == "off" or not missing_words(trajectory.base_prompt, prompt):
            return candidate
        base, rewritten = await self._embedded([trajectory.base_prompt, prompt])
        notice = subject_notice(trajectory.base_prompt, prompt, float(base @ rewritten), guards)
        return candidate if notice is None else with_notice(candidate, guards.subject, notice)

    async def _screened(self, proposed: list[Candidate], history: History) -> list[Candidate]:
        """The proposals, those outside the screen rejected; none is where there are too few scores to rank by."""
        keep = self._protocol.screen
        scored = [c for iteration in history for c in iteration.scored]
        places = [place for place, candidate in enumerate(proposed) if candidate.rejected is None]
        if keep is None or len(places) <= keep or len(scored) < LEAST_SCORED:
            return proposed
        proposals = await self._embedded([proposed[place].prompt for place in places])
        evaluated = await self._embedded([candidate.prompt for candidate in scored])
        scores = np.array([candidate.score for candidate in scored], np.float64)
        screened = await asyncio.to_thread(
            screen, proposals, evaluated, scores, keep=keep, novelty=self._protocol.novelty
        )
        notices = {places[place]: notice for place, notice in screened.rejected.items()}
        return [replace(c, rejected=notices.get(place, c.rejected)) for place, c in enumerate(proposed)]

    async def _embedded(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(prompts), d)."""
        assert self._embeddings is not None
        with self._waits.during("proposals"):
            return await self._embeddings.of(prompts)
