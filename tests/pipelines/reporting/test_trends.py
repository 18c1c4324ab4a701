"""Trends on made-up attributes, whose means, differences and slopes are known."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.planning.users import Audience
from pipelines.reporting.trends import Trends, trends
from predictor.metrics import bootstrap_mean
from predictor.simulation.attributes import ATTRIBUTES
from predictor.simulation.verdict import Steered

YOUNG, MIDDLE, OLD = (f"group:age {ages}" for ages in ("< 30", "between 30 and 49", ">= 50"))
GROUPS = tuple(Audience(name=name, user_ids=("u1", "u2")) for name in (YOUNG, MIDDLE, OLD))
SATURATION = ATTRIBUTES.index("saturation")
AGES = (20, 25, 31, 38, 46, 52, 60, 71)


def test_an_audience_has_the_means_of_its_prompts_with_bootstrap_intervals_over_prompts() -> None:
    world = World.random(0, GROUPS, prompts=8)

    young = world.trends().audiences[0]

    final = np.array([world.attributes[case.final][SATURATION] for case in world.cases if case.user == YOUNG])
    reference = bootstrap_mean(final)
    assert (young.audience, young.people, young.prompts) == (YOUNG, 2, 8)
    assert young.final["saturation"].value == pytest.approx(reference.value)
    assert young.final["saturation"].ci_low == pytest.approx(reference.ci_low, abs=0.1 * final.std())
    assert young.final["saturation"].ci_high == pytest.approx(reference.ci_high, abs=0.1 * final.std())


@settings(deadline=None, max_examples=15)  # each is a whole bootstrap
@given(seed=st.integers(0, 99), shift=st.floats(-50, 50), runs=st.integers(1, 2))
def test_what_is_added_to_a_groups_final_images_is_added_to_its_means_and_differences(
    seed: int, shift: float, runs: int
) -> None:
    world = World.random(seed, GROUPS, runs=runs)
    finals = {case.final for case in world.cases if case.user == OLD}
    shifted = World(world.cases, {k: v + shift * (k in finals) for k, v in world.attributes.items()}, GROUPS)

    before, after = world.trends(), shifted.trends()

    assert after.audiences[:2] == before.audiences[:2]
    assert after.differences[0] == before.differences[0]
    for attribute in ATTRIBUTES:
        for old, new in (
            (before.audiences[2].final, after.audiences[2].final),
            (before.audiences[2].change, after.audiences[2].change),
            (before.differences[1].values, after.differences[1].values),
        ):
            for end in ("value", "ci_low", "ci_high"):
                assert getattr(new[attribute], end) == pytest.approx(getattr(old[attribute], end) + shift, abs=1e-9)


@settings(deadline=None, max_examples=15)  # each is a whole bootstrap
@given(seed=st.integers(0, 99))
def test_what_a_prompt_shows_cancels_in_changes_and_differences(seed: int) -> None:
    world = World.random(seed, GROUPS)
    pictures = {key: case.prompt_id for case in world.cases for key in (case.initial, case.final)}
    subject = {prompt: number * np.arange(7.0) for number, prompt in enumerate(sorted(set(pictures.values())))}
    other = World(world.cases, {k: v + subject[pictures[k]] for k, v in world.attributes.items()}, GROUPS)

    before, after = world.trends(), other.trends()

    for attribute in ATTRIBUTES:
        assert after.audiences[0].change[attribute].value == pytest.approx(before.audiences[0].change[attribute].value)
        assert after.differences[0].values[attribute].ci_low == pytest.approx(
            before.differences[0].values[attribute].ci_low
        )


@settings(deadline=None, max_examples=15)  # each is a whole bootstrap
@given(order=st.permutations(range(12)))
def test_the_order_in_which_outcomes_come_does_not_matter(order: list[int]) -> None:
    world = World.random(3, GROUPS)

    assert World([world.cases[n] for n in order], world.attributes, GROUPS).trends() == world.trends()


def test_up_to_four_groups_are_compared_each_with_each_and_more_with_the_first() -> None:
    many = [Audience(name=f"group:{n}", user_ids=(f"u{n}",)) for n in range(5)]

    three = World.random(0, GROUPS).trends().differences
    five = World.random(0, many).trends().differences

    assert [(d.a, d.b) for d in three] == [(MIDDLE, YOUNG), (OLD, YOUNG), (OLD, MIDDLE)]
    assert [(d.a, d.b) for d in five] == [(f"group:{n}", "group:0") for n in range(1, 5)]


def test_differences_are_over_the_prompts_that_both_have_finished() -> None:
    world = World.random(1, GROUPS, prompts=8)
    rest = [case for case in world.cases if (case.user, case.prompt_id) not in {(YOUNG, "p0"), (OLD, "p1")}]

    found = World(rest, world.attributes, GROUPS).trends()

    assert [audience.prompts for audience in found.audiences] == [7, 8, 7]
    assert [d.prompts for d in found.differences] == [7, 6, 7]


@settings(deadline=None, max_examples=15)  # each is a whole bootstrap
@given(slope=st.floats(-3, 3), seed=st.integers(0, 99))
def test_the_slope_by_age_is_recovered_per_ten_years(slope: float, seed: int) -> None:
    world = World.of_people(seed, slope=slope, noise=0)

    (found,) = world.trends().slopes

    assert (found.column, found.per, len(found.users)) == ("age", 10, len(AGES))
    assert found.values["saturation"].value == pytest.approx(slope * 10, abs=1e-6)
    assert found.values["saturation"].ci_low == pytest.approx(slope * 10, abs=1e-6)
    assert found.values["luminance"].value == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_the_slopes_interval_holds_the_true_slope_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        interval = World.of_people(seed, slope=-0.3, noise=2, ages=range(18, 78, 2)).trends().slopes[0].values
        held += interval["saturation"].ci_low <= -3 <= interval["saturation"].ci_high

    assert 85 <= held <= 100


def test_a_demographic_in_words_gives_means_by_category_of_two_people_or_more() -> None:
    genders = ("female", "male", "female", "male", "male", "female", "male", "non-binary")

    found = World.of_people(0, slope=0, noise=1, gender=genders).trends().categories

    assert [(c.column, c.category, c.people) for c in found] == [("gender", "female", 3), ("gender", "male", 4)]


def test_people_without_an_age_and_groups_have_no_part_in_slopes() -> None:
    world = World.of_people(0, slope=1, noise=0)
    world.demographics["u0"]["age"] = None
    del world.demographics["u1"]
    group = Audience(name=YOUNG, user_ids=("u0", "u1"))
    added = World.random(0, [group])
    both = World(
        [*world.cases, *added.cases],
        {**world.attributes, **added.attributes},
        [*world.audiences, group],
        world.demographics,
    )

    assert both.trends().slopes[0].users == tuple(f"u{n}" for n in range(2, len(AGES)))


@pytest.mark.parametrize("ages", [(30, 40), (30, 30, 30)])
def test_too_few_people_or_one_age_have_no_slope(ages: Sequence[int]) -> None:
    assert World.of_people(0, slope=1, noise=0, ages=ages).trends().slopes == ()


@pytest.mark.parametrize(
    "prompts, people, caveats",
    [(6, 8, []), (5, 8, ["Only 5 prompts"]), (1, 5, ["Only 1 prompt", "Only 5 people"]), (6, 5, ["Only 5 people"])],
)
def test_few_prompts_or_people_are_said_to_make_intervals_too_narrow(
    prompts: int, people: int, caveats: list[str]
) -> None:
    found = World.of_people(0, slope=0, noise=1, ages=AGES[:people], prompts=prompts).trends().as_dict()["caveats"]

    assert isinstance(found, list)
    assert [caveat.split(":")[0] for caveat in found] == caveats
    assert all("too narrow" in caveat for caveat in found)


def test_one_audience_alone_has_no_trends() -> None:
    world = World.random(0, GROUPS[:1])

    assert trends(world.cases, world.attributes, GROUPS, {}) is None


def test_trends_are_plain_json_that_tells_what_has_no_value() -> None:
    world = World.of_people(0, slope=1, noise=0, ages=(20, 20, 50), prompts=1)

    text = json.dumps(world.trends().as_dict(), allow_nan=False)

    assert json.loads(text)["slopes"][0]["points"][2]["age"] == 50
    assert not math.isnan(json.loads(text)["slopes"][0]["slope of change"]["saturation"]["value"])


class World:
    """What was steered for whom, and what the images measure."""

    def __init__(
        self,
        cases: Sequence[Steered],
        attributes: Mapping[str, np.ndarray],
        audiences: Sequence[Audience],
        demographics: dict[str, dict[str, object]] | None = None,
    ) -> None:
        self.cases = cases
        self.attributes = attributes
        self.audiences = audiences
        self.demographics = demographics or {}

    @classmethod
    def random(cls, seed: int, audiences: Sequence[Audience], *, prompts: int = 4, runs: int = 1) -> "World":
        """Every image measures something else; the initial image of a prompt is the same for all."""
        rng = np.random.default_rng(seed)
        cases = [
            Steered(user=a.name, prompt_id=f"p{p}", run=run, initial=f"p{p}", final=f"{a.name}/p{p}/{run}")
            for p in range(prompts)
            for a in audiences
            for run in range(1, runs + 1)
        ]
        keys = dict.fromkeys(key for case in cases for key in (case.initial, case.final))
        return cls(cases, {key: rng.normal(0, 5, len(ATTRIBUTES)) for key in keys}, audiences)

    @classmethod
    def of_people(
        cls, seed: int, *, slope: float, noise: float, ages: Sequence[float] = AGES, prompts: int = 6, **words: Sequence
    ) -> "World":
        """People whose final images are the more saturated the older they are, by `slope` a year."""
        people = [Audience(name=f"u{n}", user_ids=(f"u{n}",)) for n in range(len(ages))]
        world = cls.random(seed, people, prompts=prompts)
        rng, age = np.random.default_rng(seed), {f"u{n}": float(age) for n, age in enumerate(ages)}
        own = {user: rng.normal(0, noise, len(ATTRIBUTES)) for user in age}
        attributes = dict(world.attributes)
        for case in world.cases:
            change = own[case.user].copy()
            change[SATURATION] += slope * age[case.user]
            attributes[case.final] = attributes[case.initial] + change
        demographics: dict[str, dict[str, object]] = {
            user: {"age": age[user], **{column: values[n] for column, values in words.items()}}
            for n, user in enumerate(age)
        }
        return cls(world.cases, attributes, people, demographics)

    def trends(self) -> Trends:
        found = trends(self.cases, self.attributes, self.audiences, self.demographics)
        assert found is not None
        return found
