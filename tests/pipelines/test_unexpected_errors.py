"""What nobody has foreseen: one line on the screen, and the whole traceback in a file."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import run
from pipelines.cli import app
from pipelines.planning import request
from pipelines.records.run_folder import RunFolder
from pipelines.records.run_log import RunLog


def fails(*_: object, **__: object) -> None:
    raise ZeroDivisionError("of a kind\nthat nobody has foreseen")


def test_an_unexpected_error_in_a_run_is_one_line_and_its_traceback_is_in_the_run_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def start(*arguments: object, **__: object) -> None:
        log = next(argument for argument in arguments if isinstance(argument, RunLog))
        with log:
            folder = RunFolder.create(out, {})
            log.open(folder.path)
            folder.release()
            fails()

    monkeypatch.setattr(request, "plan_run", lambda *_: None)
    monkeypatch.setattr(run, "start_or_continue", start)

    ended = CliRunner().invoke(app, ["--users", "all", "--prompts", "none.txt", "--out", str(out)])

    assert ended.exit_code == 1
    said = " ".join(ended.stderr.split())
    assert said.startswith("steer-batch: unexpected error: ZeroDivisionError: that nobody has foreseen; its traceback")
    assert "Traceback" not in ended.output
    text = (out / "run.log").read_text("utf-8")
    assert "Traceback (most recent call last):\n" in text
    assert text.endswith("ZeroDivisionError: of a kind\nthat nobody has foreseen\n")


def test_an_unexpected_error_before_there_is_a_folder_leaves_its_traceback_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "plan_run", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    ended = CliRunner().invoke(app, ["--users", "all", "--prompts", "none.txt", "--out", str(tmp_path / "run")])

    assert ended.exit_code == 1
    assert "Traceback" not in ended.output
    (file,) = tmp_path.glob("steer-batch-*.log")
    assert file.name in "".join(ended.stderr.split())
    assert file.read_text("utf-8").endswith("ZeroDivisionError: of a kind\nthat nobody has foreseen\n")
    assert not (tmp_path / "run").exists()
