import copy
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.search.cohort import Cohort
from pipelines.search.history import NONE, History
from pipelines.search.rounds import Proposed, Round
from pipelines.search.state_machine import Propose, RenderBase, Reseed, Step, Stop, StopReason, admit, next_step
from pipelines.search.trajectory import fresh_seeds, image_seed, proposal_seed, shared_proposal_seed
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.pipelines.search.recorded import (
    as_text,
    base_round,
    cohort_of,
    recordings,
    reseeded,
    searched,
    some_settings,
    trajectory,
)

ALONE, AB = cohort_of("a"), cohort_of("a", "b")
RESEEDING = SearchSettings(iterations=1, guards=GuardSettings(reseed="reject"))

fewer = settings(max_examples=40)
cohorts = st.integers(1, 3).map(lambda users: cohort_of(*"abc"[:users]))
words = st.text(st.sampled_from("aAbBß \n\t,"), max_size=6)
no_slash = st.text(st.characters(blacklist_characters="/"), max_size=4) | st.sampled_from(["1", "pamela", "p1"])


@given(cohorts, some_settings, st.data())
def test_a_search_stops_after_its_iterations_or_after_too_long_without_a_better_best_for_anybody(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    rounds = data.draw(recordings(cohort, protocol))
    steps = steps_of(cohort, rounds, protocol)

    assert steps[0] == RenderBase()
    searches = [each for each in rounds if each.searches]
    stale = dict.fromkeys(cohort.users, 0)
    bests = History(cohort, rounds).bests
    for number in range(len(searches)):
        for place, user in enumerate(cohort.users):
            stale[user] = stale[user] + 1 if number and bests[number, place] == bests[number - 1, place] else 0
        searching = tuple(
            user
            for place, user in enumerate(cohort.users)
            if stale[user] < protocol.patience and bests[0, place] != NONE
        )
        step = steps[number + 1]
        if number < protocol.iterations and searching:
            assert step == Propose(number + 1, searching)
        else:
            assert isinstance(step, Reseed | Stop)
            assert number + 1 == len(searches)
    assert all(isinstance(step, Reseed) for step in steps[len(searches) + 1 : -1])
    over = "iterations" if len(searches) > protocol.iterations else "patience"
    reasons = (over if bests[0, place] != NONE else "failed" for place in range(len(cohort)))
    assert steps[-1] == Stop(tuple(map(StopReason, reasons)))


@given(cohorts, some_settings, st.data())
@fewer
def test_a_history_that_was_cut_anywhere_and_is_continued_takes_the_same_steps(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    rounds = data.draw(recordings(cohort, protocol))
    steps = steps_of(cohort, rounds, protocol)
    cut = data.draw(st.integers(0, len(rounds)))

    resumed = History(cohort, copy.deepcopy(rounds[:cut]))
    later = [next_step(resumed, protocol)]
    for finished in rounds[cut:]:
        resumed.append(finished)
        later.append(next_step(resumed, protocol))

    assert list(map(as_text, resumed.rounds)) == list(map(as_text, rounds))
    assert later == steps[cut:]


@given(cohorts, some_settings, st.data())
@fewer
def test_asking_for_the_next_step_changes_nothing(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    history = History(cohort, data.draw(recordings(cohort, protocol)))
    before = list(map(as_text, history.rounds)), history.best.tolist(), history.bests.tolist()

    assert next_step(history, protocol) == next_step(history, protocol)

    assert (list(map(as_text, history.rounds)), history.best.tolist(), history.bests.tolist()) == before


@given(cohorts, some_settings, st.data())
@fewer
def test_with_the_reseed_guard_a_search_ends_with_winners_that_passed_it_or_base_images(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    guarded = protocol.model_copy(update={"guards": GuardSettings(reseed="reject")})
    history = History(cohort, data.draw(recordings(cohort, guarded)))

    for place, user in enumerate(cohort.users):
        found = {each.prompt: each.rejected for each in history.reseeded(user)}
        best = history.best[place]
        assert best in (NONE, history.bests[0, place]) or found[history.images[best].prompt] is None
        assert len(found) == len(history.reseeded(user))


def test_an_iteration_in_which_everything_failed_counts_as_one_without_a_new_best() -> None:
    nothing = (Proposed(users=("a",), candidates=()),)
    history = History(ALONE, [base_round(ALONE, 0.5), *(Round(number=n, proposed=nothing) for n in (1, 2))])

    assert next_step(history, SearchSettings(patience=2)) == Stop((StopReason.PATIENCE,))
    assert next_step(history, SearchSettings(patience=3)) == Propose(3, ("a",))


def test_an_equal_score_is_no_new_best() -> None:
    history = History(
        ALONE,
        [base_round(ALONE, 0.5), searched(1, {"a": {"b": (0.7,), "c": (0.7,)}}), searched(2, {"a": {"d": (0.7,)}})],
    )

    assert history.images[history.best[0]].key == "b"
    assert next_step(history, SearchSettings(patience=1)) == Stop((StopReason.PATIENCE,))


def test_without_a_score_for_the_base_prompt_there_is_nothing_to_improve_on() -> None:
    nan = float("nan")

    assert next_step(History(ALONE, [base_round(ALONE, nan)]), SearchSettings()) == Stop((StopReason.FAILED,))
    assert next_step(History(AB, [base_round(AB, nan, 0.5)]), SearchSettings()) == Propose(1, ("b",))
    over = History(AB, [base_round(AB, nan, 0.5), searched(1, {"b": {"x": (0.9, 0.1)}})])
    assert next_step(over, SearchSettings(patience=1)) == Stop((StopReason.FAILED, StopReason.PATIENCE))
    assert next_step(over, SearchSettings(iterations=1)) == Stop((StopReason.FAILED, StopReason.ITERATIONS))


def test_without_iterations_a_search_is_its_base_image() -> None:
    assert next_step(History(AB), SearchSettings(iterations=0)) == RenderBase()
    assert next_step(History(AB, [base_round(AB, 0.1, 0.2)]), SearchSettings(iterations=0)) == Stop(
        (StopReason.ITERATIONS, StopReason.ITERATIONS)
    )


def test_winners_are_reseeded_once_each_and_base_images_never() -> None:
    rounds = [base_round(AB, 0.5, 0.5), searched(1, {"a": {"x": (0.6, 0.1)}, "b": {"y": (0.1, 0.2)}})]

    assert next_step(History(AB, rounds), RESEEDING) == Reseed(2, ("a",))
    rounds.append(reseeded(2, kept={"a": "x"}))
    assert next_step(History(AB, rounds), RESEEDING) == Stop((StopReason.ITERATIONS, StopReason.ITERATIONS))


def test_the_best_before_a_rejected_winner_is_reseeded_too() -> None:
    settings = RESEEDING.model_copy(update={"iterations": 2})
    rounds = [
        base_round(ALONE, 0.5),
        searched(1, {"a": {"x": (0.6,)}}),
        searched(2, {"a": {"y": (0.7,)}}),
        reseeded(3, rejected={"a": "y"}),
    ]

    assert next_step(History(ALONE, rounds), settings) == Reseed(4, ("a",))
    over = Stop((StopReason.ITERATIONS,))
    assert next_step(History(ALONE, [*rounds, reseeded(4, kept={"a": "x"})]), settings) == over
    back = History(ALONE, [*rounds, reseeded(4, rejected={"a": "x"})])
    assert next_step(back, settings) == over
    assert back.best.tolist() == [0]


@pytest.mark.parametrize("guard", ["off", "warn", "reject"])
def test_only_the_reseed_guard_asks_for_fresh_seeds(guard: str) -> None:
    settings = SearchSettings(iterations=1, guards=GuardSettings(reseed=guard))  # pyrefly: ignore[bad-argument-type]
    history = History(ALONE, [base_round(ALONE, 0.5), searched(1, {"a": {"x": (0.6,)}})])

    assert isinstance(next_step(history, settings), Stop if guard == "off" else Reseed)


def test_the_papers_limits_are_the_default() -> None:
    assert SearchSettings() == SearchSettings(candidates=20, iterations=5, patience=2)


@given(st.lists(words, max_size=12), st.lists(words, max_size=4), st.integers(0, 6))
def test_proposals_are_admitted_in_order_once_and_never_more_than_there_is_room(
    proposals: Sequence[str], taken: Sequence[str], room: int
) -> None:
    admitted, refused = admit(proposals, taken, room)

    plain = [folded(text) for text in admitted]
    new = [text for text in dict.fromkeys(map(folded, proposals)) if text and text not in map(folded, taken)]
    assert plain == new[:room]
    assert len(admitted) + sum(refused.values()) == len(proposals)
    assert admit(admitted, taken, room) == (admitted, {})


def test_what_is_admitted_keeps_its_letters_and_loses_only_surplus_space() -> None:
    admitted, refused = admit(
        ["  A Cat (at\n dusk) ", "", "a cat", "ONE MORE", "a cat (AT dusk)", "surplus"], ["A  cat"], room=2
    )

    assert admitted == ["A Cat (at dusk)", "ONE MORE"]
    assert refused == {"empty": 1, "duplicate": 2, "surplus": 1}


def test_a_proposal_with_half_a_character_is_refused_because_no_record_could_hold_it() -> None:
    assert admit(["a cat \ud83d", "a dog"], [], room=2) == (["a dog"], {"broken": 1})


@given(st.integers(0), st.text())
def test_all_images_of_a_prompt_share_one_seed_that_fits_a_signed_64_bit_column(seed: int, prompt: str) -> None:
    assert image_seed(seed, prompt) == image_seed(seed, prompt)
    assert 0 <= image_seed(seed, prompt) < 2**63


def test_image_seeds_differ_between_prompts_and_between_seeds() -> None:
    assert len({image_seed(seed, prompt) for seed in range(20) for prompt in ("a cat", "a dog", "a cat ")}) == 60


def test_fresh_seeds_are_others_than_the_prompts_own_and_more_of_them_begin_alike() -> None:
    own = image_seed(0, "a cat")

    assert len({own, *fresh_seeds(own, 5)}) == 6
    assert fresh_seeds(own, 5)[:2] == fresh_seeds(own, 2)


def test_proposal_seeds_differ_between_users_runs_scorers_prompts_seeds_iterations_and_attempts() -> None:
    ways = list(product(("u1", "u2"), (1, 2), ("pamela", "population"), ("p1", "p2"), (0, 1), range(3), range(3)))

    seeds = {
        proposal_seed(trajectory(user=user, run=run, scorer=scorer, prompt_id=prompt, seed=seed), number, attempt)
        for user, run, scorer, prompt, seed, number, attempt in ways
    }

    assert len(seeds) == len(ways)


def test_the_seeds_of_a_shared_first_round_are_the_same_for_all_users_and_scorers_of_a_prompt_and_run() -> None:
    ways = list(product((1, 2), ("p1", "p2"), (0, 1), range(3)))
    users = list(product(("u1", "u2"), ("pamela", "population")))

    seeds = [
        {
            shared_proposal_seed(trajectory(user=user, scorer=scorer, run=run, prompt_id=prompt, seed=seed), attempt)
            for user, scorer in users
        }
        for run, prompt, seed, attempt in ways
    ]

    assert all(len(each) == 1 for each in seeds)
    assert len(set.union(*seeds)) == len(ways)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert image_seed(0, "a cat") == 6219665096255758008
    assert proposal_seed(trajectory(), 1, 0) == 21602795569228065


identities = st.tuples(no_slash, no_slash, st.integers(1, 12), st.text(max_size=6) | st.sampled_from(["1/u", "*"]))


@given(identities, identities)
def test_two_trajectories_never_share_an_id(one: tuple[str, str, int, str], two: tuple[str, str, int, str]) -> None:
    ids = [
        trajectory(prompt_id=prompt, scorer=scorer, run=run, user=user).id for prompt, scorer, run, user in (one, two)
    ]

    assert (ids[0] == ids[1]) == (one == two)


def steps_of(cohort: Cohort, rounds: Sequence[Round], settings: SearchSettings) -> list[Step]:
    """The step before each round, and the last one."""
    history = History(cohort)
    steps = [next_step(history, settings)]
    for finished in rounds:
        history.append(finished)
        steps.append(next_step(history, settings))
    return steps


def folded(text: str) -> str:
    return " ".join(text.casefold().split())
