from collections.abc import Callable

import pytest
import torch

from predictor.taste.evidence import Answer, Choice, Evidence, Like, Order, Pair, Rating, answer_of
from predictor.taste.hierarchical import ImageFeatures


@pytest.mark.parametrize(
    ("shown", "chosen", "worst", "answer"),
    [
        ((4,), 4, None, Like(image=4, liked=True)),
        ((4,), None, None, Like(image=4, liked=False)),
        ((4, 2), 2, None, Pair(first=4, second=2, preferred=2)),
        ((4, 2), None, None, Pair(first=4, second=2, preferred=None)),
        ((4, 2), None, 4, Pair(first=4, second=2, preferred=2)),
        ((4, 2), 2, 4, Pair(first=4, second=2, preferred=2)),
        ((4, 2, 7), 7, None, Choice(shown=(4, 2, 7), best=7)),
        ((4, 2, 7), None, 2, Choice(shown=(4, 2, 7), worst=2)),
        ((4, 2, 7, 1), 7, 2, Choice(shown=(4, 2, 7, 1), best=7, worst=2)),
    ],
)
def test_a_row_of_a_table_of_choices_is_an_answer(
    shown: tuple[int, ...], chosen: int | None, worst: int | None, answer: Answer
) -> None:
    assert answer_of(shown, chosen, worst) == answer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rating(image=0, rating=1.5), "a rating must be from 0 to 1, got 1.5; scale it first"),
        (lambda: Rating(image=0, rating=float("nan")), "a rating must be from 0 to 1, got nan"),
        (lambda: Pair(first=1, second=1, preferred=1), "must be different, got 1, 1"),
        (lambda: Pair(first=1, second=2, preferred=3), "preferred must be one of the images shown, 1, 2, got 3"),
        (lambda: Choice(shown=(1,), best=1), "at least two images must be shown to choose between, got 1"),
        (lambda: Choice(shown=(1, 2, 3)), "a choice among 3 images needs a best or a worst one"),
        (lambda: Choice(shown=(1, 2, 3), best=2, worst=2), "the best image of a choice cannot be its worst"),
        (lambda: Choice(shown=(1, 2, 3), best=4), "best must be one of the images shown, 1, 2, 3, got 4"),
        (lambda: Order(shown=(1, 2, 1)), "must be different, got 1, 2, 1"),
        (lambda: answer_of((1,), 2), "chosen must be one of the images shown, 1, got 2"),
        (lambda: answer_of((1,), None, 1), "a single image has no worst; leave both empty for a dislike"),
        (lambda: answer_of((1, 2), 1, 1), "the chosen image cannot be the worst as well"),
        (lambda: answer_of((1, 2, 3), None), "a choice among 3 images needs a best or a worst one"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(make: Callable[[], Answer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def features(*generic: float) -> ImageFeatures:
    return ImageFeatures(generic=torch.tensor(generic).double(), values=torch.tensor(generic).double()[:, None])


def test_evidence_joined_knows_an_image_again() -> None:
    first = Evidence(answers=(Like(image=1, liked=True),), ids=("a", "b"), features=features(1, 2))
    second = Evidence(
        answers=(Choice(shown=(0, 1, 2), best=2, worst=0), Rating(image=1, rating=0.5)),
        ids=("c", "b", "d"),
        features=features(3, 2, 4),
    )
    both = first.joined(second)
    assert both.ids == ("a", "b", "c", "d")
    assert both.features.generic.tolist() == [1, 2, 3, 4]
    assert both.answers == (
        Like(image=1, liked=True),
        Choice(shown=(2, 1, 3), best=3, worst=2),
        Rating(image=1, rating=0.5),
    )
