from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from predictor.evaluation.diverging import Diverging, _ByImage, diverging_preferences
from predictor.metrics import UNDEFINED

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

tables = st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.sampled_from([np.nan, 0.0, 0.25, 0.5, 1.0])),
        hnp.arrays(np.float64, shape, elements=st.sampled_from([0.1, 0.4, 0.7])),
    )
)


def rows_of(ratings: np.ndarray, scores: np.ndarray) -> Rows:
    """Tables (users, images), nan where there is no rating, as rows."""
    user, image = np.nonzero(~np.isnan(ratings))
    return user, image, ratings[user, image], scores[user, image]


def people(seed: int, users: int = 8, images: int = 12) -> Rows:
    rng = np.random.default_rng(seed)
    taste = rng.random((users, images))
    ratings = np.where(rng.random(taste.shape) < 0.8, (taste + 0.3 * rng.random(taste.shape)).round(2), np.nan)
    return rows_of(ratings, taste)


def one_by_one(ratings: np.ndarray, scores: np.ndarray) -> tuple[float, int, int, int]:
    """Accuracy, opposed pairs of users, pairs of images, preferences."""
    points: list[float] = []
    images, preferences = set(), set()
    for (a, b), (u, v) in product(
        combinations(range(ratings.shape[1]), 2), product(range(len(ratings)), range(len(ratings)))
    ):
        if ratings[u, a] > ratings[u, b] and ratings[v, a] < ratings[v, b]:
            points.append(
                (np.sign(scores[u, a] - scores[u, b]) + 1) / 4 + (np.sign(scores[v, b] - scores[v, a]) + 1) / 4
            )
            images.add((a, b))
            preferences |= {(u, a, b), (v, a, b)}
    return float(np.mean(points)) if points else np.nan, len(points), len(images), len(preferences)


@settings(deadline=None)
@given(tables)
def test_every_opposed_pair_of_users_counts_once(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = diverging_preferences(*rows_of(*pair), replicates=5)
    accuracy, opposed, images, preferences = one_by_one(*pair)
    assert found.accuracy.value == pytest.approx(accuracy, abs=1e-12, nan_ok=True)
    assert (found.n_opposed, found.n_image_pairs, found.n_preferences) == (opposed, images, preferences)


@settings(deadline=None)
@given(tables)
def test_a_score_of_the_image_alone_reaches_one_half_exactly_in_every_replicate(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    ratings, scores = pair
    consensus = np.broadcast_to(scores[:1], scores.shape)
    accuracy = diverging_preferences(*rows_of(ratings, consensus), replicates=20).accuracy
    assert accuracy.value == 0.5 or np.isnan(accuracy.value)
    assert {accuracy.ci_low, accuracy.ci_high} == {0.5} or np.isnan(accuracy.ci_low)


def test_a_case_done_by_hand() -> None:
    ratings = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.6], [0.5, 0.5]])
    scores = np.array([[0.9, 0.1], [0.4, 0.4], [0.7, 0.2], [0.0, 1.0]])
    found = diverging_preferences(*rows_of(ratings, scores), user_ids=list("uvwx"), image_ids=["left", "right"])
    assert found.accuracy.value == ((1 + 0) / 2 + (0.5 + 0) / 2) / 2
    assert (found.n_image_pairs, found.n_preferences, found.n_opposed, found.n_users) == (1, 3, 2, 3)
    assert found.right == found.wrong == ()  # w is predicted wrongly, u rightly, v not at all


def test_cases_show_the_largest_contrast_and_no_image_twice() -> None:
    found = diverging_preferences(*people(0), replicates=5)
    assert 0 < len(found.right) <= 3
    assert [case.contrast for case in found.right] == sorted((case.contrast for case in found.right), reverse=True)
    for cases, sign in ((found.right, 1), (found.wrong, -1)):
        shown = [image for case in cases for image in (case.image_a, case.image_b)]
        assert len(shown) == len(set(shown))
        for case in cases:
            a, b = case.prefers_a, case.prefers_b
            assert a.rating_a > a.rating_b
            assert b.rating_b > b.rating_a
            assert sign * (a.score_a - a.score_b) > 0
            assert sign * (b.score_b - b.score_a) > 0


@settings(deadline=None)
@given(tables)
def test_the_first_case_is_the_largest_contrast_that_is_predicted(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ratings, scores = pair
    best = 0.0
    for (a, b), (u, v) in product(
        combinations(range(ratings.shape[1]), 2), product(range(len(ratings)), range(len(ratings)))
    ):
        if scores[u, a] > scores[u, b] and scores[v, b] > scores[v, a]:
            contrast = np.minimum(ratings[u, a] - ratings[u, b], ratings[v, b] - ratings[v, a])
            best = max(best, np.nan_to_num(contrast))
    found = diverging_preferences(*rows_of(ratings, scores), replicates=2)
    assert max((case.contrast for case in found.right), default=0) == best


def test_scores_equal_to_the_ratings_are_all_right_and_reversed_ones_all_wrong() -> None:
    user, image, rating, _ = people(1)
    assert diverging_preferences(user, image, rating, rating).accuracy.value == 1
    assert diverging_preferences(user, image, rating, -rating).accuracy.value == 0


def test_the_order_of_rows_and_the_numbers_do_not_matter() -> None:
    rows = people(2)
    there = diverging_preferences(*rows)
    order = np.random.default_rng(0).permutation(len(rows[0]))
    assert diverging_preferences(*(column[order] for column in rows)) == there
    names = [str(n) for n in range(40)]
    moved = diverging_preferences(
        3 * rows[0] + 1, 2 * rows[1], *rows[2:], user_ids=["", *"0abcdefghijklmnopqrstuvw"], image_ids=names
    )
    assert numbers(moved) == numbers(there)


def numbers(found: Diverging) -> dict[str, object]:
    return {name: value for name, value in found.as_dict().items() if name not in ("right", "wrong")}


def test_the_interval_contains_the_value_and_follows_its_seed() -> None:
    rows = people(3, users=20)
    found = diverging_preferences(*rows, seed=1)
    assert found.accuracy.ci_low < found.accuracy.value < found.accuracy.ci_high
    assert found == diverging_preferences(*rows, seed=1)
    assert found.accuracy != diverging_preferences(*rows, seed=2).accuracy


def test_replicates_are_what_drawing_whole_users_gives() -> None:
    user, image, rating, score = people(4)
    found = diverging_preferences(user, image, rating, score, seed=5, replicates=1)
    drawn = np.random.default_rng(5).integers(0, 8, 8)
    rows = [np.flatnonzero(user == u) for u in drawn]
    again = np.repeat(np.arange(8), [len(own) for own in rows])
    every = np.concatenate(rows)
    resampled = diverging_preferences(again, image[every], rating[every], score[every], replicates=1)
    assert found.accuracy.ci_low == pytest.approx(resampled.accuracy.value, abs=1e-12)


def test_work_in_chunks_and_stripes_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = people(5)
    whole = diverging_preferences(*rows)
    monkeypatch.setattr("predictor.evaluation.diverging._CHUNK", 20)
    assert diverging_preferences(*rows) == whole


def test_a_large_set_is_sampled_and_says_so() -> None:
    rows = people(6, users=10, images=30)
    whole = diverging_preferences(*rows, replicates=5)
    assert (whole.n_image_pairs_common, whole.n_image_pairs_sampled) == (30 * 29 / 2, None)
    sample = diverging_preferences(*rows, replicates=5, max_cells=1500, seed=1)
    assert sample.n_image_pairs_sampled == 150
    assert 0 < sample.n_image_pairs <= 150
    assert sample.n_image_pairs_common == whole.n_image_pairs_common
    assert sample.accuracy.value == pytest.approx(whole.accuracy.value, abs=0.05)
    assert sample == diverging_preferences(*rows, replicates=5, max_cells=1500, seed=1)
    assert sample.accuracy != diverging_preferences(*rows, replicates=5, max_cells=1500, seed=2).accuracy


@pytest.mark.parametrize("users, images", [(1, 5), (5, 1), (0, 0)])
def test_one_user_or_one_image_cannot_diverge(users: int, images: int) -> None:
    user, image = np.nonzero(np.ones((users, images)))
    found = diverging_preferences(user, image, (9.0 * image + user) / 99, user.astype(float))
    assert set(found.accuracy.as_dict().values()) == {None}
    assert found.n_image_pairs == found.n_preferences == found.n_users == 0


def test_scores_that_are_no_numbers_leave_the_accuracy_undefined_but_the_counts() -> None:
    user, image, rating, score = people(7)
    score[3] = np.nan
    found = diverging_preferences(user, image, rating, score)
    assert np.isnan([found.accuracy.value, found.accuracy.ci_low, found.accuracy.ci_high]).all()
    assert found.n_preferences == diverging_preferences(*people(7)).n_preferences
    assert found.accuracy.as_dict() == UNDEFINED.as_dict()


def test_an_image_rated_twice_by_a_user_is_an_error() -> None:
    with pytest.raises(ValueError, match="a user rated an image twice"):
        diverging_preferences(np.zeros(2, int), np.zeros(2, int), np.zeros(2), np.zeros(2))


@given(tables)
def test_rows_of_some_images_are_those_of_the_whole_table(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ratings, _ = pair
    user, image = np.nonzero(~np.isnan(ratings))
    _, picture = np.unique(image, return_inverse=True)
    rated = np.unique(image)
    kept = _ByImage.of(picture, user, ratings[user, image], len(ratings))
    wanted = np.arange(len(kept))[::-1]
    assert np.array_equal(kept[wanted], ratings.T[rated][wanted], equal_nan=True)
    assert np.array_equal(kept.counted().toarray(), ~np.isnan(ratings.T[rated]))
