import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from predictor.metrics import (
    BY_GROUP,
    METRICS,
    Interval,
    bootstrap_mean,
    group_rows,
    mean_over_users,
    means_over_users,
    pairwise_accuracy,
    pairwise_accuracy_by_margin,
    per_user,
    percentile_interval,
    plcc,
    resampled_users,
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


grouped = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(0, 5)),
        *[hnp.arrays(np.float64, n, elements=st.integers(-3, 3).map(float)) for _ in "ab"],
    )
)


@pytest.mark.parametrize("name", METRICS)
@given(rows=grouped)
def test_many_groups_at_once_are_the_groups_one_by_one(name: str, rows: tuple[np.ndarray, ...]) -> None:
    group, rating, score = rows
    assert BY_GROUP[name](group, rating, score) == pytest.approx(
        per_user(METRICS[name], group, rating, score), abs=1e-12, nan_ok=True
    )


@given(st.floats(1e-150, 1e150), st.integers(0, 50))
def test_correlations_are_scipys_for_numbers_of_any_size(size: float, seed: int) -> None:
    rating, score = np.random.default_rng(seed).normal(0, 1, (2, 50)).round(1)
    assert plcc(rating, score * size) == pytest.approx(np.asarray(stats.pearsonr(rating, score))[0], abs=1e-12)
    assert srocc(rating, score * size) == pytest.approx(np.asarray(stats.spearmanr(rating, score))[0], abs=1e-12)


@pytest.mark.parametrize("digits", [1, 9])
def test_pairwise_accuracy_of_fifty_thousand_ratings_agrees_with_kendalls_tau(digits: int) -> None:
    rating, score = np.random.default_rng(0).random((2, 50_000)).round(digits)
    score = score + rating.round(1)
    pairs = len(rating) * (len(rating) - 1) / 2
    tied_rating, tied_score = (
        (counts * (counts - 1) / 2).sum() for counts in (np.unique(x, return_counts=True)[1] for x in (rating, score))
    )
    tau = np.asarray(stats.kendalltau(rating, score))[0]
    ahead = tau * np.sqrt(pairs - tied_rating) * np.sqrt(pairs - tied_score)
    assert pairwise_accuracy(rating, score) == pytest.approx(0.5 + 0.5 * ahead / (pairs - tied_rating), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_score_that_is_no_number_leaves_its_own_group_alone_without_a_metric(name: str) -> None:
    group = np.array([0, 0, 0, 1, 1, 1])
    values = BY_GROUP[name](group, np.array([1.0, 2, 3, 1, 2, 3]), np.array([1.0, np.nan, 3, 1, 2, 3]))
    assert np.isnan(values).tolist() == [True, False]
    assert values[1] == pytest.approx(1)
    assert np.isnan(METRICS[name](RISING, np.full(4, np.nan)))


def test_nothing_has_no_metric() -> None:
    nothing = np.empty(0)
    assert all(np.isnan(metric(nothing, nothing)) for metric in METRICS.values())
    assert all(len(metric(nothing.astype(int), nothing, nothing)) == 0 for metric in BY_GROUP.values())
    assert list(group_rows(nothing.astype(int))) == []
    assert len(per_user(srocc, nothing.astype(int), nothing, nothing)) == 0


tenths = st.integers(2, 25).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(0, 20)),
        *[hnp.arrays(np.float64, n, elements=st.integers(0, 5).map(float)) for _ in "ab"],
    )
)


@given(tenths)
def test_pairs_closer_than_the_margin_are_left_out_and_those_at_the_margin_count(rows: tuple[np.ndarray, ...]) -> None:
    steps, *scores = rows
    margins = [0.0, 0.05, 0.1, 0.15, 0.5, 1.0]
    accuracy, pairs = pairwise_accuracy_by_margin(steps * 0.05, scores, margins)  # 3 * 0.05 is more than 0.15
    for m, least in enumerate([1, 1, 2, 3, 10, 20]):
        apart = [(i, j) for i in range(len(steps)) for j in range(len(steps)) if steps[i] - steps[j] >= least]
        assert pairs[m] == len(apart)
        for s, score in enumerate(scores):
            points = [0.5 + 0.5 * np.sign(score[i] - score[j]) for i, j in apart]
            assert accuracy[s, m] == pytest.approx(np.mean(points) if points else np.nan, abs=1e-12, nan_ok=True)


@given(pairs_of_vectors)
def test_the_margin_of_nothing_is_pairwise_accuracy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rating, score = pair
    assert pairwise_accuracy_by_margin(rating, [score], [0.0])[0][0, 0] == pytest.approx(
        pairwise_accuracy(rating, score), abs=1e-12, nan_ok=True
    )


def test_pairs_are_compared_in_stripes_without_a_change_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rating, score = np.random.default_rng(0).random((2, 60)).round(1)
    whole = pairwise_accuracy_by_margin(rating, [score], [0.0, 0.2])
    monkeypatch.setattr("predictor.metrics._CELLS", 1)
    striped = pairwise_accuracy_by_margin(rating, [score], [0.0, 0.2])
    assert np.array_equal(whole[0], striped[0])
    assert np.array_equal(whole[1], striped[1])


@pytest.mark.parametrize("margins", [[0.1, 0.1], [0.2, 0.1], [-0.1, 0.1]])
def test_margins_that_do_not_ascend_from_nothing_are_an_error_that_names_them(margins: list[float]) -> None:
    with pytest.raises(ValueError, match=r"margins must ascend from 0 or more, got \["):
        pairwise_accuracy_by_margin(RISING, [RISING], margins)


@given(values, st.integers(0, 99))
def test_means_of_several_quantities_are_each_the_mean_over_users(sample: np.ndarray, seed: int) -> None:
    means = means_over_users({"a": sample, "b": -sample}, seed=seed, replicates=200)
    alone = mean_over_users(sample, seed=seed, replicates=200)
    scale = 1 + np.abs(sample).max()
    for part in ("value", "ci_low", "ci_high"):
        assert getattr(means["a"], part) == pytest.approx(getattr(alone, part), abs=1e-9 * scale)
    assert means["b"].ci_low == pytest.approx(-means["a"].ci_high, abs=1e-9 * scale)  # the same users were drawn


def test_a_user_without_one_quantity_still_counts_in_the_others() -> None:
    means = means_over_users({"a": np.array([0.2, np.nan, 0.4]), "b": np.array([0.1, 0.9, 0.5])})
    assert (means["a"].value, means["b"].value) == pytest.approx((0.3, 0.5))
    assert means["a"].ci_low >= 0.2 - 1e-12
    undefined = means_over_users({"a": np.array([np.nan, np.nan]), "b": np.array([0.0, 1.0])})["a"]
    assert set(undefined.as_dict().values()) == {None}
    assert means_over_users({}) == {}
    assert set(means_over_users({"a": np.empty(0)})["a"].as_dict().values()) == {None}


@given(st.integers(1, 30), st.integers(0, 99))
def test_each_replicate_draws_as_many_users_as_there_are(count: int, seed: int) -> None:
    drawn = resampled_users(count, seed=seed, replicates=5)
    assert drawn.shape == (5, count)
    assert (drawn.sum(1) == count).all()


def test_replicates_without_a_value_do_not_count() -> None:
    assert percentile_interval(0.5, np.array([np.nan, 0.5, 0.5])) == Interval(0.5, 0.5, 0.5)
    assert np.isnan(percentile_interval(0.5, np.array([np.nan])).ci_low)
