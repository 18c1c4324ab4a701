"""Tiny pipelines, FLUX.2's above all, with random weights, saved by diffusers: a megabyte each, in the real layout.

Beside `tests.checkpoints`, because diffusers takes seconds to import. The text encoders are as deep as the layers that
the pipelines read by default (30 and 27), so that nothing but the model's path has to be set.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.pipelines.flux2.pipeline_flux2 import Flux2Pipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

_CORPUS = [
    "a photo of a dog dancing in the rain, cinematic light",
    "You are an AI that reasons about image descriptions. You give structured responses",
]
_SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]"]
_IDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
_WIDTH = 32
_TEXT: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    **_IDS,
}
_MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ message.content[0].text }}[/SYSTEM_PROMPT]"
    "{% else %}[INST]{{ message.content[0].text }}[/INST]{% endif %}{% endfor %}"
)
_QWEN_TEMPLATE = "{% for message in messages %}[INST]{{ message.content }}[/INST]{% endfor %}"


def tiny_flux2(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    """As FLUX.2-dev is laid out: Mistral 3 of 30 layers, guidance embedded, the tokenizer called a PixtralProcessor."""
    tokenizer = _tokenizer(_MISTRAL_TEMPLATE, "left")
    torch.manual_seed(seed)
    text_encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config={"model_type": "mistral", "vocab_size": len(tokenizer), "num_hidden_layers": 30, **_TEXT},
            vision_config={
                "model_type": "pixtral",
                "hidden_size": _WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "head_dim": 8,
                "intermediate_size": 37,
                "image_size": 32,
                "patch_size": 8,
            },
            image_token_index=_SPECIAL.index("[IMG]"),
            vision_feature_layer=-1,
        )
    )
    transformer = _transformer(guidance_embeds=True)
    pipeline: Any = Flux2Pipeline(_scheduler(), _vae(), text_encoder, tokenizer, transformer)  # type: ignore[arg-type]
    pipeline.to(dtype=dtype).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["tokenizer"] = ["transformers", "PixtralProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), "utf-8")
    return folder


def tiny_klein(folder: Path, *, distilled: bool = True, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    """As FLUX.2-klein is laid out: Qwen 3 of 27 layers, no guidance in the transformer."""
    tokenizer = _tokenizer(_QWEN_TEMPLATE, "right")
    torch.manual_seed(seed)
    text_encoder = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), num_hidden_layers=27, **_TEXT))
    transformer = _transformer(guidance_embeds=False)
    pipeline: Any = Flux2KleinPipeline(
        _scheduler(),
        _vae(),
        text_encoder,
        tokenizer,  # type: ignore[arg-type]
        transformer,
        is_distilled=distilled,
    )
    pipeline.to(dtype=dtype).save_pretrained(folder)
    return folder


def tiny_stable_diffusion(folder: Path, *, seed: int = 0) -> Path:
    """As Stable Diffusion 1 is laid out: CLIP, a UNet, noise drawn at each step, guidance by halves."""
    tokenizer = _tokenizer("", "right")
    tokenizer.model_max_length = 77
    torch.manual_seed(seed)
    text: dict[str, Any] = {"hidden_size": _WIDTH, "intermediate_size": 64, "num_attention_heads": 4, **_IDS}
    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    pipeline: Any = StableDiffusionPipeline(
        vae=AutoencoderKL(norm_num_groups=4, **blocks),
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **text)),
        tokenizer=tokenizer,  # type: ignore[arg-type]
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=_WIDTH,
            attention_head_dim=4,
        ),
        scheduler=EulerAncestralDiscreteScheduler(steps_offset=1),  # type: ignore[arg-type]
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_unconditional(folder: Path) -> Path:
    """A pipeline that takes no text: DDPM."""
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return folder


def weights_of(path: Path, numbers: int) -> None:
    """A safetensors file's header alone: nothing more is read before it is known whether the weights fit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"__metadata__": {}, "w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def _transformer(*, guidance_embeds: bool) -> Flux2Transformer2DModel:
    """Random weights hardly heed the text; scaled up, other prompts give visibly other images."""
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * _WIDTH,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if any(part in name for part in ("attn", "context_embedder", "proj_out")):
                weight.mul_(3.3)
    return transformer


def _vae() -> AutoencoderKLFlux2:
    """Four blocks keep the real factor of eight between pixels and latents."""
    return AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64
    )


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)


def _tokenizer(chat_template: str, padding_side: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS * 3, trainer)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=padding_side, **names)
    fast.chat_template = chat_template
    return fast
