import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from predictor.evaluation.diverging import diverging_preferences
from predictor.evaluation.levels import compare, population_level, user_level
from predictor.evaluation.margins import near_tie_curve
from predictor.evaluation.report import write_report
from predictor.metrics import METRICS, Interval, means_over_users

SVG = "{http://www.w3.org/2000/svg}"
NOTHING = {"value": None, "ci_low": None, "ci_high": None}
FIXED = {"split", "n_users", "n_images", "n_ratings", "user", "population", "baselines"}


def evaluated(**changes: Any) -> dict[str, Any]:
    """A result of the real computations: a model that knows persons, a consensus, and factors without a number."""
    rng = np.random.default_rng(0)
    user, image = np.nonzero(rng.random((9, 20)) < 0.7)
    taste, worth = rng.random((9, 20)), rng.random(20)
    rating = (0.5 * taste[user, image] + 0.5 * worth[image]).round(2)
    scores = {
        "model": rating + 0.1 * rng.random(len(user)),
        "mean rating": worth[image],
        "factors|*": np.full(len(user), np.nan),
    }
    levels = {name: user_level(user, rating, score) for name, score in scores.items()}
    images = {"model": worth, "mean rating": worth, "factors|*": np.full(20, np.nan)}
    population = {name: population_level(user, image, rating, each, replicates=50) for name, each in images.items()}
    baselines = [name for name in scores if name != "model"]
    estimate = Interval(-0.25, -0.5, 0.125)
    context = {**dict.fromkeys(METRICS, estimate), "gain": estimate}
    return {
        "split": "test_unseen",
        "n_users": np.int64(9),
        "n_images": 20,
        "n_ratings": len(user),
        "user": means_over_users(levels["model"], replicates=50),
        "population": population["model"],
        "baselines": {
            name: {"user": means_over_users(levels[name], replicates=50), "population": population[name]}
            for name in baselines
        },
        "differences": {name: compare(levels["model"], levels[name], replicates=50) for name in baselines},
        "n_users_without_correlation": 2,
        "margins": [point.as_dict() for point in near_tie_curve(user, rating, scores, replicates=50)],
        "diverging": diverging_preferences(user, image, rating, scores["model"], replicates=50).as_dict(),
        "contexts": [
            {"rule": rule, "k": k, **context} for rule in ("default", "paper") for k in ((0, 5, 15))[rule == "paper" :]
        ],
        "grid": [{"k": 5, "neighbours": 1, "tau": 0.1, **dict.fromkeys(METRICS, np.float64(0.5)), "plcc": np.nan}],
        "gap": {"seen_split": "test_seen", "srocc": 0.0588, "plcc": -0.01, "pairwise_accuracy": float("nan")},
        "settings": {"context": 15, "checkpoint": Path("runs/ckpt")},
        "warnings": ["factors have no score for images that nobody rated in training"],
        **changes,
    }


def bare() -> dict[str, Any]:
    return {name: value for name, value in evaluated().items() if name in FIXED}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JSON of a whole report."""
    path = tmp_path_factory.mktemp("report") / "unseen.json"
    write_report(evaluated(), path)
    return path


def test_the_files_are_those_and_no_others_the_json_last(tmp_path: Path) -> None:
    files = write_report(evaluated(), tmp_path / "a.b.json")
    assert [file.name for file in files] == ["a.b-margins.svg", "a.b-contexts.svg", "a.b.md", "a.b.json"]
    assert {*tmp_path.iterdir()} == {*files}


def test_the_json_has_the_keys_and_null_for_what_is_undefined(written: Path) -> None:
    result = json.loads(written.read_text("utf-8"))
    assert result.keys() >= FIXED
    assert result["n_users"] == 9
    for levels in (result, *result["baselines"].values()):
        for level in ("user", "population"):
            assert {name: value.keys() for name, value in levels[level].items()} == dict.fromkeys(
                METRICS, NOTHING.keys()
            )
    assert result["baselines"]["factors|*"]["user"] == dict.fromkeys(METRICS, NOTHING)
    assert result["differences"]["factors|*"]["srocc"] == NOTHING
    assert result["margins"][0]["accuracy"]["factors|*"] == NOTHING
    assert result["gap"] == {"seen_split": "test_seen", "srocc": 0.0588, "plcc": -0.01, "pairwise_accuracy": None}
    assert result["grid"][0]["plcc"] is None
    assert result["settings"]["checkpoint"] == "runs/ckpt"


def test_the_report_says_what_was_measured_and_how_to_read_it(written: Path) -> None:
    text = written.with_suffix(".md").read_text("utf-8")
    assert text.startswith("# Evaluation on test\\_unseen\n")
    headings = re.findall(r"^## (.*)", text, re.M)
    assert headings == [
        "Read this first",
        "User level",
        "Population level",
        "This model minus each baseline",
        "Near-ties",
        "Diverging preferences",
        "Ratings that a new person gives",
        "The paper’s rule by its settings",
        "Generalisation gap",
        "Settings",
    ]
    assert "2 of 9 users have no correlation" in text.split("## Population level")[0]
    assert "Undefined, because there is no score for every rated image" in text
    assert "factors\\|\\* (user level); factors\\|\\* (population level)." in text
    assert "−0.250 [−0.500, +0.125]" in text
    assert "nan" not in text
    assert "None" not in text
    for name in re.findall(r"\]\(<(.*?)>\)", text):
        assert written.with_name(name).is_file()


def test_every_row_of_a_table_has_as_many_cells_as_its_head(written: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", written.with_suffix(".md").read_text("utf-8"), re.M)
    assert len(tables) >= 8
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.parametrize("name, title", [("margins", "Does accuracy rise"), ("contexts", "How many ratings")])
def test_the_drawings_are_text_with_a_title_and_name_their_lines(written: Path, name: str, title: str) -> None:
    drawing = ElementTree.parse(written.with_name(f"unseen-{name}.svg")).getroot()
    assert drawing.get("role") == "img"
    assert (drawing.findtext(f"{SVG}title") or "").startswith(title)
    assert drawing.findtext(f"{SVG}desc")
    shown = " ".join(text for element in drawing.iter(f"{SVG}text") for text in element.itertext())
    for words in {
        "margins": ("this model", "mean rating", "chance", "Pairs left", "Not defined on this split: factors|*"),
        "contexts": ("default rule", "paper’s rule", "−0.250", "ratings that the person has given"),
    }[name]:
        assert words in shown


def test_the_same_result_gives_the_same_files(written: Path, tmp_path: Path) -> None:
    for file in write_report(evaluated(), tmp_path / written.name):
        assert file.read_bytes() == (written.parent / file.name).read_bytes()


def test_the_fixed_keys_are_enough_for_a_report(tmp_path: Path) -> None:
    files = write_report(bare(), tmp_path / "seen.json")
    assert [file.name for file in files] == ["seen.md", "seen.json"]
    assert json.loads(files[-1].read_text("utf-8")).keys() == FIXED


def test_nothing_defined_at_all_is_still_a_report(tmp_path: Path) -> None:
    nothing = dict.fromkeys(METRICS, NOTHING)
    result = {
        **bare(),
        **{"user": nothing, "population": nothing, "baselines": {}},
        "margins": [{"margin": 0.0, "n_pairs": 0, "n_users": 0, "accuracy": {"model": NOTHING}}],
        "contexts": [{"rule": "default", "k": 0, **nothing, "gain": NOTHING}],
    }
    files = write_report(result, tmp_path / "empty.json")
    assert "this model (user level); this model (population level)" in files[-2].read_text("utf-8")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    result = evaluated()
    result["baselines"] = {"<b>|x\ny": result["baselines"]["mean rating"]}
    result["margins"] = [{**row, "accuracy": {"<b>&$x$": row["accuracy"]["model"]}} for row in result["margins"]]
    files = write_report(result, tmp_path / "names.json")
    assert "\\<b\\>\\|x y" in files[-2].read_text("utf-8")
    assert "<b>&$x$" in " ".join(ElementTree.parse(files[0]).getroot().itertext())


def test_a_report_that_cannot_be_written_leaves_the_old_json(written: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("old", "utf-8")
    (tmp_path / "old.md").mkdir()
    with pytest.raises(OSError):
        write_report(evaluated(), old)
    assert old.read_text("utf-8") == "old"


def test_drawing_leaves_matplotlib_as_it_was(written: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 3}):
        path = written.with_name("again.json")
        write_report(evaluated(), path)
        assert mpl.rcParams["font.size"] == 3
    for file in path.parent.glob("again-*.svg"):
        assert file.read_bytes() == file.with_name(file.name.replace("again", "unseen")).read_bytes()
        file.unlink()
