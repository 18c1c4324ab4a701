"""Which four stand for choice."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipelines.live.next_four import chances, next_four, samples


def utilities(mean: list[float], sd: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(mean, dtype=torch.float64), torch.diag(torch.tensor(sd, dtype=torch.float64))


def test_the_favourite_comes_first_and_those_that_are_surely_worse_come_last() -> None:
    mean, rows = utilities([0.5, 0.1, 0.9, 0.7, 0.2, 0.8], [0.01] * 6)

    assert next_four(mean, rows, favourite=0, unseen=range(1, 6), noise=0.0, seed=1)[:2] == [0, 2]


def test_of_equal_expectation_the_less_certain_picture_is_shown() -> None:
    mean, rows = utilities([0.5, 0.4, 0.4], [0.01, 0.01, 0.3])

    assert next_four(mean, rows, favourite=0, unseen=[1, 2], noise=0.0, seed=1)[1] == 2


def test_two_pictures_that_are_liked_alike_are_not_both_worth_showing() -> None:
    mean = torch.tensor([0.0, 0.1, 0.1, 0.05], dtype=torch.float64)
    rows = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.3, 0.0], [0.0, 0.3]], dtype=torch.float64)

    assert next_four(mean, rows, favourite=0, unseen=[1, 2, 3], noise=0.0, seed=1)[1:3] in ([1, 3], [2, 3])


def test_fewer_than_four_are_all_shown() -> None:
    mean, rows = utilities([0.5, 0.4], [0.1, 0.1])

    assert next_four(mean, rows, favourite=0, unseen=[1], noise=0.01, seed=1) == [0, 1]


@given(st.floats(-0.3, 0.3), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_the_chance_of_the_better_of_two_is_the_normal_distributions(gap: float, one: float, two: float) -> None:
    mean, rows = utilities([gap, 0.0], [one, two])

    assert chances(mean, rows, noise=0.0, seed=3)[0] == pytest.approx(norm.cdf(gap / np.hypot(one, two)), abs=0.08)


@given(st.floats(-0.3, 0.3), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_the_expected_best_of_two_is_clarks(gap: float, one: float, two: float) -> None:
    """Clark 1961, The greatest of a finite set of random variables."""
    mean, rows = utilities([gap, 0.0], [one, two])
    spread = np.hypot(one, two)
    expected = gap * norm.cdf(gap / spread) + spread * norm.pdf(gap / spread)

    assert samples(mean, rows, noise=0.0, seed=3).max(1).mean() == pytest.approx(expected, abs=0.05)
