"""Where pipelines come from: folders, and a hub that a real HTTP server plays, as the hub's client asks it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.renderers.diffusers.weights.memory import check_memory, needed_bytes, weight_bytes
from actors.renderers.diffusers.weights.pipeline_source import find_pipeline, read_header
from tests.actors.hub import COMMIT, serve_hub
from tests.flux2_checkpoints import weights_of


@pytest.fixture
def hub() -> Iterator[str]:
    with serve_hub() as url:
        yield url


def find_all(models: list[tuple[str, str | None]], **environment: str) -> list[str]:
    """What a process of its own finds or is refused: the hub's client reads its settings when it is imported."""
    program = (
        "import sys, json\n"
        "from actors.renderers.diffusers.weights.pipeline_source import find_pipeline\n"
        "for model, revision in json.loads(sys.argv[1]):\n"
        "    try: print(find_pipeline(model, revision).fingerprint)\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(models)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(models)
    return lines


def refusal(model: str, revision: str | None = None) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        find_pipeline(model, revision)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def test_what_the_hub_refuses_is_said_in_one_line_with_the_remedy(hub: str, tmp_path: Path) -> None:
    gated, missing, unknown, text = find_all(
        [("gated/FLUX.2-dev", None), ("someone/nothing", None), ("someone/x", "unknown"), ("someone/text", None)],
        HF_ENDPOINT=hub,
        HF_HUB_CACHE=str(tmp_path),
    )
    assert "gated/FLUX.2-dev: gated; accept its licence on https://huggingface.co/gated/FLUX.2-dev" in gated
    assert "hf auth login" in gated
    assert "neither a folder nor on the hub; if it is private" in missing
    assert "the hub has no revision 'unknown'" in unknown
    assert "someone/text: the repository has no model_index.json" in text


def test_a_commit_that_was_fetched_is_found_again_without_the_hub(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--someone--pipeline" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text('{"_class_name": "Flux2Pipeline"}')
    found, other = find_all(
        [("someone/pipeline", COMMIT), ("someone/other", None)], HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path)
    )
    assert found == f"someone/pipeline@{COMMIT}"
    assert (
        "someone/other: neither a folder nor in the hub's cache, and the hub is out of reach; give the folder of a copy"
        in other
    )


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, "not the folder of a diffusers pipeline: it has no model_index.json"),
        ("{", "not JSON"),
        ("[]", "not a pipeline of diffusers itself"),
        ('{"_class_name": ["pipeline", "Custom"]}', "one with code of its own is not run"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, index: str | None, said: str) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    assert said in refusal(str(tmp_path))


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused() -> None:
    assert "no such folder" in refusal("/nowhere/flux")
    assert "no such folder" in refusal("./flux")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "Flux2Pipeline", "vae": ["diffusers", "X"]}')
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="vae has no weights as safetensors"):
        find_pipeline(str(tmp_path), None).complete(["vae"])


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x20" + bytes(7) + b'{"w":'], ids=["empty", "other", "cut"])
def test_weights_that_are_cut_off_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: is cut off, or no safetensors file; fetch it again"):
        read_header(tmp_path / "model.safetensors")


def test_the_memory_of_weights_is_read_from_their_headers(tmp_path: Path) -> None:
    weights_of(tmp_path / "transformer" / "model-00001-of-00002.safetensors", 20_000_000_000)
    weights_of(tmp_path / "transformer" / "model-00002-of-00002.safetensors", 12_000_000_000)
    weights_of(tmp_path / "transformer" / "model.fp16-00001-of-00001.safetensors", 32_000_000_000)
    weights_of(tmp_path / "text_encoder" / "model.safetensors", 24_000_000_000)
    index = {name: ["diffusers", "X"] for name in ("scheduler", "text_encoder", "transformer")}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "Flux2Pipeline", **index}))
    source = find_pipeline(str(tmp_path), None)
    sizes = weight_bytes(source, source.components, "bfloat16")
    assert sizes == {"text_encoder": 48_000_000_000, "transformer": 64_000_000_000}
    assert weight_bytes(source, source.components, None)["transformer"] == 128_000_000_000
    assert needed_bytes(sizes, "none") > 112_000_000_000 > needed_bytes(sizes, "model") > 64_000_000_000
    with pytest.raises(ValueError, match=r"FLUX: \d+\.\d GB of memory needed \(.*transformer 64000\.0\), .* GB there"):
        check_memory("FLUX", {name: 1000 * size for name, size in sizes.items()}, "none", "cpu")
    check_memory("FLUX", {name: 1000 * size for name, size in sizes.items()}, "sequential", "cpu")
