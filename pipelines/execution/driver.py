"""The driver: one event loop that steers many trajectories at once and keeps every pool busy.

    run  --- next cohort, in order, while fewer than N are under way --->  _steer(cohort)
                                                        |
        +-----------------------------------------------+
        |   next_round(histories): a step for each member that takes part
        v                                               ^ append to journal (one write, fsync), then to the histories
    RenderBase / Propose / Watch / Reseed               |
        |                                               |
        |  Proposing: proposer pool, subject guard,     |
        |  screen                                       |
        v                                               |
    Evaluation: previews, images, scores -- all members --> the others' images are scored for each
        RenderCache: on disk? else render path -> image store (fsync)
        ScoringService: reference to the rendering -> scorer pool; guards look at each that would be the best

A cohort is one trajectory, or, where images are pooled, all users of a prompt (`search.cohort`). What each loop
waits for, and what unblocks it:

    run         fewer than N under way               -- one ends, or N rises with what was measured
    _steer      its round's slowest member           -- pools answer, or fail within their time limits
    Proposing   an actor of the proposer pool        -- ActorPool.call: an answer, an error, a time-out
    RenderCache the render path, or another          -- RenderPath.render; or the first trajectory that
                trajectory's same render                asked for the same key
    ScoringService an actor of a scorer pool         -- ActorPool.call; of the image alone: once for all

N is as few as keep the renderers busy (`admission`). Histories are in memory while their cohort is steered,
so that memory is bounded by N cohorts and N x T candidates a member, however long the run; where scoring or the disk
lags, cohorts wait for it, no others are begun, and so the renderers wait too. Cohorts begin prompt by prompt and
user by user, and calls are served as they come: nobody is ahead of anybody by more than N cohorts.

The driver is the only writer of the run folder. A candidate that fails is recorded with its error; a trajectory whose
base prompt fails, or whose proposer does, is listed as failed and tried again by `--resume`, and its cohort goes on
without it. A rendering that was lost with its node is taken from the disk again, and an embedding made again, so that a
node that dies costs no candidate: it takes three in a row under the same call. A pool that is broken or a disk that is
full ends the run.

Invariant: a round is in the journal only after all its images are on the disk, and in the histories
only after it is in the journal.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from actors.pool.actor_pool import ActorPool, CallFailedError
from actors.pool.render_path import RenderPath
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.admission import in_flight
from pipelines.execution.costs import Images
from pipelines.execution.evaluation import Evaluation
from pipelines.execution.proposing import Proposing
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.scoring import ScoringService
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.records.replay import FirstRound
from pipelines.search.cohort import Cohort, cohorts, next_round, others_images
from pipelines.search.steps import BasePromptFailedError, Propose, RenderBase, Reseed, Step, Watch
from pipelines.search.trajectory import Candidate, Iteration, Trajectory
from pipelines.settings.search import SearchSettings


class Observer(Protocol):
    """Whoever watches a run: the progress display."""

    def begun(self, trajectory: Trajectory) -> None: ...
    def rendered(self) -> None: ...
    def finished(self, trajectory: Trajectory, history: Sequence[Iteration]) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None: ...


class Driver:
    """Steers trajectories by their pools; see the module's docstring for the design."""

    def __init__(
        self,
        *,
        protocol: SearchSettings,
        renderer: RenderPath,
        renderer_identity: Mapping[str, Any],
        proposer: ActorPool,
        scorers: Mapping[str, ActorPool],
        images: ImageStore,
        journal: Journal,
        observer: Observer,
        preview_identity: Mapping[str, Any] | None = None,
        feature_extractor: ActorPool | None = None,
        embeddings: TextEmbeddings | None = None,
        describer: ActorPool | None = None,
        beholder: ActorPool | None = None,
        described: Mapping[str, Mapping[str, str]] = {},
        on_description: Callable[[str, Mapping[str, str]], None] = lambda prompt_id, metadata: None,
        first_rounds: Mapping[tuple[str, int], FirstRound] = {},
    ) -> None:
        """
        Parameters
        ----------
        scorers
            The held-out one too, where there is one.
        preview_identity
            None: the renderer has no previews.
        first_rounds
            Shared proposals that are recorded already.
        """
        self._protocol = protocol
        self._renderer = renderer
        self._proposer = proposer
        self._journal = journal
        self._journal_turn = asyncio.Lock()
        self._observer = observer
        others = [proposer, *scorers.values(), *([feature_extractor] if feature_extractor else [])]
        self._waits = WaitAccounting({pool.role.name: pool.ledger for pool in (*renderer.pools, *others)})
        self._renders = RenderCache(
            renderer,
            renderer_identity,
            preview_identity,
            images,
            self._waits,
            rendered=observer.rendered,
            warned=observer.warned,
        )
        scoring = ScoringService(
            self._renders,
            scorers,
            self._waits,
            protocol.guards,
            feature_extractor=feature_extractor,
            describer=describer,
            beholder=beholder,
            described=described,
            on_description=on_description,
        )
        self._evaluation = Evaluation(
            protocol, self._renders, scoring, self._waits, previews=preview_identity is not None
        )
        self._proposing = Proposing(protocol, proposer, embeddings, self._waits, first_rounds)
        self._under_way = 0
        self._room = asyncio.Event()
        self.failures: dict[str, str] = {}
        """Trajectory id -> why it failed."""

    @property
    def images_made(self) -> Images:
        return self._renders.made

    async def run(self, trajectories: Sequence[Trajectory], histories: dict[str, list[Iteration]]) -> None:
        """Bring every trajectory to its end. `histories` holds what is recorded of them; each is taken out of it."""
        try:
            async with asyncio.TaskGroup() as group:
                for cohort in cohorts(trajectories, self._protocol.share):
                    while self._under_way >= self._most_under_way(len(cohort)):
                        self._room.clear()
                        await self._room.wait()
                    self._under_way += 1
                    recorded = {member.id: histories.pop(member.id) for member in cohort}
                    group.create_task(self._bring_to_its_end(cohort, recorded))
                self._waits.all_begun()
        except ExceptionGroup as errors:
            raise _first(errors) from None

    def _most_under_way(self, members: int) -> int:
        renderers, proposers = self._renderer.renderers, self._proposer.role
        protocol = self._protocol
        drawn = min(protocol.screen or protocol.candidates, protocol.candidates)
        return in_flight(
            candidates=members * drawn,
            renderers=renderers.role.actors,
            places=renderers.role.actors * renderers.role.in_flight,
            proposals=proposers.actors * proposers.in_flight,
            proposal_s=self._proposer.ledger.recent_call_s,
            render_s=renderers.ledger.recent_call_s,
        )

    async def _bring_to_its_end(self, cohort: Cohort, histories: dict[str, list[Iteration]]) -> None:
        for member in cohort:
            self._observer.begun(member)
        try:
            await self._steer(cohort, histories)
        finally:
            self._under_way -= 1
            self._room.set()
        for member in cohort:
            if member.id not in self.failures:
                self._observer.finished(member, histories[member.id])

    async def _steer(self, cohort: Cohort, histories: dict[str, list[Iteration]]) -> None:
        """Round by round, without the members that have failed."""
        while steps := next_round([m for m in cohort if m.id not in self.failures], histories, self._protocol):
            taking_part = [member for member in cohort if member.id in steps]
            tried = await asyncio.gather(*(self._try(m, steps[m.id], histories[m.id]) for m in taking_part))
            done = {m.id: iteration for m, iteration in zip(taking_part, tried, strict=True) if iteration is not None}
            number = next((iteration.number for iteration in done.values()), 0)
            rounds = {
                m.user: done[m.id] if m.id in done else histories[m.id][number]
                for m in cohort
                if m.id in done or len(histories[m.id]) > number
            }
            going_on = [m for m in taking_part if m.id in done]
            pool = await self._pool(going_on, done, rounds)
            finished = await asyncio.gather(
                *(self._evaluation.guarded(m, done[m.id], pool[m.id], histories[m.id]) for m in going_on)
            )
            self._room.set()  # what was measured meanwhile may leave room for another
            entries = [(m.id, iteration) for m, iteration in zip(going_on, finished, strict=True)]
            if not entries:
                continue
            with self._waits.during("disk"):
                async with self._journal_turn:
                    await asyncio.to_thread(self._journal.append, *entries)
            for name, iteration in entries:
                histories[name].append(iteration)

    async def _try(self, member: Trajectory, step: Step, history: Sequence[Iteration]) -> Iteration | None:
        """One member's own part of a round; None where it has failed."""
        try:
            iteration = await self._iterate(member, step, history)
            if iteration.number == 0 and iteration.candidates[0].score is None:
                # Not recorded, so that --resume tries again.
                raise BasePromptFailedError(iteration.candidates[0].error)
        except (CallFailedError, BasePromptFailedError) as error:
            self.failures[member.id] = str(error)
            self._observer.failed(member, str(error))
            return None
        return iteration

    async def _iterate(self, member: Trajectory, step: Step, history: Sequence[Iteration]) -> Iteration:
        match step:
            case RenderBase():
                base = await self._evaluation.base(member)
                return Iteration(number=0, candidates=(base,))
            case Propose():
                asked = await self._proposing.variations(member, step, history)
                candidates = await self._evaluation.all_of(member, asked.candidates, history)
                return Iteration(
                    number=step.number, candidates=tuple(candidates), seeds=asked.seeds, refused=asked.refused
                )
            case Watch():
                return Iteration(number=step.number, candidates=())
            case Reseed():
                reseeded = await self._evaluation.with_fresh_seeds(member, step.winner)
                return Iteration(number=step.number, candidates=(), reseeded=reseeded)
            case _:
                raise AssertionError(step)

    async def _pool(
        self, members: Sequence[Trajectory], done: Mapping[str, Iteration], rounds: Mapping[str, Iteration]
    ) -> Mapping[str, Sequence[Candidate]]:
        """The others' images of a round, scored for each member; none where nothing is pooled."""
        if self._protocol.share != "pool":
            return {member.id: () for member in members}
        pool = {member.id: list(others_images(member, done[member.id], rounds)) for member in members}
        return await self._evaluation.score_pool(pool, {member.id: member for member in members})


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error that ended the run; the others are its consequences."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
