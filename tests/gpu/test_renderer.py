"""On a GPU as on a CPU: an image depends on prompt, seed and settings alone, in every profile that a GPU has."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.messages import RenderRequest
from actors.renderers.diffusers.renderer import DiffusersRenderer
from actors.renderers.diffusers.text_encoder import Flux2TextEncoder
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS
from tests.flux2_checkpoints import tiny_flux2, tiny_gguf, tiny_klein, tiny_lora, tiny_stable_diffusion
from tests.gpu.device import DEVICE, needs_device

pytestmark = needs_device

PROMPTS = ("a cat", "a dog dancing in the rain, cinematic light", "fog")
REQUESTS = [RenderRequest(prompt=prompt, seed=seed) for prompt in PROMPTS for seed in (0, 2**63 - 1)]
PIPELINES = {"flux2": tiny_flux2, "klein": tiny_klein, "stable-diffusion": tiny_stable_diffusion}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {name: make(root / name) for name, make in PIPELINES.items()}


def ready(folder: Path, **settings: Any) -> DiffusersRenderer:
    size: dict[str, Any] = {"num_inference_steps": 6, "preview_steps": 3, "width": 96, "height": 64}
    renderer = DiffusersRenderer(str(folder), device=DEVICE, **size | settings)
    renderer.setup()
    return renderer


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", PIPELINES)
def test_an_image_is_the_same_in_any_order_and_after_a_restart(folders: dict[str, Path], name: str, dtype: str) -> None:
    renderer = ready(folders[name], dtype=dtype)
    images = [renderer.render(request) for request in REQUESTS]
    assert len({image.png for image in images}) == len(REQUESTS)
    torch.manual_seed(11)
    assert [renderer.render(request) for request in reversed(REQUESTS)] == images[::-1]
    assert ready(folders[name], dtype=dtype).render(REQUESTS[3]) == images[3]


@pytest.mark.parametrize("profile", ["cudnn", "math", "taylorseer", "compile"])
def test_a_profiles_image_is_the_same_in_any_order_and_after_a_restart(folders: dict[str, Path], profile: str) -> None:
    renderer = ready(folders["flux2"], profile=profile, num_inference_steps=12)
    images = [renderer.render(request) for request in REQUESTS[:3]]
    assert len({image.png for image in images}) == 3
    assert [renderer.render(request) for request in REQUESTS[2::-1]] == images[::-1]
    assert ready(folders["flux2"], profile=profile, num_inference_steps=12).render(REQUESTS[1]) == images[1]


QUANTIZED = [name for name in QUANTIZATIONS if DEVICE == "cuda" or not name.startswith("bitsandbytes")]


@pytest.mark.parametrize("profile", ["exact", "compile"] if DEVICE == "cuda" else ["exact"])
@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantised_image_is_the_same_in_any_order_and_after_a_restart(
    folders: dict[str, Path], name: str, profile: str
) -> None:
    settings = {"quantization": name, "text_encoder_quantization": name, "profile": profile}
    renderer = ready(folders["flux2"], **settings)
    images = [renderer.render(request) for request in REQUESTS[:3]]
    assert [renderer.render(request) for request in REQUESTS[2::-1]] == images[::-1]
    assert ready(folders["flux2"], **settings).render(REQUESTS[1]) == images[1]
    assert images[0] != ready(folders["flux2"]).render(REQUESTS[0])


@pytest.mark.parametrize("offload", ["none", "model"] if DEVICE == "cuda" else ["none"])
@pytest.mark.parametrize("quantization", ["none", *QUANTIZED])
def test_loras_go_with_quantised_and_with_offloaded_weights(
    folders: dict[str, Path], tmp_path: Path, quantization: str, offload: str
) -> None:
    files = [tiny_lora(tmp_path / f"{seed}.safetensors", folders["flux2"], seed=seed) for seed in (1, 2)]
    loras = [{"file": str(file), "weight": 0.7} for file in files]
    settings = {"quantization": quantization, "offload": offload}
    worn = ready(folders["flux2"], loras=loras, **settings)
    image = worn.render(REQUESTS[0])
    worn.render(REQUESTS[1])
    assert worn.render(REQUESTS[0]) == image
    assert image != ready(folders["flux2"], **settings).render(REQUESTS[0])


def test_a_gguf_file_draws_the_same_after_a_restart(folders: dict[str, Path], tmp_path: Path) -> None:
    gguf = str(tiny_gguf(tmp_path / "flux2.gguf", folders["flux2"]))
    image = ready(folders["flux2"], gguf=gguf).render(REQUESTS[0])
    assert ready(folders["flux2"], gguf=gguf).render(REQUESTS[0]) == image


@pytest.mark.skipif(DEVICE == "cpu", reason="a GPU tells what is allocated on it")
@pytest.mark.parametrize("name", ["none", *QUANTIZED])
def test_the_memory_that_is_foretold_is_what_the_gpu_gives(tmp_path: Path, name: str) -> None:
    """A wide transformer, 260 million numbers, so that the allocator's rounding does not count."""
    folder = tiny_flux2(tmp_path / "wide", heads=64)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    renderer = ready(folder, quantization=name)
    taken = torch.cuda.memory_allocated() - before
    foretold = sum(renderer.weights_format.bytes_of(renderer.source, renderer.components).values())
    assert foretold == pytest.approx(taken, rel=0.15)


@pytest.mark.skipif(DEVICE == "cpu", reason="there is nothing to offload from")
@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("name", PIPELINES)
def test_what_waits_in_the_machines_memory_changes_no_pixel(folders: dict[str, Path], name: str, offload: str) -> None:
    whole, lean = ready(folders[name]), ready(folders[name], offload=offload)
    assert [lean.render(request) for request in REQUESTS] == [whole.render(request) for request in REQUESTS]


@pytest.mark.skipif(DEVICE == "cpu", reason="there is nothing to offload from")
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_a_profile_works_on_weights_that_wait_elsewhere(folders: dict[str, Path], offload: str) -> None:
    whole, lean = (ready(folders["flux2"], profile="cudnn", offload=how) for how in ("none", offload))
    assert lean.render(REQUESTS[0]) == whole.render(REQUESTS[0])


@pytest.mark.parametrize("name", ["flux2", "klein"])
def test_an_image_from_an_embedding_made_elsewhere_is_bit_for_bit_the_whole_pipelines(
    folders: dict[str, Path], name: str
) -> None:
    whole, apart = ready(folders[name]), ready(folders[name], text_encoder_device=DEVICE)
    encoder = Flux2TextEncoder(str(folders[name]), None, "bfloat16", None, DEVICE)
    encoder.setup()
    for request in REQUESTS:
        embedding = pickle.loads(pickle.dumps(encoder.encode(request.prompt)[0]))  # noqa: S301
        assert apart.render(request, embedding) == whole.render(request)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["flux2", "klein"])
def test_a_finished_image_is_bit_for_bit_the_one_that_had_no_preview(
    folders: dict[str, Path], name: str, dtype: str
) -> None:
    renderer = ready(folders[name], dtype=dtype)
    for request in REQUESTS[:4]:
        preview = renderer.preview(request)
        renderer.preview(REQUESTS[0])  # another one in between changes nothing
        assert renderer.finish(request, pickle.loads(pickle.dumps(preview))) == renderer.render(request)  # noqa: S301


def test_the_gpus_random_numbers_are_left_alone(folders: dict[str, Path]) -> None:
    renderer = ready(folders["stable-diffusion"])
    torch.manual_seed(7)
    undisturbed = torch.rand(4, device=DEVICE)
    torch.manual_seed(7)
    renderer.render(REQUESTS[0])
    assert torch.equal(torch.rand(4, device=DEVICE), undisturbed)
