"""Quantised weights, GGUF files and LoRAs, on tiny FLUX.2 pipelines by the libraries' own loading code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.messages import Rendering, RenderRequest
from actors.renderers.diffusers.renderer import DiffusersRenderer
from actors.renderers.diffusers.text_encoder import Flux2TextEncoder
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS, check_quantization
from actors.renderers.diffusers.weights.weights_file import find_weights_file
from tests.actors.hub import COMMIT, serve_hub
from tests.actors.renderers.diffusers.test_renderer import pixels
from tests.flux2_checkpoints import tiny_gguf, tiny_klein, tiny_lora, tiny_unconditional

REQUESTS = [RenderRequest(prompt=prompt, seed=7) for prompt in ("a cat", "fog over a lake")]
QUICK = ("both", "bitsandbytes")
ON_A_CPU = {
    "torchao-int8": {"quantization": "torchao-int8"},
    "torchao-fp8": {"quantization": "torchao-fp8"},
    "both": {"quantization": "torchao-int8", "text_encoder_quantization": "torchao-int8"},
    "bitsandbytes": {"text_encoder_quantization": "bitsandbytes-nf4"},
    "bitsandbytes-int8": {"text_encoder_quantization": "bitsandbytes-int8"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def flux2(folders: dict[str, Path]) -> Path:
    return folders["flux2"]


@pytest.fixture(scope="module")
def plain(flux2: Path) -> list[Rendering]:
    return [ready(flux2).render(request) for request in REQUESTS]


def make(folder: Path, **settings: Any) -> DiffusersRenderer:
    all_settings: dict[str, Any] = {"num_inference_steps": 2, "width": 32, "height": 32, **settings}
    return DiffusersRenderer(str(folder), **all_settings)


def ready(folder: Path, **settings: Any) -> DiffusersRenderer:
    renderer = make(folder, **settings)
    renderer.setup()
    return renderer


@pytest.mark.parametrize(
    "settings",
    [pytest.param(each, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, each in ON_A_CPU.items()],
)
def test_quantised_weights_draw_nearly_the_same_in_any_order_and_take_the_memory_that_is_foretold(
    flux2: Path, plain: list[Rendering], settings: dict[str, Any]
) -> None:
    renderer = ready(flux2, **settings)
    images = [renderer.render(request) for request in REQUESTS]
    assert renderer.render(REQUESTS[0]) == images[0]
    for image, whole in zip(images, plain, strict=True):
        assert image != whole
        assert np.abs(pixels(image).astype(float) - pixels(whole)).mean() < 16
    foretold = renderer.weights_format.bytes_of(renderer.source, renderer.components)
    for component, size in foretold.items():
        assert size == pytest.approx(measured(getattr(renderer._pipeline, component)), rel=0.15), component
    whole = make(flux2).weights_format.bytes_of(renderer.source, renderer.components)
    assert sum(foretold.values()) < sum(whole.values())


@pytest.mark.slow  # a pipeline is loaded twice for each
@pytest.mark.parametrize("settings", ON_A_CPU.values(), ids=ON_A_CPU)
def test_a_quantised_image_is_the_same_after_a_restart(flux2: Path, settings: dict[str, Any]) -> None:
    assert ready(flux2, **settings).render(REQUESTS[1]) == ready(flux2, **settings).render(REQUESTS[1])


def test_a_gguf_file_takes_the_place_of_the_denoisers_weights(flux2: Path, root: Path, plain: list[Rendering]) -> None:
    gguf = tiny_gguf(root / "flux2-Q8_0.gguf", flux2)
    renderer = ready(flux2, gguf=str(gguf))
    images = [renderer.render(request) for request in REQUESTS]
    assert images != plain
    for image, whole in zip(images, plain, strict=True):
        assert np.abs(pixels(image).astype(float) - pixels(whole)).mean() < 16
    foretold = renderer.weights_format.bytes_of(renderer.source, ["transformer"])["transformer"]
    assert foretold == pytest.approx(measured(renderer._pipeline.transformer), rel=0.15)


def test_weights_that_come_quantised_are_read_as_they_are(flux2: Path, root: Path) -> None:
    stored = root / "stored"
    shutil.copytree(flux2, stored)
    quantised = ready(flux2, quantization="torchao-int8")
    shutil.rmtree(stored / "transformer")
    quantised._pipeline.transformer.save_pretrained(stored / "transformer")
    renderer = ready(stored)
    assert renderer.render(REQUESTS[0]) == quantised.render(REQUESTS[0])
    foretold = renderer.weights_format.bytes_of(renderer.source, ["transformer"])["transformer"]
    assert foretold == pytest.approx(measured(renderer._pipeline.transformer), rel=0.15)
    with pytest.raises(ValueError, match="transformer is quantised already, by torchao; leave its quantization out"):
        make(stored, quantization="torchao-fp8").setup()


def test_a_text_encoder_apart_is_quantised_like_one_that_is_not(flux2: Path) -> None:
    settings = {"text_encoder_quantization": "torchao-int8"}
    encoder = Flux2TextEncoder(str(flux2), None, "bfloat16", None, **settings)
    encoder.setup()
    embedding, _ = encoder.encode(REQUESTS[0].prompt)
    apart = ready(flux2, text_encoder_device="cpu", **settings)
    assert apart.render(REQUESTS[0], embedding) == ready(flux2, **settings).render(REQUESTS[0])
    assert "text_encoder" not in apart.weights_format.bytes_of(apart.source, apart.components)


def test_loras_are_put_on_together_each_with_its_weight(flux2: Path, root: Path, plain: list[Rendering]) -> None:
    one, other = (tiny_lora(root / f"lora{seed}.safetensors", flux2, seed=seed) for seed in (1, 2))
    first, both = with_loras(flux2, (one, 1.0)), with_loras(flux2, (one, 1.0), (other, 0.5))
    assert len({plain[0].png, first.png, both.png}) == 3
    assert with_loras(flux2, (one, 1.0), (other, 0.0)) == first


@pytest.mark.slow  # a pipeline is loaded for each image
def test_loras_go_with_quantised_weights_and_draw_the_same_after_a_restart(
    flux2: Path, root: Path, plain: list[Rendering]
) -> None:
    file = tiny_lora(root / "lora.safetensors", flux2, seed=1)
    gguf = str(tiny_gguf(root / "beside-a-lora.gguf", flux2))
    whole, half = with_loras(flux2, (file, 1.0)), with_loras(flux2, (file, 0.5))
    assert with_loras(flux2, (file, 0.0)) == plain[0]
    assert with_loras(flux2, (file, 0.5)) == half
    forms = [{"quantization": "torchao-int8"}, {"quantization": "torchao-fp8"}, {"gguf": gguf}]
    others = [with_loras(flux2, (file, 1.0), **form) for form in forms]
    assert len({image.png for image in (plain[0], whole, half, *others)}) == 6


def with_loras(folder: Path, *loras: tuple[Path, float], **settings: Any) -> Rendering:
    worn = [{"file": str(file), "weight": weight} for file, weight in loras]
    return ready(folder, loras=worn, **settings).render(REQUESTS[0])


def test_the_memory_that_is_foretold_counts_loras(flux2: Path, root: Path) -> None:
    file = tiny_lora(root / "large.safetensors", flux2, rank=16)
    renderer = ready(flux2, loras=[{"file": str(file), "weight": 1.0}])
    foretold = renderer.weights_format.bytes_of(renderer.source, ["transformer"])["transformer"]
    assert foretold == pytest.approx(measured(renderer._pipeline.transformer), rel=0.15)
    assert foretold > make(flux2).weights_format.bytes_of(renderer.source, ["transformer"])["transformer"]


def test_the_form_of_the_weights_is_in_the_identity_by_content(flux2: Path, root: Path, tmp_path: Path) -> None:
    lora = tiny_lora(root / "style.safetensors", flux2, seed=3)
    gguf = tiny_gguf(root / "identity.gguf", flux2)
    copy = tmp_path / "copied.safetensors"
    shutil.copyfile(lora, copy)

    def worn(file: Path, weight: float = 1.0) -> DiffusersRenderer:
        return make(flux2, loras=[{"file": str(file), "weight": weight}])

    others = [
        make(flux2),
        make(flux2, gguf=str(gguf)),
        worn(lora),
        worn(lora, 0.5),
        *(make(flux2, quantization=name) for name in QUANTIZATIONS),
        *(make(flux2, text_encoder_quantization=name) for name in QUANTIZATIONS),
    ]
    identities = [json.dumps(other.identity()) for other in others]
    assert len({*identities}) == len(identities)
    assert worn(copy).identity() == worn(lora).identity()
    assert "quantization" not in make(flux2).identity()


def test_a_lora_for_another_model_is_refused(flux2: Path, root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    stranger = tmp_path / "stranger.safetensors"
    save_file({"unet.down.lora_A.weight": torch.ones(2, 8), "unet.down.lora_B.weight": torch.ones(8, 2)}, stranger)
    wide = tmp_path / "wide.safetensors"
    layer = "transformer.transformer_blocks.0.attn.to_q"
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 640), f"{layer}.lora_B.weight": torch.ones(640, 2)}, wide)
    for file in (stranger, wide):
        with pytest.raises(
            ValueError, match=rf"renderer\.loras: {file} (has no layer|is no LoRA) of this Flux2Pipeline"
        ):
            ready(flux2, loras=[{"file": str(file), "weight": 1.0}])


def test_a_gguf_file_of_another_model_is_refused(flux2: Path, root: Path, tmp_path: Path) -> None:
    unconditional = tiny_unconditional(tmp_path / "other")
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF nothing of it")
    assert unconditional.is_dir()
    with pytest.raises(
        ValueError, match=r"renderer\.gguf: .*junk\.gguf is no Flux2Transformer2DModel of this pipeline"
    ):
        ready(flux2, gguf=str(junk))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("/nowhere/style.safetensors", "no such file; give a path, or a file on the hub"),
        ("style.ckpt", r"must be a \.safetensors file; other kinds are not read"),
        ("./style.safetensors", "no such file"),
    ],
)
def test_a_file_that_is_not_there_or_of_another_kind_is_refused(reference: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_weights_file(reference, ".safetensors")


def test_a_quantisation_that_this_machine_cannot_do_is_refused(flux2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="bitsandbytes-nf4: diffusers has it on GPUs only; take torchao-int8"):
        make(flux2, quantization="bitsandbytes-nf4").setup()
    monkeypatch.setattr("actors.renderers.diffusers.weights.quantization.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="torchao is not installed; pip install"):
        check_quantization("torchao-fp8", "diffusers", "cuda")


def test_weights_in_nunchakus_format_ask_for_its_kernels(root: Path) -> None:
    folder = tiny_klein(root / "nunchaku")
    path = folder / "transformer" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["quantization_config"] = {
        "quant_method": "nunchaku_lite",
        "svdq_w4a4": {"precision": "int4", "group_size": 64, "rank": 32, "targets": ["proj_out"]},
    }
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match="Nunchaku checkpoints requires"):
        make(folder).setup()


def test_on_a_hub_memory_and_identity_are_known_before_any_weights_are_downloaded(
    flux2: Path, root: Path, tmp_path: Path
) -> None:
    loras = root / "loras"
    loras.mkdir()
    lora = tiny_lora(loras / "style.safetensors", flux2)
    program = (
        "import json\n"
        "from actors.renderers.diffusers.renderer import DiffusersRenderer\n"
        "loras = [{'file': 'me/loras/style.safetensors@main', 'weight': 1.0}]\n"
        "renderer = DiffusersRenderer('me/flux2', loras=loras, quantization='torchao-int8')\n"
        "form = renderer.weights_format\n"
        "print(json.dumps([form.bytes_of(renderer.source, renderer.components), renderer.identity()['loras']]))\n"
    )
    with serve_hub({"me/flux2": flux2, "me/loras": loras}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
        )
    foretold, identity = json.loads(done.stdout)
    here = make(flux2, quantization="torchao-int8", loras=[{"file": str(lora), "weight": 1.0}])
    assert foretold == here.weights_format.bytes_of(here.source, here.components)
    assert identity == [{"file": f"me/loras/style.safetensors@{COMMIT}", "weight": 1.0}]
    assert not list(tmp_path.rglob("*.safetensors"))


def measured(model: torch.nn.Module) -> int:
    """Bytes of everything that a module holds: a quantised weight's numbers and scales, too."""
    storages = [tensor.untyped_storage() for value in tensors_of(model) for tensor in plain_tensors(value)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def tensors_of(model: torch.nn.Module) -> Iterator[Any]:
    yield from model.parameters()
    yield from model.buffers()
    for parameter in model.parameters():  # bitsandbytes keeps its scales beside the numbers
        state = getattr(parameter, "quant_state", None)
        yield from [] if state is None else [state.absmax]
        yield from [scales for scales in [getattr(parameter, "SCB", None)] if scales is not None]


def plain_tensors(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The plain tensors behind a subclass, as torchao's are."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            yield from plain_tensors(getattr(tensor, name))
    else:
        yield tensor
