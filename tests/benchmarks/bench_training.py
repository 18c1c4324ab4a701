"""Training at the paper's size on cached features: `python tests/benchmarks/bench_training.py`.

50,000 ratings, 10 epochs in batches of 32 (recipe `paper`), and the taste model on the same ratings. The baseline
of the same run is a linear layer trained by the same number of steps: what PyTorch and the loop cost by themselves.
"""

import os
import resource
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn

from predictor.encoders.encoding import Images
from predictor.taste.hierarchical import fit_taste
from predictor.taste.training_answers import Ratings
from predictor.transformer.training import RECIPES, TrainingTable, train

RATINGS, USERS, IMAGES, IMAGE, TEXT = 50_000, 156, 3_554, 1504, 384


def made_up() -> TrainingTable:
    """The size of the paper's training split, with ratings that images and people decide."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(IMAGES, IMAGE)).astype(np.float32)
    user_index, image_index = rng.integers(0, USERS, RATINGS), rng.integers(0, IMAGES, RATINGS)
    liking = image[:, :8] @ rng.normal(size=(8, USERS)) / 8
    noisy = 0.5 + 0.1 * liking[image_index, user_index] + rng.normal(0, 0.05, RATINGS)

    def vectors(count: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=(count, TEXT)).astype(np.float32))

    return TrainingTable(
        image=torch.from_numpy(image),
        prompt=vectors(IMAGES),
        metadata=vectors(IMAGES),
        demographics=vectors(USERS),
        user_index=torch.from_numpy(user_index),
        image_index=torch.from_numpy(image_index),
        rating=torch.from_numpy(noisy.clip(0, 1).astype(np.float32)),
        split=np.full(RATINGS, "train"),
    )


def baseline(table: TrainingTable) -> None:
    recipe = RECIPES["paper"]
    torch.manual_seed(0)
    model = nn.Linear(IMAGE, 1)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, fused=True)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(RATINGS).split(recipe.batch_size):
            loss = nn.functional.mse_loss(model(table.image[table.image_index[batch]])[:, 0], table.rating[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def taste(table: TrainingTable) -> None:
    images = Images(image=table.image, prompt=table.prompt, metadata=table.metadata)
    ratings = Ratings(
        user=table.user_index.numpy(), image=table.image_index.numpy(), rating=table.rating.numpy().astype(float)
    )
    fit_taste(images, ratings, users=USERS, parts=(1280, 224), seed=0)


def main() -> None:
    table = made_up()
    work = (
        ("a linear layer, the same steps", lambda: baseline(table)),
        ("the transformer, recipe paper", lambda: train(table, RECIPES["paper"], seed=0)),
        ("the taste model", lambda: taste(table)),
    )
    print("| 50,000 ratings, one core | seconds | peak memory so far, GB |\n|---|---|---|")  # noqa: T201
    for label, run in work:
        began = time.perf_counter()
        run()
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {label} | {time.perf_counter() - began:.0f} | {peak_gb:.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
