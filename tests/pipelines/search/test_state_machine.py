import copy
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.search.state_machine import (
    BasePromptFailedError,
    Propose,
    RenderBase,
    Step,
    Stop,
    StopReason,
    admit,
    next_step,
)
from pipelines.search.trajectory import Candidate, Iteration, Trajectory, best_so_far, image_seed, proposal_seed
from pipelines.settings.search import SearchSettings

MOST = 7

a_score = st.sampled_from([-0.0, 0.0, 0.5, 1.0, 2.0]) | st.floats(allow_nan=False, allow_infinity=False)
a_candidate = st.builds(Candidate, prompt=st.text(max_size=5), score=st.none() | a_score)
an_iteration = st.lists(a_candidate, max_size=4).map(tuple)
a_base = st.builds(Candidate, prompt=st.just("a cat"), score=a_score)
rounds = st.tuples(st.tuples(a_base), *[an_iteration] * MOST)
protocols = st.builds(SearchSettings, iterations=st.integers(0, MOST), patience=st.integers(1, MOST))
words = st.text(st.sampled_from("aAbBß \n\t,"), max_size=6)
no_slash = st.text(st.characters(blacklist_characters="/"), max_size=4) | st.sampled_from(["1", "pamela", "p1"])


@given(rounds, protocols)
def test_a_search_stops_after_its_iterations_or_after_too_long_without_a_better_best(
    given_rounds: Sequence[tuple[Candidate, ...]], protocol: SearchSettings
) -> None:
    history, steps = play(given_rounds, protocol)

    expected, best, stale = None, given_rounds[0][0].score or 0.0, 0
    for number in range(MOST + 1):
        scores = [c.score for c in given_rounds[number] if c.score is not None] if number else []
        stale = 0 if number == 0 or any(score > best for score in scores) else stale + 1
        best = max([best, *scores])
        if number >= protocol.iterations or stale >= protocol.patience:
            expected = Stop(StopReason("iterations" if number >= protocol.iterations else "patience"))
            assert len(history) == number + 1
            break
    assert steps[-1] == expected
    assert steps[0] == RenderBase()
    assert all(isinstance(step, Propose) for step in steps[1:-1])


@given(rounds, protocols, st.data())
def test_a_history_that_was_cut_anywhere_and_is_continued_takes_the_same_steps(
    given_rounds: Sequence[tuple[Candidate, ...]], protocol: SearchSettings, data: st.DataObject
) -> None:
    history, steps = play(given_rounds, protocol)
    cut = data.draw(st.integers(0, len(history)))

    resumed, later = play(given_rounds, protocol, copy.deepcopy(history[:cut]))

    assert resumed == history
    assert later == steps[cut:]


@given(rounds, protocols)
def test_each_step_goes_on_from_the_best_of_all_earlier_ones(
    given_rounds: Sequence[tuple[Candidate, ...]], protocol: SearchSettings
) -> None:
    history, steps = play(given_rounds, protocol)

    for number, step in enumerate(steps[1:-1], start=1):
        scored = [c for i in history[:number] for c in i.candidates if c.score is not None]
        top = max(c.score for c in scored if c.score is not None)
        assert step == Propose(number, next(c for c in scored if c.score == top))


@given(st.lists(an_iteration, max_size=5))
def test_a_candidate_that_failed_is_never_the_best(given_rounds: Sequence[tuple[Candidate, ...]]) -> None:
    best = best_so_far(recorded(given_rounds))

    scores = [c.score for candidates in given_rounds for c in candidates if c.score is not None]
    assert (best.score if best else None) == max(scores, default=None)


def test_the_earliest_of_equal_scores_stays_the_best() -> None:
    history = recorded([(scored("a", 0.5),), (scored("b", 0.7), scored("c", 0.7)), (scored("d", 0.7),)])

    assert best_so_far(history) == scored("b", 0.7)
    assert next_step(history, SearchSettings(patience=1)) == Stop(StopReason.PATIENCE)


def test_an_iteration_in_which_everything_failed_counts_as_one_without_a_new_best() -> None:
    history = recorded([(scored("a", 0.5),), (scored("b", None),), ()])

    assert next_step(history, SearchSettings(patience=2)) == Stop(StopReason.PATIENCE)
    assert next_step(history, SearchSettings(patience=3)) == Propose(3, scored("a", 0.5))


def test_without_a_score_for_the_base_prompt_there_is_nothing_to_improve_on() -> None:
    with pytest.raises(BasePromptFailedError, match="out of memory"):
        next_step(
            [Iteration(number=0, candidates=(Candidate(prompt="a cat", error="out of memory"),))], SearchSettings()
        )


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


def test_proposal_seeds_differ_between_users_runs_scorers_prompts_seeds_iterations_and_attempts() -> None:
    ways = list(product(("u1", "u2"), (1, 2), ("pamela", "population"), ("p1", "p2"), (0, 1), range(3), range(3)))

    seeds = {
        proposal_seed(trajectory(user=user, run=run, scorer=scorer, prompt_id=prompt, seed=seed), number, attempt)
        for user, run, scorer, prompt, seed, number, attempt in ways
    }

    assert len(seeds) == len(ways)


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


def play(
    given_rounds: Sequence[tuple[Candidate, ...]], protocol: SearchSettings, history: list[Iteration] | None = None
) -> tuple[list[Iteration], list[Step]]:
    """Go on from `history` to the end, as the driver does; the steps taken, and what was recorded by then."""
    history = list(history or [])
    steps: list[Step] = [next_step(history, protocol)]
    while not isinstance(steps[-1], Stop):
        history.append(Iteration(number=len(history), candidates=given_rounds[len(history)]))
        steps.append(next_step(history, protocol))
    return history, steps


def recorded(given_rounds: Sequence[tuple[Candidate, ...]]) -> list[Iteration]:
    return [Iteration(number=number, candidates=candidates) for number, candidates in enumerate(given_rounds)]


def scored(prompt: str, score: float | None) -> Candidate:
    return Candidate(prompt=prompt, score=score)


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def trajectory(
    user: str = "u1", run: int = 1, scorer: str = "pamela", prompt_id: str = "p1", seed: int = 0
) -> Trajectory:
    return Trajectory(
        user=user,
        members=(user,),
        prompt_id=prompt_id,
        base_prompt="a cat",
        scorer=scorer,
        run=run,
        image_seed=1,
        seed=seed,
    )
