"""steer-live in this process: the real pages on a real port, with actors that are objects of this process."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.live.cli import LIVE_SETTINGS
from pipelines.live.people.folder import PeopleFolder
from pipelines.live.studio import Studio
from pipelines.live.web.app import create_app
from pipelines.planning.plan import Plan
from pipelines.planning.prompts import numbered
from pipelines.planning.request import RunRequest, plan_run
from studies.web.serving import serving
from tests.pipelines.conftest import without_ray

TOKEN = "start-start-start-start"

Serve = Callable[[Path], contextlib.AbstractContextManager[str]]


@pytest.fixture(scope="session")
def plan(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Small prints, one actor of each kind, four proposals a round."""
    one = tuple(f"{role}.actors=1" for role in ("renderer", "scorer", "feature_extractor"))
    request = RunRequest(
        users=("all",),
        prompts=numbered(["a picture"]),
        preset=None,
        overrides=(*LIVE_SETTINGS, "renderer.size=64", "protocol.candidates=5", "protocol.iterations=2", *one),
        options={"predictor": str(checkpoint), "scorers": ("pamela", "population")},
    )
    return plan_run(Console(quiet=True), request, tmp_path_factory.mktemp("plan") / "run")


@pytest.fixture(scope="session")
def serve(plan: Plan) -> Serve:
    """Serve a people folder while the block runs; gives the start link."""

    @contextlib.contextmanager
    def served(people: Path) -> Iterator[str]:
        with without_ray():
            studio = Studio(plan, PeopleFolder(people), ("a cup of coffee", "a pagoda above a lake"))
            with serving(create_app(studio, start_token=TOKEN)) as address:
                yield f"{address}/join/{TOKEN}"

    return served


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live") / "people"


@pytest.fixture(scope="module")
def link(serve: Serve, people: Path) -> Iterator[str]:
    """The start link of a server that the tests of a module share; each comes as somebody of its own."""
    with serve(people) as address:
        yield address
