"""steer-live without Ray, in this process or in one of its own, which starts at once and can be killed.

It is forked from a process that has loaded what it needs: what is tested is what is on the disk, not the imports.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx2
from rich.console import Console

from pipelines.live.people.folder import PeopleFolder
from pipelines.live.serving import LIVE_SETTINGS
from pipelines.live.studio import Studio
from pipelines.live.web.app import create_app
from pipelines.live.web.server import serve_until_stopped
from pipelines.planning.plan import Plan
from pipelines.planning.prompts import numbered
from pipelines.planning.request import RunRequest, plan_run
from studies.web.serving import listen
from tests.pipelines.conftest import without_ray

TOKEN = "start-start-start-start"
SUGGESTIONS = ("a cup of coffee", "a pagoda above a lake")
START_S = 120.0

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, "predictor.predictor", "predictor.taste.question"])


def small_plan(checkpoint: Path, scratch: Path) -> Plan:
    """Small prints, one actor of each kind, five proposals a round."""
    one = tuple(f"{role}.actors=1" for role in ("renderer", "scorer", "feature_extractor"))
    request = RunRequest(
        users=("all",),
        prompts=numbered(["a picture"]),
        preset=None,
        overrides=(*LIVE_SETTINGS, "renderer.size=64", "protocol.candidates=5", "protocol.iterations=2", *one),
        options={"predictor": str(checkpoint), "scorers": ("pamela", "population")},
    )
    return plan_run(Console(quiet=True), request, scratch / "run")


class Server:
    """A process that serves a people folder on one port, again and again."""

    def __init__(self, people: Path, checkpoint: Path) -> None:
        with listen("127.0.0.1", 0) as free:
            self.port = free.getsockname()[1]
        self._served = (people, self.port, checkpoint)
        self._process: BaseProcess | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return f"{self.address}/join/{TOKEN}"

    def start(self) -> None:
        self._process = FORKS.Process(target=main, args=self._served)
        self._process.start()
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """As after a power failure of the process."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.address}/static/live.css").status_code == 200
        except httpx2.TransportError:
            return False

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None and self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, by)
            self._process.join(60)


@contextlib.contextmanager
def server_of(people: Path, checkpoint: Path) -> Iterator[Server]:
    """A server that is stopped when the block ends."""
    server = Server(people, checkpoint)
    try:
        yield server
    finally:
        server.stop()


def main(people: Path, port: int, checkpoint: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        without_ray(),
        contextlib.closing(PeopleFolder(people)) as folder,
    ):
        studio = Studio(small_plan(checkpoint, Path(scratch)), folder, SUGGESTIONS)
        serve_until_stopped(create_app(studio, start_token=TOKEN), listen("127.0.0.1", port), studio)
