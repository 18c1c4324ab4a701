import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from predictor.evaluation.levels import compare, compare_datasets, population_level, user_level
from predictor.metrics import METRICS, Interval

Rows = tuple[np.ndarray, ...]


def rated(seed: int, users: int = 8, images: int = 12, share: float = 0.6) -> Rows:
    """User, image, rating (in tenths, so that there are ties) and what each image is worth."""
    rng = np.random.default_rng(seed)
    user, image = np.nonzero(rng.random((users, images)) < share)
    worth = rng.random(images)
    rating = (0.6 * worth[image] + 0.4 * rng.random(len(user))).round(1)
    return user, image, rating, worth


def undefined(interval: Interval) -> bool:
    return set(interval.as_dict().values()) == {None}


@given(st.integers(0, 200))
def test_user_level_is_each_metric_within_each_user(seed: int) -> None:
    user, image, rating, worth = rated(seed)
    score = worth[image].round(1)
    values = user_level(user, rating, score)
    for name, metric in METRICS.items():
        expected = [metric(rating[user == u], score[user == u]) for u in np.unique(user)]
        assert values[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.integers(0, 200))
def test_the_order_of_the_rows_and_the_numbers_of_users_and_images_do_not_matter(seed: int) -> None:
    user, image, rating, worth = rated(seed)
    order = np.random.default_rng(seed).permutation(len(user))
    there = population_level(user, image, rating, worth, replicates=20)
    assert there == population_level(user[order], image[order], rating[order], worth, replicates=20)
    moved = np.full(3 * len(worth) + 5, np.nan)
    moved[3 * np.arange(len(worth)) + 5] = worth
    assert there == population_level(7 * user + 2, 3 * image + 5, rating, moved, replicates=20)
    within, shuffled = (user_level(user[o], rating[o], worth[image[o]]) for o in (np.arange(len(user)), order))
    for name in METRICS:
        assert within[name] == pytest.approx(shuffled[name], abs=1e-12, nan_ok=True)


def test_constant_raters_have_no_value_and_are_left_out_of_the_comparison() -> None:
    user = np.repeat([0, 1, 2], 3)
    rating = np.array([0.1, 0.2, 0.3, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1])
    rising = np.tile([1.0, 2, 3], 3)
    a, b = user_level(user, rating, rising), user_level(user, rating, -rising)
    assert np.isnan(a["srocc"]).tolist() == [False, True, False]
    assert a["pairwise_accuracy"][[0, 2]].tolist() == [1, 0]
    b["plcc"][0] = np.nan
    differences = compare(a, b)
    assert differences["srocc"].value == pytest.approx(0)  # +2 and -2
    assert differences["plcc"].value == pytest.approx(-2)  # user 2 alone


def test_a_comparison_is_paired() -> None:
    rng = np.random.default_rng(0)
    better = {name: rng.normal(0.4, 0.3, 50) for name in METRICS}
    worse = {name: values - 0.02 for name, values in better.items()}
    for interval in compare(better, worse).values():
        assert (interval.ci_low, interval.value, interval.ci_high) == pytest.approx((0.02, 0.02, 0.02))


def test_scores_that_are_no_numbers_are_compared_to_nothing() -> None:
    user, image, rating, worth = rated(0)
    some, none = user_level(user, rating, worth[image]), user_level(user, rating, np.full(len(user), np.nan))
    assert all(undefined(interval) for interval in compare(some, none).values())
    worth[image[0]] = np.nan
    assert all(undefined(interval) for interval in population_level(user, image, rating, worth).values())


@given(st.integers(0, 200))
def test_population_level_takes_the_mean_rating_of_each_image(seed: int) -> None:
    user, image, rating, worth = rated(seed)
    score = worth.round(1)
    seen = np.unique(image)
    mean = np.array([rating[image == i].mean() for i in seen]).round(12)
    level = population_level(user, image, rating, score, replicates=5)
    for name, metric in METRICS.items():
        assert level[name].value == pytest.approx(metric(mean, score[seen]), abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(st.integers(0, 200))
def test_replicates_are_what_drawing_whole_users_gives_shifted_to_the_value(seed: int) -> None:
    user, image, rating, worth = rated(seed, users=4, images=6)
    people = np.unique(user)
    level = population_level(user, image, rating, worth, seed=4, replicates=2)
    draws = np.random.default_rng(4).integers(0, len(people), (2, len(people)))
    rows = [np.concatenate([np.flatnonzero(user == people[u]) for u in drawn]) for drawn in draws]
    apart = [population_level(user[r], image[r], rating[r], worth, replicates=1) for r in rows]
    for name in METRICS:
        values = np.array([replicate[name].value for replicate in apart])
        values = values[~np.isnan(values)]
        if len(values):
            low = np.percentile(values - np.median(values), 2.5) + level[name].value
            lowest = 0 if name == "pairwise_accuracy" else -1
            assert level[name].ci_low == pytest.approx(max(low, lowest), abs=1e-12, nan_ok=True)


@given(st.integers(0, 200))
def test_the_interval_contains_the_value_and_stays_in_the_range_of_the_metric(seed: int) -> None:
    user, image, rating, worth = rated(seed, users=15, images=30, share=0.3)
    for name, interval in population_level(user, image, rating, worth, replicates=60).items():
        assert interval.ci_low <= interval.value <= interval.ci_high <= 1
        assert interval.ci_low >= (0 if name == "pairwise_accuracy" else -1)


def test_the_interval_follows_its_seed() -> None:
    rows = rated(1, users=20)
    assert population_level(*rows, seed=1) == population_level(*rows, seed=1)
    assert population_level(*rows, seed=1) != population_level(*rows, seed=2)


def test_the_interval_is_as_wide_as_new_people_make_the_value_vary() -> None:
    values = [population_level(*rated_by_new_people(seed), replicates=2)["srocc"].value for seed in range(80)]
    intervals = [population_level(*rated_by_new_people(seed), replicates=200)["srocc"] for seed in range(12)]
    width = np.mean([interval.ci_high - interval.ci_low for interval in intervals])
    assert width == pytest.approx(3.92 * np.std(values), rel=0.35)


def rated_by_new_people(seed: int) -> Rows:
    worth = np.linspace(0, 1, 40)
    user, image = np.nonzero(np.ones((25, 40)))
    return user, image, 0.2 * worth[image] + np.random.default_rng(seed).random(len(user)), worth


def test_replicates_are_ranked_in_parts_without_a_change_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rated(3)
    whole = population_level(*rows, replicates=10)
    monkeypatch.setattr("predictor.evaluation.levels._CELLS", 30)
    assert population_level(*rows, replicates=10) == whole


def test_one_user_has_a_value_without_width_and_one_image_has_none() -> None:
    rating, worth = np.array([0.1, 0.5, 0.3]), np.array([1.0, 3, 2])
    alone = population_level(np.zeros(3, int), np.arange(3), rating, worth)
    assert alone["pairwise_accuracy"] == Interval(1, 1, 1)
    one = population_level(np.arange(3), np.zeros(3, int), rating, worth)
    assert all(undefined(interval) for interval in one.values())
    nothing = np.empty(0, int)
    assert all(undefined(interval) for interval in population_level(nothing, nothing, rating[:0], worth).values())


def test_an_image_without_a_score_of_its_own_is_an_error_that_gives_both_numbers() -> None:
    with pytest.raises(ValueError, match="2 consensus scores, but a rating of image number 2"):
        population_level(np.zeros(3, int), np.arange(3), np.zeros(3), np.zeros(2))


def test_of_very_many_images_fewer_replicates_are_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rated(3)
    monkeypatch.setattr("predictor.evaluation.levels._RANKED", 12 * 150)
    assert population_level(*rows) == population_level(*rows, replicates=150)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=3))
@example([199])  # a user who has ratings has no correlation
def test_the_difference_over_datasets_is_the_mean_of_each_ones(seeds: list[int]) -> None:
    def two_scores(seed: int) -> list[dict[str, np.ndarray]]:
        user, image, rating, worth = rated(seed)
        return [user_level(user, rating, score[image]) for score in (worth, worth[::-1])]

    values = [two_scores(seed) for seed in seeds]
    together = compare_datasets([a for a, _ in values], [b for _, b in values], replicates=200)
    alone = [compare(a, b, replicates=200) for a, b in values]
    for name in METRICS:
        if not any(undefined(each[name]) for each in alone):
            assert together[name].value == pytest.approx(np.mean([each[name].value for each in alone]))
            assert together[name].ci_low <= together[name].value <= together[name].ci_high
    if len(seeds) == 1:
        assert together["plcc"].ci_low == pytest.approx(alone[0]["plcc"].ci_low, nan_ok=True)


def test_users_of_each_dataset_are_drawn_apart() -> None:
    user, image, rating, worth = rated(3)
    a, b = (user_level(user, rating, score[image]) for score in (worth, worth[::-1]))
    alone, twice = compare_datasets([a], [b])["plcc"], compare_datasets([a, a], [b, b])["plcc"]

    assert twice.value == pytest.approx(alone.value)
    assert twice.ci_high - twice.ci_low == pytest.approx((alone.ci_high - alone.ci_low) / 2**0.5, rel=0.15)
