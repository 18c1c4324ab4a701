import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.records.run_folder import FolderError, RunFolder, check_free, is_run, read_about

ABOUT: dict[str, Any] = {
    "reproducibility_key": {"seed": 0},
    "settings": {},
    "users": [],
    "prompts": [{"text": "ein Füchslein ☃"}],
}


def test_a_new_run_takes_a_folder_that_is_new_or_empty_and_describes_itself_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "new" / "deep", tmp_path / "empty"):
        check_free(path)
        folder = RunFolder.create(path, ABOUT)

        assert is_run(path)
        assert read_about(path) == ABOUT
        assert folder.journal == path / "journal.jsonl"
        folder.images.write("abcd", b"png")
        assert (path / "images" / "ab" / "abcd.png").read_bytes() == b"png"
        folder.release()


def test_a_folder_that_holds_another_run_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", ABOUT).release()

    with pytest.raises(ValueError, match=r"--out .*run: holds another run; continue it with --resume"):
        RunFolder.create(tmp_path / "run", ABOUT | {"users": ["other"]})

    assert read_about(tmp_path / "run") == ABOUT


def test_a_folder_that_holds_anything_else_or_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ValueError, match=r"--out .*: is not empty"):
        RunFolder.create(tmp_path, ABOUT)
    with pytest.raises(ValueError, match=r"--out .*: is a file; name a folder"):
        RunFolder.create(tmp_path / "thesis.txt", ABOUT)
    with pytest.raises(ValueError, match=r"--out .*: cannot be written: .*; name another folder"):
        RunFolder.create(tmp_path / "thesis.txt" / "run", ABOUT)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_no_run_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--resume: .* holds no run \(run\.json is missing\)"):
        RunFolder.open(tmp_path / "gone")
    with pytest.raises(ValueError, match="holds no run"):
        RunFolder.open(tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"settings"', "{}", '{"reproducibility_key": {}}', "\xff"])
def test_a_description_that_does_not_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, "latin-1")

    with pytest.raises(ValueError, match=r"run\.json: does not read as a run's description"):
        RunFolder.open(tmp_path)


def test_a_run_of_an_earlier_version_is_refused_plainly(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"decisive": {}, "settings": {}, "users": [], "prompts": []}')

    with pytest.raises(ValueError, match=r"--resume .*: an earlier version of steer-batch started this run; resume it"):
        RunFolder.open(tmp_path)


def test_a_run_that_is_opened_again_goes_on_with_what_it_was_started_with(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ABOUT).release()

    folder = RunFolder.open(tmp_path)
    folder.about["finished"] = "now"
    folder.save()
    folder.release()

    assert read_about(tmp_path) == ABOUT | {"finished": "now"}


def test_other_settings_than_the_run_was_started_with_are_refused_by_name(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, ABOUT | {"reproducibility_key": {"seed": 0, "protocol": {"patience": 2}}})

    folder.check_same({"seed": 0, "protocol": {"patience": 2}})
    with pytest.raises(ValueError, match=r"seed was 0, is 1|protocol\.patience was 2, is 3") as refused:
        folder.check_same({"seed": 1, "protocol": {"patience": 3}})

    assert "protocol.patience was 2, is 3; seed was 0, is 1" in str(refused.value)
    folder.release()


HOLD = """
import subprocess, sys
from pathlib import Path
from pipelines.records.run_folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]))
subprocess.Popen(["sleep", "5"], stdout=subprocess.DEVNULL)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_is_at_is_refused_until_that_process_lets_go(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ABOUT).release()

    with running(HOLD, tmp_path) as holder:
        with pytest.raises(ValueError, match="another steer-batch is at this run; wait for it"):
            RunFolder.open(tmp_path)
        holder.communicate()

        RunFolder.open(tmp_path).release()


def test_the_lock_of_a_process_that_was_killed_is_free_even_while_its_children_live(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ABOUT).release()

    with running(HOLD, tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        RunFolder.open(tmp_path).release()


def test_a_folder_that_is_held_in_the_same_process_is_refused_as_well(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, ABOUT)

    with pytest.raises(ValueError, match="another steer-batch is at this run"):
        RunFolder.open(tmp_path)

    folder.release()
    RunFolder.open(tmp_path).release()


SAVE_FOREVER = """
import sys
from pathlib import Path
from pipelines.records.run_folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]))
print("held", flush=True)
while True:
    folder.about["users"] = ["x" * 1000] * (1000 - len(folder.about["users"]))
    folder.save()
"""


def test_the_description_is_readable_at_every_moment_of_a_run_and_after_it_was_killed(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, ABOUT).release()

    with running(SAVE_FOREVER, tmp_path) as writer:
        sizes = {0}
        while sizes == {0}:
            sizes.add(len(read_about(tmp_path)["users"]))
        sizes |= {len(read_about(tmp_path)["users"]) for _ in range(300)}
        assert writer.poll() is None
        writer.kill()
        writer.wait()

    assert sizes == {0, 1000}
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["reproducibility_key"] == ABOUT["reproducibility_key"]
    RunFolder.open(tmp_path).release()


@contextmanager
def running(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has said that it holds the folder."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("place", ["file/run", "file/deeper/run"])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_begins(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FolderError, match="cannot be written: Not a directory; name another folder"):
        check_free(tmp_path / place)


def test_the_true_taste_is_there_before_the_run_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = tmp_path / "truth.parquet"
    truth.write_bytes(b"taste")

    def die(_: RunFolder) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "save", die)
    with pytest.raises(FolderError, match="No space left"):
        RunFolder.create(tmp_path / "run", {}, truth)
    assert (tmp_path / "run" / "truth.parquet").read_bytes() == b"taste"
    check_free(tmp_path / "run")  # it is no run yet, and can become one
