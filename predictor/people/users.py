"""users.parquet: the rows of people, those whom training learnt first, in the model's order, then the enrolled ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.checkpoint import LEARNT_COLUMNS
from predictor.data.dataset import Dataset, DatasetChoice
from predictor.data.profiles import as_text
from predictor.encoders.encoding import Images
from predictor.metrics import group_rows
from predictor.taste.evidence import Answer, Choice, Like, Order, Pair, Rating
from predictor.taste.expectation_maximisation import UserTastes
from predictor.taste.posterior import Posterior


def demographic_columns(schema: pa.Schema) -> list[str]:
    """The demographic columns of a checkpoint's users.parquet."""
    return [name for name in schema.names if name not in ("user_id", *LEARNT_COLUMNS)]


def learnt_row(user_id: str, posterior: Posterior, profile: NDArray[np.float64], answers: int) -> dict[str, Any]:
    """The learnt columns of one person."""
    return {
        "user_id": user_id,
        "profile": profile.tolist(),
        "n_ratings": answers,
        "taste": posterior.taste.tolist(),
        "level": posterior.level,
        "factor": packed(posterior.factor).tolist(),
    }


def packed(factor: Tensor) -> NDArray[np.float64]:
    """The lower triangles of one or of many square matrices, row by row: (..., n, n) -> (..., n (n + 1) / 2)."""
    rows, columns = torch.tril_indices(*factor.shape[-2:])
    return factor[..., rows, columns].numpy()


def list_column(values: NDArray[Any], known: NDArray[np.bool_]) -> pa.ListArray:
    """A column of lists of one length, the rows of a table (N, length); null where they are not known (N,)."""
    ends = np.concatenate([[0], np.cumsum(known)]) * values.shape[1]
    offsets = pa.array(ends, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values[known].reshape(-1)), mask=pa.array(~known))


def unpacked(values: NDArray[np.float32], rank: int) -> Tensor:
    """The triangular factor (rank + 1, rank + 1) that `packed` gave."""
    factor = torch.zeros(rank + 1, rank + 1, dtype=torch.float64)
    rows, columns = torch.tril_indices(rank + 1, rank + 1)
    factor[rows, columns] = torch.from_numpy(values.astype(np.float64))
    return factor


def profile(images: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """A user's profile: the mean of image vectors (K, D), weighted by their ratings (K,) (paper, section 3.2).

    Zeros where no rating is above the lowest.
    """
    total = weight.sum()
    return weight @ images.astype(np.float64) / total if total > 0 else np.zeros(images.shape[1])


def profile_weights(answers: Sequence[Answer], images: int) -> NDArray[np.float64]:
    """How much each image counts in the profile: by its rating, and by 1 each time that it was chosen."""
    weight = np.zeros(images)
    for answer in answers:
        match answer:
            case Rating():
                weight[answer.image] += answer.rating
            case Like():
                weight[answer.image] += answer.liked
            case Pair() | Choice():
                best = answer.preferred if isinstance(answer, Pair) else answer.best
                if best is not None:
                    weight[best] += 1
            case Order():
                weight[answer.shown[0]] += 1
    return weight


def typed(schema: pa.Schema, demographics: Mapping[str, Any]) -> dict[str, Any]:
    """Demographics in the types of the checkpoint's columns.

    Raises
    ------
    ValueError
        A column is not one of the checkpoint's, or a value does not fit it.
    """
    found = {}
    known = demographic_columns(schema)
    for name, value in demographics.items():
        if name not in known:
            raise ValueError(f"unknown demographic {name!r}; the checkpoint has {', '.join(known) or 'none'}")
        try:
            found[name] = pa.scalar(as_text(value), pa.string()).cast(schema.field(name).type).as_py()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"demographic {name} must be of type {schema.field(name).type}, got {value!r}") from error
    return found


def trained_users(
    dataset: Dataset, images: Images, learnt: UserTastes, trained: NDArray[np.int64], *, with_tastes: bool
) -> pa.Table:
    """A dataset's users with profile (paper, section 3.2), taste and level; without a training answer, no taste.

    A choice counts in the profile as it does at enrolment: what was chosen by 1.

    Parameters
    ----------
    trained
        The users who have a training answer, as rows of the dataset's.
    """
    rows = dataset.rows("train")
    rated_by = {int(dataset.user[rows[own[0]]]): rows[own] for own in group_rows(dataset.user[rows])}
    vectors = images.image.numpy()
    choices: dict[int, list[DatasetChoice]] = {}
    for choice in dataset.choices:
        if choice.split == "train":
            choices.setdefault(choice.user, []).append(choice)
    answered = np.isin(np.arange(len(dataset.users)), trained)
    profiles, counts = np.zeros((len(dataset.users), vectors.shape[1]), np.float32), []
    for number in range(len(dataset.users)):
        own, chose = rated_by.get(number, rows[:0]), choices.get(number, [])
        chosen = [choice.chosen for choice in chose if choice.chosen is not None]
        shown = np.concatenate([dataset.image[own], np.array(chosen, np.int64)])
        weight = np.concatenate([dataset.rating[own], np.ones(len(chosen))])
        profiles[number] = profile(vectors[shown], weight)
        counts.append(len(own) + len(chose) if answered[number] else 0)
    known = answered & with_tastes
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
