import pytest

from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.history import History
from pipelines.search.state_machine import Propose, Reseed, Stop, StopReason, next_step
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.pipelines.search.recorded import base_round, cohort_of, searched, trajectory

POOL = SearchSettings(candidates=2, iterations=3, patience=1, share="pool")
AB = cohort_of("a", "b")


def test_a_pools_cohort_is_all_users_of_a_prompt_and_run_and_else_everybody_is_alone() -> None:
    todo = [
        trajectory(user, run=run, prompt_id=prompt) for prompt in ("p1", "p2") for run in (1, 2) for user in ("a", "b")
    ]

    assert [len(cohort) for cohort in cohorts(todo, "pool")] == [2, 2, 2, 2]
    alone = [Cohort(each.id, (each,)) for each in todo]
    assert list(cohorts(todo, "base")) == list(cohorts(todo, "round")) == alone
    assert [each for cohort in cohorts(todo, "pool") for each in cohort.trajectories] == todo


def test_scorers_stay_apart_in_a_pool_and_no_two_cohorts_share_an_id() -> None:
    todo = [
        trajectory(user, run=run, prompt_id=prompt, scorer=scorer)
        for prompt in ("p1", "p2")
        for scorer in ("pamela", "population")
        for run in (1, 2)
        for user in ("a", "b")
    ]

    found = list(cohorts(todo, "pool"))

    assert [(c.prompt_id, c.scorer, c.run, c.users) for c in found] == [
        (prompt, scorer, run, ("a", "b"))
        for prompt in ("p1", "p2")
        for scorer in ("pamela", "population")
        for run in (1, 2)
    ]
    assert len({cohort.id for cohort in found}) == 8


def test_a_cohort_has_its_users_in_their_order_and_what_they_share() -> None:
    cohort = cohort_of("u10", "u2", prompt_id="p7", run=2, image_seed=41)

    assert cohort.users == ("u10", "u2")
    assert cohort.row_of_user == {"u10": 0, "u2": 1}
    assert len(cohort) == 2
    assert (cohort.prompt_id, cohort.base_prompt, cohort.scorer, cohort.run) == ("p7", "a cat", "pamela", 2)
    assert (cohort.image_seed, cohort.metadata) == (41, {})


def test_whoever_has_stopped_still_scores_what_is_rendered_for_the_others_who_go_on() -> None:
    history = History(AB, [base_round(AB, 0.5, 0.5), searched(1, {"a": {"x": (0.4, 0.1)}, "b": {"y": (0.1, 0.6)}})])

    assert next_step(history, POOL) == Propose(2, ("b",))
    history.append(searched(2, {"b": {"z": (0.3, 0.4)}}))
    assert history.scores[0].tolist() == pytest.approx([0.5, 0.4, 0.1, 0.3])


def test_a_new_best_from_the_pool_makes_whoever_had_stopped_search_again() -> None:
    history = History(
        AB,
        [
            base_round(AB, 0.5, 0.5),
            searched(1, {"a": {"x": (0.4, 0.1)}, "b": {"y": (0.1, 0.6)}}),
            searched(2, {"b": {"z": (0.7, 0.1)}}),
        ],
    )

    assert next_step(history, POOL) == Propose(3, ("a",))
    assert history.images[history.best[0]].prompt == "a cat, z"
    assert history.images[history.best[0]].proposed_for == "b"


def test_a_cohort_is_done_when_nobody_goes_on_and_winners_are_reseeded_last() -> None:
    rounds = [
        base_round(AB, 0.5, 0.5),
        searched(1, {"a": {"x": (0.4, 0.1)}, "b": {"y": (0.1, 0.6)}}),
        searched(2, {"b": {"z": (0.1, 0.1)}}),
    ]

    assert next_step(History(AB, rounds), POOL) == Stop((StopReason.PATIENCE, StopReason.PATIENCE))
    guarded = POOL.model_copy(update={"guards": GuardSettings(reseed="warn")})
    assert next_step(History(AB, rounds), guarded) == Reseed(3, ("b",))


def test_everybody_gets_each_image_of_the_others_once() -> None:
    cohort = cohort_of("a", "b", "c")
    history = History(
        cohort,
        [
            base_round(cohort, 0.5, 0.5, 0.5),
            searched(1, {"a": {"x": (0.1, 0.2, 0.3), "y": (0.4, 0.5, 0.6)}, "b": {"y": None, "z": (0.7, 0.8, 0.9)}}),
            searched(2, {"c": {"x": None, "v": (0.2, 0.2, 0.2)}}),
        ],
    )

    assert [image.key for image in history.images] == ["base", "x", "y", "z", "v"]
    assert [image.proposed_for for image in history.images] == ["*", "a", "a", "b", "c"]
    assert history.scores.shape == (3, 5)
