"""The preset `paper` by the installed command, on a real Ray, with tiny checkpoints where its models belong."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.chat_checkpoint import tiny_chat_llama
from tests.flux2_checkpoints import tiny_flux2, tiny_unconditional
from tests.pipelines.conftest import Steer
from tests.pipelines.predictors import CONTENTS
from tests.pipelines.records.test_journal import in_plain

ON_CPU = [
    *(f"{role}.num_gpus=0" for role in ("renderer", "text_encoder", "proposer", "scorer")),
    "proposer.kind=transformers",  # vLLM lives in an environment of its own; see tests/vllm
]
SMALL = ["renderer.width=64", "renderer.height=64", "renderer.num_inference_steps=2", "proposer.max_new_tokens=80"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_llama(tmp_path_factory.mktemp("llama"))


def settings(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


def images(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "images").rglob("*.png")}


@pytest.mark.slow
def test_the_paper_preset_runs_on_tiny_checkpoints_and_resumes_to_the_same_records(
    steer_command: Steer, llama: Path, tiny_predictor: Path, tmp_path: Path
) -> None:
    prompts, run, again = tmp_path / "prompts.txt", tmp_path / "run", tmp_path / "again"
    prompts.write_text("a cup of coffee\n", "utf-8")
    where = [f"renderer.model={tiny_flux2(tmp_path / 'flux2')}", f"proposer.model={llama}"]
    done = steer_command(
        *("--preset", "paper", "--users", "u01,u02", "--prompts", prompts, "--predictor", tiny_predictor, "--out", run),
        *("--candidates", 3, "--iterations", 2),
        *settings(*where, *ON_CPU, *SMALL, "renderer.actors=2"),
    )
    assert done.returncode == 0, done.stderr
    candidates = pq.read_table(run / "candidates.parquet").to_pylist()
    assert {row["user"] for row in candidates} == {"u01", "u02"}
    assert len({row["image"] for row in candidates}) == len({row["prompt"] for row in candidates}) >= 4
    about = json.loads((run / "run.json").read_text("utf-8"))
    assert about["reproducibility_key"]["renderer"]["pipeline"] == "Flux2Pipeline"
    assert {found["content"] in CONTENTS for found in about["zero_shot"].values()} == {True}
    assert "All images are generated" in (run / "gallery.html").read_text("utf-8")

    # From the first line of the journal, in new processes, on one renderer that encodes its text itself.
    shutil.copytree(run, again)
    lines = (again / "journal.jsonl").read_text("utf-8").splitlines(keepends=True)
    (again / "journal.jsonl").write_text(lines[0], "utf-8")
    kept = in_plain(lines[0].encode())
    for path in (again / "images").rglob("*.png"):
        if path.stem not in kept:
            path.unlink()
    assert len(images(again)) < len(images(run))
    resumed = steer_command("--resume", "--out", again, *settings("renderer.actors=1", "text_encoder.actors=0"))
    assert resumed.returncode == 0, resumed.stderr
    assert images(again) == images(run)
    for table in ("candidates.parquet", "trajectories.parquet"):
        assert pq.read_table(again / table).equals(pq.read_table(run / table))


def test_a_dry_run_of_the_paper_preset_says_what_it_needs(steer: Steer, prompts: Path) -> None:
    previews = ("--set", "protocol.previews=4")  # what the pipeline can do is not looked up for a plan
    done = steer("--preset", "paper", "--users", "all", "--prompts", prompts, "--dry-run", *previews)
    assert done.returncode == 0, done.stderr
    for said in (
        "machines      3 GPU wanted, 0 there: 3 missing",
        "time          100.0 hours at most, by the preset's 9 s a render with 1 renderer(s) and 30 minutes to start",
        "GPU hours     300.0 at most: 3 GPU(s) of all roles, held from start to end; 0.5 more for each time",
        "FLUX [dev] Non-Commercial License",
        "accept it on https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct",
        "predictor     missing: name one by --predictor",
    ):
        assert said in done.stdout


@pytest.mark.parametrize("preset", ["local", "paper"])
def test_a_preset_without_a_predictor_of_its_own_asks_for_one(steer: Steer, prompts: Path, preset: str) -> None:
    done = steer("--preset", preset, "--users", "all", "--prompts", prompts)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"steer-batch: preset {preset} has no predictor of its own; name a checkpoint by --predictor DIR "
        "(steer-predictor train makes one from ratings)"
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["renderer.model=/nowhere"], "/nowhere: no such folder; give the folder of a pipeline"),
        (["renderer.model=FOLDER"], "not the folder of a diffusers pipeline"),
        (["renderer.model=UNCONDITIONAL"], "the text encoder of a DDPMPipeline stays with its renderer"),
        (["renderer.offload=model"], "setting renderer: offload 'model' wants a GPU to offload from"),
        (["renderer.width=100"], "setting renderer.width: input should be a multiple of 16, got 100"),
        (["renderer.profile=fast"], "setting renderer.profile"),
    ],
)
def test_what_no_renderer_can_do_is_refused_before_ray_is_started(
    steer: Steer, prompts: Path, checkpoint: Path, tmp_path: Path, overrides: list[str], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    places = {"FOLDER": tmp_path / "folder", "UNCONDITIONAL": tmp_path / "ddpm"}
    tiny_unconditional(places["UNCONDITIONAL"])
    for name, place in places.items():
        overrides = [text.replace(name, str(place)) for text in overrides]
    done = steer(
        *("--preset", "paper", "--users", "all", "--prompts", prompts, "--predictor", checkpoint),
        *settings(*ON_CPU, *overrides),
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr


def test_a_pipeline_that_takes_no_text_ends_the_run_before_it_begins(
    steer: Steer, prompts: Path, checkpoint: Path, tmp_path: Path, llama: Path
) -> None:
    model = tiny_unconditional(tmp_path / "ddpm")
    done = steer(
        *("--preset", "local", "--users", "all", "--prompts", prompts, "--predictor", checkpoint),
        *("--out", tmp_path / "run"),
        *settings(*ON_CPU, *SMALL, f"renderer.model={model}", f"proposer.model={llama}"),
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "DDPMPipeline takes no text prompt; give a text-to-image pipeline; mend it, then start again" in done.stderr
    assert not (tmp_path / "run").exists()
