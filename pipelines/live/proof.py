"""The proof: blind pairs of what was just made, one's own picture in each, and what the votes say.

A study folder like any other, on studies' own design, store and session; `steer-study elo` takes it. Each kept prompt
gives a pair with the picture as written, one with what suits most people, and one with what suits somebody else; few
prompts give them again with fresh seeds. No name, order or byte of what is served tells which is which.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from scipy.stats import binomtest

from pipelines.live.prompt_run import PromptRun
from studies.design.making import make_pairs
from studies.design.steered_images import SteeredImages, read_steered_images
from studies.session import Question, StudySession
from studies.store.database import read_rows
from studies.store.store import Participant as Voter
from studies.store.store import Store
from studies.study import Study, read_study

logger = logging.getLogger(__name__)

LEAST, MOST = 10, 20
"""Pairs below which a proof can hardly show anything, and above which it becomes tiresome."""
_RIVALS = {
    "initial": "the picture as written",
    "population": "what suits most people",
    "other": "what suits somebody else",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How often one's own picture was preferred."""

    against: str
    """In words."""
    wins: int
    votes: int
    low: float
    high: float
    """Ends of the exact 95% interval (Clopper and Pearson 1934) of the share."""

    @property
    def share(self) -> float:
        return self.wins / self.votes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofResult:
    """What the votes say."""

    whole: Share
    parts: Sequence[Share]
    """By rival."""
    missing: Sequence[str] = ()
    """Rivals that were not compared, in words."""

    @property
    def headline(self) -> str:
        if self.whole.low > 0.5:
            return "It worked: you prefer the pictures made for you."
        if self.whole.high < 0.5:
            return "It did not work: you prefer the other pictures."
        return "These votes do not tell whether it worked."

    @property
    def caution(self) -> str:
        """What so few votes cannot say."""
        if self.whole.low > 0.5:
            return (
                "That holds for these prompts and this sitting. Whether it holds for other prompts, only more prompts "
                "can tell: pairs of one prompt resemble each other, and the interval takes them for independent."
            )
        need = (
            "Keep pictures for more prompts, and prove again: it takes about 50 votes to tell a true share of 70% from "
            "half, four times in five."
        )
        if self.whole.high < 0.5:
            return f"What was learnt of your taste so far misleads. Answering more questions may mend it. {need}"
        return f"A share of one half, which is chance, lies within the interval. {need}"


class Proof:
    """One person's blind comparison. Used from one event loop; the methods of the study from threads too."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._earlier = folder.with_name("earlier-studies")
        self._name = name
        self._session: StudySession | None = None
        self._voter: Voter | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = Lock()
        self.problem = ""
        if (folder / "study.json").is_file():
            self._open(read_study(folder))

    @property
    def stage(self) -> str:
        """`none`, `preparing`, `failed`, `pairs` or `done`."""
        if self._task is not None and not self._task.done():
            return "preparing"
        if self.problem:
            return "failed"
        if self._session is None:
            return "none"
        return "pairs" if self.question() is not None else "done"

    @property
    def studies(self) -> int:
        """How many were made so far."""
        return len(list(self._earlier.glob("*/study.json"))) + (self._folder / "study.json").is_file()

    @property
    def study(self) -> Study:
        assert self._session is not None
        return self._session.study

    def prepare(self, runs: Sequence[PromptRun], changed: Callable[[], None]) -> None:
        """Search for the rivals, then make the study, in the background; a proof that is done gives way."""
        if self._task is None or self._task.done():
            self.problem = ""
            self._task = asyncio.create_task(self._prepare(runs, changed))

    def question(self) -> Question | None:
        """The pair that is due."""
        assert self._session is not None and self._voter is not None
        return self._session.state(self._voter).question

    def vote(self, position: int, winner: str, response_ms: int | None, layout: str | None) -> str:
        """Record a vote, unless there is one; the one that stands is on the disk when this returns.

        Raises
        ------
        ValueError
            The pair was not asked, or the winner is neither of the two.
        """
        assert self._session is not None and self._voter is not None
        self._session.vote(self._voter.participant, position, winner, response_ms, layout)
        return next(str(vote["winner"]) for vote in self.votes() if vote["position"] == position)

    def asset(self, item_id: str) -> bytes | None:
        """A picture of the study, by its random name."""
        if self._session is None or item_id not in self.study.items:
            return None
        return self.study.asset(item_id).read_bytes()

    def result(self) -> ProofResult:
        """How often one's own was preferred, by rival and altogether."""
        wins: dict[str, list[bool]] = {}
        for vote in self.votes():
            left, right = (self.study.items[vote[side]].condition_for(self._name) for side in ("left", "right"))
            won = left if vote["winner"] == "left" else right
            wins.setdefault(right if left == "own" else left, []).append(won == "own")
        parts = [share_of(_RIVALS.get(rival, rival), each) for rival, each in sorted(wins.items())]
        return ProofResult(
            whole=share_of("all of them", [won for each in wins.values() for won in each]),
            parts=parts,
            missing=[words for rival, words in _RIVALS.items() if rival not in wins],
        )

    def votes(self) -> list[dict[str, Any]]:
        """In the order in which they were asked."""
        columns = "position, trial_id, left, right, winner"
        return read_rows(self.study.database, f"SELECT {columns} FROM votes ORDER BY position")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        """After a study that is being made: its thread outlives the task that waited for it."""
        with self._turn:
            if self._session is not None:
                self._session.store.close()

    async def _prepare(self, runs: Sequence[PromptRun], changed: Callable[[], None]) -> None:
        try:
            of_each_prompt = {run.steered.prompt: run for run in runs}  # the last picture that was kept of each
            chosen = list(of_each_prompt.values())[-(MOST // len(_RIVALS)) :]
            for run in chosen:
                await run.search_rivals()
                await asyncio.to_thread(run.write_results)
            images = await self._images(chosen)
            await asyncio.to_thread(self._make, images, [run.path for run in chosen])
        except (RuntimeError, ValueError, OSError) as error:
            logger.exception("%s: the proof could not be made", self._name)
            self.problem = str(error)
        finally:
            changed()

    async def _images(self, runs: Sequence[PromptRun]) -> SteeredImages:
        """What is compared; where few prompts give too few pairs, their pictures come again with fresh seeds."""
        images = await asyncio.to_thread(read_steered_images, [run.path for run in runs])
        further = -(-LEAST // (len(_RIVALS) * len(runs))) - 1
        by_prompt = {run.steered.prompt: run for run in runs}
        again = [await by_prompt[entry.prompt].drawn_again(entry, further) for entry in images.prompts]
        return replace(images, prompts=(*images.prompts, *(entry for made in again for entry in made)))

    def _make(self, images: SteeredImages, runs: Sequence[Path]) -> None:
        """Make the study of these pictures, and open it; the one before goes to the earlier ones."""
        choices = {
            "title": "Which picture do you prefer?",
            "block": MOST,
            "repeats": 0.0,
            "attention": 0,
            "practice": 0,
        }
        with self._turn:
            if self._session is not None:
                self._session.store.close()
                self._session = None
            if self._folder.exists():
                self._earlier.mkdir(exist_ok=True)
                shutil.move(self._folder, self._earlier / f"{len(list(self._earlier.iterdir())) + 1:02d}")
            others = len(images.users)
            study = make_pairs(images, runs, self._folder, others=others, choices=choices, only_own_of=self._name)
            self._open(study)

    def _open(self, study: Study) -> None:
        store = Store(study.database)
        session = StudySession(study, store, approve_all=True)
        if store.of_user(self._name) is None:
            ((invited, _),) = store.invite([self._name])
            store.consent(invited)
            store.record_demographics(invited, {})
        self._session, self._voter = session, store.of_user(self._name)


def share_of(against: str, wins: Sequence[bool]) -> Share:
    """How often one's own was preferred, with the exact interval."""
    interval = binomtest(sum(wins), len(wins)).proportion_ci(0.95, "exact")
    return Share(against=against, wins=sum(wins), votes=len(wins), low=float(interval.low), high=float(interval.high))
