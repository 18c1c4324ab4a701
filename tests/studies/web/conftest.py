"""A served study without a network: the real application, driven by a client that keeps cookies as a browser does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.testclient import TestClient

from studies.session import StudySession
from studies.simulation.participants import Page
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app

TOKEN = "a-token-of-the-researcher"


@dataclass
class Site:
    """One served study."""

    study: Study
    study_session: StudySession
    visitor: Callable[[], TestClient]
    """A browser of its own."""

    def invited(self, user: str | None = None) -> TestClient:
        """Somebody who has opened their invitation."""
        client = self.visitor()
        (_, token) = self.study_session.store.invite([user])[0]
        assert client.get(f"/join/{token}").status_code == 200
        return client

    def begun(self, user: str | None = None) -> TestClient:
        """Somebody who stands at the first trial."""
        client = self.invited(user)
        client.post("/consent", data={"agreed": "yes"})
        client.post("/about", data={})
        return client


Serve = Callable[..., Site]


@pytest.fixture(scope="session")
def event_loop() -> Iterator[BlockingPortal]:
    """On a thread of its own; a client without one would start another for each request."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def serve(event_loop: BlockingPortal) -> Serve:
    def serve(study: Study, *, approve_all: bool = True, prolific: bool = False) -> Site:
        study_session = StudySession(study, Store(study.database), approve_all=approve_all)
        app = create_app(study_session, researcher_token=TOKEN, prolific=prolific)

        def visitor() -> TestClient:
            client = TestClient(app)
            client.portal = event_loop
            return client

        return Site(study, study_session, visitor)

    return serve


def answer(client: TestClient, **said: str) -> Page:
    """Answer the trial at hand, by default with left, and give the page that follows."""
    page = Page(client.get("/").text)
    assert page.action == "/answer"
    return Page(client.post("/answer", data={**page.fields, "winner": "left", **said}).text)
