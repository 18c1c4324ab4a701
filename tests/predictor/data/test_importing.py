"""The import as a user would type it: what is said, what is left, and the exit status."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predictor.cli import main
from predictor.data.dataset import read_dataset
from predictor.data.releases.validation import validate

Steer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def steer_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Steer:
    """Call what the console script calls."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["steer-predictor", *map(str, arguments)]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        status = left.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(command, status, *capsys.readouterr())

    return run


def test_choices_come_over_with_a_folder_and_those_of_nobody_are_refused(
    steer_predictor: Steer, dataset: Path, tmp_path: Path
) -> None:
    lines = ["user_id,shown,chosen,worst", "u01,003 004,004,", "u02,001 002 005,001,005", "stranger,001 002,001,"]
    (dataset / "choices.csv").write_text("\n".join(lines) + "\n", "utf-8")
    imported = steer_predictor("import", dataset, "--kind", "folder", "--out", "new")
    assert imported.returncode == 0, imported.stderr
    assert "refused: choice of an unknown or refused image or user: 1" in imported.stdout
    assert "note: choices: 2 of 3 kept" in imported.stdout
    data = read_dataset(tmp_path / "new")
    names = data.images["image_id"].to_pylist()
    said = [([names[image] for image in c.shown], names[c.chosen or 0]) for c in data.choices]
    assert said == [(["003", "004"], "004"), (["001", "002", "005"], "001")]

    (dataset / "ratings.csv").unlink()
    alone = steer_predictor("import", dataset, "--kind", "folder", "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    assert len(read_dataset(tmp_path / "alone").choices) == 2


def test_what_is_refused_is_counted_on_the_screen_and_listed_in_the_report(
    steer_predictor: Steer, dataset: Path, tmp_path: Path
) -> None:
    with (dataset / "ratings.csv").open("a", encoding="utf-8") as ratings:
        ratings.write('"stranger","003",50,"train"\n"u01","003",400,"train"\n"u01","999",4,"train"\n')
    (dataset / "007.png").write_bytes(b"")
    lost = (dataset / "ratings.csv").read_text("utf-8").count('"007",')
    imported = steer_predictor("import", dataset, "--kind", "folder", "--out", "new")
    assert imported.returncode == 0, imported.stderr
    said = imported.stdout.splitlines()
    assert said[0].startswith(f"{200 - lost} of 203 ratings kept (train ")
    assert said[0].endswith("), 6 users, 39 images")
    assert said[1:] == [
        "refused: rating out of scale: 1",
        "refused: unknown user: 1",
        "refused: unknown image: 1",
        "refused: image corrupt: 1",
        f"refused: rating of a refused image: {lost}",
        "note: files not taken over: truth.parquet",
        "note: images: 39 hard-linked, 0 copied",
        "new: a dataset; what was refused is in new/import-report.json",
    ]
    assert "checking images: 40/40\nstoring images: 39/39\n" in imported.stderr
    report = json.loads((tmp_path / "new/import-report.json").read_text("utf-8"))
    assert (report["kind"], report["splits"], report["users"], report["images"]) == ("folder", "released", 6, 39)
    assert report["ratings"]["kept"] == len(read_dataset(tmp_path / "new").rating) == 200 - lost
    assert set(report["rows"][0]) == {"file", "line", "record", "reason", "detail"}
    assert {"file": "ratings.csv", "line": 203, "record": 202, "reason": "rating out of scale"}.items() <= next(
        row for row in report["rows"] if row["reason"] == "rating out of scale"
    ).items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{dataset} --kind aesthetics --out new", "unknown kind 'aesthetics'; known are pamela, lapis, para, folder"),
        ("{dataset} --kind pamela --out new", "not the PAMELA layout, annotations/pamela_train.json is not there"),
        ("{dataset} --kind lapis --out new", "not the LAPIS layout, annotation/LAPIS_PIAA.csv is not there"),
        ("{dataset} --kind para --out new", "not the PARA layout, annotation/PARA-Images.csv is not there"),
        ("nowhere --kind folder --out new", "nowhere: no such folder; name the unzipped release"),
        ("{dataset} --kind folder --out {dataset}", "{dataset}: is not empty; name a new folder"),
        ("{dataset} --kind folder --out {dataset}/users.csv", "users.csv: is not empty; name a new folder"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_exit_status_2(
    steer_predictor: Steer, dataset: Path, tmp_path: Path, arguments: str, message: str
) -> None:
    refused = steer_predictor("import", *arguments.format(dataset=dataset).split())
    assert refused.returncode == 2, refused
    assert message.format(dataset=dataset) in refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_kept_the_exit_status_is_2_and_nothing_is_left(
    steer_predictor: Steer, dataset: Path, tmp_path: Path
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    for picture in dataset.glob("*.png"):
        picture.unlink()
    refused = steer_predictor("import", dataset, "--kind", "folder", "--out", "new")
    assert refused.returncode == 2
    assert "none of 200 ratings could be kept; image missing: 40 (first images.csv, line 2: 000.png)" in refused.stderr
    assert refused.stderr.splitlines()[0] == "checking images: 40/40"
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_folder_that_appears_meanwhile_is_refused_in_one_line_and_left_as_it_is(
    steer_predictor: Steer, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any, **options: Any) -> Any:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "notes.txt").write_text("mine", "utf-8")
        return validate(*arguments, **options)

    monkeypatch.setattr("predictor.data.importing.validate", slowly)
    refused = steer_predictor("import", dataset, "--kind", "folder", "--out", "new")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("--out new: is not empty; name a new folder")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_the_seed_decides_the_splits_of_what_has_none(steer_predictor: Steer, dataset: Path, tmp_path: Path) -> None:
    lines = (dataset / "ratings.csv").read_text("utf-8").splitlines()
    (dataset / "ratings.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n", "utf-8")
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        imported = steer_predictor("import", dataset, "--kind", "folder", "--seed", seed, "--out", name)
        assert imported.returncode == 0, imported.stderr
    ratings = {name: (tmp_path / name / "ratings.parquet").read_bytes() for name in ("one", "same", "other")}
    assert ratings["one"] == ratings["same"] != ratings["other"]
    assert json.loads((tmp_path / "one/import-report.json").read_text("utf-8"))["splits"] == "made, seed 1"
