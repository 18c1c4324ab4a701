"""Tiny pipelines, FLUX.2's above all, with random weights, saved by diffusers: a megabyte each, in the real layout.

The text encoders are as deep as the layers that the pipelines read by default (30 and 27), so that nothing but the
model's path has to be set.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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


def tiny_flux2(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.bfloat16, heads: int = 2) -> Path:
    """As FLUX.2-dev is laid out: Mistral 3 of 30 layers, guidance embedded, the tokenizer called a PixtralProcessor.

    `heads` make the transformer as wide as 16 times their number.
    """
    tokenizer = _tokenizer(_MISTRAL_TEMPLATE, "left")
    torch.manual_seed(seed)
    text_encoder = transformers.Mistral3ForConditionalGeneration(
        transformers.Mistral3Config(
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
    transformer = _transformer(guidance_embeds=True, heads=heads)
    pipeline = _diffusers().Flux2Pipeline(_scheduler(), _vae(), text_encoder, tokenizer, transformer)
    pipeline.to(dtype=dtype).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["tokenizer"] = ["transformers", "PixtralProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), "utf-8")
    return folder


def tiny_klein(folder: Path, *, distilled: bool = True, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Path:
    """As FLUX.2-klein is laid out: Qwen 3 of 27 layers, no guidance in the transformer."""
    tokenizer = _tokenizer(_QWEN_TEMPLATE, "right")
    torch.manual_seed(seed)
    text_encoder = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(vocab_size=len(tokenizer), num_hidden_layers=27, **_TEXT)
    )
    transformer = _transformer(guidance_embeds=False)
    pipeline = _diffusers().Flux2KleinPipeline(
        _scheduler(),
        _vae(),
        text_encoder,
        tokenizer,
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
    pipeline = _diffusers().StableDiffusionPipeline(
        vae=_diffusers().AutoencoderKL(norm_num_groups=4, **blocks),
        text_encoder=transformers.CLIPTextModel(
            transformers.CLIPTextConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **text)
        ),
        tokenizer=tokenizer,
        unet=_diffusers().UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=_WIDTH,
            attention_head_dim=4,
        ),
        scheduler=_diffusers().EulerAncestralDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_unconditional(folder: Path) -> Path:
    """A pipeline that takes no text: DDPM."""
    unet = _diffusers().UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    _diffusers().DDPMPipeline(unet, _diffusers().DDPMScheduler()).save_pretrained(folder)
    return folder


def tiny_lora(path: Path, pipeline: Path, *, seed: int = 0, rank: int = 2) -> Path:
    """A LoRA for the attention of a tiny FLUX.2, as diffusers saves one."""
    weights = load_file(pipeline / "transformer" / "diffusion_pytorch_model.safetensors")
    noise = torch.Generator().manual_seed(seed)
    layers: dict[str, Any] = {}
    for name, weight in weights.items():
        if ".attn." in name and weight.ndim == 2:
            layer, (rows, columns) = name.removesuffix(".weight"), weight.shape
            layers[f"{layer}.lora_A.weight"] = torch.randn(rank, columns, generator=noise).bfloat16()
            layers[f"{layer}.lora_B.weight"] = torch.randn(rows, rank, generator=noise).bfloat16() * 0.2
    _diffusers().Flux2Pipeline.save_lora_weights(path.parent, transformer_lora_layers=layers, weight_name=path.name)
    return path


def tiny_gguf(path: Path, pipeline: Path) -> Path:
    """The transformer of a tiny FLUX.2 as those files are that ComfyUI's users share: original names, Q8_0."""
    import gguf

    weights = _original(load_file(pipeline / "transformer" / "diffusion_pytorch_model.safetensors"))
    writer = gguf.GGUFWriter(path, "flux")
    for name, weight in weights.items():
        numbers = weight.float().numpy()
        if numbers.ndim == 2 and numbers.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_ORIGINAL_NAMES = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_guidance_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_guidance_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
_ORIGINAL_PARTS = {
    "single_transformer_blocks": {
        "attn.to_qkv_mlp_proj.weight": "linear1.weight",
        "attn.to_out.weight": "linear2.weight",
        "attn.norm_q.weight": "norm.query_norm.scale",
        "attn.norm_k.weight": "norm.key_norm.scale",
    },
    "transformer_blocks": {
        "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
        "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
        "attn.to_out.0.weight": "img_attn.proj.weight",
        "ff.linear_in.weight": "img_mlp.0.weight",
        "ff.linear_out.weight": "img_mlp.2.weight",
        "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
        "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
        "attn.to_add_out.weight": "txt_attn.proj.weight",
        "ff_context.linear_in.weight": "txt_mlp.0.weight",
        "ff_context.linear_out.weight": "txt_mlp.2.weight",
    },
}
_FUSED = {"img_attn.qkv": ("to_q", "to_k", "to_v"), "txt_attn.qkv": ("add_q_proj", "add_k_proj", "add_v_proj")}


def _original(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names of FLUX.2's own code, where queries, keys and values of a double block are one."""
    named: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        blocks, _, rest = name.partition(".")
        if blocks not in _ORIGINAL_PARTS:
            module, _, kind = name.rpartition(".")
            shift_first = torch.cat(weight.chunk(2)[::-1]) if module == "norm_out.linear" else weight
            named[f"{_ORIGINAL_NAMES[module]}.{kind}"] = shift_first
            continue
        number, _, part = rest.partition(".")
        original = "single_blocks" if blocks == "single_transformer_blocks" else "double_blocks"
        if part in _ORIGINAL_PARTS[blocks]:
            named[f"{original}.{number}.{_ORIGINAL_PARTS[blocks][part]}"] = weight
            continue
        for fused, parts in _FUSED.items():
            if part == f"attn.{parts[0]}.weight":
                together = [weights[f"{blocks}.{number}.attn.{each}.weight"] for each in parts]
                named[f"{original}.{number}.{fused}.weight"] = torch.cat(together)
    return named


def weights_of(path: Path, numbers: int, *, name: str = "w", columns: int | None = None) -> None:
    """A safetensors file's header alone: nothing more is read before it is known whether the weights fit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = [numbers] if columns is None else [numbers // columns, columns]
    header = {"__metadata__": {}, name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * numbers]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def _diffusers() -> Any:
    import diffusers  # takes seconds

    return diffusers


def _transformer(*, guidance_embeds: bool, heads: int = 2) -> Any:
    """Random weights hardly heed the text; scaled up, other prompts give visibly other images."""
    transformer = _diffusers().Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=heads,
        joint_attention_dim=3 * _WIDTH,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if any(part in name for part in ("attn", "context_embedder", "proj_out")):
                weight.mul_(3.3)
    return transformer


def _vae() -> Any:
    """Four blocks keep the real factor of eight between pixels and latents."""
    return _diffusers().AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64
    )


def _scheduler() -> Any:
    return _diffusers().FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)


def _tokenizer(chat_template: str, padding_side: str) -> "transformers.PreTrainedTokenizerFast":
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS * 3, trainer)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=padding_side, **names)
    fast.chat_template = chat_template
    return fast
