"""What a chat model is asked, and how its answers become proposals, whatever runs the model.

    numbered   one answer with a numbered list of prompts (the paper's mode)
    samples    as many answers as prompts are wanted, each with a single prompt

Invariant: message and seeds are functions of instruction, mode and request, so that the run's seed decides them all.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actors.messages import ProposalRequest, Proposals
from actors.proposers.chat.instruction import fill
from actors.proposers.chat.replies import parse_reply, parse_sample

Mode = Literal["numbered", "samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model wrote, unparsed.

    Example:

        Answer(text="1. a cat, fog\\n2. a cat in the ra", finished=False)
    """

    text: str
    finished: bool = True
    """False: it was cut off at `max_new_tokens`, so that its last line may lack its end."""


def wording(template: str, request: ProposalRequest, mode: Mode) -> str:
    """The user's message to the model."""
    return fill(template, request if mode == "numbered" else replace(request, count=1))


def answer_seeds(request: ProposalRequest, mode: Mode) -> tuple[int, ...]:
    """A seed of 63 bits for each answer; with `numbered` the one answer has the request's own seed."""
    if mode == "numbered":
        return (request.seed,)
    digests = (hashlib.sha256(json.dumps([request.seed, number]).encode()).digest() for number in range(request.count))
    return tuple(int.from_bytes(digest[:8], "big") >> 1 for digest in digests)


def read(answers: Sequence[Answer], mode: Mode) -> Proposals:
    """The proposals of all answers, in order, and the counts of what was rejected in them."""
    parse = parse_reply if mode == "numbered" else parse_sample
    readings = [parse(answer.text, finished=answer.finished) for answer in answers]
    refused: Counter[str] = Counter()
    for answer, reading in zip(answers, readings, strict=True):
        refused.update(reading.refused)
        if not answer.text.strip():
            refused["empty answer"] += 1
    return Proposals(prompts=tuple(prompt for reading in readings for prompt in reading.prompts), refused=dict(refused))
