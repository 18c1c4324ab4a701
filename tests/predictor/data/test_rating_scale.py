import pytest

from predictor.data.rating_scale import RatingScale


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "--scale must be two numbers, LOW,HIGH, got '5'"),
        ("1,x", "--scale must be two numbers, LOW,HIGH, got '1,x'"),
        ("1,inf", "--scale must be two finite numbers, LOW,HIGH, got '1,inf'"),
        ("7,1", "the rating scale must ascend, got 7 to 1"),
        ("3,3", "the rating scale must ascend, got 3 to 3"),
    ],
)
def test_a_scale_is_two_ascending_numbers(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RatingScale.parse(text)


def test_ratings_in_a_corner_of_the_scale_are_questioned() -> None:
    odd = "all 6 ratings are from 1 to 7, in a corner of the scale 0 to 100"
    assert RatingScale(0, 100).question([1, 7, 3, 4, 5, 2]) == odd
    assert RatingScale(0, 100).question([90, 99, 95, 80, 76]) is not None
    assert RatingScale(1, 7).question([1, 7, 3, 4, 5, 2]) is None
    assert RatingScale(0, 100).question([40, 45, 50, 42, 41]) is None  # cautious, in the middle
    assert RatingScale(0, 100).question([1, 7]) is None  # too few to tell
