"""On a GPU as on a CPU: the transformer, trained by the CPU's random numbers."""

import numpy as np

from predictor.transformer.training import RECIPES, Epoch, predict, train
from tests.gpu.device import DEVICE, needs_device
from tests.predictor.transformer.test_training import DIMENSIONS, QUICK, made_up, with_comparisons

pytestmark = needs_device

FIGURES = 1e-4
"""By which predicted ratings, on the scale from 0 to 1, may differ."""


def test_predicted_ratings_are_those_of_a_transformer_that_was_trained_on_a_cpu() -> None:
    table = with_comparisons(made_up(lambda rng: rng.normal(size=DIMENSIONS)))
    rows = table.rows("test_seen")
    history: list[tuple[str, list[Epoch]]] = [("cpu", []), (DEVICE, [])]
    here, there = (
        predict(train(table, RECIPES["small"], seed=0, device=device, on_epoch=epochs.append), table, rows)
        for device, epochs in history
    )
    np.testing.assert_allclose(there, here, rtol=0, atol=FIGURES)
    validated = [[epoch.validation_srocc for epoch in epochs] for _, epochs in history]
    np.testing.assert_allclose(*validated, rtol=0, atol=FIGURES)


def test_a_trained_transformer_predicts_there_what_it_predicts_on_a_cpu() -> None:
    table = made_up(lambda rng: rng.normal(size=DIMENSIONS))
    model, rows = train(table, QUICK, seed=0), table.rows("test_seen")
    here = predict(model, table, rows)
    np.testing.assert_allclose(predict(model.to(DEVICE), table, rows), here, rtol=0, atol=1e-5)
