"""The calls of `predictor`: that they do what the commands do, and refuse what these refuse in the same words."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predictor as package
from predictor.checkpoint import FILES
from predictor.cli import main
from tests.in_this_process import call


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def refused(arguments: str) -> str:
    """The line by which the command refuses."""
    done: subprocess.CompletedProcess[str] = call(main, "steer-predictor", *arguments.split())
    assert done.returncode == 2, done
    return done.stderr.removeprefix("steer-predictor: ").removesuffix("\n")


def test_from_images_to_a_person_who_is_forgotten(images: Path, rated: Path, tmp_path: Path) -> None:
    told: list[str] = []
    people = package.simulate(images, raters=4, per_image=9, progress=lambda what, done, total: told.append(what))
    assert [person.user_id for person in people] == ["u01", "u02", "u03", "u04"]
    trained = package.train(images, tmp_path / "trained", without=["text", "metadata"])
    assert json.loads((tmp_path / "trained/metrics.json").read_text("utf-8")) == trained.metrics
    assert {path.name for path in (tmp_path / "trained").iterdir()} == set(FILES)
    assert package.info(tmp_path / "trained").card == trained.card
    result = package.evaluate(tmp_path / "trained", images, json=tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == result
    assert result["user"] == trained.metrics["user"]
    (tmp_path / "ada.csv").write_text(
        "image,rating\n" + "".join(f"{rated}/{n:03d}.png,{1 + n % 7}\n" for n in range(9)), "utf-8"
    )
    given = {"ratings": tmp_path / "ada.csv", "scale": (1, 7), "demographics": {"age": "31"}}
    enrolled = package.enroll(str(tmp_path / "trained"), "ada", tmp_path / "with_ada", **given)
    shown = [rated / "020.png", rated / "021.png"]
    scores = package.score(tmp_path / "with_ada", shown, "ada", interval=80).to_pydict()
    assert scores["image"] == [str(path) for path in shown]
    assert np.allclose(scores["score"], enrolled.score([Image.open(path) for path in shown], "ada"), atol=1e-6)
    assert all(low < score < high for _, score, low, high in zip(*scores.values(), strict=True))
    package.forget(tmp_path / "with_ada", "ada", tmp_path / "with_ada")
    assert package.info(tmp_path / "with_ada").users["user_id"].to_pylist() == ["u01", "u02", "u03", "u04"]
    assert set(told) == {"rating images"}


def test_a_table_and_its_images_become_a_dataset(rated: Path, tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("user_id,image,rating\n" + "".join(f"ann,{n:03d},{1 + n % 7}\n" for n in range(9)), "utf-8")

    report = package.import_dataset(kind="table", ratings=table, images=rated, scale=(1, 7), out=tmp_path / "made")

    assert (report.images, sum(report.kept.values())) == (9, 9)
    assert package.PamelaPredictor.__module__ == "predictor.predictor"


Refusal = Callable[[Path, Path], object]


@pytest.mark.parametrize(
    ("arguments", "wrong_call"),
    [
        ("simulate nowhere", lambda rated, saved: package.simulate("nowhere")),
        ("import --kind table --out new", lambda rated, saved: package.import_dataset(kind="table", out="new")),
        ("import --kind pamela --out new", lambda rated, saved: package.import_dataset(kind="pamela", out="new")),
        ("import x --kind huge --out new", lambda rated, saved: package.import_dataset("x", kind="huge", out="new")),
        ("import x --kind para --out new", lambda rated, saved: package.import_dataset("x", kind="para", out="new")),
        (
            "import --kind table --ratings x --images y --scale 7,1 --out new",
            lambda rated, saved: package.import_dataset(kind="table", ratings="x", images="y", scale=(7, 1), out="new"),
        ),
        ("train nowhere --out new", lambda rated, saved: package.train("nowhere", "new")),
        ("train {rated} --out {saved}", lambda rated, saved: package.train([rated], saved)),
        ("train {rated} --out new --recipe huge", lambda rated, saved: package.train(rated, "new", recipe="huge")),
        ("train {rated} --out new --encoder clip", lambda rated, saved: package.train(rated, "new", encoder="clip")),
        ("train {rated} --out new --without age", lambda rated, saved: package.train(rated, "new", without=["age"])),
        ("evaluate {rated} {rated}", lambda rated, saved: package.evaluate(rated, rated)),
        ("evaluate {saved} nowhere", lambda rated, saved: package.evaluate(saved, "nowhere")),
        ("evaluate {saved} {rated} --split best", lambda rated, saved: package.evaluate(saved, rated, split="best")),
        (
            "evaluate {saved} {rated} --strangers twin",
            lambda rated, saved: package.evaluate(saved, rated, strangers="twin"),
        ),
        ("evaluate {saved} {rated} --json {rated}", lambda rated, saved: package.evaluate(saved, rated, json=rated)),
        (
            "evaluate {saved} {rated} --json x.md",
            lambda rated, saved: package.evaluate(saved, rated, json="x.md"),
        ),
        ("ablate {rated} --out new", lambda rated, saved: package.ablate(rated, "new")),
        ("ablate {rated} --out new --recipe huge", lambda rated, saved: package.ablate(rated, "new", recipe="huge")),
        ("enroll {saved} --user x --out new", lambda rated, saved: package.enroll(saved, "x", "new")),
        (
            "enroll {saved} --user x --ratings x.csv --out new",
            lambda rated, saved: package.enroll(saved, "x", "new", ratings="x.csv"),
        ),
        (
            "enroll {saved} --user x --likes x.csv --out {rated}",
            lambda rated, saved: package.enroll(saved, "x", rated, likes="x.csv"),
        ),
        (
            "enroll {saved} --user u01 --ratings {rated} --update --out new",
            lambda rated, saved: package.enroll(saved, "u01", "new", ratings=rated, update=True),
        ),
        ("forget {saved} --user u01 --out new", lambda rated, saved: package.forget(saved, "u01", "new")),
        ("forget nowhere --user u01 --out new", lambda rated, saved: package.forget("nowhere", "u01", "new")),
        ("score {saved} --user u99 x.png", lambda rated, saved: package.score(saved, "x.png", "u99")),
        ("score {saved} --user u01 x.png", lambda rated, saved: package.score(saved, ["x.png"], "u01")),
        (
            "score {saved} --user u01 --interval 100 x.png",
            lambda rated, saved: package.score(saved, "x.png", "u01", interval=100),
        ),
        ("push {saved} nowhere", lambda rated, saved: package.push(saved, "nowhere")),
        ("info nowhere", lambda rated, saved: package.info("nowhere")),
    ],
)
def test_a_wrong_call_is_refused_with_the_line_of_the_command(
    rated: Path, saved: Path, arguments: str, wrong_call: Refusal
) -> None:
    line = refused(arguments.format(rated=rated, saved=saved))

    with pytest.raises(ValueError) as error:
        wrong_call(rated, saved)
    assert " ".join(str(error.value).split()) == line
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("train", [package.train, package.ablate])
def test_nothing_cannot_be_trained_on(train: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder was named; name one at least"):
        train([], tmp_path / "out")
