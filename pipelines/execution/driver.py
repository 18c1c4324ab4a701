"""The driver: one event loop that steers many trajectories at a time and keeps every actor pool busy.

    run       takes the next cohort, in order, while fewer than N are under way
     |
    _steer    round by round, until no member of the cohort has a step left:
     |
     |  next_round(histories)        each member's step: RenderBase, Propose, Reseed or ScorePool
     |       |
     |  Proposing                    of those who propose: proposer pool -> subject guard -> screen
     |       |
     |  Evaluation                   own images rendered and scored -> the others' images scored -> guards
     |       |        |
     |       |      RenderCache      on the disk? else RenderPath -> ImageStore.write (fsync)
     |       |      ScoringService   a reference to the image -> scorer pool
     |       |
     +- Journal.append               the round of all members, in one write (fsync); then their histories

A cohort is the trajectories that search in step: all users of a prompt where they pool their images, otherwise a single
trajectory (`pipelines.search.cohort`).

What each loop waits for, and what unblocks it:

    run             fewer than N cohorts under way    a cohort ends, or N rises with the measured durations
    _steer          the slowest member of its round   the pools answer or fail, each within its time limit
    Proposing       an actor of the proposer pool     `ActorPool.call` returns an answer or an error
    RenderCache     an actor of the renderer pool     `RenderPath.render` returns, whether this trajectory called it
                                                      or another one that wanted the same image first
    ScoringService  an actor of a scorer pool         `ActorPool.call` returns an answer or an error

N is as few as keep the renderers busy (`pipelines.execution.admission`). A history is in memory only while its cohort
is under way, so memory grows with N, not with the length of the run. Where scoring or the disk is slower than the
renderers, the cohorts under way wait for it, no others begin, and the renderers become idle. Cohorts begin in the order
of the plan, and calls are served in the order in which they are made.

What fails:

    a candidate   is recorded with its error; the search goes on without it
    a trajectory  whose base prompt or proposer fails is listed as failed, and `--resume` tries it again; the rest of
                  its cohort goes on without it
    an actor      is replaced by its pool; what was lost with it is made again (`LOSSES` times in a row at most)
    the run       ends where a pool has no actor left, or the disk is full

Invariant: a round is in the journal only after all its images are on the disk, and in the histories only after it is in
the journal. The driver is the only writer of the run folder.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from actors.pool.actor_pool import ActorPool, CallFailedError
from actors.pool.render_path import RenderPath
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.admission import in_flight
from pipelines.execution.costs import ImageCounts
from pipelines.execution.evaluation import Evaluation
from pipelines.execution.proposing import Proposing
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.scoring import ScoringService
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.records.replay import FirstRound
from pipelines.search.cohort import Cohort, cohorts, next_round, pool_for
from pipelines.search.state_machine import BasePromptFailedError, Propose, RenderBase, Reseed, ScorePool, Step
from pipelines.search.trajectory import Candidate, Iteration, Trajectory
from pipelines.settings.search import SearchSettings

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """What the driver tells of a run while it goes on; the progress display is one."""

    def begun(self, trajectory: Trajectory) -> None: ...
    def rendered(self) -> None: ...
    def finished(self, trajectory: Trajectory, history: Sequence[Iteration]) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None: ...


class Driver:
    """Steers trajectories; the module's docstring is its design."""

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
        similarity_scorer: ActorPool | None = None,
        described: Mapping[str, Mapping[str, str]] = {},
        on_description: Callable[[str, Mapping[str, str]], None] = lambda prompt_id, metadata: None,
        first_rounds: Mapping[tuple[str, int], FirstRound] = {},
    ) -> None:
        """
        Parameters
        ----------
        scorers
            By name, the held-out one included.
        preview_identity
            None: the renderer has no previews.
        feature_extractor, describer, similarity_scorer, described, on_description
            See `ScoringService`; None where nothing in the protocol needs it.
        first_rounds
            By prompt id and run, the shared first rounds that are recorded already.
        """
        self._protocol = protocol
        self._renderer = renderer
        self._proposer = proposer
        self._journal = journal
        self._journal_turn = asyncio.Lock()
        self._observer = observer
        others = [proposer, *scorers.values(), *([feature_extractor] if feature_extractor else [])]
        self._waits = WaitAccounting({pool.role.name: pool.accounting for pool in (*renderer.pools, *others)})
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
            similarity_scorer=similarity_scorer,
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
        """Trajectory id -> the error that it failed with."""

    @property
    def images_made(self) -> ImageCounts:
        """How many images were rendered so far."""
        return self._renders.made

    async def run(self, trajectories: Sequence[Trajectory], histories: dict[str, list[Iteration]]) -> None:
        """Bring every trajectory to its end.

        Parameters
        ----------
        histories
            What is recorded of each trajectory, by its id. Entries are removed as their cohorts begin.

        Raises
        ------
        PoolBrokenError
            A pool has no actor left, and none comes up.
        OSError
            The disk is full or broken.
        """
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
            raise _first_error(errors) from None

    def _most_under_way(self, members: int) -> int:
        renderers, proposers = self._renderer.renderers, self._proposer.role
        protocol = self._protocol
        rendered = min(protocol.screen or protocol.candidates, protocol.candidates)
        return in_flight(
            candidates=members * rendered,
            renderers=renderers.role.actors,
            places=renderers.role.actors * renderers.role.in_flight,
            proposals=proposers.actors * proposers.in_flight,
            proposal_s=self._proposer.accounting.recent_call_s,
            render_s=renderers.accounting.recent_call_s,
        )

    async def _bring_to_its_end(self, cohort: Cohort, histories: dict[str, list[Iteration]]) -> None:
        for member in cohort:
            self._observer.begun(member)
            logger.info("trajectory %s: begun, %d rounds recorded before", member.id, len(histories[member.id]))
        try:
            await self._steer(cohort, histories)
        finally:
            self._under_way -= 1
            self._room.set()
        for member in cohort:
            if member.id not in self.failures:
                self._observer.finished(member, histories[member.id])
                logger.info("trajectory %s: finished, %d rounds recorded", member.id, len(histories[member.id]))

    async def _steer(self, cohort: Cohort, histories: dict[str, list[Iteration]]) -> None:
        """Round by round, without the members that have failed."""
        while steps := next_round([m for m in cohort if m.id not in self.failures], histories, self._protocol):
            taking_part = [member for member in cohort if member.id in steps]
            own = await asyncio.gather(*(self._own_part(m, steps[m.id], histories[m.id]) for m in taking_part))
            done = {m.id: iteration for m, iteration in zip(taking_part, own, strict=True) if iteration is not None}
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
            self._room.set()  # with the durations measured meanwhile, another cohort may begin
            entries = [(m.id, iteration) for m, iteration in zip(going_on, finished, strict=True)]
            if not entries:
                continue
            with self._waits.during("disk"):
                async with self._journal_turn:
                    await asyncio.to_thread(self._journal.append, *entries)
            for name, iteration in entries:
                histories[name].append(iteration)

    async def _own_part(self, member: Trajectory, step: Step, history: Sequence[Iteration]) -> Iteration | None:
        """One member's own part of a round; None where it has failed."""
        try:
            iteration = await self._iterate(member, step, history)
            if iteration.number == 0 and iteration.candidates[0].score is None:
                # Not recorded, so that --resume tries again.
                raise BasePromptFailedError(iteration.candidates[0].error)
        except (CallFailedError, BasePromptFailedError) as error:
            self.failures[member.id] = str(error)
            self._observer.failed(member, str(error))
            logger.exception("trajectory %s: failed in iteration %d", member.id, len(history))
            return None
        return iteration

    async def _iterate(self, member: Trajectory, step: Step, history: Sequence[Iteration]) -> Iteration:
        match step:
            case RenderBase():
                base = await self._evaluation.base(member)
                return Iteration(number=0, candidates=(base,))
            case Propose():
                found = await self._proposing.variations(member, step, history)
                candidates = await self._evaluation.all_of(member, found.candidates, history)
                return Iteration(
                    number=step.number, candidates=tuple(candidates), seeds=found.seeds, refused=found.refused
                )
            case ScorePool():
                return Iteration(number=step.number, candidates=())
            case Reseed():
                reseeded = await self._evaluation.with_fresh_seeds(member, step.winner)
                return Iteration(number=step.number, candidates=(), reseeded=reseeded)
            case _:
                raise AssertionError(step)

    async def _pool(
        self, members: Sequence[Trajectory], done: Mapping[str, Iteration], rounds: Mapping[str, Iteration]
    ) -> Mapping[str, Sequence[Candidate]]:
        """The images that the others rendered in a round, scored for each member; none where images are not pooled."""
        if self._protocol.share != "pool":
            return {member.id: () for member in members}
        pool = {member.id: list(pool_for(member, done[member.id], rounds)) for member in members}
        return await self._evaluation.score_pool(pool, {member.id: member for member in members})


def _first_error(errors: BaseExceptionGroup) -> BaseException:
    """The error that came first; the others follow from it."""
    first = errors.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first
