"""The driver: one event loop that steers many cohorts at a time and keeps every actor pool busy.

    run       takes the next cohort, in order, while fewer than N are under way
     |
    _steer    round by round, until nobody of the cohort has a step left:
     |
     |  next_step(history)           RenderBase, Propose or Reseed, and for which of the users
     |       |
     |  Proposing                    of each who searches: proposer pool -> subject guard -> screen
     |       |
     |  Evaluation                   each image: rendered -> scored for everybody, in one call; then the guards
     |       |        |
     |       |      RenderCache      on the disk? else RenderPath -> ImageStore.write (fsync)
     |       |      ScoringService   a reference to the image -> scorer pool
     |       |
     +- Journal.append               the whole round, in one line (fsync); then the history

A cohort is the users who search in step: all users of a prompt where they pool their images, otherwise one
(`pipelines.search.cohort`).

What each loop waits for, and what unblocks it:

    run             fewer than N cohorts under way    a cohort ends, or N rises with the measured durations
    _steer          the slowest user of its round     the pools answer or refuse
    Proposing       an actor of the proposer pool     `ActorPool.call` returns an answer or a refusal
    RenderCache     an actor of the renderer pool     `RenderPath.render` returns, whether this cohort called it
                                                      or another one that wanted the same image first
    ScoringService  an actor of a scorer pool         `ActorPool.call` returns an answer or a refusal

A cohort waits for the slowest user of a round because everybody's next proposals go by the scores of all its images;
meanwhile the renderers draw for other cohorts. N is as few as keep them busy (`pipelines.execution.admission`). A
history is in memory only while its cohort is under way, so memory grows with N, not with the length of the run. Where
scoring or the disk is slower than the renderers, the cohorts under way wait for it, no others begin, and the renderers
become idle. Cohorts begin in the order of the plan, and calls are served in the order in which they are made.

What fails:

    a candidate   that is refused is recorded with the reason; the search goes on without it
    a round       in which nothing at all was proposed, or nothing of it could be rendered and scored, is not recorded;
                  its cohort is listed as failed, and `--resume` tries it again
    a call        that is disturbed (a time-out, a busy service, a lost actor or node) is made again by its pool, and
                  its cohort waits for it: what passes leaves no trace in the records
    the run       ends where nothing of a role is answered any more, or the disk is full

Invariant: a round is in the journal only after all its images are on the disk, and in the history only after it is in
the journal. The driver is the only writer of the run folder.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool, CallRefusedError
from actors.pool.render_path import RenderPath
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.admission import max_cohorts_under_way
from pipelines.execution.costs import ImageCounts
from pipelines.execution.evaluation import Evaluation
from pipelines.execution.observer import Observer
from pipelines.execution.proposing import Proposing
from pipelines.execution.render_cache import RenderCache
from pipelines.execution.scoring import ScorerPool, ScoringService
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.search.cohort import Cohort
from pipelines.search.history import NONE, History
from pipelines.search.rounds import Proposed, Refusals, Round
from pipelines.search.state_machine import Propose, RenderBase, Reseed, Step, Stop, StopReason, next_step
from pipelines.settings.search import SearchSettings

logger = logging.getLogger(__name__)


class RoundFailedError(RuntimeError):
    """Nothing of a round could be rendered and scored."""

    def __init__(self, reason: str, failed: Round) -> None:
        super().__init__(reason)
        self.failed = failed


class Driver:
    """Steers trajectories; the module's docstring is its design."""

    def __init__(
        self,
        *,
        settings: SearchSettings,
        renderer: RenderPath,
        renderer_identity: Mapping[str, Any],
        proposer: ActorPool,
        scorers: Mapping[str, ScorerPool],
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
        first_rounds: Mapping[tuple[str, int], Proposed] = {},
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
        self.settings = settings
        self._renderer = renderer
        self._proposer = proposer
        self._journal = journal
        self._journal_turn = asyncio.Lock()
        self._observer = observer
        others = [proposer, *scorers.values(), *([feature_extractor] if feature_extractor else [])]
        self._waits = WaitAccounting({pool.role.name: pool.accounting for pool in (*renderer.pools, *others)})
        self.renders = RenderCache(
            renderer,
            renderer_identity,
            preview_identity,
            images,
            self._waits,
            rendered=observer.rendered,
            warned=observer.warned,
        )
        scoring = ScoringService(
            self.renders,
            scorers,
            self._waits,
            settings.guards,
            feature_extractor=feature_extractor,
            describer=describer,
            similarity_scorer=similarity_scorer,
            described=described,
            on_description=on_description,
        )
        self.evaluation = Evaluation(
            settings, self.renders, scoring, self._waits, previews=preview_identity is not None
        )
        self._first_rounds = first_rounds
        self._proposing = Proposing(settings, proposer, embeddings, self._waits, first_rounds)
        self._under_way: dict[str, int] = {}
        """Of each cohort under way, the users who search in its round."""
        self._room = asyncio.Event()
        self.failures: dict[str, str] = {}
        """Cohort id -> why its last round failed; none of its trajectories goes on."""
        self.refusals = Refusals()
        """What was refused in failed rounds, which no record holds."""

    @property
    def images_made(self) -> ImageCounts:
        """How many images were rendered so far."""
        return self.renders.made

    async def run(self, cohorts: Sequence[Cohort], recorded: dict[str, Sequence[Round]]) -> None:
        """Bring every trajectory to its end.

        Parameters
        ----------
        recorded
            The rounds of each cohort so far, by its id. Entries are removed as their cohorts begin.

        Raises
        ------
        PoolBrokenError
            A pool has no actor left, and none comes up.
        OSError
            The disk is full or broken.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for cohort in cohorts:
                    while len(self._under_way) >= self._max_under_way(cohort):
                        self._room.clear()
                        await self._room.wait()
                    self._under_way[cohort.id] = len(cohort)
                    history = History(cohort, recorded.pop(cohort.id, ()))
                    self._refuse_again(history)
                    group.create_task(self._run_cohort(history))
                self._waits.all_begun()
        except ExceptionGroup as errors:
            raise _first_error(errors) from None

    def _refuse_again(self, history: History) -> None:
        """What was refused before an interruption is not asked for again."""
        if self.settings.previews is not None:  # a record does not say whether the image or its preview was refused
            return
        proposed = [proposed for each in history.rounds for proposed in each.proposed]
        if (shared := self._first_rounds.get((history.cohort.prompt_id, history.cohort.run))) is not None:
            proposed.append(shared)
        for candidate in (candidate for each in proposed for candidate in each.candidates):
            if candidate.image is None and candidate.error is not None:
                request = RenderRequest(prompt=candidate.prompt, seed=history.cohort.image_seed)
                self.renders.refuse(request, candidate.error)

    def _max_under_way(self, following: Cohort) -> int:
        """Counting rounds of the mean size: few of a cohort's users may still search, and give the renderers little."""
        renderers, proposers = self._renderer.renderers, self._proposer.role
        searching = fmean([*self._under_way.values(), len(following)])
        return max_cohorts_under_way(
            candidates=round(self.settings.images_of_round(2, searching)),
            renderers=renderers.role.actors,
            places=renderers.role.actors * renderers.role.in_flight,
            proposals=proposers.actors * proposers.in_flight,
            proposal_s=self._proposer.accounting.recent_call_s,
            render_s=renderers.accounting.recent_call_s,
        )

    async def _run_cohort(self, history: History) -> None:
        cohort = history.cohort
        self._observer.begun(cohort, len(history.rounds))
        logger.info("cohort %s: begun, %d rounds recorded before", cohort.id, len(history.rounds))
        try:
            reasons = await self._steer(history)
        except (RoundFailedError, CallRefusedError) as error:
            logger.exception("cohort %s: failed in round %d", cohort.id, len(history.rounds))
            if isinstance(error, RoundFailedError):
                self.refusals += Refusals.of(error.failed.proposed)
            self.failures[cohort.id] = str(error)
            for trajectory in cohort.trajectories:
                self._observer.failed(trajectory, str(error))
            return
        finally:
            del self._under_way[cohort.id]
            self._room.set()
            self._observer.over(cohort)
        logger.info("cohort %s: finished, %d rounds recorded", cohort.id, len(history.rounds))
        for row, trajectory in enumerate(cohort.trajectories):
            if (failure := history.failure(row)) is not None:
                self._observer.failed(trajectory, failure)
            else:
                assert reasons[row] is not StopReason.FAILED
                self._observer.finished(trajectory, history.gain(row))

    async def _steer(self, history: History) -> tuple[StopReason, ...]:
        """Round by round, to the end; for each user, why it ended."""
        step = next_step(history, self.settings)
        while not isinstance(step, Stop):
            await self.record(history, await self._next_or_empty_round(history, step))
            step = next_step(history, self.settings)
            searching = len(step.users) if isinstance(step, Propose) else 0
            self._observer.round_done(history, searching)
            self._under_way[history.cohort.id] = searching
            self._room.set()  # with fewer who search, and the durations measured meanwhile, another cohort may begin
        return step.reasons

    async def _next_or_empty_round(self, history: History, step: Step) -> Round:
        """The next round. Once something was found, one in which all is refused is a round without a new best."""
        try:
            return await self.next_round(history, step)
        except RoundFailedError as error:
            if error.failed.number <= 1:
                raise
            logger.warning("cohort %s: %s", history.cohort.id, error)
            return error.failed

    async def record(self, history: History, finished: Round) -> None:
        """Put a round in the journal, then in the history.

        Raises
        ------
        OSError
            The disk is full or broken; the round is in neither.
        """
        with self._waits.during("disk"):
            async with self._journal_turn:
                await asyncio.to_thread(self._journal.append, history.cohort.id, finished)
        history.append(finished)

    async def next_round(self, history: History, step: Step) -> Round:
        """The round that a step leads to, rendered, scored and guarded; it is recorded nowhere yet.

        Raises
        ------
        RoundFailedError, CallRefusedError
            Nothing came of it.
        PoolBrokenError, OSError
            As `run`.
        """
        number = len(history.rounds)
        if isinstance(step, Reseed):
            return Round(number=number, reseeded=await self.evaluation.with_fresh_seeds(history, step.users))
        gathered = self.evaluation.scores_of_round(history)
        match step:
            case RenderBase():
                proposed = [await self.evaluation.of_base(history, gathered)]
            case Propose() if self._proposing.shares(step):
                shared = await self._proposing.shared(history.cohort)
                proposed = [await self.evaluation.of_proposals(history, shared, gathered)]
            case Propose():
                screen = self._proposing.screen_of_round(history)

                async def for_user(user: str) -> Proposed:
                    variations = await self._proposing.variations(history, user, number, screen)
                    return await self.evaluation.of_proposals(history, variations, gathered)

                proposed = await asyncio.gather(*(for_user(user) for user in step.users))
            case _:
                raise AssertionError(step)
        scores = gathered.matrix(proposed)
        verdicts = await self.evaluation.verdicts(history, proposed, scores)
        finished = Round(number=number, proposed=tuple(proposed), scores=scores, verdicts=verdicts)
        if (reason := _round_failure(finished, history)) is not None:
            raise RoundFailedError(reason, finished)
        return finished


def _round_failure(finished: Round, history: History) -> str | None:
    """Why a round failed, or None: nothing was proposed, or nothing could be rendered and scored."""
    candidates = [candidate for proposals in finished.proposed for candidate in proposals.candidates]
    if finished.number == 0:
        (base,) = candidates
        first = History(history.cohort, [finished])
        if not (first.best == NONE).all():
            return None
        verdict = finished.verdicts.get(str(base.image))
        return base.error or (verdict and verdict.error) or "the base prompt has no score"
    if any(candidate.image is not None and candidate.error is None for candidate in candidates):
        return None
    if errors := [candidate.error for candidate in candidates if candidate.error is not None]:
        return f"nothing in round {finished.number} could be rendered and scored: {errors[0]}"
    if candidates:  # all were rejected, by guards or to save renders
        return None
    reasons = ", ".join(dict.fromkeys(reason for proposals in finished.proposed for reason in proposals.refused))
    return f"nothing was proposed in round {finished.number}: {reasons or 'the proposer gave no reason'}"


def _first_error(errors: BaseExceptionGroup) -> BaseException:
    """The error that came first; the others follow from it."""
    first = errors.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first
