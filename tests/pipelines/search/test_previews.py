from collections.abc import Sequence

import pytest

from pipelines.search.notices import Check, Notice
from pipelines.search.previews import agreement, best_previews, previews_help
from pipelines.search.trajectory import Candidate, Iteration
from pipelines.settings.search import SearchSettings

PROTOCOL = SearchSettings(previews=2, preview_agreement=0.5)


def history(pairs: Sequence[tuple[float, float]]) -> list[Iteration]:
    candidates = (Candidate(prompt="p", image="i", preview="v", preview_score=a, score=b) for a, b in pairs)
    base = Iteration(number=0, candidates=(Candidate(prompt="a cat", image="b", score=0.1),))
    return [base, Iteration(number=1, candidates=tuple(candidates))]


def test_agreement_is_the_rank_correlation_of_what_was_finished() -> None:
    rising = [(n / 10, n**3) for n in range(10)]
    assert agreement(history(rising)) == pytest.approx(1)
    assert agreement(history([(-a, b) for a, b in rising])) == pytest.approx(-1)
    assert agreement(history(rising[:7])) is None


@pytest.mark.parametrize("turned, helps", [(False, True), (True, False)])
def test_previews_that_rank_otherwise_than_images_switch_themselves_off(turned: bool, helps: bool) -> None:
    pairs = [(-float(n) if turned else float(n), float(n)) for n in range(10)]
    assert previews_help(history(pairs), PROTOCOL) is helps


def test_previews_that_are_all_alike_help_nobody() -> None:
    assert not previews_help(history([(0.5, float(n)) for n in range(10)]), PROTOCOL)


def test_the_best_previews_are_finished_and_the_others_say_their_rank() -> None:
    scores = [0.2, 0.9, 0.9, None, 0.5]
    previewed = [Candidate(prompt=str(n), preview_score=score) for n, score in enumerate(scores)]
    rejected = [candidate.rejected for candidate in best_previews(previewed, 2)]
    assert [notice and str(notice) for notice in rejected] == [
        *("preview: ranked 4 of 4", None, None, None, "preview: ranked 3 of 4")
    ]
    assert rejected[0] == Notice(Check.PREVIEW, 4, 2, "ranked 4 of 4")
