"""The studio: all that the people share – predictor, pools, catalogue – and everybody who is here.

    warm_up   the cluster is joined, and the pools come up; a catalogue is made where none is kept
    person    whoever has a key, with the prompts that they have steered
    close     what is under way stops; all that was recorded stays

Questions need the predictor, which loads in a thread of its own, and a catalogue that is kept; only steering needs the
pools. So people are asked questions while the pools still come up.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.live.catalogue import (
    QuestionPictures,
    catalogue_place,
    embedded_requests,
    make_catalogue,
    proposed_requests,
    read_catalogue,
)
from pipelines.live.changes import ChangeFeed
from pipelines.live.participant import Participant
from pipelines.live.people.folder import PeopleFolder, PersonFolder
from pipelines.live.people.known_taste import KnownTaste
from pipelines.live.people.person import LivePerson
from pipelines.live.people.personal_scorer import PersonalScorer
from pipelines.live.people.reencoding import reencode_pictures
from pipelines.live.prompt_run import SteeringResources
from pipelines.planning.capabilities import can_classify_metadata
from pipelines.planning.plan import Plan
from pipelines.planning.roles import run_roles
from pipelines.run_pools import RunPools
from pipelines.settings.scorer import PERSONAL

if TYPE_CHECKING:
    from predictor.predictor import PamelaPredictor

logger = logging.getLogger(__name__)

SUBJECTS = (
    *("a cup of coffee on a table", "an old tree in a field", "a cat on a sofa", "a street after rain"),
    *("a mountain lake", "a bowl of fruit", "a portrait of a sailor", "a rocket on its launch pad"),
)
"""What there is to begin with where no prompts file was given."""


class Studio:
    """Used from one event loop, but for what says otherwise.

    Parameters
    ----------
    plan
        Of settings, predictor and renderer; whom and which prompts it is for does not matter here.
    suggestions
        Prompts to begin with.
    join
        Joins the cluster; called in a thread, so that pages are there before it is.
    """

    def __init__(
        self,
        plan: Plan,
        people: PeopleFolder,
        suggestions: tuple[str, ...],
        join: Callable[[], None] = lambda: None,
    ) -> None:
        assert plan.checkpoint is not None
        self.plan = plan
        self.people = people
        self.suggestions = suggestions or self._subjects(plan)
        self._join = join
        self.changes = ChangeFeed()
        self.pictures: QuestionPictures | None = read_catalogue(self._catalogue_folder)
        self.problem = ""
        """Why the pools are not coming up."""
        self.made, self.to_make = 0, 0
        """Pictures of the catalogue."""
        self.pools: RunPools | None = None
        self.resources: SteeringResources | None = None
        """Both once the pools are up."""
        self.tastes: dict[str, KnownTaste] = {}
        """Of those who are here, by name."""
        self._participants: dict[str, Participant] = {}
        self._opening = asyncio.Lock()
        self._loading: Future[PamelaPredictor] = ThreadPoolExecutor(1).submit(self._load)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether questions can be asked."""
        return self.pictures is not None and self._loading.done() and self._loading.exception() is None

    @property
    def predictor(self) -> "PamelaPredictor":
        """Waits until it is loaded."""
        return self._loading.result()

    @property
    def fingerprint(self) -> str:
        return str(self.plan.checkpoint_fingerprint)

    def warm_up(self) -> None:
        """Bring the pools up, in the background."""
        self._tasks = [asyncio.create_task(self._warm()), asyncio.create_task(self._tell_when_loaded())]

    async def person_of(self, key: str) -> Participant | None:
        """Whoever has this key."""
        folder = self.people.of_key(key)
        if folder is not None and folder.name in self._participants:
            return self._participants[folder.name]
        async with self._opening:  # one at a time: a file of answers has one owner
            folder = self.people.of_key(key)
            return None if folder is None else await self._participant(folder)

    async def welcome(self, name: str) -> Participant:
        """Somebody new.

        Raises
        ------
        ValueError
            The name is not one, or is taken.
        """
        taken = await asyncio.to_thread(lambda: self.predictor.user_ids)
        assert self.plan.checkpoint is not None
        async with self._opening:
            folder = await asyncio.to_thread(self.people.add, name, self.plan.checkpoint, self.fingerprint, taken)
            return await self._participant(folder)

    async def forget(self, participant: Participant) -> None:
        """Delete all that is known of somebody."""
        async with self._opening:
            self._participants.pop(participant.name, None)
            self.tastes.pop(participant.name, None)
            await participant.close()
            await asyncio.to_thread(self.people.delete, participant.person.folder)

    async def close(self) -> None:
        """Let everybody go, and stop the pools."""
        self.changes.end()
        for participant in self._participants.values():
            await participant.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.pools is not None:
            self.pools.stop()

    def let_listeners_go(self) -> None:
        """End all streams of events, so that a server that is told to stop has no connection to wait for."""
        for changes in (self.changes, *(each.changes for each in self._participants.values())):
            changes.end()

    async def _participant(self, folder: PersonFolder) -> Participant:
        """Of a folder, while nobody else opens any."""
        if folder.name not in self._participants:
            assert self.pictures is not None
            person = await asyncio.to_thread(self._opened, folder)
            self._participants[folder.name] = Participant(person, self.predictor.taste, self.pictures)
            self.tastes[folder.name] = person.taste
        return self._participants[folder.name]

    def _opened(self, folder: PersonFolder) -> LivePerson:
        if folder.predictor != self.fingerprint:
            assert self.plan.checkpoint is not None
            logger.info("%s: their pictures are seen again, by %s", folder.name, self.plan.checkpoint)
            folder = reencode_pictures(
                folder, self.predictor, checkpoint=self.plan.checkpoint, fingerprint=self.fingerprint
            )
        return LivePerson(folder, self.predictor.taste)

    async def _tell_when_loaded(self) -> None:
        try:
            await asyncio.wrap_future(self._loading)
        except (ValueError, OSError) as error:
            logger.exception("the predictor does not load")
            self.problem = str(error)
        self._tell_everybody()

    def _tell_everybody(self) -> None:
        for changes in (self.changes, *(each.changes for each in self._participants.values())):
            changes.notify()

    async def _warm(self) -> None:
        pools: RunPools | None = None
        try:
            await asyncio.to_thread(self._join)
            pools = RunPools(run_roles(self.plan.settings, self.plan.checkpoint), self.plan)
            await (await pools.start(self.plan.settings.nodes_timeout_s, lambda line: logger.info("%s", line)))
            if self.pictures is None:
                await self._make_catalogue(pools)
            others = await asyncio.to_thread(lambda: self.predictor.user_ids)
            self.pools = pools
            self.resources = SteeringResources(
                plan=self.plan,
                pools=pools,
                scorer=PersonalScorer(pools.scorers[PERSONAL], self.tastes),
                others=tuple(others),
            )
            logger.info("all pools are up")
        except Exception as error:
            logger.exception("the pools do not come up")
            self.problem = str(error)
        finally:
            if self.pools is None and pools is not None:
                pools.stop()
            self._tell_everybody()

    async def _make_catalogue(self, pools: RunPools) -> None:
        renderer = self.plan.renderer
        if isinstance(renderer, Darkroom):
            starter = (await asyncio.to_thread(lambda: self.predictor)).starter
            wanted = await asyncio.to_thread(embedded_requests, renderer, starter)
        else:
            proposer = pools.by_name[pools.roles.proposer.name]
            wanted = await proposed_requests(self.suggestions, proposer, self.plan.settings.seed)

        def progress(done: int, total: int) -> None:
            self.made, self.to_make = done, total
            self.changes.notify()

        predictor = pools.scorers[PERSONAL]
        describer = predictor if can_classify_metadata(self.plan) else None
        scorer = PersonalScorer(predictor, {})
        await make_catalogue(self._catalogue_folder, wanted, pools.render_path(), scorer, describer, progress)
        self.pictures = read_catalogue(self._catalogue_folder)
        self._tell_everybody()

    @cached_property
    def _catalogue_folder(self) -> Path:
        renderer = self.plan.renderer
        prompts = () if isinstance(renderer, Darkroom) else self.suggestions
        return catalogue_place(self.plan.checkpoint_fingerprint, renderer.identity(), prompts)

    def _load(self) -> "PamelaPredictor":
        from predictor.predictor import PamelaPredictor

        assert self.plan.checkpoint is not None
        return PamelaPredictor.from_pretrained(self.plan.checkpoint)

    @staticmethod
    def _subjects(plan: Plan) -> tuple[str, ...]:
        if isinstance(plan.renderer, Darkroom):
            return tuple(photograph.caption for photograph in plan.renderer.library.photographs)
        return SUBJECTS
