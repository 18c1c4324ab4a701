"""The proposer on a tiny Llama that answers with numbered lists."""

import pickle
from pathlib import Path

import pytest
import torch

from actors.messages import ProposalRequest, RefusedError
from actors.proposers.chat.conversation import read
from actors.proposers.chat.tokenizer import check_context, encode, load_tokenizer
from actors.proposers.chat.transformers_proposer import TransformersProposer
from tests.chat_checkpoint import LOOKS, tiny_chat_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_llama(tmp_path_factory.mktemp("llama"), subject="a cat")


def make(folder: Path, **options) -> TransformersProposer:
    return TransformersProposer(str(folder), max_new_tokens=60, **options)


@pytest.fixture(scope="module")
def proposer(folder: Path) -> TransformersProposer:
    proposer = make(folder)
    proposer.setup()
    return proposer


def request(seed: int = 0) -> ProposalRequest:
    return ProposalRequest(base_prompt="a cat", best_prompt="a cat", best_score=0.5, count=3, seed=seed)


def text(proposer: TransformersProposer, seed: int) -> str:
    (answer,) = proposer.answers(request(seed))
    return answer.text


def test_the_models_list_becomes_proposals(proposer: TransformersProposer) -> None:
    proposals = [proposer.propose(request(seed)) for seed in range(6)]
    prompts = [prompt for reply in proposals for prompt in reply.prompts]
    assert len(prompts) >= 12
    assert sum(prompt in {f"a cat, {look}" for look in LOOKS} for prompt in prompts) >= 9


def test_only_what_the_model_adds_is_read(proposer: TransformersProposer) -> None:
    (answer,) = proposer.answers(request())
    assert "highest scores" not in answer.text
    assert "<|" not in answer.text
    assert answer.finished
    assert proposer.propose(request()) == read([answer], "numbered")


def test_the_seed_decides_the_reply_in_every_process(folder: Path, proposer: TransformersProposer) -> None:
    again = pickle.loads(pickle.dumps(make(folder)))  # noqa: S301
    again.setup()
    assert again.propose(request(seed=2**63 - 1)) == proposer.propose(request(seed=2**63 - 1))
    assert len({text(proposer, seed) for seed in range(6)}) > 3


def test_an_answer_that_reaches_the_most_tokens_is_cut_off_and_loses_its_last_prompt(folder: Path) -> None:
    proposer = TransformersProposer(str(folder), max_new_tokens=12)
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


def test_a_model_without_weights_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"model '.*' cannot be loaded: .*; name another") as error:
        make(tmp_path).setup()
    assert len(str(error.value).splitlines()) == 1


def test_an_unusable_instruction_is_refused_before_any_weights_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        TransformersProposer(str(tmp_path), instruction=str(tmp_path / "none.txt")).setup()


def test_a_template_that_tells_the_date_tells_the_same_one_every_day(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    tokenizer.chat_template = "{{ strftime_now('%d %B %Y') }}"
    assert tokenizer.decode(encode(tokenizer, "a cat")) == "01 January 2026"


def test_a_question_that_fills_all_that_a_model_holds_is_a_refusal() -> None:
    check_context([0] * 99, 100)
    check_context([0] * 99, None)
    with pytest.raises(RefusedError, match="the question has 100 tokens, and the model holds 100 with its answer"):
        check_context([0] * 100, 100)
