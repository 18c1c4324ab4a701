"""A person whose pictures another predictor encoded: this one encodes them again, and their answers stand.

What was seen of a picture means something to one predictor alone, and so does its id. The pictures are on the disk, so
that after a predictor was trained again nobody has to be asked again.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from actors.scorers.pamela import taste_features_of
from pipelines.live.people.answers import PersonAnswer, ShownPicture, pictures_of, written
from pipelines.live.people.folder import PersonFolder
from predictor.data.folders import write_atomically
from predictor.data.image_files import read_image

if TYPE_CHECKING:
    from predictor.predictor import PamelaPredictor


def reencode_pictures(
    person: PersonFolder, predictor: "PamelaPredictor", *, checkpoint: Path, fingerprint: str
) -> PersonFolder:
    """The person's folder, its answers and tables rewritten as this predictor sees the pictures.

    Raises
    ------
    ValueError
        The answers do not read, or a picture is missing.
    """
    log = person.log()
    answers = log.answers
    log.close()
    pictures = list(pictures_of(answers).values())
    if pictures:
        answers = _renamed(answers, _seen(person, pictures, predictor))
        write_atomically(person.path / "answers.jsonl", written(answers))
        person.write_choices(answers)
    file = person.path / "person.json"
    about = json.loads(file.read_text("utf-8")) | {"checkpoint": str(checkpoint), "predictor": fingerprint}
    write_atomically(file, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    file.chmod(0o600)
    return replace(person, predictor=fingerprint)


def _seen(person: PersonFolder, pictures: list[ShownPicture], predictor: "PamelaPredictor") -> dict[str, ShownPicture]:
    """By the former id of each picture."""
    images = [read_image(person.path / picture.file) for picture in pictures]
    known = predictor.categories
    metadata = [{name: value for name, value in each.metadata.items() if name in known} for each in pictures]
    encoded = predictor.encode(images, prompts=[picture.prompt for picture in pictures], metadata=metadata)
    seen = taste_features_of(predictor, encoded)
    return {old.seen.id: replace(old, seen=new) for old, new in zip(pictures, seen, strict=True)}


def _renamed(answers: list[PersonAnswer], seen: dict[str, ShownPicture]) -> list[PersonAnswer]:
    def name(old: str | None) -> str | None:
        return None if old is None else seen[old].seen.id

    return [
        replace(
            answer,
            shown=tuple(seen[old].seen.id for old in answer.shown),
            chosen=name(answer.chosen),
            worst=name(answer.worst),
            pictures=tuple(seen[picture.seen.id] for picture in answer.pictures),
        )
        for answer in answers
    ]
