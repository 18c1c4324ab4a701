"""A folder of people as `--predictor`: the checkpoint that saw their pictures, with all of them enrolled.

`steer-live` keeps people as dataset folders beside a person.json, which names that checkpoint. The one with the people
in it is made anew whenever somebody has answered more, and kept in the cache until somebody wants to be forgotten.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.checkpoint import checkpoint_fingerprint, checkpoint_folder, is_whole
from predictor.data.folders import new_folder, remove_unfinished, waiting_for_lock
from predictor.encoders.cache import cache_folder

if TYPE_CHECKING:
    from predictor.enrolment import AnsweredImages

    _Person = tuple[str, AnsweredImages, dict[str, str]]
    """Name, answers and demographics."""


def is_people_folder(path: str | Path) -> bool:
    """Whether people are kept in this folder."""
    return next(Path(path).glob("*/person.json"), None) is not None


def people_checkpoint(folder: Path, announce: Callable[[str], None]) -> Path:
    """The folder of a checkpoint that knows everybody of a people folder who has answered something.

    Raises
    ------
    ValueError
        A person.json does not read, people were seen by different checkpoints or one that is gone, or nobody has
        answered anything.
    """
    from predictor.enrolment import read_person

    home = _home(folder)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with waiting_for_lock(home, ".lock"):
        base, answered = _answered(folder)
        place = home / _digest(base, answered)
        if is_whole(place):
            return place
        remove_unfinished(place)
        announce(f"Enrolling {len(answered)} of {folder} in {base}")
        people: list[_Person] = []
        while place.name != (digest := _digest(base, answered)) or not people:  # somebody answers as they are read
            place = home / digest
            people = [(person.name, *read_person(person, person.name)) for person in answered]
        _enrol(people, base, place)
    return place


def forget_people_checkpoints(folder: Path) -> None:
    """Remove from the cache what was made of this people folder, as somebody in it wants to be forgotten."""
    if (home := _home(folder)).is_dir():
        with waiting_for_lock(home, ".lock"):
            for made in home.glob("*/"):
                shutil.rmtree(made)


def _home(folder: Path) -> Path:
    return cache_folder() / "people" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _answered(folder: Path) -> tuple[Path, list[Path]]:
    """The checkpoint that saw everybody's pictures, and the folders of those who have answered something."""
    people = [file.parent for file in sorted(folder.glob("*/person.json"))]
    bases = {described_person(person)["checkpoint"] for person in people}
    if len(bases) > 1:
        raise ValueError(
            f"--predictor {folder}: its people were seen by different checkpoints, {' and '.join(sorted(bases))}; "
            "keep those of each in a folder of their own"
        )
    answered = [person for person in people if (person / "choices.parquet").is_file() and _has_rows(person)]
    if not answered:
        raise ValueError(f"--predictor {folder}: nobody in it has answered a question yet; begin by steer-live")
    return checkpoint_folder(bases.pop()), answered


def _digest(base: Path, people: Sequence[Path]) -> str:
    digest = hashlib.sha256(checkpoint_fingerprint(base).encode())
    for person in people:
        digest.update(person.name.encode() + (person / "choices.parquet").read_bytes())
    return digest.hexdigest()[:16]


def described_person(folder: Path) -> dict[str, str]:
    """What person.json says of somebody: name, key, checkpoint, and predictor, the fingerprint of that.

    Raises
    ------
    ValueError
        It does not read, or lacks something.
    """
    file = folder / "person.json"
    try:
        about = json.loads(file.read_text("utf-8"))
        return {name: str(about[name]) for name in ("name", "key", "checkpoint", "predictor")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: does not describe a person: {error!r}; mend it or remove its folder") from error


def _enrol(people: "Sequence[_Person]", base: Path, place: Path) -> None:
    """Make a checkpoint that knows these people, too."""
    from predictor.enrolment import enroll
    from predictor.predictor import PamelaPredictor

    predictor = PamelaPredictor.from_pretrained(base)
    for name, images, demographics in people:
        predictor = enroll(predictor, name, images, demographics=demographics)
    with new_folder(place) as scratch:
        predictor.save_pretrained(scratch)
        if (base / "truth.parquet").is_file():
            (scratch / "truth.parquet").write_bytes((base / "truth.parquet").read_bytes())


def _has_rows(person: Path) -> bool:
    import pyarrow.parquet as pq

    return pq.ParquetFile(person / "choices.parquet").metadata.num_rows > 0
