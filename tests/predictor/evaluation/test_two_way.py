import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.evaluation.levels import user_level
from predictor.evaluation.two_way import image_folds, left_out_values, over_people_and_images
from predictor.metrics import mean_over_users


def simulated(rng: np.random.Generator, *, users: int = 30, images: int = 40, shared: float = 1.0):
    """Ratings and scores that agree by what all like (share `shared`) and by each person's own taste."""
    worth, noise = rng.normal(size=images), rng.normal(size=(users, images))
    user, image = np.divmod(np.arange(users * images), images)
    rating = shared * worth[image] + noise[user, image]
    score = worth[image] + rng.normal(size=images)[image]
    return user, image, rating, score


@given(st.integers(0, 100))
def test_every_image_is_in_one_fold_and_a_group_stays_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 50, 400)
    group = [str(n // 3) for n in range(50)]

    fold = image_folds(image, group, seed=seed)

    folds = {}
    for number, where in zip(image.tolist(), fold.tolist(), strict=True):
        assert folds.setdefault(group[number], where) == where
    assert len(set(fold.tolist())) == min(20, len({group[n] for n in image.tolist()}))


def test_a_user_whose_images_are_all_in_a_fold_has_no_value_without_it() -> None:
    user, image = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 0])
    rating, score = np.array([0.1, 0.5, 0.9, 0.2, 0.4]), np.array([0.2, 0.4, 0.8, 0.1, 0.9])

    values = left_out_values(user, rating, score, np.array([0, 1, 2, 0, 0]))

    assert np.isnan(values[0]["srocc"][1])
    assert values[1]["srocc"] == pytest.approx([1, 1])
    assert image.max() == 2


@pytest.mark.slow
def test_the_interval_holds_what_other_people_and_other_images_would_give() -> None:
    rng, inside, narrow = np.random.default_rng(0), 0, 0
    truth = np.mean([_srocc(*simulated(rng, users=300, images=400)) for _ in range(4)])
    for _ in range(120):
        user, image, rating, score = simulated(rng)
        values = user_level(user, rating, score)
        left_out = left_out_values(user, rating, score, image_folds(image, None))
        interval = over_people_and_images(values, left_out)["srocc"]
        people_only = mean_over_users(values["srocc"], replicates=200)
        inside += interval.ci_low <= truth <= interval.ci_high
        narrow += people_only.ci_low <= truth <= people_only.ci_high
    assert inside / 120 > 0.88
    assert narrow / 120 < 0.7


def test_too_few_images_leave_it_undefined() -> None:
    user, image = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    rating = np.array([0.1, 0.5, 0.9, 0.9, 0.5, 0.2])
    values = user_level(user, rating, rating)

    found = over_people_and_images(values, left_out_values(user, rating, rating, image_folds(image, None)))

    assert found["srocc"].as_dict() == {"value": None, "ci_low": None, "ci_high": None}


def _srocc(user: np.ndarray, image: np.ndarray, rating: np.ndarray, score: np.ndarray) -> float:
    return float(np.nanmean(user_level(user, rating, score)["srocc"]))


def test_differences_of_a_score_with_itself_are_nothing() -> None:
    user, _, rating, score = simulated(np.random.default_rng(1))
    nothing = {name: values * 0 for name, values in user_level(user, rating, score).items()}

    found = over_people_and_images(nothing, [nothing] * 6)["srocc"]

    assert (found.value, found.ci_low, found.ci_high) == pytest.approx((0, 0, 0))
