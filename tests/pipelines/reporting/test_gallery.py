import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

from pipelines.records.outcomes import Best, Outcome
from pipelines.reporting import gallery, pictures
from pipelines.reporting.forest_plot import Finding, ForestPlot
from pipelines.reporting.gallery import Page, write_gallery
from pipelines.reporting.word_diff import Piece, word_diff
from pipelines.search.state_machine import StopReason
from pipelines.search.trajectory import Trajectory
from tests.histories import best, outcome_of

HOSTILE = (
    """<script>window.hacked = 1</script>"><img src=x onerror="window.hacked = 2"> 'javascript:hacked()' {{ 7 * 7 }}"""
)
PAGE = Page(title="run", notes=("Develops real photographs.",), people={"u01": "34 years old, female, Brazilian"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder whose path needs quoting in a URL."""
    folder = tmp_path / "a run #1"
    folder.mkdir()
    return folder


def test_the_page_opens_from_disk_with_every_picture_and_without_a_request_or_an_error(
    folder: Path, chromium: Browser
) -> None:
    path = write_gallery(folder, run(folder, users=("u01", "u02", "u03"), prompts=("a cat", "a dog")), PAGE)

    tab, requests, complaints = visit(chromium, path, width=390)

    assert requests == [path.as_uri()]
    assert complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("document.images.length") > 20
    assert undecoded(tab) == []
    assert tab.evaluate("[...document.images].filter(image => !image.alt).length") == 0


def test_hostile_text_arrives_as_it_was_typed_and_runs_nowhere(folder: Path, chromium: Browser) -> None:
    outcomes = run(folder, users=(HOSTILE,), prompts=(HOSTILE,))
    outcomes += [failed(HOSTILE, "p2", HOSTILE, reason=HOSTILE)]
    page = Page(
        title=HOSTILE,
        notes=(HOSTILE,),
        people={HOSTILE: HOSTILE},
        verdict=(Finding(label=HOSTILE, value=0.2, ci_low=0.1, ci_high=0.3),),
        failures=(HOSTILE,),
    )

    tab, requests, complaints = visit(chromium, write_gallery(folder, outcomes, page), width=390)

    assert tab.evaluate("window.hacked") is None
    assert complaints == []
    assert len(requests) == 1
    assert tab.locator("script").count() == 1
    assert tab.locator("[onerror], [href^='javascript'], img[src='x']").count() == 0
    unfold(tab)
    for part in ("h1", ".notes", ".verdict th[scope=row]", ".failures li", ".prompt h2 >> nth=0", "h3 >> nth=0"):
        assert HOSTILE in tab.locator(part).inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_a_script_that_slipped_in_would_be_stopped_by_the_content_policy(folder: Path, chromium: Browser) -> None:
    path = write_gallery(folder, run(folder), PAGE)
    path.write_text(path.read_text().replace("</main>", "<script>window.hacked = 1</script></main>"))

    tab, _, complaints = visit(chromium, path)

    assert tab.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in complaints)


def test_the_bytes_of_each_distinct_picture_are_in_the_page_once(folder: Path) -> None:
    outcomes = run(folder, users=("u01", "u02", "u03"))
    distinct = {best.image for outcome in outcomes for best in outcome.bests}

    html = write_gallery(folder, outcomes, PAGE).read_text()

    assert html.count("data:image/webp;base64,") == len(distinct)
    assert html.count("data-same=") > len(distinct)


def test_without_scripts_a_repeated_picture_comes_from_the_run_folder(folder: Path, chromium: Browser) -> None:
    path = write_gallery(folder, run(folder), PAGE)
    tab = chromium.new_context(java_script_enabled=False).new_page()

    tab.goto(path.as_uri())

    repeats = tab.locator("noscript img")
    assert repeats.count() > 0
    assert all(f"images/{path}" for path in repeats.evaluate_all("all => all.map(i => i.getAttribute('src'))"))
    repeats.first.scroll_into_view_if_needed()
    tab.wait_for_function("document.querySelector('noscript img').naturalWidth > 0")
    assert tab.locator("img[data-same]:visible").count() == 0


def test_a_run_of_very_many_pictures_links_to_them(
    folder: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_EMBEDDED", 20)
    path = write_gallery(folder, run(folder), PAGE)

    tab, requests, complaints = visit(chromium, path)

    assert "data:image/webp" not in path.read_text()
    assert complaints == []
    assert all(url.startswith(folder.as_uri()) for url in requests)
    assert undecoded(tab) == []


def test_where_not_all_pictures_fit_the_overviews_have_theirs_and_the_steps_link_to_them(
    folder: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = run(folder, users=("u01", "u02"))
    embedded = re.findall(r'data:image/webp[^"]*', write_gallery(folder, outcomes, PAGE).read_text())
    monkeypatch.setattr(pictures, "MOST_EMBEDDED", sum(map(len, embedded)) - 1)

    tab, _, complaints = visit(chromium, write_gallery(folder, outcomes, PAGE))

    sources = "all => all.map(image => image.getAttribute('src').slice(0, 5))"
    assert set(tab.locator(".finals img").evaluate_all(sources)) == {"data:"}
    assert set(tab.locator(".film .step img").evaluate_all(sources)) == {"image", "data:"}
    assert undecoded(tab) == []
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_have_a_pixel_for_each_of_a_screen_of_double_density(
    folder: Path, chromium: Browser, width: int
) -> None:
    path = write_gallery(folder, run(folder, users=("u01", "u02"), side=700), PAGE)
    tab = chromium.new_context(viewport={"width": width, "height": 900}, device_scale_factor=2).new_page()
    tab.goto(path.as_uri())
    unfold(tab)

    shown = tab.evaluate(
        "[...document.images].filter(i => i.width).map(i => [i.naturalWidth, i.width * devicePixelRatio, i.alt])"
    )

    assert len(shown) > 10
    assert [picture for picture in shown if picture[0] < picture[1]] == []


def test_a_picture_is_never_enlarged_for_the_page(folder: Path, chromium: Browser) -> None:
    tab, *_ = visit(chromium, write_gallery(folder, run(folder), PAGE))

    assert undecoded(tab) == []
    assert set(tab.evaluate("[...document.images].map(image => image.naturalWidth)")) == {64}


def test_every_picture_leads_to_its_png(folder: Path, chromium: Browser) -> None:
    outcomes = run(folder, users=("u01", "u02"))

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, PAGE))

    assert tab.locator("img.picture").count() == tab.locator("a.full img.picture").count()
    targets = set(tab.locator("a.full").evaluate_all("all => all.map(link => link.getAttribute('href'))"))
    assert {Path(target).stem for target in targets} == {best.image for o in outcomes for best in o.bests}
    assert all((folder / target).is_file() for target in targets)
    tab.locator(".people a.full").first.click()
    assert tab.url.endswith(".png")
    assert tab.evaluate("document.images[0].naturalWidth") == 64


def test_people_come_by_their_gain_the_largest_first_and_those_who_failed_last(folder: Path, chromium: Browser) -> None:
    gains = {"u01": 0.1, "u02": 0.4, "u03": 0.0, "u04": 0.3}
    outcomes = [gained(folder, user, gain) for user, gain in gains.items()]
    outcomes[1] = replace(outcomes[1], stop_reason=StopReason.UNFINISHED)
    outcomes.insert(0, failed("u00", "p1", "a cat", reason="out of memory"))

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, PAGE))
    unfold(tab)

    assert tab.locator(".people bdi").all_inner_texts() == ["u04", "u01", "u03", "u02", "u00"]
    assert tab.locator("h3").all_inner_texts() == ["u04", "u01", "u03", "u02", "u00"]


def test_a_gain_below_its_uncertainty_is_said_to_be_one(folder: Path, chromium: Browser) -> None:
    outcomes = [gained(folder, user, gain) for user, gain in {"u01": 0.3, "u02": 0.05, "u03": 0.0, "u04": 0.1}.items()]
    errors = {o.trajectory.id: 0.08 for o in outcomes if o.trajectory.user != "u04"}
    page = replace(PAGE, gain_errors=errors, known={"u02": "Error of a predicted preference: ±0.08."})

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, page))
    unfold(tab)

    said = {figure.split()[0]: "below its uncertainty, ±0.08" in figure for figure in figures(tab)}
    assert said == {"u01": False, "u02": True, "u03": False, "u04": False}
    assert tab.locator(".people b.gain").all_inner_texts() == ["+0.30", "+0.10"]
    assert "1 gain is below its uncertainty" in tab.locator(".facts").inner_text()
    remarks = tab.locator("article", has_text="u02").inner_text()
    assert "Error of a predicted preference: ±0.08." in remarks
    assert "The gain is smaller than its uncertainty, ±0.08." in remarks


def test_the_runs_of_a_person_stay_side_by_side_and_scorers_apart(folder: Path, chromium: Browser) -> None:
    gains = {("u01", 1): 0.1, ("u02", 1): 0.5, ("u01", 2): 0.7, ("u02", 2): 0.2}
    outcomes = [gained(folder, user, gain, number=number) for (user, number), gain in gains.items()]
    outcomes.insert(0, gained(folder, "*", 9.0, scorer="laion"))
    outcomes.append(gained(folder, "u03", 0.3))

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, PAGE))
    unfold(tab)

    rows = [list(filter(None, text.split("\n")))[:2] for text in tab.locator(".who").all_inner_texts()]
    assert rows == [
        ["everyone", "laion, run 1"],
        ["u01", "pamela, run 1"],
        ["u01", "pamela, run 2"],
        ["u02", "pamela, run 1"],
        ["u02", "pamela, run 2"],
        ["u03", "pamela, run 1"],
    ]


def test_the_steps_are_folded_until_they_are_asked_for(folder: Path, chromium: Browser) -> None:
    path = write_gallery(folder, run(folder, prompts=("a cat", "a dog")), PAGE)

    tab, *_ = visit(chromium, path)
    assert tab.locator("details[open]").count() == 0
    assert tab.locator("article:visible").count() == 0
    tab.locator("summary").first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("article:visible").count() == 1

    tab.goto(f"{path.as_uri()}#t2")
    tab.reload()
    assert tab.locator("#t2").is_visible()


def test_a_run_of_very_many_trajectories_is_on_several_pages_that_lead_to_each_other(
    folder: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST_ROWS", 2)
    outcomes = run(folder, users=("u01", "u02", "u03"), prompts=("a cat", "a dog"))

    tab, requests, complaints = visit(chromium, write_gallery(folder, outcomes, PAGE), width=390)

    assert sorted(path.name for path in folder.glob("*.html")) == ["gallery-2.html", "gallery-3.html", "gallery.html"]
    assert tab.locator("nav[aria-label=Pages] [aria-current]").inner_text().split() == ["Page", "1"]
    assert "2 prompts" in tab.locator(".facts").inner_text()
    shown = tab.locator("h3").all_text_contents()
    tab.get_by_role("navigation", name="Prompts").get_by_text("a dog").click()
    assert tab.url.endswith("gallery-2.html#p2")
    shown += tab.locator("h3").all_text_contents()
    assert tab.locator(".heading .number").all_inner_texts() == ["Prompt 1 of 2", "Prompt 2 of 2"]
    tab.get_by_role("link", name="Next page").first.click()
    assert shown + tab.locator("h3").all_text_contents() == ["u01", "u02", "u03"] * 2
    assert undecoded(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.locator("article").evaluate_all("all => all.map(one => one.id)") == ["t5", "t6"]
    assert complaints == []
    assert all(url.startswith(folder.as_uri()) for url in requests)


def test_a_picture_that_is_gone_or_broken_leaves_a_note_in_its_place(folder: Path) -> None:
    outcomes = run(folder)
    pictures = sorted((folder / "images").rglob("*.png"))
    pictures[0].unlink()
    pictures[1].write_bytes(b"not a picture")

    assert "picture missing" in write_gallery(folder, outcomes, PAGE).read_text()


def test_trajectories_that_failed_or_are_unfinished_are_listed_with_their_reason(
    folder: Path, chromium: Browser
) -> None:
    (whole,) = run(folder)
    outcomes = [
        whole,
        failed("u02", "p1", "a cat", reason="out of memory"),
        outcome_of(trajectory("u03", "p1", "a cat"), *whole.bests[:2], stop_reason=StopReason.UNFINISHED),
        outcome_of(trajectory("u04", "p1", "a cat"), stop_reason=StopReason.UNFINISHED),
    ]

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, PAGE))

    unfold(tab)
    assert tab.locator("h3").all_inner_texts() == ["u01", "u03", "u02", "u04"]
    rows = tab.locator("article").all_inner_texts()
    assert "Unfinished" in rows[1] and "Best so far" in rows[1]
    assert "out of memory" in rows[2]
    assert "Unfinished" in rows[3]
    assert "3 trajectories not finished" in tab.locator(".facts").inner_text()


def test_an_iteration_without_a_new_best_is_marked_as_kept_and_shows_no_picture(
    folder: Path, chromium: Browser
) -> None:
    tab, *_ = visit(chromium, write_gallery(folder, run(folder), PAGE))

    unfold(tab)
    kept = tab.locator("article .kept")
    assert kept.all_inner_texts() != [] and all("kept" in text for text in kept.all_inner_texts())
    assert kept.locator("img").count() == 0


def test_the_rows_of_several_runs_and_scorers_say_which_they_are(folder: Path, chromium: Browser) -> None:
    (outcome,) = run(folder)
    laion = trajectory("*", "p1", "a cat", scorer="laion", number=2)
    outcomes = [outcome, outcome_of(laion, *outcome.bests)]

    tab, *_ = visit(chromium, write_gallery(folder, outcomes, PAGE))

    unfold(tab)
    assert tab.locator("h3").all_inner_texts() == ["u01", "everyone"]
    assert "pamela, run 1" in tab.locator("article").nth(0).inner_text()
    assert "laion, run 2" in tab.locator("article").nth(1).inner_text()


def test_a_person_in_the_overview_leads_to_that_persons_steps_by_keyboard(folder: Path, chromium: Browser) -> None:
    tab, *_ = visit(chromium, write_gallery(folder, run(folder, prompts=("a cat", "a dog")), PAGE))
    steps = tab.locator("details").nth(1)
    assert steps.get_attribute("open") is None

    tab.locator("#p2 .people .name a").focus()
    tab.keyboard.press("Enter")

    tab.wait_for_function("document.querySelectorAll('details')[1].open")
    assert steps.locator("article").first.is_visible()


@pytest.mark.parametrize("low, value, high", [(0.1, 0.2, 0.3), (-0.3, -0.2, -0.1), (-0.004, 0.0, 0.002), (0, 0, 0)])
def test_the_verdict_is_drawn_inside_its_axis_with_a_zero_line(
    folder: Path, low: float, value: float, high: float
) -> None:
    forest = ForestPlot.of([Finding(label="own − other", value=value, ci_low=low, ci_high=high)])

    ((_, *positions),) = forest.bars
    assert 0 <= forest.zero <= 100
    assert positions == sorted(positions) and positions[0] >= 0 and positions[-1] <= 100
    assert (positions[1] > forest.zero) == (value > 0)
    assert any(tick == 0 and at == forest.zero for tick, at in forest.ticks)


def test_the_same_run_gives_the_same_page(folder: Path) -> None:
    outcomes = run(folder, users=("u01", "u02"))

    assert write_gallery(folder, outcomes, PAGE).read_bytes() == write_gallery(folder, outcomes, PAGE).read_bytes()


def test_a_run_without_outcomes_still_has_a_page(folder: Path) -> None:
    assert "<b>0</b> prompts" in write_gallery(folder, [], PAGE).read_text()


def test_the_word_diff_marks_added_and_removed_words() -> None:
    assert word_diff("a red cat at dusk", "A cat at dusk, golden hour, very warm") == [
        Piece("same", "", "A"),
        Piece("removed", " ", "red"),
        Piece("same", " ", "cat at dusk"),
        Piece("added", ", ", "golden hour, very warm"),
    ]


def test_a_comma_between_two_new_words_does_not_break_them_up() -> None:
    pieces = word_diff("a cat, sharp, bright, indoors", "a cat, soft, dim, indoors")

    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("same", "a cat,"),
        ("removed", "sharp, bright"),
        ("added", "soft, dim"),
        ("same", ", indoors"),
    ]


@given(st.text(), st.text())
def test_the_word_diff_loses_nothing_of_either_prompt(before: str, after: str) -> None:
    pieces = word_diff(before, after)

    def ink(*kinds: str) -> str:
        return "".join("".join(piece.gap + piece.text for piece in pieces if piece.kind in kinds).split())

    assert ink("same", "added") == "".join(after.split())
    assert ink("same", "removed").casefold() == "".join(before.split()).casefold()


def run(
    folder: Path, users: Sequence[str] = ("u01",), prompts: Sequence[str] = ("a cat",), side: int = 64
) -> list[Outcome]:
    """Trajectories that find something better in iterations 1 and 3, and nothing in iterations 2 and 4."""
    return [
        outcome_of(
            trajectory(user, f"p{number}", prompt),
            rendered(folder, prompt, 0.4, side),
            *[rendered(folder, f"{prompt}, soft light", 0.5, side)] * 2,
            *[rendered(folder, f"{prompt}, golden hour for {user}", 0.8, side)] * 2,
        )
        for number, prompt in enumerate(prompts, start=1)
        for user in users
    ]


def gained(folder: Path, user: str, gain: float, *, scorer: str = "pamela", number: int = 1) -> Outcome:
    """A finished trajectory whose score has risen so much."""
    return outcome_of(
        trajectory(user, "p1", "a cat", scorer=scorer, number=number),
        rendered(folder, "a cat", 1.0),
        rendered(folder, f"a cat for {user}, {scorer}, {number}", 1.0 + gain),
    )


def failed(user: str, prompt_id: str, prompt: str, *, reason: str) -> Outcome:
    return outcome_of(trajectory(user, prompt_id, prompt), stop_reason=StopReason.FAILED, failure=reason)


def trajectory(user: str, prompt_id: str, prompt: str, *, scorer: str = "pamela", number: int = 1) -> Trajectory:
    return Trajectory(
        user=user,
        user_ids=() if user == "*" else (user,),
        prompt_id=prompt_id,
        base_prompt=prompt,
        scorer=scorer,
        run=number,
        image_seed=1,
        seed=0,
    )


def rendered(folder: Path, prompt: str, score: float, side: int = 64) -> Best:
    """A best image that is on the disk."""
    key = sha256(prompt.encode()).hexdigest()
    path = folder / "images" / key[:2] / f"{key}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), f"#{key[:6]}").save(path)
    return best(prompt, key, score)


def figures(tab: Tab) -> list[str]:
    """What stands below each person's final picture."""
    return tab.locator(".people figcaption").all_inner_texts()


def visit(chromium: Browser, path: Path, width: int = 1280) -> tuple[Tab, list[str], list[str]]:
    """The page in a browser, every request that it made for something outside itself, and every complaint."""
    tab = chromium.new_page(viewport={"width": width, "height": 900})
    requests: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: None if request.url.startswith("data:") else requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.goto(path.as_uri())
    return tab, requests, complaints


def unfold(tab: Tab) -> None:
    """Open every part of the page."""
    tab.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")


def undecoded(tab: Tab) -> list[str]:
    """The pictures that a reader who opens every part of the page doesn't get to see."""
    return tab.evaluate("""async () => {
        for (const part of document.querySelectorAll("details")) part.open = true;
        for (const image of document.images) image.loading = "eager";
        await Promise.allSettled([...document.images].map(image => image.decode()));
        return [...document.images].filter(image => image.naturalWidth < 10).map(image => image.alt);
    }""")
