"""Random weights in the formats of the libraries' own checkpoints, made by the libraries themselves.

    ENVIRONMENT/bin/python random_weights.py q-align|imagereward|hpsv3 FOLDER

FOLDER/hub becomes a hub's cache that holds what the library would download, FOLDER/NAME what it is given by path.
"""

# pyrefly: ignore-errors
# Of libraries, and of versions of them, that only those environments have.

import json
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_COMMIT = "0" * 40
_WORDS = ["USER: How would you rate the quality of this image?", "ASSISTANT: excellent good fair poor bad", "a cat"]


def in_hub(folder: Path, repository: str) -> Path:
    """The snapshot's folder of a repository in FOLDER/hub, to be filled."""
    cached = folder / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = cached / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(_COMMIT, "utf-8")
    return snapshot


def tokenizer(special: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token=special[0]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        _WORDS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return made


def q_align(folder: Path) -> None:
    """OneAlign, which the library knows by its name on the hub alone."""
    import torch
    from pyiqa.archs.q_align.configuration_mplug_owl2 import MPLUGOwl2Config
    from pyiqa.archs.q_align.modeling_mplug_owl2 import MPLUGOwl2LlamaForCausalLM
    from transformers import CLIPImageProcessor, PreTrainedTokenizerFast

    snapshot = in_hub(folder, "q-future/one-align")
    made = tokenizer(["<unk>", "<s>", "</s>"])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(snapshot)
    size = {"height": 28, "width": 28}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(snapshot)
    few = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
    visual = {
        "visual_model": {"image_size": 28, "patch_size": 14, "num_channels": 3, "hidden_act": "quick_gelu", **few}
        | {"layer_norm_eps": 1e-6, "attention_dropout": 0.0, "initializer_range": 0.02, "initializer_factor": 1.0}
        | {"projection_dim": 32, "use_flash_attn": False},
        "visual_abstractor": {"num_learnable_queries": 4, "encoder_hidden_size": 32, "grid_size": 2, **few}
        | {"attention_probs_dropout_prob": 0.0, "initializer_range": 0.02, "layer_norm_eps": 1e-6},
    }
    torch.manual_seed(0)
    config = MPLUGOwl2Config(visual_config=visual, vocab_size=made.get_vocab_size(), **few)
    model: Any = MPLUGOwl2LlamaForCausalLM(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.half().save_pretrained(snapshot)


def imagereward(folder: Path) -> None:
    """The head alone, beside a tiny text encoder: the library loads what a checkpoint has and leaves the rest."""
    import torch
    from ImageReward.ImageReward import MLP

    snapshot = in_hub(folder, "bert-base-uncased")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "cat", "dog"]
    (snapshot / "vocab.txt").write_text("\n".join(words), "utf-8")
    (snapshot / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), "utf-8")
    med = {"architectures": ["BertModel"], "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 1}
    med |= {"intermediate_size": 64, "vocab_size": len(words) + 2, "max_position_embeddings": 64, "hidden_act": "gelu"}
    med |= {"add_cross_attention": True, "encoder_width": 768, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
    own = folder / "imagereward"
    own.mkdir()
    (own / "med_config.json").write_text(json.dumps(med), "utf-8")
    torch.manual_seed(0)
    head = {f"mlp.{name}": torch.randn_like(value) * 0.1 for name, value in MLP(768).state_dict().items()}
    torch.save(head, own / "ImageReward.pt")


def hpsv3(folder: Path) -> None:
    """A Qwen2-VL of two layers with the authors' head, and the YAML file that names it."""
    import hpsv3
    import yaml
    from hpsv3.train import create_model_and_processor
    from hpsv3.utils.parser import (
        DataConfig,
        ModelConfig,
        PEFTLoraConfig,
        TrainingConfig,
        parse_args_with_yaml,
    )
    from safetensors.torch import save_file
    from transformers import Qwen2TokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor, Qwen2VLProcessor

    own = folder / "hpsv3"
    base = own / "qwen2-vl"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    fast = Qwen2TokenizerFast(tokenizer_object=tokenizer(special), pad_token=special[0], eos_token=special[2])
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}<|im_start|>assistant\n"
    )
    Qwen2VLProcessor(Qwen2VLImageProcessor(), fast, chat_template=template).save_pretrained(base)
    ids = {name: fast.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {"image": fast.convert_tokens_to_ids("<|image_pad|>"), "video": fast.convert_tokens_to_ids("<|video_pad|>")}
    config = Qwen2VLConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2]},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        pad_token_id=0,
        **{f"{name}_token_id": value for name, value in ids.items()},
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(base)
    shipped = Path(str(hpsv3.__file__)).parent / "config" / "HPSv3_7B.yaml"
    values = yaml.safe_load(shipped.read_text("utf-8")) | {"model_name_or_path": str(base)}
    values |= {"bf16": False, "torch_dtype": "float32", "output_dir": str(own / "output")}
    (own / "config.yaml").write_text(yaml.safe_dump(values), "utf-8")
    kinds = (DataConfig, TrainingConfig, ModelConfig, PEFTLoraConfig)
    (_, training, model_config, lora), _ = parse_args_with_yaml(kinds, str(own / "config.yaml"), is_train=False)
    model, _, _ = create_model_and_processor(model_config, lora, training)
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, own / "HPSv3.safetensors")


if __name__ == "__main__":
    {"q-align": q_align, "imagereward": imagereward, "hpsv3": hpsv3}[sys.argv[1]](Path(sys.argv[2]))
