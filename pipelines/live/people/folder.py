"""people/NAME: what is kept of one person, and how they are found again.

    person.json       name, key, and the predictor that saw their pictures
    answers.jsonl     every answer, as it was given (`answers`); all else follows from it
    choices.parquet   the same as a table (with images, users and dataset.yaml: a dataset folder)
    images/           the pictures of the questions that they were asked
    runs/             a run folder for each prompt
    study/            the blind comparison

Whoever has the key gets in as this person. It lies in their folder, beside everything that it opens.
"""

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.live.people.answers import AnswerLog, PersonAnswer, pictures_of
from pipelines.planning.people_folder import described_person, forget_people_checkpoints
from pipelines.records.run_folder import timestamp
from predictor.data.folders import FolderLock, FolderLockedError, new_folder, replacing, write_atomically
from predictor.people.user_name import check_name

_DELETED = ".deleted"
"""Folder of what is being deleted, which nobody reads."""
_NAME = re.compile(r"\w[\w .'-]{0,39}")
_CHOICES = pa.schema(
    {"user_id": pa.string(), "shown": pa.list_(pa.string()), "chosen": pa.string(), "worst": pa.string()}
)
_IMAGES = pa.schema({"image_id": pa.string(), "file": pa.string(), "prompt": pa.string()})


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFolder:
    """One person's folder."""

    path: Path
    name: str
    key: str
    """The secret by which they are known."""
    predictor: str
    """Fingerprint of the checkpoint that saw their pictures."""

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def study(self) -> Path:
        return self.path / "study"

    def log(self) -> AnswerLog:
        return AnswerLog(self.path / "answers.jsonl")

    def keep_image(self, image_id: str, source: Path) -> str:
        """Copy a picture here, where it is not yet; returns its file from this folder."""
        target = self.path / "images" / f"{image_id}.png"
        if not target.is_file():
            target.parent.mkdir(exist_ok=True)
            with replacing(target) as path:
                shutil.copyfile(source, path)
        return f"images/{image_id}.png"

    def write_choices(self, answers: Sequence[PersonAnswer]) -> None:
        """images.parquet and choices.parquet, as the answers stand; in this order, for whoever reads in between."""
        pictures = pictures_of(answers)
        images = [
            {**picture.metadata, "image_id": name, "file": picture.file, "prompt": picture.prompt}
            for name, picture in pictures.items()
        ]
        found = sorted({name for picture in pictures.values() for name in picture.metadata} - {*_IMAGES.names})
        schema = pa.schema([*_IMAGES, *(pa.field(name, pa.string()) for name in found)])
        with replacing(self.path / "images.parquet") as path:
            pq.write_table(pa.Table.from_pylist(images, schema), path)
        with replacing(self.path / "choices.parquet") as path:
            pq.write_table(pa.Table.from_pylist(choices_of(self.name, answers), _CHOICES), path)


def choices_of(name: str, answers: Sequence[PersonAnswer]) -> list[dict[str, object]]:
    """Rows of choices.parquet. Where nothing of several was liked, each of them was not."""
    rows: list[dict[str, object]] = []
    for answer in answers:
        if not answer.is_evidence:
            continue
        said = {"user_id": name, "chosen": answer.chosen, "worst": answer.worst}
        if answer.dislikes_all:
            rows += [{**said, "shown": [image]} for image in answer.shown]
        else:
            rows.append({**said, "shown": list(answer.shown)})
    return rows


class PeopleFolder:
    """The folder of all people, kept by name and found by key. One process has it at a time."""

    def __init__(self, path: Path) -> None:
        """
        Raises
        ------
        ValueError
            It cannot be written, another process has it, or somebody's person.json does not read.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(path)
        except FolderLockedError:
            raise ValueError(
                f"--people {path}: another steer-live is at it; open that one's link, or name another folder"
            ) from None
        except OSError as error:
            raise ValueError(f"--people {path}: cannot be written: {error.strerror}; name another folder") from error
        self.path = path
        if (path / _DELETED).is_dir():  # of a process that was killed while it deleted somebody
            self._empty_trash()
        self._turn = Lock()
        try:
            self._by_hash = {_hash(person.key): person for person in read_people(path)}
        except ValueError:
            self._lock.release()
            raise

    @property
    def names(self) -> list[str]:
        return sorted(person.name for person in self._by_hash.values())

    def of_key(self, key: str) -> PersonFolder | None:
        """Whose key this is."""
        return self._by_hash.get(_hash(key))

    def add(self, name: str, checkpoint: Path, predictor: str, taken: Sequence[str] = ()) -> PersonFolder:
        """A folder for somebody new, whose pictures a checkpoint sees, of this fingerprint.

        Raises
        ------
        ValueError
            The name is not one, or is taken here or by somebody whom the predictor knows.
        """
        name = " ".join(name.split())
        if not _NAME.fullmatch(name):
            raise ValueError("A name has letters, digits, spaces, dots, dashes or apostrophes, and at most 40 of them.")
        check_name(name)
        with self._turn:
            folded = {other.casefold() for other in (*self.names, *taken)}
            if name.casefold() in folded or (self.path / name).exists():
                raise ValueError("This name is taken. If it is yours, open your own link; otherwise choose another.")
            person = PersonFolder(path=self.path / name, name=name, key=secrets.token_urlsafe(24), predictor=predictor)
            with new_folder(person.path) as scratch:  # a process that is killed here leaves the name free
                scratch.chmod(0o700)
                _fill(replace(person, path=scratch), checkpoint)
            self._by_hash[_hash(person.key)] = person
        return person

    def close(self) -> None:
        """Let others have the folder."""
        self._lock.release()

    def delete(self, person: PersonFolder) -> None:
        """Delete all that is known of somebody, here and in the cache; from now on their key opens nothing."""
        with self._turn:
            self._by_hash.pop(_hash(person.key), None)
            trash = self.path / _DELETED / secrets.token_hex(8)
            trash.parent.mkdir(exist_ok=True)
            person.path.rename(trash)  # what is still being made for them finds no place any more
        self._empty_trash()

    def _empty_trash(self) -> None:
        """What a killed process left of this is done at the next start."""
        forget_people_checkpoints(self.path)
        shutil.rmtree(self.path / _DELETED, ignore_errors=True)


def _fill(person: PersonFolder, checkpoint: Path) -> None:
    """Write the files of somebody who has answered nothing yet."""
    dataset = {"name": person.name, "rating_min": 0, "rating_max": 1, "licence": "none given", "source": "steer-live"}
    (person.path / "dataset.yaml").write_text(yaml.safe_dump(dataset, sort_keys=False), "utf-8")
    pq.write_table(pa.table({"user_id": [person.name]}), person.path / "users.parquet")
    person.write_choices(())
    described = {
        "name": person.name,
        "key": person.key,
        "checkpoint": str(checkpoint),
        "predictor": person.predictor,
        "created": timestamp(),
    }
    write_atomically(person.path / "person.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    (person.path / "person.json").chmod(0o600)


def read_people(path: Path) -> list[PersonFolder]:
    """Everybody who has a folder.

    Raises
    ------
    ValueError
        A person.json does not read.
    """
    people = []
    for file in sorted(path.glob("*/person.json")):
        about = described_person(file.parent)
        people.append(
            PersonFolder(path=file.parent, name=about["name"], key=about["key"], predictor=about["predictor"])
        )
    return people


def person_named(path: Path, name: str) -> PersonFolder:
    """Somebody who has a folder, by their name, whatever its case.

    Raises
    ------
    ValueError
        Nobody has this name, or a person.json does not read.
    """
    people = read_people(path)
    for person in people:
        if person.name.casefold() == " ".join(name.split()).casefold():
            return person
    there = ", ".join(person.name for person in people) or "nobody"
    raise ValueError(f"--link {name}: nobody of this name is in {path}; there is {there}")


def _hash(key: str) -> str:
    """So that looking a key up takes no longer the more of it was guessed."""
    return hashlib.sha256(key.encode()).hexdigest()
