"""Tiny checkpoints with random weights, saved by the libraries' own means: real files, a few hundred kilobytes each."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

_CORPUS = [
    "a photo of a dog dancing in the rain, cinematic light",
    "an image generation prompt, watercolor, oil painting, portrait",
    "a person, 31 years old, female, nationality german, who likes fog and bridges",
]
_SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
_IDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
_LAYERS: dict[str, Any] = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_siglip(folder: Path, *, seed: int = 0, text_dimensions: int = 24) -> Path:
    """Fixed resolution, 32 x 32 pixels in patches of 8: images of 32 dimensions, texts of 24 unless said."""
    vision: dict[str, Any] = {"hidden_size": 32, "image_size": 32, "patch_size": 8, **_LAYERS}
    tokenizer = _tokenizer(64, "right", ends=True)
    torch.manual_seed(seed)
    text = {**_siglip_text(tokenizer), "projection_size": text_dimensions}
    transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    image_processor = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    transformers.SiglipProcessor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def tiny_siglip2(folder: Path, *, seed: int = 0, text_dimensions: int = 24) -> Path:
    """NaFlex, at most 16 patches of 8: images of 32 dimensions, texts of 24 unless said."""
    vision: dict[str, Any] = {"hidden_size": 32, "num_patches": 16, "patch_size": 8, **_LAYERS}
    tokenizer = _tokenizer(64, "right", ends=True)
    torch.manual_seed(seed)
    text = {**_siglip_text(tokenizer), "projection_size": text_dimensions}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    transformers.Siglip2Model(config).save_pretrained(folder)
    image_processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    transformers.Siglip2Processor(image_processor, tokenizer).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """CLIP in the format of PickScore: 32 x 32 pixels in patches of 8, image and text in one space of 24."""
    tokenizer = _tokenizer(77, "right", ends=True)
    text: dict[str, Any] = {"vocab_size": len(tokenizer), "hidden_size": 32, "max_position_embeddings": 77}
    vision: dict[str, Any] = {"hidden_size": 32, "image_size": 32, "patch_size": 8, **_LAYERS}
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config={**text, **_IDS, **_LAYERS}, vision_config=vision, projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    crop: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPProcessor(transformers.CLIPImageProcessorPil(**crop), tokenizer).save_pretrained(folder)
    return folder


def tiny_embedding_model(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A sentence-transformers folder around a Llama of 32 dimensions that reads 128 tokens and pools the last one."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    _tiny_llama(folder / "llama", seed, dtype)
    transformer = Transformer(str(folder / "llama"), model_kwargs={"dtype": dtype})
    SentenceTransformer(
        modules=[transformer, Pooling(32, pooling_mode="lasttoken"), Normalize()], device="cpu"
    ).save_pretrained(str(folder / "saved"), create_model_card=False)
    for path in (folder / "saved").iterdir():
        path.rename(folder / path.name)
    (folder / "saved").rmdir()
    for path in (folder / "llama").iterdir():
        path.unlink()
    (folder / "llama").rmdir()
    return folder


def tiny_model_with_code(folder: Path, witness: Path) -> Path:
    """A checkpoint whose model is its own code, which leaves a file behind as soon as it is imported."""
    _tiny_llama(folder, 0, torch.float32)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {
        "model_type": "llama_of_its_own",
        "auto_map": {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "own_code.py").write_text(
        f"""from pathlib import Path

import transformers

Path({str(witness)!r}).touch()

class OwnConfig(transformers.LlamaConfig):
    model_type = "llama_of_its_own"

class OwnModel(transformers.LlamaModel):
    config_class = OwnConfig
""",
        "utf-8",
    )
    return folder


def _tiny_llama(folder: Path, seed: int, dtype: torch.dtype) -> None:
    tokenizer = _tokenizer(128, "left", ends=False)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_key_value_heads=2,
        max_position_embeddings=128,
        **_IDS,
        **_LAYERS,
    )
    model: Any = transformers.LlamaModel(config)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _siglip_text(tokenizer: "transformers.PreTrainedTokenizerFast") -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "projection_size": 24,
        "max_position_embeddings": 64,
        **_IDS,
        **_LAYERS,
    }


def _tokenizer(longest: int, padding_side: str, *, ends: bool) -> "transformers.PreTrainedTokenizerFast":
    """Byte-level, so that every text can be told; `ends` puts </s> after each, as SigLIP's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", _IDS["eos_token_id"])]
        )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=longest, padding_side=padding_side, **names
    )
