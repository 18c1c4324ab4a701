"""What finished runs offer for comparison: by prompt, the initial image, one by generic scorer, one by user.

Runs meet where they started from the very same image: only then does a comparison between them tell of the steering.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from predictor.data.tables import read_table
from studies.study import INITIAL, STEERED

ENDED = frozenset({"iterations", "patience", "chosen"})
"""Stop reasons in run folders of searches that came to their end."""

NOBODY = "*"
"""The user of a trajectory whose scorer knows no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image of a run, under the condition that it came about."""

    key: str
    """The image's key in its run: equal keys are equal pixels."""
    file: Path
    condition: str
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptImages:
    """One prompt, steered once for each user and by each generic scorer, all from one initial image."""

    prompt_id: str
    prompt: str
    initial: Picture
    generic: tuple[Picture, ...]
    steered: Mapping[str, Picture]
    """By user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeredImages:
    """All images of the runs that can be compared."""

    prompts: tuple[PromptImages, ...]
    spare: Mapping[str, Sequence[Picture]]
    """By prompt: images that were rendered on the way and kept by nobody, for practice."""
    unfinished: int = 0
    """Trajectories that did not reach their end and are left out."""
    further_passes: int = 0
    """Images by generic scorers in passes in which nothing was steered for users; left out."""

    @property
    def users(self) -> list[str]:
        return sorted({user for entry in self.prompts for user in entry.steered})

    @property
    def generic(self) -> list[str]:
        return sorted({picture.condition for entry in self.prompts for picture in entry.generic})


@dataclass(slots=True)
class _Base:
    """What was steered from one initial image, before it is put in order."""

    prompt: str
    prompt_id: str
    initial: Picture
    by_user: dict[str, list[Picture]] = field(default_factory=lambda: defaultdict(list))
    by_scorer: dict[str, list[Picture]] = field(default_factory=lambda: defaultdict(list))


def read_steered_images(folders: Sequence[Path]) -> SteeredImages:
    """Read run folders of `steer-batch`.

    Raises
    ------
    ValueError
        A folder holds no run or no finished trajectory, more than one scorer steered for users, or an image is missing.
    """
    twice = [folder for n, folder in enumerate(folders) if folder.resolve() in {f.resolve() for f in folders[:n]}]
    if twice:
        raise ValueError(f"{twice[0]}: is named twice; every vote on it would count double")
    bases: dict[tuple[str, str], _Base] = {}
    spare: dict[str, dict[str, Picture]] = defaultdict(dict)
    unfinished, personal, used = 0, Counter[str](), set[str]()
    for folder in folders:
        rows = _trajectories(folder)
        done = [row for row in rows if row["stop_reason"] in ENDED]
        if not done:
            command = shlex.join(["steer-batch", "--resume", "--out", str(folder)])
            raise ValueError(f"{folder}: holds no finished trajectory; finish it by `{command}`")
        unfinished += len(rows) - len(done)
        for row in done:
            key = (row["initial_prompt"], row["initial_image"])
            base = bases.get(key)
            if base is None:
                initial = Picture(key=key[1], file=image_file(folder, key[1]), condition=INITIAL)
                base = bases[key] = _Base(key[0], _free_id(row["prompt_id"], bases.values()), initial)
            user = None if row["user"] == NOBODY else row["user"]
            condition = row["scorer"] if user is None else STEERED
            image = row["final_image"]
            picture = Picture(key=image, file=image_file(folder, image), condition=condition, user=user)
            (base.by_scorer[condition] if user is None else base.by_user[user]).append(picture)
            personal[row["scorer"]] += user is not None
            used |= {key[1], image}
        _gather_spare(folder, spare)
    scorers = sorted(+personal)
    if len(scorers) > 1:
        raise ValueError(
            f"more than one scorer steered for users ({', '.join(scorers)}), so that `own` would mean two things; "
            "make a study for each"
        )
    passes = {key: _passes(base) for key, base in bases.items()}
    return SteeredImages(
        prompts=tuple(entry for made in passes.values() for entry in made),
        spare={p: [picture for key, picture in found.items() if key not in used] for p, found in spare.items()},
        unfinished=unfinished,
        further_passes=sum(
            max(0, len(found) - len(passes[key])) for key, base in bases.items() for found in base.by_scorer.values()
        ),
    )


def _passes(base: _Base) -> list[PromptImages]:
    """One entry for each independent pass; generic images come again where they have fewer passes."""
    users = sorted(base.by_user)
    passes = list(zip_longest(*(base.by_user[user] for user in users))) or [()] * max(
        map(len, base.by_scorer.values()), default=0
    )
    return [
        PromptImages(
            prompt_id=base.prompt_id,
            prompt=base.prompt,
            initial=base.initial,
            generic=tuple(found[number % len(found)] for _, found in sorted(base.by_scorer.items())),
            steered={user: picture for user, picture in zip(users, steered, strict=False) if picture is not None},
        )
        for number, steered in enumerate(passes)
    ]


def _free_id(wanted: str, bases: Any) -> str:
    taken = {base.prompt_id for base in bases}
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _trajectories(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder}: not a run folder, run.json is missing; name a folder that steer-batch wrote")
    needed = ["user", "prompt_id", "run", "scorer", "initial_prompt", "initial_image", "final_image", "stop_reason"]
    rows = read_table(folder / "trajectories.parquet", required=needed).to_pylist()
    return sorted(rows, key=lambda row: row["run"])  # passes in order; equal runs keep theirs


def _gather_spare(folder: Path, spare: dict[str, dict[str, Picture]]) -> None:
    """Up to some images of each prompt: enough to practise on."""
    if not (folder / "candidates.parquet").is_file():
        return
    base_prompt: dict[str, str] = {}
    for row in read_table(folder / "candidates.parquet", required=["trajectory_id", "prompt", "image"]).to_pylist():
        base = base_prompt.setdefault(row["trajectory_id"], row["prompt"])
        image = row["image"]
        if image is None or row["best"] or len(spare[base]) >= 50 or not _path(folder, image).is_file():
            continue
        spare[base].setdefault(image, Picture(key=image, file=_path(folder, image), condition="practice"))


def _path(folder: Path, key: str) -> Path:
    return folder / "images" / key[:2] / f"{key}.png"


def image_file(folder: Path, key: str) -> Path:
    """The file of an image that the records of a run name.

    Raises
    ------
    ValueError
        It is not there.
    """
    path = _path(folder, key)
    if not path.is_file():
        raise ValueError(f"{path}: the run's records name this image, but it is not there; bring the images along")
    return path
