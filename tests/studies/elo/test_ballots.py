"""Rankings and the best of several as pairs: the same Elo as by the model they come from, with errors that hold."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.inference.covariance import Covariance
from studies.elo.inference.intervals import Generalisation
from studies.elo.layouts.ballots import Ballot, folders_of, numbers_from, pairs_of
from studies.elo.votes import Votes
from tests.studies.elo.test_covariance import fitted

ELO = np.array([1080.0, 1040, 1000, 960, 920])


def votes_of(ballots: Sequence[Ballot], *, alone: bool = False) -> Votes:
    pairs = pairs_of(ballots)
    columns = {"left": pairs.left, "right": pairs.right, "winner": pairs.winner}
    return Votes.from_table(pa.table(columns if alone else columns | {"ballot": [str(row) for row in pairs.row]}))


def answers(count: int, rng: np.random.Generator, *, best_only: bool) -> list[Ballot]:
    """Answers by Plackett and Luce's model: the order of strengths with Gumbel noise."""
    names, found = tuple("abcde"), []
    for row in range(count):
        order = np.argsort(-(ELO / ELO_PER_LOG_STRENGTH + rng.gumbel(size=5)))
        place = np.argsort(order).astype(float)
        found.append(Ballot(row=row, shown=names, places=tuple(np.where(place > 0, np.inf, 0) if best_only else place)))
    return found


@given(st.lists(st.one_of(st.integers(0, 4).map(float), st.just(np.inf)), min_size=2, max_size=7))
def test_a_ballot_gives_a_vote_for_every_two_of_which_one_has_a_place(places: list[float]) -> None:
    names = tuple("abcdefg"[: len(places)])
    pairs, place = (
        pairs_of([Ballot(row=0, shown=names, places=tuple(places))]),
        dict[str, float](zip(names, places, strict=True)),
    )
    unplaced = sum(np.isinf(places))

    assert len(pairs.winner) == len(names) * (len(names) - 1) // 2 - unplaced * (unplaced - 1) // 2
    for left, right, winner in zip(pairs.left, pairs.right, pairs.winner, strict=True):
        better = {"left": place[left] < place[right], "right": place[right] < place[left]}
        assert better.get(winner, place[left] == place[right])


@cache
def refitted(best_only: bool) -> tuple[NDArray[np.float64], list[Covariance], list[Covariance]]:
    """Elo of 150 studies (150, 5), with the covariances of whole answers, and as if every pair were one of its own."""
    rng, found, of_answers, of_pairs = np.random.default_rng(5), [], [], []
    for _ in range(150):
        ballots = answers(100, rng, best_only=best_only)
        fit, covariance = fitted(votes_of(ballots))
        found.append(fit.elo)
        of_answers.append(covariance)
        of_pairs.append(fitted(votes_of(ballots, alone=True))[1])
    return np.array(found), of_answers, of_pairs


@pytest.mark.parametrize("to", ["people", "these"])
@pytest.mark.parametrize("best_only", [False, True])
def test_errors_of_rankings_are_those_of_whole_answers(best_only: bool, to: Generalisation) -> None:
    found, of_answers, of_pairs = refitted(best_only)
    errors, naive = ([each.of_conditions(to).error for each in of] for of in (of_answers, of_pairs))

    spread = np.std(found, axis=0, ddof=1).mean()
    assert np.mean(found, axis=0) == pytest.approx(ELO, abs=4 * spread / np.sqrt(150))
    assert np.mean(errors) == pytest.approx(spread, rel=0.08)
    assert abs(np.mean(naive) / spread - 1) > 0.12


def test_positions_count_from_one_only_where_they_have_to() -> None:
    assert numbers_from([[0, 2, 1]], [3]) == 0
    assert numbers_from([[1, 3, 2], [2]], [3, 3]) == 1
    assert numbers_from([[1, 2]], [3]) == 0
    with pytest.raises(ValueError, match="position 3 of 3 that were shown: must lie between 0 and 2"):
        numbers_from([[0, 3]], [3])


def test_folders_are_conditions_only_where_each_is_another_one() -> None:
    assert folders_of([["own/1.png", "c\\base\\1.png"]]) == [(("own", "base"), "1")]
    assert folders_of([["own/1.png", "own/2.png"]]) is None
    assert folders_of([["own/1.png", "base"]]) is None
    assert folders_of([["1.png", "2.png"]]) is None
