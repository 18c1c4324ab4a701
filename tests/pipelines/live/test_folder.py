"""Where people are kept: whoever is deleted is gone, and stays so."""

from contextlib import closing
from pathlib import Path

import pytest

from pipelines.live.people.folder import PeopleFolder
from pipelines.records.image_store import ImageStore

PNG = b"a picture"


def test_a_picture_that_is_drawn_after_its_person_was_deleted_is_not_kept(tmp_path: Path) -> None:
    with closing(PeopleFolder(tmp_path)) as people:
        ada = people.add("Ada", tmp_path / "checkpoint", "fingerprint")
        run = ada.runs / "coffee"
        run.mkdir(parents=True)
        images = ImageStore(run)
        images.write("aa1", PNG)

        people.delete(ada)
        for key in ("aa2", "bb1"):
            with pytest.raises(FileNotFoundError):
                images.write(key, PNG)

    assert not ada.path.exists()
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.name != ".lock"] == []


def test_what_a_deletion_that_was_killed_has_left_is_gone_at_the_next_start(tmp_path: Path) -> None:
    with closing(PeopleFolder(tmp_path)) as people:
        ada = people.add("Ada", tmp_path / "checkpoint", "fingerprint")
    left = tmp_path / ".deleted" / "0123"
    left.parent.mkdir()
    ada.path.rename(left)

    with closing(PeopleFolder(tmp_path)) as people:
        assert people.names == []
    assert not left.exists()


def test_a_name_is_free_again_where_a_process_was_killed_while_it_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(PeopleFolder(tmp_path)) as people:
        with monkeypatch.context() as killed:
            killed.setattr("pipelines.live.people.folder.write_atomically", _killed)
            with pytest.raises(KeyboardInterrupt):
                people.add("Ada", tmp_path / "checkpoint", "fingerprint")

        ada = people.add("Ada", tmp_path / "checkpoint", "fingerprint")

    assert ada.path.stat().st_mode & 0o777 == 0o700
    assert (ada.path / "person.json").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".Ada*"))


def test_a_folder_that_does_not_read_is_left_to_others(tmp_path: Path) -> None:
    with closing(PeopleFolder(tmp_path)) as people:
        ada = people.add("Ada", tmp_path / "checkpoint", "fingerprint")
    described = (ada.path / "person.json").read_text()
    (ada.path / "person.json").write_text(described[:20])
    with pytest.raises(ValueError, match="does not describe a person"):
        PeopleFolder(tmp_path)

    (ada.path / "person.json").write_text(described)
    with closing(PeopleFolder(tmp_path)) as people:
        assert people.names == ["Ada"]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
