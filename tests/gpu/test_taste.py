"""On a GPU as on a CPU: what is learnt of people's tastes."""

import numpy as np
import torch

from predictor.taste.hierarchical import fit_taste
from tests.gpu.device import DEVICE, needs_device
from tests.predictor.taste.test_hierarchical import IMAGE, rated_by, seen

pytestmark = needs_device

FIGURES = 1e-4
"""By which predicted ratings, on the scale from 0 to 1, may differ."""


def test_predicted_ratings_are_those_of_a_taste_that_was_learnt_on_a_cpu() -> None:
    images, others = seen(400), seen(100, seed=1)
    ratings = rated_by(60, images, 0.2)
    predicted = []
    for device in ("cpu", DEVICE):
        group = np.arange(len(images)) // 4
        taste, found = fit_taste(images, ratings, users=60, parts=(IMAGE,), seed=0, group=group, device=device)
        features = taste.features(others)
        predicted.append(features.generic + found.tastes @ features.values.T + found.levels[:, None])
    assert torch.allclose(*predicted, rtol=0, atol=FIGURES)
