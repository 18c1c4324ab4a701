"""Takes the pictures of the README and of docs/study.md, in real Chromium: gallery, report, every page of a study.

    python docs/screenshots.py RUN      # a finished run of the preset embedded, such as that of `make demo`

The report is of a rehearsal by the run's raters, each of whom compares own pictures with those of everybody else.
"""

import io
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from predictor.simulation.raters import read_truth
from studies.design.making import make_pairs, make_rating
from studies.design.rating import ImageToRate
from studies.design.steered_images import read_steered_images
from studies.fitting import fit
from studies.session import StudySession
from studies.simulation.rehearsal import rehearse
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app
from studies.web.serving import serving
from tests.browser import EXECUTABLE

OUT = Path(__file__).parent / "pictures"
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
GALLERY: ViewportSize = {"width": 1280, "height": 1500}
REPORT: ViewportSize = {"width": 1180, "height": 1120}
READY = "form[data-shown]"
TOKEN = "screenshots-screenshots"


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Save what the browser shows."""
    page.wait_for_load_state("networkidle")
    with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as image:
        image.convert("RGB").save(OUT / f"{name}.webp", quality=88, method=6)


def participant(browser: Browser, link: str, kind: str, view: ViewportSize, where: str) -> None:
    page = browser.new_context(viewport=view).new_page()
    page.goto(link)
    shoot(page, f"consent-{where}")
    page.get_by_label("I am 18 or older").check()
    page.get_by_role("button", name="Begin").click()
    shoot(page, f"about-{where}", whole=True)
    page.get_by_role("button", name="Continue").click()
    shot = False
    end, onward = page.get_by_role("heading", name="Thank you!"), page.get_by_role("button", name="Continue with part")
    while True:
        page.locator(READY).or_(end).or_(onward).wait_for()
        if end.is_visible():
            break
        if onward.is_visible():
            shoot(page, f"break-{where}")
            onward.click()
            continue
        page.locator(READY).wait_for()
        page.wait_for_timeout(350)
        if kind == "rating":
            page.keyboard.press("ArrowRight")
        if not shot and page.locator(".tag").count() == 0:
            shoot(page, f"{kind}-{where}")
            shot = True
        position = page.locator("input[name=position]").input_value()
        page.keyboard.press("ArrowLeft" if kind == "pairs" else "Enter")
        page.locator(f"input[name=position][value='{position}']").wait_for(state="detached")
    shoot(page, f"done-{where}")
    page.context.close()


def researcher(browser: Browser, address: str, name: str, path: str = "") -> None:
    page = browser.new_context(viewport=DESK).new_page()
    page.goto(f"{address}/researcher?token={TOKEN}")
    page.goto(f"{address}/researcher{path}")
    shoot(page, name)
    page.context.close()


def report(study: Study, run: Path, folder: Path) -> None:
    """Rehearse the study, and write the report on it."""
    rehearse(study, list(read_truth(run / "truth.parquet").values()))
    found = fit(study.folder, out=folder)
    for line in (*found.conditions, *found.pairs):
        print(line)  # noqa: T201  for the sentences beside the picture


def shoot_file(browser: Browser, path: Path, name: str, view: ViewportSize) -> None:
    page = browser.new_context(viewport=view).new_page()
    page.goto(path.resolve().as_uri())
    shoot(page, name)
    page.context.close()


def take(study: Study, kind: str, browser: Browser, run: Path) -> None:
    rehearse(study, list(read_truth(run / "truth.parquet").values())[:6])
    study_session = StudySession(study, Store(study.database), approve_all=True)
    user = study.users[0] if study.users else None
    with serving(create_app(study_session, researcher_token=TOKEN)) as address:
        for view, where in ((DESK, "desk"), (PHONE, "phone")):
            (_, token) = study_session.store.invite([user])[0]
            participant(browser, f"{address}/join/{token}", kind, view, where)
        researcher(browser, address, f"researcher-{kind}")
    study_session.store.close()
    waiting = StudySession(study, Store(study.database))
    with serving(create_app(waiting, researcher_token=TOKEN)) as address:
        researcher(browser, address, f"images-{kind}", "/images")
    waiting.store.close()


def main() -> None:
    run = Path(sys.argv[1])
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"])
        rows = pq.read_table(run / "candidates.parquet", columns=["image", "prompt"]).to_pylist()
        drawn = {row["image"]: row["prompt"] for row in rows if row["image"]}
        images = [
            ImageToRate(image_id=key, file=run / "images" / key[:2] / f"{key}.png", prompt=drawn[key], metadata={})
            for key in sorted(drawn)[:: max(1, len(drawn) // 24)]
        ]
        choices = {"block": 6, "practice": 1, "title": "Which pictures do you like?", "contact": "ada@example.org"}
        pairs = make_pairs(
            read_steered_images([run]), [run], Path(folder) / "pairs", others=1, choices={**choices, "tie": True}
        )
        rating = make_rating(
            images, run, Path(folder) / "rating", choices={**choices, "ratings_per_image": 9, "images_each": 12}
        )
        everybody = len(read_truth(run / "truth.parquet")) - 1
        rehearsal = make_pairs(
            read_steered_images([run]), [run], Path(folder) / "rehearsal", others=everybody, choices={"seed": 0}
        )
        report(rehearsal, run, Path(folder) / "report")
        shoot_file(browser, Path(folder) / "report" / "report.html", "report", REPORT)
        shoot_file(browser, run / "gallery.html", "gallery", GALLERY)
        take(pairs, "pairs", browser, run)
        take(rating, "rating", browser, run)
        browser.close()


if __name__ == "__main__":
    main()
