"""Training the PAMELA model on cached features: AdamW, mean squared error, best epoch by validation.

Given the same tables, recipe and seed the result is the same, whatever ran before and however many cores there are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from predictor.metrics import mean_over_users, per_user, srocc
from predictor.model import Inputs, ModelConfig, PamelaModel
from predictor.threads import one_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The `drop_` rates hide a token in training, so that its null token learns to stand in."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    drop_prompt: float = 0.0
    drop_metadata: float = 0.0
    drop_demographics: float = 0.0
    drop_user: float = 0.0


RECIPES = {
    "paper": Recipe(epochs=10, batch_size=32, learning_rate=2e-5),
    "small": Recipe(
        epochs=30,
        batch_size=128,
        learning_rate=1e-3,
        drop_prompt=0.1,
        drop_metadata=0.3,
        drop_demographics=0.1,
        drop_user=0.05,
    ),
}
"""`paper`: section 4, constant rate after a linear warm-up. `small`: for some thousand ratings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """Features and ratings as tensors; rows of nan stand for what is not known."""

    image: Tensor  # (I, image_dimensions)
    prompt: Tensor  # (I, text_dimensions)
    metadata: Tensor  # (I, text_dimensions)
    demographics: Tensor  # (U, text_dimensions)
    user_index: Tensor  # (R,)
    image_index: Tensor  # (R,)
    rating: Tensor  # (R,), 0..1
    split: NDArray[np.str_]  # (R,)

    def rows(self, split: str) -> Tensor:
        return torch.from_numpy(np.flatnonzero(self.split == split))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the training history."""

    number: int
    train_mse: float
    validation_srocc: float


def train(
    table: TrainingTable,
    recipe: Recipe,
    *,
    seed: int,
    without: tuple[str, ...] = (),
    width: int = 64,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> PamelaModel:
    """Fit a model to the rows of split `train`, keeping the epoch with the best mean user SROCC on `val_seen`.

    Raises
    ------
    ValueError
        There is no rating to train on.
    """
    rows = table.rows("train")
    if not len(rows):
        raise ValueError("no rating of split 'train' to learn from; check the column split of the ratings")
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(table, rows, width, without)
        optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        warmup = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / recipe.warmup_steps))
        best, best_state = -math.inf, model.state_dict()
        for number in range(1, recipe.epochs + 1):
            model.train()
            total = 0.0
            for batch in rows[torch.randperm(len(rows), generator=generator)].split(recipe.batch_size):
                inputs = _hide(gather(table, batch, model), recipe, generator)
                loss = nn.functional.mse_loss(model(inputs), table.rating[batch])
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                warmup.step()
                total += loss.item() * len(batch)
            reached = validate(model, table)
            on_epoch(Epoch(number, total / len(rows), reached))
            if reached > best or best == -math.inf:  # without a validation split, the last epoch
                best_state = {name: value.clone() for name, value in model.state_dict().items()}
            if reached > best:
                best = reached
        model.load_state_dict(best_state)
    return model.eval()


def validate(model: PamelaModel, table: TrainingTable) -> float:
    """Mean user SROCC on split `val_seen`; nan where the split is empty."""
    rows = table.rows("val_seen")
    if not len(rows):
        return float("nan")
    scores = predict(model, table, rows)
    values = per_user(srocc, table.user_index[rows].numpy(), table.rating[rows].numpy().astype(float), scores)
    return mean_over_users(values, replicates=1).value


def predict(model: PamelaModel, table: TrainingTable, rows: Tensor, *, as_population: bool = False) -> NDArray:
    """Scores of the given rating rows, shape (len(rows),); `as_population` hides user and demographics."""
    model.eval()
    with one_thread(), torch.inference_mode():
        scores = [model(gather(table, batch, model, as_population=as_population)) for batch in rows.split(512)]
    return torch.cat(scores).numpy().astype(float)


def gather(table: TrainingTable, rows: Tensor, model: PamelaModel, *, as_population: bool = False) -> Inputs:
    """The model's inputs for some ratings."""
    image, user = table.image_index[rows], table.user_index[rows]
    inputs = Inputs(
        image=table.image[image],
        prompt=table.prompt[image],
        metadata=table.metadata[image],
        demographics=table.demographics[user],
        user=model.users(user),
    )
    if not as_population:
        return inputs
    hidden = {name: torch.full_like(getattr(inputs, name), torch.nan) for name in ("demographics", "user")}
    return replace(inputs, **hidden)


def _new_model(table: TrainingTable, rows: Tensor, width: int, without: tuple[str, ...]) -> PamelaModel:
    config = ModelConfig(
        image_dimensions=table.image.shape[1],
        text_dimensions=table.prompt.shape[1],
        users=len(table.demographics),
        width=width,
        without=without,
    )
    model = PamelaModel(config)
    seen = table.image[table.image_index[rows].unique()]
    model.image_mean.copy_(seen.mean(0))
    model.image_scale.copy_(seen.std(0).clamp_min(1e-3) if len(seen) > 1 else torch.ones_like(model.image_scale))
    return model


def _hide(inputs: Inputs, recipe: Recipe, generator: torch.Generator) -> Inputs:
    hidden = {}
    for field in fields(inputs):
        rate = getattr(recipe, f"drop_{field.name}", 0.0)
        if rate > 0:
            vectors = getattr(inputs, field.name)
            drop = torch.rand(len(vectors), generator=generator) < rate
            hidden[field.name] = torch.where(drop[:, None], torch.nan, vectors)
    return replace(inputs, **hidden)
