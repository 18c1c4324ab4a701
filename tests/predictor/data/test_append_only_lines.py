"""Files of lines that only grow: what was appended stays, what was torn goes."""

import resource
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from predictor.data.folders import AppendOnlyLines


@pytest.mark.parametrize("torn", [b"", b"x", b"x" * 200_000])
def test_a_torn_last_line_is_dropped_and_the_file_goes_on_behind_the_whole_ones(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + torn)

    file = AppendOnlyLines(path)
    file.append(b"two\n")
    file.close()

    assert path.read_bytes() == b"one\ntwo\n"


def test_lines_of_several_threads_are_whole(tmp_path: Path) -> None:
    file = AppendOnlyLines(tmp_path / "lines")
    lines = [str(number).encode() * 500 + b"\n" for number in range(20)]
    threads = [Thread(target=file.append, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()

    assert sorted((tmp_path / "lines").read_bytes().splitlines(keepends=True)) == sorted(lines)


_FULL = """
import resource, signal, sys
from pathlib import Path
from predictor.data.folders import AppendOnlyLines

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = AppendOnlyLines(Path(sys.argv[1]))
file.append(b"one\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (6, resource.RLIM_INFINITY))
try:
    file.append(b"too long\\n")
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    file.append(b"two\\n")
"""


def test_nothing_of_a_line_that_does_not_fit_stays_and_the_next_one_is_whole(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("files have a limit here already")
    subprocess.run([sys.executable, "-c", _FULL, str(tmp_path / "lines")], check=True)

    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\n"
