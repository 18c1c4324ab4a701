"""The import directions of packages and of the rooms in them, read from every module's syntax tree."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("predictor", "actors", "pipelines", "studies")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
WEB = (
    *("aiohttp", "bottle", "dash", "django", "falcon", "fastapi", "flask", "gradio", "http.server", "litestar"),
    *("nicegui", "quart", "sanic", "starlette", "streamlit", "tornado", "uvicorn", "wsgiref"),
)
MOST_MODULES = 12

ROOMS = {
    "predictor": (
        *(
            "error_messages",
            "metrics",
            "progress",
            "threads",
            "data",
            "checkpoint",
            "transformer",
            "encoders",
            "simulation",
        ),
        *(
            "simulation",
            "taste",
            "people",
            "checkpoint_content",
            "predictor",
            "enrolment",
            "hub",
            "evaluation",
            "model_card",
            "fitting",
            "ablation",
            "commands",
            "cli",
        ),
    ),
    "actors": ("backoff", "messages", "service_client", "pool", "renderers", "scorers", "proposers"),
    "pipelines": (
        *("settings", "search", "records", "execution", "tracking", "planning", "reporting", "publishing"),
        *("progress", "run_pools", "cluster_run", "end_of_run", "run", "events", "background_run", "cli", "live"),
    ),
    "studies": (
        *(
            "elo",
            "folders",
            "wording",
            "study",
            "sequence",
            "adaptive",
            "design",
            "store",
            "results",
            "fitting",
            "session",
        ),
        *("web", "simulation", "commands", "cli"),
    ),
}
"""Lower ones first: a room, or a module that stands in the package itself, imports only what stands before it."""


def imports_of(module: str, path: Path) -> Iterator[str]:
    """Every dotted name that a module imports anywhere, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = package[: len(package) + 1 - node.level] if node.level else []
            parent = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{parent}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield ast.unparse(node.args[0]).strip("'")


LIVE = "pipelines.live"
"""Stands on top of everything, studies' pages included; nothing imports it."""

IMPORTS = {module: frozenset(imports_of(module, path)) for module, path in SOURCES.items()}


@pytest.mark.parametrize(
    "package, allowed",
    [
        ("predictor", {"predictor"}),
        ("actors", {"actors", "predictor"}),
        ("pipelines", {"pipelines", "actors", "predictor"}),
        ("studies", {"studies", "predictor"}),
    ],
)
def test_a_package_imports_only_packages_below_it(package: str, allowed: set[str]) -> None:
    above = set(PACKAGES) - allowed
    below = [found for found in uses(package) if not touches(found[0], LIVE)]

    assert [found for found in below if found[1].split(".")[0] in above] == []


def test_nothing_imports_what_stands_on_top() -> None:
    outside = [found for package in PACKAGES for found in uses(package) if not touches(found[0], LIVE)]

    assert [found for found in outside if touches(found[1], LIVE)] == []


@pytest.mark.parametrize("package, rooms", ROOMS.items())
def test_a_room_imports_only_itself_and_rooms_below_it(package: str, rooms: tuple[str, ...]) -> None:
    places = {room: place for place, room in enumerate(rooms)}
    upwards = [
        (module, name)
        for module, name in uses(package)
        if module != package  # the package itself, which offers what its rooms have, stands above them
        and touches(name, package)
        and places[room_of(name, package)] > places[room_of(module, package)]
    ]

    assert upwards == []


@pytest.mark.parametrize("package, rooms", ROOMS.items())
def test_every_room_has_its_place_in_the_order(package: str, rooms: tuple[str, ...]) -> None:
    assert {room_of(module, package) for module in SOURCES if touches(module, package) and module != package} == {
        *rooms
    }


def test_no_room_has_more_than_a_dozen_modules() -> None:
    rooms: dict[Path, int] = {}
    for path in SOURCES.values():
        rooms[path.parent] = rooms.get(path.parent, 0) + (path.name != "__init__.py")

    assert {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > MOST_MODULES} == {}


def test_only_the_room_of_pools_imports_ray() -> None:
    knows = {module for package in PACKAGES for module, name in uses(package) if touches(name, "ray")}
    names = ("actor_pool", "cluster", "failures", "metrics", "reservation")
    assert knows == {f"actors.pool.{name}" for name in names}


def test_only_studies_and_what_stands_on_top_import_a_web_framework() -> None:
    packages = ("predictor", "actors", "pipelines")
    lower = [found for package in packages for found in uses(package) if not touches(found[0], LIVE)]

    assert [found for found in lower if any(touches(found[1], framework) for framework in WEB)] == []


def test_studies_never_reach_a_driver_or_ray_by_any_chain_of_imports() -> None:
    actors = {"actors.pool.actor_pool", "actors.pool.cluster", "actors.pool.reservation", "actors.pool.metrics"}
    forbidden = {"pipelines.execution.driver", "pipelines.run", "pipelines.cli", "ray"} | actors
    chains: dict[str, tuple[str, ...]] = {module: (module,) for module in SOURCES if touches(module, "studies")}
    waiting = list(chains)
    while waiting:
        module = waiting.pop()
        for name in IMPORTS[module]:
            found = next((m for m in (name, name.rpartition(".")[0]) if m in SOURCES and m not in chains), None)
            if found:
                chains[found] = (*chains[module], found)
                waiting.append(found)

    reached = [(*chain, name) for chain in chains.values() for name in IMPORTS[chain[-1]]]
    assert [chain for chain in reached if any(touches(chain[-1], name) for name in forbidden)] == []


def test_nothing_is_imported_by_a_name_that_only_the_running_program_knows() -> None:
    imports = [found for package in PACKAGES for found in uses(package)]

    assert [found for found in imports if not all(part.isidentifier() for part in found[1].split("."))] == []


def test_every_import_of_the_house_is_of_a_module_that_is_there() -> None:
    house = [found for package in PACKAGES for found in uses(package) if found[1].split(".")[0] in PACKAGES]

    assert len(house) > 30
    assert [found for found in house if found[1] not in SOURCES and found[1].rpartition(".")[0] not in SOURCES] == []


def test_no_module_is_named_after_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}

    assert [module for module in SOURCES if empty & {*module.split("."), *module.rpartition(".")[2].split("_")}] == []


def test_no_module_of_the_house_hides_one_of_the_standard_library() -> None:
    assert [package for package in PACKAGES if package in sys.stdlib_module_names] == []
    assert set(PACKAGES) == {module.split(".")[0] for module in SOURCES}


def uses(package: str) -> list[tuple[str, str]]:
    """Who imports what in a package."""
    return sorted((module, name) for module in SOURCES if touches(module, package) for name in IMPORTS[module])


def touches(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def room_of(name: str, package: str) -> str:
    """The part of a dotted name that comes after the package."""
    return name.removeprefix(f"{package}.").split(".")[0]


def test_only_files_of_tests_mark_any_as_slow() -> None:
    """`make test-slow` reads the files of tests that name the mark, and no others."""
    marked = [path for path in (ROOT / "tests").rglob("*.py") if "mark.slow" in path.read_text("utf-8")]
    assert [path for path in marked if not path.name.startswith("test_")] == []
