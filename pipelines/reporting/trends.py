"""Trends: what audiences were steered to, by attributes of their final images (paper, Fig. 7).

Attributes are measured from the pixels (`predictor.simulation.attributes`). The change of an attribute is its value in
the final image minus that in the initial image. All audiences share a prompt's initial image, so the subject of the
prompt cancels, in changes as in differences of two groups, which are paired by prompt. Runs of a prompt are averaged.

    an audience, two groups  the units of the bootstrap are prompts: the interval is for other prompts
    along a demographic      the units are people, averaged over their prompts: the interval is for other people

All intervals are 95% percentile bootstraps. The raters' true taste is not used.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.planning.users import Audience
from predictor.metrics import Interval, as_dicts, means_over_users, percentile_interval, resampled_users
from predictor.simulation.attributes import ATTRIBUTES
from predictor.simulation.verdict import Steered

FEW = 6
"""A bootstrap over fewer prompts or people than this gives too narrow intervals; the trends say so."""
MOST_IN_ALL_PAIRS = 4
"""Up to so many groups, all pairs are compared; of more groups, each with the first."""
FEWEST_FOR_A_SLOPE = 3
REPLICATES = 2000

_PER = {"age": 10}
"""Units of a column that a slope is given for; 1 for any other column."""

Figures = Mapping[str, Interval]
"""Attribute -> estimate with its interval, in the attribute's own units."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceAttributes:
    """Attributes of the final images of one audience, and their changes."""

    audience: str
    people: int
    prompts: int
    final: Figures
    change: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Attributes of group `a`'s final images minus those of group `b`'s, over the prompts that both have finished."""

    a: str
    b: str
    prompts: int
    values: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Regression slope of each attribute's change along a numeric demographic of people.

    Where all have finished the same prompts, this is the slope of the final attribute too.
    """

    column: str
    per: int
    """Units of the column that the slopes are given for, such as 10 years."""
    values: Figures
    users: tuple[str, ...]
    x: tuple[float, ...]
    """Of each user."""
    changes: Mapping[str, tuple[float, ...]]
    """Attribute -> mean change over prompts, of each user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """The mean change of each attribute over the people of one category."""

    column: str
    category: str
    people: int
    values: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """The trends of one run."""

    audiences: tuple[AudienceAttributes, ...]
    differences: tuple[Difference, ...]
    slopes: tuple[Slope, ...]
    categories: tuple[Category, ...]

    @property
    def caveat_of_prompts(self) -> str | None:
        """What to say where audiences and differences rest on few prompts."""
        return _caveat(min(audience.prompts for audience in self.audiences), "prompt", "prompts")

    @property
    def caveat_of_people(self) -> str | None:
        """What to say where slopes rest on few people."""
        return _caveat(min((len(slope.users) for slope in self.slopes), default=FEW), "person", "people")

    def as_dict(self) -> dict[str, object]:
        return {
            "attributes": list(ATTRIBUTES),
            "audiences": [
                {
                    "audience": each.audience,
                    "people": each.people,
                    "prompts": each.prompts,
                    "final": as_dicts(each.final),
                    "change": as_dicts(each.change),
                }
                for each in self.audiences
            ],
            "differences": [
                {"a": d.a, "b": d.b, "prompts": d.prompts, "a - b": as_dicts(d.values)} for d in self.differences
            ],
            "slopes": [
                {
                    "column": slope.column,
                    "per": slope.per,
                    "people": len(slope.users),
                    "slope of change": as_dicts(slope.values),
                    "points": [
                        {"user": user, slope.column: x, "change": {a: slope.changes[a][n] for a in ATTRIBUTES}}
                        for n, (user, x) in enumerate(zip(slope.users, slope.x, strict=True))
                    ],
                }
                for slope in self.slopes
            ],
            "categories": [
                {"column": c.column, "category": c.category, "people": c.people, "change": as_dicts(c.values)}
                for c in self.categories
            ],
            "caveats": [caveat for caveat in (self.caveat_of_prompts, self.caveat_of_people) if caveat],
        }


def trends(
    cases: Sequence[Steered],
    attributes: Mapping[str, Array],
    audiences: Sequence[Audience],
    demographics: Mapping[str, Mapping[str, Any]],
    *,
    seed: int = 0,
) -> Trends | None:
    """Compare what audiences were steered to.

    Parameters
    ----------
    cases
        Initial and final images, by audience name.
    attributes
        Image key -> measured attributes, shape (7,), of every initial and final image.
    audiences
        Groups and persons. Of two groups, the later one minus the earlier one is taken.
    demographics
        User -> column -> value. It may lack users and values.

    Returns
    -------
    None where fewer than two audiences have a finished prompt.
    """
    steered = {case.user for case in cases}
    present = [audience for audience in audiences if audience.name in steered]
    if len(present) < 2:
        return None
    by_prompt = _by_prompt(cases, attributes)
    groups = [audience.name for audience in present if audience.is_group]
    changes = {a.name: np.mean([change for _, change in by_prompt[a.name].values()], 0) for a in present}
    known = {user: demographics[user] for user in sorted(changes.keys() - set(groups)) if user in demographics}
    slopes, categories = [], []
    for column in dict.fromkeys(column for values in known.values() for column in values):
        values = {user: row[column] for user, row in known.items() if row.get(column) is not None}
        if all(isinstance(value, Real) and not isinstance(value, bool) for value in values.values()):
            slopes += _slope(column, values, changes, seed)
        else:
            categories += _categories(column, values, changes, seed)
    return Trends(
        audiences=tuple(_attributes(audience, by_prompt[audience.name], seed) for audience in present),
        differences=tuple(_differences(groups, by_prompt, seed)),
        slopes=tuple(slopes),
        categories=tuple(categories),
    )


def _caveat(count: int, one: str, many: str) -> str | None:
    if count >= FEW:
        return None
    return f"Only {count} {one if count == 1 else many}: a bootstrap over so few gives intervals that are too narrow."


ByPrompt = Mapping[str, tuple[Array, Array]]
"""Prompt, in a fixed order -> attributes of the final image (7,), and their change from the initial one (7,)."""


def _by_prompt(cases: Sequence[Steered], attributes: Mapping[str, Array]) -> dict[str, ByPrompt]:
    runs: dict[str, dict[str, list[tuple[Array, Array]]]] = defaultdict(lambda: defaultdict(list))
    for case in sorted(cases, key=lambda case: (case.prompt_id, case.run)):
        final = attributes[case.final]
        runs[case.user][case.prompt_id].append((final, final - attributes[case.initial]))
    return {
        user: {
            prompt: (np.mean([f for f, _ in pairs], 0), np.mean([c for _, c in pairs], 0))
            for prompt, pairs in of.items()
        }
        for user, of in runs.items()
    }


def _attributes(audience: Audience, by_prompt: ByPrompt, seed: int) -> AudienceAttributes:
    final, change = np.array(list(by_prompt.values())).transpose(1, 0, 2)  # (prompts, 7) each
    return AudienceAttributes(
        audience=audience.name,
        people=len(audience.user_ids),
        prompts=len(by_prompt),
        final=_means(final, seed),
        change=_means(change, seed),
    )


def _differences(groups: Sequence[str], by_prompt: Mapping[str, ByPrompt], seed: int) -> Iterator[Difference]:
    every = combinations(groups, 2)
    for b, a in every if len(groups) <= MOST_IN_ALL_PAIRS else ((groups[0], later) for later in groups[1:]):
        both = [prompt for prompt in by_prompt[a] if prompt in by_prompt[b]]
        if both:
            paired = np.array([by_prompt[a][prompt][0] - by_prompt[b][prompt][0] for prompt in both])
            yield Difference(a=a, b=b, prompts=len(both), values=_means(paired, seed))


def _slope(column: str, values: Mapping[str, Any], changes: Mapping[str, Array], seed: int) -> Iterator[Slope]:
    """The slope; none where there are too few people, or all have the same value."""
    if len(values) < FEWEST_FOR_A_SLOPE or len(set(values.values())) < 2:
        return
    x, y = np.array(list(values.values()), np.float64), np.array([changes[user] for user in values])
    per = _PER.get(column, 1)
    weights = resampled_users(len(x), seed=seed, replicates=REPLICATES)
    value, replicates = per * _least_squares(np.ones((1, len(x))), x, y)[0], per * _least_squares(weights, x, y)
    yield Slope(
        column=column,
        per=per,
        values={a: percentile_interval(float(value[n]), replicates[:, n]) for n, a in enumerate(ATTRIBUTES)},
        users=tuple(values),
        x=tuple(x.tolist()),
        changes={attribute: tuple(y[:, n].tolist()) for n, attribute in enumerate(ATTRIBUTES)},
    )


def _least_squares(weight: NDArray[Any], x: Array, y: Array) -> Array:
    """Slopes of the columns of y (U, 7) along x (U,) for each weighting (R, U); nan where one x has all the weight."""
    x, y = x - x.mean(), y - y.mean(0)
    total = weight.sum(1)
    mean = weight @ x / total
    squares = weight @ x**2 / total - mean**2
    products = weight @ (x[:, None] * y) / total[:, None] - mean[:, None] * (weight @ y / total[:, None])
    squares[squares <= 1e-12 * (x**2).max()] = np.nan
    return products / squares[:, None]


def _categories(column: str, values: Mapping[str, Any], changes: Mapping[str, Array], seed: int) -> Iterator[Category]:
    """The categories of at least two people."""
    people: dict[str, list[str]] = defaultdict(list)
    for user, value in values.items():
        people[str(value)].append(user)
    for category, users in sorted(people.items()):
        if len(users) > 1:
            means = _means(np.array([changes[user] for user in users]), seed)
            yield Category(column=column, category=category, people=len(users), values=means)


def _means(values: Array, seed: int) -> dict[str, Interval]:
    """Mean of each attribute over independent units (N, 7)."""
    return means_over_users({a: values[:, n] for n, a in enumerate(ATTRIBUTES)}, seed=seed, replicates=REPLICATES)
