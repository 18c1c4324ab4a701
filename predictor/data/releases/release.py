"""The content of a release before validation: ratings, users and images, each with its place in the source."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from predictor.data.choices import ChoiceRow


class Reason(StrEnum):
    """Why something of a release is not in the dataset; the value is the text of the report."""

    FILE_UNREADABLE = "file unreadable from here on"
    NOT_A_RECORD = "not a record"
    FIELD_MISSING = "field missing"
    NOT_A_NUMBER = "rating is not a number"
    OUT_OF_SCALE = "rating out of scale"
    UNKNOWN_USER = "unknown user"
    UNKNOWN_IMAGE = "unknown image"
    UNKNOWN_SPLIT = "unknown split"
    USER_TWICE = "user is there twice"
    IMAGE_TWICE = "image is there twice"
    OTHER_FILE = "image has another file elsewhere"
    PATH_OUTSIDE = "path leaves the source folder"
    IMAGE_MISSING = "image missing"
    IMAGE_CORRUPT = "image corrupt"
    IMAGE_REFUSED = "rating of a refused image"
    CHOICE_REFUSED = "choice of an unknown or refused image or user"
    RATED_TWICE = "rated twice"
    USER_SHARED = "unseen user is in another split"
    IMAGE_SHARED = "held-out image is in train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the source: file, line if the file has lines, record; numbers start at 1."""

    file: str
    line: int | None = None
    record: int | None = None

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line is not None else ""
        record = f", record {self.record}" if self.record is not None and self.line is None else ""
        return f"{self.file}{line}{record}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something of the release that is not imported."""

    place: Place
    reason: Reason
    detail: str

    def as_dict(self) -> dict[str, object]:
        place = {"file": self.place.file, "line": self.place.line, "record": self.place.record}
        return {**place, "reason": self.reason.value, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One person's rating of one image as it was read; `value` may be anything."""

    place: Place
    user_id: str
    image_id: str
    value: object
    split: str | None = None
    file: str | None = None
    """The image's file, relative to the source, if the record names one."""


class Metadata:
    """The metadata of a release's users, or of its images, collected from records that may repeat it.

    The first record of an id counts. Where a later one differs, the id is kept by column in `differing`: of a user that
    is an error in the release, of an image the column may belong to its raters instead.
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.places: dict[str, Place] = {}
        self.differing: dict[str, set[str]] = {}

    def add(self, name: str, values: Mapping[str, Any], place: Place) -> None:
        known = self.values.get(name)
        if known is None:
            self.values[name], self.places[name] = dict(values), place
        elif known != values:
            for column in known.keys() | values.keys():
                if known.get(column) != values.get(column):
                    self.differing.setdefault(column, set()).add(name)

    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for values in self.values.values() for column in values))


@dataclass(slots=True, kw_only=True)
class Release:
    """A layout's ratings, users and images, filled by its reader."""

    name: str
    rating_min: float
    rating_max: float
    licence: str
    source: str
    root: Path
    """Folder that paths of files are relative to."""
    means_by: tuple[str, ...] = ()
    """Image columns by which the report groups mean ratings, to be compared with published ones."""
    users: Metadata = field(default_factory=Metadata)
    images: Metadata = field(default_factory=Metadata)
    """Values hold `file`, relative to the root, beside the metadata."""
    ratings: list[Rating] = field(default_factory=list)
    choices: list[tuple[Place, ChoiceRow]] = field(default_factory=list)
    """Rows of a table of choices, sound in themselves; images are named by their ids."""
    read: Counter[str] = field(default_factory=Counter)
    """Records of ratings by split ("" where the layout has none), also those that the reader refused."""
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, place: Place, reason: Reason, detail: str) -> None:
        self.refused.append(Refusal(place=place, reason=reason, detail=detail))

    def has_fields(self, place: Place, record: Mapping[str, Any], fields: Iterable[str]) -> bool:
        """Whether a record has all these fields; if not, it is refused."""
        absent = [name for name in fields if clean(record.get(name)) is None]
        if absent:
            self.refuse(place, Reason.FIELD_MISSING, ", ".join(absent))
        return not absent


def clean(value: object) -> Any:
    """A cell as the dataset keeps it: None if it is missing, text without blanks around it, 31 for 31.0."""
    if isinstance(value, str):
        text = value.strip()
        if not text.isascii():  # JSON can hold halves of characters, which no table can
            text = text.encode("utf-8", "replace").decode("utf-8")
        return None if text.lower() in ("", "nan") else text
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return clean(json.dumps(value, ensure_ascii=False, default=str)) if isinstance(value, dict | list) else value


def renamed(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The record's values under the dataset's column names, without columns that the record lacks."""
    return {name: clean(record[column]) for column, name in names.items() if column in record}


def column_name(released: str) -> str:
    """A released column's name in snake case: photography_experience for `photographyExperience`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", released)
    name = re.sub(r"\W+", "_", words).strip("_").lower() or "unnamed"
    return f"{name}_released" if name in ("user_id", "image_id", "file") else name


def layout_root(source: Path, name: str, expected: Iterable[str]) -> Path:
    """The folder that holds one of the expected files: the source, or the folder `name` in it.

    Raises
    ------
    ValueError
        The source is no folder, or none of the files is there.
    """
    expected = list(expected)
    if source.suffix.lower() == ".zip" and source.is_file():
        raise ValueError(f"{source}: is an archive; unzip it first, and name the folder")
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; name the unzipped release")
    for root in (source, source / name):
        if any((root / file).is_file() for file in expected):
            return root
    others = f" (or another of {len(expected)} such files)" if len(expected) > 1 else ""
    raise ValueError(f"{source}: not the {name} layout, {expected[0]} is not there{others}; name the unzipped release")
