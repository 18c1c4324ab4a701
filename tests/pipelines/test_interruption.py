"""Runs by the installed command that are killed, interrupted or lose their Ray, and what becomes of them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.nodes import Nodes
from tests.pipelines.conftest import Steer
from tests.pipelines.console import alive, command, descendants, environment, journal_lines, small, wait_for
from tests.pipelines.test_finished_run import assert_same_records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("finished run")]


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command at work; whatever a test finds, it does not outlive it."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_run_that_is_killed_keeps_others_out_until_then_leaves_no_actor_and_is_resumed_to_the_same_records(
    finished: Path, steer_command: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with started(*small(checkpoint, prompts, run)) as process:
        wait_for((run / "run.json").exists, process)
        second = steer_command("--resume", "--out", run)
        assert second.returncode == 2
        assert "another steer-batch" in second.stderr
        wait_for(lambda: journal_lines(run) >= 2 and any(run.glob("images/*/*.png")), process)
        roles = ("ray::Darkroom", "ray::PamelaScorer")
        actors = [pid for pid, name in descendants(process.pid) if name.startswith(roles)]
        assert len(actors) >= 2
        process.kill()
        process.wait()
    assert not (run / "candidates.parquet").exists()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in actors):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in actors if alive(pid)]}"
        time.sleep(0.2)
    done = steer_command("--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    assert_same_records(run, finished)


def test_ctrl_c_writes_the_records_and_says_how_to_go_on(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with started(*small(checkpoint, prompts, run)) as process:
        wait_for(lambda: journal_lines(run) >= 1, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"steer-batch --resume --out {run}" in errors.decode()
    assert "Traceback" not in errors.decode()
    states = {row["stop_reason"] for row in pq.read_table(run / "trajectories.parquet").to_pylist()}
    assert "unfinished" in states
    assert steer("--resume", "--out", run).returncode == 0
    assert_same_records(run, finished)


def test_a_run_whose_cluster_is_lost_says_so_and_goes_on_on_another(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run, nodes = tmp_path / "run", Nodes()
    try:
        with started(*small(checkpoint, prompts, run), "--address", nodes.address) as process:
            wait_for(lambda: journal_lines(run) >= 1, process)
            nodes.lose_all()
            _, errors = process.communicate(timeout=120)
    finally:
        nodes.shutdown()
    said = errors.decode().splitlines()[-1]
    assert process.returncode == 3, errors.decode()[-3000:]
    assert said.startswith("steer-batch: the Ray ") and said.endswith(f"--resume --out {run}")
    assert "Traceback" not in errors.decode()
    assert steer("--resume", "--out", run).returncode == 0
    assert_same_records(run, finished)


def test_a_run_whose_own_node_dies_says_so_and_goes_on_on_another(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with started(*small(checkpoint, prompts, run)) as process:
        wait_for(lambda: journal_lines(run) >= 0, process)
        with held_up("ray::Darkroom", process):  # from the start on, or the run might end before it notices
            os.kill(raylet_of(process), signal.SIGKILL)
            _, errors = process.communicate(timeout=120)
    said = errors.decode().splitlines()[-1]
    assert process.returncode == 3
    assert "has died" in said and said.endswith(f"--resume --out {run}")
    assert steer("--resume", "--out", run).returncode == 0
    assert_same_records(run, finished)


@contextmanager
def held_up(role: str, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The actors of a role do nothing while the block runs; nobody is left afterwards to end them."""
    actors = [pid for pid, title in descendants(process.pid) if title.startswith(role)]
    assert actors
    for pid in actors:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(alive, actors):
            os.kill(pid, signal.SIGKILL)


def raylet_of(process: subprocess.Popen[bytes]) -> int:
    titles = descendants(process.pid)
    (raylet,) = (pid for pid, title in titles if Path(title.partition("\0")[0]).name == "raylet")
    return raylet
