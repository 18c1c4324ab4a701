"""The gallery's section on trends: their numbers (`trends`) as positions on axes, and as text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.planning.users import is_group, shown_name
from pipelines.reporting.forest_plot import Finding, ForestPlot, round_step
from pipelines.reporting.trends import AudienceAttributes, Difference, Slope, Trends
from predictor.metrics import Interval

MOST_AUDIENCES = 6
"""Rows of a panel. Of more audiences only the groups are shown, and of these the first."""

SHOWN: Mapping[str, tuple[str, str, int, int]] = {
    "luminance": ("Luminance", "mean lightness L*, 0 to 100", 1, 1),
    "contrast": ("Contrast", "standard deviation of L*", 1, 1),
    "saturation": ("Saturation", "mean chroma C*", 1, 1),
    "warmth": ("Warmth", "mean b*: yellow +, blue −", 1, 1),
    "sharpness": ("Sharpness", "log₁₀ variance of Laplacian", 1, 2),
    "vignetting": ("Vignetting", "L* of middle minus border", 1, 1),
    "subject_scale": ("Subject scale", "mean wavelength, ‰ of the side", 1000, 1),
}
"""Attribute -> label, unit of measure, factor to that unit, decimals."""

_UNITS = {"age": "years"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An estimate with its interval, as text."""

    value: str
    low: str
    high: str
    certain: bool
    """Whether the interval excludes zero."""

    @classmethod
    def of(cls, interval: Interval, attribute: str, *, signed: bool = True) -> "Figure":
        _, _, factor, decimals = SHOWN[attribute]
        value, low, high = (
            "unknown"
            if math.isnan(number)
            else f"{factor * number:{'+' if signed else ''}.{decimals}f}".replace("-", "−")
            for number in (interval.value, interval.ci_low, interval.ci_high)
        )
        return cls(value=value, low=low, high=high, certain=interval.ci_low > 0 or interval.ci_high < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The change of one attribute, audience by audience."""

    label: str
    measure: str
    rows: list[tuple[Figure, tuple[Finding, float, float, float]]]
    ticks: list[tuple[float, float]]
    zero: float

    @classmethod
    def of(cls, attribute: str, audiences: Sequence[AudienceAttributes]) -> "Panel":
        label, measure, factor, _ = SHOWN[attribute]
        findings = [
            Finding(
                label=shown_name(each.audience),
                value=factor * each.change[attribute].value,
                ci_low=factor * each.change[attribute].ci_low,
                ci_high=factor * each.change[attribute].ci_high,
            )
            for each in audiences
        ]
        forest = ForestPlot.of(findings)
        figures = [Figure.of(each.change[attribute], attribute) for each in audiences]
        rows = list(zip(figures, forest.bars, strict=True))
        return cls(label=label, measure=measure, rows=rows, ticks=forest.ticks, zero=forest.zero)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """A scatter plot: the change of one attribute against a demographic, a dot a person, with the least-squares line.

    Positions in per cent from the left and from the top.
    """

    label: str
    measure: str
    figure: Figure
    dots: list[tuple[str, float, float]]
    line: tuple[float, float, float, float]
    across: list[tuple[float, float]]
    """Value and position of the ticks of the demographic."""
    up: list[tuple[float, float]]

    @classmethod
    def of(cls, attribute: str, slope: Slope) -> "Scatter":
        label, measure, factor, _ = SHOWN[attribute]
        y, fitted = [factor * v for v in slope.changes[attribute]], factor * slope.values[attribute].value / slope.per
        middle = sum(slope.x) / len(slope.x), sum(y) / len(y)
        ends = [(x, middle[1] + fitted * (x - middle[0])) for x in (min(slope.x), max(slope.x))]
        across = _Axis.over(slope.x)
        up = _Axis.over([*y, *(value for _, value in ends), 0.0])
        return cls(
            label=label,
            measure=measure,
            figure=Figure.of(slope.values[attribute], attribute),
            dots=[(u, across.at(x), 100 - up.at(v)) for u, x, v in zip(slope.users, slope.x, y, strict=True)],
            line=(across.at(ends[0][0]), 100 - up.at(ends[0][1]), across.at(ends[1][0]), 100 - up.at(ends[1][1])),
            across=across.ticks,
            up=[(value, 100 - at) for value, at in up.ticks],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """An axis from one round number to another, with ticks at round steps."""

    step: float
    first: int
    last: int

    @classmethod
    def over(cls, values: Sequence[float]) -> "_Axis":
        step = round_step((max(values) - min(values)) / 3 or 1.0)
        first = math.floor(min(values) / step)
        return cls(step=step, first=first, last=max(math.ceil(max(values) / step), first + 1))

    def at(self, value: float) -> float:
        return round(100 * (value / self.step - self.first) / (self.last - self.first), 2)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        return [(n * self.step, self.at(n * self.step)) for n in range(self.first, self.last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendsShown:
    """The gallery's section on trends."""

    kind: str
    """Whether the panels show groups, people, or both."""
    panels: list[Panel]
    finals: list[tuple[str, str, list[Figure]]]
    """Audience, its number of people, and the mean of each attribute of its final images."""
    differences: list[tuple[str, list[Figure]]]
    along: str
    """The x axis of the scatter plots with its unit, such as "10 years of age"."""
    column: str
    scatters: list[Scatter]
    caveat_of_panels: str | None
    caveat_of_scatters: str | None

    @classmethod
    def of(cls, trends: Trends) -> "TrendsShown | None":
        """None where there are too many people for panels, and no numeric demographic."""
        audiences = list(trends.audiences)
        if len(audiences) > MOST_AUDIENCES:
            audiences = [each for each in audiences if is_group(each.audience)][:MOST_AUDIENCES]
        panels = [Panel.of(attribute, audiences) for attribute in SHOWN] if len(audiences) > 1 else []
        slope = min(trends.slopes, key=lambda slope: slope.column != "age", default=None)
        if not panels and slope is None:
            return None
        groups = sum(is_group(each.audience) for each in audiences)
        return cls(
            kind="groups" if groups == len(audiences) and panels else "groups and people" if groups else "people",
            panels=panels,
            finals=[(shown_name(each.audience), _people(each.people), _finals(each)) for each in audiences],
            differences=[(_difference_name(d), _values(d)) for d in trends.differences] if panels else [],
            along="" if slope is None else _along(slope),
            column="" if slope is None else slope.column,
            scatters=[] if slope is None else [Scatter.of(attribute, slope) for attribute in SHOWN],
            caveat_of_panels=trends.caveat_of_prompts,
            caveat_of_scatters=trends.caveat_of_people,
        )


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _finals(audience: AudienceAttributes) -> list[Figure]:
    return [Figure.of(audience.final[attribute], attribute, signed=False) for attribute in SHOWN]


def _values(difference: Difference) -> list[Figure]:
    return [Figure.of(difference.values[attribute], attribute) for attribute in SHOWN]


def _difference_name(difference: Difference) -> str:
    return f"({shown_name(difference.a)}) − ({shown_name(difference.b)})"


def _along(slope: Slope) -> str:
    unit = _UNITS.get(slope.column)
    return f"{slope.per} {unit} of {slope.column}" if unit else f"{slope.per} of {slope.column}"
