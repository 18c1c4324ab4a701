"""The fit against choix, Wikipedia's example and finite differences; and what has no finite fit."""

import string

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from studies.elo.bradley_terry import (
    as_outcomes,
    fit_counts,
    fit_replicates,
    gradient_of,
    information_of,
    log_likelihood,
    terms_of,
)
from studies.elo.comparison_graph import has_finite_fit
from studies.elo.pair_counts import Counts, members, pair_count, square

NAMES = string.ascii_uppercase


@st.composite
def studies(draw: st.DrawFn, tied: bool = True) -> tuple[Counts, int]:
    """Counts (P, 3) that have a finite fit, and the number of conditions."""
    conditions = draw(st.integers(2, 7))
    most = draw(st.sampled_from([2, 12, 3000]))
    cells = st.lists(st.integers(0, most), min_size=3, max_size=3)
    pairs = draw(st.lists(cells, min_size=pair_count(conditions), max_size=pair_count(conditions)))
    counts = np.array(pairs, float).reshape(-1, 3) * [1, 1, tied]
    for first in range(conditions):  # a ring of wins makes the maximum finite
        a, b = sorted([first, (first + 1) % conditions])
        pair = a * (2 * conditions - a - 1) // 2 + b - a - 1
        counts[pair, 0 if a == first else 1] += 1
    return counts, conditions


def strength(counts: Counts, conditions: int) -> np.ndarray:
    return fit_counts(counts, NAMES[:conditions]).log_strength


def choix_strength(counts: Counts, conditions: int) -> np.ndarray:
    wins = square(as_outcomes(counts, "half"), conditions)
    found = choix.ilsr_pairwise_dense(wins, alpha=0, max_iter=100_000, tol=1e-13)
    return found - found.mean()


@given(studies())
@settings(max_examples=150, deadline=None)
def test_strengths_are_those_of_choix(study: tuple[Counts, int]) -> None:
    np.testing.assert_allclose(strength(*study), choix_strength(*study), atol=1e-6)


@given(studies(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_other_names_for_the_conditions_change_nothing(study: tuple[Counts, int], chance) -> None:
    counts, conditions = study
    order = list(range(conditions))
    chance.shuffle(order)
    wins, ties = square(counts, conditions), square(counts[:, [2, 2]], conditions)
    wins, ties = wins[np.ix_(order, order)], ties[np.ix_(order, order)]
    first, second = members(conditions)
    renamed = np.stack([wins[first, second], wins[second, first], ties[first, second]], 1)

    np.testing.assert_allclose(strength(renamed, conditions), strength(counts, conditions)[order], atol=1e-8)


@given(studies(), st.integers(2, 50))
@settings(deadline=None)
def test_the_same_votes_many_times_over_change_nothing(study: tuple[Counts, int], times: int) -> None:
    counts, conditions = study

    np.testing.assert_allclose(strength(counts * times, conditions), strength(counts, conditions), atol=1e-8)


@given(studies())
@settings(deadline=None)
def test_preferring_the_worse_throughout_turns_the_strengths_around(study: tuple[Counts, int]) -> None:
    counts, conditions = study

    np.testing.assert_allclose(strength(counts[:, [1, 0, 2]], conditions), -strength(counts, conditions), atol=1e-8)


def test_the_worked_example_of_wikipedia() -> None:
    # en.wikipedia.org/wiki/Bradley–Terry_model, "Worked example of solution procedure": four teams, 22 games
    wins = np.array([[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]], float)
    first, second = members(4)
    counts = np.stack([wins[first, second], wins[second, first], np.zeros(6)], 1)

    found = fit_counts(counts, "ABCD")

    np.testing.assert_allclose(np.exp(found.log_strength), [0.640, 1.043, 0.660, 2.270], atol=5e-4)
    assert found.elo.mean() == pytest.approx(1000)


def test_four_hundred_elo_are_a_factor_of_ten_in_odds() -> None:
    assert np.diff(fit_counts(np.array([[1.0, 10.0, 0.0]]), "AB").elo) == pytest.approx(400)


@given(studies(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_gradient_and_information_of_davidson_are_those_of_finite_differences(study, seed: int) -> None:
    counts, conditions = study
    point = np.random.default_rng(seed).normal(0, 1, conditions + 1)
    first, second = members(conditions)

    def value(at: np.ndarray) -> float:
        return float(log_likelihood(counts[None], (at[first] - at[second])[None], at[-1:])[0])

    def gradient(at: np.ndarray) -> np.ndarray:
        return gradient_of(terms_of(counts[None], (at[first] - at[second])[None], at[-1]), conditions, ties=True)[0]

    def slope(of, step: float = 1e-5) -> np.ndarray:
        steps = step * np.eye(conditions + 1)
        return np.array([(np.asarray(of(point + s)) - np.asarray(of(point - s))) / (2 * step) for s in steps])

    terms = terms_of(counts[None], (point[first] - point[second])[None], point[-1])
    scale = counts.sum()
    np.testing.assert_allclose(gradient(point), slope(value), atol=1e-6 * scale)
    np.testing.assert_allclose(information_of(terms, conditions, ties=True)[0], -slope(gradient), atol=1e-6 * scale)


def test_davidson_finds_the_maximum_that_a_general_optimiser_finds() -> None:
    counts = np.array([[30.0, 12, 9], [8, 20, 11], [25, 25, 4]])
    first, second = members(3)

    def loss(at: np.ndarray) -> float:
        return -float(log_likelihood(counts[None], (at[first] - at[second])[None], at[-1:])[0])

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    found = fit_counts(counts, "ABC", ties="davidson")

    np.testing.assert_allclose(found.log_strength, best[:3] - best[:3].mean(), atol=1e-5)
    assert found.log_tie == pytest.approx(best[-1], abs=1e-5)


@given(studies(tied=False))
@settings(deadline=None)
def test_without_ties_davidson_is_bradley_terry(study: tuple[Counts, int]) -> None:
    counts, conditions = study
    found = fit_counts(counts, NAMES[:conditions], ties="davidson")

    np.testing.assert_allclose(found.log_strength, strength(counts, conditions), atol=1e-10)
    assert found.log_tie == -np.inf


def test_a_replicate_is_fitted_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 2, (300, 6, 3)).astype(float)
    for ties in ("half", "davidson"):
        together, log_tie = fit_replicates(counts, 4, ties=ties)
        alone = [fit_replicates(one[None], 4, ties=ties) for one in counts]

        np.testing.assert_allclose(together, np.concatenate([a for a, _ in alone]), atol=1e-8)
        np.testing.assert_allclose(log_tie, np.concatenate([t for _, t in alone]), atol=1e-8)
    assert np.isnan(together).any()
    np.testing.assert_array_equal(np.isnan(fit_replicates(counts, 4)[0][:, 0]), ~has_finite_fit(counts, 4))


def test_the_starting_point_does_not_decide() -> None:
    counts = np.array([[30.0, 12, 9], [8, 20, 11], [25, 25, 4]])
    near, _ = fit_replicates(counts[None], 3)
    far, _ = fit_replicates(counts[None], 3, start=np.array([40.0, -30, 5]))

    np.testing.assert_allclose(far, near, atol=1e-8)


def test_a_single_lost_vote_among_a_million_is_finite() -> None:
    assert strength(np.array([[999_999.0, 1, 0]]), 2)[0] == pytest.approx(np.log(999_999) / 2)


def test_conditions_that_nobody_compared_with_the_rest_are_named() -> None:
    counts = np.zeros((6, 3))
    counts[0] = counts[5] = 3, 4, 0

    with pytest.raises(ValueError, match=r"2 parts .*: \(1\) A, B; \(2\) C, D; collect"):
        fit_counts(counts, "ABCD")


def test_a_condition_that_always_won_is_named_with_the_remedy() -> None:
    counts = np.array([[5.0, 0, 0], [4, 0, 0], [2, 3, 0]])

    with pytest.raises(ValueError, match=r"separable: A never lost against any other.*--prior"):
        fit_counts(counts, "ABC")
    assert np.isfinite(fit_counts(counts, "ABC", prior=0.5).log_strength).all()


def test_a_group_of_conditions_that_never_won_against_the_others_is_named() -> None:
    counts = np.zeros((6, 3))
    counts[:] = 5, 0, 0
    counts[0] = counts[5] = 3, 4, 0

    with pytest.raises(ValueError, match="A, B never lost against any other; C, D never won against any other"):
        fit_counts(counts, "ABCD")


def test_a_tie_keeps_the_fit_finite() -> None:
    assert np.isfinite(strength(np.array([[5.0, 0, 1]]), 2)).all()


def test_too_many_ties_have_no_davidson_fit_and_half_wins_are_the_remedy() -> None:
    counts = np.array([[2.0, 0, 3], [0, 0, 9], [0, 0, 9]])

    assert np.isfinite(fit_counts(counts, "ABC").log_strength).all()
    with pytest.raises(ValueError, match=r"no finite tie parameter.*--ties half"):
        fit_counts(counts, "ABC", ties="davidson")
    assert np.isfinite(fit_counts(counts, "ABC", ties="davidson", prior=0.5).log_tie)


def test_one_condition_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two conditions or more are needed, got 1: A"):
        fit_counts(np.zeros((0, 3)), "A")


@pytest.mark.parametrize("prior", [-1.0, float("nan"), float("inf")])
def test_a_prior_that_is_no_number_of_wins_is_refused(prior: float) -> None:
    with pytest.raises(ValueError, match="prior must be"):
        fit_counts(np.array([[3.0, 4, 0]]), "AB", prior=prior)
