"""Runs as users ask for them, in this process: real roles, real images, no Ray."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from tests.pipelines.conftest import Steer
from tests.pipelines.console import small


def test_several_runs_give_a_consistency_report(steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--runs", 2)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "consistency.json").read_text())
    assert 0 < report["prompts"]["p"] <= 1
    assert 0 < report["images"]["p"] <= 1


def test_a_group_is_steered_as_one_person_and_population_as_nobody(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    arguments = [
        "group:age > 20" if argument == "all" else argument for argument in small(checkpoint, prompts, tmp_path / "run")
    ]
    done = steer(*arguments, "--scorer", "pamela", "--scorer", "population")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "run" / "trajectories.parquet").to_pylist()
    assert [(row["user"], row["scorer"]) for row in rows] == [("group:age > 20", "pamela"), ("*", "population")] * 2


def test_a_prompt_that_no_photograph_fits_is_rendered_with_a_warning(
    steer: Steer, checkpoint: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "odd.txt"
    prompts.write_text("a bowl of soup\n", "utf-8")
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--iterations", 0)
    assert done.returncode == 0, done.stderr
    assert "a bowl of soup" in done.stderr
    assert any("a bowl of soup" in line for line in json.loads((tmp_path / "run" / "run.json").read_text())["warnings"])


def test_a_broken_photograph_is_named_and_skipped(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (90, 80), "orange").save(photos / "orange-wall.png")
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--iterations", 0, "--set", f"renderer.photos={photos}")
    assert done.returncode == 0, done.stderr
    assert "skipped: torn.jpg" in done.stderr
    assert "orange wall" in done.stderr  # the warning that no photograph fits names the nearest
