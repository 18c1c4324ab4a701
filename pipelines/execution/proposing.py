"""From the best prompt so far to the prompts that are worth drawing.

    ask, up to `MAX_PROPOSAL_ATTEMPTS` times  -> admit: new ones only  -> subject guard  -> screen  -> drawn

Every proposal that was admitted is recorded, in the order in which it was made: what is not drawn says why. A first
round that is shared is asked for once a prompt and run, under no score, for it has to suit everybody.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actors.messages import ProposalRequest, Proposals
from actors.pool.actor_pool import ActorPool
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.replay import FirstRound
from pipelines.search.guards import lost_subject, missing_words, noticed
from pipelines.search.screening import LEAST_SCORED, screen
from pipelines.search.steps import Propose, admit
from pipelines.search.trajectory import Candidate, History, Trajectory, proposal_seed, shared_proposal_seed
from pipelines.settings.search import SearchSettings

MAX_PROPOSAL_ATTEMPTS = 3
"""How often the proposer is asked in one iteration before it goes on with too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """The proposals of one round, the seeds that they were asked for with, and what was refused before it was one."""

    candidates: list[Candidate]
    """Those with `rejected` are not drawn."""
    seeds: tuple[int, ...]
    refused: Mapping[str, int]


class Proposing:
    """Asks the proposer, and sifts what it answers. Used from one event loop."""

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
        self._first: dict[tuple[str, int], asyncio.Task[Variations]] = {}
        self._recorded = first_rounds

    async def variations(self, trajectory: Trajectory, step: Propose, history: History) -> Variations:
        """What is tried in one round of a trajectory.

        Raises
        ------
        CallFailedError, PoolBrokenError
            As `ActorPool.call`, of the proposer.
        """
        if step.number == 1 and self._protocol.shares_first_round:
            asked = await self._shared(trajectory)
        else:
            asked = await self._ask(
                trajectory, step.context.prompt, step.context.score, lambda n: proposal_seed(trajectory, step.number, n)
            )
        return replace(asked, candidates=await self._screened(asked.candidates, history))

    async def _shared(self, trajectory: Trajectory) -> Variations:
        key = (trajectory.prompt_id, trajectory.run)
        if (known := self._recorded.get(key)) is not None:
            guarded = [await self._guarded(trajectory, prompt) for prompt in known.prompts]
            return Variations(candidates=guarded, seeds=known.seeds, refused=known.refused)
        task = self._first.get(key)
        if task is None:
            asking = self._ask(trajectory, trajectory.base_prompt, None, lambda n: shared_proposal_seed(trajectory, n))
            task = self._first[key] = asyncio.create_task(asking)
        return await asyncio.shield(task)

    async def _ask(
        self, trajectory: Trajectory, context: str, score: float | None, seed: Callable[[int], int]
    ) -> Variations:
        """Ask until there are enough new prompts that keep the subject, or `MAX_PROPOSAL_ATTEMPTS` times."""
        asked: list[Candidate] = []
        seeds: list[int] = []
        refused: dict[str, int] = {}
        while (room := self._room(asked)) > 0 and len(seeds) < MAX_PROPOSAL_ATTEMPTS:
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
            admitted, dropped = admit(proposals.prompts, [context, *(c.prompt for c in asked)], room)
            asked += [await self._guarded(trajectory, prompt) for prompt in admitted]
            for reasons in (proposals.refused, dropped):
                for reason, count in reasons.items():
                    refused[reason] = refused.get(reason, 0) + count
        return Variations(candidates=asked, seeds=tuple(seeds), refused=refused)

    def _room(self, asked: Sequence[Candidate]) -> int:
        return self._protocol.candidates - sum(candidate.rejected is None for candidate in asked)

    async def _guarded(self, trajectory: Trajectory, prompt: str) -> Candidate:
        candidate, guards = Candidate(prompt=prompt), self._protocol.guards
        if guards.subject == "off" or not missing_words(trajectory.base_prompt, prompt):
            return candidate
        base, rewritten = await self._embedded([trajectory.base_prompt, prompt])
        notice = lost_subject(trajectory.base_prompt, prompt, float(base @ rewritten), guards)
        return candidate if notice is None else noticed(candidate, guards.subject, notice)

    async def _screened(self, asked: list[Candidate], history: History) -> list[Candidate]:
        """Those that the screen does not draw, rejected; all are drawn where there is too little to rank by."""
        keep = self._protocol.screen
        scored = [c for iteration in history for c in iteration.scored]
        places = [place for place, candidate in enumerate(asked) if candidate.rejected is None]
        if keep is None or len(places) <= keep or len(scored) < LEAST_SCORED:
            return asked
        proposals = await self._embedded([asked[place].prompt for place in places])
        tried = await self._embedded([candidate.prompt for candidate in scored])
        scores = np.array([candidate.score for candidate in scored], np.float64)
        screened = await asyncio.to_thread(screen, proposals, tried, scores, keep=keep, novelty=self._protocol.novelty)
        reasons = {places[place]: reason for place, reason in screened.rejected.items()}
        return [replace(c, rejected=reasons[place]) if place in reasons else c for place, c in enumerate(asked)]

    async def _embedded(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(prompts), d)."""
        assert self._embeddings is not None
        with self._waits.during("proposals"):
            return await self._embeddings.of(prompts)
