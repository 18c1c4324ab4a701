"""Training: from a dataset to a predictor, with its metrics on unseen images.

Owns the order of the steps and the choice of the ensemble weight. The transformer's training is left to
`transformer.training`, the taste model's fit to `taste.hierarchical`, the measures to `evaluation`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from predictor.checkpoint import LEARNT_COLUMNS
from predictor.data.comparisons import Comparisons, comparisons_of
from predictor.data.dataset import Dataset, ShownImages
from predictor.encoders.encoding import EncoderNames, Encoders, Images, Progress, unknown_vectors
from predictor.encoders.zero_shot import categories
from predictor.evaluation.evaluator import EvaluationConfig, Evaluator
from predictor.evaluation.protocol import evaluate
from predictor.evaluation.reliability import compared_pairs, likeliest_tie_zone
from predictor.metrics import Interval, group_rows, mean_over_users, per_user, srocc
from predictor.model_card import card
from predictor.people.starter_table import starter_table
from predictor.people.users import list_column, packed, profile
from predictor.predictor import PamelaPredictor
from predictor.taste.expectation_maximisation import UserTastes
from predictor.taste.hierarchical import ImageFeatures, fit_taste
from predictor.taste.starter import learn_starter
from predictor.taste.training_answers import Ratings
from predictor.transformer.training import Recipe, TrainingTable, train

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
    compared = comparisons_of((choice for choice in dataset.choices if choice.split == "train"), seed=seed)
    if not len(dataset.rows("train")) and not len(compared):
        raise ValueError(f"{dataset.name}: no rating to train on, and no choice that compares two images")
    if clash := set(LEARNT_COLUMNS) & set(dataset.users.column_names):
        raise ValueError(f"{dataset.name}: users have a column {min(clash)!r}, a name that checkpoints use; rename it")
    feature_encoders = Encoders(encoders)
    images = feature_encoders.encode_files(dataset.image_paths, dataset.prompts, dataset.images.to_pylist(), progress)
    table = _table(dataset, images, feature_encoders.encode_people(dataset.users.to_pylist()), compared)
    without = tuple(sorted({*without, *_missing_tokens(table)}))
    model = train(
        table,
        recipe,
        seed=seed,
        without=without,
        state=state,
        on_epoch=lambda epoch: progress("training", epoch.number, recipe.epochs),
    )
    rows = dataset.rows("train")
    ratings = Ratings(user=dataset.user[rows], image=dataset.image[rows], rating=dataset.rating[rows])
    progress("learning tastes", 0, 1)
    seen = _without_tokens(images, without)
    taste, tastes = fit_taste(
        seen,
        ratings,
        users=len(dataset.users),
        parts=feature_encoders.image.parts,
        seed=seed,
        comparisons=compared,
        dataset=dataset.dataset_of_user,
        group=None if (groups := dataset.groups) is None else np.unique(groups, return_inverse=True)[1],
    )

    def features(rows: torch.Tensor) -> ImageFeatures:
        return taste.features(seen[rows])

    starter = learn_starter(taste, features, ratings, table.trained_images().numpy(), seed=seed)
    progress("learning tastes", 1, 1)
    weight = recipe.transformer_weight
    predictor = PamelaPredictor(
        model,
        taste,
        _users(dataset, images, tastes, table, with_tastes="user" not in without),
        feature_encoders,
        transformer_weight=weight or 0.0,
        metrics={},
        card="",
        starter=starter_table(starter, dataset.images, images, features),
        categories={} if "metadata" in without else categories(dataset.images),
    )
    validation = Evaluator(predictor, dataset, images, EvaluationConfig(split="val_seen"))
    if weight is None:
        predictor.transformer_weight = _best_transformer_weight(validation)
    predictor.taste.config = replace(taste.config, tie_zone=_best_tie_zone(validation))
    predictor.metrics = _metrics(predictor, dataset, images, seed)
    predictor.card = card(predictor, dataset, recipe)
    return predictor


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


def _users(
    dataset: Dataset, images: Images, learnt: UserTastes, table: TrainingTable, *, with_tastes: bool
) -> pa.Table:
    """The users' table with profile (paper, section 3.2), taste and level; without a training answer, no taste.

    A choice counts in the profile as it does at enrolment: what was chosen by 1.
    """
    rows = dataset.rows("train")
    rated_by = {int(dataset.user[rows[own[0]]]): rows[own] for own in group_rows(dataset.user[rows])}
    vectors = images.image.numpy()
    choices: dict[int, list[ShownImages]] = {}
    for choice in dataset.choices:
        if choice.split == "train":
            choices.setdefault(choice.user, []).append(choice)
    trained = np.zeros(len(dataset.users), bool)
    trained[table.trained_users().numpy()] = True
    profiles, counts = np.zeros((len(dataset.users), vectors.shape[1]), np.float32), []
    for number in range(len(dataset.users)):
        own, chose = rated_by.get(number, rows[:0]), choices.get(number, [])
        chosen = [choice.chosen for choice in chose if choice.chosen is not None]
        shown = np.concatenate([dataset.image[own], np.array(chosen, np.int64)])
        weight = np.concatenate([dataset.rating[own], np.ones(len(chosen))])
        profiles[number] = profile(vectors[shown], weight)
        counts.append(len(own) + len(chose) if trained[number] else 0)
    known = trained & with_tastes
    columns = {
        "profile": list_column(profiles, np.ones(len(profiles), bool)),
        "n_ratings": pa.array(counts, pa.int64()),
        "taste": list_column(learnt.tastes.numpy(), known),
        "level": pa.array(np.where(known, learnt.levels.numpy(), 0.0), pa.float64()),
        "factor": list_column(packed(learnt.factors).astype(np.float32), known),
    }
    users = dataset.users
    for name, column in columns.items():
        users = users.append_column(name, column)
    return users


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


def _best_tie_zone(evaluator: Evaluator) -> float:
    """The tie zone under which the ties of `val_seen` are likeliest; the default where there is nothing to tell by."""
    predictor, dataset = evaluator.predictor, evaluator.dataset
    ids, people = dataset.user_ids, []
    for own in group_rows(dataset.user[evaluator.rows]):
        rows = evaluator.rows[own]
        person = predictor.person(ids[dataset.user[rows[0]]])
        people.append((dataset.rating[rows], evaluator.score(person, rows), evaluator.spread(person, rows)))
    pairs = compared_pairs(people, noise=predictor.answer_noise, seed=0)
    return likeliest_tie_zone(pairs) if pairs.count else predictor.taste.config.tie_zone


def _metrics(predictor: PamelaPredictor, dataset: Dataset, images: Images, seed: int) -> dict[str, Any]:
    """The evaluation on the seen users' test images, and what the predictor was trained on."""
    rows = dataset.rows("test_seen")
    trained = {"seed": seed, "n_ratings": len(dataset.rows("train")), "datasets": dict(dataset.training_digests)}
    if choices := sum(choice.split == "train" for choice in dataset.choices):
        trained["n_choices"] = choices
    seen = np.flatnonzero(predictor.users["n_ratings"].to_numpy())
    if not len(np.intersect1d(dataset.user[rows], seen)):
        counts = {"n_users": 0, "n_images": 0, "n_ratings": 0}
        return {"split": "test_seen", **counts, "warnings": ["no test ratings of seen users"], "training": trained}
    config = EvaluationConfig(split="test_seen", details=False)
    measured = evaluate(predictor, dataset, config, images=images)
    within = {"srocc": _within_prompts(Evaluator(predictor, dataset, images, config)).as_dict()}
    return {**measured, "user_within_prompt": within, "training": trained}


def _within_prompts(evaluator: Evaluator) -> Interval:
    """SROCC among images of one prompt, averaged within users: what steering needs, which compares only those."""
    dataset, rows = evaluator.dataset, evaluator.rows
    prompt = np.unique([str(p) for p in dataset.prompts], return_inverse=True)[1][dataset.image[rows]]
    user, rating, score = dataset.user[rows], dataset.rating[rows], evaluator.score_by_user()
    means = []
    for own in group_rows(user):
        values = per_user(srocc, prompt[own], rating[own], score[own])
        means.append(np.nanmean(values) if not np.isnan(values).all() else np.nan)
    return mean_over_users(np.array(means))
