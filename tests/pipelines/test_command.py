"""The installed commands in processes of their own: what they load, how fast they answer, who may use a folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.records.run_folder import RunFolder
from tests.pipelines.conftest import Steer, locks_end_with_it
from tests.pipelines.console import core_seconds, environment, small


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "trajectories  8" in done.stdout
    assert "protocol      frugal, share pool, screen 3" in done.stdout
    assert "most renders  62" in done.stdout  # 2 base images, 2 x 4, 8 x 4, and 2 x 2 and 8 x 2 with fresh seeds
    assert not (tmp_path / "run").exists()


def test_a_dry_run_needs_no_torch(prompts: Path) -> None:
    code = (
        "import sys; from pipelines.cli import app\n"
        "for preset in ('embedded', 'paper'):\n"
        "    try: app([*sys.argv[1:], '--preset', preset])\n"
        "    except SystemExit as end: assert end.code == 0, (preset, end)\n"
        "    assert not {'torch', 'diffusers', 'transformers', 'ray'} & set(sys.modules), preset\n"
        "print('both')"
    )
    arguments = ["--users", "all", "--prompts", str(prompts), "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "both"


@pytest.mark.parametrize("script", ["steer-batch", "steer-predictor", "steer-study"])
def test_help_answers_at_once(script: str) -> None:
    path = Path(sys.executable).parent / script
    assert any(core_seconds(path, "--help") < 0.7 for _ in range(3))


def test_a_second_process_is_kept_out_of_a_run(steer_command: Steer, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    with locks_end_with_it():
        RunFolder.open(run)
        done = steer_command("--resume", "--out", run)
    assert done.returncode == 2
    assert "another steer-batch" in done.stderr
