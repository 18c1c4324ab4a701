"""The dataset folder: ratings or choices, users and images as tables, and dataset.yaml with the rating scale.

A `Dataset` in memory is valid: ratings are scaled to 0..1, of known users and images, at most one of an image by a
user, and no held-out user or image is in training; choices are of known users and images too. A file that violates this
is an error that names the row. To import data with errors, and list them, is left to `importing`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from predictor.data.choices import raise_faults, read_choices, resolve_images
from predictor.data.profiles import as_text
from predictor.data.splits import SPLITS, groups_of_images, overlaps, split_by_user_and_image
from predictor.data.tables import find_table, line_number, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetChoice:
    """One choice of a user: rows of the images shown, of the chosen one and of the worst, as in `choices`."""

    user: int
    shown: tuple[int, ...]
    chosen: int | None
    worst: int | None
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Ratings of images by users. R ratings refer to rows of `users` and `images` by index."""

    name: str
    image_paths: tuple[Path, ...]
    users: pa.Table
    """user_id and any demographic columns."""
    images: pa.Table
    """image_id, file, and optionally prompt and metadata columns."""
    user: NDArray[np.int64]  # (R,)
    image: NDArray[np.int64]  # (R,)
    rating: NDArray[np.float64]  # (R,), 0..1
    split: NDArray[np.str_]  # (R,), one of SPLITS
    training_digests: Mapping[str, str]
    """Name -> digest of the training ratings, of each dataset that was joined into this one."""
    choices: tuple[DatasetChoice, ...] = ()
    joined: tuple[tuple[str, int], ...] = ()
    """Name and number of users of each dataset that was joined into this one, in order; empty: it is a single one."""

    @property
    def dataset_of_user(self) -> NDArray[np.int64]:
        """(U,), the place in `joined` of the dataset that each user is of; zeros of a single one."""
        return np.repeat(np.arange(max(1, len(self.joined))), [n for _, n in self.joined] or [len(self.users)])

    @property
    def user_ids(self) -> list[str]:
        return self.users["user_id"].to_pylist()

    @property
    def prompts(self) -> list[str | None]:
        """The prompt of each image, as its raters saw it; None where there is none."""
        if "prompt" not in self.images.column_names:
            return [None] * len(self.images)
        return self.images["prompt"].to_pylist()

    @property
    def groups(self) -> list[str] | None:
        """What each image belongs to, such as its prompt or the photograph that it is a print of; None: only itself."""
        return groups_of(self.images)

    def rows(self, split: str) -> NDArray[np.intp]:
        """Indices of the ratings of one split."""
        return np.flatnonzero(self.split == split)


def read_dataset(folder: Path, *, seed: int = 0) -> Dataset:
    """Read a dataset folder; ratings without a `split` column are split by `split_by_user_and_image`.

    Images of one group stay together in such splits: of one `group_id`, a column of the images' table, or without that
    of one prompt.

    Choices without a split are for training, but for those of held-out users and images, which go with them.

    Raises
    ------
    ValueError
        A file or column is missing; a rating is out of scale, of an unknown user or image, or given twice;
        a user of an unseen split has ratings in another, or an image of train is also in val_seen or test_seen, whose
        metrics are on unseen images by definition.
    """
    about = read_about(folder)
    low, high = about["rating_min"], about["rating_max"]
    users_file, images_file = find_table(folder, "users"), find_table(folder, "images")
    users = read_table(users_file, required=["user_id"])
    images = read_table(images_file, required=["image_id", "file"])
    people, pictures = _all_of(
        lambda: rows_by_id(users_file, users, "user_id"), lambda: rows_by_id(images_file, images, "image_id")
    )
    chosen_file = find_table(folder, "choices", optional=True)
    found = find_table(folder, "ratings", optional=chosen_file is not None)
    ratings_file = folder / "ratings.csv" if found is None else found
    ratings = _NO_RATINGS if found is None else read_table(found, required=_RATED, numbers=["rating"])
    user, image = _all_of(
        lambda: _index(ratings_file, ratings, "user_id", people),
        lambda: _index(ratings_file, ratings, "image_id", pictures),
    )
    rating, split, _ = _all_of(
        lambda: _scaled(ratings_file, ratings, low, high),
        lambda: _splits(ratings_file, ratings, user, image, groups_of(images), seed),
        lambda: _refuse_repeated(ratings_file, ratings, user, image),
    )
    return Dataset(
        name=str(about["name"]),
        image_paths=tuple(image_paths(images_file, images)),
        users=users,
        images=images,
        user=user,
        image=image,
        rating=rating,
        split=split,
        training_digests={str(about["name"]): _digest(ratings, split == "train")},
        choices=() if chosen_file is None else _choices(chosen_file, people, pictures, _HeldOut.of(user, image, split)),
    )


def read_about(folder: Path) -> Mapping[str, Any]:
    """The content of dataset.yaml; rating_min and rating_max are numbers.

    Raises
    ------
    ValueError
        It is missing or no YAML, lacks the name or the scale, or rating_min is not below rating_max.
    """
    described = folder / "dataset.yaml"
    if not described.is_file():
        raise ValueError(
            f"{folder}: not a dataset folder, dataset.yaml is missing; "
            "see `steer-predictor import` and `steer-predictor simulate`"
        )
    try:
        about: Any = yaml.safe_load(described.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{described}: cannot be read as YAML: {error}") from error
    about = about if isinstance(about, dict) else {}
    missing = [key for key in ("name", "rating_min", "rating_max") if about.get(key) is None]
    if missing:
        raise ValueError(f"{described}: {', '.join(missing)} is missing; give the dataset's name and its rating scale")
    try:
        low, high = float(about["rating_min"]), float(about["rating_max"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{described}: rating_min and rating_max must be numbers: {error}") from error
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(
            f"{described}: rating_min must be below rating_max, and both finite numbers, got {low} and {high}"
        )
    return {**about, "rating_min": low, "rating_max": high}


def join(datasets: Sequence[Dataset]) -> Dataset:
    """Several datasets as one, to train on jointly (paper, section 3.2); a single one is returned as it is.

    Ids are prefixed by the name of their dataset, `name/id`, so that equal ids in two datasets stay different users.

    Raises
    ------
    ValueError
        Two datasets have the same name.
    """
    if len(datasets) == 1:
        return datasets[0]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise ValueError(f"datasets to be joined must have different names, got {', '.join(names)}; see dataset.yaml")
    first_user = np.cumsum([0, *(len(dataset.users) for dataset in datasets)])
    first_image = np.cumsum([0, *(len(dataset.images) for dataset in datasets)])
    return Dataset(
        name=" + ".join(names),
        image_paths=tuple(path for dataset in datasets for path in dataset.image_paths),
        users=_stacked([_prefixed(dataset.users, "user_id", dataset.name) for dataset in datasets]),
        images=_stacked([_prefixed(dataset.images, "image_id", dataset.name) for dataset in datasets]),
        user=np.concatenate([d.user + first for d, first in zip(datasets, first_user, strict=False)]),
        image=np.concatenate([d.image + first for d, first in zip(datasets, first_image, strict=False)]),
        rating=np.concatenate([dataset.rating for dataset in datasets]),
        split=np.concatenate([dataset.split for dataset in datasets]),
        choices=tuple(
            _moved(choice, int(users), int(images))
            for data, users, images in zip(datasets, first_user, first_image, strict=False)
            for choice in data.choices
        ),
        training_digests={name: digest for d in datasets for name, digest in d.training_digests.items()},
        joined=tuple((dataset.name, len(dataset.users)) for dataset in datasets),
    )


def groups_of(images: pa.Table) -> list[str] | None:
    """What each image of an images' table belongs to, by its columns `group_id` and `prompt`; as `groups_of_images`."""
    ids, groups, prompts = (
        images[name].to_pylist() if name in images.column_names else None for name in ("image_id", "group_id", "prompt")
    )
    return groups_of_images(ids or [], groups, prompts)


def image_paths(table_file: Path, images: pa.Table) -> list[Path]:
    """The files that an images' table names, in the folder where the table itself lies.

    Raises
    ------
    ValueError
        A row names no file, or one outside the folder.
    """
    paths = []
    for index, file in enumerate(images["file"].to_pylist()):
        if not file or Path(file).is_absolute() or ".." in Path(file).parts:
            row = line_number(table_file, index)
            raise ValueError(f"{table_file}, row {row}: file must be a path inside the folder, got {file!r}")
        paths.append(table_file.parent / file)
    return paths


def rows_by_id(table_file: Path, table: pa.Table, column: str) -> dict[str, int]:
    """The row of each id in a users' or an images' table.

    Raises
    ------
    ValueError
        An id is empty, or there twice.
    """
    rows: dict[str, int] = {}
    for index, name in enumerate(table[column].to_pylist()):
        if not name:
            row = line_number(table_file, index)
            raise ValueError(f"{table_file}, row {row}: {column} is empty; fill it in or drop the row")
        if name in rows:
            before, row = line_number(table_file, rows[name]), line_number(table_file, index)
            raise ValueError(
                f"{table_file}, row {row}: {column} {name!r} is in row {before} already; ids must be unique"
            )
        rows[name] = index
    return rows


_RATED = ("user_id", "image_id", "rating")
_NO_RATINGS = pa.schema({"user_id": pa.string(), "image_id": pa.string(), "rating": pa.float64()}).empty_table()


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The users and images that training must not see, with the split that they are held out for."""

    users: Mapping[int, str]
    images: Mapping[int, str]

    @classmethod
    def of(cls, user: NDArray[np.int64], image: NDArray[np.int64], split: NDArray[np.str_]) -> "_HeldOut":
        unseen, seen = (np.isin(split, [f"val_{kind}", f"test_{kind}"]) for kind in ("unseen", "seen"))
        return cls(
            users=dict(zip(user[unseen].tolist(), split[unseen].tolist(), strict=True)),
            images=dict(zip(image[seen].tolist(), split[seen].tolist(), strict=True)),
        )

    def split_of(self, user: int, shown: tuple[int, ...]) -> str:
        """That of the user, else of the first image that is held out, else train."""
        held = (self.images[image] for image in shown if image in self.images)
        return self.users.get(user) or next(held, "train")


def _choices(
    file: Path, people: Mapping[str, int], pictures: Mapping[str, int], held_out: _HeldOut
) -> tuple[DatasetChoice, ...]:
    found, faults = [], []
    for row, shown, chosen, worst in resolve_images(
        file, read_choices(file), pictures.get, remedy="add it to the images' table, or drop the choice"
    ):
        user = people.get(row.user, -1)
        belongs_to = held_out.split_of(user, shown)
        split = row.split or belongs_to
        if row.user not in people:
            faults.append(f"row {row.row}: unknown user_id {row.user!r}; add it to its table or drop the choice")
        if split not in SPLITS:
            faults.append(f"row {row.row}: unknown split {split!r}; the splits are {', '.join(SPLITS)}")
        elif split == "train" != belongs_to:
            faults.append(f"row {row.row}: is of train, its user or an image of {belongs_to}; leave the split empty")
        found.append(DatasetChoice(user=user, shown=shown, chosen=chosen, worst=worst, split=split))
    raise_faults(file, faults)
    return tuple(found)


def _moved(choice: DatasetChoice, users: int, images: int) -> DatasetChoice:
    """The choice with its rows so much further down."""
    chosen, worst = (None if row is None else row + images for row in (choice.chosen, choice.worst))
    shown = tuple(row + images for row in choice.shown)
    return replace(choice, user=choice.user + users, shown=shown, chosen=chosen, worst=worst)


def _all_of(*steps: Callable[[], Any]) -> list[Any]:
    """What the steps give; their faults are told together.

    Raises
    ------
    ValueError
        A step raised one.
    """
    results, faults = [], []
    for step in steps:
        try:
            results.append(step())
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return results


def _digest(ratings: pa.Table, chosen: NDArray[np.bool_]) -> str:
    """A digest of user and image of the chosen rows, independent of their order."""
    pairs = zip(ratings["user_id"].to_pylist(), ratings["image_id"].to_pylist(), chosen.tolist(), strict=True)
    chosen_pairs = sorted(f"{user}\t{image}" for user, image, is_chosen in pairs if is_chosen)
    return hashlib.sha256("\n".join(chosen_pairs).encode()).hexdigest()[:16]


def _prefixed(table: pa.Table, column: str, name: str) -> pa.Table:
    ids = pa.array([f"{name}/{value}" for value in table[column].to_pylist()], pa.string())
    return table.set_column(table.column_names.index(column), column, ids)


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables concatenated; a column of numbers here and of something else there becomes text."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    numeric = {pa.int64(), pa.float64(), pa.null()}
    mixed = {name for name, types in kinds.items() if len(types - {pa.null()}) > 1 and not types <= numeric}
    return pa.concat_tables(
        [pa.table({n: _texts(table[n]) if n in mixed else table[n] for n in table.column_names}) for table in tables],
        promote_options="permissive",
    )


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as text; Arrow itself has none for lists and the like."""
    if not pa.types.is_nested(column.type):
        return column.cast(pa.string())
    return pa.chunked_array([[None if value is None else as_text(value) for value in column.to_pylist()]], pa.string())


def _index(file: Path, ratings: pa.Table, column: str, rows: Mapping[str, int]) -> NDArray[np.int64]:
    names = ratings[column].to_pylist()
    for index, name in enumerate(names):
        if name not in rows:
            raise ValueError(
                f"{file}, row {line_number(file, index)}: unknown {column} {name!r}; "
                "add it to its table or drop the rating"
            )
    return np.array([rows[name] for name in names], np.int64)


def _scaled(file: Path, ratings: pa.Table, low: float, high: float) -> NDArray[np.float64]:
    try:
        values = np.array(ratings["rating"].to_pylist(), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: column rating holds {ratings['rating'].type}, no numbers; {error}") from error
    wrong = np.flatnonzero(~((values >= low) & (values <= high)))
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"{file}, row {line_number(file, first)}: rating must be from {low:g} to {high:g}, got {values[first]} "
            f"({len(wrong)} such rows); mend it or the scale in dataset.yaml"
        )
    return (values - low) / (high - low)


def _refuse_repeated(file: Path, ratings: pa.Table, user: NDArray[np.int64], image: NDArray[np.int64]) -> None:
    pair = user * (image.max(initial=0) + 1) + image
    first = np.unique(pair, return_index=True)[1]
    repeated = np.setdiff1d(np.arange(len(pair)), first)
    if len(repeated):
        row = int(repeated[0])
        before = int(np.flatnonzero(pair == pair[row])[0])
        raise ValueError(
            f"{file}, row {line_number(file, row)}: user {ratings['user_id'][row].as_py()!r} rated image "
            f"{ratings['image_id'][row].as_py()!r} already in row {line_number(file, before)} "
            f"({len(repeated)} such rows); keep one"
        )


def _splits(
    file: Path,
    ratings: pa.Table,
    user: NDArray[np.int64],
    image: NDArray[np.int64],
    groups: Sequence[str] | None,
    seed: int,
) -> NDArray[np.str_]:
    if "split" not in ratings.column_names:
        ids: list[str] = ratings["image_id"].to_pylist()
        together = ids if groups is None else [str(groups[number]) for number in image]
        return split_by_user_and_image(ratings["user_id"].to_pylist(), together, seed=seed)
    names = np.array(ratings["split"].to_pylist(), str)
    unknown = np.flatnonzero(~np.isin(names, SPLITS))
    if len(unknown):
        first = int(unknown[0])
        raise ValueError(
            f"{file}, row {line_number(file, first)}: unknown split {str(names[first])!r}; "
            f"the splits are {', '.join(SPLITS)}"
        )
    remedy = "mend the column split, or remove it to have splits made"
    users, images = overlaps(user, image, names)
    if len(users):
        first = int(users[0])
        raise ValueError(
            f"{file}, row {line_number(file, first)}: user {ratings['user_id'][first].as_py()!r} of {names[first]} "
            f"is in another split as well ({len(users)} such rows); {remedy}"
        )
    if len(images):
        first = int(images[0])
        raise ValueError(
            f"{file}, row {line_number(file, first)}: image {ratings['image_id'][first].as_py()!r} of {names[first]} "
            f"is in train as well ({len(images)} such rows); {remedy}"
        )
    return names
