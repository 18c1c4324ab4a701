"""The study folder: study.json, trials.parquet, items.parquet and assets, as one value.

`items.parquet` is the key that tells which image stands for which condition. It is read by the analysis and by the
researcher's page, and nothing of it is ever sent to a participant: they get assets, whose names are random.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from predictor.data.tables import read_table
from predictor.error_messages import first_fault
from studies.elo.inference.stopping import MOST_LOOKS
from studies.wording import ANCHORS, TITLE

Kind = Literal["pairs", "rating"]
STEERED = "steered"
INITIAL = "initial"
PRACTICE = "practice"
RATED = "rated"
MOST_REPEATS = 1 / 3
"""Repeats come from the first third of a block, again in its last."""

_ITEM_ID = re.compile(r"[0-9a-f]{32}")
_METADATA = "metadata."
"""What comes before the name of a dataset's own column in items.parquet, so that none can take the place of the key."""

_TRIALS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("block", pa.int32()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("left", pa.string()),
        ("right", pa.string()),
        ("image", pa.string()),
        ("kind", pa.string()),
        ("user", pa.string()),
        ("expected", pa.string()),
    ]
)
_ITEM_COLUMNS = ("item_id", "prompt_id", "image", "condition", "user")


class StudySettings(BaseModel):
    """study.json: what was decided when the study was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    title: str = Field(default=TITLE, min_length=1)
    question: str = Field(min_length=1)
    anchors: tuple[str, str, str, str, str] = ANCHORS
    """Rating studies: what stands below the slider, from the worst to the best."""
    notice: str
    """Where the images come from; every participant reads it before they agree."""
    about: str = ""
    """The researcher's own words for the consent page; paragraphs are parted by blank lines."""
    contact: str = ""
    seed: int = Field(ge=0)
    """Of blocks, orders and sides. Secret: whoever knows it can tell conditions from the order of subjects."""
    block: int = Field(default=40, ge=1)
    """Trials between two breaks, repeats and attention checks not counted."""
    repeats: float = Field(default=0.1, ge=0, le=MOST_REPEATS)
    """Share of a block's trials that come a second time (test–retest)."""
    attention: int = Field(default=1, ge=0)
    """Attention checks in each block."""
    practice: int = Field(default=3, ge=0)
    tie: bool = False
    show_prompt: bool = False
    blocks_each: int = Field(default=1, ge=1)
    """Blocks that a participant takes who is nobody in particular."""
    looks: int | None = Field(default=None, ge=1, le=MOST_LOOKS)
    """At how many looks the analysis may say that there is a best; fixed before the first vote."""
    images_each: int | None = Field(default=None, ge=1)
    """Rating studies: how many images one participant is asked to rate."""
    ratings_per_image: int | None = Field(default=None, ge=1)
    adaptive: bool = False
    """Rating studies: each participant is asked what should tell most about their taste."""
    invitation_days: int = Field(default=90, ge=1)
    """How long an invitation lets its holder in."""
    session_days: int = Field(default=30, ge=1)
    """How long a device stays signed in; the same invitation signs it in again."""
    completion_code: str
    completion_url: str | None = Field(default=None, pattern=r"^https?://")
    widths: tuple[int, ...] = ()
    """In which widths in pixels each image is there for browsers, beside the whole one."""
    sources: tuple[str, ...] = ()
    left_out: Mapping[str, int] = {}
    """What was not made into a trial, and how often."""
    created: str = ""

    @classmethod
    def checked(cls, told: Mapping[str, Any]) -> "StudySettings":
        """From untyped values.

        Raises
        ------
        ValueError
            A value is missing, unknown or out of range; names it in one line.
        """
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            raise ValueError(first_fault(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An image as it stands in the study, under one condition."""

    item_id: str
    """Random, and the name of its asset."""
    prompt_id: str
    image: str
    """The image's key in its run, or its image_id in a dataset."""
    condition: str
    user: str | None
    """For whom it was steered."""
    metadata: Mapping[str, Any]

    def condition_for(self, voter: str | None) -> str:
        """`own`, `other`, `initial`, or the generic scorer's name, as seen from the voter."""
        if self.condition != STEERED:
            return self.condition
        return "own" if voter is not None and voter == self.user else "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One question: which of two images, or how much one is liked."""

    trial_id: str
    block: int
    """0 for practice and attention checks, which every participant meets."""
    prompt_id: str
    prompt: str
    left: str | None = None
    right: str | None = None
    image: str | None = None
    """Item ids: of two images, or of one."""
    kind: Literal["trial", "practice", "attention"] = "trial"
    user: str | None = None
    """Whose block it is; None: anybody's."""
    expected: str | None = None
    """Attention checks: what the participant is asked to answer (left, right; bad, excellent)."""

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(item for item in (self.left, self.right, self.image) if item is not None)


@dataclass(frozen=True)
class Study:
    """A study as it lies on the disk; its votes are the store's."""

    folder: Path
    settings: StudySettings
    trials: Mapping[str, Trial]
    items: Mapping[str, Item]

    @cached_property
    def blocks(self) -> Mapping[int, Sequence[Trial]]:
        """The trials of each block, in the order of the file."""
        blocks: dict[int, list[Trial]] = defaultdict(list)
        for trial in self.trials.values():
            if trial.kind == "trial":
                blocks[trial.block].append(trial)
        return blocks

    @cached_property
    def _blocks_by_user(self) -> Mapping[str | None, Sequence[int]]:
        blocks: dict[str | None, list[int]] = defaultdict(list)
        for number, trials in self.blocks.items():
            blocks[trials[0].user].append(number)
        return blocks

    def blocks_of(self, user: str | None) -> Sequence[int]:
        """The blocks that were made for a user (None: for anybody), in order."""
        return self._blocks_by_user.get(user, ())

    def blocks_expected(self, user: str | None) -> int:
        """How many blocks a participant takes, as far as there is something left to ask."""
        settings = self.settings
        if settings.kind == "rating":
            return -(-(settings.images_each or len(self.of_kind("trial"))) // settings.block)
        if self.steered_for(user):
            return len(self.blocks_of(user))
        return min(settings.blocks_each, len(self.blocks_of(None)))

    @cached_property
    def fingerprint(self) -> str:
        """Tells this study from others, and nothing else of it."""
        told = f"{self.settings.created}/{self.settings.completion_code}/{next(iter(self.items), '')}"
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    @cached_property
    def _by_kind(self) -> Mapping[str, list[Trial]]:
        kinds: dict[str, list[Trial]] = defaultdict(list)
        for trial in self.trials.values():
            kinds[trial.kind].append(trial)
        return dict(kinds)

    def of_kind(self, kind: str) -> list[Trial]:
        """The trials of a kind (trial, practice, attention), in the order of the file."""
        return self._by_kind.get(kind, [])

    @cached_property
    def users(self) -> list[str]:
        """Users who have blocks of their own, in order."""
        return sorted(self._users)

    @cached_property
    def _users(self) -> frozenset[str]:
        return frozenset(user for user in self._blocks_by_user if user is not None)

    @property
    def generic(self) -> list[str]:
        """The conditions that were steered by scorers who know no user, in order."""
        return sorted({item.condition for item in self.items.values()} - {INITIAL, STEERED, PRACTICE, RATED})

    def steered_for(self, user: str | None) -> bool:
        """Whether blocks were made for this user."""
        return user in self._users

    def asset(self, item_id: str) -> Path:
        return self.folder / "assets" / f"{item_id}.png"

    def screen(self, item_id: str, width: int) -> Path:
        """The image in one of the widths of the settings."""
        return self.folder / "screens" / str(width) / f"{item_id}.webp"

    def files(self) -> Iterator[Path]:
        """All image files that the study needs to be served."""
        for item in self.items:
            yield self.asset(item)
            yield from (self.screen(item, width) for width in self.settings.widths)

    @property
    def database(self) -> Path:
        return self.folder / "votes.sqlite"


def read_study(folder: Path) -> Study:
    """Read a study folder.

    Raises
    ------
    ValueError
        It is no study folder, or one of its files does not read.
    """
    described = folder / "study.json"
    if not described.is_file():
        raise ValueError(
            f"{folder}: not a study folder, study.json is missing; make one by `steer-study pairs` or `rating`"
        )
    try:
        settings = StudySettings.checked(json.loads(described.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{described}: {error}") from error
    names = [field.name for field in fields(Trial)]
    rows = read_table(folder / "trials.parquet", required=names).to_pylist()
    trials = [Trial(**{name: row[name] for name in names}) for row in rows]
    rows = read_table(folder / "items.parquet", required=_ITEM_COLUMNS).to_pylist()
    items = [
        Item(
            **{name: row[name] for name in _ITEM_COLUMNS},
            metadata={
                k.removeprefix(_METADATA): v for k, v in row.items() if k.startswith(_METADATA) and v is not None
            },
        )
        for row in rows
    ]
    if wrong := [item.item_id for item in items if not _ITEM_ID.fullmatch(str(item.item_id))]:
        raise ValueError(f"{folder / 'items.parquet'}: {wrong[0]!r} is no item_id; they are 32 hexadecimal digits")
    known = {item.item_id for item in items}
    if lost := [name for trial in trials for name in trial.items if name not in known]:
        raise ValueError(f"{folder / 'trials.parquet'}: {lost[0]!r} is not in items.parquet; make the study anew")
    return Study(
        folder=folder,
        settings=settings,
        trials={trial.trial_id: trial for trial in trials},
        items={item.item_id: item for item in items},
    )


def write_study(study: Study) -> None:
    """Write all but the assets and votes; study.json last, so that a folder without it is not yet a study."""
    rows = [{name: getattr(trial, name) for name in _TRIALS.names} for trial in study.trials.values()]
    pq.write_table(pa.Table.from_pylist(rows, _TRIALS), study.folder / "trials.parquet")
    pq.write_table(_items_table(list(study.items.values())), study.folder / "items.parquet")
    described = json.dumps(study.settings.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (study.folder / "study.json").write_text(described + "\n", "utf-8")


def _items_table(items: Sequence[Item]) -> pa.Table:
    more = dict.fromkeys(name for item in items for name in item.metadata)
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(item, name) for item in items], pa.string()) for name in _ITEM_COLUMNS
    }
    for name in more:
        values = [item.metadata.get(name) for item in items]
        mixed = len({type(value) for value in values if value is not None}) > 1
        columns[f"{_METADATA}{name}"] = pa.array([None if v is None else str(v) for v in values] if mixed else values)
    return pa.table(columns)
