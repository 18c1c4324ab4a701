"""A small checkpoint made by the real chain, and the real command."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded import EmbeddedRecipe, embedded_checkpoint
from tests.pipelines.console import command, environment

SMALL = EmbeddedRecipe(raters=4, images=168, ratings_per_image=3, epochs=4)

Steer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """Four raters, 168 small prints, four epochs: enough to steer by, quick to make."""
    return embedded_checkpoint(Darkroom(size=64), SMALL)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    return path


@pytest.fixture
def steer(tmp_path: Path) -> Steer:
    """Run steer-batch to its end."""

    def run(*arguments: object, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
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
