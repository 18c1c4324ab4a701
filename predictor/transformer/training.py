"""Training of the PAMELA transformer on encoded images and texts: AdamW, mean squared error, best epoch by validation.

Invariant: the same table, recipe and seed give the same weights, whatever ran before in the process, on any number of
cores, and however often training was stopped and resumed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from predictor.metrics import mean_over_users, per_user, srocc
from predictor.threads import one_thread
from predictor.transformer.model import Inputs, ModelConfig, PamelaModel
from predictor.transformer.training_state import TrainingState, identity_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. `drop_` rates are the shares of examples that train with the null token in place of that token."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    drop_prompt: float = 0.0
    drop_metadata: float = 0.0
    drop_demographics: float = 0.0
    drop_user: float = 0.0
    transformer_weight: float | None = None
    """In the ensemble with the taste model, 0 to 1. None: chosen by the ranking of the validation ratings."""


RECIPES = {
    "paper": Recipe(epochs=10, batch_size=32, learning_rate=2e-5, transformer_weight=1.0),
    "small": Recipe(
        epochs=15,
        batch_size=128,
        learning_rate=1e-3,
        drop_prompt=0.1,
        drop_metadata=0.3,
        drop_demographics=0.1,
        drop_user=0.05,
    ),
}
"""`paper`: section 4, constant rate after a linear warm-up. `small`: for up to a few hundred thousand ratings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """Vectors and ratings as tensors; a row of nan is a missing vector."""

    image: Tensor  # (I, image_dimensions)
    prompt: Tensor  # (I, text_dimensions)
    metadata: Tensor  # (I, profile_dimensions)
    demographics: Tensor  # (U, profile_dimensions)
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
    state: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> PamelaModel:
    """Fit a model to the rows of split `train`, keeping the epoch with the best mean user SROCC on `val_seen`.

    Training saves its state to the folder `state` after each epoch, if one is given, and resumes from a state that is
    there.

    Raises
    ------
    ValueError
        There is no rating to train on, or the state belongs to another training.
    """
    rows = table.rows("train")
    if not len(rows):
        raise ValueError("no rating of split 'train' to learn from; check the column split of the ratings")
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(table, rows, width, without)
        optimiser = torch.optim.AdamW(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        current = TrainingState(model, optimiser, generator, _copied(model), -math.inf)
        identity = identity_of(table, recipe, seed=seed, without=without, width=width) if state else ""
        if state is not None and current.load(state, identity):
            on_epoch(Epoch(current.epoch, math.nan, current.best_srocc))
        while current.epoch < recipe.epochs:
            error = _epoch(table, rows, recipe, current)
            validated = validate(model, table)
            if validated > current.best_srocc or current.best_srocc == -math.inf:  # without validation, the last epoch
                current.best = _copied(model)
            if validated > current.best_srocc:
                current.best_srocc = validated
            current.epoch += 1
            if state is not None:
                current.save(state, identity)
            on_epoch(Epoch(current.epoch, error, validated))
        model.load_state_dict(current.best)
    return model.eval()


def _epoch(table: TrainingTable, rows: Tensor, recipe: Recipe, current: TrainingState) -> float:
    """One pass over the training rows; returns its mean squared error."""
    model, generator = current.model, current.generator
    model.train()
    total = 0.0
    for batch in rows[torch.randperm(len(rows), generator=generator)].split(recipe.batch_size):
        current.steps += 1
        for group in current.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, current.steps / recipe.warmup_steps)
        inputs = _drop_tokens(gather(table, batch, model), recipe, generator)
        loss = nn.functional.mse_loss(model(inputs), table.rating[batch])
        current.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        current.optimiser.step()
        total += loss.item() * len(batch)
    return total / len(rows)


def _copied(model: PamelaModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def validate(model: PamelaModel, table: TrainingTable) -> float:
    """Mean user SROCC on split `val_seen`; nan where the split is empty."""
    rows = table.rows("val_seen")
    if not len(rows):
        return float("nan")
    scores = predict(model, table, rows)
    values = per_user(srocc, table.user_index[rows].numpy(), table.rating[rows].numpy().astype(float), scores)
    return mean_over_users(values, replicates=1).value


def predict(model: PamelaModel, table: TrainingTable, rows: Tensor, *, as_population: bool = False) -> NDArray:
    """Scores of some rows of the ratings, shape (len(rows),); `as_population` leaves user and demographics out."""
    model.eval()
    with one_thread(), torch.inference_mode():
        scores = [model(gather(table, batch, model, as_population=as_population)) for batch in rows.split(512)]
    return torch.cat(scores).numpy().astype(float)


def gather(table: TrainingTable, rows: Tensor, model: PamelaModel, *, as_population: bool = False) -> Inputs:
    """The model's inputs for some rows of the ratings."""
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
        profile_dimensions=table.demographics.shape[1],
        users=len(table.demographics),
        width=width,
        without=without,
    )
    model = PamelaModel(config)
    seen = table.image[table.image_index[rows].unique()]
    model.image_mean.copy_(seen.mean(0))
    model.image_scale.copy_(seen.std(0).clamp_min(1e-3) if len(seen) > 1 else torch.ones_like(model.image_scale))
    return model


def _drop_tokens(inputs: Inputs, recipe: Recipe, generator: torch.Generator) -> Inputs:
    hidden = {}
    for field in fields(inputs):
        rate = getattr(recipe, f"drop_{field.name}", 0.0)
        if rate > 0:
            vectors = getattr(inputs, field.name)
            drop = torch.rand(len(vectors), generator=generator) < rate
            hidden[field.name] = torch.where(drop[:, None], torch.nan, vectors)
    return replace(inputs, **hidden)
