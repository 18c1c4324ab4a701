import signal
import subprocess
import sys
from pathlib import Path

import pytest

from predictor.data.output_folder import holds_something, output_folder

HOLD = """
import sys, time
from pathlib import Path
from predictor.data.output_folder import output_folder
with output_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that is writing to the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_there_while_it_is_written_to_and_keeps_what_was_written(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b") as out:
        (out / "x").write_text("x", "utf-8")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x"]


def test_nothing_is_left_where_nothing_was_written_and_folders_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "there" / "a" / "b"):
        _ = 1 / 0
    with output_folder(tmp_path / "there"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_second_process_is_refused_until_the_first_is_gone_even_if_it_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = holder(folder)
    message = f"--out {folder}: another steer-predictor is writing to it; wait for it, or"
    with pytest.raises(ValueError, match=message), output_folder(folder):
        pass
    first.send_signal(signal.SIGKILL)
    assert first.wait(timeout=10) == -signal.SIGKILL
    assert not holds_something(folder)
    with output_folder(folder):
        (folder / "x").write_text("x", "utf-8")
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_what_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "in it"):
        message = f"--out {out}: cannot be written to: .*; name another folder"
        with pytest.raises(ValueError, match=message), output_folder(out):
            pass


def test_scratch_that_a_killed_process_left_does_not_count(tmp_path: Path) -> None:
    assert not holds_something(tmp_path)
    assert not holds_something(tmp_path / "nowhere")
    (tmp_path / ".training.safetensors").write_bytes(b"torn")
    assert not holds_something(tmp_path)
    (tmp_path / "thesis.txt").write_text("x", "utf-8")
    assert holds_something(tmp_path)
    assert holds_something(tmp_path / "thesis.txt")
