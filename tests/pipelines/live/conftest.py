"""steer-live in this process: the real pages on a real port, with actors that are objects of this process."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.live.people.folder import PeopleFolder
from pipelines.live.studio import Studio
from pipelines.live.web.app import create_app
from pipelines.planning.plan import Plan
from studies.web.serving import serving
from tests.pipelines.conftest import without_ray
from tests.pipelines.live.server import SUGGESTIONS, TOKEN, small_plan

Serve = Callable[[Path], contextlib.AbstractContextManager[str]]


@pytest.fixture(scope="session")
def plan(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(checkpoint, tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="session")
def serve(plan: Plan) -> Serve:
    """Serve a people folder while the block runs; gives the start link."""

    @contextlib.contextmanager
    def served(people: Path) -> Iterator[str]:
        with without_ray(), contextlib.closing(PeopleFolder(people)) as folder:
            studio = Studio(plan, folder, SUGGESTIONS)
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
