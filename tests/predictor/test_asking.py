"""What the predictor says of its own knowledge, and what it asks."""

import numpy as np
import pytest
from PIL import Image

from predictor.encoders.encoding import Images
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Rating


@pytest.fixture
def images(predictor: PamelaPredictor, pictures: list[Image.Image]) -> Images:
    return predictor.encode(pictures)


def test_a_user_may_be_named_or_given(predictor: PamelaPredictor, pictures: list[Image.Image]) -> None:
    assert np.array_equal(predictor.score(pictures, user="u01"), predictor.score(pictures, predictor.person("u01")))
    assert np.array_equal(predictor.score(pictures), predictor.score(pictures, predictor.population()))
    with pytest.raises(ValueError, match="unknown user 'u99'; the checkpoint knows u01, u02"):
        predictor.score(pictures, user="u99")


def test_intervals_hold_the_score_and_grow_with_their_probability(predictor: PamelaPredictor, images: Images) -> None:
    for user in ("*", "u01"):
        score = predictor.score_images(images, [predictor.population() if user == "*" else predictor.person(user)])[0]
        narrow, wide = (predictor.interval(images, user, probability=p) for p in (0.5, 0.95))
        assert (wide[0] <= narrow[0]).all() and (narrow[1] <= wide[1]).all()
        assert ((narrow[0] <= score) & (score <= narrow[1])).all()


def test_who_answered_much_is_known_better(predictor: PamelaPredictor, images: Images) -> None:
    said = [Rating(image=row, rating=0.1 + 0.15 * row) for row in range(6)]
    with_ada = predictor.enroll("ada", images, said)
    known, unknown = (
        with_ada.covariance_factor(images, person).square().sum(1)
        for person in (with_ada.person("ada"), with_ada.population())
    )
    assert bool((known < unknown).all())


def test_a_group_has_no_interval(predictor: PamelaPredictor, images: Images) -> None:
    group = predictor.group("both", ["u01", "u02"])
    with pytest.raises(ValueError, match="'both' is a mean of people, whose uncertainty is not known; name a person"):
        predictor.interval(images, group)
    with pytest.raises(ValueError, match="must be between 0 and 1, got 80"):
        predictor.interval(images, "u01", probability=80)


def test_a_preference_is_three_probabilities_that_turn_with_the_images(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    one, other = (predictor.prefer(*pair, user="u02") for pair in (pictures[:2], pictures[1::-1]))
    assert one.first + one.tie + one.second == pytest.approx(1)
    assert (one.first, one.tie, one.second) == pytest.approx((other.second, other.tie, other.first))
    better = predictor.score(pictures[:2], user="u02")
    assert (one.first > one.second) == (better[0] > better[1])
    same = predictor.prefer(pictures[0], pictures[0], user="u02")
    assert same.first == pytest.approx(same.second)
    assert same.tie > one.tie


def test_without_candidates_the_starter_set_is_asked_in_its_order(predictor: PamelaPredictor) -> None:
    assert predictor.ask() == [0]
    assert predictor.ask(size=4) == [0, 1, 2, 3]
    assert len(set(predictor.starter["image_id"].to_pylist())) == len(predictor.starter) > 10


@pytest.mark.parametrize("size", [1, 2, 4])
def test_nobody_is_asked_the_same_twice_but_for_the_same_question(
    predictor: PamelaPredictor, images: Images, size: int
) -> None:
    catalogue = predictor.catalogue(images)
    asked = predictor.ask(catalogue, size=size)
    assert len(set(asked)) == size
    assert asked == predictor.ask(catalogue, size=size)
    with_ada = predictor.enroll("ada", images, [Rating(image=0, rating=0.7), Rating(image=1, rating=0.2)])
    assert not {0, 1} & set(with_ada.ask(catalogue, user="ada", size=size))


def test_when_all_images_were_asked_about_more_are_asked_for(predictor: PamelaPredictor, images: Images) -> None:
    with_ada = predictor.enroll("ada", images, [Rating(image=row, rating=0.5) for row in range(6)])
    with pytest.raises(ValueError, match="0 images are left to ask 'ada' about; give 1 or more"):
        with_ada.ask(with_ada.catalogue(images), user="ada")
