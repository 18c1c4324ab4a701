from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from predictor.people.certainty import Tastes
from predictor.predictor import PamelaPredictor


@pytest.fixture
def tastes(saved: Path) -> Tastes:
    return Tastes.read(saved)


def test_who_has_answered_is_known_better_than_nobody_in_particular(tastes: Tastes, predictor: PamelaPredictor) -> None:
    known = tastes.certainty(predictor.user_ids[0])

    assert 0 < known.error < known.unknown_error
    assert known.answers_to_halve > 1


def test_so_many_further_ratings_halve_the_error_by_the_normal_equations(
    tastes: Tastes, predictor: PamelaPredictor
) -> None:
    user, config = predictor.user_ids[0], tastes.taste.config
    known, factor = tastes.certainty(user), predictor.person(user).factor
    assert factor is not None
    covariance = factor[:-1, :-1] @ factor[:-1, :-1].T
    values = tastes.taste.typical.values
    moments = (values - values.mean(0)).T @ (values - values.mean(0)) / len(values)

    def error(answers: int) -> float:
        told = answers * moments / (config.noise + config.generic_error)
        left = covariance @ torch.linalg.inv(torch.eye(config.rank, dtype=torch.float64) + told @ covariance)
        return float((2 * (moments @ left).trace()) ** 0.5)

    assert error(0) == pytest.approx(known.error, rel=1e-6)
    assert error(known.answers_to_halve) <= known.error / 2 * (1 + 1e-6)
    assert error(known.answers_to_halve - 1) > known.error / 2 * (1 - 1e-6)


def test_the_error_of_a_gain_is_that_of_the_score_difference(
    tastes: Tastes, predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    images, user = predictor.encode(pictures[:2]), predictor.user_ids[0]
    features, rows = tastes.taste.features(images), predictor.covariance_factor(images, predictor.person(user))
    own = 2 * tastes.taste.config.generic_error

    error = tastes.gain_error([user], features[[0]], features[[1]])

    assert error == pytest.approx(float((rows[0] - rows[1]).square().sum() + own) ** 0.5, rel=1e-5)


def test_a_group_is_known_better_than_its_members(
    tastes: Tastes, predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    features = tastes.taste.features(predictor.encode(pictures[:2]))
    alone = [tastes.gain_error([user], features[[0]], features[[1]]) for user in predictor.user_ids[:4]]

    assert tastes.gain_error(predictor.user_ids[:4], features[[0]], features[[1]]) < max(alone)


def test_features_that_scoring_kept_are_found_without_an_encoder_and_others_are_not(
    tastes: Tastes, predictor: PamelaPredictor
) -> None:
    rng = np.random.default_rng(5)
    seen, unseen = (Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)) for _ in range(2))
    encoded = predictor.encode([seen], prompts=["a cat"], metadata=[{"style": "plain"}])

    kept = tastes.kept.of(seen, "a cat", {"style": "plain"})

    assert kept is not None
    for part in ("image", "prompt", "metadata"):
        np.testing.assert_array_equal(getattr(kept, part), getattr(encoded, part))
    assert tastes.kept.of(unseen, "a cat", {}) is None
