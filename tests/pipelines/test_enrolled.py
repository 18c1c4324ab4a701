"""A person whom training has never seen: enrolled from a few rated images, then steered for."""

from pathlib import Path

import pyarrow.parquet as pq

from actors.messages import RenderRequest
from actors.renderers.darkroom.darkroom import Darkroom
from predictor.cli import main
from tests.in_this_process import call
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small

LIKINGS = {"at night, very dark": 5, "washed out, pale": 10, "bright, vivid colours": 95, "golden light, vivid": 90}


def test_a_new_person_is_steered_for_after_four_ratings(
    checkpoint: Path, prompts: Path, steer: Steer, tmp_path: Path
) -> None:
    darkroom = Darkroom(size=64)
    darkroom.setup()
    lines = ["image,rating"]
    for number, (how, rating) in enumerate(LIKINGS.items()):
        rendering = darkroom.render(RenderRequest(prompt=f"a cup of coffee, {how}", seed=number))
        (tmp_path / f"{number}.png").write_bytes(rendering.png)
        lines.append(f"{number}.png,{rating}")
    (tmp_path / "ada.csv").write_text("\n".join(lines) + "\n", "utf-8")
    with_ada = tmp_path / "with_ada"
    ratings = ("--user", "ada", "--ratings", tmp_path / "ada.csv")
    enrolled = call(main, "steer-predictor", "enroll", checkpoint, *ratings, "--out", with_ada)
    assert enrolled.returncode == 0, enrolled.stderr
    arguments = ["ada" if argument == "all" else argument for argument in small(with_ada, prompts, tmp_path / "run")]
    done = steer(*arguments)
    assert done.returncode == 0, done.stderr
    trajectories = pq.read_table(tmp_path / "run" / "trajectories.parquet").to_pylist()
    assert {row["user"] for row in trajectories} == {"ada"}
    assert len(trajectories) == 2
    assert all(row["final_score"] >= row["initial_score"] for row in trajectories)
