"""A person who is here: their folder, what they have answered, and what is known of their taste, kept in step.

Invariant: an answer is on the disk before it is evidence, and evidence before anybody is told that it was taken.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from pipelines.live.people.answers import Kind, PersonAnswer, ShownPicture, pictures_of
from pipelines.live.people.folder import PersonFolder
from pipelines.live.people.known_taste import KnownTaste
from predictor.taste.hierarchical import Taste

logger = logging.getLogger(__name__)


class AnsweredAlreadyError(ValueError):
    """Another device, tab or click was first, with another answer; that one stands."""


class LivePerson:
    """Safe to use from several threads; two devices of one person share it.

    Raises
    ------
    ValueError
        Their answers do not read.
    """

    def __init__(self, folder: PersonFolder, taste: Taste) -> None:
        self.folder = folder
        self._log = folder.log()
        self._turn = RLock()
        self.taste = KnownTaste(taste, self._log.answers)
        self._write_choices()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def answers(self) -> Sequence[PersonAnswer]:
        return self._log.answers

    def answers_about(self, run: str) -> list[PersonAnswer]:
        """Their answers while one prompt was steered."""
        return [answer for answer in self.answers if answer.run == run]

    def said(
        self,
        number: int,
        kind: Kind,
        *,
        chosen: str | None = None,
        worst: str | None = None,
        skipped: bool = False,
        run: str | None = None,
    ) -> bool:
        """Whether this very answer was taken before: a browser that saw no confirmation sends it again.

        Raises
        ------
        AnsweredAlreadyError
            Another answer has this number.
        """
        if number >= len(self.answers):
            return False
        before = self.answers[number]
        given = (kind, chosen, worst, skipped, run)
        if given != (before.kind, before.chosen, before.worst, before.skipped, before.run):
            raise AnsweredAlreadyError(f"answer {number} was given already, and that one counts")
        return True

    def say(
        self,
        number: int,
        kind: Kind,
        *,
        shown: Sequence[ShownPicture] = (),
        chosen: str | None = None,
        worst: str | None = None,
        skipped: bool = False,
        run: str | None = None,
    ) -> bool:
        """Take an answer; False where this very answer was taken before.

        Raises
        ------
        AnsweredAlreadyError
            Another answer has this number.
        ValueError
            An earlier answer is missing, or what was chosen was not shown.
        """
        names = [picture.seen.id for picture in shown]
        for name in (chosen, worst):
            if shown and name is not None and name not in names:
                raise ValueError("what was chosen was not among the pictures shown; reload the page")
        with self._turn:
            if self.said(number, kind, chosen=chosen, worst=worst, skipped=skipped, run=run):
                return False
            known = pictures_of(self.answers)
            answer = PersonAnswer(
                number=number,
                kind=kind,
                shown=tuple(names),
                chosen=chosen,
                worst=worst,
                skipped=skipped,
                run=run,
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                pictures=tuple(picture for picture in shown if picture.seen.id not in known),
            )
            self._log.append(answer)
            self.taste.take(answer)
            self._write_choices()
            return True

    def keep_image(self, image_id: str, source: Path) -> str:
        """Copy a picture into their folder, where it is not yet; returns its file from there."""
        with self._turn:
            return self.folder.keep_image(image_id, source)

    def _write_choices(self) -> None:
        """The tables that others read; an answer counts without them, as they are written anew with the next."""
        try:
            self.folder.write_choices(self.answers)
        except OSError as error:
            logger.warning("%s: choices.parquet is not up to date: %s", self.folder.path, error)

    def close(self) -> None:
        self._log.close()
