"""Consent in a real browser, wherever a study may be reached: what tells a browser's own post from another site's."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from studies.results.answers import participants_table
from studies.session import StudySession
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app
from studies.web.serving import serving


class Heard:
    """The application, and what a browser's posts said of where they came from."""

    def __init__(self, app: ASGIApp, *, strip: bool = False) -> None:
        self.app, self.strip = app, strip
        self.posts: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self.strip:  # a browser of before 2023
                scope["headers"] = [(k, v) for k, v in scope["headers"] if not k.startswith(b"sec-fetch-")]
            if scope["method"] == "POST":
                self.posts.append({k.decode(): v.decode() for k, v in scope["headers"]})
        await self.app(scope, receive, send)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.mark.parametrize(
    ("host", "strip", "fetch_metadata"),
    [
        ("127.0.0.1", False, True),  # loopback counts as secure: the browser sends Sec-Fetch-Site
        ("study.test", False, False),  # another name over plain HTTP: it sends none, and Origin has to do
        ("127.0.0.1", True, False),
        ("study.test", True, False),
    ],
)
def test_a_browser_consents_over_plain_http_with_and_without_fetch_metadata(
    host: str, strip: bool, fetch_metadata: bool, pair_study: Study, context: BrowserContext
) -> None:
    session = StudySession(pair_study, Store(pair_study.database), approve_all=True)
    ((_, token),) = session.store.invite(["u1"])
    heard = Heard(create_app(session, researcher_token="t" * 24), strip=strip)
    with serving(heard) as base:
        page = context.new_page()
        page.goto(f"{base.replace('127.0.0.1', host)}/join/{token}")
        page.get_by_label("I am 18 or older").check()
        page.get_by_role("button", name="Begin").click()
        expect(page.get_by_role("heading", name="About you")).to_be_visible()
        assert ("sec-fetch-site" in heard.posts[0]) == fetch_metadata
        assert heard.posts[0]["origin"] == f"http://{heard.posts[0]['host']}"
    assert participants_table(pair_study)["consented_at"].null_count == 0


@pytest.mark.parametrize("strip", [False, True])
def test_a_post_from_another_sites_page_is_refused_with_and_without_fetch_metadata(
    strip: bool, pair_study: Study, context: BrowserContext
) -> None:
    session = StudySession(pair_study, Store(pair_study.database), approve_all=True)
    ((_, token),) = session.store.invite(["u1"])
    with serving(Heard(create_app(session, researcher_token="t" * 24), strip=strip)) as base:

        async def evil(request: Request) -> HTMLResponse:
            form = f'<form method="post" action="{base}/consent"><input name="agreed" value="yes"><button>Win</button>'
            return HTMLResponse(form)

        page = context.new_page()
        page.goto(f"{base}/join/{token}")
        with serving(Starlette(routes=[Route("/", evil)])) as other:
            page.goto(other.replace("127.0.0.1", "localhost"))
            page.get_by_role("button", name="Win").click()
            expect(page.get_by_text("This request came from another site.")).to_be_visible()
    assert participants_table(pair_study)["consented_at"].null_count == 1


def test_a_browser_without_cookies_reads_what_to_do(pair_study: Study, context: BrowserContext) -> None:
    session = StudySession(pair_study, Store(pair_study.database), approve_all=True)
    ((_, token),) = session.store.invite(["u1"])
    with serving(create_app(session, researcher_token="t" * 24)) as base:
        page = context.new_page()
        page.route("**/*", lambda route: route.continue_(headers={**route.request.headers, "cookie": ""}))
        page.goto(f"{base}/join/{token}")
        context.clear_cookies()
        page.goto(f"{base}/?joined")
        expect(page.get_by_text("Please allow cookies for this page")).to_be_visible()
