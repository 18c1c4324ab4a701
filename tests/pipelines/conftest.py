"""A small checkpoint made by the real chain, a finished run of it, and steer-batch in this process or in its own."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.cli import main
from pipelines.planning.embedded_predictor import EmbeddedRecipe, embedded_checkpoint
from tests.conftest import MakeOnce
from tests.in_this_process import call
from tests.pipelines.console import command, environment, small
from tests.pools import InProcessPool, put_in_process

SMALL = EmbeddedRecipe(raters=4, images=168, ratings_per_image=3, epochs=4)

Steer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def checkpoint(make_once: MakeOnce) -> Path:
    """Four raters, 168 small prints, four epochs: enough to steer by, quick to make. Not to be changed."""
    made: list[Path] = []
    make_once("checkpoint", lambda _: made.append(embedded_checkpoint(Darkroom(size=64), SMALL)))
    return made[0] if made else embedded_checkpoint(Darkroom(size=64), SMALL)


@pytest.fixture(scope="session")
def tiny_predictor(make_once: MakeOnce) -> Path:
    """A checkpoint on encoders of the paper's kinds with random weights. Not to be changed."""
    from tests.pipelines.predictors import train_on_tiny

    return make_once("tiny predictor", train_on_tiny) / "made"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path)


def write_prompts(folder: Path) -> Path:
    path = folder / "prompts.txt"
    path.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def finished(checkpoint: Path, make_once: MakeOnce) -> Path:
    """The folder of a run that nothing disturbed, by the installed command with a Ray of its own. Not to be changed."""

    def run(folder: Path) -> None:
        arguments = command(*small(checkpoint, write_prompts(folder), folder / "run"))
        done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(folder / "run" / "gallery.html")

    return make_once("finished", run) / "run"


@pytest.fixture
def steer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steer:
    """Call what steer-batch calls: all of a run but Ray and the start of processes."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with without_ray(), locks_end_with_it():
            return call(main, "steer-batch", *arguments)

    return run


@pytest.fixture
def steer_command(tmp_path: Path) -> Steer:
    """Run the installed command to its end, in a process of its own, with a Ray of its own unless another is named."""

    def run(*arguments: object, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=tmp_path,
            env=environment(),
        )

    return run


@contextlib.contextmanager
def locks_end_with_it() -> Iterator[None]:
    """The lock of a run's folder is held until the process ends; here, until the command has."""

    def locks() -> set[int]:
        descriptors = Path("/proc/self/fd").iterdir()
        return {int(entry.name) for entry in descriptors if os.path.realpath(entry).endswith("/.lock")}

    before = locks()
    try:
        yield
    finally:
        for descriptor in locks() - before:
            os.close(descriptor)


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """Roles are objects of this process; there is no cluster to join, to wait for, or to be too small."""

    class NoReservation:
        async def make(self, *_: object) -> None: ...
        def places(self, role: object) -> tuple[object, ...]:
            return ()

        def release(self) -> None: ...

    class NoMetrics:
        def show(self, *_: object, **__: object) -> None: ...

    def connect(address: str | None) -> None:
        assert address is None, "a cluster is joined by steer_command"

    replaced: Mapping[str, Any] = {
        "pipelines.run.connect": connect,
        "pipelines.run.watch": lambda on_lost: None,
        "pipelines.run.disconnect": lambda: None,
        "pipelines.run_pools.ActorPool": InProcessPool,
        "pipelines.run_pools.Reservation": NoReservation,
        "pipelines.cluster_run.Metrics": NoMetrics,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(put_in_process())
        for name, stand_in in replaced.items():
            stack.enter_context(patch(name, stand_in))
        yield
