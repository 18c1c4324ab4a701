"""steer-live as a person meets it: the installed command with a Ray of its own, and a real Chromium."""

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.pipelines.live.browsing import PATIENCE_MS, SETTLED, press
from tests.pipelines.live.command import steer_live

PHONE: ViewportSize = {"width": 390, "height": 780}


def small(checkpoint: Path) -> list[str]:
    """Options of a steer-live that starts and draws quickly."""
    settings = ["renderer.size=64", "protocol.candidates=4"]
    settings += [f"{role}.actors=1" for role in ("renderer", "scorer", "feature_extractor")]
    return ["--predictor", str(checkpoint), *(word for setting in settings for word in ("--set", setting))]


@pytest.mark.slow
def test_a_person_gets_to_pictures_and_a_verdict_by_keyboard_through_kill_and_reload(
    chromium: Browser, checkpoint: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    context = chromium.new_context(viewport=PHONE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    with steer_live(people, *small(checkpoint)) as (process, link):
        port = int(link.split(":")[2].split("/")[0])
        page.goto(link)
        page.get_by_label("What shall we call you?").fill("Ada", timeout=PATIENCE_MS)
        page.keyboard.press("Enter")
        for key in ("1", "2", "0", "s"):
            press(page, key, "input[name=number]")
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_label("And the worst").check()
        press_both(page)
        page.get_by_role("button", name="Enough questions").click()
        page.get_by_label("What the picture should show").fill("a cup of coffee")
        page.get_by_role("button", name="Draw it").click()
        press(page, "2", "#four input[name=number]")
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        favourite = page.locator("button.picture").first.get_attribute("value")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    with steer_live(people, *small(checkpoint), port=port) as (process, _):
        page.reload()
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        assert page.locator("button.picture").first.get_attribute("value") == favourite
        press(page, "3", "#four input[name=number]")
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        page.keyboard.press("k")
        expect(page.get_by_text("Kept.")).to_be_visible(timeout=PATIENCE_MS)
        page.get_by_role("link", name="Prove it").click()
        page.get_by_role("button", name="Begin").click()
        pair, verdict = page.get_by_text("Which picture do you prefer?"), page.get_by_text("exact 95% interval")
        expect(pair.or_(verdict)).to_be_visible(timeout=PATIENCE_MS)
        while pair.is_visible():
            press(page, "ArrowRight", "input[name=position]")
        expect(verdict).to_be_visible()
        page.goto(f"http://127.0.0.1:{port}/you")
        page.get_by_role("link", name="Delete everything").click()
        page.get_by_role("button", name="Delete everything").click()
        expect(page.get_by_role("heading", name="It is gone")).to_be_visible()
        assert not (people / "Ada").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    context.close()
    assert problems == []


def press_both(page: Page) -> None:
    """Best and worst of one question."""
    before = page.locator(f"{SETTLED} input[name=number]").first.input_value()
    page.keyboard.press("1")
    expect(page.get_by_text("And which the least?")).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator(f"input[name=number][value='{before}']")).to_have_count(0, timeout=PATIENCE_MS)
