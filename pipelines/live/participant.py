"""A participant: one person at work – what they are asked, the prompts that they steer, and the proof.

know      questions, until another one would tell little, or they have had enough
studio    a prompt to type, and everything kept so far
prompt    rounds of four (`steered_prompt`)
proof     blind pairs (`proof`)
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import category

from pipelines.live.catalogue import QuestionPictures
from pipelines.live.changes import ChangeFeed
from pipelines.live.people.answers import ShownPicture
from pipelines.live.people.beliefs import Belief, beliefs
from pipelines.live.people.known_taste import KnownTaste
from pipelines.live.people.person import LivePerson
from pipelines.live.prompt_run import PromptRun, SteeringResources
from pipelines.live.proof import Proof
from pipelines.live.questions import expected_accuracy_of, next_question_of, tells_little
from pipelines.records.run_folder import RunFolder
from predictor.simulation.attributes import ATTRIBUTES
from predictor.taste.hierarchical import Taste

MOST_CHARACTERS = 500
"""Of a prompt."""


class PersonDeletedError(Exception):
    """Somebody was deleted while something was asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """The question that is due."""

    number: int
    """Of the answer that it gets."""
    asked: int
    """Questions before this one."""
    pictures: Sequence[ShownPicture]
    accuracy: float
    """How often, of two pictures, the preferred one is expected to be known so far."""
    enough: bool
    """Whether another question would tell little."""


class Participant:
    """Used from one event loop, but for the methods about questions: those compute, and may be called from threads."""

    def __init__(self, person: LivePerson, taste: Taste, pictures: QuestionPictures) -> None:
        self.person = person
        self.changes = ChangeFeed()
        self.proof = Proof(person.folder.study, person.name)
        self.wish: tuple[str, bool] | None = None
        """A prompt, and whether it is to be searched first, that waits for the models to start."""
        self._taste = taste
        self._pictures = pictures
        self._runs: dict[str, PromptRun] = {}
        self._opening = asyncio.Lock()
        self._closed = False
        self._accuracies: list[float] = []
        """Before the first question, and after each."""
        self._asked: AskedQuestion | None = None

    @property
    def name(self) -> str:
        return self.person.name

    @property
    def knows_enough(self) -> bool:
        """Whether they may go on to steering without being asked more."""
        return any(answer.kind == "stop" or answer.run is not None for answer in self.person.answers)

    @property
    def run_names(self) -> list[str]:
        """Of the prompts that they have steered, the last first."""
        runs = self.person.folder.runs
        return sorted((path.parent.name for path in runs.glob("*/run.json")), reverse=True)

    @property
    def runs(self) -> list[PromptRun]:
        """The prompts that are open, the last first."""
        return [run for _, run in sorted(self._runs.items(), reverse=True)]

    @property
    def kept(self) -> list[PromptRun]:
        """The prompts of which a picture is kept, in the order in which they were begun."""
        return [run for name, run in sorted(self._runs.items()) if run.steered.stage == "kept"]

    def question(self) -> AskedQuestion | None:
        """The next question; None where no pictures are left to ask about."""
        answers = self.person.answers
        if self._asked is not None and self._asked.number == len(answers):
            return self._asked
        self._measure()
        rows = next_question_of(self._taste, self.person.taste, answers, self._pictures)
        if rows is None:
            return None
        asked = sum(answer.kind == "question" for answer in answers)
        self._asked = AskedQuestion(
            number=len(answers),
            asked=asked,
            pictures=[self._shown(row) for row in rows],
            accuracy=self._accuracies[-1],
            enough=tells_little(self._accuracies, asked),
        )
        return self._asked

    def answer(self, number: int, chosen: str | None, worst: str | None, *, skipped: bool) -> None:
        """Answer the question that is due.

        Raises
        ------
        AnsweredAlreadyError
            Another answer has this number.
        ValueError
            It is not the answer that is due, or it names a picture that was not shown, or one as best and worst.
        """
        if self.person.said(number, "question", chosen=chosen, worst=worst, skipped=skipped):
            return
        question = self.question()
        if question is None or question.number != number:
            raise ValueError("This question was not asked yet. Reload the page.")
        if chosen is not None and chosen == worst:
            raise ValueError("The picture that you like best cannot be the one that you like least.")
        for picture in question.pictures:
            self.person.keep_image(picture.seen.id, self._pictures.file(picture.seen.id))
        self.person.say(number, "question", shown=question.pictures, chosen=chosen, worst=worst, skipped=skipped)

    def stop_asking(self) -> None:
        """They want to go on to steering."""
        self.person.say(len(self.person.answers), "stop")

    def beliefs(self) -> list[Belief]:
        """What is believed of their taste, the surest first."""
        return beliefs(
            self.person.taste.posterior, self._pictures.features, self._pictures.attributes, list(ATTRIBUTES)
        )

    def accuracy(self) -> float:
        """How often, of two pictures, the one that they prefer is expected to be known."""
        return expected_accuracy_of(self.person.taste, self._pictures)

    async def begin(self, resources: SteeringResources, text: str, *, alone: bool = False) -> PromptRun:
        """Begin to steer a prompt; `alone`: have it searched first. Sent twice, it is begun once.

        Raises
        ------
        ValueError
            The prompt is empty or too long, or its folder cannot be made.
        PersonDeletedError
            They were deleted meanwhile.
        """
        text = checked_prompt(text)
        async with self._opening:
            if self._closed:
                raise PersonDeletedError
            if (latest := self._just_begun(text)) is not None:
                return latest
            number = 1 + max((int(name.partition("-")[0]) for name in self.run_names), default=0)
            run = await asyncio.to_thread(PromptRun.create, resources, self.person, self.changes, number, text)
            try:
                if alone:
                    await asyncio.to_thread(self.person.say, len(self.person.answers), "alone", run=run.path.name)
            except BaseException:
                await run.close()
                raise
            self._runs[run.path.name] = run
        run.steered.begin()
        return run

    def _just_begun(self, text: str) -> PromptRun | None:
        """Their last prompt, if it is this one, and nothing has been said of its pictures yet."""
        latest = next(iter(self.runs), None)
        if latest is None or latest.steered.prompt != text:
            return None
        said = self.person.answers_about(latest.path.name)
        return latest if all(answer.kind == "alone" for answer in said) else None

    async def run_of(self, resources: SteeringResources, name: str) -> PromptRun | None:
        """A prompt that they have begun, now or before; None where there is none of this name."""
        async with self._opening:
            if name not in self._runs:
                if self._closed or name not in self.run_names:
                    return None
                folder = await asyncio.to_thread(RunFolder.open, self.person.folder.runs / name)
                self._runs[name] = PromptRun.at(resources, self.person, self.changes, folder)
                self._runs[name].steered.begin()
            return self._runs[name]

    async def open_runs(self, resources: SteeringResources) -> None:
        """Open all prompts that they have begun, now or before."""
        for name in self.run_names:
            await self.run_of(resources, name)

    async def prove(self, resources: SteeringResources) -> None:
        """Make the pairs of what is kept, in the background.

        Raises
        ------
        ValueError
            Nothing is kept.
        """
        await self.open_runs(resources)
        if not self.kept:
            raise ValueError("Keep a picture first; then there is something to compare.")
        if self.proof.stage != "preparing":
            await asyncio.to_thread(self.person.say, len(self.person.answers), "prove")
            self.proof.prepare(self.kept, self.changes.notify)

    async def resume_proof(self, resources: SteeringResources) -> None:
        """Go on with a proof that they asked for before this process was started."""
        await self.open_runs(resources)
        asked = sum(answer.kind == "prove" for answer in self.person.answers)
        if self.kept and self.proof.stage == "none" and asked > self.proof.studies:
            self.proof.prepare(self.kept, self.changes.notify)

    async def close(self) -> None:
        """End all that is under way; from now on no prompt is begun or opened."""
        async with self._opening:  # or a prompt that is being opened would stay open, and lock its folder
            self._closed = True
        self.changes.end()
        await self.proof.close()
        for run in self._runs.values():
            await run.close()
        self.person.close()

    def _shown(self, row: int) -> ShownPicture:
        seen = self._pictures.seen[row]
        return ShownPicture(
            seen=seen,
            file=f"images/{seen.id}.png",
            prompt=self._pictures.subjects[row],
            metadata=self._pictures.metadata[row],
        )

    def _measure(self) -> None:
        """Bring the accuracies up to the last answer; those before it once, after a restart."""
        answers = self.person.answers
        questions = [place for place, answer in enumerate(answers) if answer.kind == "question"]
        for count in range(len(self._accuracies), len(questions)):
            before = KnownTaste(self._taste, answers[: questions[count]])
            self._accuracies.append(expected_accuracy_of(before, self._pictures))
        if len(self._accuracies) == len(questions):
            self._accuracies.append(self.accuracy())


def checked_prompt(text: str) -> str:
    """A prompt as it was typed, without superfluous spaces, and with one for each control character.

    Raises
    ------
    ValueError
        It is empty or too long.
    """
    text = " ".join("".join(" " if category(each) == "Cc" else each for each in text).split())
    if not text:
        raise ValueError("Say what the picture should show.")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"A prompt has at most {MOST_CHARACTERS} characters; this one has {len(text)}.")
    return text
