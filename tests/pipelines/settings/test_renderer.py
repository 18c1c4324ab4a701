import json
from dataclasses import fields
from pathlib import Path

import pytest

from actors.renderers.diffusers.render_profiles import PROFILES
from actors.renderers.diffusers.renderer import DiffusersRenderer
from actors.renderers.diffusers.text_encoder import Flux2TextEncoder
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS
from actors.renderers.services.image_api import ImageApi
from pipelines.planning.licences import licence_lines
from pipelines.planning.memory import memory_lines
from pipelines.planning.preflight import local_gpus, shortage, wanted
from pipelines.planning.roles import make_renderer, renderer_role, text_encoder_role
from pipelines.settings.renderer import DiffusersSettings
from pipelines.settings.settings import load_settings, reproducibility_key
from tests.flux2_checkpoints import weights_of


@pytest.fixture
def service(tmp_path: Path) -> str:
    path = tmp_path / "nano-banana.yaml"
    path.write_text(
        "renderer: {kind: image-api, service: gemini, model: gemini-2.5-flash-image, api_key_env: GEMINI_API_KEY, "
        "actors: 4, requests_per_minute: 60}\n"
    )
    return str(path)


def test_the_paper_draws_with_flux2_from_a_text_encoder_apart() -> None:
    settings = load_settings("paper")
    renderer, text_encoder = renderer_role(settings), text_encoder_role(settings)
    assert text_encoder is not None
    assert (renderer.make, text_encoder.make) == (DiffusersRenderer, Flux2TextEncoder)
    assert (renderer.num_gpus, text_encoder.num_gpus) == (1, 0.6)
    assert (renderer.arguments["device"], renderer.arguments["text_encoder_device"]) == ("cuda", "cuda")
    drawn = {name: renderer.arguments[name] for name in ("num_inference_steps", "guidance_scale", "width", "height")}
    assert drawn == {"num_inference_steps": 50, "guidance_scale": 4.0, "width": 512, "height": 512}
    assert (renderer.arguments["dtype"], renderer.arguments["profile"]) == ("bfloat16", "exact")
    assert isinstance(text_encoder.make(**text_encoder.arguments), Flux2TextEncoder)
    assert text_encoder_role(load_settings("paper", ["text_encoder.actors=0"])) is None
    with pytest.raises(ValueError, match=r"a darkroom renderer has no text encoder, got 1; set text_encoder.actors=0"):
        load_settings("embedded", ["text_encoder.actors=1"])


def test_where_the_text_is_encoded_decides_no_record() -> None:
    here, apart = load_settings("paper", ["text_encoder.actors=0"]), load_settings("paper", ["renderer.actors=8"])
    assert reproducibility_key(here) == reproducibility_key(apart)
    assert reproducibility_key(load_settings("paper", ["renderer.profile=compile"])) != reproducibility_key(here)


def test_every_render_profile_can_be_set() -> None:
    for name in PROFILES:
        renderer = load_settings("local", [f"renderer.profile={name}"]).renderer
        assert isinstance(renderer, DiffusersSettings)
        assert renderer.profile == name
    assert {field.name for field in fields(PROFILES["exact"])} == {"compiled", "attention", "taylorseer"}


def test_an_image_service_is_chosen_by_its_kind_and_its_key_is_named_only(service: str) -> None:
    settings = load_settings(service)
    role = renderer_role(settings)
    assert role.make is ImageApi
    assert role.arguments["requests_per_minute"] == 15
    assert role.arguments["give_up_s"] < role.timeout_s
    identity = make_renderer(settings).identity()
    assert identity["base_url"] == "https://generativelanguage.googleapis.com/v1beta"
    assert "GEMINI_API_KEY" not in json.dumps([identity, reproducibility_key(settings)])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("renderer.api_key_env=sk-12-34", "setting renderer.api_key_env: must be the name of an environment variable"),
        ("renderer.base_url=https://me:pw@host/v1", "setting renderer.base_url: must hold no user, password or query"),
        ("renderer.base_url=host/v1", "setting renderer.base_url: must be a URL such as"),
    ],
)
def test_what_may_be_a_secret_is_refused_and_not_shown(service: str, override: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        load_settings(service, [override])
    assert "sk-12" not in str(refused.value)
    assert "pw@" not in str(refused.value)


def test_what_is_wanted_is_held_against_what_is_there() -> None:
    settings = load_settings("paper", ["renderer.actors=8", "text_encoder.resources={services: 1}"])
    assert wanted(settings) == {"GPU": 10, "services": 1}
    held_out = ["protocol.guards={held_out: warn, held_out_scorer: laion, drift: warn}"]
    placed = ["generic.laion.num_gpus=1", "feature_extractor.resources={services: 1}"]
    assert wanted(load_settings("embedded", [*held_out, *placed])) == {"GPU": 1, "services": 2}
    assert shortage(settings, {"GPU": 4.0}) == (
        "10 GPU wanted, 4 there: 6 missing; 1 services wanted, 0 there: 1 missing"
    )
    assert shortage(load_settings("embedded"), {"GPU": 0}) == "0 GPU wanted, 0 there"


@pytest.mark.parametrize(("visible", "there"), [("0,1,2", 3), ("", 0), ("-1", 0), ("GPU-1f,GPU-2e", 2)])
def test_gpus_are_counted_as_programs_see_them(monkeypatch: pytest.MonkeyPatch, visible: str, there: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_gpus() == there


def test_licences_name_the_page_where_they_are_accepted() -> None:
    gated, free = licence_lines(["meta-llama/Llama-3.1-8B-Instruct", "/my/folder", "Qwen/Qwen3-4B-Instruct-2507"])
    assert "accept it on https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct" in gated
    assert free == "Qwen/Qwen3-4B-Instruct-2507: Apache 2.0"


def test_every_quantisation_can_be_set_and_is_part_of_the_key() -> None:
    keys = [reproducibility_key(load_settings("local", [f"renderer.quantization={name}"])) for name in QUANTIZATIONS]
    assert len({json.dumps(key) for key in keys}) == len(QUANTIZATIONS)
    with pytest.raises(
        ValueError, match=r"a GGUF file is quantised already, got 'torchao-int8'; set quantization=none"
    ):
        load_settings("local", ["renderer.gguf=flux.gguf", "renderer.quantization=torchao-int8"])
    compiled = ["renderer.quantization=torchao-int8", "renderer.profile=compile"]
    assert load_settings("local", compiled)
    with pytest.raises(ValueError, match=r"compiles no torchao-int8 for CPUs; take torchao-fp8, or profile=exact"):
        load_settings("local", [*compiled, "renderer.num_gpus=0"])


def test_loras_are_named_with_their_weights() -> None:
    loras = "renderer.loras=[{file: a.safetensors, weight: 0.8}, {file: me/loras/b.safetensors}]"
    role = renderer_role(load_settings("local", [loras]))
    assert role.arguments["loras"] == (
        {"file": "a.safetensors", "weight": 0.8},
        {"file": "me/loras/b.safetensors", "weight": 1.0},
    )
    with pytest.raises(ValueError, match=r"unknown setting 'renderer\.loras\.0\.wieght'; there are file, weight"):
        load_settings("local", ["renderer.loras=[{file: a.safetensors, wieght: 1}]"])


def test_a_dry_run_says_the_memory_by_component_and_by_quantisation(tmp_path: Path) -> None:
    for part, numbers in (("transformer", 32_000_000_000), ("text_encoder", 24_000_000_000), ("vae", 84_000_000)):
        weights_of(tmp_path / part / "model.safetensors", numbers, name="layer.weight", columns=1000)
    classes = {"transformer": "diffusers", "text_encoder": "transformers", "vae": "diffusers", "tokenizer": "x"}
    index = {name: [library, "X"] for name, library in classes.items()}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "Flux2Pipeline", **index}))
    settings = load_settings("paper", [f"renderer.model={tmp_path}"])
    renderer, by_name, encoder = memory_lines(make_renderer(settings), settings)
    assert renderer == (
        "memory        69.3 GB for each renderer: weights transformer 64.0, vae 0.17, and 8% for the rest"
    )
    assert by_name.strip().startswith("by quantization: none 64.2, torchao-int8 32.3")
    assert "bitsandbytes-nf4 18.2" in by_name
    assert encoder.startswith("memory        51.8 GB for each text encoder: weights text_encoder 48.0")
    lean = load_settings("paper", [f"renderer.model={tmp_path}", "renderer.quantization=bitsandbytes-nf4"])
    assert memory_lines(make_renderer(lean), lean)[0].startswith("memory        19.6 GB")
    assert memory_lines(make_renderer(load_settings("embedded")), load_settings("embedded")) == []
