"""Somebody at steer-live's pages in a real browser: the steps of their way, and what they see at each."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

PATIENCE_MS = 180_000
SETTLED = "#main[data-settled]"  # a page takes no answer before anybody can have seen it


def press(page: Page, key: str, place: str) -> None:
    """Answer by the keyboard, and wait for what comes next."""
    number = page.locator(f"{SETTLED} {place}").first
    expect(number).to_be_attached(timeout=PATIENCE_MS)
    before = number.input_value()
    page.keyboard.press(key)
    expect(page.locator(f"{place}[value='{before}']")).to_have_count(0, timeout=PATIENCE_MS)


def choices(page: Page) -> list[str | None]:
    """The pictures that stand for choice, once they do."""
    expect(page.locator(f"{SETTLED} button.picture").first).to_be_visible(timeout=PATIENCE_MS)
    return [button.get_attribute("value") for button in page.locator("button.picture").all()]


def begin(page: Page, link: str, name: str) -> None:
    """Somebody new, at their first question."""
    page.goto(link)
    page.get_by_label("What shall we call you?").fill(name, timeout=PATIENCE_MS)
    page.keyboard.press("Enter")
    choices(page)


def seen(page: Page, pictures: int | None = None) -> tuple[str, list[str | None]]:
    """Where somebody is: the headline, and the pictures, once there are so many."""
    expect(page.get_by_role("heading", name="Getting ready")).to_have_count(0, timeout=PATIENCE_MS)
    images = page.locator(f"{SETTLED} img")
    if pictures is not None:
        expect(images).to_have_count(pictures, timeout=PATIENCE_MS)
    expect(page.locator(SETTLED)).to_be_attached(timeout=PATIENCE_MS)
    return page.locator("h1").first.inner_text(), [image.get_attribute("src") for image in images.all()]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way."""

    name: str
    reach: Callable[[Page], None]
    """From the step before."""

    def __str__(self) -> str:
        return self.name


def _question(page: Page) -> None:
    press(page, "2", "input[name=number]")


def _studio(page: Page) -> None:
    page.get_by_role("button", name="Enough questions").click()
    expect(page.get_by_label("What the picture should show")).to_be_visible(timeout=PATIENCE_MS)


def _first_four(page: Page) -> None:
    page.get_by_label("What the picture should show").fill("a cup of coffee")
    page.get_by_role("button", name="Draw it").click()
    assert len(choices(page)) == 4


def _next_four(page: Page) -> None:
    press(page, "3", "#four input[name=number]")
    assert len(choices(page)) == 4


def _kept(page: Page) -> None:
    page.keyboard.press("k")
    expect(page.get_by_text("Kept.")).to_be_visible(timeout=PATIENCE_MS)


def _pair(page: Page) -> None:
    page.get_by_role("link", name="Prove it").click()
    page.get_by_role("button", name="Begin").click()
    press(page, "ArrowLeft", "input[name=position]")


def _verdict(page: Page) -> None:
    verdict = page.get_by_text("exact 95% interval")
    while not verdict.is_visible():
        press(page, "ArrowRight", "input[name=position]")
        expect(page.locator("button.picture").first.or_(verdict)).to_be_visible(timeout=PATIENCE_MS)


WAY = (
    Step("question", _question),
    Step("studio", _studio),
    Step("first four", _first_four),
    Step("next four", _next_four),
    Step("kept", _kept),
    Step("pair", _pair),
    Step("verdict", _verdict),
)
