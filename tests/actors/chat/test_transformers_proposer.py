"""A tiny Llama that is trained here, in a second or two, to answer with numbered lists."""

import pickle
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.chat.conversation import read
from actors.chat.transformers_proposer import TransformersProposer
from actors.instruction import fill
from actors.messages import ProposalRequest

INSTRUCTION = "{requested_number} like {descriptions}"
LOOKS = ("soft light", "golden hour", "film grain", "low angle", "fog", "neon")
BEGIN, TURN, END, PADDING = "<|begin|>", "<|turn|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn|>{{ message.role }}\n{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def request(seed: int = 0) -> ProposalRequest:
    return ProposalRequest(base_prompt="a cat", best_prompt="a cat", best_score=0.5, count=3, seed=seed)


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    chance = random.Random(0)
    replies = ["\n".join(f"{n}. a cat, {chance.choice(LOOKS)}" for n in (1, 2, 3)) for _ in range(60 * 16)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = train_tokenizer([INSTRUCTION, *replies])
        train_model(tokenizer, replies).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "instruction.txt").write_text(INSTRUCTION, "utf-8")
    return folder


def make(folder: Path, **options) -> TransformersProposer:
    return TransformersProposer(str(folder), str(folder / "instruction.txt"), max_new_tokens=60, **options)


@pytest.fixture(scope="module")
def proposer(folder: Path) -> TransformersProposer:
    proposer = make(folder)
    proposer.setup()
    return proposer


def text(proposer: TransformersProposer, seed: int) -> str:
    (answer,) = proposer.answers(request(seed))
    return answer.text


def test_the_models_list_becomes_proposals(proposer: TransformersProposer) -> None:
    proposals = [proposer.propose(request(seed)) for seed in range(10)]
    prompts = [prompt for reply in proposals for prompt in reply.prompts]
    assert len(prompts) >= 20
    assert sum(prompt in {f"a cat, {look}" for look in LOOKS} for prompt in prompts) >= 15


def test_only_what_the_model_adds_is_read(proposer: TransformersProposer) -> None:
    (answer,) = proposer.answers(request())
    assert "like" not in answer.text
    assert "<|" not in answer.text
    assert answer.finished
    assert proposer.propose(request()) == read([answer], "numbered")


def test_the_seed_decides_the_reply_in_every_process(folder: Path, proposer: TransformersProposer) -> None:
    again = pickle.loads(pickle.dumps(make(folder)))  # noqa: S301
    again.setup()
    assert again.propose(request(seed=2**63 - 1)) == proposer.propose(request(seed=2**63 - 1))
    assert len({text(proposer, seed) for seed in range(10)}) > 5


def test_an_answer_that_reaches_the_most_tokens_is_cut_off_and_loses_its_last_prompt(folder: Path) -> None:
    proposer = TransformersProposer(str(folder), str(folder / "instruction.txt"), max_new_tokens=12)
    proposer.setup()
    (answer,) = proposer.answers(request())
    assert not answer.finished
    assert proposer.propose(request()).refused["unfinished"] == 1


def test_samples_are_as_many_answers_as_prompts_are_wanted(folder: Path) -> None:
    proposer = make(folder, mode="samples")
    proposer.setup()
    answers = proposer.answers(request())
    assert len(answers) == 3
    assert len({answer.text for answer in answers}) > 1
    assert answers == proposer.answers(request()) != proposer.answers(request(seed=1))
    proposals = proposer.propose(request())
    assert len(proposals.prompts) <= 3
    assert all(any(prompt in answer.text for answer in answers) for prompt in proposals.prompts)


def test_a_low_temperature_settles_on_one_reply(folder: Path) -> None:
    proposer = make(folder, temperature=1e-3)
    proposer.setup()
    assert len({text(proposer, seed) for seed in range(5)}) == 1


def test_the_global_random_numbers_are_left_alone(proposer: TransformersProposer) -> None:
    torch.manual_seed(7)
    undisturbed = torch.rand(4)
    torch.manual_seed(7)
    proposer.propose(request())
    assert torch.equal(torch.rand(4), undisturbed)


def test_a_tokenizer_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="has no chat template; take an instruction-tuned one"):
        make(tmp_path).setup()


def test_a_model_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    proposer = TransformersProposer(str(tmp_path))
    with pytest.raises(
        ValueError, match=r"cannot be loaded: .*; give a folder, or the name of a public model"
    ) as error:
        proposer.setup()
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_an_unusable_instruction_is_refused_before_any_weights_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        TransformersProposer(str(tmp_path), instruction=str(tmp_path / "none.txt")).setup()
