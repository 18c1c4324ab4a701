"""steer-batch on a ComfyUI server, and what a run says of a service that takes no seed."""

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.records.image_store import ImageStore
from tests.actors.proposers.chat.service import serve
from tests.actors.renderers.services.comfyui_server import WORKFLOW, comfyui, drawn
from tests.pipelines.conftest import Steer
from tests.pipelines.console import command, environment, journal_lines, wait_for
from tests.pipelines.test_services import KEY, preset, service


def test_a_run_on_comfyui_is_repeated_to_the_same_pixels(steer: Steer, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW), "utf-8")
    (tmp_path / "prompts.txt").write_text("a cup of coffee\n", "utf-8")
    with comfyui() as server:
        (tmp_path / "comfyui.yaml").write_text(
            f"renderer: {{kind: comfyui, workflow: workflow.json, base_url: '{server.url}', width: 64, height: 64}}\n",
            "utf-8",
        )
        for run in ("one", "two"):
            done = steer(
                *("--preset", tmp_path / "comfyui.yaml", "--users", "u01", "--prompts", tmp_path / "prompts.txt"),
                *("--predictor", checkpoint, "--candidates", 4, "--iterations", 1, "--out", tmp_path / run),
            )
            assert done.returncode == 0, done.stderr
        asked = {json.dumps(prompt["prompt"]) for prompt in server.prompts}
    one, two = (pq.read_table(tmp_path / run / "candidates.parquet") for run in ("one", "two"))
    assert one == two
    images = ImageStore(tmp_path / "one"), ImageStore(tmp_path / "two")
    keys = one["image"].to_pylist()
    assert [images[0].read(key) for key in keys] == [images[1].read(key) for key in keys]
    assert len(asked) >= len(set(keys))
    assert all(drawn(json.loads(nodes)) for nodes in asked)
    assert "All images are generated, by the ComfyUI workflow workflow.json." in (
        tmp_path / "one" / "gallery.html"
    ).read_text("utf-8")


def test_a_workflow_without_marks_is_refused_before_anything_is_written(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    nodes = {name: {key: node[key] for key in ("class_type", "inputs")} for name, node in WORKFLOW.items()}
    (tmp_path / "workflow.json").write_text(json.dumps(nodes), "utf-8")
    settings = ("--set", "renderer.kind=comfyui", "--set", "renderer.workflow=workflow.json")
    (tmp_path / "empty.yaml").write_text("proposer: {kind: lexicon}\n", "utf-8")
    done = steer(
        *("--preset", tmp_path / "empty.yaml", "--users", "all", "--prompts", prompts, "--predictor", checkpoint),
        *("--out", tmp_path / "run", *settings),
    )
    assert done.returncode == 2
    assert (
        "renderer.workflow workflow.json: has no node titled 'prompt'; title the node" in done.stderr.splitlines()[-1]
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["openai", "vllm-omni"])
def test_a_run_whose_service_takes_no_seed_says_so_once_and_records_it(
    kind: str, steer: Steer, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    (tmp_path / "prompts.txt").write_text("a cup of coffee\n", "utf-8")
    with serve(service) as served:
        done = steer(
            *("--preset", preset(tmp_path, served.url), "--users", "u01,u02", "--prompts", tmp_path / "prompts.txt"),
            *("--predictor", checkpoint, "--candidates", 4, "--iterations", 1, "--runs", 2, "--out", tmp_path / "run"),
            *("--set", f"renderer.service={kind}"),
        )
        seeds = {asked.body.get("seed") for asked in served.asked if "prompt" in asked.body}
    assert done.returncode == 0, done.stderr
    warnings = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["warnings"]
    said = [line for line in warnings if line.startswith("The image service takes no seed")]
    consistency = json.loads((tmp_path / "run" / "consistency.json").read_text("utf-8"))
    assert len(said) == (kind == "openai")
    assert consistency["renderer_takes_seeds"] == (kind != "openai")
    assert (None in seeds) == (kind == "openai")


@pytest.mark.slow
def test_the_installed_command_draws_the_same_on_comfyui_after_it_was_killed(
    steer: Steer, steer_command: Steer, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW), "utf-8")
    (tmp_path / "prompts.txt").write_text("a slow cup of coffee\n", "utf-8")
    with comfyui() as server:
        (tmp_path / "comfyui.yaml").write_text(
            f"renderer: {{kind: comfyui, workflow: '{tmp_path}/workflow.json', base_url: '{server.url}', width: 64, "
            "height: 64}\n",
            "utf-8",
        )

        def run(name: str) -> tuple[object, ...]:
            return (
                *("--preset", tmp_path / "comfyui.yaml", "--users", "u01", "--prompts", tmp_path / "prompts.txt"),
                *("--predictor", checkpoint, "--candidates", 3, "--iterations", 1, "--out", tmp_path / name),
            )

        killed = subprocess.Popen(command(*run("killed")), stderr=subprocess.PIPE, env=environment())
        wait_for(lambda: journal_lines(tmp_path / "killed") > 0, killed)
        killed.kill()
        killed.communicate()
        resumed = steer_command("--resume", "--out", tmp_path / "killed")
        assert resumed.returncode == 0, resumed.stderr
        assert steer(*run("undisturbed")).returncode == 0
    one, two = (pq.read_table(tmp_path / name / "candidates.parquet") for name in ("killed", "undisturbed"))
    assert one == two
    images = ImageStore(tmp_path / "killed"), ImageStore(tmp_path / "undisturbed")
    assert [images[0].read(key) for key in one["image"].to_pylist()] == [
        images[1].read(key) for key in one["image"].to_pylist()
    ]
