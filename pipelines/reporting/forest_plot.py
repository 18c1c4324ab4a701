"""Forest plots: estimates with confidence intervals on one axis. Positions in per cent of the plot's width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How far two conditions lie apart, with its 95% interval.

    Example:

        Finding(label="own − other", value=0.21, ci_low=0.17, ci_high=0.25)
    """

    label: str
    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestPlot:
    """Findings as dots with interval bars. The axis always includes zero."""

    bars: list[tuple[Finding, float, float, float]]
    """Finding, and the positions of its lower end, its value and its upper end."""
    ticks: list[tuple[float, float]]
    """Value and position of each."""
    zero: float

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> "ForestPlot":
        low = min(0.0, *(f.ci_low for f in findings))
        high = max(0.0, *(f.ci_high for f in findings))
        step = round_step((high - low) / 3 or 0.25)
        first, last = math.floor(low / step), math.ceil(high / step) or 1

        def at(value: float) -> float:
            return round(100 * (value / step - first) / (last - first), 2)

        return cls(
            bars=[(f, at(f.ci_low), at(f.value), at(f.ci_high)) for f in findings],
            ticks=[(n * step, at(n * step)) for n in range(first, last + 1)],
            zero=at(0),
        )


def round_step(least: float) -> float:
    """The least of 1, 2, 5, 10 times a power of ten that is no smaller than `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
