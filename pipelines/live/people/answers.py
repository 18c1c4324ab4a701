"""answers.jsonl: everything that a person has answered, a line an answer, in the order of time.

The file is append-only and forced to the disk before an answer is confirmed, so that whatever ends the process, the
person goes on behind the last answer that they saw confirmed. A torn last line was never confirmed, and is dropped.
With an answer come the pictures that it is the first to show, and what the predictor saw of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from actors.messages import TasteFeatures
from predictor.data.folders import AppendOnlyLines

Kind = Literal["question", "stop", "alone", "round", "onward", "keep", "prove"]
"""A question to get to know somebody, or that they want no more. Of a prompt: that it is to be searched for them; a
round of steering; going on from a picture of another round; a picture that is kept. At last, that they want a proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPicture:
    """A picture that a person was shown."""

    seen: TasteFeatures
    file: str
    """From the person's folder."""
    prompt: str
    """What the picture was made for, before it was rewritten."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the predictor found of the picture as written, and saw this one by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonAnswer:
    """One answer. Pictures are named by the ids of what the predictor sees of them."""

    number: int
    """From 0."""
    kind: Kind
    shown: tuple[str, ...] = ()
    chosen: str | None = None
    worst: str | None = None
    skipped: bool = False
    run: str | None = None
    """Of steering: the name of the run folder."""
    at: str = ""
    pictures: tuple[ShownPicture, ...] = field(default=())
    """Those that no earlier answer has."""

    @property
    def is_evidence(self) -> bool:
        """Whether it tells something of the person's taste."""
        return self.kind in ("question", "round") and not self.skipped and bool(self.shown)

    @property
    def dislikes_all(self) -> bool:
        """Whether nothing of what was shown was liked, so that each of it was disliked."""
        return self.chosen is None and self.worst is None


class AnswerLog:
    """A person's answers on the disk. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the file, dropping a torn last line for good.

        Raises
        ------
        ValueError
            A whole line does not read back.
        """
        self._turn = Lock()
        lines = enumerate(_whole_lines(path))
        self.answers: list[PersonAnswer] = [_parsed(path, number, line) for number, line in lines]
        self._lines = AppendOnlyLines(path)

    def append(self, answer: PersonAnswer) -> bool:
        """Write an answer; returns once it would survive a power failure. False: it is there already.

        Raises
        ------
        ValueError
            An earlier one is missing.
        OSError
            The disk is full or broken; nothing of the answer is then in the file.
        """
        line = written([answer])
        with self._turn:
            if answer.number < len(self.answers):
                return False
            if answer.number > len(self.answers):
                raise ValueError(f"answer {len(self.answers)} is due, got {answer.number}; reload the page")
            self._lines.append(line)
            self.answers.append(answer)
            return True

    def close(self) -> None:
        self._lines.close()


def written(answers: Sequence[PersonAnswer]) -> bytes:
    """Answers as the file has them."""
    return b"".join(json.dumps(_plain(answer), ensure_ascii=False).encode() + b"\n" for answer in answers)


def _whole_lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _plain(answer: PersonAnswer) -> dict[str, Any]:
    values = {name: value for name, value in _fields(answer).items() if value not in (None, (), "", False)}
    pictures = [_plain_picture(picture) for picture in answer.pictures]
    return {**values, "number": answer.number, **({"pictures": pictures} if pictures else {})}


def _plain_picture(picture: ShownPicture) -> dict[str, Any]:
    values = {**_fields(picture), "seen": _fields(picture.seen)}
    return values if picture.metadata else {name: value for name, value in values.items() if name != "metadata"}


def _fields(value: PersonAnswer | ShownPicture | TasteFeatures) -> dict[str, Any]:
    """Not `asdict`, which copies every number of what was seen."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _parsed(path: Path, number: int, line: bytes) -> PersonAnswer:
    try:
        values: dict[str, Any] = json.loads(line)
        values["pictures"] = tuple(_picture(each) for each in values.get("pictures", ()))
        values["shown"] = tuple(values.get("shown", ()))
        answer = PersonAnswer(**values)
        if answer.number != number:
            raise ValueError(f"it is number {answer.number}")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}, line {number + 1}: not an answer: {error}; mend or remove it") from error
    return answer


def _picture(values: Mapping[str, Any]) -> ShownPicture:
    seen: dict[str, Any] = {**values["seen"], "values": tuple(values["seen"]["values"])}
    fields: dict[str, Any] = {**values, "seen": TasteFeatures(**seen)}
    return ShownPicture(**fields)


def pictures_of(answers: Sequence[PersonAnswer]) -> dict[str, ShownPicture]:
    """Every picture that was shown, by its id."""
    return {picture.seen.id: picture for answer in answers for picture in answer.pictures}
