"""How many people and prompts a study needs, against simulation and published sums."""

from typing import Any

import numpy as np
import pytest

from studies.elo.inference.power import plan_study, power_of
from tests.studies.elo.test_covariance import fitted
from tests.studies.elo.voters import Population


def test_where_votes_are_independent_the_plan_is_that_of_the_normal_approximation() -> None:
    two, five = (
        plan_study(27, conditions=c, votes_each=1, prompts=18, generalise_to="these", spread_elo=0) for c in (2, 5)
    )

    assert two.participants == pytest.approx(1300, rel=0.01)
    assert five.participants == pytest.approx(5200, rel=0.01)


def test_where_prompts_are_too_few_the_plan_says_how_many_are_needed() -> None:
    plan = plan_study(27, conditions=5, votes_each=100, prompts=18)

    assert plan.participants is None
    assert plan.most_power == pytest.approx(0.59, abs=0.01)
    assert (plan.participants_then, plan.prompts_needed) == (162, 55)
    assert "no number of participants is enough on 18 prompts, which reach 59% at most" in str(plan)
    assert "162 participants on 55 prompts are" in str(plan)


def test_on_these_very_prompts_they_need_not_be_many() -> None:
    plan = plan_study(27, conditions=5, votes_each=100, prompts=18, generalise_to="people")

    assert plan.participants == pytest.approx(81, abs=1)
    assert "for other people, on these very prompts" in str(plan)


def test_more_people_and_more_prompts_never_have_less_power_and_one_fewer_than_planned_is_too_few() -> None:
    plan = plan_study(27, conditions=5, votes_each=100, prompts=130)

    def power(participants: int, prompts: int = 130) -> float:
        return power_of(27, participants=participants, conditions=5, votes_each=100, prompts=prompts)

    assert plan.participants is not None
    assert power(plan.participants) >= 0.8 > power(plan.participants - 1)
    assert plan.votes == 100 * plan.participants
    assert np.all(np.diff([power(n) for n in (2, 5, 20, 100, 1000, 20_000)]) > -1e-3)
    assert np.all(np.diff([power(100, n) for n in (2, 5, 20, 100, 1000)]) > -1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"difference_elo": 0}, {"conditions": 1}, {"votes_each": 0}, {"spread_elo": -1}, {"power": 1.0},
        {"prompts": 0}, {"prompt_spread_elo": -1}, {"level": 0.0},
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"difference_elo": 27.0, "conditions": 5, "votes_each": 100, "prompts": 18}
    with pytest.raises(ValueError, match="got"):
        plan_study(**right | wrong)


def test_a_plan_for_nobody_known_is_refused() -> None:
    with pytest.raises(ValueError, match="generalise-to 'all': unknown; use people\\+prompts"):
        plan_study(27, conditions=5, votes_each=100, prompts=18, generalise_to="all")  # pyrefly: ignore[bad-argument-type]


@pytest.mark.slow
@pytest.mark.parametrize(("conditions", "votes_each", "prompts"), [(2, 60, 40), (5, 100, 60)])
def test_a_study_as_planned_finds_the_difference_as_often_as_promised(
    conditions: int, votes_each: int, prompts: int
) -> None:
    plan = plan_study(40, conditions=conditions, votes_each=votes_each, prompts=prompts)
    assert plan.participants is not None
    population = Population(
        elo=(1020.0, 980.0, *[1000.0] * (conditions - 2)), votes_each=votes_each, prompt_spread_elo=35
    )
    rng, found = np.random.default_rng(9), []
    for _ in range(600):
        fit, covariance = fitted(population.study(plan.participants, rng, prompts))
        p = covariance.of_differences("people+prompts").p_values(fit.elo[:1] - fit.elo[1:2])
        found.append(p[0] < 0.05)

    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
