import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.evaluation.levels import user_level
from predictor.evaluation.margins import MARGINS, near_tie_curve
from predictor.metrics import mean_over_users


def rated(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    user, rating = rng.integers(0, 6, 60), rng.random(60).round(2)
    return user, rating, (rating + rng.normal(0, 0.3, 60)).round(1)


def test_margins_go_from_nothing_to_half_of_the_scale() -> None:
    assert pytest.approx(np.linspace(0, 0.5, 11), abs=1e-15) == MARGINS


def test_pairs_done_by_hand() -> None:
    user = np.array([5, 5, 5, 2, 2])
    rating = np.array([0.1, 0.2, 0.5, 0.5, 0.45])
    score = np.array([2.0, 1.0, 3.0, 1.0, 1.0])
    narrow, wide, none = near_tie_curve(user, rating, {"model": score}, margins=[0, 0.1, 0.45])
    assert (narrow.n_pairs, narrow.n_users) == (4, 2)
    assert narrow.accuracy["model"].value == pytest.approx((2 / 3 + 0.5) / 2)
    assert (wide.n_pairs, wide.n_users) == (3, 1)
    assert wide.accuracy["model"].value == pytest.approx(2 / 3)
    assert none.as_dict() == {
        "margin": 0.45,
        "n_pairs": 0,
        "n_users": 0,
        "accuracy": {"model": {"value": None, "ci_low": None, "ci_high": None}},
    }


@given(st.integers(0, 100))
def test_the_curve_starts_at_the_user_level_and_fewer_pairs_are_left_as_it_goes_on(seed: int) -> None:
    user, rating, score = rated(seed)
    curve = near_tie_curve(user, rating, {"model": score}, replicates=50)
    values = user_level(user, rating, score)["pairwise_accuracy"]
    assert curve[0].accuracy["model"].value == pytest.approx(mean_over_users(values).value, abs=1e-12)
    assert curve[0].n_users == (~np.isnan(values)).sum()
    pairs = [point.n_pairs for point in curve]
    assert pairs == sorted(pairs, reverse=True)
    for point in curve:
        interval = point.accuracy["model"]
        assert point.n_pairs == 0 or 0 <= interval.ci_low <= interval.ci_high <= 1 + 1e-12


def test_the_interval_contains_the_value_and_follows_its_seed() -> None:
    user, rating, score = rated(0)
    curve = near_tie_curve(user, rating, {"model": score}, seed=3)
    assert all(
        point.accuracy["model"].ci_low <= point.accuracy["model"].value <= point.accuracy["model"].ci_high
        for point in curve
    )
    assert curve == near_tie_curve(user, rating, {"model": score}, seed=3)
    assert curve != near_tie_curve(user, rating, {"model": score}, seed=4)


def test_the_order_of_rows_and_the_numbers_of_users_do_not_matter() -> None:
    user, rating, score = rated(1)
    order = np.random.default_rng(0).permutation(len(user))
    curve = near_tie_curve(user, rating, {"model": score})
    assert curve == near_tie_curve(10 * user + 3, rating, {"model": score})
    for point, other in zip(curve, near_tie_curve(user[order], rating[order], {"model": score[order]}), strict=True):
        assert (point.n_pairs, point.n_users) == (other.n_pairs, other.n_users)
        assert point.accuracy["model"].value == pytest.approx(other.accuracy["model"].value, abs=1e-12)


def test_a_baseline_without_numbers_is_undefined_beside_one_that_has_them() -> None:
    user, rating, score = rated(2)
    curve = near_tie_curve(user, rating, {"model": score, "factors": np.full(len(user), np.nan)})
    assert {point.accuracy["factors"].as_dict()["value"] for point in curve} == {None}
    alone = near_tie_curve(user, rating, {"model": score})
    assert [point.accuracy["model"] for point in curve] == [point.accuracy["model"] for point in alone]


def test_nobody_and_a_constant_rater_have_no_pairs() -> None:
    nothing = np.empty(0)
    assert near_tie_curve(nothing.astype(int), nothing, {"model": nothing})[0].n_users == 0
    constant = near_tie_curve(np.zeros(3, int), np.full(3, 0.5), {"model": np.arange(3.0)})
    assert {(point.n_pairs, point.n_users) for point in constant} == {(0, 0)}
    assert np.isnan(constant[0].accuracy["model"].value)
