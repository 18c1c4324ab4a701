"""A tiny Llama that is trained here, in seconds, to answer whatever it is asked with a numbered list of prompts.

Its chat template leaves the question out: so every instruction does, and the seed alone decides the reply.
"""

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LOOKS = ("soft light", "golden hour", "film grain", "low angle", "fog", "neon", "snow", "long exposure")
_BEGIN, _TURN, _END, _PADDING = "<|begin|>", "<|turn|>", "<|end|>", "<|pad|>"
_QUESTION = f"{_BEGIN}{_TURN}assistant\n"


def tiny_chat_llama(folder: Path, *, subject: str = "a cup of coffee", proposals: int = 3, steps: int = 60) -> Path:
    """Save it with its tokenizer and chat template: every line that it writes is the subject and one of `LOOKS`."""
    chance = random.Random(0)
    replies = [
        "\n".join(f"{number}. {subject}, {chance.choice(LOOKS)}" for number in range(1, proposals + 1))
        for _ in range(steps * 16)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = _tokenizer(replies)
        _train(tokenizer, replies).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(replies: list[str]) -> "transformers.PreTrainedTokenizerFast":
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[_BEGIN, _TURN, _END, _PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(replies, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_BEGIN, eos_token=_END, pad_token=_PADDING
    )
    fast.chat_template = _QUESTION
    return fast


def _train(tokenizer: "transformers.PreTrainedTokenizerFast", replies: list[str]) -> "transformers.LlamaForCausalLM":
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=4096,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=3,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for start in range(0, len(replies), 16):
        texts = [f"{_QUESTION}{reply}{_END}" for reply in replies[start : start + 16]]
        batch: Any = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model
