"""steer-batch on services alone, an image API and a chat endpoint, and what is said of models that cannot be had."""

import base64
import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.records.journal import lines, parse
from tests.actors.hub import serve_hub
from tests.actors.proposers.chat.service import Asked, Scripted, Service, completion, serve
from tests.flux2_checkpoints import tiny_flux2, weights_of
from tests.pipelines.conftest import Steer

KEY = "sk-secret-0815"
LOOKS = ("fog", "neon", "snow", "violence")


def service(asked: Asked, number: int) -> Scripted:
    """Four proposals a question; an image whose colour is the prompt's, but none of violence."""
    if asked.path.endswith("/chat/completions"):
        return completion("\n".join(f"{n}. a cup of coffee, {look}" for n, look in enumerate(LOOKS, start=1)))
    prompt = asked.body["prompt"]
    if "violence" in prompt:
        return Scripted(status=400, body={"error": {"message": "rejected by the safety system"}})
    drawn = io.BytesIO()
    Image.new("RGB", (64, 64), f"#{hashlib.sha256(prompt.encode()).hexdigest()[:6]}").save(drawn, "PNG")
    return Scripted(body={"data": [{"b64_json": base64.b64encode(drawn.getvalue()).decode()}]})


def preset(folder: Path, url: str) -> Path:
    path = folder / "services.yaml"
    path.write_text(
        f"""
renderer: {{kind: image-api, model: painter-1, base_url: "{url}", api_key_env: STUDIO_KEY, width: 64, height: 64}}
proposer: {{kind: openai, model: writer-1, base_url: "{url}", api_key_env: STUDIO_KEY}}
""",
        "utf-8",
    )
    return path


def drawn(service: Service) -> list[str]:
    return [asked.body["prompt"] for asked in service.asked if "prompt" in asked.body]


def test_a_run_on_services_alone_records_what_they_refuse_and_asks_for_nothing_twice(
    steer: Steer, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_KEY", KEY)
    run, prompts = tmp_path / "run", tmp_path / "prompts.txt"
    prompts.write_text("a cup of coffee\n", "utf-8")
    with serve(service) as served:
        done = steer(
            *("--preset", preset(tmp_path, served.url), "--users", "u01,u02", "--prompts", prompts, "--out", run),
            *("--predictor", checkpoint, "--candidates", 4, "--iterations", 1),
        )
        asked = drawn(served)
        (run / "journal.jsonl").write_text("", "utf-8")
        resumed = steer("--resume", "--out", run)
        again = drawn(served)[len(asked) :]
    assert (done.returncode, resumed.returncode) == (0, 0), done.stderr + resumed.stderr
    rows = pq.read_table(run / "candidates.parquet").to_pylist()
    lost = [row for row in rows if row["image"] is None]
    assert {row["prompt"] for row in lost} == {"a cup of coffee, violence"}
    assert len(rows) == 2 * (1 + len(LOOKS))
    assert set(asked) == {row["prompt"] for row in rows}
    assert len(set(asked)) == len([prompt for prompt in asked if "violence" not in prompt]) + 1
    assert set(again) == {"a cup of coffee, violence"}
    assert all(KEY not in path.read_text("utf-8", errors="ignore") for path in run.rglob("*") if path.is_file())
    assert {asked.headers["authorization"] for asked in served.asked} == {f"Bearer {KEY}"}
    rounds = [parse("journal", line)[1] for _, line in lines(run / "journal.jsonl")]
    assert KEY not in repr(rounds)
    errors = [c.error for each in rounds for proposed in each.proposed for c in proposed.candidates if c.error]
    assert errors
    assert all("400 rejected by the safety system" in error for error in errors)


def without_model(prompts: Path, checkpoint: Path, folder: Path, *settings: str) -> tuple[object, ...]:
    """A run by a preset of its own, whose models are those of the settings."""
    (folder / "preset.yaml").write_text("renderer: {kind: darkroom}\n", "utf-8")
    overrides = (part for pair in ("proposer.kind=lexicon", *settings) for part in ("--set", pair))
    inputs = ("--preset", folder / "preset.yaml", "--users", "all", "--prompts", prompts, "--predictor", checkpoint)
    return (*inputs, "--out", folder / "run", *overrides)


def said_in_one_line(done: subprocess.CompletedProcess[str], said: str, folder: Path) -> None:
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1], done.stderr
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gated/FLUX.2-dev", "gated; accept its licence on https://huggingface.co/gated/FLUX.2-dev"),
        ("someone/nothing", "someone/nothing: neither a folder nor on the hub"),
    ],
    ids=["gated", "missing"],
)
def test_a_model_that_the_hub_does_not_give_is_one_line_with_what_helps(
    steer_command: Steer,
    checkpoint: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    said: str,
) -> None:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub)  # read when the hub's client is imported: in a process of its own
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        settings = ("renderer.kind=diffusers", f"renderer.model={model}")
        done = steer_command(*without_model(prompts, checkpoint, tmp_path, *settings))
    said_in_one_line(done, said, tmp_path)


def test_a_model_that_is_too_large_is_one_line_with_what_helps(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    huge = tiny_flux2(tmp_path / "huge")
    shutil.rmtree(huge / "transformer")
    weights_of(huge / "transformer" / "diffusion_pytorch_model.safetensors", 16_000_000_000_000)
    settings = ("renderer.kind=diffusers", f"renderer.model={huge}")
    done = steer(*without_model(prompts, checkpoint, tmp_path, *settings))
    said_in_one_line(done, "GB there", tmp_path)


def test_a_service_that_does_not_answer_in_time_is_one_line_with_what_helps(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    with serve(lambda asked, number: Scripted(delay_s=2)) as slow:
        place = ("proposer.kind=openai", f"proposer.base_url={slow.url}", "proposer.model=x")
        settings = (*place, "proposer.request_timeout_s=0.5")
        done = steer(*without_model(prompts, checkpoint, tmp_path, *settings))
    assert "no answer within 0.5 s; raise request_timeout_s" in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    drawn_before = (tmp_path / "run").exists()  # base images need no proposer; what there is of them is kept
    assert done.returncode == (3 if drawn_before else 2)
    assert drawn_before == ("go on with --resume" in done.stderr.splitlines()[-1])
