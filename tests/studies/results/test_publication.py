"""A study as a data set: what is in it, that nobody who took part is, and that a hub gets all of it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from predictor.simulation.raters import read_truth
from studies.cli.main import app
from studies.results.answers import participants_table
from studies.results.publication import write_publication
from studies.simulation.rehearsal import rehearse, truth_of
from studies.store.database import read_rows
from studies.study import Study
from tests.dataset_hub import serve_dataset_hub


@pytest.fixture
def voted(pair_study: Study) -> Study:
    raters = list(read_truth(truth_of(pair_study)).values())
    rehearse(pair_study, raters[:2])
    rehearse(pair_study, raters[2:3], strangers=True)
    return pair_study


def test_a_pairs_study_becomes_votes_people_images_and_a_card(voted: Study, tmp_path: Path) -> None:
    made = write_publication(voted, tmp_path / "out", licence="cc-by-4.0")

    votes = pq.read_table(tmp_path / "out/data/votes.parquet").to_pylist()
    people = pq.read_table(tmp_path / "out/data/people.parquet").to_pylist()
    described = pq.read_table(tmp_path / "out/images/metadata.parquet").to_pylist()
    files = {path.name for path in (tmp_path / "out/images").glob("*.png")}
    stored = read_rows(voted.database, "SELECT trial_id FROM votes")
    assert made.answers == len(votes) == sum(voted.trials[row["trial_id"]].kind == "trial" for row in stored)
    assert [row["person"] for row in people] == ["person-1", "person-2", "person-3"]
    assert sum(row["answers"] for row in people) == len(votes)
    assert all(row["attention_passed"] == row["attention"] > 0 for row in people)
    assert {"own", "other", "initial", "hpsv3"} == {row[side] for row in votes for side in ("left", "right")}
    assert {row[f"{side}_image"] for row in votes for side in ("left", "right")} == files
    assert {row["file_name"] for row in described} == files
    assert {row["condition"] for row in described} == {"initial", "steered", "hpsv3"}
    for name in files:
        assert (tmp_path / "out/images" / name).read_bytes() == voted.asset(name.removesuffix(".png")).read_bytes()
    card = (tmp_path / "out/README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert [config["config_name"] for config in front["configs"]] == ["votes", "people", "images"]
    assert voted.settings.notice in card and "consent" in card


def test_a_rating_study_becomes_ratings(rating_study: Study, pair_study: Study, tmp_path: Path) -> None:
    rehearse(rating_study, list(read_truth(truth_of(pair_study)).values())[:2], strangers=True)
    made = write_publication(rating_study, tmp_path / "out")

    ratings = pq.read_table(tmp_path / "out/data/ratings.parquet").to_pylist()
    assert made.people == len({row["person"] for row in ratings}) == 2
    assert all(0 <= row["rating"] <= 100 for row in ratings)
    with Image.open(tmp_path / "out/images" / ratings[0]["image"]) as image:
        assert image.mode == "RGB"


def test_nobody_can_be_found_in_it(voted: Study, tmp_path: Path) -> None:
    write_publication(voted, tmp_path / "out")
    people = participants_table(voted, external_ids=True).to_pylist()
    secret = {person["participant"] for person in people} | {person["user"] for person in people if person["user"]}
    secret |= {row["answered_at"] for row in read_rows(voted.database, "SELECT answered_at FROM votes")}
    assert len(secret) > 10
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".parquet", ".md"):
            text = path.read_text("utf-8") if path.suffix == ".md" else json.dumps(pq.read_table(path).to_pylist())
            assert [name for name in secret if f'"{name}"' in text or f" {name} " in text] == [], path


def test_the_command_pushes_every_file_byte_for_byte(
    voted: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with serve_dataset_hub(monkeypatch, "me/votes") as (served, pushed):
        done = CliRunner().invoke(app, ["publish", str(voted.folder), "--out", str(out), "--repo", "me/votes"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("/datasets/me/votes/commit/1")
    files = [path for path in out.rglob("*") if path.is_file()]
    assert pushed == {str(path.relative_to(out)): path.read_bytes() for path in files}
    (created,) = [asked.body for asked in served.asked if asked.path.endswith("/repos/create")]
    assert (created["type"], created["visibility"]) == ("dataset", "private")


def test_a_study_without_answers_is_refused(pair_study: Study, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no votes yet|nobody has answered yet"):
        write_publication(pair_study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
