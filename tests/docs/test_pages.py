"""The pages tell the truth: their commands, queries, Python examples, columns, folders and links are tried."""

import re
import runpy
from pathlib import Path

import duckdb
import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from pipelines.cli import app as steer_batch
from pipelines.live.cli import app as steer_live
from pipelines.records import tables
from predictor.cli import app as steer_predictor
from studies import study
from studies.cli.main import app as steer_study
from studies.elo.votes import COLUMNS
from studies.results import answers
from tests.docs.pages import PAGES, ROOT, Block, Page, commands, names

APPS = {
    "steer-batch": steer_batch,
    "steer-predictor": steer_predictor,
    "steer-study": steer_study,
    "steer-live": steer_live,
}
CALLS = [(page, call) for page in PAGES for block in page.blocks("sh") for call in commands(block)]
TO_RUN = [page for page in PAGES if any(block.to_be_run for block in page.blocks("sh"))]
PACKAGES = ("predictor", "actors", "pipelines", "studies")


def with_blocks(language: str) -> list[Page]:
    return [page for page in PAGES if page.blocks(language)]


@pytest.mark.parametrize("page", with_blocks("sql"), ids=str)
def test_every_query_finds_something_in_a_finished_run(page: Page, workplace: Path) -> None:
    for block in page.blocks("sql"):
        found = duckdb.sql(block.text)
        assert found is not None and found.fetchall(), block.text


@pytest.mark.slow  # a whole run among them
@pytest.mark.parametrize("page", with_blocks("python"), ids=str)
def test_every_python_example_runs(page: Page, workplace: Path) -> None:
    script = workplace / "example.py"
    script.write_text("\n".join(block.text for block in page.blocks("python")), "utf-8")

    runpy.run_path(str(script))


@pytest.mark.parametrize(("page", "call"), CALLS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_every_option_of_every_command_exists(page: Page, call: list[str]) -> None:
    name, *arguments = call
    command = typer.main.get_command(APPS[name])
    if isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    assert isinstance(command, TyperCommand)

    command.make_context(name, arguments)


@pytest.mark.parametrize("page", TO_RUN, ids=str)
def test_commands_that_are_marked_run_one_after_the_other(page: Page, workplace: Path) -> None:
    for name, *arguments in (call for block in page.blocks("sh") if block.to_be_run for call in commands(block)):
        done = CliRunner().invoke(APPS[name], arguments)
        assert done.exit_code == 0, f"{name} {arguments}: {done.output} {done.exception!r}"


def test_most_pages_have_something_to_try() -> None:
    assert len(CALLS) > 40
    assert len(TO_RUN) >= 3
    assert len(with_blocks("sql")) >= 2


TABLES = {
    "candidates.parquet": tables.CANDIDATES.names,
    "scores.parquet": tables.SCORES.names,
    "trajectories.parquet": tables.TRAJECTORIES.names,
    "judgements.parquet": tables.JUDGEMENTS.names,
    "winners.parquet": tables.WINNERS.names,
    "trials.parquet": study._TRIALS.names,
    "items.parquet": [*study._ITEM_COLUMNS, "metadata.…"],
    "votes, exported": answers.VOTES.names,
    "ratings, exported": answers.RATINGS.names,
    "Vote file": list(COLUMNS),
}


@pytest.mark.parametrize("table", TABLES)
def test_the_columns_of_a_table_are_those_that_are_written(table: str) -> None:
    rows = Page(ROOT / "docs" / "files.md").tables("column")[table]
    described = [name for row in rows for name in names(row[0])]

    assert sorted(described) == sorted(TABLES[table])


def test_the_map_of_the_packages_names_every_folder_and_nothing_that_is_not_there() -> None:
    maps = Page(ROOT / "docs" / "architecture.md").tables("folder or module")
    assert set(maps) == set(PACKAGES)
    for package, rows in maps.items():
        described = [ROOT / package / name for row in rows for name in names(row[0])]
        assert [path for path in described if not path.exists()] == []
        folders = {path.parent for path in (ROOT / package).glob("*/*.py")}
        assert [folder for folder in folders if not any(path.is_relative_to(folder) for path in described)] == []


@pytest.mark.parametrize("page", [*PAGES, Page(ROOT / "CONTRIBUTING.md")], ids=str)
def test_every_path_of_this_project_that_a_page_names_is_there(page: Page) -> None:
    starts = (*(f"{package}/" for package in PACKAGES), "tests/", "docs/")
    named = [name for name in re.findall(r"`([\w./-]+)`", page.text) if name.startswith(starts)]

    assert [name for name in named if not (ROOT / name).exists() and "_build" not in name] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(name: str) -> None:
    page = Page(ROOT / name)
    for link in page.links:
        path, _, anchor = link.partition("#")
        target = Page((page.path.parent / path) if path else page.path)
        assert target.path.exists(), link
        assert not anchor or anchor in target.anchors, link


def test_the_reference_that_is_made_from_the_code_says_what_every_setting_and_option_is() -> None:
    fill_in = runpy.run_path(str(ROOT / "docs" / "generated.py"))["fill_in"]

    for name in ("commands", "settings"):
        made = fill_in((ROOT / "docs" / f"{name}.md").read_text("utf-8"))
        assert "<!-- generated" not in made
        assert re.findall(r"^\|.*\|\s*\|$", made, re.MULTILINE) == []


def test_calls_are_found_inside_other_commands_and_end_where_the_shell_goes_on() -> None:
    inside = "ray exec c.yaml 'cd x && steer-batch --users all \\\n  --out a' # so\n"
    text = f"{inside}steer-study invite s --count 2 > links.csv\n"

    found = list(commands(Block(language="sh", text=text, to_be_run=False)))

    assert found == [
        ["steer-batch", "--users", "all", "--out", "a"],
        ["steer-study", "invite", "s", "--count", "2"],
    ]
