import pytest

from predictor.error_messages import first_line


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("a\nb"), "a"), (ValueError("\n  x\ny"), "x"), (KeyError(), "KeyError")]
)
def test_the_first_line_of_an_error_is_its_gist(error: Exception, line: str) -> None:
    assert first_line(error) == line
