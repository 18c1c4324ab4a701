"""Seconds a render and an embedding, on the GPU that is here, by the renderers that steer-batch uses.

    python -m tests.benchmarks.bench_models FOLDER [siglip2] [klein-4b] [flux2-dev]

The models have the sizes of SigLIP2 so400m, FLUX.2-klein-4B and FLUX.2-dev and random weights, which are as fast as
trained ones: they are written to FOLDER in the real formats (2, 16 and 65 GB, a RAM disk does), unless they are there.
The baseline of each row is the profile `exact` of the same run. Prints JSON lines.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from PIL import Image
from transformers import (
    AutoTokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Processor,
)

from actors.messages import RenderRequest
from actors.renderers.diffusers.prompt_embedding import PromptEmbedding
from actors.renderers.diffusers.render_profiles import PROFILES
from actors.renderers.diffusers.renderer import DiffusersRenderer
from actors.renderers.diffusers.text_encoder import Flux2TextEncoder
from predictor.encoders.registry import image_encoder
from tests.checkpoints import tiny_siglip2
from tests.flux2_checkpoints import tiny_flux2, tiny_klein

REQUESTS = [RenderRequest(prompt=f"a cup of coffee, look {number}", seed=number) for number in range(4)]
KLEIN: dict[str, Any] = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
QWEN3_4B: dict[str, Any] = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SO400M: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_patches": 256,
    "patch_size": 16,
}


def write(make: Callable[[], Any], folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Save a model of random weights, in place of the tiny one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_default_dtype(dtype)
    with torch.device("cuda"), torch.no_grad():
        model = make()
        for weight in model.parameters():
            weight.normal_(0, 0.02)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="8GB")
    del model
    torch.cuda.empty_cache()


def timed(work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    result = work(*arguments)
    torch.cuda.synchronize()
    return round(time.perf_counter() - began, 3), result


def billions(model: torch.nn.Module) -> float:
    return round(sum(weight.numel() for weight in model.parameters()) / 1e9, 2)


def tell(benchmark: str, **figures: object) -> None:
    gigabytes = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    torch.cuda.reset_peak_memory_stats()
    print(json.dumps({"benchmark": benchmark, **figures, "peak GB": gigabytes}), flush=True)  # noqa: T201


def flux2_dev(folder: Path) -> None:
    """The paper's renderer: transformer and VAE; its embeddings come from another actor, so random ones do."""
    if not folder.exists():
        tiny_flux2(folder)
        write(Flux2Transformer2DModel, folder / "transformer")
        write(AutoencoderKLFlux2, folder / "vae")
    settings: dict[str, Any] = {"guidance_scale": 4.0, "text_encoder_device": "cuda", "device": "cuda"}
    renderer = DiffusersRenderer(str(folder), **settings)
    load, _ = timed(renderer.setup)
    tell("FLUX.2-dev, load", seconds=load, billions=billions(renderer._denoiser))
    torch.manual_seed(0)
    texts = [PromptEmbedding.of({"prompt_embeds": torch.randn(1, 512, 15360).bfloat16()}) for _ in REQUESTS]
    jobs = list(zip(REQUESTS, texts, strict=True))

    for profile in ("exact", "cudnn", "taylorseer", "compile"):
        renderer._profile = PROFILES[profile]
        renderer._profile.apply(renderer._denoiser, "cuda")
        first, _ = timed(renderer.render, *jobs[0])
        (one, drawn), (other, _) = (timed(renderer.render, *job) for job in jobs[1:3])
        again = renderer.render(*jobs[1]) == drawn
        tell(f"FLUX.2-dev, 512 x 512, 50 steps, {profile}", first=first, seconds=min(one, other), repeatable=again)
        if profile == "exact":
            looked, preview = timed(renderer.preview, *jobs[1])
            rest, finished = timed(renderer.finish, REQUESTS[1], preview, texts[1])
            tell("FLUX.2-dev, preview of 10 steps, the rest", seconds=looked, rest=rest, repeatable=finished == drawn)
        renderer._denoiser.reset_attention_backend()


def klein_4b(folder: Path) -> None:
    """The renderer of the preset `local`: the whole pipeline, and its text encoder by itself."""
    if not folder.exists():
        tiny_klein(folder)
        write(lambda: Flux2Transformer2DModel(**KLEIN), folder / "transformer")
        write(AutoencoderKLFlux2, folder / "vae")
        write(lambda: Qwen3ForCausalLM(Qwen3Config(**QWEN3_4B)), folder / "text_encoder")
    encode = embedding_of_a_prompt(folder)
    tell("FLUX.2-klein-4B, embedding of a prompt", **encode)
    torch.cuda.empty_cache()
    for size, how in ((512, {}), (1024, {}), (512, {"profile": "compile"}), (512, {"offload": "model"})):
        figures = renders(folder, size, **how)
        tell(f"FLUX.2-klein-4B, {size} x {size}, 4 steps, {how or 'exact'}", **figures)
        torch.cuda.empty_cache()


def embedding_of_a_prompt(folder: Path) -> dict[str, object]:
    encoder = Flux2TextEncoder(str(folder), None, "bfloat16", 1.0, "cuda")
    encoder.setup()
    encoder.encode(REQUESTS[0].prompt)
    took = [timed(encoder.encode, request.prompt)[0] for request in REQUESTS]
    return {"seconds": min(took), "billions": billions(encoder._pipeline.text_encoder)}


def renders(folder: Path, size: int, **how: str) -> dict[str, object]:
    settings: dict[str, Any] = {"width": size, "height": size, "device": "cuda", **how}
    renderer = DiffusersRenderer(str(folder), num_inference_steps=4, guidance_scale=1.0, **settings)
    load, _ = timed(renderer.setup)
    first, drawn = timed(renderer.render, REQUESTS[0])
    took = [timed(renderer.render, request)[0] for request in REQUESTS[1:]]
    again = renderer.render(REQUESTS[0]) == drawn
    return {
        "first": first,
        "seconds": min(took),
        "repeatable": again,
        "load": load,
        "billions": billions(renderer._denoiser),
    }


def siglip2(folder: Path) -> None:
    """The image half of the predictor's encoder; the text half stays tiny."""
    if not folder.exists():
        tiny = tiny_siglip2(folder / "tiny")
        config = Siglip2Config(text_config=Siglip2Config.from_pretrained(tiny).text_config, vision_config=SO400M)
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        write(lambda: Siglip2Model(config), folder, torch.float32)
        processor = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256)
        Siglip2Processor(processor, tokenizer).save_pretrained(folder)
    encoder = image_encoder(str(folder))
    noise = np.random.default_rng(0).integers(0, 256, (32, 512, 512, 3), np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in noise]
    encoder.encode(pictures)
    took, _ = timed(encoder.encode, pictures)
    tell("SigLIP2 so400m, an image of 512 x 512", seconds=round(took / len(pictures), 4), dimensions=encoder.dimensions)


def main() -> None:
    root = Path(sys.argv[1])
    tell(torch.cuda.get_device_name(), torch=torch.__version__)
    work = {"siglip2": siglip2, "klein-4b": klein_4b, "flux2-dev": flux2_dev}
    for name in sys.argv[2:] or work:
        work[name](root / name)


if __name__ == "__main__":
    main()
