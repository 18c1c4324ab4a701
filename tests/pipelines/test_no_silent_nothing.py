"""A run that achieved nothing says so: its trajectories failed, can be resumed, and what was refused is counted."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.actors.proposers.chat.service import Asked, Scripted, completion, serve
from tests.pipelines.conftest import Steer
from tests.pipelines.test_services import KEY, preset, service

REFUSAL = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
NOTHING_OF_THE_PROPOSER = {
    "null with a refusal": (
        Scripted(body={"choices": [{"index": 0, "message": REFUSAL, "finish_reason": "stop"}]}),
        "the model refuses to answer (I can't help with that.)",
    ),
    "nothing": (completion(None), "empty answer"),
    "words only": (completion("What a lovely idea! Here is what I think of it."), "not numbered"),
    "a filter's silence": (completion(None, "content_filter"), "the model refuses to answer (content_filter)"),
}


@pytest.fixture
def inputs(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cup of coffee\n", "utf-8")
    named = ("--users", "u01", "--prompts", prompts, "--predictor", checkpoint)
    return (*named, "--candidates", 4, "--iterations", 1, "--set", "give_up_after_s=2")


def about(run: Path) -> dict:
    return json.loads((run / "run.json").read_text("utf-8"))


@pytest.mark.parametrize("kind", NOTHING_OF_THE_PROPOSER)
def test_a_proposer_without_proposals_fails_the_trajectory_which_resumes_once_it_is_mended(
    kind: str, steer: Steer, inputs: tuple[object, ...], tmp_path: Path
) -> None:
    run, (answer, said) = tmp_path / "run", NOTHING_OF_THE_PROPOSER[kind]
    mended = tmp_path / "mended"

    def answers(asked: Asked, number: int) -> Scripted:
        return answer if "messages" in asked.body and not mended.exists() else service(asked, number)

    with serve(answers) as served:
        done = steer("--preset", preset(tmp_path, served.url), "--out", run, *inputs)
        recorded, gallery = about(run), (run / "gallery.html").read_text("utf-8")
        mended.touch()
        resumed = steer("--resume", "--out", run)
    assert done.returncode == 1, done.stderr
    assert "0 of 1 trajectories finished, 1 failed" in done.stderr
    (failure,) = recorded["failures"].values()
    assert failure.startswith("nothing was proposed in round 1: ") and said in failure
    refused = recorded["counts"]["refused_proposals"]
    assert [count for reason, count in refused.items() if said in reason]
    assert "proposals refused: " in done.stderr.splitlines()[-1]
    assert "refused: " in gallery
    assert recorded["finished"] is not None and "mean gain" not in done.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert about(run)["counts"]["failed"] == 0
    assert pq.read_table(run / "trajectories.parquet")["iterations"].to_pylist() == [1]


def test_a_proposer_that_answers_in_json_is_understood(
    steer: Steer, inputs: tuple[object, ...], tmp_path: Path
) -> None:
    def answers(asked: Asked, number: int) -> Scripted:
        if "messages" not in asked.body:
            return service(asked, number)
        return completion('```json\n["a cup of coffee, fog", "a cup of coffee, neon"]\n```')

    with serve(answers) as served:
        done = steer("--preset", preset(tmp_path, served.url), "--out", tmp_path / "run", *inputs)
    assert done.returncode == 0, done.stderr
    prompts = pq.read_table(tmp_path / "run" / "candidates.parquet")["prompt"].to_pylist()
    assert prompts == ["a cup of coffee", "a cup of coffee, fog", "a cup of coffee, neon"]


def test_a_round_whose_every_image_is_refused_is_none_and_is_asked_for_again_on_resume(
    steer: Steer, inputs: tuple[object, ...], tmp_path: Path
) -> None:
    run, mended = tmp_path / "run", tmp_path / "mended"

    def answers(asked: Asked, number: int) -> Scripted:
        if asked.body.get("prompt", "a cup of coffee") == "a cup of coffee" or mended.exists():
            return service(asked, number)
        return Scripted(status=400, body={"error": {"message": "unknown style"}})

    with serve(answers) as served:
        done = steer("--preset", preset(tmp_path, served.url), "--out", run, *inputs)
        recorded = about(run)
        mended.touch()
        resumed = steer("--resume", "--out", run)
    assert done.returncode == 1, done.stderr
    assert [*recorded["counts"]["refused_images"].values()] == [4]
    assert "4 images refused: renderer.render: RefusedError: " in done.stderr.splitlines()[-1]
    assert "400 unknown style" in done.stderr.splitlines()[-1]
    assert resumed.returncode == 0, resumed.stderr
    assert about(run)["counts"]["failed"] == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "who?"}),
        (402, {"message": "no credit"}),
        (403, {"message": "not yours"}),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
        (400, {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}),
        (200, {"message": "Insufficient credits", "code": 402}),
    ],
)
def test_a_renderer_that_nobody_pays_for_any_more_stops_the_run_at_once(
    status: int, error: dict, steer: Steer, inputs: tuple[object, ...], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    wait_long = ("--set", "give_up_after_s=600")

    def answers(asked: Asked, number: int) -> Scripted:
        if asked.body.get("prompt", "a cup of coffee") == "a cup of coffee":
            return service(asked, number)
        return Scripted(status=status, body={"error": error})

    with serve(answers) as served:
        done = steer("--preset", preset(tmp_path, served.url), "--out", run, *inputs, *wait_long)
    assert done.returncode == 3, done.stderr
    assert error["message"] in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].endswith(f"go on with --resume --out {run}")
    assert about(run)["finished"] is None
