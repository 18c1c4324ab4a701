"""The preset `paper` as it stands, its proposer on vLLM: only models' paths, sizes and the lack of GPUs are set."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.chat_checkpoint import LOOKS, tiny_chat_llama
from tests.flux2_checkpoints import tiny_flux2
from tests.pipelines.predictors import train_on_tiny

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm installs it apart"),
]

WITHOUT_GPUS = [f"{role}.num_gpus=0" for role in ("renderer", "text_encoder", "proposer", "scorer")]
SMALL = ["renderer.width=64", "renderer.height=64", "renderer.num_inference_steps=2", "proposer.max_model_len=3000"]


def steer(*arguments: object) -> subprocess.CompletedProcess[str]:
    console_script = Path(sys.executable).parent / "steer-batch"
    return subprocess.run(
        [console_script, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=900
    )


def test_steer_batch_by_the_papers_preset_proposes_by_vllm_and_goes_on_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    predictor = train_on_tiny(tmp_path / "predictor")
    paths = [
        f"renderer.model={tiny_flux2(tmp_path / 'flux2')}",
        f"proposer.model={tiny_chat_llama(tmp_path / 'llama')}",
    ]
    prompts, run = tmp_path / "prompts.txt", tmp_path / "run"
    prompts.write_text("a cup of coffee\n", "utf-8")

    done = steer(
        *("--preset", "paper", "--users", "all", "--prompts", prompts, "--predictor", predictor, "--out", run),
        *("--candidates", 3, "--iterations", 2),
        *(part for pair in [*paths, *WITHOUT_GPUS, *SMALL] for part in ("--set", pair)),
    )
    assert done.returncode == 0, done.stderr
    records = [pq.read_table(run / f"{name}.parquet") for name in ("candidates", "trajectories")]
    proposed = {row["prompt"] for row in records[0].to_pylist() if row["iteration"]}
    assert len(proposed) >= 4
    assert sum(prompt.removeprefix("a cup of coffee, ") in LOOKS for prompt in proposed) >= len(proposed) / 2

    journal = (run / "journal.jsonl").read_text("utf-8").splitlines(keepends=True)
    (run / "journal.jsonl").write_text("".join(journal[:-1]), "utf-8")
    resumed = steer("--resume", "--out", run)
    assert resumed.returncode == 0, resumed.stderr
    again = [pq.read_table(run / f"{name}.parquet") for name in ("candidates", "trajectories")]
    assert [t.num_rows for t in again] == [t.num_rows for t in records]
    kept = len(journal) - 1
    assert (run / "journal.jsonl").read_text("utf-8").splitlines(keepends=True)[:kept] == journal[:kept]
