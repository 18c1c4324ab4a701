"""What a check says of a candidate that does not pass it."""

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """What may object to a candidate: a guard, or a filter that saves renders."""

    SUBJECT = "subject"
    IMAGE = "image"
    HELD_OUT = "held-out"
    DRIFT = "drift"
    RESEED = "reseed"
    SCREEN = "screen"
    NOVELTY = "novelty"
    PREVIEW = "preview"


@dataclass(frozen=True, slots=True)
class Notice:
    """One objection: the check, what it measured, the limit that this lies beyond, and the same in words.

    Example:

        notice = Notice(Check.DRIFT, measured=60.0, limit=56.0, words="saturation rises from 20 to 60")
        str(notice) == "drift: saturation rises from 20 to 60"
    """

    check: Check
    measured: float
    limit: float
    words: str

    def __str__(self) -> str:
        """As the tables judgements.parquet and winners.parquet hold it."""
        return f"{self.check}: {self.words}"
