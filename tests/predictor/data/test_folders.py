import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from predictor.data.folders import (
    FolderLock,
    FolderLockedError,
    FolderTakenError,
    new_folder,
    replacing,
    waiting_for_lock,
)
from predictor.data.folders import write_atomically as write

HOLD = """
import sys, time
from pathlib import Path
from predictor.data.folders import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_locked_folder_is_refused_to_everybody_else_until_it_is_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(FolderLockedError, match=f"{tmp_path}: is locked"):
        FolderLock(tmp_path)
    FolderLock(tmp_path, ".another").release()
    lock.release()
    FolderLock(tmp_path).release()
    assert names(tmp_path) == [".another", ".lock"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(FolderLockedError):
            FolderLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
    FolderLock(tmp_path).release()


def test_a_lock_file_that_its_owner_removed_meanwhile_locks_nothing(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    first.release(remove=True)
    assert names(tmp_path) == []
    second = FolderLock(tmp_path)
    with pytest.raises(FolderLockedError):
        FolderLock(tmp_path)
    second.release(remove=True)


def test_who_waits_for_a_lock_says_so_once_and_gets_it(tmp_path: Path) -> None:
    held = FolderLock(tmp_path, ".made.lock")
    waits: list[str] = []

    def wait() -> None:
        with waiting_for_lock(tmp_path, ".made.lock", on_wait=lambda: waits.append("waits")):
            waits.append("has it")

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(1.2)  # more than one attempt
    assert waits == ["waits"]
    held.release()
    waiting.join(10)
    assert waits == ["waits", "has it"]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["ein Füchslein ☃\n", b"\x00\xff"])
def test_a_file_is_replaced_by_text_or_bytes(tmp_path: Path, content: str | bytes) -> None:
    write(tmp_path / "file", "before, and longer than what follows")
    write(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_file_as_it_was_and_no_scratch(tmp_path: Path) -> None:
    write(tmp_path / "file", "before")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as scratch:
        scratch.write_text("half of what")
        _ = 1 / 0
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_scratch_that_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as scratch:
        scratch.write_text("x")
        left = scratch
    left.write_text("torn, and longer than what follows")
    write(tmp_path / "file", "whole")
    assert (names(tmp_path), (tmp_path / "file").read_text()) == (["file"], "whole")


def test_a_new_folder_is_not_there_before_it_is_whole_and_has_the_usual_rights(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as scratch:
        (scratch / "x").write_text("x")
        assert not out.exists()
    assert names(out) == ["x"]
    assert names(out.parent) == ["out"]
    umask = os.umask(0)
    os.umask(umask)
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_new_folder_whose_filling_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as scratch:
        (scratch / "x").write_text("x")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_of_two_who_make_the_same_folder_at_once_the_slower_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FolderTakenError, match=f"{out}: is there already"), new_folder(out) as slower:
        (slower / "x").write_text("slower")
        with new_folder(out) as faster:
            (faster / "x").write_text("faster")
    assert (names(tmp_path), (out / "x").read_text()) == (["out"], "faster")


def test_an_empty_folder_may_become_the_new_one_and_nothing_else_may(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as scratch:
        (scratch / "x").write_text("x")
    assert names(tmp_path / "empty") == ["x"]
    for taken in (tmp_path / "empty", tmp_path / "empty" / "x"):
        with pytest.raises(FolderTakenError, match=f"{taken}: is there already"), new_folder(taken):
            pass
    with pytest.raises(OSError, match="File exists"), new_folder(tmp_path / "empty" / "x" / "in it"):
        pass
