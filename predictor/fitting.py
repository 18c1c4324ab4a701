"""Training: from a dataset to a predictor, with its metrics on unseen images.

Owns the order of the steps and the choice of the ensemble weight. The transformer's training is left to
`transformer.training`, the taste model's fit to `taste.hierarchical`, the measures to `evaluation`, and what a
checkpoint says of itself to `model_card`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from predictor.checkpoint import LEARNT_COLUMNS
from predictor.data.comparisons import Comparisons, comparisons_of
from predictor.data.dataset import Dataset
from predictor.encoders.encoding import EncoderNames, Encoders, Images, unknown_vectors
from predictor.encoders.loading import device
from predictor.encoders.zero_shot import categories
from predictor.evaluation.evaluator import EvaluationConfig, Evaluator
from predictor.evaluation.reliability import RatedPerson, answer_noise_of, compared_pairs, likeliest_tie_zone
from predictor.metrics import group_rows, mean_over_users, per_user, srocc
from predictor.model_card import card, metrics_of
from predictor.people.starter_table import starter_table
from predictor.people.users import trained_users
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.taste.expectation_maximisation import UserTastes
from predictor.taste.hierarchical import ImageFeatures, Taste, fit_taste
from predictor.taste.starter import learn_starter
from predictor.taste.training_answers import Ratings
from predictor.transformer.training import Recipe, TrainingTable, train
from predictor.transformer.training_state import FILE

TRANSFORMER_WEIGHTS = tuple(round(0.1 * tenth, 1) for tenth in range(11))
"""Candidates for the transformer's weight, compared on the validation ratings; without those, the weight is 0."""


def fit(
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    encoders: EncoderNames = EncoderNames(),
    without: Sequence[str] = (),
    state: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """Train a predictor on a dataset's `train` split, ratings and choices, and measure it on `test_seen`.

    Parameters
    ----------
    without
        Tokens to leave out (the ablations of Table 3): prompt, metadata, demographics, user.
    state
        Folder that training saves its state to, and resumes from.

    Raises
    ------
    ValueError
        An image cannot be read, an encoder is unknown, or there is nothing to train on.
    """
    compared = _training_comparisons(dataset, seed)
    loaded = Encoders(encoders)
    images = loaded.encode_files(dataset.image_paths, dataset.prompts, dataset.images.to_pylist(), progress)
    table = _table(dataset, images, loaded.encode_people(dataset.users.to_pylist()), compared)
    without = tuple(sorted({*without, *_missing_tokens(table)}))
    model = train(
        table,
        recipe,
        seed=seed,
        without=without,
        state=state,
        device=device(),
        on_epoch=lambda epoch: progress("training", epoch.number, recipe.epochs),
    )
    progress("learning tastes", 0, 1)
    seen = _without_tokens(images, without)
    taste, tastes = _learn_tastes(dataset, seen, compared, parts=loaded.image.parts, seed=seed)
    starter = _starter(dataset, images, seen, taste, asked=table.trained_images().numpy(), seed=seed)
    progress("learning tastes", 1, 1)
    predictor = PamelaPredictor(
        model=model,
        taste=taste,
        users=trained_users(dataset, images, tastes, table.trained_users().numpy(), with_tastes="user" not in without),
        encoders=loaded,
        transformer_weight=recipe.transformer_weight or 0.0,
        metrics={},
        card="",
        starter=starter,
        categories={} if "metadata" in without else categories(dataset.images),
    )
    _choose_by_validation(predictor, dataset, images, recipe)
    predictor.metrics = metrics_of(predictor, dataset, images, seed)
    predictor.card = card(predictor, dataset, recipe)
    return predictor


def fit_in(
    folder: Path,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    encoders: EncoderNames = EncoderNames(),
    without: Sequence[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """`fit`, with a folder for its state and in the end for its checkpoint: what was stopped there goes on.

    Raises
    ------
    ValueError
        See `fit`.
    """
    predictor = fit(dataset, recipe, seed=seed, encoders=encoders, without=without, state=folder, progress=progress)
    predictor.save_pretrained(folder)
    (folder / FILE).unlink(missing_ok=True)
    return predictor


def _training_comparisons(dataset: Dataset, seed: int) -> Comparisons:
    """What the training choices compare; refuses a dataset that nothing can be learnt from."""
    compared = comparisons_of((choice for choice in dataset.choices if choice.split == "train"), seed=seed)
    if not len(dataset.rows("train")) and not len(compared):
        raise ValueError(f"{dataset.name}: no rating to train on, and no choice that compares two images")
    if clash := set(LEARNT_COLUMNS) & set(dataset.users.column_names):
        raise ValueError(f"{dataset.name}: users have a column {min(clash)!r}, a name that checkpoints use; rename it")
    return compared


def _table(dataset: Dataset, images: Images, demographics: torch.Tensor, compared: Comparisons) -> TrainingTable:
    return TrainingTable(
        image=images.image,
        prompt=images.prompt,
        metadata=images.metadata,
        demographics=demographics,
        user_index=torch.from_numpy(dataset.user),
        image_index=torch.from_numpy(dataset.image),
        rating=torch.from_numpy(dataset.rating).float(),
        split=dataset.split,
        compared_by=torch.from_numpy(compared.user),
        better=torch.from_numpy(compared.better),
        worse=torch.from_numpy(compared.worse),
        weight=torch.from_numpy(compared.weight).float(),
        dataset_of_user=torch.from_numpy(dataset.dataset_of_user),
    )


def _missing_tokens(table: TrainingTable) -> set[str]:
    """Tokens that no training image or user has: nothing can be learnt of them, so they are never used."""
    image, user = table.trained_images(), table.trained_users()
    vectors = {
        "prompt": table.prompt[:, 0][image],
        "metadata": table.metadata[:, 0][image],
        "demographics": table.demographics[:, 0][user],
    }
    return {name for name, first in vectors.items() if bool(torch.isnan(first).all())}


def _without_tokens(images: Images, without: Sequence[str]) -> Images:
    """The images without the vectors of the tokens that are left out: the taste model does not use them either."""
    return Images(
        image=images.image,
        prompt=unknown_vectors(*images.prompt.shape) if "prompt" in without else images.prompt,
        metadata=unknown_vectors(*images.metadata.shape) if "metadata" in without else images.metadata,
    )


def _learn_tastes(
    dataset: Dataset, images: Images, compared: Comparisons, *, parts: Sequence[int], seed: int
) -> tuple[Taste, UserTastes]:
    """The taste model and what each user likes beyond everybody."""
    groups = dataset.groups
    return fit_taste(
        images,
        _training_ratings(dataset),
        users=len(dataset.users),
        parts=parts,
        seed=seed,
        comparisons=compared,
        dataset=dataset.dataset_of_user,
        group=None if groups is None else np.unique(groups, return_inverse=True)[1],
        device=device(),
    )


def _starter(
    dataset: Dataset, images: Images, seen: Images, taste: Taste, *, asked: NDArray[np.int64], seed: int
) -> pa.Table:
    """The images to ask a new person about first, among those of `asked`, as the taste model has `seen` them."""

    def features(rows: torch.Tensor) -> ImageFeatures:
        return taste.features(seen[rows])

    lists = learn_starter(taste, features, _training_ratings(dataset), asked, seed=seed)
    return starter_table(lists, dataset.images, images, features)


def _training_ratings(dataset: Dataset) -> Ratings:
    rows = dataset.rows("train")
    return Ratings(user=dataset.user[rows], image=dataset.image[rows], rating=dataset.rating[rows])


def _choose_by_validation(predictor: PamelaPredictor, dataset: Dataset, images: Images, recipe: Recipe) -> None:
    """Set answer noise and tie zone by the ratings of `val_seen`, and the transformer's weight unless a recipe does."""
    validation = Evaluator(predictor, dataset, images, EvaluationConfig(split="val_seen"))
    if recipe.transformer_weight is None:
        predictor.transformer_weight = _best_transformer_weight(validation)
    people, config = _validation_people(validation), predictor.taste.config
    noise = answer_noise_of(people, of_training=config.perceived_noise)
    pairs = compared_pairs(people, noise=config.perceived_noise, seed=0)
    zone = likeliest_tie_zone(pairs) if pairs.count else config.tie_zone
    predictor.taste.config = replace(config, answer_noise=noise, tie_zone=zone)


def _best_transformer_weight(evaluator: Evaluator) -> float:
    """The transformer's weight with the best mean user SROCC on `val_seen`; the smaller of equals."""
    predictor, dataset, rows = evaluator.predictor, evaluator.dataset, evaluator.rows
    if not len(rows):
        return 0.0
    scores = []
    for weight in (0.0, 1.0):  # scores are linear in the weight
        predictor.transformer_weight = weight
        scores.append(evaluator.score_by_user())
    reached = [
        mean_over_users(
            per_user(srocc, dataset.user[rows], dataset.rating[rows], (1 - weight) * scores[0] + weight * scores[1]),
            replicates=1,
        ).value
        for weight in TRANSFORMER_WEIGHTS
    ]
    return TRANSFORMER_WEIGHTS[int(np.nanargmax(reached))] if not np.isnan(reached).all() else 0.0


def _validation_people(evaluator: Evaluator) -> list[RatedPerson]:
    predictor, dataset = evaluator.predictor, evaluator.dataset
    people: list[RatedPerson] = []
    for own in group_rows(dataset.user[evaluator.rows]):
        rows = evaluator.rows[own]
        person = predictor.person(dataset.user_ids[dataset.user[rows[0]]])
        people.append(evaluator.rated(person, rows, evaluator.score(person, rows)))
    return people
