"""The driver: one event loop that steers many trajectories at once and keeps every pool busy.

    run  --- next trajectory, in order, while fewer than N are under way --->  _steer(trajectory)
                                                        |
        +-----------------------------------------------+
        |   next_step(history)                          ^
        v                                               | append to journal (fsync), then to history
    RenderBase / Propose                                |
        |                                               |
        |  _propose: proposer pool, up to `asks` times  |
        v                                               |
    _try[T] for all candidates of the iteration --------+
        _image: on disk? else render path -> image store (fsync) -\
                                 reference to the rendering -> scorer pool

What each loop waits for, and what unblocks it:

    run        fewer than N under way               -- one ends, or N rises with what was measured
    _steer     its iteration's slowest candidate    -- pools answer, or fail within their time limits
    _propose   an actor of the proposer pool        -- ActorPool.call: an answer, an error, a time-out
    _image     the render path, or another          -- RenderPath.render; or the first trajectory that
               trajectory's same render                asked for the same key
    _try       an actor of a scorer pool            -- ActorPool.call
    _describe  an actor of the predictor's pool     -- ActorPool.call; once a prompt, where it can describe

N is as few as keep the renderers busy (`pipelines.admission`). A history is in memory while its trajectory is steered,
so that memory is bounded by N histories and N x T candidates, however long the run; where scoring or the disk lags,
trajectories wait for it, no others are begun, and so the renderers wait too. Trajectories begin prompt by prompt and
user by user, and calls are served as they come: nobody is ahead of anybody by more than N trajectories.

The driver is the only writer of the run folder. A candidate that fails is recorded with its error; a trajectory whose
base prompt fails, or whose proposer does, is listed as failed and tried again by `--resume`. A rendering that was
lost with its node is taken from the disk again, and an embedding made again, so that a node that dies costs no
candidate: it takes three in a row under the same call. A pool that is broken or a disk that is full ends the run.

Invariant: an iteration is in the journal only after all its images are on the disk, and in the history
only after it is in the journal.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from actors.cluster import put
from actors.messages import ProposalRequest, Proposals, Rendering, RenderRequest, ScoreRequest
from actors.pool import ActorPool, ArgumentLostError, CallFailedError
from actors.render_path import LOSSES, RenderPath
from pipelines.admission import in_flight
from pipelines.costs import Images
from pipelines.image_store import ImageStore, image_key
from pipelines.journal import Journal
from pipelines.search import (
    BasePromptFailedError,
    Candidate,
    Iteration,
    Propose,
    RenderBase,
    Stop,
    Trajectory,
    admit,
    next_step,
    proposal_seed,
)
from pipelines.search import Protocol as SearchProtocol
from pipelines.waits import Waits


class Observer(Protocol):
    """Whoever watches a run: the progress display."""

    def begun(self, trajectory: Trajectory) -> None: ...
    def rendered(self) -> None: ...
    def finished(self, trajectory: Trajectory, history: Sequence[Iteration]) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None: ...


class Driver:
    """Steers trajectories by three kinds of pools; see the module's docstring for the design."""

    def __init__(
        self,
        *,
        protocol: SearchProtocol,
        renderer: RenderPath,
        renderer_identity: Mapping[str, Any],
        proposer: ActorPool,
        scorers: Mapping[str, ActorPool],
        images: ImageStore,
        journal: Journal,
        observer: Observer,
        describer: ActorPool | None = None,
        described: Mapping[str, Mapping[str, str]] = {},
        on_description: Callable[[str, Mapping[str, str]], None] = lambda prompt_id, metadata: None,
    ) -> None:
        self._protocol = protocol
        self._renderer = renderer
        self._identity = renderer_identity
        self._proposer = proposer
        self._scorers = scorers
        self._images = images
        self._journal = journal
        self._journal_turn = asyncio.Lock()
        self._observer = observer
        self._rendering: dict[str, asyncio.Task[Any]] = {}
        self._describer = describer
        self._described = dict(described)
        self._describing: dict[str, asyncio.Task[Mapping[str, str]]] = {}
        self._on_description = on_description
        pools = {pool.role.name: pool.ledger for pool in (*renderer.pools, proposer, *scorers.values())}
        self._waits = Waits(pools)
        self._under_way = 0
        self._room = asyncio.Event()
        self.images_made = Images()
        self.failures: dict[str, str] = {}
        """Trajectory id -> why it failed."""

    async def run(self, trajectories: Sequence[Trajectory], histories: dict[str, list[Iteration]]) -> None:
        """Bring every trajectory to its end. `histories` holds what is recorded of them; each is taken out of it."""
        try:
            async with asyncio.TaskGroup() as group:
                for trajectory in trajectories:
                    while self._under_way >= self._most_under_way():
                        self._room.clear()
                        await self._room.wait()
                    self._under_way += 1
                    group.create_task(self._bring_to_its_end(trajectory, histories.pop(trajectory.id)))
                self._waits.all_begun()
        except ExceptionGroup as errors:
            raise _first(errors) from None

    def _most_under_way(self) -> int:
        renderers, proposers = self._renderer.renderers, self._proposer.role
        return in_flight(
            candidates=self._protocol.candidates,
            renderers=renderers.role.actors,
            places=renderers.role.actors * renderers.role.in_flight,
            proposals=proposers.actors * proposers.in_flight,
            proposal_s=self._proposer.ledger.recent_call_s,
            render_s=renderers.ledger.recent_call_s,
        )

    async def _bring_to_its_end(self, trajectory: Trajectory, history: list[Iteration]) -> None:
        self._observer.begun(trajectory)
        try:
            await self._steer(trajectory, history)
        except (CallFailedError, BasePromptFailedError) as error:
            self.failures[trajectory.id] = str(error)
            self._observer.failed(trajectory, str(error))
        else:
            self._observer.finished(trajectory, history)
        finally:
            self._under_way -= 1
            self._room.set()

    async def _steer(self, trajectory: Trajectory, history: list[Iteration]) -> None:
        while not isinstance(step := next_step(history, self._protocol), Stop):
            iteration = await self._iterate(trajectory, step)
            if iteration.number == 0 and iteration.candidates[0].score is None:
                # Not recorded, so that --resume tries again.
                raise BasePromptFailedError(iteration.candidates[0].error)
            self._room.set()  # what was measured meanwhile may leave room for another
            with self._waits.during("disk"):
                async with self._journal_turn:
                    await asyncio.to_thread(self._journal.append, trajectory.id, iteration)
            history.append(iteration)

    async def _iterate(self, trajectory: Trajectory, step: RenderBase | Propose) -> Iteration:
        if isinstance(step, RenderBase):
            prompts, seeds, refused = [trajectory.base_prompt], [], {}
        else:
            prompts, seeds, refused = await self._propose(trajectory, step)
        candidates = await asyncio.gather(*(self._try(trajectory, prompt) for prompt in prompts))
        number = step.number if isinstance(step, Propose) else 0
        return Iteration(number=number, candidates=tuple(candidates), seeds=tuple(seeds), refused=refused)

    async def _propose(self, trajectory: Trajectory, step: Propose) -> tuple[list[str], list[int], dict[str, int]]:
        """Ask until there are enough new prompts, or `asks` times: the prompts, the seeds, and what was refused."""
        prompts: list[str] = []
        seeds: list[int] = []
        refused: dict[str, int] = {}
        while len(prompts) < self._protocol.candidates and len(seeds) < self._protocol.asks:
            room = self._protocol.candidates - len(prompts)
            assert step.context.score is not None
            request = ProposalRequest(
                base_prompt=trajectory.base_prompt,
                best_prompt=step.context.prompt,
                best_score=step.context.score,
                count=room,
                seed=proposal_seed(trajectory, step.number, len(seeds)),
            )
            seeds.append(request.seed)
            with self._waits.during("proposals"):
                _, proposals = await self._proposer.call("propose", request)
            assert isinstance(proposals, Proposals)
            admitted, dropped = admit(proposals.prompts, [step.context.prompt, *prompts], room)
            prompts += admitted
            for reasons in (proposals.refused, dropped):
                for reason, count in reasons.items():
                    refused[reason] = refused.get(reason, 0) + count
        return prompts, seeds, refused

    async def _try(self, trajectory: Trajectory, prompt: str) -> Candidate:
        wanted = RenderRequest(prompt=prompt, seed=trajectory.image_seed)
        try:
            with self._waits.during("renders"):
                rendering = await self._image(wanted)
        except CallFailedError as error:
            return Candidate(prompt=prompt, error=str(error))
        self.images_made.shown += 1
        key = self._key(wanted)
        try:
            with self._waits.during("scores"):
                metadata = {**await self._description(trajectory), **trajectory.metadata}
                request = ScoreRequest(users=trajectory.members, base_prompt=trajectory.base_prompt, metadata=metadata)
                score = await self._ask_about(wanted, rendering, self._scorers[trajectory.scorer], "score", request)
        except CallFailedError as error:
            return Candidate(prompt=prompt, image=key, error=str(error))
        if not math.isfinite(score):
            return Candidate(prompt=prompt, image=key, error=f"the score is not a number: {score}")
        return Candidate(prompt=prompt, image=key, score=score)

    async def _description(self, trajectory: Trajectory) -> Mapping[str, str]:
        """What the base prompt's image shows: found once a prompt, and the same for all its candidates.

        Like the base prompt that a scorer sees in place of the rewritten one: a proposal wins by its image, not
        by being sorted into a category that people like.
        """
        if self._describer is None or self._scorers[trajectory.scorer] is not self._describer:
            return {}
        prompt_id = trajectory.prompt_id
        if prompt_id in self._described:
            return self._described[prompt_id]
        task = self._describing.get(prompt_id)
        if task is None:
            task = self._describing[prompt_id] = asyncio.create_task(self._describe(self._describer, trajectory))
            task.add_done_callback(lambda _: self._describing.pop(prompt_id, None))
        return await asyncio.shield(task)

    async def _describe(self, describer: ActorPool, trajectory: Trajectory) -> Mapping[str, str]:
        base = RenderRequest(prompt=trajectory.base_prompt, seed=trajectory.image_seed)
        rendering = await self._image(base)
        found = await self._ask_about(base, rendering, describer, "describe", dict(trajectory.metadata))
        self._described[trajectory.prompt_id] = found
        self._on_description(trajectory.prompt_id, found)
        return found

    async def _ask_about(
        self, wanted: RenderRequest, rendering: Any, pool: ActorPool, method: str, question: object
    ) -> Any:
        """What an actor says of an image; one that was lost with its node is taken from the disk again."""
        for _ in range(LOSSES):
            try:
                return (await pool.call(method, question, rendering))[1]
            except ArgumentLostError:
                rendering = await self._image(wanted)
        return (await pool.call(method, question, rendering))[1]

    def _key(self, request: RenderRequest) -> str:
        return image_key(self._identity, request.prompt, request.seed)

    async def _image(self, request: RenderRequest) -> Any:
        """A reference to the rendering, which is on the disk; the same render is never made twice at a time."""
        key = self._key(request)
        task = self._rendering.get(key)
        if task is None:
            task = self._rendering[key] = asyncio.create_task(self._render(key, request))
            task.add_done_callback(lambda _: self._rendering.pop(key, None))
        return await asyncio.shield(task)

    async def _render(self, key: str, request: RenderRequest) -> Any:
        if (png := self._images.read(key)) is not None:
            return put(Rendering(png=png))
        reference, rendering = await self._renderer.render(request)
        assert isinstance(rendering, Rendering)
        if rendering.warning:
            self._observer.warned(rendering.warning)
        with self._waits.during("disk"):
            await asyncio.to_thread(self._images.write, key, rendering.png)
        self.images_made.rendered += 1
        self._observer.rendered()
        return reference


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The error that ended the run; the others are its consequences."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
