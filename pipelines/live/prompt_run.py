"""The run folder of one prompt that a person steers: opened or made, its driver, its rivals and its results.

    NAME, pamela       what the person steered themselves (`steered_prompt`)
    *, population      what suits most people: the driver's own search, for the blind comparison
    OTHER, pamela      what suits somebody else, one of the people of the predictor's training: likewise

The rivals are searched for once a picture is kept and a proof is wanted. They get as many proposals in each round as
the person had, and the driver of a batch run decides when they end.
"""

import asyncio
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock

from actors.messages import RenderRequest
from pipelines.execution.driver import Driver
from pipelines.live.changes import ChangeFeed
from pipelines.live.people.person import LivePerson
from pipelines.live.people.personal_scorer import PersonalScorer
from pipelines.live.pool_priority import PoolPriority
from pipelines.live.steered_prompt import SteeredPrompt
from pipelines.planning.plan import Plan
from pipelines.planning.prompts import Prompt
from pipelines.planning.users import Audience
from pipelines.records.journal import Journal
from pipelines.records.replay import in_order, unfinished
from pipelines.records.run_folder import RunFolder
from pipelines.reporting.results import write_results
from pipelines.run import describe_run
from pipelines.run_pools import RunPools
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Refusals
from pipelines.search.trajectory import Trajectory, derive_seed, fresh_seeds
from pipelines.settings.scorer import PERSONAL, POPULATION
from studies.design.steered_images import Picture, PromptImages

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40


class _Listener:
    """Tells the page which images are there; a driver's other news are on it already."""

    def __init__(self) -> None:
        self.prompt: SteeredPrompt | None = None

    def begun(self, cohort: Cohort, rounds: int) -> None: ...
    def rendered(self, key: str) -> None:
        if self.prompt is not None:
            self.prompt.rendered(key)

    def round_done(self, history: History, searching: int) -> None: ...
    def over(self, cohort: Cohort) -> None: ...
    def finished(self, trajectory: Trajectory, gain: float) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None:
        if self.prompt is not None and warning not in self.prompt.warnings:
            self.prompt.warnings.append(warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringResources:
    """What a run needs beside its folder."""

    plan: Plan
    """Of settings, predictor and renderer."""
    pools: RunPools
    scorer: PersonalScorer
    others: tuple[str, ...]
    """People whom the predictor knows."""
    priority: PoolPriority = field(default_factory=PoolPriority)


class PromptRun:
    """One run folder that this process holds. Used from one event loop."""

    def __init__(
        self, resources: SteeringResources, person: LivePerson, changes: ChangeFeed, folder: RunFolder
    ) -> None:
        self._resources = resources
        self._folder = folder
        self._person = person
        self._journal = Journal(folder.journal)
        self._refused_of_rivals = Refusals()
        self._writing = Lock()
        self._failures_of_rivals: dict[str, str] = {}
        """Cohort id -> why a search for somebody else came to nothing when it was last tried."""
        self.rivals = len(folder.about["users"]) > 1 or len(folder.about["settings"]["scorers"]) > 1
        """Whether somebody else's pictures of this prompt belong to it."""
        (row,) = folder.about["prompts"]
        self._prompt = Prompt(id=row["prompt_id"], text=row["text"])
        listener = _Listener()
        self._own_driver = self._driver(listener)
        self.steered = SteeredPrompt(
            name=folder.path.name,
            person=person,
            history=self._history(),
            replay=self._history,
            driver=self._own_driver,
            priority=resources.priority,
            changes=changes,
        )
        listener.prompt = self.steered

    @classmethod
    def create(
        cls, resources: SteeringResources, person: LivePerson, changes: ChangeFeed, number: int, text: str
    ) -> "PromptRun":
        """A folder for a new prompt; `number` counts a person's prompts, from 1.

        Raises
        ------
        FolderError
            It cannot be made.
        """
        prompt = Prompt(id=f"p{number:02d}", text=text)
        plan = live_plan(resources, person.name, prompt, rivals=False)
        path = person.folder.runs / f"{number:02d}-{_NOT_IN_NAMES.sub('-', text.lower()).strip('-')[:_LONGEST_NAME]}"
        return cls.at(resources, person, changes, RunFolder.create(path, describe_run(plan)))

    @classmethod
    def at(
        cls, resources: SteeringResources, person: LivePerson, changes: ChangeFeed, folder: RunFolder
    ) -> "PromptRun":
        """The prompt of a folder that this process holds; the folder is let go of where its records do not read."""
        try:
            return cls(resources, person, changes, folder)
        except BaseException:
            folder.release()
            raise

    @property
    def plan(self) -> Plan:
        return self._plan(rivals=self.rivals)

    def _plan(self, *, rivals: bool) -> Plan:
        return live_plan(self._resources, self._person.name, self._prompt, rivals=rivals)

    @property
    def path(self) -> Path:
        return self._folder.path

    def image(self, key: str) -> bytes | None:
        """The PNG of an image of the person's own."""
        return self._folder.images.read(key) if self.steered.shows(key) else None

    async def search_rivals(self) -> None:
        """Bring the rivals' searches to their end, or go on with them.

        Raises
        ------
        PoolBrokenError, RoleUnavailableError, OSError
            See `Driver.run`.
        """
        if not self.rivals:
            about = describe_run(self._plan(rivals=True))
            self._folder.about |= {name: about[name] for name in ("users", "settings", "settings_hash", "scorers")}
            self._folder.about["reproducibility_key"] = about["reproducibility_key"]
            self._folder.save()
            self.rivals = True  # from now on the journal may have lines of theirs
        left = await asyncio.to_thread(unfinished, self._folder.journal, self.plan.cohorts, self.plan.protocol)
        rivals = [cohort for cohort in left.cohorts if cohort.users != (self._person.name,)]
        driver = self._driver(_Listener())
        try:
            with self._resources.priority.foreground():
                await driver.run(rivals, left.rounds)
        finally:
            self._refused_of_rivals += driver.refusals
            self._failures_of_rivals = dict(driver.failures)

    def write_results(self) -> None:
        """Tables and gallery, as the records stand; for several threads, one after the other."""
        with self._writing:
            self._folder.about["speculation"] = asdict(self.steered.speculation)
            refusals = self._own_driver.refusals + self._refused_of_rivals
            known = {self._person.name: self._person.taste.posterior}
            failures = self._failures_of_rivals
            write_results(self.plan, self._folder, (), failures, refusals, interrupted=False, others=known)

    async def drawn_again(self, compared: PromptImages, count: int) -> list[PromptImages]:
        """The pictures of a comparison so many times more, each time with a fresh seed.

        Raises
        ------
        CallRefusedError, PoolBrokenError, RoleUnavailableError, OSError
            See `RenderCache.image`.
        """
        histories = await asyncio.to_thread(
            lambda: list(in_order(self._folder.journal, self.plan.cohorts, self.plan.protocol))
        )
        prompts = {image.key: image.prompt for history in histories for image in history.images}
        renders = self._driver(_Listener()).renders

        async def again(picture: Picture, seed: int) -> Picture:
            request = RenderRequest(prompt=prompts[picture.key], seed=seed)
            await renders.image(request)
            key = renders.key(request)
            return replace(picture, key=key, file=self._folder.images.path(key))

        made = []
        for seed in fresh_seeds(histories[0].cohort.image_seed, count):
            initial, generic, steered = await asyncio.gather(
                again(compared.initial, seed),
                asyncio.gather(*(again(picture, seed) for picture in compared.generic)),
                asyncio.gather(*(again(picture, seed) for picture in compared.steered.values())),
            )
            users = dict(zip(compared.steered, steered, strict=True))
            made.append(replace(compared, initial=initial, generic=tuple(generic), steered=users))
        return made

    async def close(self) -> None:
        await self.steered.close()
        await asyncio.to_thread(self._journal.close)
        self._folder.release()

    def _history(self) -> History:
        """Of the person's own search, as the journal has it."""
        return next(in_order(self._folder.journal, self.plan.cohorts, self.plan.protocol))

    def _driver(self, listener: _Listener) -> Driver:
        resources = self._resources
        scorers = {**resources.pools.scorers, PERSONAL: resources.scorer}
        return resources.pools.driver(self.plan, self._folder, self._journal, listener, scorers=scorers)


def live_plan(resources: SteeringResources, name: str, prompt: Prompt, *, rivals: bool) -> Plan:
    """The plan of a prompt's run: the person alone, or with the rivals of their pictures."""
    plan = resources.plan
    audiences = [Audience(name=name, user_ids=(name,))]
    if rivals and resources.others:
        other = resources.others[derive_seed("somebody else", name, prompt.text) % len(resources.others)]
        audiences.append(Audience(name=other, user_ids=(other,)))
    scorers = (PERSONAL, POPULATION) if rivals else (PERSONAL,)
    return replace(
        plan,
        settings=plan.settings.model_copy(update={"scorers": scorers, "title": prompt.text}),
        audiences=tuple(audiences),
        prompts=(prompt,),
    )
