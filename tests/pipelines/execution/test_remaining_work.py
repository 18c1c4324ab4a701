from collections.abc import Sequence

import pytest

from pipelines.execution.remaining_work import RemainingWork
from pipelines.search.cohort import Cohort, cohorts
from pipelines.settings.search import SearchSettings
from tests.pipelines.execution.test_driver import trajectories

POOL = SearchSettings(candidates=20, screen=8, iterations=3, patience=2, share="pool")
TWO = list(cohorts(trajectories("a cat", "a dog", users=["u1", "u2", "u3"]), "pool"))


def after(*rounds: tuple[Cohort, int, int], todo: Sequence[Cohort] = TWO) -> float:
    work = RemainingWork(todo, POOL)
    for cohort, done, searching in rounds:
        work.round_done(cohort.id, done, searching)
    return work.images


def test_at_first_everybody_is_taken_to_search_as_long_as_patience_lasts_and_fewer_after_that() -> None:
    a_cohort = 1 + 20 + 3 * 8 + 0.7 * 3 * 8  # base, shared round, and two rounds that are screened
    assert after() == pytest.approx(2 * a_cohort)


def test_what_is_done_is_not_left() -> None:
    first, _ = TWO
    assert after() - after((first, 1, 3)) == pytest.approx(1)
    assert after((first, 1, 3)) - after((first, 1, 3), (first, 2, 3)) == pytest.approx(20)


def test_a_cohort_is_taken_to_go_on_as_those_did_that_have_come_further() -> None:
    first, second = TWO
    went_on = after((first, 1, 3), (first, 2, 3), (first, 3, 3), (first, 4, 0), (second, 1, 3))
    gave_up = after((first, 1, 3), (first, 2, 1), (first, 3, 0), (second, 1, 3))
    assert went_on == pytest.approx(20 + 2 * 3 * 8)
    assert gave_up == pytest.approx(20 + 1 * 8)


def test_nothing_is_left_of_cohorts_that_are_over() -> None:
    work = RemainingWork(TWO, POOL)
    for cohort in TWO:
        work.over(cohort.id)
    assert work.images == 0
