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
