"""The lowest and the highest rating there could be, and whether ratings look as if they were on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ENOUGH = 5
_CORNER = 0.25


@dataclass(frozen=True, slots=True)
class RatingScale:
    """From the lowest rating to the highest.

    Raises
    ------
    ValueError
        It does not ascend, or an end is not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"--scale must be two finite numbers, LOW,HIGH, got '{self.low:g},{self.high:g}'")
        if not self.low < self.high:
            raise ValueError(f"the rating scale must ascend, got {self.low:g} to {self.high:g}")

    @classmethod
    def of(cls, scale: "RatingScale | tuple[float, float] | str") -> "RatingScale":
        """Of its two ends, or of LOW,HIGH."""
        if isinstance(scale, RatingScale):
            return scale
        return cls.parse(scale if isinstance(scale, str) else ",".join(map(str, scale)))

    @classmethod
    def parse(cls, text: str) -> "RatingScale":
        """Of LOW,HIGH."""
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError as error:
            raise ValueError(f"--scale must be two numbers, LOW,HIGH, got {text!r}") from error
        return cls(low, high)

    def question(self, ratings: Sequence[float]) -> str | None:
        """What is odd about ratings that all lie in a quarter of the scale at one of its ends; None if nothing is."""
        if len(ratings) < _ENOUGH:
            return None
        least, most, width = min(ratings), max(ratings), _CORNER * (self.high - self.low)
        if self.low + width < most and least < self.high - width:
            return None
        return (
            f"all {len(ratings):,} ratings are from {least:g} to {most:g}, in a corner of the scale "
            f"{self.low:g} to {self.high:g}"
        )
