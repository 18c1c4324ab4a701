"""A console script called in the test's process, which saves seconds of imports each time."""

import contextlib
import io
import subprocess
from collections.abc import Callable
from unittest.mock import patch

import pytest


def call(main: Callable[[], None], name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What a process of the script would have said and ended with."""
    typed, out, errors = [name, *map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        patch.dict("os.environ", {"NO_COLOR": "1", "TERM": "dumb"}),
        patch("sys.argv", typed),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as left,
    ):
        main()
    status = left.value.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(typed, status, out.getvalue(), errors.getvalue())
