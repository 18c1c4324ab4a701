import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from predictor.metrics import (
    METRICS,
    Interval,
    bootstrap_mean,
    mean_over_users,
    pairwise_accuracy,
    per_user,
    plcc,
    srocc,
)

RISING = np.array([0.0, 0.25, 0.5, 1.0])

pairs_of_vectors = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=st.integers(-9, 9).map(float)) for _ in "ab"])
)
values = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3))


def varied(*vectors: np.ndarray) -> bool:
    return all(np.ptp(vector) > 0 for vector in vectors)


@given(pairs_of_vectors.filter(lambda pair: varied(*pair)))
def test_correlations_are_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert srocc(*pair) == pytest.approx(np.asarray(stats.spearmanr(*pair))[0], abs=1e-12)
    assert plcc(*pair) == pytest.approx(np.asarray(stats.pearsonr(*pair))[0], abs=1e-12)


@given(pairs_of_vectors.filter(lambda pair: varied(*pair)), st.sampled_from([np.exp, np.cbrt, lambda x: 3 * x - 7]))
def test_srocc_does_not_change_under_a_rising_map_of_the_scores(pair, rising) -> None:
    rating, score = pair
    assert srocc(rating, rising(score)) == pytest.approx(srocc(rating, score), abs=1e-12)
    assert pairwise_accuracy(rating, rising(score)) == pairwise_accuracy(rating, score)


@given(pairs_of_vectors.filter(lambda pair: varied(pair[0])))
def test_turning_the_scores_round_turns_the_accuracy_round(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rating, score = pair
    assert pairwise_accuracy(rating, -score) == pytest.approx(1 - pairwise_accuracy(rating, score), abs=1e-12)
    assert 0 <= pairwise_accuracy(rating, score) <= 1


@given(pairs_of_vectors.filter(lambda pair: varied(pair[0])))
def test_pairwise_accuracy_counts_pair_by_pair(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rating, score = pair
    points = [
        0.5 if score[i] == score[j] else float((rating[i] > rating[j]) == (score[i] > score[j]))
        for i in range(len(rating))
        for j in range(i)
        if rating[i] != rating[j]
    ]
    assert pairwise_accuracy(rating, score) == pytest.approx(np.mean(points), abs=1e-12)


@pytest.mark.parametrize(
    ("rating", "score", "accuracy"),
    [
        ([1, 2, 3], [0.1, 0.2, 0.3], 1.0),
        ([1, 2, 3], [0.3, 0.2, 0.1], 0.0),
        ([1, 2, 3], [0.1, 0.3, 0.2], 2 / 3),
        ([1, 2, 2], [0.1, 0.9, 0.2], 1.0),  # the pair with equal ratings is left out
        ([1, 2, 3], [0.1, 0.1, 0.3], 2.5 / 3),  # the pair with equal scores counts half
        ([1, 2], [5, 5], 0.5),
    ],
)
def test_pairwise_accuracy_of_cases_done_by_hand(rating: list[float], score: list[float], accuracy: float) -> None:
    assert pairwise_accuracy(np.array(rating, float), np.array(score, float)) == pytest.approx(accuracy)


@pytest.mark.parametrize("name", METRICS)
def test_a_constant_rater_has_no_metric(name: str) -> None:
    assert np.isnan(METRICS[name](np.full(4, 0.5), RISING))
    assert np.isnan(METRICS[name](np.array([0.5]), np.array([0.5])))


def test_constant_scores_have_no_correlation_and_order_half_of_the_pairs() -> None:
    assert np.isnan(srocc(RISING, np.full(4, 0.5)))
    assert np.isnan(plcc(RISING, np.full(4, 0.5)))
    assert pairwise_accuracy(RISING, np.full(4, 0.5)) == 0.5


def test_metrics_are_taken_within_each_user() -> None:
    user = np.array([4, 2, 4, 2, 4, 9, 9])
    rating = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.5, 0.5])
    score = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 1.0, 2.0])
    of_users = per_user(srocc, user, rating, score)
    assert of_users[:2] == pytest.approx([-1, 1])  # users 2 and 4
    assert np.isnan(of_users[2])


def test_users_without_a_value_are_left_out_of_the_mean() -> None:
    assert mean_over_users(np.array([0.2, np.nan, 0.4])) == mean_over_users(np.array([0.2, 0.4]))
    assert mean_over_users(np.array([0.2, np.nan, 0.4])).value == pytest.approx(0.3)


@pytest.mark.parametrize("nothing", [[], [np.nan, np.nan]])
def test_the_mean_over_nobody_is_nan_and_null_in_json(nothing: list[float]) -> None:
    interval = mean_over_users(np.array(nothing, float))
    assert np.isnan([interval.value, interval.ci_low, interval.ci_high]).all()
    assert set(interval.as_dict().values()) == {None}
    assert np.isnan(Interval.from_dict(interval.as_dict()).value)


@given(values)
def test_an_interval_stays_among_the_values(sample: np.ndarray) -> None:
    interval = bootstrap_mean(sample, replicates=400)
    slack = 1e-9 * (1 + np.abs(sample).max())
    assert interval.value == pytest.approx(sample.mean())
    assert sample.min() - slack <= interval.ci_low <= interval.ci_high <= sample.max() + slack


@given(st.integers(0, 1000))
def test_the_interval_of_a_plain_sample_contains_its_mean_and_follows_its_seed(seed: int) -> None:
    sample = np.random.default_rng(seed).normal(0.5, 0.1, 20)
    interval = bootstrap_mean(sample, seed=seed)
    assert interval.ci_low < interval.value < interval.ci_high
    assert interval == bootstrap_mean(sample, seed=seed)
    assert interval != bootstrap_mean(sample, seed=seed + 1)


def test_the_interval_of_many_is_about_two_standard_errors_to_each_side() -> None:
    sample = np.random.default_rng(0).normal(0, 1, 400)
    interval = bootstrap_mean(sample)
    error = 1.96 * sample.std() / 20
    assert interval.ci_low == pytest.approx(sample.mean() - error, abs=0.02)
    assert interval.ci_high == pytest.approx(sample.mean() + error, abs=0.02)


def test_an_interval_reads_well() -> None:
    assert str(Interval(0.51249, -0.1, 0.75)) == "+0.512 [-0.100, +0.750]"
