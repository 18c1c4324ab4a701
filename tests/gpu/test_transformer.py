"""On a GPU as on a CPU: the transformer, trained by the CPU's random numbers."""

import numpy as np

from predictor.transformer.training import RECIPES, predict, train
from tests.gpu.device import DEVICE, needs_device
from tests.predictor.transformer.test_training import DIMENSIONS, made_up, with_comparisons

pytestmark = needs_device

FIGURES = 1e-4
"""By which predicted ratings, on the scale from 0 to 1, may differ."""


def test_predicted_ratings_are_those_of_a_transformer_that_was_trained_on_a_cpu() -> None:
    table = with_comparisons(made_up(lambda rng: rng.normal(size=DIMENSIONS)))
    rows = table.rows("test_seen")
    here, there = (
        predict(train(table, RECIPES["small"], seed=0, device=device), table, rows) for device in ("cpu", DEVICE)
    )
    np.testing.assert_allclose(there, here, rtol=0, atol=FIGURES)
