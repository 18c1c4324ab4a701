"""Takes the pictures of docs/live.md, in real Chromium.

python docs/live_screenshots.py LINK      # what `steer-live --people FOLDER` prints; it plays somebody called Ada
"""

import shutil
import sys

from playwright.sync_api import Page, ViewportSize, sync_playwright
from screenshots import shoot

VIEW: ViewportSize = {"width": 1280, "height": 640}
QUESTIONS = 8
PROMPTS = ("a cup of coffee", "a pagoda above a lake", "a cat on a sofa", "a rocket on its launch pad")


def press(page: Page, key: str, selector: str) -> None:
    """Answer, and wait for what comes next."""
    page.wait_for_timeout(300)
    before = page.locator(selector).first.input_value()
    page.keyboard.press(key)
    page.locator(f"{selector}[value='{before}']").first.wait_for(state="detached")


def main() -> None:
    link = sys.argv[1]
    with sync_playwright() as playwright:
        executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport=VIEW, device_scale_factor=1).new_page()
        page.goto(link)
        page.get_by_label("What shall we call you?").fill("Ada")
        page.get_by_role("button", name="Begin").click()
        for question in range(QUESTIONS):
            page.get_by_text("Which do you like best?").wait_for()
            press(page, str(1 + question % 4), "input[name=number]")
        shoot(page, "live-know")
        page.goto(page.url.rpartition("/")[0] + "/studio")
        for prompt in PROMPTS:
            page.get_by_label("What the picture should show").fill(prompt)
            page.get_by_role("button", name="Draw it").click()
            for key in ("2", "3"):
                page.get_by_text("Which do you like best?").wait_for()
                press(page, key, "#four input[name=number]")
            page.get_by_text("Which do you like best?").wait_for()
            if prompt == PROMPTS[0]:
                shoot(page, "live-steer")
            page.get_by_role("button", name="Keep").click()
            page.get_by_text("Kept.").wait_for()
            page.get_by_role("link", name="Another prompt").click()
        page.get_by_role("link", name="Prove it").click()
        page.get_by_role("button", name="Begin").click()
        verdict = page.get_by_text("exact 95% interval")
        question = page.get_by_text("Which picture do you prefer?")
        verdict.or_(question).wait_for(timeout=120_000)
        while question.is_visible():
            page.wait_for_timeout(300)
            place = page.locator("input[name=position]").input_value()
            page.keyboard.press("ArrowLeft")
            page.locator(f"input[name=position][value='{place}']").wait_for(state="detached")
        verdict.wait_for()
        shoot(page, "live-verdict")
        browser.close()


if __name__ == "__main__":
    main()
