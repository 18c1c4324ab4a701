"""Enrolment: a new user in a checkpoint, from a few rated images.

Owns how a person's ratings are read. Nothing is trained: enrolment adds a row to users.parquet, with the taste that
`adaptation` infers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from predictor.adaptation import Adaptation, Context, profile
from predictor.checkpoint import LEARNT_COLUMNS
from predictor.data.dataset import read_dataset
from predictor.data.tables import read_table
from predictor.encoders.encoding import Progress
from predictor.predictor import PamelaPredictor, Person


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedImages:
    """K image files with one person's ratings, 0 to 1, and the prompts that were shown with them."""

    files: list[Path]
    rating: NDArray[np.float64]  # (K,)
    prompts: list[str | None]


def read_ratings(file: Path, *, low: float, high: float) -> RatedImages:
    """Read a table with columns image (a path, from the table's own folder) and rating, and optionally prompt.

    Raises
    ------
    ValueError
        A column or a file is missing, a rating is out of scale, or an image is rated twice.
    """
    if not low < high:
        raise ValueError(f"the rating scale must ascend, got {low:g} to {high:g}")
    table = read_table(file, required=["image", "rating"])
    if not len(table):
        raise ValueError(f"{file}: has no rating; give at least one row of image,rating")
    files: list[Path] = []
    ratings: list[float] = []
    head = 2 if file.suffix.lower() in (".csv", ".tsv") else 1
    for number, row in enumerate(table.to_pylist(), start=head):
        image = (file.parent / str(row["image"] or "")).resolve()
        if not image.is_file():
            raise ValueError(f"{file}, row {number}: no such image {row['image']!r} (paths are from {file.parent})")
        if image in files:
            before = files.index(image) + head
            raise ValueError(f"{file}, row {number}: {row['image']!r} is rated already in row {before}")
        rating = row["rating"]
        if isinstance(rating, bool) or not isinstance(rating, int | float | Decimal) or not low <= rating <= high:
            raise ValueError(
                f"{file}, row {number}: rating must be a number from {low:g} to {high:g}, got {rating!r}; "
                "give another scale by --scale LOW,HIGH"
            )
        files.append(image)
        ratings.append((float(rating) - low) / (high - low))
    prompts: list[str | None] = table["prompt"].to_pylist() if "prompt" in table.column_names else [None] * len(files)
    return RatedImages(files=files, rating=np.array(ratings), prompts=prompts)


def read_person(folder: Path, user_id: str) -> tuple[RatedImages, dict[str, str]]:
    """All ratings of one user of a dataset folder, whatever their split, and the user's demographics.

    The scale is the dataset's own.

    Raises
    ------
    ValueError
        The folder is no sound dataset, or has no rating by this person.
    """
    data = read_dataset(folder)
    if user_id not in data.user_ids:
        raise ValueError(f"{folder}: no user {user_id!r}; there are {', '.join(data.user_ids[:12])}")
    row = data.user_ids.index(user_id)
    rows = np.flatnonzero(data.user == row)
    if not len(rows):
        raise ValueError(f"{folder}: user {user_id!r} has no rating; nothing to enrol them by")
    rated = RatedImages(
        files=[data.image_paths[image] for image in data.image[rows]],
        rating=data.rating[rows],
        prompts=[data.prompts[image] for image in data.image[rows]],
    )
    columns = data.users.slice(row, 1).to_pylist()[0]
    return rated, {name: str(value) for name, value in columns.items() if name != "user_id" and value is not None}


def enroll(
    predictor: PamelaPredictor,
    user_id: str,
    rated: RatedImages,
    *,
    demographics: Mapping[str, Any] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """The predictor with one more user.

    Raises
    ------
    ValueError
        The name is taken or empty, or a demographic column is not one of the checkpoint's.
    """
    if _is_user_expression(user_id):
        raise ValueError(
            f"--user must be a name for the new person, got {user_id!r}; names have no comma and no space at "
            "their ends, and are not *, all, group:… or @…, which mean somebody else to steer-batch"
        )
    if user_id in predictor.user_ids:
        raise ValueError(f"--user {user_id}: is in the checkpoint already; name the new person otherwise")
    typed = _typed(predictor.users.schema, demographics or {})
    images = predictor.encoders.encode_files(rated.files, rated.prompts, [{}] * len(rated.files), progress)
    context = Context(images=images, features=predictor.taste.features(images), rating=rated.rating)
    person = Adaptation(predictor).adapt(Person(name=user_id), context)
    assert person.taste is not None
    row = {
        **typed,
        "user_id": user_id,
        "profile": profile(images.image.numpy(), rated.rating).tolist(),
        "n_ratings": len(rated.rating),
        "taste": person.taste.tolist(),
        "level": person.level,
    }
    added = pa.Table.from_pylist([row], predictor.users.schema)
    return predictor.with_users(pa.concat_tables([predictor.users, added]))


def demographic_columns(schema: pa.Schema) -> list[str]:
    """The demographic columns of a checkpoint's users.parquet."""
    return [name for name in schema.names if name not in ("user_id", *LEARNT_COLUMNS)]


def _is_user_expression(name: str) -> bool:
    """Whether `steer-batch --users` takes the name for something else than one user."""
    return name in ("", "*", "all") or name != name.strip() or "," in name or name.startswith(("group:", "@"))


def _typed(schema: pa.Schema, demographics: Mapping[str, Any]) -> dict[str, Any]:
    """Demographics in the types of the checkpoint's columns."""
    typed = {}
    known = demographic_columns(schema)
    for name, value in demographics.items():
        if name not in known:
            raise ValueError(f"unknown demographic {name!r}; the checkpoint has {', '.join(known) or 'none'}")
        try:
            typed[name] = pa.scalar(value, pa.string()).cast(schema.field(name).type).as_py()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{name} must be a {schema.field(name).type}, got {value!r}") from error
    return typed
