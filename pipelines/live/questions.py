"""Getting to know somebody: which four pictures to ask about next, and when another question would tell little.

Both are functions of the answers alone, so that a reload, another device or a killed server asks the same question.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtr

from pipelines.live.catalogue import QuestionPictures
from pipelines.live.people.answers import PersonAnswer
from pipelines.live.people.known_taste import KnownTaste
from predictor.taste.hierarchical import Taste
from predictor.taste.question import next_question, ranked_pairs

SIZE = 4
FROM_STARTER = 2
"""Questions from the starter set, which is the same for everybody; after that each depends on the answers before."""
LEAST, MOST = 6, 15
_LOOKING_BACK = 3
LITTLE = 0.006
"""Stop where the last few questions have raised the expected accuracy by less, altogether."""


def next_question_of(
    taste: Taste, known: KnownTaste, answers: Sequence[PersonAnswer], pictures: QuestionPictures
) -> list[int] | None:
    """Rows of the catalogue to show next; None where fewer than four are left."""
    asked = {name for answer in answers if answer.kind == "question" for name in answer.shown}
    ids = pictures.ids
    questions = sum(answer.kind == "question" for answer in answers)
    starter = [row for row in pictures.starter if ids[row] not in asked]
    if questions < FROM_STARTER and len(starter) >= SIZE:
        return starter[:SIZE]
    askable = np.array([row for row, name in enumerate(ids) if name not in asked], np.intp)
    if len(askable) < SIZE:
        return None
    rng = np.random.default_rng([0x4B, questions])
    return next_question(taste, known.posterior, pictures.features, askable, size=SIZE, rng=rng)


def expected_accuracy_of(known: KnownTaste, pictures: QuestionPictures) -> float:
    """How often, of two pictures, the one that the person prefers is expected to be known; from 0.5 to 1."""
    first, second = ranked_pairs(len(pictures.features), np.random.default_rng(0x4C))
    with torch.inference_mode():
        mean, rows = known.utilities(pictures.seen)
        difference = (mean[first] - mean[second]).abs()
        variance = (rows[first] - rows[second]).square().sum(1) + 2 * known.noise
    return float(ndtr((difference / variance.sqrt()).numpy()).mean())


def tells_little(accuracies: Sequence[float], answered: int) -> bool:
    """Whether to stop asking.

    Parameters
    ----------
    accuracies
        `expected_accuracy_of` before the first question, and after each.
    """
    if answered >= MOST:
        return True
    if answered < LEAST:
        return False
    return accuracies[-1] - accuracies[-1 - _LOOKING_BACK] < LITTLE
