"""A service that is gone in the middle of a run: the run stops with status 3, and is resumed as if nothing had been."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.actors.proposers.chat.service import Asked, Scripted, serve
from tests.pipelines.conftest import Steer
from tests.pipelines.test_services import KEY, LOOKS, preset, service

GONE = {
    "busy": Scripted(status=503, body={"error": {"message": "overloaded"}}),
    "credit used up": Scripted(status=402, body={"error": {"message": "no credit"}}),
    "key withdrawn": Scripted(status=401, body={"error": {"message": "who?"}}),
}
SAID = {
    "busy": "503 overloaded, 3 times in a row",
    "credit used up": "quota or credit is used up (402 no credit); top it up",
    "key withdrawn": "refuses the key in STUDIO_KEY (401 who?)",
}


@pytest.mark.parametrize(
    "trouble", [pytest.param(name, marks=[pytest.mark.slow] if name == "busy" else []) for name in GONE]
)
def test_a_run_whose_image_service_is_gone_stops_with_one_line_and_is_resumed_to_the_same_records(
    trouble: str, steer: Steer, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    (tmp_path / "prompts.txt").write_text("a cup of coffee\n", "utf-8")

    def answer(asked: Asked, number: int) -> Scripted:
        gone = (tmp_path / "gone").exists() and "prompt" in asked.body and "fog" in asked.body["prompt"]
        return GONE[trouble] if gone else service(asked, number)

    def run(name: str, url: str) -> tuple[object, ...]:
        return (
            *("--preset", preset(tmp_path, url), "--users", "u01,u02", "--prompts", tmp_path / "prompts.txt"),
            *("--out", tmp_path / name, "--predictor", checkpoint, "--candidates", len(LOOKS), "--iterations", 1),
            *("--set", "give_up_after_s=0.5"),
        )

    with serve(answer) as served:
        assert steer(*run("undisturbed", served.url)).returncode == 0
        (tmp_path / "gone").touch()
        stopped = steer(*run("disturbed", served.url))
        recorded = json.loads((tmp_path / "disturbed" / "run.json").read_text("utf-8"))
        (tmp_path / "gone").unlink()
        resumed = steer("--resume", "--out", tmp_path / "disturbed")
    said = stopped.stderr.splitlines()[-1]
    assert stopped.returncode == 3, stopped.stderr
    assert said.startswith("steer-batch: stopped: renderer: no call has been answered since ")
    assert SAID[trouble] in said and said.endswith(f"go on with --resume --out {tmp_path / 'disturbed'}")
    assert (recorded["failures"], recorded["finished"]) == ({}, None)
    log = (tmp_path / "disturbed" / "run.log").read_text("utf-8")
    assert "stopped: renderer: no call has been answered since " in log
    assert resumed.returncode == 0, resumed.stderr
    for table in ("candidates.parquet", "trajectories.parquet"):
        assert pq.read_table(tmp_path / "disturbed" / table) == pq.read_table(tmp_path / "undisturbed" / table)


def test_what_was_made_before_a_scorer_turned_out_not_to_come_up_is_kept(
    steer: Steer, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("TOY_JOURNAL", str(run / "journal.jsonl"))
    scorers = [part for name in ("Brightness", "NeverUp") for part in ("--scorer", f"tests.pipelines.toys:{name}")]
    options = ("--protocol", "paper", "--candidates", 3, "--iterations", 1, "--set", "renderer.size=64")
    stopped = steer("--users", "all", "--prompts", prompts, *scorers, *options, "--out", run)
    assert stopped.returncode == 3, stopped.stderr
    said = stopped.stderr.splitlines()[-1]
    assert "no actor comes up" in said and "no licence was accepted" in said
    assert said.endswith(f"go on with --resume --out {run}")
    kept = pq.read_table(run / "candidates.parquet").to_pylist()
    assert {row["scorer"] for row in kept} == {"tests.pipelines.toys:Brightness"}
