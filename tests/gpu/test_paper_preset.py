"""The preset `paper` on one GPU that its actors share: tiny checkpoints, real Ray, real CUDA."""

import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.chat_checkpoint import tiny_chat_llama
from tests.flux2_checkpoints import tiny_flux2
from tests.gpu.device import DEVICE, needs_device
from tests.pipelines.console import command, environment, journal_lines, wait_for
from tests.pipelines.predictors import train_on_tiny

pytestmark = needs_device

SHARES = {"renderer": 0.3, "text_encoder": 0.1, "proposer": 0.1, "scorer": 0.2}
SETTINGS = {
    **{f"{role}.num_gpus": share if DEVICE == "cuda" else 0 for role, share in SHARES.items()},
    "proposer.kind": "transformers",  # vLLM lives in an environment of its own; see tests/vllm
    "proposer.max_new_tokens": 80,
    "renderer.width": 64,
    "renderer.height": 64,
    "renderer.num_inference_steps": 4,
    "renderer.actors": 2,
}


def options(**overrides: object) -> list[str]:
    settings = {**SETTINGS, **{name.replace("__", "."): value for name, value in overrides.items()}}
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def finish(*arguments: object) -> None:
    done = subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, timeout=200, env=environment()
    )
    assert done.returncode == 0, done.stderr


def test_two_renderers_one_renderer_and_a_run_that_was_killed_give_the_same_pixels_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    predictor = train_on_tiny(tmp_path / "predictor")
    models = {
        "renderer__model": tiny_flux2(tmp_path / "flux2"),
        "proposer__model": tiny_chat_llama(tmp_path / "llama"),
    }
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    what = ("--preset", "paper", "--users", "u01,u02", "--prompts", prompts, "--predictor", predictor)
    size = ("--candidates", 4, "--iterations", 3)

    two, one, killed = tmp_path / "two", tmp_path / "one", tmp_path / "killed"
    finish(*what, *size, "--out", two, *options(**models))
    finish(*what, *size, "--out", one, *options(**models, renderer__actors=1, text_encoder__actors=0))
    process = subprocess.Popen(
        command(*what, *size, "--out", killed, *options(**models)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    wait_for(lambda: journal_lines(killed) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finish("--resume", "--out", killed)
    candidates = pq.read_table(two / "candidates.parquet")
    assert len(set(candidates.column("image").to_pylist())) >= 4
    for run in (one, killed):
        assert pq.read_table(run / "candidates.parquet").equals(candidates)
        assert images(run) == images(two)


def images(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "images").rglob("*.png")}
