"""What a chat model is asked and how its answers become proposals, the same for every way of running one.

    numbered   one question; its answer is a numbered list (the paper's mode)
    samples    one question too, which asks for a single prompt, and as many answers as prompts are wanted

Invariant: wording and seeds are functions of instruction, mode and request, so that the run's seed decides them all.
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
    """What a model wrote, as it stands."""

    text: str
    finished: bool = True
    """False: it was cut off at the most tokens, in the middle of what it wrote last."""


def wording(template: str, request: ProposalRequest, mode: Mode) -> str:
    """What the user says to the model."""
    return fill(template, request if mode == "numbered" else replace(request, count=1))


def answer_seeds(request: ProposalRequest, mode: Mode) -> tuple[int, ...]:
    """A 63-bit seed for each answer that is wanted; that of a single one is the request's own."""
    if mode == "numbered":
        return (request.seed,)
    digests = (hashlib.sha256(json.dumps([request.seed, number]).encode()).digest() for number in range(request.count))
    return tuple(int.from_bytes(digest[:8], "big") >> 1 for digest in digests)


def read(answers: Sequence[Answer], mode: Mode) -> Proposals:
    """The proposals of all answers, in order, and what was refused in them."""
    parse = parse_reply if mode == "numbered" else parse_sample
    readings = [parse(answer.text, finished=answer.finished) for answer in answers]
    refused: Counter[str] = Counter()
    for reading in readings:
        refused.update(reading.refused)
    return Proposals(prompts=tuple(prompt for reading in readings for prompt in reading.prompts), refused=dict(refused))
