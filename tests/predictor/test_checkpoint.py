import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from predictor.checkpoint import FILES, checkpoint_fingerprint, checkpoint_folder, checkpoint_users


def test_a_whole_checkpoint_folder_is_found_by_its_path(saved: Path) -> None:
    assert checkpoint_folder(saved) == checkpoint_folder(str(saved)) == saved


@pytest.mark.parametrize("path", ["/nowhere/at/all", "nowhere", "./no/where/near", "nowhere/", "./nowhere"])
def test_a_folder_that_is_not_there_is_an_error_that_says_how_to_make_one(path: str) -> None:
    with pytest.raises(ValueError, match=f"{path}: no such checkpoint folder; make one by `steer-predictor train`"):
        checkpoint_folder(path)


def test_a_hub_id_that_cannot_be_had_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match="nobody/nothing: neither a folder nor in the hub's cache, and the hub is out of reach"
    ) as error:
        checkpoint_folder("nobody/nothing")
    assert "\n" not in str(error.value)


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"not a whole checkpoint, {', '.join(FILES)} is missing"):
        checkpoint_folder(tmp_path)


def test_the_fingerprint_follows_what_decides_scores_and_not_the_place(checkpoint: Path, tmp_path: Path) -> None:
    before = checkpoint_fingerprint(checkpoint)
    assert checkpoint_fingerprint(Path(shutil.copytree(checkpoint, tmp_path / "moved"))) == before
    (checkpoint / "README.md").write_text("another card", "utf-8")
    (checkpoint / "metrics.json").write_text("{}", "utf-8")
    assert checkpoint_fingerprint(checkpoint) == before
    seen = {before}
    for name in ("config.json", "model.safetensors", "users.parquet"):
        with (checkpoint / name).open("ab") as file:
            file.write(b" ")
        seen.add(checkpoint_fingerprint(checkpoint))
    assert len(seen) == 4


def test_users_come_with_their_demographics_and_without_their_profiles(saved: Path) -> None:
    users = checkpoint_users(saved)
    assert users.column_names == ["user_id", "age", "gender", "nationality"]
    assert users["user_id"].to_pylist() == [f"u0{number}" for number in range(1, 7)]
    assert {"profile", "n_ratings"} <= set(pq.read_table(saved / "users.parquet").column_names)


def test_what_no_hub_would_call_a_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"my models/one: neither a folder nor a hub id \(owner/name\)"):
        checkpoint_folder("my models/one")
