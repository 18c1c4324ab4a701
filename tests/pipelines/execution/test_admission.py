"""How many trajectories are under way at a time."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.execution.admission import max_cohorts_under_way

numbers = st.integers(1, 512)
seconds = st.floats(0, 1000)


def test_the_papers_plan_on_an_h100_for_each_renderer() -> None:
    paper = {"candidates": 20, "proposals": 64, "proposal_s": 5.0, "render_s": 9.0}
    assert max_cohorts_under_way(renderers=1, places=2, **paper) == 3
    assert max_cohorts_under_way(renderers=256, places=512, **paper) == 52 + 1 + 8


def test_before_anything_is_measured_one_proposes_while_the_others_are_drawn() -> None:
    assert max_cohorts_under_way(candidates=20, renderers=8, places=16, proposals=64, proposal_s=0, render_s=0) == 2 + 1


def test_a_slow_proposer_that_takes_one_question_at_a_time_does_not_fill_the_memory() -> None:
    slow = max_cohorts_under_way(candidates=20, renderers=8, places=16, proposals=2, proposal_s=1e6, render_s=0.1)
    assert slow == 2 + 2


@given(numbers, numbers, numbers, numbers, seconds, seconds)
def test_there_are_always_two_and_never_more_than_can_be_drawn_twice_over_and_proposing(
    candidates: int, renderers: int, places: int, proposals: int, proposal_s: float, render_s: float
) -> None:
    most = max_cohorts_under_way(
        candidates=candidates,
        renderers=renderers,
        places=places,
        proposals=proposals,
        proposal_s=proposal_s,
        render_s=render_s,
    )
    assert 2 <= most <= 2 * places + 1 + proposals
