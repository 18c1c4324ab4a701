"""The dataset folder (DESIGN 6): ratings, users and images as tables, and dataset.yaml with the scale.

Ratings keep their scale in the files and are brought to 0..1 here, on load. Whatever does not fit –
a rating out of scale, of an unknown user or image – is an error that names its row: a table that
was written by `steer-predictor` holds none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from predictor.tables import find_table, read_table

SPLITS = ("train", "val_seen", "val_unseen", "test_seen", "test_unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Ratings of images by users. R ratings refer to rows of `users` and `images` by index."""

    name: str
    folder: Path
    users: pa.Table
    """user_id and any demographic columns."""
    images: pa.Table
    """image_id, file, and optionally prompt and metadata columns."""
    user: NDArray[np.int64]  # (R,)
    image: NDArray[np.int64]  # (R,)
    rating: NDArray[np.float64]  # (R,), 0..1
    split: NDArray[np.str_]  # (R,), one of SPLITS

    @property
    def user_ids(self) -> list[str]:
        return self.users["user_id"].to_pylist()

    @property
    def image_paths(self) -> list[Path]:
        return image_paths(self.folder, self.images)

    @property
    def prompts(self) -> list[str | None]:
        """The prompt of each image, as its raters saw it; None where there is none."""
        if "prompt" not in self.images.column_names:
            return [None] * len(self.images)
        return self.images["prompt"].to_pylist()

    def rows(self, split: str) -> NDArray[np.intp]:
        """Indices of the ratings of one split."""
        return np.flatnonzero(self.split == split)


def read_dataset(folder: Path, *, seed: int = 0) -> Dataset:
    """Read a dataset folder; ratings without a `split` column are split by `split_by_image`.

    Raises
    ------
    ValueError
        A file or column is missing, or a rating is out of scale or of an unknown user or image.
    """
    described = folder / "dataset.yaml"
    if not described.is_file():
        raise ValueError(f"{folder}: not a dataset folder, dataset.yaml is missing; see `steer-predictor simulate`")
    try:
        about: Any = yaml.safe_load(described.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{described}: cannot be read as YAML: {error}") from error
    about = about if isinstance(about, dict) else {}
    missing = [key for key in ("name", "rating_min", "rating_max") if about.get(key) is None]
    if missing:
        raise ValueError(f"{described}: {', '.join(missing)} is missing; give the dataset's name and its rating scale")
    low, high = float(about["rating_min"]), float(about["rating_max"])
    if not low < high:
        raise ValueError(f"{described}: rating_min must be below rating_max, got {low} and {high}")
    users = read_table(find_table(folder, "users"), required=["user_id"])
    images = read_table(find_table(folder, "images"), required=["image_id", "file"])
    ratings_file = find_table(folder, "ratings")
    ratings = read_table(ratings_file, required=["user_id", "image_id", "rating"])
    image = _index(ratings_file, ratings, "image_id", images)
    return Dataset(
        name=str(about["name"]),
        folder=folder,
        users=users,
        images=images,
        user=_index(ratings_file, ratings, "user_id", users),
        image=image,
        rating=_scaled(ratings_file, ratings, low, high),
        split=_splits(ratings_file, ratings, image, len(images), seed),
    )


def image_paths(folder: Path, images: pa.Table) -> list[Path]:
    """The files of an images table.

    Raises
    ------
    ValueError
        A row names no file, or one outside the folder.
    """
    paths = []
    for row, file in enumerate(images["file"].to_pylist(), start=2):
        if not file or Path(file).is_absolute() or ".." in Path(file).parts:
            raise ValueError(f"{folder}: images, row {row}: file must be a path inside the folder, got {file!r}")
        paths.append(folder / file)
    return paths


def split_by_image(image: NDArray[np.int64], count: int, seed: int) -> NDArray[np.str_]:
    """Seen users, unseen images: of `count` images 70% are for training, 10% for validation, 20% for test."""
    order = np.random.default_rng([seed, 0x5B117]).permutation(count)
    share = np.empty(count)
    share[order] = (np.arange(count) + 0.5) / count
    of_image = np.select([share < 0.7, share < 0.8], ["train", "val_seen"], "test_seen")
    return of_image[image]


def _index(file: Path, ratings: pa.Table, column: str, table: pa.Table) -> NDArray[np.int64]:
    ids = table[column].to_pylist()
    position = {name: index for index, name in enumerate(ids)}
    if len(position) < len(ids):
        repeated = next(name for i, name in enumerate(ids) if position[name] != i)
        raise ValueError(f"{file.parent}: {column} {repeated!r} is there twice; ids must be unique")
    names = ratings[column].to_pylist()
    for row, name in enumerate(names, start=2):
        if name not in position:
            raise ValueError(f"{file}, row {row}: unknown {column} {name!r}; add it to its table or drop the rating")
    return np.array([position[name] for name in names], np.int64)


def _scaled(file: Path, ratings: pa.Table, low: float, high: float) -> NDArray[np.float64]:
    try:
        values = np.array(ratings["rating"].to_pylist(), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: column rating holds something that is no number: {error}") from error
    wrong = np.flatnonzero(~((values >= low) & (values <= high)))
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"{file}, row {first + 2}: rating must be from {low:g} to {high:g}, got {values[first]} "
            f"({len(wrong)} such rows); mend it or the scale in dataset.yaml"
        )
    return (values - low) / (high - low)


def _splits(file: Path, ratings: pa.Table, image: NDArray[np.int64], count: int, seed: int) -> NDArray[np.str_]:
    if "split" not in ratings.column_names:
        return split_by_image(image, count, seed)
    names = np.array(ratings["split"].to_pylist(), str)
    unknown = np.flatnonzero(~np.isin(names, SPLITS))
    if len(unknown):
        first = int(unknown[0])
        raise ValueError(
            f"{file}, row {first + 2}: unknown split {str(names[first])!r}; the splits are {', '.join(SPLITS)}"
        )
    return names
