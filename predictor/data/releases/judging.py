"""Which ratings of a release belong into a dataset. Whatever does not is refused, with its place and the reason.

Every rating that was read is either kept or refused, once. The order of the tests is fixed, so that
a rating with several faults is always refused for the same one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from predictor.data.releases.pictures import fault, side_by_side, stored_as
from predictor.data.releases.release import Place, Rating, Reason, Release
from predictor.data.splits import SPLITS, overlaps, split_by_user_and_image


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A rating of the dataset: of a known user and image, within the scale."""

    place: Place
    user_id: str
    image_id: str
    rating: float
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a release contributes to the dataset; all else is in its `refused`."""

    ratings: list[Kept]
    files: Mapping[str, str]
    """Of each sound image: file in the source, with its path made plain."""
    stored: Mapping[str, str]
    """File in the source -> file in the dataset."""
    splits_made: bool


def judge(release: Release, *, seed: int, progress: Callable[[int, int], None]) -> Judged:
    """Look at every image and every rating of a release."""
    files = _sound_images(release, progress)
    given = any(rating.split is not None for rating in release.ratings)
    first: dict[tuple[str, str], Kept] = {}
    for rating in release.ratings:
        value = _number(rating.value)
        refused = _fault(release, rating, value, files, given)
        earlier = first.get((rating.user_id, rating.image_id))
        if refused is None and earlier is not None:
            same = "the same" if earlier.rating == value else f"{earlier.rating:g}"
            refused = Reason.RATED_TWICE, f"{value:g}, kept is {same} of {earlier.place}"
        if refused is not None:
            release.refuse(rating.place, *refused)
            continue
        assert value is not None
        first[rating.user_id, rating.image_id] = Kept(
            place=rating.place, user_id=rating.user_id, image_id=rating.image_id, rating=value, split=rating.split or ""
        )
    kept = list(first.values())
    kept = _without_overlaps(release, kept) if given else _with_splits(kept, seed)
    return Judged(ratings=kept, files=files, stored=stored_as(files.values()), splits_made=not given)


def _sound_images(release: Release, progress: Callable[[int, int], None]) -> dict[str, str]:
    """The file of each image that can be read; the others are refused, at the place that names them first."""
    named = {name: _plain_path(values["file"]) for name, values in release.images.values.items()}
    distinct = list(dict.fromkeys(named.values()))
    found = side_by_side(lambda file: fault(release.root, file), distinct, progress)
    faults = {file: wrong for file, wrong in zip(distinct, found, strict=True) if wrong is not None}
    for name, file in named.items():
        if file in faults:
            release.refuse(release.images.places[name], *faults[file])
    return {name: file for name, file in named.items() if file not in faults}


def _fault(
    release: Release, rating: Rating, value: float | None, files: Mapping[str, str], given: bool
) -> tuple[Reason, str] | None:
    if given and rating.split not in SPLITS:
        return Reason.UNKNOWN_SPLIT, f"{rating.split!r}; the splits are {', '.join(SPLITS)}"
    if rating.user_id not in release.users.values:
        return Reason.UNKNOWN_USER, rating.user_id
    if rating.image_id not in release.images.values:
        return Reason.UNKNOWN_IMAGE, rating.image_id
    if rating.image_id not in files:
        return Reason.IMAGE_REFUSED, rating.image_id
    if rating.file is not None and _plain_path(rating.file) != files[rating.image_id]:
        return Reason.OTHER_FILE, f"{rating.image_id}: {rating.file}, first {files[rating.image_id]}"
    if value is None:
        return Reason.NOT_A_NUMBER, repr(rating.value)[:80]
    if not release.rating_min <= value <= release.rating_max:
        return Reason.OUT_OF_SCALE, f"{value:g} is not from {release.rating_min:g} to {release.rating_max:g}"
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python would take 1_0 for ten
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _without_overlaps(release: Release, kept: list[Kept]) -> list[Kept]:
    """Released splits without the held-out ratings that training knows: `read_dataset` would refuse the whole."""
    users = {name: number for number, name in enumerate(release.users.values)}
    images = {name: number for number, name in enumerate(release.images.values)}
    shared_users, shared_images = overlaps(
        np.array([users[rating.user_id] for rating in kept], np.int64),
        np.array([images[rating.image_id] for rating in kept], np.int64),
        np.array([rating.split for rating in kept], str),
    )
    out = {int(row): (Reason.USER_SHARED, f"{kept[row].user_id} of {kept[row].split}") for row in shared_users}
    out |= {int(row): (Reason.IMAGE_SHARED, f"{kept[row].image_id} of {kept[row].split}") for row in shared_images}
    for row, refused in sorted(out.items()):
        release.refuse(kept[row].place, *refused)
    return [rating for row, rating in enumerate(kept) if row not in out]


def _with_splits(kept: list[Kept], seed: int) -> list[Kept]:
    users, images = [rating.user_id for rating in kept], [rating.image_id for rating in kept]
    splits = split_by_user_and_image(users, images, seed=seed)
    return [replace(rating, split=str(split)) for rating, split in zip(kept, splits, strict=True)]


def _plain_path(file: object) -> str:
    return str(PurePosixPath(str(file)))
