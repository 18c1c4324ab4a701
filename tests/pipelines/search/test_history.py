import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.search.cohort import Cohort
from pipelines.search.history import EVERYBODY, NONE, History
from pipelines.search.rounds import Candidate, GuardVerdict, Proposed, Round
from pipelines.settings.search import SearchSettings
from tests.pipelines.search.recorded import (
    NO,
    as_text,
    base_round,
    cohort_of,
    drawn,
    recordings,
    reseeded,
    searched,
    some_settings,
)

AB = cohort_of("a", "b")
fewer = settings(max_examples=40)
cohorts = st.integers(1, 4).map(lambda users: cohort_of(*"abcd"[:users]))


@given(cohorts, some_settings, st.data())
@settings(max_examples=300)
def test_everybodys_bests_are_those_of_going_image_by_image(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    rounds = data.draw(recordings(cohort, protocol))
    history = History(cohort, rounds)

    keys = np.array([*(image.key for image in history.images), None])  # the last is that of NONE
    for place, user in enumerate(cohort.users):
        expected = list(bests_one_by_one(cohort, rounds, user))
        assert [keys[image] for image in history.bests[:, place]] == [key for key, _ in expected]
        key, score = expected[-1]
        assert history.best[place] == (NONE if key is None else history.column_of_image[key])
        assert history.best_scores[place] == (-math.inf if score is None else np.float32(score))
        if score is not None:
            assert history.scores[place, history.best[place]] == np.float32(score)
            assert history.gain(place) == np.float32(score) - history.scores[place, 0]


@given(cohorts, some_settings, st.data())
@fewer
def test_stale_are_the_rounds_of_the_search_since_the_last_new_best(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    rounds = [each for each in data.draw(recordings(cohort, protocol)) if each.searches]
    history = History(cohort, rounds)

    assert history.searched == len(rounds)
    for place in range(len(cohort)):
        bests = history.bests[:, place].tolist()
        unchanged = [earlier == later for earlier, later in pairwise(bests)]
        assert history.stale[place] == next(
            (n for n, same in enumerate(reversed(unchanged)) if not same), len(bests) - 1
        )


@given(cohorts, some_settings, st.data())
@fewer
def test_a_history_is_a_function_of_its_rounds_however_they_were_added(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    rounds = data.draw(recordings(cohort, protocol))
    grown = History(cohort)
    for number, finished in enumerate(rounds):
        if data.draw(st.booleans()):
            assert grown.scores.shape[0] == len(cohort)  # looking at it changes nothing
        grown.append(copy.deepcopy(finished))
        whole = History(cohort, rounds[: number + 1])
        assert (grown.best == whole.best).all()
        assert (grown.stale == whole.stale).all()

    whole = History(cohort, rounds)
    assert list(map(as_text, grown.rounds)) == list(map(as_text, rounds))
    assert grown.images == whole.images
    assert (
        grown.column_of_image == whole.column_of_image == {image.key: place for place, image in enumerate(whole.images)}
    )
    assert grown.scores.tobytes() == whole.scores.tobytes()
    assert (grown.bests == whole.bests).all()


@given(cohorts, some_settings, st.data())
@fewer
def test_an_image_is_scored_in_the_first_round_that_had_it_and_never_again(
    cohort: Cohort, protocol: SearchSettings, data: st.DataObject
) -> None:
    history = History(cohort, data.draw(recordings(cohort, protocol)))

    first: dict[str, int] = {}
    for finished in history.rounds:
        for proposals in finished.proposed:
            for candidate in proposals.candidates:
                if candidate.image is not None and candidate.error is None:
                    first.setdefault(candidate.image, finished.number)
    assert {image.key: image.iteration for image in history.images} == first
    assert history.scores.shape == (len(cohort), len(first))
    assert history.scores.dtype == np.float32


def test_the_earliest_of_equal_scores_stays_the_best() -> None:
    history = History(
        AB,
        [
            base_round(AB, 0.5, 0.7),
            searched(1, {"a": {"x": (0.7, 0.7), "y": (0.7, 0.8)}, "b": {"z": (0.1, 0.8)}}),
            searched(2, {"a": {"v": (0.7, 0.8)}}),
        ],
    )

    assert history.bests.tolist() == [[0, 0], [1, 2], [1, 2]]
    assert history.stale.tolist() == [1, 1]


def test_of_zeros_with_either_sign_the_earliest_stays_the_best() -> None:
    history = History(AB, [base_round(AB, -0.0, 0.0), searched(1, {"a": {"x": (0.0, -0.0)}})])

    assert history.best.tolist() == [0, 0]


def test_an_image_without_a_score_for_a_user_is_not_that_users_best() -> None:
    history = History(AB, [base_round(AB, 0.5, 0.5), searched(1, {"a": {"x": (math.nan, 0.6), "y": (0.4, math.nan)}})])

    assert history.best.tolist() == [0, 1]
    assert history.score("a", drawn("x")) is None
    assert history.score("b", drawn("x")) == pytest.approx(0.6)
    assert history.failure(0) is history.failure(1) is None


def test_a_user_without_a_score_of_the_base_image_never_has_a_best_and_the_others_go_on() -> None:
    history = History(AB, [base_round(AB, math.nan, 0.5), searched(1, {"b": {"x": (0.9, 0.6)}})])

    assert history.bests.tolist() == [[NONE, 0], [NONE, 1]]
    assert history.best_scores.tolist() == [-math.inf, pytest.approx(0.6)]
    assert history.failure(0) == "the score of the base prompt's image is not a number"
    assert history.failure(1) is None


@pytest.mark.parametrize("verdict", [GuardVerdict(rejected=NO), GuardVerdict(error="it could not be guarded: it died")])
def test_what_the_guards_rejected_or_could_not_measure_is_nobodys_best(verdict: GuardVerdict) -> None:
    rounds = [
        base_round(AB, 0.5, 0.5),
        searched(
            1, {"a": {"x": (0.9, 0.9), "y": (0.6, 0.4)}}, verdicts={"x": verdict, "y": GuardVerdict(warnings=(NO,))}
        ),
    ]
    history = History(AB, rounds)

    assert history.best.tolist() == [2, 0]
    assert history.score("a", drawn("x")) == pytest.approx(0.9)
    eligible = history.eligible(history.scores, ["base", "x", "y"], history.verdicts)
    assert eligible.tolist() == [pytest.approx([0.5, -math.inf, 0.6]), pytest.approx([0.5, -math.inf, 0.4])]


def test_a_winner_that_the_reseed_guard_rejects_gives_way_to_the_one_before_it() -> None:
    rounds = [
        base_round(AB, 0.5, 0.5),
        searched(1, {"a": {"x": (0.6, 0.1)}, "b": {"y": (0.2, 0.7)}}),
        searched(2, {"a": {"z": (0.7, 0.2)}}),
        reseeded(3, rejected={"a": "z"}, kept={"b": "y"}),
        reseeded(4, rejected={"a": "x"}),
    ]
    history = History(AB, rounds)

    assert history.bests.tolist() == [[0, 0], [1, 2], [3, 2], [1, 2], [0, 2]]
    assert history.best_scores.tolist() == pytest.approx([0.5, 0.7])
    assert history.stale.tolist() == [0, 1]
    assert history.searched == 3
    assert [found.prompt for found in history.reseeded("a")] == ["a cat, z", "a cat, x"]
    assert [found.prompt for found in history.reseeded("b")] == ["a cat, y"]


def test_an_image_was_proposed_for_the_first_who_had_it_and_for_everybody_where_all_share_it() -> None:
    history = History(
        AB,
        [
            base_round(AB, 0.5, 0.5),
            searched(1, {("a", "b"): {"x": (0.1, 0.1)}}),
            searched(2, {"a": {"x": None, "y": (0.1, 0.1)}, "b": {"y": None, "z": (0.1, 0.1)}}),
        ],
    )

    assert [image.proposed_for for image in history.images] == [EVERYBODY, EVERYBODY, "a", "b"]
    assert [(finished.number, len(proposals.candidates)) for finished, proposals in history.proposed_for("b")] == [
        (0, 1),
        (1, 1),
        (2, 2),
    ]


def test_the_base_prompt_is_proposed_for_everybody_even_where_that_is_one_user() -> None:
    alone = cohort_of("a")
    history = History(alone, [base_round(alone, 0.5), searched(1, {"a": {"x": (0.6,)}})])

    assert [image.proposed_for for image in history.images] == [EVERYBODY, "a"]


def test_an_image_keeps_the_warnings_about_its_prompt() -> None:
    candidate = Candidate(prompt="a dog", image="x", warnings=(NO,))
    proposed = (Proposed(users=("a",), candidates=(candidate,)),)
    history = History(AB, [base_round(AB, 0.5, 0.5), Round(number=1, proposed=proposed, scores=column(0.4, 0.9))])

    assert [image.warnings for image in history.images] == [(), (NO,)]


def test_a_search_for_which_nothing_could_be_rendered_has_failed_and_says_why() -> None:
    lost = Candidate(prompt="a cat, lost", error="the renderer refused it")
    left_out = Candidate(prompt="a cat, left out", rejected=NO)
    start = base_round(AB, 0.5, 0.5)

    def failures(*candidates: Candidate, refused: Mapping[str, int] = {}) -> list[str | None]:
        for_a = Proposed(users=("a",), candidates=candidates, refused=refused)
        for_b = Proposed(users=("b",), candidates=(drawn("x"),))
        history = History(AB, [start, Round(number=1, proposed=(for_a, for_b), scores=column(0.1, 0.1))])
        return [history.failure(0), history.failure(1)]

    nothing = "nothing that was proposed could be rendered and scored"
    assert failures(lost, lost) == [f"{nothing}: the renderer refused it", None]
    assert failures(refused={"content policy": 2}) == [f"{nothing}: content policy", None]
    assert failures() == [f"{nothing}: no proposal", None]
    assert failures(lost, left_out) == failures(lost, drawn("x")) == failures(lost, drawn("base")) == [None, None]
    assert History(AB).failure(0) is History(AB, [start]).failure(0) is None


@pytest.mark.parametrize("number", [-1, 0, 2])
def test_a_round_out_of_turn_is_refused(number: int) -> None:
    history = History(AB, [base_round(AB, 0.5, 0.5)])

    with pytest.raises(ValueError, match=f"round 1 is due, got {number}"):
        history.append(searched(number, {"a": {"x": (0.1, 0.2)}}))


@pytest.mark.parametrize("shape", [(1, 1), (2, 0), (2, 2), (3, 1), (0, 0)])
def test_scores_that_are_not_of_the_users_and_new_images_are_refused(shape: tuple[int, int]) -> None:
    history = History(AB, [base_round(AB, 0.5, 0.5)])
    proposed = (Proposed(users=("a",), candidates=(drawn("x"), drawn("base"))),)

    with pytest.raises(ValueError, match=r"2 users score 1 new images, got scores of shape \(\d, \d\)"):
        history.append(Round(number=1, proposed=proposed, scores=np.zeros(shape, np.float32)))
    assert len(history.rounds) == 1
    assert len(history.images) == 1


def test_a_history_of_nothing_has_no_images_and_no_bests() -> None:
    history = History(AB)

    assert (history.scores.shape, history.bests.shape) == ((2, 0), (0, 2))
    assert history.best.tolist() == [NONE, NONE]
    assert history.best_scores.tolist() == [-math.inf, -math.inf]


def bests_one_by_one(cohort: Cohort, rounds: Sequence[Round], user: str) -> Iterator[tuple[str | None, float | None]]:
    """A user's best image and its score after each round, going image by image."""
    seen: set[str] = set()
    rejected: set[str] = set()
    bests: list[tuple[str, float]] = []
    prompts: dict[str, str] = {}
    for finished in rounds:
        rejected |= {key for key, verdict in finished.verdicts.items() if verdict.rejected or verdict.error}
        if user in finished.reseeded and finished.reseeded[user].rejected is not None:
            key, _ = bests.pop()
            assert finished.reseeded[user].prompt == prompts[key]
        best = bests[-1] if bests else None
        column = 0
        for proposals in finished.proposed:
            for candidate in proposals.candidates:
                key = candidate.image
                if key is None or candidate.error is not None or key in seen:
                    continue
                seen.add(key)
                prompts[key] = candidate.prompt
                score = float(finished.scores[cohort.users.index(user), column])
                column += 1
                if math.isnan(score) or key in rejected or (finished.number and best is None):
                    continue
                if best is None or score > best[1]:
                    best = key, score
        if best is not None and best not in bests:
            bests.append(best)
        yield bests[-1] if bests else (None, None)


def column(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)[:, None]
