"""A folder of people as predictor."""

from pathlib import Path

import pytest

from pipelines.live.people.folder import PeopleFolder, read_people
from pipelines.planning.people_folder import is_people_folder, people_checkpoint
from predictor.checkpoint import checkpoint_users
from predictor.predictor import PamelaPredictor
from tests.pipelines.live.test_reencoding import somebody


def test_whoever_has_answered_is_a_user_of_the_checkpoint_that_is_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    somebody(tmp_path / "people", checkpoint)
    PeopleFolder(tmp_path / "people").add("Bob", checkpoint, "another")
    told: list[str] = []

    made = people_checkpoint(tmp_path / "people", told.append)

    before, after = (checkpoint_users(folder)["user_id"].to_pylist() for folder in (checkpoint, made))
    assert after == [*before, "Ada"]
    assert PamelaPredictor.from_pretrained(made).person("Ada").taste is not None
    assert people_checkpoint(tmp_path / "people", told.append) == made
    assert len(told) == 1


def test_a_folder_in_which_nobody_has_answered_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    PeopleFolder(tmp_path).add("Bob", checkpoint, "another")

    with pytest.raises(ValueError, match="nobody in it has answered a question yet"):
        people_checkpoint(tmp_path, print)


def test_people_of_different_checkpoints_are_not_mixed(checkpoint: Path, tmp_path: Path) -> None:
    people = PeopleFolder(tmp_path)
    people.add("Ada", checkpoint, "one")
    people.add("Bob", checkpoint / "other", "two")

    with pytest.raises(ValueError, match="seen by different checkpoints"):
        people_checkpoint(tmp_path, print)


def test_a_checkpoint_is_no_folder_of_people(checkpoint: Path, tmp_path: Path) -> None:
    assert not is_people_folder(checkpoint)
    assert not is_people_folder(tmp_path / "not there")


def test_nothing_of_somebody_who_is_deleted_stays_in_the_cache(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    somebody(tmp_path / "people", checkpoint)
    made = people_checkpoint(tmp_path / "people", print)
    people = PeopleFolder(tmp_path / "people")
    (ada,) = (person for person in read_people(tmp_path / "people") if person.name == "Ada")
    assert "Ada" in checkpoint_users(made)["user_id"].to_pylist()

    people.delete(ada)

    assert not made.exists()
    assert all(b"Ada" not in file.read_bytes() for file in (tmp_path / "cache" / "people").rglob("*") if file.is_file())


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_checkpoint_that_was_not_copied_whole_is_made_anew(
    lost: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    somebody(tmp_path / "people", checkpoint)
    made = people_checkpoint(tmp_path / "people", print)
    (made / lost).unlink()
    (made.parent / f".{made.name}.killed").mkdir()

    assert people_checkpoint(tmp_path / "people", print) == made

    assert PamelaPredictor.from_pretrained(made).person("Ada").taste is not None
    assert sorted(path.name for path in made.parent.iterdir()) == [made.name]
