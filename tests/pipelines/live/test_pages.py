"""The pages in a real Chromium: every step after a reload and a kill, without a connection, in two tabs, on screens."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize, expect

from tests.pipelines.live.browsing import PATIENCE_MS, WAY, begin, choices, press, seen
from tests.pipelines.live.server import Server, server_of
from tests.studies.web.test_layout import OUTSIDE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pages of steer-live")]

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 800}
ANSWERED = "This was answered already, in another tab or on another device"


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_of(tmp_path_factory.mktemp("pages") / "people", checkpoint) as running:
        yield running


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    opened = chromium.new_context(viewport=PHONE)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_every_step_is_where_it_was_after_a_reload_and_after_a_kill(server: Server, page: Page) -> None:
    begin(page, server.link, "Ada")
    for step in WAY:
        step.reach(page)
        before = seen(page)

        page.reload()
        assert seen(page, pictures=len(before[1])) == before, f"{step}, reloaded"

        server.restart()
        page.reload()
        assert seen(page, pictures=len(before[1])) == before, f"{step}, killed"


def saved_but_not_told(route: Route, server: Server) -> None:
    """The server ends between saving an answer and confirming it."""
    route.fetch()
    server.kill()
    route.abort()


def test_a_kill_before_an_answer_is_confirmed_or_while_a_proof_is_prepared_leads_on(server: Server, page: Page) -> None:
    begin(page, server.link, "Bea")
    question, studio, first, *_ = WAY
    for step in (question, studio, first):
        step.reach(page)
    chosen = choices(page)[2]

    page.route("**/choose", lambda route: saved_but_not_told(route, server), times=1)
    page.keyboard.press("3")
    expect(page.get_by_text("Not saved yet")).to_be_visible(timeout=PATIENCE_MS)
    server.start()
    expect(page.get_by_text("Not saved yet")).to_have_count(0, timeout=PATIENCE_MS)
    assert choices(page)[0] == chosen

    page.keyboard.press("k")
    expect(page.get_by_text("Kept.")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("link", name="Prove it").click()
    page.get_by_role("button", name="Begin").click()
    server.restart()
    page.goto(f"{server.address}/proof")
    expect(page.get_by_text("Which picture do you prefer?")).to_be_visible(timeout=PATIENCE_MS)


def test_an_answer_without_a_connection_is_sent_again_until_it_is_saved(
    server: Server, context: BrowserContext, page: Page
) -> None:
    begin(page, server.link, "Cleo")
    before = choices(page)

    context.set_offline(True)
    page.keyboard.press("2")
    expect(page.get_by_text("Not saved yet")).to_be_visible(timeout=PATIENCE_MS)
    context.set_offline(False)

    expect(page.get_by_text("Not saved yet")).to_be_hidden(timeout=PATIENCE_MS)
    assert choices(page) != before
    expect(page.locator("input[name=number]").first).to_have_value("1")


@pytest.mark.parametrize("steps", [0, 3, 6], ids=["question", "round", "pair"])
def test_an_answer_in_one_tab_stands_and_the_other_tab_says_so(
    server: Server, context: BrowserContext, page: Page, steps: int
) -> None:
    begin(page, server.link, f"Dora {steps}")
    for step in WAY[:steps]:
        step.reach(page)
    choices(page)
    other = context.new_page()
    other.add_init_script("delete window.EventSource; window.EventSource = class { close() {} };")  # nothing tells it
    other.goto(page.url)
    choices(other)
    press(page, "1", "form.four input[type=hidden]")
    choices(page)

    other.keyboard.press("2")

    expect(other.get_by_role("alert")).to_contain_text(ANSWERED, timeout=PATIENCE_MS)
    assert seen(other) == seen(page)
    press(other, "1", "form.four input[type=hidden]")
    expect(other.get_by_role("alert")).to_have_count(0)


def test_every_page_is_accessible_and_in_view_on_a_phone_and_a_desk_light_and_dark(server: Server, page: Page) -> None:
    page.goto(server.link)
    expect(page.get_by_label("What shall we call you?")).to_be_visible(timeout=PATIENCE_MS)
    check(page, "welcome")
    begin(page, server.link, "Ella")
    for step in WAY:
        step.reach(page)
        check(page, step.name)
    for path in ("/studio", "/you", "/you/delete", "/prompts/none"):
        page.goto(f"{server.address}{path}")
        check(page, path)


def check(page: Page, name: str) -> None:
    """Nothing that axe-core finds fault with, and nothing over the edges of the window."""
    for viewport in (PHONE, DESK):
        for scheme in ("light", "dark"):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found: Any = Axe().run(page).response
            faults = [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
            assert found["passes"], "axe-core looked at nothing"
            assert faults == [], f"{name}, {scheme}, {viewport['width']} wide"
            assert page.evaluate(OUTSIDE.replace(".hidden", ".hidden, .path")) == [], (
                f"{name}, {viewport['width']} wide"
            )


def test_nothing_moves_for_whoever_wants_reduced_motion(server: Server, page: Page) -> None:
    begin(page, server.link, "Fay")
    for step in WAY[:2]:
        step.reach(page)
    page.route("**/*.png", lambda route: route.abort())
    page.emulate_media(reduced_motion="reduce")
    page.get_by_label("What the picture should show").fill("a pagoda above a lake")
    page.get_by_role("button", name="Draw it").click()
    page.wait_for_url(re.compile("/prompts/"))

    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.picture')).transitionDuration") == "0s"
