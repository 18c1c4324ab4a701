"""A tiny Llama that is trained here, in a second or two, to answer with numbered lists of three."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.instruction import fill
from actors.messages import ProposalRequest

INSTRUCTION = "{requested_number} like {descriptions}"
LOOKS = ("soft light", "golden hour", "film grain", "low angle", "fog", "neon")
BEGIN, TURN, END, PADDING = "<|begin|>", "<|turn|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn|>{{ message.role }}\n{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def request(seed: int = 0, prompt: str = "a cat") -> ProposalRequest:
    return ProposalRequest(base_prompt=prompt, best_prompt=prompt, best_score=0.5, count=3, seed=seed)


def save_tiny_llama(folder: Path) -> None:
    """Model, tokenizer with a chat template, and the instruction that it knows."""
    chance = random.Random(0)
    replies = ["\n".join(f"{n}. a cat, {chance.choice(LOOKS)}" for n in (1, 2, 3)) for _ in range(60 * 16)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = train_tokenizer([INSTRUCTION, *replies])
        train_model(tokenizer, replies).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "instruction.txt").write_text(INSTRUCTION, "utf-8")


def train_tokenizer(replies: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[BEGIN, TURN, END, PADDING], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(replies, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PADDING)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def train_model(tokenizer: PreTrainedTokenizerFast, replies: list[str]) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=tokenizer.vocab[BEGIN],
        eos_token_id=tokenizer.vocab[END],
        pad_token_id=tokenizer.vocab[PADDING],
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chat = [{"role": "user", "content": fill(INSTRUCTION, request())}]
    question = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    for start in range(0, len(replies), 16):
        texts = [f"{question}{reply}{END}" for reply in replies[start : start + 16]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model
