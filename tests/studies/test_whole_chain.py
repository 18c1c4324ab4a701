"""Steer, export, serve, vote, report: the whole chain, judged against the raters' known taste."""

import json
from pathlib import Path

import pytest
from PIL import Image

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded_predictor import embedded_checkpoint
from predictor.checkpoint import checkpoint_users
from predictor.cli import main as steer_predictor
from predictor.data.dataset import read_dataset
from studies.cli.main import main as steer_study
from tests.in_this_process import call

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedded checkpoint")]

OTHERS = 5
"""Of the eleven. With so many, votes drawn anew from the true tastes show all that is claimed 40 times out of 40, and
never where each person has somebody else's images."""

COMMANDS = {"steer-study": steer_study, "steer-predictor": steer_predictor}


def run(name: str, *arguments: object) -> str:
    done = call(COMMANDS[name], name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_simulated_people_prefer_own_over_other_over_initial_as_the_truth_does(demo: Path, tmp_path: Path) -> None:
    study, report = tmp_path / "study", tmp_path / "report"
    run("steer-study", "pairs", demo, "--out", study, "--others", OTHERS, "--seed", 0)
    run("steer-study", "simulate", study)
    run("steer-study", "elo", study, "--out", report, "--predictor", embedded_checkpoint(Darkroom()))
    elo = json.loads((report / "elo.json").read_text())
    assert [condition["condition"] for condition in elo["conditions"]] == ["own", "other", "initial"]
    truth = json.loads((demo / "truth.json").read_text())["means"]
    assert truth["own"]["value"] > truth["other"]["value"] > truth["initial"]["value"]
    tests = {(pair["a"], pair["b"]): pair for pair in elo["pairs"]}
    assert tests["own", "other"]["ci_low"] > 0
    assert tests["own", "initial"]["ci_low"] > 0
    all_pairs = 2 * 12 * 4 * (1 + OTHERS + OTHERS)  # without those who ended on the very same image of the pool
    assert 0.9 * all_pairs < sum(condition["n"] for condition in elo["conditions"]) <= all_pairs
    assert any("simulated raters, not people" in warning for warning in elo["warnings"])
    assert any("fewer than 20" in warning for warning in elo["warnings"])
    assert elo["alignment"]["higher_won"]["value"] > 0.7  # the reward model agrees with the votes
    page = (report / "report.html").read_text()
    assert "steered for u01" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_rating_study_makes_a_person_for_whom_the_predictor_scores(demo: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(sorted((demo / "images").rglob("*.png"))[::90][:40]):
        with Image.open(file) as image:
            image.save(images / f"{number:02d}.png")
    study, dataset, enrolled = tmp_path / "ratings", tmp_path / "dataset", tmp_path / "with_them"
    run("steer-study", "rating", "--images", images, "--out", study, "--per-image", 2, "--practice", 2)
    run("steer-study", "simulate", study, "--truth", demo / "truth.parquet", "--participants", 2)
    exported = run("steer-study", "export", study, "--dataset", dataset)
    assert "2 users" in exported
    user = read_dataset(dataset).user_ids[0]
    checkpoint = embedded_checkpoint(Darkroom())
    said = run("steer-predictor", "enroll", checkpoint, "--user", user, "--ratings", dataset, "--out", enrolled)
    assert f"knows {user} from" in said
    (person,) = (row for row in checkpoint_users(enrolled).to_pylist() if row["user_id"] == user)
    assert person["age"] is not None  # as they told the study
    scored = run("steer-predictor", "score", enrolled, "--user", user, *sorted((dataset / "images").iterdir())[:3])
    assert scored.startswith("image,score\n")
    assert len(scored.splitlines()) == 4
