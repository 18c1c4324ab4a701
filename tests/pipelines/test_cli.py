"""steer-batch as a user runs it: a process of its own, real Ray, real images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines.records.journal import replay
from tests.nodes import Nodes
from tests.pipelines.conftest import Steer
from tests.pipelines.console import alive, command, descendants, environment, journal_lines, small, wait_for

FILES = {"run.json", "run.log", "journal.jsonl", "images", "gallery.html", "trends.json"}
FILES |= {f"{name}.parquet" for name in ("candidates", "trajectories", "judgements", "winners")}


@pytest.fixture(scope="module")
def finished(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    prompts = folder / "prompts.txt"
    prompts.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    done = subprocess.run(
        command(*small(checkpoint, prompts, folder / "run")),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "run" / "gallery.html")
    return folder / "run"


def candidates(folder: Path) -> list[dict]:
    return table(folder, "candidates")


def table(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def test_a_run_leaves_what_the_design_lists_and_nothing_half_written(finished: Path) -> None:
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names - {"truth.json", "truth.parquet"} == FILES
    assert not list(finished.rglob("*.tmp"))
    about = json.loads((finished / "run.json").read_text())
    assert about["finished"] is not None
    assert about["counts"]["trajectories"] == 8
    assert about["counts"]["failed"] == 0


def test_a_run_says_what_it_has_cost(finished: Path) -> None:
    (costs,) = json.loads((finished / "run.json").read_text())["costs"]
    images = {row["image"] for row in candidates(finished)}
    again = [row for row in table(finished, "winners") if row["fresh_seeds"]]
    images |= {image for row in again for part in ("initial", "final") for image in row[f"{part}_images"]}
    assert costs["renders"] == len(images)
    assert costs["renders_saved"] > 0
    assert set(costs["roles"]) == {"renderer", "proposer", "scorer", "feature_extractor"}
    renderer = costs["roles"]["renderer"]
    assert renderer["calls"] == costs["renders"]
    accounted = renderer["busy_s"] + renderer["starting_s"] + sum(renderer["idle_s"].values())
    assert accounted == pytest.approx(costs["wall_s"], abs=0.5)  # of the one actor
    assert costs["gpu_hours"] == 0


def test_every_candidate_has_an_image_on_disk_and_a_score(finished: Path) -> None:
    rows = candidates(finished)
    assert len(rows) > 8 * 5
    for row in rows:
        assert row["score"] is not None
        assert (finished / "images" / row["image"][:2] / f"{row['image']}.png").is_file()


def test_the_best_of_a_trajectory_never_falls(finished: Path) -> None:
    falls = f"SELECT * FROM '{finished / 'trajectories.parquet'}' WHERE final_score < initial_score"
    with duckdb.connect() as connection:
        assert connection.execute(falls).fetchall() == []


def test_candidates_of_a_prompt_share_one_image_seed(finished: Path) -> None:
    seeds = {(row["prompt_id"], row["seed"]) for row in candidates(finished)}
    assert len(seeds) == 2


def test_the_same_command_gives_the_same_records_whatever_the_actors(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    placement = ["renderer.actors=3", "renderer.in_flight=1", "scorer.actors=2", "proposer.actors=2"]
    overrides = [part for setting in placement for part in ("--set", setting)]
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), *overrides)
    assert done.returncode == 0, done.stderr
    for table in ("candidates", "trajectories"):
        again, first = (pq.read_table(folder / f"{table}.parquet") for folder in (tmp_path / "run", finished))
        assert again.equals(first)


@pytest.mark.slow
@pytest.mark.parametrize("lines", [0, 2, 9])
def test_a_run_that_is_killed_and_resumed_has_the_records_of_an_unbroken_one(
    lines: int, finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*small(checkpoint, prompts, run)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    wait_for(lambda: journal_lines(run) >= lines and any(run.glob("images/*/*.png")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "candidates.parquet").exists()
    done = steer("--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(run / "candidates.parquet").equals(pq.read_table(finished / "candidates.parquet"))
    assert pq.read_table(run / "trajectories.parquet").equals(pq.read_table(finished / "trajectories.parquet"))


@pytest.mark.slow
def test_ctrl_c_writes_the_records_and_says_how_to_go_on(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*small(checkpoint, prompts, run)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    wait_for(lambda: journal_lines(run) >= 3, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"steer-batch --resume --out {run}" in errors.decode()
    assert "Traceback" not in errors.decode()
    states = {row["stop_reason"] for row in pq.read_table(run / "trajectories.parquet").to_pylist()}
    assert "unfinished" in states
    assert steer("--resume", "--out", run).returncode == 0
    assert pq.read_table(run / "candidates.parquet").equals(pq.read_table(finished / "candidates.parquet"))


@pytest.mark.slow
def test_a_run_whose_cluster_is_lost_says_so_and_goes_on_on_another(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run, nodes = tmp_path / "run", Nodes()
    try:
        arguments = (*small(checkpoint, prompts, run), "--address", nodes.address)
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
        )
        wait_for(lambda: journal_lines(run) >= 3, process)
        nodes.lose_all()
        _, errors = process.communicate(timeout=50)
    finally:
        nodes.shutdown()
    said = errors.decode().splitlines()[-1]
    assert process.returncode == 2, errors.decode()[-3000:]
    assert said.startswith("steer-batch: the Ray ") and said.endswith(f"--resume --out {run}")
    assert "Traceback" not in errors.decode()
    assert steer("--resume", "--out", run).returncode == 0
    assert pq.read_table(run / "candidates.parquet").equals(pq.read_table(finished / "candidates.parquet"))


@pytest.mark.slow
def test_a_run_whose_own_node_dies_says_so_and_goes_on_on_another(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run, longer = tmp_path / "run", ("--protocol", "paper", "--candidates", 160)  # than it takes to notice
    process = subprocess.Popen(
        command(*small(checkpoint, prompts, run, users="u01"), *longer),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    wait_for(lambda: journal_lines(run) >= 1, process)
    (raylet,) = [pid for pid, title in descendants(process.pid) if Path(title.partition("\0")[0]).name == "raylet"]
    os.kill(raylet, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    said = errors.decode().splitlines()[-1]
    assert process.returncode == 2
    assert "has died" in said and said.endswith(f"--resume --out {run}")
    assert steer("--resume", "--out", run, timeout_s=400).returncode == 0
    assert steer(*small(checkpoint, prompts, tmp_path / "whole", users="u01"), *longer).returncode == 0
    whole = pq.read_table(tmp_path / "whole" / "candidates.parquet")
    assert pq.read_table(run / "candidates.parquet").equals(whole)


def test_resuming_a_finished_run_changes_nothing_and_needs_no_cluster(finished: Path, steer: Steer) -> None:
    before = (finished / "journal.jsonl").read_bytes()
    done = steer("--resume", "--out", finished, "--address", "127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert (finished / "journal.jsonl").read_bytes() == before


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


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "trajectories  8" in done.stdout
    assert "protocol      frugal, share pool, screen 8" in done.stdout
    assert "most renders  62" in done.stdout  # 2 base images, 2 x 4, 8 x 4, and 2 x 2 and 8 x 2 with fresh seeds
    assert not (tmp_path / "run").exists()


def test_a_dry_run_needs_no_torch(prompts: Path) -> None:
    code = (
        "import sys; from pipelines.cli import app\n"
        f"app(['--users', 'all', '--prompts', {str(prompts)!r}, '--dry-run'], standalone_mode=False)\n"
        "assert not {'torch', 'ray', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", ["steer-batch", "steer-predictor", "steer-study"])
def test_help_answers_at_once(script: str) -> None:
    path = str(Path(sys.executable).parent / script)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        done = subprocess.run([path, "--help"], check=False, capture_output=True, text=True, env=environment())
        seconds.append(time.monotonic() - began)
        assert done.returncode == 0
    assert min(seconds) < 0.7


def test_a_second_process_is_kept_out_of_a_run(steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*small(checkpoint, prompts, run)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    try:
        wait_for((run / "run.json").exists, process)
        done = steer("--resume", "--out", run)
        assert done.returncode == 2
        assert "another steer-batch" in done.stderr
    finally:
        process.kill()
        process.wait()


def test_a_journal_of_a_killed_run_replays(finished: Path) -> None:
    ids = {row["trajectory_id"] for row in candidates(finished)}
    histories = replay(finished / "journal.jsonl", ids)
    recorded = sum(len((*i.candidates, *i.pooled)) for h in histories.values() for i in h)
    assert recorded == len(table(finished, "judgements"))


@pytest.mark.slow
def test_killing_the_driver_ends_its_actors(checkpoint: Path, prompts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*small(checkpoint, prompts, run)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    )
    wait_for(lambda: any(run.glob("images/*/*.png")), process)
    actors = [pid for pid, name in descendants(process.pid) if name.startswith(("ray::Darkroom", "ray::PamelaScorer"))]
    assert len(actors) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in actors):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in actors if alive(pid)]}"
        time.sleep(0.2)
