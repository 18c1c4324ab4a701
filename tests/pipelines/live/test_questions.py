"""Which question comes next, and when another one would tell little."""

from pathlib import Path

import numpy as np
import pytest

from actors.messages import TasteFeatures
from pipelines.live.catalogue import QuestionPictures
from pipelines.live.people.answers import PersonAnswer, ShownPicture
from pipelines.live.people.known_taste import KnownTaste, features_of
from pipelines.live.questions import LEAST, MOST, expected_accuracy_of, next_question_of, tells_little
from predictor.predictor import PamelaPredictor
from predictor.taste.hierarchical import Taste


@pytest.fixture(scope="module")
def taste(checkpoint: Path) -> Taste:
    return PamelaPredictor.from_pretrained(checkpoint).taste


@pytest.fixture(scope="module")
def pictures(taste: Taste) -> QuestionPictures:
    """Forty pictures of random features, twelve of them the starter set, in reverse order."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(40, taste.config.rank)) * 0.3
    seen = tuple(
        TasteFeatures(id=f"i{row:02d}", population=0.5, generic=0.0, values=tuple(own))
        for row, own in enumerate(values)
    )
    return QuestionPictures(
        folder=Path(),
        seen=seen,
        subjects=("a wall",) * 40,
        metadata=({},) * 40,
        starter=tuple(reversed(range(12))),
        features=features_of(seen, taste.config.rank),
        attributes=rng.normal(size=(40, 7)),
    )


def answered(pictures: QuestionPictures, taste: Taste, count: int) -> list[PersonAnswer]:
    """So many questions answered by the first of the pictures shown."""
    answers: list[PersonAnswer] = []
    for number in range(count):
        rows = next_question_of(taste, KnownTaste(taste, answers), answers, pictures)
        assert rows is not None
        shown = [ShownPicture(seen=pictures.seen[row], file="", prompt="a wall") for row in rows]
        names = tuple(picture.seen.id for picture in shown)
        answers.append(
            PersonAnswer(number=number, kind="question", shown=names, chosen=names[0], pictures=tuple(shown))
        )
    return answers


def test_the_starter_set_comes_first_in_its_order_and_no_picture_comes_twice(
    pictures: QuestionPictures, taste: Taste
) -> None:
    answers = answered(pictures, taste, 6)

    assert answers[0].shown == ("i11", "i10", "i09", "i08")
    assert answers[1].shown == ("i07", "i06", "i05", "i04")
    shown = [name for answer in answers for name in answer.shown]
    assert len(set(shown)) == len(shown) == 24


def test_the_next_question_follows_from_the_answers_alone(pictures: QuestionPictures, taste: Taste) -> None:
    answers = answered(pictures, taste, 4)

    first, second = (next_question_of(taste, KnownTaste(taste, answers), answers, pictures) for _ in range(2))

    assert first == second


def test_there_is_no_question_where_fewer_than_four_pictures_are_left(pictures: QuestionPictures, taste: Taste) -> None:
    answers = answered(pictures, taste, 10)

    assert next_question_of(taste, KnownTaste(taste, answers), answers, pictures) is None


def test_more_is_known_after_ten_answers_than_before(pictures: QuestionPictures, taste: Taste) -> None:
    before, after = (KnownTaste(taste, answered(pictures, taste, count)) for count in (0, 10))

    assert 0.5 <= expected_accuracy_of(before, pictures) < expected_accuracy_of(after, pictures) <= 1


def test_the_posterior_is_the_same_whether_answers_come_one_by_one_or_at_once(
    pictures: QuestionPictures, taste: Taste
) -> None:
    answers = answered(pictures, taste, 5)
    known = KnownTaste(taste)
    for answer in answers:
        known.take(answer)

    assert known.posterior.taste.numpy() == pytest.approx(KnownTaste(taste, answers).posterior.taste.numpy(), abs=1e-9)


@pytest.mark.parametrize(
    ("accuracies", "asked", "enough"),
    [
        ([0.5, 0.6, 0.65], LEAST - 1, False),
        ([0.6, 0.7, 0.7, 0.7, 0.7], LEAST, True),
        ([0.6, 0.65, 0.67, 0.7, 0.74], LEAST, False),
        ([0.6, 0.65, 0.67, 0.7, 0.74], MOST, True),
    ],
)
def test_asking_ends_where_the_last_answers_told_little(accuracies: list[float], asked: int, enough: bool) -> None:
    assert tells_little(accuracies, asked) is enough
