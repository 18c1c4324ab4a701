"""Validation of a release: which of its images and ratings become the dataset.

Invariant: every rating that was read is either kept or refused, once, with its place and the reason. The order of the
checks is fixed, so that a rating with several faults is always refused for the same one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from predictor.data.choices import ChoiceRow
from predictor.data.releases.images import image_fault, map_in_threads, stored_paths
from predictor.data.releases.release import Place, Rating, Reason, Release
from predictor.data.splits import SPLITS, groups_of_images, overlaps, split_by_user_and_image


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRating:
    """A valid rating: of a known user and a readable image, within the scale."""

    place: Place
    user_id: str
    image_id: str
    rating: float
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRelease:
    """The valid part of a release; the rest is in the release's `refused`."""

    ratings: list[KeptRating]
    choices: list[ChoiceRow]
    files: Mapping[str, str]
    """Image id -> normalised path in the source, of each readable image."""
    stored: Mapping[str, str]
    """Path in the source -> path in the dataset."""
    splits_made: bool


def validate(release: Release, *, seed: int, progress: Callable[[int, int], None]) -> ValidatedRelease:
    """Check every image and every rating of a release; what is refused goes to `release.refused`."""
    files = _readable_images(release, progress)
    given = any(rating.split is not None for rating in release.ratings)
    first: dict[tuple[str, str], KeptRating] = {}
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
        first[rating.user_id, rating.image_id] = KeptRating(
            place=rating.place, user_id=rating.user_id, image_id=rating.image_id, rating=value, split=rating.split or ""
        )
    kept = list(first.values())
    kept = _without_overlaps(release, kept) if given else _with_splits(release, kept, seed)
    return ValidatedRelease(
        ratings=kept,
        choices=_sound_choices(release, files),
        files=files,
        stored=stored_paths(files.values()),
        splits_made=not given,
    )


def _sound_choices(release: Release, files: Mapping[str, str]) -> list[ChoiceRow]:
    """The choices of known users among readable images; the others are refused."""
    kept = []
    for place, choice in release.choices:
        lost = [name for name in choice.shown if name not in files]
        if choice.user not in release.users.values:
            lost = [choice.user]
        if lost:
            release.refuse(place, Reason.CHOICE_REFUSED, lost[0])
        else:
            kept.append(choice)
    return kept


def _readable_images(release: Release, progress: Callable[[int, int], None]) -> dict[str, str]:
    """The path of each readable image; the others are refused, at the place that names them first."""
    named = {name: _normalised(values["file"]) for name, values in release.images.values.items()}
    distinct = list(dict.fromkeys(named.values()))
    found = map_in_threads(lambda file: image_fault(release.root, file), distinct, progress)
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
    if rating.file is not None and _normalised(rating.file) != files[rating.image_id]:
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
        number = float(value)  # pyrefly: ignore[bad-argument-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _without_overlaps(release: Release, kept: list[KeptRating]) -> list[KeptRating]:
    """Refuse held-out ratings whose user or image is also in training, for which `read_dataset` refuses a dataset."""
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


def _with_splits(release: Release, kept: list[KeptRating], seed: int) -> list[KeptRating]:
    """With seeded splits, in which images that belong together stay together."""
    users, images = [rating.user_id for rating in kept], [rating.image_id for rating in kept]
    about, columns = release.images.values, release.images.columns()
    groups, prompts = (
        [values.get(name) for values in about.values()] if name in columns else None for name in ("group_id", "prompt")
    )
    if (together := groups_of_images(list(about), groups, prompts)) is not None:
        group = dict(zip(about, together, strict=True))
        images = [group[name] for name in images]
    splits = split_by_user_and_image(users, images, seed=seed)
    return [replace(rating, split=str(split)) for rating, split in zip(kept, splits, strict=True)]


def _normalised(file: object) -> str:
    return str(PurePosixPath(str(file)))
