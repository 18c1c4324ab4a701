"""The installed command, in a process of its own with a Ray of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.pipelines.console import environment

START_S = 120.0


@contextmanager
def steer_live(
    people: Path, *arguments: object, port: int = 0, variables: Mapping[str, str] = {}
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the link that it prints; it is stopped by Ctrl-C when the block ends."""
    command = [str(Path(sys.executable).parent / "steer-live"), "--people", str(people), "--port", str(port)]
    said = people.with_name(f"{people.name}.said")  # a pipe that nobody reads would fill
    with said.open("w+") as errors:
        process = subprocess.Popen(
            [*command, *map(str, arguments)], stderr=errors, text=True, env=environment() | dict(variables)
        )
        try:
            yield process, _link(process, said)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(60)


def _link(process: subprocess.Popen[str], said: Path) -> str:
    deadline = time.monotonic() + START_S
    while True:
        for line in said.read_text().splitlines():
            if line.startswith("open "):
                return line.split()[1]
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, f"no link in time: {said.read_text()}"
        time.sleep(0.05)
