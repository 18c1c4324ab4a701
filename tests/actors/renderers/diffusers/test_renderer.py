"""Tiny FLUX.2 pipelines, drawn from as the real ones are: alone, in any order, from embeddings made elsewhere."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from actors.messages import Rendering, RenderRequest
from actors.renderers.diffusers.prompt_embedding import PromptEmbedding
from actors.renderers.diffusers.renderer import DiffusersRenderer
from actors.renderers.diffusers.text_encoder import Flux2TextEncoder
from tests.flux2_checkpoints import tiny_flux2, tiny_stable_diffusion

PROMPTS = ("a cat", "a dog dancing in the rain, cinematic light")
REQUESTS = [RenderRequest(prompt=prompt, seed=seed) for prompt in PROMPTS for seed in (0, 2**63 - 1)]


def make(folder: Path, **settings: Any) -> DiffusersRenderer:
    small: dict[str, Any] = {"dtype": "float32", "num_inference_steps": 2, "width": 32, "height": 32}
    return DiffusersRenderer(str(folder), **small | settings)


def ready(folder: Path, **settings) -> DiffusersRenderer:
    renderer = make(folder, **settings)
    renderer.setup()
    return renderer


@pytest.fixture(scope="module")
def flux2(folders: dict[str, Path]) -> DiffusersRenderer:
    return ready(folders["flux2"])


@pytest.fixture(scope="module")
def images(flux2: DiffusersRenderer) -> list[Rendering]:
    return [flux2.render(request) for request in REQUESTS]


def pixels(rendering: Rendering) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(rendering.png)))


def test_prompt_and_seed_decide_the_image(images: list[Rendering]) -> None:
    assert len({image.png for image in images}) == len(REQUESTS)
    assert {pixels(image).shape for image in images} == {(32, 32, 3)}


def test_an_image_is_the_same_in_any_order_and_after_a_restart(
    folders: dict[str, Path], flux2: DiffusersRenderer, images: list[Rendering]
) -> None:
    torch.manual_seed(11)
    assert [flux2.render(request) for request in reversed(REQUESTS)] == images[::-1]
    restarted = pickle.loads(pickle.dumps(make(folders["flux2"])))  # noqa: S301
    restarted.setup()
    assert restarted.render(REQUESTS[3]) == images[3]


@pytest.mark.parametrize("name", ["flux2", "klein", "klein-base"])
def test_an_image_from_an_embedding_made_elsewhere_is_bit_for_bit_the_whole_pipelines(
    folders: dict[str, Path], name: str
) -> None:
    settings: dict[str, Any] = {"dtype": "bfloat16", "guidance_scale": 4.0}
    whole = ready(folders[name], **settings)
    apart = ready(folders[name], **settings, text_encoder_device="cpu")
    encoder = Flux2TextEncoder(str(folders[name]), None, "bfloat16", 4.0)
    encoder.setup()
    for request in REQUESTS[1:3]:  # another prompt and another seed
        embedding, size = encoder.encode(request.prompt)
        assert size >= 512 * 96 * 2
        travelled = pickle.loads(pickle.dumps(embedding))  # noqa: S301
        assert apart.render(request, travelled) == whole.render(request)
    assert whole.identity() == apart.identity()
    assert apart._pipeline.text_encoder is None
    assert encoder._pipeline.transformer is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_embedding_keeps_every_bit(dtype: torch.dtype) -> None:
    tensor = torch.randn(1, 5, 3).to(dtype)
    back = PromptEmbedding.of({"prompt_embeds": tensor}).tensors("cpu")["prompt_embeds"]
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


def test_the_global_random_numbers_are_left_alone(flux2: DiffusersRenderer) -> None:
    torch.manual_seed(7)
    undisturbed = torch.rand(4)
    torch.manual_seed(7)
    flux2.render(REQUESTS[0])
    assert torch.equal(torch.rand(4), undisturbed)


def test_whatever_decides_pixels_is_in_the_identity(folders: dict[str, Path]) -> None:
    plain = make(folders["flux2"]).identity()
    others = [
        make(folders["klein"]),
        *(
            make(folders["flux2"], **{setting: value})
            for setting, value in (
                ("dtype", "bfloat16"),
                ("num_inference_steps", 3),
                ("guidance_scale", 2.5),
                ("width", 48),
                ("height", 48),
                ("profile", "taylorseer"),
                ("device", "cuda"),
                ("text_encoder_device", "cuda"),
            )
        ),
    ]
    identities = [plain, *(other.identity() for other in others)]
    assert len({repr(identity) for identity in identities}) == len(identities)
    assert make(folders["flux2"], offload="model").identity() == plain


def test_a_folder_is_known_by_its_content_and_not_by_its_place(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    tiny_flux2(copy)
    (copy / "README.md").write_text("not read")
    assert make(copy).identity() == make(folders["flux2"]).identity()
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert make(copy).identity()["model"] != make(folders["flux2"]).identity()["model"]


def test_a_render_profile_changes_pixels_and_leaves_nothing_for_the_next_image(
    folders: dict[str, Path], images: list[Rendering]
) -> None:
    steps = {"num_inference_steps": 14}
    exact = ready(folders["flux2"], **steps).render(REQUESTS[0])
    cached = ready(folders["flux2"], profile="taylorseer", **steps)
    first = cached.render(REQUESTS[0])
    assert first != exact
    cached.render(REQUESTS[1])
    assert cached.render(REQUESTS[0]) == first
    assert pixels(ready(folders["flux2"], profile="math").render(REQUESTS[0])).shape == (32, 32, 3)


def test_a_pipeline_of_another_family_draws_as_reproducibly(tmp_path: Path) -> None:
    folder = tiny_stable_diffusion(tmp_path)
    renderer = ready(folder, dtype="float32", guidance_scale=5.0)
    images = [renderer.render(request) for request in REQUESTS]
    assert len({image.png for image in images}) == len(REQUESTS)
    again = ready(folder, dtype="float32", guidance_scale=5.0)
    assert [again.render(request) for request in reversed(REQUESTS)] == images[::-1]


def test_a_pipeline_that_takes_no_text_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="DDPMPipeline takes no text prompt; give a text-to-image pipeline"):
        make(folders["unconditional"]).setup()


def test_a_profile_that_this_machine_cannot_do_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="attention backend 'flash' cannot be used here"):
        make(folders["flux2"], profile="flash").setup()


def test_a_gpu_that_is_not_there_is_refused(folders: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match="sees no GPU; install a CUDA build, or set num_gpus=0"):
        make(folders["flux2"], device="cuda").setup()


def test_only_the_text_encoders_of_flux2_can_be_had_apart(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"text encoder of a DDPMPipeline stays .* set text_encoder\.actors=0"):
        make(folders["unconditional"], text_encoder_device="cpu").setup()


def test_a_prompt_that_is_longer_than_its_encoder_reads_is_told_also_where_the_encoder_is_apart(
    flux2: DiffusersRenderer, folders: dict[str, Path]
) -> None:
    endless = RenderRequest(prompt="a cat " * 600, seed=1)
    told = "a prompt is longer than the text encoder reads, and the rest has no effect: tokenizer reads 512 tokens"
    assert flux2.render(endless).warning == told
    assert flux2.render(REQUESTS[0]).warning is None
    encoder = Flux2TextEncoder(str(folders["flux2"]), None, "float32", None)
    encoder.setup()
    embedding, _ = encoder.encode(endless.prompt)
    assert embedding.warning == told
    assert encoder.encode("a cat")[0].warning is None
