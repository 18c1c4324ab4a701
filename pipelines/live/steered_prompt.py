"""One prompt that a person steers themselves: rounds of proposals, of which four pictures stand for choice each time.

    written    the picture as written is drawn                                    RenderBase
       |
    rounds     the driver's next round, from the favourite: proposed, guarded,    Propose, recorded with the choice
       |       drawn on the warm pools, scored
       |
    choice     the favourite and three of all that nobody has seen yet            next_four, guarded
       |           meanwhile the next round is prepared for each of the four
       +-- round   "this one" (or "none of these"): evidence, and the next round's context
       +-- onward  from any picture that was there before
       +-- keep    the search is over, until they go on

Where a person lets it search by itself, the driver runs the whole search for them first, as it does in a batch; they
may then choose, and go on, from what it found.

The rounds are the driver's, and so are their records: a run folder. What a person says is in their own answers, and is
there first. So the state is a function of both: after a crash, a round that an answer asked for is made again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from actors.messages import TasteFeatures
from pipelines.execution.driver import Driver
from pipelines.live.changes import ChangeFeed
from pipelines.live.next_four import chances, next_four
from pipelines.live.people.answers import ShownPicture, pictures_of
from pipelines.live.people.person import LivePerson
from pipelines.live.pool_priority import PoolPriority
from pipelines.records.image_store import ImageStore
from pipelines.reporting.word_diff import word_diff
from pipelines.search.history import History
from pipelines.search.rounds import GuardVerdict, Round
from pipelines.search.state_machine import Propose, RenderBase, Stop, next_step

logger = logging.getLogger(__name__)

Stage = Literal["searching", "drawing", "choosing", "kept", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A picture on a page."""

    id: str
    """Of what the predictor sees of it."""
    key: str
    """Of the image in the run folder."""
    added: str
    """The words that were added to the prompt."""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Speculation:
    """How much was prepared, and what came of it."""

    rounds: int = 0
    hits: list[int] = field(default_factory=list)
    """Numbers of the rounds that were ready when they were asked for."""
    dropped_rounds: int = 0
    dropped_images: int = 0


class SteeredPrompt:
    """The steering of one prompt by one person. Used from one event loop."""

    def __init__(
        self,
        *,
        name: str,
        person: LivePerson,
        history: History,
        driver: Driver,
        priority: PoolPriority,
        changes: ChangeFeed,
        replay: Callable[[], History],
    ) -> None:
        """
        Parameters
        ----------
        name
            Of the run folder.
        history
            As the journal has it.
        replay
            Reads the history from the journal again, after the driver has written to it.
        """
        self.name = name
        self.history = history
        self.stage: Stage = "drawing" if not history.ends_with_keep else "kept"
        self.problem = ""
        """Why nothing goes on, in the stage `failed`."""
        self.arriving: list[str] = []
        """Keys of the images that the round under way has drawn so far."""
        self.four: list[str] = []
        """Keys of the images that stand for choice, the favourite first."""
        self.warnings: list[str] = []
        """What the renderer could not honour."""
        self.speculation = Speculation()
        self._person = person
        self._driver = driver
        self._priority = priority
        self._changes = changes
        self._replay = replay
        shown = [each for each in pictures_of(person.answers).values() if each.file.startswith(f"runs/{name}/")]
        self._seen: dict[str, TasteFeatures] = {Path(each.file).stem: each.seen for each in shown}
        """By key; at first of those that the person was shown before."""
        self._metadata: Mapping[str, str] = shown[0].metadata if shown else {}
        """By which the predictor sees them all."""
        self._verdicts: dict[str, GuardVerdict] = {}
        """Of images shown, until the next round records them."""
        self._ahead: dict[str, asyncio.Task[Round]] = {}
        """Rounds that are prepared, by the key of the image that they would start from."""
        self._in_turn: str | None = None
        """The key of the one that has been begun, and is not yet made."""
        self._task: asyncio.Task[None] | None = None

    @property
    def prompt(self) -> str:
        return self.history.cohort.base_prompt

    @property
    def user(self) -> str:
        return self.history.cohort.users[0]

    @property
    def rounds(self) -> int:
        """Rounds of proposals that are recorded."""
        return max(0, self.history.searched - 1)

    @property
    def images(self) -> int:
        """Pictures that were drawn and looked at for them."""
        return len(self.history.images)

    @property
    def favourite(self) -> str | None:
        """The key of the picture that was chosen last; before any was, the one as written, or the best of a search."""
        chosen = [each.chosen for each in self._person.answers_about(self.name) if each.chosen is not None]
        by_id = {seen.id: key for key, seen in reversed(self._seen.items())}
        if chosen and chosen[-1] in by_id:
            return by_id[chosen[-1]]
        return self.history.images[self.history.best[0]].key if self.history.images else None

    @property
    def path(self) -> list[Card]:
        """The favourites, one after the other, the picture as written first."""
        if not self.history.images or self.history.images[0].key not in self._seen:
            return []
        by_id = {seen.id: key for key, seen in reversed(self._seen.items())}
        keys = [self.history.images[0].key]
        for answer in self._person.answers_about(self.name):
            key = by_id.get(answer.chosen or "")
            if key is not None and key != keys[-1]:
                keys.append(key)
        return [self.card(key) for key in keys]

    def card(self, key: str) -> Card:
        image = self.history.images[self.history.column_of_image[key]]
        added = [piece.text for piece in word_diff(self.prompt, image.prompt) if piece.kind == "added"]
        verdict = self._verdicts.get(key) or self.history.verdicts.get(key, GuardVerdict())
        warnings = tuple(notice.words for notice in (*image.warnings, *verdict.warnings))
        return Card(id=self._seen[key].id, key=key, added=" ".join(added).strip(" ,"), warnings=warnings)

    def shows(self, key: str) -> bool:
        """Whether an image is one of this prompt's."""
        return key in self.history.column_of_image or key in self.arriving

    def rendered(self, key: str) -> None:
        """An image is on the disk: of the round that somebody waits for, or of one that is prepared."""
        if self.stage in ("drawing", "searching"):
            self.arriving.append(key)
            self._changes.notify()

    def begin(self) -> None:
        """Bring about whatever the answers ask for, in the background."""
        if self.stage == "kept" and self._keeps:
            return
        if self._task is None or self._task.done():
            self.stage = "drawing"
            self._task = asyncio.create_task(self._advance())

    async def settled(self, timeout_s: float) -> None:
        """Wait until something stands for choice again, but no longer than so."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_s)

    async def choose(self, number: int, chosen: str | None) -> None:
        """One of the four by its id, or None to see others, which tells nothing; the next round begins.

        Raises
        ------
        AnsweredAlreadyError
            Another answer has this number.
        ValueError
            It is none of the four, or this is not the answer that is due.
        """
        skipped = chosen is None
        if self._person.said(number, "round", chosen=chosen, skipped=skipped, run=self.name):
            return
        if self.stage != "choosing":
            raise ValueError("the next pictures are being drawn already; reload the page")
        shown = [self._shown(key) for key in self.four]
        await self._say(number, "round", shown=shown, chosen=chosen, skipped=skipped)

    async def go_on_from(self, number: int, image_id: str) -> None:
        """Make a picture that was there before the favourite again; errors as `choose`."""
        key = self._key_of(image_id)
        await self._say(number, "onward", shown=[self._shown(key)], chosen=image_id)

    async def keep(self, number: int, image_id: str) -> None:
        """Keep a picture; errors as `choose`."""
        key = self._key_of(image_id)
        await self._say(number, "keep", shown=[self._shown(key)], chosen=image_id)

    async def close(self) -> None:
        """Stop whatever is under way; what is recorded stays."""
        tasks = [*self._ahead.values(), *([self._task] if self._task else [])]
        self._ahead = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _say(
        self,
        number: int,
        kind: Literal["round", "onward", "keep"],
        *,
        shown: Sequence[ShownPicture],
        chosen: str | None,
        skipped: bool = False,
    ) -> None:
        taken = await asyncio.to_thread(
            self._person.say, number, kind, shown=shown, chosen=chosen, skipped=skipped, run=self.name
        )
        if not taken:
            return
        self.stage, self.arriving, self.four = "drawing", [], []
        self._changes.notify()
        self.begin()

    async def _advance(self) -> None:
        with self._priority.foreground():
            await self._until_something_is_asked()

    async def _until_something_is_asked(self) -> None:
        try:
            if self._searches_alone:
                await self._search_alone()
            await self._see(image.key for image in self.history.images)
            if not self.history.rounds:
                await self._driver.record(self.history, await self._driver.next_round(self.history, RenderBase()))
                await self._see([self.history.images[0].key])
                self.arriving = []
                self._changes.notify()
            while not self._keeps:
                if self.rounds < self._rounds_wanted:
                    await self._next_round()
                    continue
                await self._stand_for_choice()
                if not self._keeps and self.rounds == self._rounds_wanted:  # nothing was said meanwhile
                    self.stage = "choosing"
                    self._prepare_rounds()
                    return
            await self._record_kept()
            self.stage = "kept"
        except Exception as error:
            logger.exception("%s: %s stopped", self.user, self.name)
            self.stage, self.problem = "failed", str(error)
        finally:
            self._changes.notify()

    @property
    def _searches_alone(self) -> bool:
        """Whether the search is the driver's, and not yet at its end."""
        said = self._person.answers_about(self.name)
        alone = bool(said) and said[-1].kind == "alone"
        return alone and not isinstance(next_step(self.history, self._driver.settings), Stop)

    async def _search_alone(self) -> None:
        self.stage = "searching"
        self._changes.notify()
        cohort = self.history.cohort
        await self._driver.run([cohort], {cohort.id: self.history.rounds})
        if (reason := self._driver.failures.pop(cohort.id, None)) is not None:
            raise RuntimeError(reason)
        self.history = await asyncio.to_thread(self._replay)
        self.stage, self.arriving = "drawing", []

    @property
    def _keeps(self) -> bool:
        said = self._person.answers_about(self.name)
        return bool(said) and said[-1].kind == "keep"

    @property
    def _rounds_wanted(self) -> int:
        said = self._person.answers_about(self.name)
        first = self.rounds_alone if said and said[0].kind == "alone" else 1
        return first + sum(answer.kind in ("round", "onward") for answer in said)

    @property
    def rounds_alone(self) -> int:
        """Rounds that the driver had before the person chose anything."""
        rounds = self.history.rounds
        chosen = next((place for place, each in enumerate(rounds) if each.chosen), len(rounds))
        return sum(each.searches for each in rounds[1:chosen])

    async def _record_kept(self) -> None:
        favourite = self.favourite
        assert favourite is not None
        await self._drop_all_but(None)
        if not self.history.ends_with_keep or self.history.images[self.history.best[0]].key != favourite:
            kept = Round(number=len(self.history.rounds), chosen={self.user: favourite}, verdicts=self._verdicts)
            await self._driver.record(self.history, kept)

    async def _next_round(self) -> None:
        favourite = self.favourite
        assert favourite is not None
        finished = await self._prepared(favourite)
        chosen = {self.user: favourite}
        finished = replace(finished, chosen=chosen, verdicts={**finished.verdicts, **self._verdicts})
        await self._driver.record(self.history, finished)
        self._verdicts = {}
        await self._see(image.key for image in self.history.images[-finished.scores.shape[1] :] if finished.scores.size)

    async def _prepared(self, favourite: str) -> Round:
        """The round that was prepared for a favourite; otherwise it is made now."""
        task = self._ahead.get(favourite)
        ready = task is not None and task.done() and not task.cancelled() and task.exception() is None
        begun = ready or self._in_turn == favourite
        await self._drop_all_but(favourite if begun else None)
        if ready:
            self.speculation.hits.append(len(self.history.rounds))
        return await (task if task is not None and begun else self._round_from(favourite))

    async def _drop_all_but(self, favourite: str | None) -> None:
        dropped = [task for key, task in self._ahead.items() if key != favourite]
        self._ahead = {}
        for task in dropped:
            if task.done() and not task.cancelled() and task.exception() is None:
                self.speculation.dropped_rounds += 1
                self.speculation.dropped_images += task.result().scores.shape[1]
            task.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)

    async def _round_from(self, favourite: str) -> Round:
        branch = History(self.history.cohort, self.history.rounds)
        branch.choose({self.user: favourite})
        return await self._driver.next_round(branch, Propose(len(branch.rounds), (self.user,)))

    def _prepare_rounds(self) -> None:
        """Prepare the next round for each of the four, the most probable choice first."""
        mean, rows = self._person.taste.utilities([self._seen[key] for key in self.four])
        likely = chances(mean, rows, noise=self._person.taste.noise, seed=self.rounds)

        async def prepare(key: str, probability: float) -> Round:
            async with self._priority.background(probability):
                self._in_turn = key
                try:
                    made = await self._round_from(key)
                finally:
                    self._in_turn = None
                self.speculation.rounds += 1
                return made

        self._ahead = {
            key: asyncio.create_task(prepare(key, float(chance))) for key, chance in zip(self.four, likely, strict=True)
        }

    async def _stand_for_choice(self) -> None:
        """Find the next four; those that a guard rejects do not stand for choice."""
        rejected: set[str] = set()
        while True:
            self.four = await asyncio.to_thread(self._next_four, rejected)
            unsure = [key for key in self.four[1:] if key not in self._verdicts and key not in self.history.verdicts]
            if not self._driver.settings.guards.measures_images or not unsure:
                break
            base = self.history.verdicts.get(self.history.images[0].key)
            prompts = [self.history.images[self.history.column_of_image[key]].prompt for key in unsure]
            cohort = self.history.cohort
            made = await asyncio.gather(*(self._driver.evaluation.verdict(cohort, text, base) for text in prompts))
            self._verdicts |= zip(unsure, made, strict=True)
            rejected |= {key for key, verdict in zip(unsure, made, strict=True) if not verdict.passed}

    def _next_four(self, rejected: set[str]) -> list[str]:
        favourite = self.favourite
        assert favourite is not None
        met = {name for answer in self._person.answers_about(self.name) for name in answer.shown}
        met |= {self._seen[favourite].id, self._seen[self.history.images[0].key].id}
        unseen: list[str] = []
        for image in self.history.images:
            barred = image.key in rejected or not self.history.verdicts.get(image.key, GuardVerdict()).passed
            if not barred and self._seen[image.key].id not in met:
                met.add(self._seen[image.key].id)
                unseen.append(image.key)
        keys = [favourite, *unseen]
        taste = self._person.taste
        mean, rows = taste.utilities([self._seen[key] for key in keys])
        places = next_four(
            mean, rows, favourite=0, unseen=range(1, len(keys)), noise=taste.noise, seed=len(self.history.rounds)
        )
        return [keys[place] for place in places]

    async def _see(self, keys: Iterable[str]) -> None:
        new = [key for key in keys if key not in self._seen]
        cohort, evaluation = self.history.cohort, self._driver.evaluation
        if new:
            self._metadata = await evaluation.metadata(cohort)
        prompts = [self.history.images[self.history.column_of_image[key]].prompt for key in new]
        seen = await asyncio.gather(*(evaluation.taste_features(cohort, prompt) for prompt in prompts))
        self._seen |= zip(new, seen, strict=True)

    def _shown(self, key: str) -> ShownPicture:
        file = ImageStore(Path("runs", self.name)).path(key)  # from the person's folder
        return ShownPicture(seen=self._seen[key], file=file.as_posix(), prompt=self.prompt, metadata=self._metadata)

    def _key_of(self, image_id: str) -> str:
        for key, seen in self._seen.items():
            if seen.id == image_id:
                return key
        raise ValueError("this picture is not one of this prompt's; reload the page")
