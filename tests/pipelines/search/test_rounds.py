import math

import pytest

from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Round, new_images
from tests.pipelines.search.recorded import NO, again, drawn


def test_each_image_is_scored_once_by_whoever_had_it_first() -> None:
    proposed = [
        Proposed(users=("a",), candidates=(drawn("x"), drawn("y"), drawn("x"))),
        Proposed(users=("b",), candidates=(Candidate(prompt="another way to y", image="y"), drawn("z"))),
    ]

    found = [(candidate.prompt, proposals.users) for candidate, proposals in new_images(proposed, set())]

    assert found == [("a cat, x", ("a",)), ("a cat, y", ("a",)), ("a cat, z", ("b",))]


def test_what_has_no_image_or_an_error_or_scores_already_is_not_scored() -> None:
    lost = Candidate(prompt="lost", error="the renderer died")
    unscored = Candidate(prompt="unscored", image="u", error="the scorer died")
    left_out = Candidate(prompt="left out", rejected=NO)
    proposed = [Proposed(users=("a",), candidates=(lost, unscored, left_out, drawn("known"), drawn("new")))]

    assert [candidate.image for candidate, _ in new_images(proposed, {"known"})] == ["new"]


def test_an_image_that_one_candidate_could_not_get_scores_for_is_that_of_the_next_one_who_could() -> None:
    failed, later = Candidate(prompt="p", image="x", error="the scorer died"), drawn("x")

    assert [candidate for candidate, _ in new_images([Proposed(users=("a",), candidates=(failed, later))], set())] == [
        later
    ]


def test_the_means_with_fresh_seeds_are_over_the_seeds_for_which_both_have_a_score() -> None:
    images = {score: FreshImage(image=str(score), score=score) for score in (0.2, 0.4, 0.5, 0.9)}
    failed = FreshImage(error="no photograph")
    found = Reseeded(
        prompt="a cat, warm",
        seeds=(1, 2, 3),
        initial=(images[0.2], images[0.4], failed),
        final=(images[0.5], images[0.9], images[0.9]),
    )

    assert found.means == pytest.approx((0.3, 0.7))
    assert all(map(math.isnan, Reseeded(prompt="p", seeds=(1,), initial=(failed,), final=(images[0.2],)).means))


def test_an_image_passes_unless_it_was_rejected_or_could_not_be_measured() -> None:
    assert GuardVerdict(measured={"saturation": 1.0}, warnings=(NO,)).passed
    assert not GuardVerdict(rejected=NO).passed
    assert not GuardVerdict(error="it could not be guarded").passed


def test_a_round_with_fresh_seeds_searches_nothing() -> None:
    assert Round(number=1).searches
    assert not Round(number=1, reseeded={"a": again("a cat, warm")}).searches
