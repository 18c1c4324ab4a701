import numpy as np
import pytest

from predictor.taste.training_answers import Ratings, TrainingAnswers


def rated_by(people: int, images: int) -> Ratings:
    """Everybody rates every image, with noise of variance 0.01."""
    rng = np.random.default_rng(0)
    user, image = (part.ravel() for part in np.indices((people, images)))
    rating = 0.5 + 0.1 * np.sin(image) + 0.05 * np.cos(user) + rng.normal(0, 0.1, len(user))
    return Ratings(user=user.astype(np.int64), image=image.astype(np.int64), rating=rating)


def test_people_who_are_held_out_take_no_degrees_of_freedom() -> None:
    ratings = rated_by(12, 20)
    alone, among_others = (TrainingAnswers.of(ratings, None, users).sampling for users in (12, 200))
    assert alone == pytest.approx(0.01, rel=0.25)
    assert among_others == alone


def test_each_dataset_has_an_offset_that_its_images_and_people_share() -> None:
    one = rated_by(12, 20)
    both = Ratings(
        user=np.concatenate([one.user, one.user + 12]),
        image=np.concatenate([one.image, one.image + 20]),
        rating=np.concatenate([one.rating, one.rating]),
    )
    joined = TrainingAnswers.of(both, None, 24, np.repeat([0, 1], 12))
    assert joined.sampling == pytest.approx(TrainingAnswers.of(one, None, 12).sampling)
