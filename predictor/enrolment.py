"""Enrolment: a new person in a checkpoint, from what they said of a few images.

Owns how a person's ratings, likes and choices are read from tables and from a dataset folder. What is made of them is
left to `PamelaPredictor.enroll`; nothing is trained.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from predictor.data.choices import raise_faults, read_choices, resolve_images
from predictor.data.dataset import read_dataset
from predictor.data.image_files import file_exists
from predictor.data.rating_scale import RatingScale
from predictor.data.tables import line_number, read_table
from predictor.people.evidence_table import image_ids
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.taste.evidence import Answer, Like, Rating, answer_of

_YES, _NO = frozenset({"1", "true", "yes", "like"}), frozenset({"0", "false", "no", "dislike"})


_DEFAULT = RatingScale(0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredImages:
    """Image files with one person's answers about them, and what was shown with each: its prompt and its metadata."""

    files: Sequence[Path]
    answers: Sequence[Answer]
    """They name rows of `files`."""
    prompts: Sequence[str | None]
    metadata: Sequence[Mapping[str, Any]] = field(default=())
    """Of each file, or empty: nothing is known."""

    def joined(self, other: "AnsweredImages") -> "AnsweredImages":
        """The answers of both."""
        moved = list(range(len(self.files), len(self.files) + len(other.files)))
        return AnsweredImages(
            files=[*self.files, *other.files],
            answers=[*self.answers, *(answer.relabelled(moved) for answer in other.answers)],
            prompts=[*self.prompts, *other.prompts],
            metadata=[*self.metadata_of_files(), *other.metadata_of_files()],
        )

    def metadata_of_files(self) -> Sequence[Mapping[str, Any]]:
        """Of each file what is known of it; empty mappings where `metadata` is empty."""
        return self.metadata or [{}] * len(self.files)


def read_ratings(file: Path, scale: RatingScale | None = None, *, metadata: Collection[str] = ()) -> AnsweredImages:
    """Read a table with columns image (a path, from the table's own folder) and rating, and optionally prompt.

    Parameters
    ----------
    scale
        0 to 100 by default, which is questioned where all ratings lie in a corner of it.
    metadata
        Further columns that describe the images, such as the checkpoint's `categories`; others are left out.

    Raises
    ------
    ValueError
        A column is missing, a rating is out of scale, or an image is missing or rated twice; all such rows are told.
    """
    given = _DEFAULT if scale is None else scale
    low, high = given.low, given.high

    def rating(cell: object) -> float | str:
        value = _number(cell)
        if value is None or not low <= value <= high:
            return (
                f"rating must be a number from {low:g} to {high:g}, got {cell!r}; "
                "give another scale by --scale LOW,HIGH"
            )
        return (value - low) / (high - low)

    table = read_table(file, required=["image", "rating"], text=["image"])
    files, values = _said_of_images(file, table, "rating", "rated", rating)
    if scale is None and (odd := _DEFAULT.question([low + value * (high - low) for value in values])):
        raise ValueError(f"{file}: {odd}; give theirs by --scale LOW,HIGH, or --scale 0,100 if it is meant")
    answers = [Rating(image=row, rating=value) for row, value in enumerate(values)]
    return _answered_images(table, files, answers, metadata)


def _number(cell: object) -> float | None:
    """The number in a cell; where one value of a column is none, the others come as text."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal | str):
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def read_likes(file: Path, *, metadata: Collection[str] = ()) -> AnsweredImages:
    """Read a table with columns image (a path, from the table's own folder) and liked (yes or no, 1 or 0).

    Raises
    ------
    ValueError
        A column is missing, or a row names no image, one of an earlier row, or something else than yes or no.
    """

    def liked(cell: object) -> bool | str:
        text = str(cell).strip().lower()
        return text in _YES if text in _YES | _NO else f"liked must be 1 or 0, yes or no, true or false, got {cell!r}"

    table = read_table(file, required=["image", "liked"], text=["image", "liked"])
    files, values = _said_of_images(file, table, "liked", "answered", liked)
    answers = [Like(image=row, liked=value) for row, value in enumerate(values)]
    return _answered_images(table, files, answers, metadata)


def read_choices_of_files(file: Path) -> AnsweredImages:
    """Read a table with the columns shown, chosen and optionally worst, which hold paths from the table's own folder.

    What rows mean is in `data.choices`.

    Raises
    ------
    ValueError
        A column is missing, or rows are faulty or name images that are not there.
    """
    places: dict[Path, int] = {}

    def index_of(name: str) -> int | None:
        path = (file.parent / name).resolve()
        return places.setdefault(path, len(places)) if file_exists(path) else None

    remedy = f"paths are from {file.parent}; one with a space needs a Parquet or JSON lines file, which has lists"
    rows = resolve_images(file, read_choices(file, user=""), index_of, remedy=remedy)
    answers = [answer_of(shown, chosen, worst) for _, shown, chosen, worst in rows]
    return AnsweredImages(files=list(places), answers=answers, prompts=[None] * len(places))


def read_person(folder: Path, user_id: str) -> tuple[AnsweredImages, dict[str, str]]:
    """All ratings and choices of one user of a dataset folder, whatever their split, and the user's demographics.

    Prompts and metadata of the images are the dataset's, as training has them; so is the scale.

    Raises
    ------
    ValueError
        The folder is no sound dataset, or has no answer by this person.
    """
    data = read_dataset(folder)
    if user_id not in data.user_ids:
        raise ValueError(f"{folder}: no user {user_id!r}; there are {', '.join(data.user_ids[:12])}")
    number = data.user_ids.index(user_id)
    rows, choices = np.flatnonzero(data.user == number), [choice for choice in data.choices if choice.user == number]
    if not len(rows) and not choices:
        raise ValueError(f"{folder}: user {user_id!r} has no rating; nothing to enrol them by")
    seen = list(dict.fromkeys([*data.image[rows].tolist(), *(image for each in choices for image in each.shown)]))
    place = {image: row for row, image in enumerate(seen)}
    answers: list[Answer] = [
        Rating(image=place[image], rating=rating)
        for image, rating in zip(data.image[rows].tolist(), data.rating[rows].tolist(), strict=True)
    ]
    for choice in choices:
        chosen, worst = (None if image is None else place[image] for image in (choice.chosen, choice.worst))
        answers.append(answer_of(tuple(place[image] for image in choice.shown), chosen, worst))
    described = data.images.take(pa.array(seen, pa.int64())).to_pylist()
    answered = AnsweredImages(
        files=[data.image_paths[image] for image in seen],
        answers=answers,
        prompts=[row.get("prompt") for row in described],
        metadata=described,
    )
    columns = data.users.slice(number, 1).to_pylist()[0]
    return answered, {name: str(value) for name, value in columns.items() if name != "user_id" and value is not None}


def enroll(
    predictor: PamelaPredictor,
    user_id: str,
    answered: AnsweredImages,
    *,
    demographics: Mapping[str, Any] | None = None,
    update: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """The predictor with one more user, or with more answers of one who was enrolled before.

    Raises
    ------
    ValueError
        An image cannot be read, or see `PamelaPredictor.enroll`.
    """
    predictor.people.check(user_id, demographics or {}, update=update)
    images = predictor.encoders.encode_files(answered.files, answered.prompts, answered.metadata_of_files(), progress)
    _refuse_same_pictures(answered, image_ids(images))
    return predictor.enroll(user_id, images, answered.answers, demographics=demographics, update=update)


def _refuse_same_pictures(answered: AnsweredImages, ids: Sequence[str]) -> None:
    """Refuse a question that shows one picture twice, under the names of two files."""
    for answer in answered.answers:
        file_by_id = {ids[row]: answered.files[row] for row in answer.shown}
        for row in answer.shown:
            other = file_by_id[ids[row]]
            if other != answered.files[row]:
                raise ValueError(f"{answered.files[row]} and {other} are the same picture; drop the choice among them")


def _said_of_images(file: Path, table: pa.Table, column: str, said: str, read: Any) -> tuple[list[Path], list[Any]]:
    """The files and what `read` makes of the column, row by row; it gives a text where a cell is faulty."""
    if not len(table):
        raise ValueError(f"{file}: has no rating; give at least one row of image,{column}")
    row_by_image: dict[Path, int] = {}
    values: list[Any] = []
    faults: list[str] = []
    for index, row in enumerate(table.to_pylist()):
        number = line_number(file, index)
        image = (file.parent / (row["image"] or "")).resolve()
        value = read(row[column])
        if not file_exists(image):
            faults.append(f"row {number}: no such image {row['image']!r} (paths are from {file.parent})")
        elif image in row_by_image:
            faults.append(f"row {number}: {row['image']!r} is {said} already in row {row_by_image[image]}")
        if isinstance(value, str):
            faults.append(f"row {number}: {value}")
        row_by_image.setdefault(image, number)
        values.append(value)
    raise_faults(file, faults)
    return list(row_by_image), values


def _answered_images(
    table: pa.Table, files: Sequence[Path], answers: Sequence[Answer], metadata: Collection[str]
) -> AnsweredImages:
    prompts = table["prompt"].to_pylist() if "prompt" in table.column_names else [None] * len(files)
    described = table.select([name for name in table.column_names if name in metadata]).to_pylist()
    return AnsweredImages(files=files, answers=answers, prompts=prompts, metadata=described)
