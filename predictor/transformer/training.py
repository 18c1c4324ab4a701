"""Training of the PAMELA transformer on encoded images and texts: AdamW, best epoch by validation.

The loss is the squared error of ratings. Comparisons of images add theirs, the negative log likelihood of Bradley and
Terry (1952), in the ratio that makes both likelihoods of one perceived liking with normal noise.

Invariant: the same table, recipe and seed give the same weights, whatever ran before in the process, on any number of
cores, and however often training was stopped and resumed. On another device they differ by
rounding, unless two epochs validate so much alike that it decides which one is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
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
    most_examples: int | None = None
    """In an epoch: of more ratings, or more comparisons, each epoch draws others. None: all of them, always."""
    dataset_exponent: float = 1.0
    """An epoch has ratings of each dataset in proportion to their number to this power: 1, as they come."""
    zeroed: bool = False
    """What is missing is zero, instead of a null token that has to be learnt by dropping tokens."""
    transformer_weight: float | None = None
    """In the ensemble with the taste model, 0 to 1. None: chosen by the ranking of the validation ratings."""


RECIPES = {
    "paper": Recipe(epochs=10, batch_size=32, learning_rate=2e-5, zeroed=True, transformer_weight=1.0),
    "small": Recipe(
        epochs=15,
        batch_size=128,
        learning_rate=1e-3,
        drop_prompt=0.1,
        drop_metadata=0.3,
        drop_demographics=0.1,
        drop_user=0.05,
        most_examples=100_000,
        dataset_exponent=0.5,
    ),
}
"""`paper`: section 4, constant rate after a linear warm-up. `small`: on one core, however many ratings there are."""


_PERCEIVED = 0.05
"""Variance with which a person perceives one image, on the scale from 0 to 1; ratio and scale of the two losses."""

_MOMENTS = 16_384
"""Images over which the mean and the scale of the image vectors are taken, at most."""

_SLOPE = math.pi / math.sqrt(6 * _PERCEIVED)
"""Of the logistic curve that is as wide as the normal one of two such images' difference."""


def _no_rows() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """Vectors, ratings and comparisons as tensors; a row of nan is a missing vector."""

    image: Tensor  # (I, image_dimensions)
    prompt: Tensor  # (I, text_dimensions)
    metadata: Tensor  # (I, profile_dimensions)
    demographics: Tensor  # (U, profile_dimensions)
    user_index: Tensor  # (R,)
    image_index: Tensor  # (R,)
    rating: Tensor  # (R,), 0..1
    split: NDArray[np.str_]  # (R,)
    compared_by: Tensor = field(default_factory=_no_rows)  # (C,), all of them for training
    better: Tensor = field(default_factory=_no_rows)  # (C,)
    worse: Tensor = field(default_factory=_no_rows)  # (C,)
    weight: Tensor = field(default_factory=lambda: torch.empty(0))  # (C,)
    dataset_of_user: Tensor = field(default_factory=_no_rows)  # (U,), or empty: all are of one

    def trained_images(self) -> Tensor:
        """The images that training sees, in order."""
        return torch.cat([self.image_index[self.rows("train")], self.better, self.worse]).unique()

    def trained_users(self) -> Tensor:
        """The users that training sees, in order."""
        return torch.cat([self.user_index[self.rows("train")], self.compared_by]).unique()

    def rows(self, split: str) -> Tensor:
        return torch.from_numpy(np.flatnonzero(self.split == split))

    def by_dataset(self, rows: Tensor) -> list[Tensor]:
        """Some rows of the ratings, apart by dataset."""
        if not len(self.dataset_of_user):
            return [rows]
        dataset = self.dataset_of_user[self.user_index[rows]]
        return [rows[dataset == number] for number in dataset.unique()]


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
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> PamelaModel:
    """Fit a model to the rows of split `train` and the comparisons; the best epoch is kept.

    It is the one with the best mean user SROCC on `val_seen`, the last where that split is empty.

    Training saves its state to the folder `state` after each epoch, if one is given, and resumes from a state that is
    there. It runs on `device`, with the CPU's random numbers on any, and the model comes back on the CPU.

    Raises
    ------
    ValueError
        There is nothing to train on, or the state belongs to another training.
    """
    rows = table.rows("train")
    if not len(rows) and not len(table.better):
        raise ValueError("no rating of split 'train' to learn from, and no choice; check the column split")
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(table, width, without, zeroed=recipe.zeroed).to(device)
        optimiser = torch.optim.AdamW(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        current = TrainingState(model, optimiser, generator, _copied(model), -math.inf)
        identity = identity_of(table, recipe, seed=seed, without=without, width=width) if state else ""
        if state is not None and current.load(state, identity):
            on_epoch(Epoch(current.epoch, math.nan, current.best_srocc))
        datasets = table.by_dataset(rows)
        while current.epoch < recipe.epochs:
            error = _epoch(table, datasets, recipe, current)
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
    return model.cpu().eval()


def _epoch(table: TrainingTable, datasets: Sequence[Tensor], recipe: Recipe, current: TrainingState) -> float:
    """One pass over ratings, by dataset, and comparisons; returns the mean squared error, nan without ratings."""
    model, generator = current.model, current.generator
    model.train()
    total = 0.0
    rows = _balanced(datasets, recipe, generator)
    comparisons = _balanced([torch.arange(len(table.better))], recipe, generator)
    steps = -(-max(len(rows), len(comparisons)) // recipe.batch_size)
    rated = _batches(rows, recipe.batch_size, steps, generator)
    compared = _batches(comparisons, recipe.batch_size, steps, generator)
    for batch, pairs in zip(rated, compared, strict=True):
        current.steps += 1
        for group in current.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, current.steps / recipe.warmup_steps)
        loss = torch.zeros((), device=model.device)
        if len(batch):
            inputs = _drop_tokens(gather(table, batch, model), recipe, generator)
            loss = nn.functional.mse_loss(model(inputs), table.rating[batch].to(model.device, non_blocking=True))
            total += loss.item() * len(batch)
        if len(pairs):
            lost = _lost_comparisons(table, pairs, recipe, current)
            loss = loss + 2 * _PERCEIVED * lost / (len(batch) or len(pairs))
        current.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        current.optimiser.step()
    return total / len(rows) if len(rows) else math.nan


def _balanced(datasets: Sequence[Tensor], recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The rows of one epoch, of each dataset as many as the recipe says: as often as that takes, the rest at random.

    Shares by a power below one keep a large dataset from deciding alone what is learnt, as in multilingual models
    (Arivazhagan et al. 2019).
    """
    datasets = [rows for rows in datasets if len(rows)]
    sizes = [len(rows) for rows in datasets]
    total = sum(sizes) if recipe.most_examples is None else min(sum(sizes), recipe.most_examples)
    powers = [size**recipe.dataset_exponent for size in sizes]
    drawn = [_drawn(rows, round(total * p / sum(powers)), generator) for rows, p in zip(datasets, powers, strict=True)]
    return torch.cat(drawn) if drawn else _no_rows()


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many of the rows: each equally often, but for one."""
    passes, rest = divmod(count, max(1, len(rows)))
    if not rest:
        return rows.repeat(passes)
    return torch.cat([rows.repeat(passes), rows[torch.randperm(len(rows), generator=generator)[:rest]]])


def _batches(rows: Tensor, size: int, steps: int, generator: torch.Generator) -> Sequence[Tensor]:
    """The rows in random order, in batches of this size, or smaller ones where these were fewer than the steps."""
    if not len(rows):
        return [rows] * steps
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    batches = shuffled.split(size)
    return batches if len(batches) == steps else shuffled.tensor_split(steps)


def _lost_comparisons(table: TrainingTable, pairs: Tensor, recipe: Recipe, current: TrainingState) -> Tensor:
    """Negative log likelihood of some comparisons, summed by their weights."""
    model, users = current.model, table.compared_by[pairs]
    both = _described(table, torch.cat([table.better[pairs], table.worse[pairs]]), users.repeat(2), model)
    better, worse = model(_drop_tokens(both, recipe, current.generator)).chunk(2)
    return -(
        table.weight[pairs].to(model.device, non_blocking=True) * nn.functional.logsigmoid(_SLOPE * (better - worse))
    ).sum()


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
    return torch.cat(scores).cpu().numpy().astype(float)


def gather(table: TrainingTable, rows: Tensor, model: PamelaModel, *, as_population: bool = False) -> Inputs:
    """The model's inputs for some rows of the ratings."""
    inputs = _described(table, table.image_index[rows], table.user_index[rows], model)
    if not as_population:
        return inputs
    hidden = {name: torch.full_like(getattr(inputs, name), torch.nan) for name in ("demographics", "user")}
    return replace(inputs, **hidden)


def _described(table: TrainingTable, image: Tensor, user: Tensor, model: PamelaModel) -> Inputs:
    """The inputs for pairs of image and user, on the model's device."""
    return Inputs(
        image=table.image[image],
        prompt=table.prompt[image],
        metadata=table.metadata[image],
        demographics=table.demographics[user],
        user=model.users(user.to(model.device, non_blocking=True)),
    ).to(model.device)


def _new_model(table: TrainingTable, width: int, without: tuple[str, ...], *, zeroed: bool) -> PamelaModel:
    config = ModelConfig(
        image_dimensions=table.image.shape[1],
        text_dimensions=table.prompt.shape[1],
        profile_dimensions=table.demographics.shape[1],
        users=len(table.demographics),
        width=width,
        without=without,
        zeroed=zeroed,
    )
    model = PamelaModel(config)
    trained = table.trained_images()
    seen = table.image[trained[:: -(-len(trained) // _MOMENTS)]]
    model.image_mean.copy_(seen.mean(0))
    model.image_scale.copy_(seen.std(0).clamp_min(1e-3) if len(seen) > 1 else torch.ones_like(model.image_scale))
    return model


def _drop_tokens(inputs: Inputs, recipe: Recipe, generator: torch.Generator) -> Inputs:
    hidden = {}
    for name in (token.name for token in fields(inputs)):
        rate = getattr(recipe, f"drop_{name}", 0.0)
        if rate > 0:
            vectors = getattr(inputs, name)
            drop = torch.rand(len(vectors), generator=generator) < rate
            hidden[name] = torch.where(drop[:, None].to(vectors.device, non_blocking=True), torch.nan, vectors)
    return replace(inputs, **hidden)
