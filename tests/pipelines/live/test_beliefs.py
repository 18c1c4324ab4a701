"""What is believed of a taste, in words."""

import numpy as np
import pytest
import torch

from pipelines.live.people.beliefs import beliefs
from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.posterior import Posterior

NAMES = ("warmth", "saturation")


def believed(taste: list[float], sd: list[float]) -> dict[str, tuple[str, float]]:
    """Of 200 pictures whose features are the attributes themselves."""
    attributes = np.random.default_rng(1).normal(size=(200, 2))
    features = ImageFeatures(
        generic=torch.zeros(200, dtype=torch.float64), values=torch.from_numpy(attributes / attributes.std(0))
    )
    factor = torch.diag(torch.tensor([*sd, 0.1], dtype=torch.float64))
    posterior = Posterior(taste=torch.tensor(taste, dtype=torch.float64), level=0.0, factor=factor)
    found = beliefs(posterior, features, attributes, NAMES)
    return {belief.words: (belief.certainty, belief.probability) for belief in found}


def test_a_strong_and_certain_taste_is_named_and_sure() -> None:
    found = believed([0.2, -0.2], [0.05, 0.05])

    assert found["warm light"][0] == "sure"
    assert found["less colour"][0] == "sure"


def test_what_is_not_known_is_not_sure_and_even() -> None:
    found = believed([0.001, -0.001], [0.3, 0.3])

    assert {certainty for certainty, _ in found.values()} == {"not sure yet"}
    assert [probability for _, probability in found.values()] == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_probability_is_that_of_the_coefficients_sign() -> None:
    found = believed([0.1, 0.0], [0.1, 0.1])

    assert found["warm light"][1] == pytest.approx(0.841, abs=0.01)  # one standard deviation above 0
