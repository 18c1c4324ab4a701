import io

import pytest
from rich.console import Console

from predictor.progress import StageProgress, stderr_console


def written(terminal: bool, *steps: tuple[str, int, int]) -> str:
    text = io.StringIO()
    with StageProgress(Console(file=text, force_terminal=terminal, width=100, highlight=False)) as advance:
        for step in steps:
            advance(*step)
    return text.getvalue()


def test_a_log_gets_one_line_for_each_finished_stage() -> None:
    steps = [("looking", 1, 2), ("looking", 2, 2), ("training", 1, 3), ("training", 3, 3)]
    assert written(False, *steps) == "looking: 2/2\ntraining: 3/3\n"


def test_a_terminal_gets_bars() -> None:
    shown = written(True, ("looking", 1, 2), ("looking", 2, 2))
    assert "looking" in shown
    assert "2/2" in shown
    assert "\x1b[" in shown


def test_nothing_is_written_where_nothing_happens() -> None:
    assert written(False) == ""


def test_an_error_within_a_stage_goes_on_its_way() -> None:
    with pytest.raises(ValueError, match="broken"), StageProgress(Console(file=io.StringIO())):
        raise ValueError("broken")


def test_progress_never_mixes_with_results(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(stderr_console()) as advance:
        advance("looking", 1, 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "looking: 1/1\n"


def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    stderr_console().print("a cat \x1b[31mred\x07, \u202etac a two\nlines", markup=False)

    assert capsys.readouterr().err == "a cat \\u001b[31mred\\u0007, \\u202etac a two\nlines\n"
