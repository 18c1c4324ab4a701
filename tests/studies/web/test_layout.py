"""Pages in real Chromium, in German and Arabic, on a desk and on two phones: all is in view, and by keyboard alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from studies.results.answers import ratings_table, votes_table
from studies.session import StudySession
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app
from studies.web.serving import serving

READY = "form[data-shown]"
SCREENS = {"desk": (1280, 800), "phone": (390, 844), "small": (320, 568)}

OUTSIDE = """() => {
  const wide = document.documentElement.clientWidth;
  return [...document.querySelectorAll("main *")]
    .filter((e) => e.checkVisibility() && !e.closest(".hidden"))
    .map((e) => [e.tagName, e.className, e.getBoundingClientRect()])
    .filter(([, , box]) => box.width && (box.left < -0.5 || box.right > wide + 0.5))
    .map(([tag, name, box]) => `${tag}.${name} ${box.left} ${box.right}`);
}"""
"""Elements that reach over an edge of the window."""

COVERED = """() => [...document.querySelectorAll("button, a, input, .question, .anchors span")]
  .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.type !== "hidden")
  .filter((e) => {
    e.scrollIntoView({ block: "center" });
    const box = e.getBoundingClientRect();
    const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return top && !(e === top || e.contains(top) || top.contains(e));
  }).map((e) => e.outerHTML.slice(0, 120))"""
"""What can be read or used, but has something else lying over its middle."""


@pytest.fixture
def open_study(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Somebody stands at the first trial: `open_study(study, screen=…, language=…)`."""
    undone: list[Callable[[], object]] = []

    @contextmanager
    def served(study: Study) -> Iterator[str]:
        session = StudySession(study, Store(study.database), approve_all=True)
        ((_, token),) = session.store.invite(["u1" if study.users else None])
        with serving(create_app(session, researcher_token="t" * 24)) as base:
            yield f"{base}/join/{token}"

    def opened(study: Study, *, screen: str = "desk", language: str = "en", begin: bool = True) -> Page:
        server = served(study)
        link = server.__enter__()
        undone.append(lambda: server.__exit__(None, None, None))
        width, height = SCREENS[screen]
        context: BrowserContext = chromium.new_context(
            viewport={"width": width, "height": height}, locale=language, has_touch=screen != "desk"
        )
        context.set_default_timeout(20_000)
        undone.append(context.close)
        page = context.new_page()
        page.goto(link)
        if begin:
            page.locator("input[name=agreed]").check()
            page.locator("form .go").click()
            page.locator("#age").wait_for()
            page.locator("form .go").click()
            page.locator(READY).wait_for()
        return page

    yield opened
    for undo in reversed(undone):
        undo()


def next_trial(page: Page, key: str) -> None:
    """Answer by a key once the trial can be answered, and wait for what comes."""
    page.locator(READY).wait_for()
    page.wait_for_timeout(350)
    before = page.locator("input[name=position]").input_value()
    page.keyboard.press(key)
    expect(page.locator(f"input[name=position][value='{before}']")).to_have_count(0)


@pytest.mark.parametrize(
    "screen", ["small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("phone", "desk"))]
)
@pytest.mark.parametrize("language", ["de", "ar"])
@pytest.mark.parametrize("kind", ["pair_study", "rating_study"])
def test_nothing_reaches_over_an_edge_or_lies_over_anything(
    kind: str, language: str, screen: str, request: pytest.FixtureRequest, open_study: Callable[..., Page]
) -> None:
    study = request.getfixturevalue(kind)
    page = open_study(study, screen=screen, language=language, begin=False)
    found = {}
    for name in ("consent", "about", "trial", "after an answer", "withdraw"):
        if name == "about":
            page.locator("input[name=agreed]").check()
            page.locator("form .go").click()
            page.locator("#age").wait_for()
        elif name == "trial":
            page.locator("form .go").click()
            page.locator(READY).wait_for()
        elif name == "after an answer":
            if kind == "rating_study":
                page.keyboard.press("5")
            next_trial(page, "Enter" if kind == "rating_study" else "ArrowLeft")
            page.locator(READY).wait_for()
        elif name == "withdraw":
            page.locator(".foot a").click()
            page.locator(".danger").wait_for()
        found[name] = page.evaluate(OUTSIDE) + page.evaluate(COVERED)
        assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen][0], name
    assert [fault for faults in found.values() for fault in faults] == []


def test_keys_1_to_5_jump_to_the_anchors_and_enter_sends(rating_study: Study, open_study: Callable[..., Page]) -> None:
    page = open_study(rating_study)
    for key in ("1", "2", "5"):
        page.locator(READY).wait_for()
        page.keyboard.press("3")
        page.keyboard.press(key)
        next_trial(page, "Enter")
    assert ratings_table(rating_study)["rating"].to_pylist() == [0.0, 25.0, 100.0]


def test_in_arabic_the_scale_runs_from_the_right_by_mouse_and_by_arrow(
    rating_study: Study, open_study: Callable[..., Page]
) -> None:
    page = open_study(rating_study, language="ar")
    page.keyboard.press("ArrowLeft")  # forwards, as one reads
    next_trial(page, "Enter")
    page.locator(READY).wait_for()
    box = page.get_by_role("slider").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + box["height"] / 2)  # the far left: excellent
    next_trial(page, "Enter")
    first, second = ratings_table(rating_study)["rating"].to_pylist()
    assert first == 51.0
    assert second == pytest.approx(100, abs=2)


@pytest.mark.slow
def test_a_slip_is_undone_within_five_seconds_and_then_the_button_is_gone(
    pair_study: Study, open_study: Callable[..., Page]
) -> None:
    page = open_study(pair_study)
    assert page.get_by_role("button", name="Undo").count() == 0
    next_trial(page, "ArrowLeft")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("input[name=position][value='0']")).to_have_count(1)
    assert len(votes_table(pair_study)) == 0
    next_trial(page, "ArrowRight")
    page.keyboard.press("Control+z")
    expect(page.locator("input[name=position][value='0']")).to_have_count(1)
    next_trial(page, "ArrowRight")
    assert votes_table(pair_study)["winner"].to_pylist() == ["right"]
    page.wait_for_timeout(5_200)
    expect(page.locator(".undo")).to_be_hidden()


def test_a_phone_gets_smaller_files_than_a_desk_and_all_of_a_prompt_are_equally_long(
    pair_study: Study, open_study: Callable[..., Page]
) -> None:
    page = open_study(pair_study, screen="phone")
    sources = page.locator("form.pair img").evaluate_all("images => images.map((i) => i.currentSrc)")
    assert all(source.endswith(f"-{pair_study.settings.widths[0]}.webp") for source in sources)
    assert page.locator("form.pair img").first.evaluate("image => image.naturalWidth > 0")


def test_keyboard_only_from_consent_to_the_first_answer_in_german(
    pair_study: Study, open_study: Callable[..., Page]
) -> None:
    page = open_study(pair_study, language="de", begin=False)
    for wanted, key in (("input[name=agreed]", "Space"), ("form .go", "Enter")):
        while not page.evaluate("(s) => document.activeElement.matches(s)", wanted):
            page.keyboard.press("Tab")
        page.keyboard.press(key)
    page.locator("#age").wait_for()
    while not page.evaluate("document.activeElement.matches('form .go')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(READY).wait_for()
    page.wait_for_timeout(350)
    while not page.evaluate("document.activeElement.matches('button.picture[value=right]')"):
        page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_accessible_name("Mir gefällt das rechte Bild besser")
    next_trial(page, "Enter")
    assert votes_table(pair_study)["winner"].to_pylist() == ["right"]
