import pytest

from predictor.error_messages import first_line, type_and_last_line


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("a\nb"), "a"), (ValueError("\n  x\ny"), "x"), (KeyError(), "KeyError")]
)
def test_the_first_line_of_an_error_is_its_gist(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError("a\nb\n"), "OSError: b"), (ValueError("x: "), "ValueError: x"), (KeyError(), "KeyError")],
)
def test_the_last_line_of_an_error_follows_its_type(error: Exception, line: str) -> None:
    assert type_and_last_line(error) == line
