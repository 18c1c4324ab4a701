import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.data.comparisons import comparisons_of
from predictor.data.dataset import DatasetChoice


def chose(*shown: int, chosen: int | None = None, worst: int | None = None, user: int = 0) -> DatasetChoice:
    return DatasetChoice(user=user, shown=shown, chosen=chosen, worst=worst, split="train")


def rows(*choices: DatasetChoice) -> list[tuple[int, int, float]]:
    made = comparisons_of(choices)
    return list(zip(made.better.tolist(), made.worse.tolist(), made.weight.tolist(), strict=True))


def test_a_pair_is_one_comparison_and_a_tie_half_of_each() -> None:
    assert rows(chose(3, 5, chosen=5)) == [(5, 3, 1.0)]
    assert rows(chose(3, 5)) == [(3, 5, 0.5), (5, 3, 0.5)]
    assert rows(chose(3, 5, worst=3)) == [(5, 3, 1.0)]


def test_the_best_and_the_worst_of_four_are_compared_with_the_others() -> None:
    made = rows(chose(1, 2, 3, 4, chosen=2, worst=4))
    assert made[:3] == [(2, 1, 0.5), (2, 3, 0.5), (2, 4, 0.5)]
    assert made[3:] == [(1, 4, pytest.approx(2 / 3)), (3, 4, pytest.approx(2 / 3))]


def test_what_is_liked_is_put_beside_what_the_same_person_does_not_like() -> None:
    liked, disliked = [chose(n, chosen=n) for n in range(3)], [chose(n) for n in (7, 8)]
    made = rows(*liked, *disliked, chose(9, chosen=9, user=1))
    assert {better for better, _, _ in made} == {0, 1, 2}
    assert {worse for _, worse, _ in made} == {7, 8}


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=5), st.integers(0, 5))
def test_a_choice_is_worth_two_pairs_at_most_and_never_compares_an_image_with_itself(
    shown: list[list[int]], seed: int
) -> None:
    made = comparisons_of([chose(*four, chosen=four[0]) for four in shown], seed=seed)
    assert np.all(made.better != made.worse)
    assert made.weight.sum() == pytest.approx(1.5 * len(shown))
