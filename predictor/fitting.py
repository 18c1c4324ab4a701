"""From a dataset folder to a checkpoint: features, training, and what the model reaches on unseen images.

Beside the personal model the same model is fitted without the user – neither id nor demographics –
because only the difference between the two says that a person's taste was learnt.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from predictor.dataset import Dataset
from predictor.encoders.registry import IMAGE_ENCODERS, TEXT_ENCODERS
from predictor.features import FeatureCache, encode_cached, image_content, text_content
from predictor.metrics import METRICS, Interval, mean_over_users, per_user, srocc
from predictor.model import PamelaModel
from predictor.predictor import PamelaPredictor
from predictor.profiles import describe_image, describe_person
from predictor.training import Recipe, TrainingTable, predict, train

WITHOUT_USER = ("demographics", "user")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def fit(
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    image_encoder: str = "efficientnet-lite0",
    text_encoder: str = "minilm",
    without: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """Train a predictor on a dataset's `train` split and measure it on `test_seen`.

    Raises
    ------
    ValueError
        An image cannot be read, an encoder is unknown, or there is nothing to train on.
    """
    for name, known in ((image_encoder, IMAGE_ENCODERS), (text_encoder, TEXT_ENCODERS)):
        if name not in known:
            raise ValueError(f"unknown encoder {name!r}; known are {', '.join(known)}")
    table = _features(dataset, image_encoder, text_encoder, progress)
    without = tuple(sorted({*without, *_unknown(table)}))
    model, generic = _train_both(table, recipe, seed, without, progress)
    rows = table.rows("test_seen")
    metrics = _metrics(
        dataset,
        table,
        {
            "user": predict(model, table, rows),
            "population": predict(model, table, rows, as_population=True),
            "without_user": predict(generic, table, rows),
        },
    )
    return PamelaPredictor(
        model,
        _users(dataset, table),
        image_encoder=image_encoder,
        text_encoder=text_encoder,
        metrics=metrics,
        card=_card(dataset, recipe, metrics),
    )


def _features(dataset: Dataset, image_encoder: str, text_encoder: str, progress: Progress) -> TrainingTable:
    encoder = IMAGE_ENCODERS[image_encoder]()
    texts = TEXT_ENCODERS[text_encoder]()
    cache = FeatureCache(encoder.fingerprint)
    paths = dataset.image_paths
    image = np.empty((len(paths), encoder.dimensions), np.float32)
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as opened:
                image[row] = encode_cached(encoder, [opened.convert("RGB")], image_content, cache)
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: not an image that can be read: {error}") from error
        progress("encoding images", row + 1, len(paths))
    cache.close()
    text_cache = FeatureCache(texts.fingerprint)

    def encode(descriptions: list[str | None]) -> torch.Tensor:
        distinct = sorted({text for text in descriptions if text is not None})
        vectors = dict(zip(distinct, encode_cached(texts, distinct, text_content, text_cache), strict=True))
        nothing = np.full(texts.dimensions, np.nan, np.float32)
        return torch.from_numpy(np.stack([nothing if t is None else vectors[t] for t in descriptions]))

    return TrainingTable(
        image=torch.from_numpy(image),
        prompt=encode(dataset.prompts),
        metadata=encode([describe_image(row) for row in dataset.images.to_pylist()]),
        demographics=encode([describe_person(row) for row in dataset.users.to_pylist()]),
        user_index=torch.from_numpy(dataset.user),
        image_index=torch.from_numpy(dataset.image),
        rating=torch.from_numpy(dataset.rating).float(),
        split=dataset.split,
    )


def _unknown(table: TrainingTable) -> set[str]:
    """Tokens that no training image or user has: nothing can be learnt of them, so they are never used."""
    rows = table.rows("train")
    vectors = {
        "prompt": table.prompt[table.image_index[rows]],
        "metadata": table.metadata[table.image_index[rows]],
        "demographics": table.demographics[table.user_index[rows]],
    }
    return {name for name, known in vectors.items() if bool(torch.isnan(known).any(1).all())}


def _train_both(
    table: TrainingTable, recipe: Recipe, seed: int, without: tuple[str, ...], progress: Progress
) -> tuple[PamelaModel, PamelaModel]:
    """The personal model here, the one without the user in a process beside it: each takes one thread."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
        generic = beside.submit(train, table, recipe, seed=seed, without=tuple(sorted({*without, *WITHOUT_USER})))
        model = train(
            table,
            recipe,
            seed=seed,
            without=without,
            on_epoch=lambda epoch: progress("training", epoch.number, recipe.epochs),
        )
        return model, generic.result()


def _metrics(dataset: Dataset, table: TrainingTable, scores: dict[str, Any]) -> dict[str, Any]:
    rows = dataset.rows("test_seen")
    user, rating = dataset.user[rows], dataset.rating[rows]
    values = {
        model: {name: per_user(metric, user, rating, predicted) for name, metric in METRICS.items()}
        for model, predicted in scores.items()
    }
    measured: dict[str, Any] = {
        "split": "test_seen",
        "n_users": len(np.unique(user)),
        "n_images": len(np.unique(dataset.image[rows])),
        "n_ratings": len(rows),
    }
    for model, of_metric in values.items():
        measured[model] = {name: mean_over_users(value).as_dict() for name, value in of_metric.items()}
    measured["n_users_without_correlation"] = int(np.isnan(values["user"]["srocc"]).sum())
    measured["user_within_prompt"] = {"srocc": _within_prompts(dataset, rows, scores["user"]).as_dict()}
    gain = mean_over_users(values["user"]["srocc"] - values["without_user"]["srocc"])
    measured["user_minus_without_user"] = {"srocc": gain.as_dict()}
    return measured


def _within_prompts(dataset: Dataset, rows: NDArray[np.intp], score: NDArray[np.float64]) -> Interval:
    """SROCC among images of one prompt, averaged within users: the only ranking that steering makes."""
    prompt = np.unique([str(p) for p in dataset.prompts], return_inverse=True)[1][dataset.image[rows]]
    user, rating = dataset.user[rows], dataset.rating[rows]
    means = []
    for u in np.unique(user):
        own = user == u
        values = per_user(srocc, prompt[own], rating[own], score[own])
        means.append(np.nanmean(values) if not np.isnan(values).all() else np.nan)
    return mean_over_users(np.array(means))


def _users(dataset: Dataset, table: TrainingTable) -> pa.Table:
    """The users with their profile, the rating-weighted mean of the images they rated (paper, section 3.2)."""
    train_rows = dataset.rows("train")
    image = table.image.numpy()
    profiles, counts = [], []
    for number in range(len(dataset.users)):
        own = train_rows[dataset.user[train_rows] == number]
        weight = dataset.rating[own]
        total = weight.sum()
        mean = (weight @ image[dataset.image[own]] / total) if total > 0 else np.zeros(image.shape[1])
        profiles.append(mean.astype(np.float32))
        counts.append(len(own))
    profile = pa.array(profiles, pa.list_(pa.float32()))
    return dataset.users.append_column("profile", profile).append_column("n_ratings", pa.array(counts, pa.int64()))


def _card(dataset: Dataset, recipe: Recipe, metrics: dict[str, Any]) -> str:
    def line(label: str, values: dict[str, dict[str, float | None]]) -> str:
        return f"| {label} | {' | '.join(str(Interval.from_dict(values[name])) for name in METRICS)} |"

    return "\n".join(
        [
            f"# PAMELA predictor: {dataset.name}",
            "",
            f"Predicts how each of {len(dataset.users)} people would rate an image (0 to 1). Recipe: {recipe}.",
            "",
            f"Unseen images of seen users, {metrics['n_ratings']} ratings of {metrics['n_images']} images by "
            f"{metrics['n_users']} users; means within users with 95% intervals over users:",
            "",
            "| | SROCC | PLCC | pairwise accuracy |",
            "|---|---|---|---|",
            line("personal", metrics["user"]),
            line("population (user and demographics hidden)", metrics["population"]),
            line("trained without the user", metrics["without_user"]),
            "",
            f"Among images of one prompt, the ranking that steering makes: SROCC "
            f"{Interval.from_dict(metrics['user_within_prompt']['srocc'])}.",
            "",
            f"Data: {dataset.name}. Load by `PamelaPredictor.from_pretrained(folder)`.",
            "",
        ]
    )
