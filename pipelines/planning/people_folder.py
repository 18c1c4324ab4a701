"""A folder of people as `--predictor`: the checkpoint that saw their pictures, with all of them enrolled.

`steer-live` keeps people as dataset folders beside a person.json, which names that checkpoint. The one with the people
in it is made anew whenever somebody has answered more, and kept in the cache.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from predictor.checkpoint import checkpoint_fingerprint, checkpoint_folder
from predictor.data.folders import new_folder, waiting_for_lock
from predictor.encoders.cache import cache_folder


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
    people = [file.parent for file in sorted(folder.glob("*/person.json"))]
    bases = {described_person(person)["checkpoint"] for person in people}
    if len(bases) > 1:
        raise ValueError(
            f"--predictor {folder}: its people were seen by different checkpoints, {' and '.join(sorted(bases))}; "
            "keep those of each in a folder of their own"
        )
    base = checkpoint_folder(bases.pop())
    answered = [person for person in people if (person / "choices.parquet").is_file() and _has_rows(person)]
    if not answered:
        raise ValueError(f"--predictor {folder}: nobody in it has answered a question yet; begin by steer-live")
    digest = hashlib.sha256(checkpoint_fingerprint(base).encode())
    for person in answered:
        digest.update(person.name.encode() + (person / "choices.parquet").read_bytes())
    place = cache_folder() / "people" / digest.hexdigest()[:16]
    if (place / "config.json").is_file():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with waiting_for_lock(place.parent, f".{place.name}.lock"):
        if not place.is_dir():  # nobody has made it meanwhile
            announce(f"Enrolling {len(answered)} of {folder} in {base}")
            _enrol(answered, base, place)
    return place


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


def _enrol(people: Sequence[Path], base: Path, place: Path) -> None:
    """Make a checkpoint that knows these people, too."""
    from predictor.enrolment import enroll, read_person
    from predictor.predictor import PamelaPredictor

    predictor = PamelaPredictor.from_pretrained(base)
    for person in people:
        images, demographics = read_person(person, person.name)
        predictor = enroll(predictor, person.name, images, demographics=demographics)
    with new_folder(place) as scratch:
        predictor.save_pretrained(scratch)
        if (base / "truth.parquet").is_file():
            (scratch / "truth.parquet").write_bytes((base / "truth.parquet").read_bytes())


def _has_rows(person: Path) -> bool:
    import pyarrow.parquet as pq

    return pq.ParquetFile(person / "choices.parquet").metadata.num_rows > 0
