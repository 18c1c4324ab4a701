"""Both kinds of study in real Chromium, from consent to completion."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, ViewportSize, expect
from starlette.responses import PlainTextResponse

from studies.design.making import make_pairs
from studies.design.steered_images import read_steered_images
from studies.results.answers import participants_table, ratings_table, votes_table
from studies.session import StudySession
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app
from studies.web.serving import serving
from tests.studies.conftest import Build

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 800}
READY = "form[data-shown]"


class Visit:
    """One participant's browser, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, link: str) -> None:
        self.link = link
        self.page: Page = context.new_page()
        self.trouble: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda m: self.trouble.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("response", self._note)
        self.page.goto(link)

    def _note(self, response: Response) -> None:
        self.hosts.add(re.sub(r"^\w+://([^/]+).*", r"\1", response.url))
        if response.status >= 400:
            self.trouble.append(f"{response.status} {response.url}")

    def agree(self) -> None:
        self.page.get_by_label("I am 18 or older").check()
        self.page.get_by_role("button", name="Begin").click()
        self.page.get_by_label("Age in years").fill("34")
        self.page.get_by_role("button", name="Continue").click()

    def ended(self) -> bool:
        """Wait for whatever comes next – a trial, a break or the end – and tell whether it is the end."""
        end = self.page.get_by_role("heading", name="Thank you!")
        self.page.locator(READY).or_(end).or_(self.page.get_by_role("button", name="Continue with part")).wait_for()
        return end.is_visible()

    def ready(self) -> None:
        """The trial can be answered: its images are there, and for longer than a double click takes."""
        self.page.locator(READY).wait_for()
        self.page.wait_for_timeout(350)

    def position(self) -> str:
        return self.page.locator("input[name=position]").input_value()


@pytest.fixture(params=[DESK, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desk", "phone"])
def context(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[BrowserContext]:
    phone = request.param is PHONE
    context = chromium.new_context(viewport=request.param, has_touch=phone, is_mobile=phone)
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the study is served that the test asks for by its parameter `study`."""
    study: Study = request.getfixturevalue(request.param)
    study_session = StudySession(study, Store(study.database), approve_all=True)
    (_, token) = study_session.store.invite(["u1" if study.users else None])[0]
    with serving(create_app(study_session, researcher_token="t" * 24)) as base:
        yield f"{base}/join/{token}"
    study_session.store.close()


pairs = pytest.mark.parametrize("address", ["pair_study"], indirect=True)
rating = pytest.mark.parametrize("address", ["rating_study"], indirect=True)


@pairs
def test_people_can_take_part_over_plain_http_by_any_host_name(
    address: str, context: BrowserContext, pair_study: Study
) -> None:
    visit = Visit(context, address.replace("127.0.0.1", "study.test").replace("localhost", "study.test"))
    visit.agree()
    visit.ready()
    before = visit.position()
    visit.page.keyboard.press("ArrowLeft")
    expect(visit.page.locator(f"input[name=position][value='{before}']")).to_have_count(0)
    assert [line for line in visit.trouble if "origin was untrustworthy" not in line] == []


@pairs
def test_pairs_by_click_and_by_arrow_keys_from_consent_to_the_code(
    address: str, context: BrowserContext, pair_study: Study
) -> None:
    visit = Visit(context, address)
    visit.agree()
    chosen: list[str] = []
    while not visit.ended():
        if (onward := visit.page.get_by_role("button", name="Continue with part 2")).is_visible():
            onward.click()
            continue
        visit.ready()
        before = visit.position()
        side = ("left", "right")[len(chosen) % 2]
        if len(chosen) % 3:
            visit.page.keyboard.press("ArrowLeft" if side == "left" else "ArrowRight")
        else:
            place = side if visit.page.viewport_size == DESK else {"left": "upper", "right": "lower"}[side]
            visit.page.get_by_role("button", name=f"I prefer the {place} image").click()
        chosen.append(side)
        expect(visit.page.locator(f"input[name=position][value='{before}']")).to_have_count(0)
    expect(visit.page.locator("output.code")).to_have_text("THANKYOU")
    rows = votes_table(pair_study).to_pylist()
    assert [row["winner"] for row in rows] == chosen
    assert all(300 <= row["response_ms"] < 20_000 for row in rows)
    assert {row["layout"] for row in rows} == {"side" if visit.page.viewport_size == DESK else "stacked"}
    assert participants_table(pair_study)["age"].to_pylist() == ["34"]
    assert visit.trouble == []
    assert len(visit.hosts) == 1


@rating
def test_ratings_from_consent_to_the_code_and_no_value_before_the_slider_is_touched(
    address: str, context: BrowserContext, rating_study: Study
) -> None:
    visit = Visit(context, address)
    visit.agree()
    count = 0
    while not visit.ended():
        if (onward := visit.page.get_by_role("button", name=re.compile("Continue with part"))).is_visible():
            onward.click()
            continue
        visit.ready()
        slider = visit.page.get_by_role("slider")
        submit = visit.page.get_by_role("button", name="Next")
        expect(submit).to_be_disabled()
        assert slider.get_attribute("aria-valuetext") == "not set yet"
        box = slider.bounding_box()
        assert box is not None
        slider.click(position={"x": box["width"] * 0.75, "y": box["height"] / 2})
        assert "good" in (slider.get_attribute("aria-valuetext") or "")
        before = visit.position()
        submit.click()
        count += 1
        expect(visit.page.locator(f"input[name=position][value='{before}']")).to_have_count(0)
    ratings = ratings_table(rating_study)["rating"].to_pylist()
    assert len(ratings) == count
    assert all(rating == pytest.approx(75, abs=5) for rating in ratings)
    assert visit.trouble == []


@rating
def test_the_slider_by_keyboard_only(address: str, chromium: Browser, rating_study: Study) -> None:
    visit = Visit(chromium.new_context(viewport=DESK), address)
    page = visit.page
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.type") != "checkbox":
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="About you")).to_be_visible()
    while page.evaluate("document.activeElement.textContent") != "Continue":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    visit.ready()
    page.keyboard.press("Enter")  # nothing was set: nothing is sent
    page.wait_for_timeout(200)
    assert visit.position() == "0"
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("input[name=position][value='1']")).to_have_count(1)
    assert ratings_table(rating_study)["rating"].to_pylist() == [60.0]
    assert visit.trouble == []
    page.context.close()


@pairs
def test_pairs_by_tab_and_enter_with_names_that_a_screen_reader_says(
    address: str, chromium: Browser, pair_study: Study
) -> None:
    visit = Visit(chromium.new_context(viewport=DESK), address)
    visit.agree()
    visit.ready()
    assert visit.page.locator("progress").get_attribute("aria-label") == "Progress"
    while visit.page.evaluate("document.activeElement.getAttribute('value')") != "right":
        visit.page.keyboard.press("Tab")
    expect(visit.page.locator(":focus")).to_have_accessible_name("I prefer the right image")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("input[name=position][value='1']")).to_have_count(1)
    assert votes_table(pair_study)["winner"].to_pylist() == ["right"]
    assert visit.page.evaluate("document.activeElement.id") == "main"
    visit.page.context.close()


@pairs
def test_a_reload_in_the_middle_goes_on_at_the_same_trial(
    address: str, context: BrowserContext, pair_study: Study
) -> None:
    visit = Visit(context, address)
    visit.agree()
    for _ in range(3):
        visit.ready()
        before = visit.position()
        visit.page.keyboard.press("ArrowLeft")
        expect(visit.page.locator(f"input[name=position][value='{before}']")).to_have_count(0)
    visit.ready()
    shown = (visit.position(), visit.page.locator("form.pair img").evaluate_all("images => images.map((i) => i.src)"))
    visit.page.reload()
    visit.ready()
    again = (visit.position(), visit.page.locator("form.pair img").evaluate_all("images => images.map((i) => i.src)"))
    assert shown == again
    assert len(votes_table(pair_study)) == 3


@pairs
def test_a_lost_connection_is_said_and_the_vote_is_sent_again(
    address: str, chromium: Browser, pair_study: Study
) -> None:
    context = chromium.new_context(viewport=DESK)
    visit = Visit(context, address)
    visit.agree()
    visit.ready()
    context.set_offline(True)
    visit.page.keyboard.press("ArrowRight")
    expect(visit.page.get_by_role("status")).to_contain_text("Not saved yet")
    visit.page.keyboard.press("ArrowLeft")  # the first choice is under way
    context.set_offline(False)
    expect(visit.page.locator("input[name=position][value='1']")).to_have_count(1)
    assert votes_table(pair_study)["winner"].to_pylist() == ["right"]
    context.close()


@pairs
def test_pairs_work_without_javascript(address: str, chromium: Browser, pair_study: Study) -> None:
    context = chromium.new_context(viewport=DESK, java_script_enabled=False)
    visit = Visit(context, address)
    visit.agree()
    visit.page.get_by_role("button", name="I prefer the left image").click()
    visit.page.get_by_role("button", name="I prefer the right image").click()
    assert votes_table(pair_study)["winner"].to_pylist() == ["left", "right"]
    context.close()


@pairs
def test_both_images_are_in_view_and_of_one_size(address: str, context: BrowserContext) -> None:
    visit = Visit(context, address)
    visit.agree()
    visit.ready()
    boxes = [visit.page.locator("form.pair img").nth(n).bounding_box() for n in (0, 1)]
    size = visit.page.viewport_size
    assert size is not None
    one, two = boxes
    assert one is not None and two is not None
    assert (round(one["width"]), round(one["height"])) == (round(two["width"]), round(two["height"]))
    buttons = [visit.page.locator("button.picture").nth(n).bounding_box() for n in (0, 1)]
    for box, button in zip((one, two), buttons, strict=True):  # none is cut by what it stands in
        assert button is not None
        assert box["width"] <= button["width"] and box["height"] <= button["height"]
    assert visit.page.locator("form.pair img").first.evaluate("image => getComputedStyle(image).objectFit") == "contain"
    for box in (one, two):
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
        assert box["y"] >= 0 and box["y"] + box["height"] <= size["height"]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pairs
def test_a_double_click_answers_one_trial(address: str, chromium: Browser, pair_study: Study) -> None:
    context = chromium.new_context(viewport=DESK)
    visit = Visit(context, address)
    visit.agree()
    visit.ready()
    visit.page.mouse.dblclick(300, 400, delay=60)
    expect(visit.page.locator("input[name=position][value='1']")).to_have_count(1)
    visit.ready()
    assert visit.position() == "1"
    assert len(votes_table(pair_study)) == 1
    context.close()


def test_who_is_done_is_taken_back_to_where_they_came_from(
    chromium: Browser, run_folder: Build, tmp_path: Path
) -> None:
    run = run_folder(prompts={"p1": "a wall"}, users={"u1": 60})
    with serving(PlainTextResponse("welcome back")) as back:
        choices = {"practice": 0, "attention": 0, "repeats": 0, "completion_url": f"{back}/done?code=1"}
        study = make_pairs(read_steered_images([run]), [run], tmp_path / "study", others=0, choices=choices)
        study_session = StudySession(study, Store(study.database), approve_all=True)
        (_, token) = study_session.store.invite(["u1"])[0]
        with serving(create_app(study_session, researcher_token="t" * 24)) as base:
            context = chromium.new_context(viewport=DESK)
            visit = Visit(context, f"{base}/join/{token}")
            visit.agree()
            visit.ready()
            visit.page.keyboard.press("ArrowLeft")
            expect(visit.page.get_by_role("heading", name="Thank you!")).to_be_visible()
            visit.page.wait_for_url(f"{back}/done?code=1", timeout=15_000)
            context.close()


def test_what_comes_next_is_in_the_browser_before_it_is_asked(
    chromium: Browser, pair_study: Study, tmp_path: Path
) -> None:
    study_session = StudySession(pair_study, Store(pair_study.database), approve_all=True)
    (_, token) = study_session.store.invite(["u1"])[0]
    with serving(create_app(study_session, researcher_token="t" * 24)) as base:
        context = chromium.new_context(viewport=DESK)
        fetched: list[str] = []
        visit = Visit(context, f"{base}/join/{token}")
        visit.page.on("response", lambda r: fetched.append(r.url) if "/assets/" in r.url else None)
        visit.agree()
        visit.ready()
        visit.page.wait_for_load_state("networkidle")
        before = len(fetched)
        visit.page.keyboard.press("ArrowLeft")
        expect(visit.page.locator("input[name=position][value='1']")).to_have_count(1)
        visit.ready()
        shown = visit.page.locator("form.pair img").evaluate_all("images => images.map((i) => i.currentSrc)")
        assert set(shown) <= set(fetched[:before])
        context.close()
    study_session.store.close()
