"""What the gallery says of groups, and of people along their age, in a real browser."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from pipelines.planning.users import Audience
from pipelines.records.outcomes import Outcome
from pipelines.reporting.gallery import Page, write_gallery
from pipelines.reporting.gallery_trends import MOST_AUDIENCES, SHOWN, TrendsShown
from pipelines.reporting.trends import Trends, trends
from predictor.simulation.attributes import ATTRIBUTES
from predictor.simulation.verdict import Steered
from tests.pipelines.reporting.test_gallery import HOSTILE, run, unfold, visit

YOUNG, OLD = "group:age < 30", "group:age >= 50"


def test_groups_are_compared_in_a_table_that_names_them_by_their_predicate(tmp_path: Path, chromium: Browser) -> None:
    audiences = [Audience(name=YOUNG, user_ids=("u1", "u2", "u3")), Audience(name=OLD, user_ids=("u4",))]
    page = Page(title="run", notes=(), people={}, trends=made(audiences))

    tab, requests, complaints = visit(chromium, write_gallery(tmp_path, steered(tmp_path, audiences), page), width=390)

    section = tab.get_by_role("region", name="What groups were steered to")
    assert section.locator(".panels caption .label").all_inner_texts() == [SHOWN[a][0] for a in ATTRIBUTES]
    assert section.locator(".panels tbody th").all_inner_texts() == ["age < 30", "age >= 50"] * 7
    axis = section.locator(".panels .axis").first.locator("text").all_text_contents()
    assert 2 <= len(axis) <= 3 and "0" in axis
    figures = section.get_by_role("table", name="The final pictures in numbers")
    rows = figures.locator("tbody th[scope=row]").all_inner_texts()
    assert rows == ["age < 30\n3 people", "age >= 50\n1 person", "(age >= 50) − (age < 30)"]
    assert figures.locator("tbody tr").last.locator("td").count() == 7
    assert "too narrow" in section.inner_text()
    unfold(tab)
    assert tab.locator("h3").all_inner_texts() == ["age < 30", "age >= 50"]
    assert "the mean of 3 people" in tab.locator("article").first.inner_text()
    assert "a group of one person" in tab.locator("article").last.inner_text()
    assert "2 groups" in tab.locator(".facts").inner_text() and "4 people" in tab.locator(".facts").inner_text()
    assert "for each group" in tab.locator(".lede").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert complaints == [] and len(requests) == 1


def test_people_are_dots_along_their_age_and_the_slope_is_said_in_words(tmp_path: Path, chromium: Browser) -> None:
    people = [Audience(name=f"u{n}", user_ids=(f"u{n}",)) for n in range(8)]
    found = made(people, ages=range(20, 100, 10))
    page = Page(title="run", notes=(), people={}, trends=found)

    tab, _, complaints = visit(chromium, write_gallery(tmp_path, steered(tmp_path, people), page), width=390)

    section = tab.get_by_role("region", name="What people were steered to")
    assert section.locator("figure").count() == 7
    assert section.locator("table").count() == 0
    assert "too narrow" not in section.inner_text()  # few prompts make no interval over people narrow
    assert section.locator("figure").first.locator("circle").count() == 8
    words = section.get_by_role("img", name="Saturation by age").get_attribute("aria-label") or ""
    assert f"{found.slopes[0].values['saturation'].value:+.1f}".replace("-", "−") + " per 10 years of age" in words
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert complaints == []


def test_a_hostile_group_arrives_as_it_was_typed(tmp_path: Path, chromium: Browser) -> None:
    audiences = [Audience(name=f"group:{HOSTILE}", user_ids=("u1",)), Audience(name=HOSTILE, user_ids=("u2",))]
    page = Page(title="run", notes=(), people={}, trends=made(audiences))

    tab, _, complaints = visit(chromium, write_gallery(tmp_path, steered(tmp_path, audiences), page), width=390)

    assert tab.locator(".panels tbody th >> nth=0").inner_text() == HOSTILE
    assert tab.evaluate("window.hacked") is None
    assert complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_many_people_without_demographics_have_no_section() -> None:
    many = [Audience(name=f"u{n}", user_ids=(f"u{n}",)) for n in range(MOST_AUDIENCES + 1)]

    assert TrendsShown.of(made(many)) is None
    assert TrendsShown.of(made(many[:2])) is not None


def test_of_many_audiences_the_groups_are_shown() -> None:
    people = [Audience(name=f"u{n}", user_ids=(f"u{n}",)) for n in range(MOST_AUDIENCES)]
    groups = [Audience(name=name, user_ids=("u1", "u2")) for name in (YOUNG, OLD)]

    shown = TrendsShown.of(made([*people, *groups]))

    assert shown is not None
    assert [name for name, *_ in shown.finals] == ["age < 30", "age >= 50"]


@pytest.mark.parametrize("ages", [(20, 50, 80), (30, 31, 32), (18.5, 18.6, 90)])
def test_dots_and_line_lie_inside_their_axes(ages: Sequence[float]) -> None:
    people = [Audience(name=f"u{n}", user_ids=(f"u{n}",)) for n in range(3)]

    shown = TrendsShown.of(made(people, ages=ages))

    assert shown is not None
    for scatter in shown.scatters:
        places = [place for _, *dot in scatter.dots for place in dot]
        assert all(0 <= place <= 100 for place in [*places, *scatter.line])
        assert any(tick == 0 for tick, _ in scatter.up)


def made(audiences: Sequence[Audience], ages: Sequence[float] = ()) -> Trends:
    """Of two prompts, with random attributes."""
    rng = np.random.default_rng(0)
    cases = [
        Steered(user=a.name, prompt_id=p, run=1, initial=p, final=f"{a.name}/{p}")
        for p in ("p1", "p2")
        for a in audiences
    ]
    attributes = {key: rng.normal(0, 5, 7) for case in cases for key in (case.initial, case.final)}
    found = trends(cases, attributes, audiences, {f"u{n}": {"age": age} for n, age in enumerate(ages)})
    assert found is not None
    return found


def steered(folder: Path, audiences: Sequence[Audience]) -> list[Outcome]:
    """One prompt, steered for each audience."""
    outcomes = run(folder, users=[audience.name for audience in audiences])
    return [
        replace(outcome, trajectory=replace(outcome.trajectory, user_ids=audience.user_ids))
        for outcome, audience in zip(outcomes, audiences, strict=True)
    ]
