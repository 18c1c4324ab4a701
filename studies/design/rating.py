"""The trials of a rating study (paper, B.1): one image each, handed out while it runs.

Which participant sees which image is decided when they come (see `studies.store`): those that lack ratings most go
first. Here the images are taken in, and some are set aside for practice.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from predictor.data.dataset import image_paths, read_about, rows_by_id
from predictor.data.image_files import IMAGE_SUFFIXES, entries, is_image
from predictor.data.tables import find_table, read_table
from predictor.error_messages import readable
from studies.study import PRACTICE, RATED, Item, Trial
from studies.wording import ANCHORS


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToRate:
    """An image that is to be rated."""

    image_id: str
    file: Path
    prompt: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingDesign:
    """Trials and items of a rating study that is being made, with each item's file."""

    trials: list[Trial]
    items: dict[str, Item]
    files: dict[str, Path]


def read_images(folder: Path) -> list[ImageToRate]:
    """The images of a dataset folder (images.csv|parquet, whose metadata is kept), or all in a plain folder.

    Raises
    ------
    ValueError
        There is no such folder, it holds no images, or an id is there twice.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name a folder of images or a dataset folder")
    if find_table(folder, "images", optional=True) is not None:
        return _of_dataset(folder)
    files = [path for path in entries(folder, deep=True) if is_image(path)]
    if not files:
        raise ValueError(f"{folder}: holds no images; known endings are {', '.join(sorted(IMAGE_SUFFIXES))}")
    return [ImageToRate(image_id=readable(f.relative_to(folder)), file=f, prompt="", metadata={}) for f in files]


def left_out(folder: Path) -> list[str]:
    """The files of a plain folder that `read_images` takes for no images, by their names."""
    if find_table(folder, "images", optional=True) is not None:
        return []
    return [readable(path.relative_to(folder)) for path in entries(folder, deep=True) if not is_image(path)]


def sample_of(images: Sequence[ImageToRate], count: int, seed: int | None = None) -> list[ImageToRate]:
    """So many of the images, drawn by chance, in their order; the same seed draws the same.

    Raises
    ------
    ValueError
        There are fewer, or none are asked for.
    """
    if count < 1:
        raise ValueError(f"--sample must be at least 1, got {count}")
    if count > len(images):
        raise ValueError(f"--sample {count}: there are {len(images)} images; lower it, or leave it out for all of them")
    rng = SystemRandom() if seed is None else Random(f"{seed}/sample")
    return [images[number] for number in sorted(rng.sample(range(len(images)), count))]


def design_rating(images: Sequence[ImageToRate], *, practice: int, seed: int, attention: int = 0) -> RatingDesign:
    """Make a trial of each image, but for some that are set aside for practice and for `attention` attention checks.

    Raises
    ------
    ValueError
        So few images are there that practice would leave none.
    """
    if max(practice, attention > 0) >= len(images):
        raise ValueError(
            f"{practice} practice trials need more than {practice} images, there are {len(images)}; lower --practice"
        )
    rng = Random(f"{seed}/design")
    items: dict[str, Item] = {}
    files: dict[str, Path] = {}
    trials: list[Trial] = []
    aside = rng.sample(range(len(images)), max(practice, attention > 0))
    for number, image in enumerate(images):
        if number in aside[practice:]:
            continue
        kind = "practice" if number in aside else "trial"
        item = _item(image, PRACTICE if kind == "practice" else RATED)
        items[item.item_id], files[item.item_id] = item, image.file
        trials.append(_trial(image, item, kind, None))
    for number in range(attention):
        image = images[aside[number % len(aside)]]
        item = _item(image, PRACTICE)
        items[item.item_id], files[item.item_id] = item, image.file
        trials.append(_trial(image, item, "attention", (ANCHORS[0], ANCHORS[-1])[number % 2]))
    return RatingDesign(trials=trials, items=items, files=files)


def _item(image: ImageToRate, condition: str) -> Item:
    return Item(
        item_id=secrets.token_hex(16),
        prompt_id=image.image_id,
        image=image.image_id,
        condition=condition,
        user=None,
        metadata=image.metadata,
    )


def _trial(image: ImageToRate, item: Item, kind: Any, expected: str | None) -> Trial:
    return Trial(
        trial_id=secrets.token_hex(8),
        block=1 if kind == "trial" else 0,
        prompt_id=image.image_id,
        prompt=image.prompt,
        image=item.item_id,
        kind=kind,
        expected=expected,
    )


def _of_dataset(folder: Path) -> list[ImageToRate]:
    if (folder / "dataset.yaml").is_file():
        read_about(folder)
    table_file = find_table(folder, "images")
    table = read_table(table_file, required=["image_id", "file"])
    rows_by_id(table_file, table, "image_id")
    return [
        ImageToRate(
            image_id=str(row.pop("image_id")),
            file=file,
            prompt=str(row.pop("prompt", None) or ""),
            metadata={name: value for name, value in row.items() if name != "file" and value is not None},
        )
        for row, file in zip(table.to_pylist(), image_paths(table_file, table), strict=True)
    ]
