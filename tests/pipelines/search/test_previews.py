import math
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.search.history import History
from pipelines.search.notices import Check, Notice
from pipelines.search.previews import agreement, best_previews, previews_help
from pipelines.search.rounds import Candidate, Proposed, Round
from pipelines.settings.search import SearchSettings
from tests.pipelines.search.recorded import NO, base_round, cohort_of

PROTOCOL = SearchSettings(previews=2, preview_agreement=0.5)


def finished(pairs: Sequence[tuple[float, float]]) -> Round:
    """Round 1: for a, one of two users, images with a score of the preview, and one of the image for both."""
    candidates = tuple(
        Candidate(prompt=f"p{place}", image=f"i{place}", preview=f"v{place}", preview_score=preview)
        for place, (preview, _) in enumerate(pairs)
    )
    scores = np.array([[score for _, score in pairs]] * 2, np.float32)
    return Round(number=1, proposed=(Proposed(users=("a",), candidates=candidates),), scores=scores)


def history(pairs: Sequence[tuple[float, float]]) -> History:
    cohort = cohort_of("a", "b")
    return History(cohort, [base_round(cohort, 0.1, 0.1), finished(pairs)])


RISING = [(n / 10, float(n**3)) for n in range(10)]


def test_agreement_is_the_rank_correlation_of_what_was_finished() -> None:
    assert agreement(history(RISING), "a") == pytest.approx(1)
    assert agreement(history([(-a, b) for a, b in RISING]), "a") == pytest.approx(-1)
    assert agreement(history(RISING[:7]), "a") is None


def test_agreement_is_about_the_previews_of_one_user() -> None:
    assert agreement(history(RISING), "b") is None
    assert previews_help(history([(-a, b) for a, b in RISING]), "b", PROTOCOL)


def test_images_without_a_preview_or_without_a_score_do_not_count() -> None:
    missing = [(10.0 - n, math.nan) for n in range(5)]
    assert agreement(history([*RISING, *missing]), "a") == pytest.approx(1)
    assert agreement(history([*RISING[:7], *missing]), "a") is None

    unfinished = Candidate(prompt="p", preview="v", preview_score=9.0, rejected=NO)
    unscored = Candidate(prompt="p", image="lost", preview="v", preview_score=9.0, error="the scorer died")
    plain = Candidate(prompt="p", image="plain")
    found = history(RISING)
    found.append(
        Round(
            number=2,
            proposed=(Proposed(users=("a",), candidates=(unfinished, unscored, plain)),),
            scores=np.zeros((2, 1), np.float32),
        )
    )
    assert agreement(found, "a") == pytest.approx(1)


@pytest.mark.parametrize("turned, helps", [(False, True), (True, False)])
def test_previews_that_rank_otherwise_than_images_switch_themselves_off(turned: bool, helps: bool) -> None:
    pairs = [(-float(n) if turned else float(n), float(n)) for n in range(10)]
    assert previews_help(history(pairs), "a", PROTOCOL) is helps


def test_previews_that_are_all_alike_help_nobody() -> None:
    assert not previews_help(history([(0.5, float(n)) for n in range(10)]), "a", PROTOCOL)


def test_the_best_previews_are_finished_and_the_others_say_their_rank() -> None:
    scores = [0.2, 0.9, 0.9, None, 0.5]
    previewed = [Candidate(prompt=str(n), preview_score=score) for n, score in enumerate(scores)]
    rejected = [candidate.rejected for candidate in best_previews(previewed, 2)]
    assert [notice and str(notice) for notice in rejected] == [
        *("preview: ranked 4 of 4", None, None, None, "preview: ranked 3 of 4")
    ]
    assert rejected[0] == Notice(Check.PREVIEW, 4, 2, "ranked 4 of 4")
