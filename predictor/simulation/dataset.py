"""A dataset of simulated ratings for a folder of images, with the raters' true taste.

The folder has the images and images.csv; this module adds users.csv, ratings.csv and truth.parquet, and last
dataset.yaml, without which it is no dataset. How raters judge is left to `raters`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import yaml
from numpy.typing import NDArray

from predictor.data.dataset import image_paths, rows_by_id
from predictor.data.image_files import read_image
from predictor.data.splits import split_by_image
from predictor.data.tables import find_table, read_table
from predictor.simulation.attributes import measure
from predictor.simulation.raters import RATING_MAX, RATING_MIN, Rater, rate, sample_raters, write_truth
from predictor.threads import thread_map


def simulate(
    folder: Path,
    *,
    raters: int,
    ratings_per_image: int,
    seed: int,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> list[Rater]:
    """Have `raters` simulated people rate the images of `folder`, each image by `ratings_per_image` of them.

    Raises
    ------
    ValueError
        An image cannot be read, fewer raters are asked for than each image needs, or the folder holds people or
        answers that were not simulated.
    """
    _refuse_real_people(folder)
    if not 1 <= ratings_per_image <= raters:
        raise ValueError(f"ratings per image must be from 1 to the number of raters, {raters}; got {ratings_per_image}")
    table = find_table(folder, "images")
    images = read_table(table, required=["image_id", "file"])
    ids, files = list(rows_by_id(table, images, "image_id")), image_paths(table, images)
    if not files:
        raise ValueError(f"{table}: names no image; give at least one row of image_id,file")
    attributes = np.empty((len(files), 7))
    for row, measured in enumerate(thread_map(_attributes, files)):
        attributes[row] = measured
        on_image(row + 1, len(files))
    people = sample_raters(raters, seed)
    rng = np.random.default_rng([seed, 0x4A7E])
    chosen = np.stack([rng.permutation(raters)[:ratings_per_image] for _ in files])  # (I, ratings_per_image)
    splits = split_by_image(np.arange(len(files)), len(files), seed)  # all raters are seen users
    rows: list[dict[str, object]] = []
    for number, person in enumerate(people):
        rated = np.flatnonzero((chosen == number).any(1))
        for image, rating in zip(rated, rate(person, attributes[rated], rng), strict=True):
            split = str(splits[image])
            rows.append({"user_id": person.user_id, "image_id": ids[image], "rating": rating, "split": split})
    write_truth(people, folder / "truth.parquet")
    pa_csv.write_csv(pa.Table.from_pylist(rows), folder / "ratings.csv")
    pa_csv.write_csv(_users(people), folder / "users.csv")
    about = {
        "name": f"simulated-{raters}-raters",
        "rating_min": RATING_MIN,
        "rating_max": RATING_MAX,
        "licence": "none needed: simulated ratings",
        "source": f"steer-predictor simulate --raters {raters} --per-image {ratings_per_image} --seed {seed}",
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False), "utf-8")
    return people


def _attributes(file: Path) -> NDArray[np.float64]:
    return measure(read_image(file))


def _refuse_real_people(folder: Path) -> None:
    """Refuse a folder with real people or their answers; simulated ones are replaced."""
    if (folder / "truth.parquet").is_file():
        return
    for stem in ("ratings", "choices", "users"):
        if (file := find_table(folder, stem, optional=True)) is not None:
            raise ValueError(f"{file}: was not simulated, and would be lost; copy the images to a folder of their own")


def _users(people: Sequence[Rater]) -> pa.Table:
    columns = ("user_id", "age", "gender", "nationality")
    return pa.Table.from_pylist([{name: getattr(person, name) for name in columns} for person in people])
