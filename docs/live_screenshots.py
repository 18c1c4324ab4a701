"""Takes the pictures of docs/live.md: what a simulated rater sees of `steer-live`, in real Chromium.

    python docs/live_screenshots.py

The rater's taste is known, and the predictor has never seen them: they choose what they truly like best. Each page is a
sheet of four pictures: on a desk and on a phone, light and dark.
"""

import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, sample_raters
from tests.browser import EXECUTABLE

OUT = Path(__file__).parent / "pictures"
DESK: ViewportSize = {"width": 1280, "height": 640}
PHONE: ViewportSize = {"width": 390, "height": 844}
GAP = 12
"""Pixels between the pictures of a sheet."""
PROMPTS = ("a cup of coffee", "a cat")
QUESTIONS, ROUNDS, SHOWN_AFTER = 12, 4, 2
PATIENCE_MS = 120_000


@contextmanager
def steer_live(people: Path) -> Iterator[str]:
    """The link that the command prints."""
    command = [str(Path(sys.executable).parent / "steer-live"), "--people", str(people), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(line for line in process.stderr if line.startswith("open ")).split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def shot(page: Page) -> Image.Image:
    """What the browser shows, with no pointer over it."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return image.convert("RGB")


def shoot(page: Page, name: str) -> None:
    """Save it as it is."""
    shot(page).save(OUT / f"{name}.webp", quality=88, method=6)


def shoot_sheet(page: Page, name: str) -> None:
    """Save the page as desk and phone show it, light and dark, at half the size."""
    shots: dict[tuple[str, str], Image.Image] = {}
    for screen, viewport in (("desk", DESK), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=scheme)
            shots[screen, scheme] = shot(page)
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="light")
    width, height = DESK["width"] // 2, DESK["height"] // 2
    tall = 2 * height + GAP
    narrow = round(PHONE["width"] * tall / PHONE["height"])
    sheet = Image.new("RGB", (width + 2 * (GAP + narrow), tall), "#808080")
    for place, scheme in enumerate(("light", "dark")):
        sheet.paste(
            shots["desk", scheme].resize((width, height), Image.Resampling.LANCZOS), (0, place * (height + GAP))
        )
        phone = shots["phone", scheme].resize((narrow, tall), Image.Resampling.LANCZOS)
        sheet.paste(phone, (width + GAP + place * (narrow + GAP), 0))
    sheet.save(OUT / f"{name}.webp", quality=80, method=6)


def liked_best(page: Page, rater: Rater, choices: Locator) -> Locator:
    """The choice whose picture the rater truly likes best."""
    choices.first.wait_for(timeout=PATIENCE_MS)
    seen = []
    for choice in choices.all():
        address = choice.locator("img").first.get_attribute("src") or ""
        with Image.open(io.BytesIO(page.request.get(new_address(page, address)).body())) as image:
            seen.append(measure(image))
    return choices.nth(int(np.argmax(rater.utility(np.stack(seen)))))


def new_address(page: Page, path: str) -> str:
    return str(page.evaluate("path => new URL(path, location.href).href", path))


def answer(page: Page, rater: Rater, place: str, choices: str) -> None:
    """Choose, and wait for what comes next."""
    number = page.locator(place).first
    number.wait_for(state="attached", timeout=PATIENCE_MS)
    before = number.input_value()
    best = liked_best(page, rater, page.locator(choices))
    page.wait_for_timeout(400)
    best.click()
    page.locator(f"{place}[value='{before}']").first.wait_for(state="detached", timeout=PATIENCE_MS)


def main() -> None:
    (rater,) = sample_raters(1, seed=2026)
    with (
        tempfile.TemporaryDirectory() as folder,
        steer_live(Path(folder)) as link,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"]) as browser,
    ):
        page = browser.new_context(viewport=DESK).new_page()
        page.goto(link)
        page.get_by_label("What shall we call you?").fill("Ada", timeout=PATIENCE_MS)
        shoot_sheet(page, "live-welcome")
        page.keyboard.press("Enter")
        for number in range(QUESTIONS):
            if number == SHOWN_AFTER:
                page.locator("button.picture").first.wait_for(timeout=PATIENCE_MS)
                shoot_sheet(page, "live-know")
            answer(page, rater, "form.four input[name=number]", "form.four button.picture")
        page.locator("form[action='/know/stop'] button").click()
        for prompt in PROMPTS:
            steer(page, rater, prompt)
        page.goto(new_address(page, "/proof"))
        page.get_by_role("button", name="Begin").click()
        prove(page, rater)
        shoot_sheet(page, "live-verdict")
        page.goto(new_address(page, "/studio"))
        shoot_sheet(page, "live-studio")
        page.goto(new_address(page, "/you"))
        shoot_sheet(page, "live-you")


def steer(page: Page, rater: Rater, prompt: str) -> None:
    """A prompt to the picture that the rater keeps."""
    page.goto(new_address(page, "/studio"))
    page.get_by_label("What the picture should show").fill(prompt)
    page.get_by_role("button", name="Draw it").click()
    for number in range(ROUNDS):
        page.locator("#four").wait_for(timeout=PATIENCE_MS)
        if number == SHOWN_AFTER and prompt == PROMPTS[0]:
            shoot(page, "live-steer")
            shoot_sheet(page, "live-round")
        answer(page, rater, "#four input[name=number]", "#four button.picture")
    page.locator("#four").wait_for(timeout=PATIENCE_MS)
    page.keyboard.press("k")
    page.get_by_text("Kept.").wait_for(timeout=PATIENCE_MS)
    if prompt == PROMPTS[0]:
        shoot_sheet(page, "live-kept")


def prove(page: Page, rater: Rater) -> None:
    """The blind pairs, to the verdict."""
    pair, verdict = page.get_by_text("Which picture do you prefer?"), page.get_by_text("exact 95% interval")
    pair.or_(verdict).first.wait_for(timeout=PATIENCE_MS)
    shoot_sheet(page, "live-pair")
    while not verdict.is_visible():
        answer(page, rater, "input[name=position]", "button:has(img)")
        pair.or_(verdict).first.wait_for(timeout=PATIENCE_MS)


if __name__ == "__main__":
    main()
