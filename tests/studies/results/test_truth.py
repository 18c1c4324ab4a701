"""steer-study truth: runs judged by raters whose taste is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.search.rounds import Candidate
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, write_truth
from studies.results.truth import judge_runs
from tests.histories import history_of_one, write_records

GREY = {"u1": 60, "u2": 200}


def rater(user: str, image: Image.Image) -> Rater:
    """Likes exactly this image."""
    return Rater(
        user_id=user,
        age=30,
        gender="female",
        nationality="Indian",
        ideal=measure(image),
        tolerance=np.full(7, 10.0),
        weight=np.full(7, 1 / 7),
        bias=0.0,
        noise=1.0,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two users, each of whom got the grey that is their ideal; the initial image lies between."""
    folder = tmp_path / "run"
    pictures = {"initial": 130, **GREY}
    for key, grey in pictures.items():
        path = folder / "images" / key[:2] / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64), grey).save(path)
    write_truth(
        [rater(user, Image.new("L", (64, 64), grey)) for user, grey in GREY.items()], tmp_path / "truth.parquet"
    )
    histories = []
    for user in GREY:
        trajectory = Trajectory(
            user=user,
            user_ids=(user,),
            prompt_id="p1",
            base_prompt="grey",
            scorer="pamela",
            run=1,
            image_seed=1,
            seed=0,
        )
        base, final = Candidate(prompt="grey", image="initial"), Candidate(prompt=f"grey {user}", image=user)
        histories.append(history_of_one(trajectory, [(base, 0.1)], [(final, 0.9)]))
    write_records(histories, SearchSettings(iterations=1), folder)
    return folder


def test_each_rater_likes_the_own_image_best_and_the_others_least(run: Path) -> None:
    verdict = judge_runs([run], run.parent / "truth.parquet")
    assert verdict.raters == 2
    means = {name: interval.value for name, interval in verdict.means.items()}
    assert means["own"] == pytest.approx(1.0)
    assert means["own"] > means["initial"] > means["other"]


def test_several_runs_are_judged_together(run: Path) -> None:
    once, twice = (judge_runs([run] * times, run.parent / "truth.parquet") for times in (1, 2))
    assert twice.cases == 2 * once.cases
    assert twice.differences["own - other"].value == pytest.approx(once.differences["own - other"].value)


def test_unfinished_trajectories_are_not_judged(run: Path) -> None:
    table = pq.read_table(run / "trajectories.parquet")
    unfinished = table.set_column(table.column_names.index("stop_reason"), "stop_reason", [["unfinished"] * len(table)])
    pq.write_table(unfinished, run / "trajectories.parquet")
    with pytest.raises(ValueError, match="no finished trajectory"):
        judge_runs([run], run.parent / "truth.parquet")


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "steer-study"
    done = subprocess.run([script, "truth", tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "not a run folder" in done.stderr
