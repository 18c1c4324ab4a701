"""What a chat model is asked, and how its answers become proposals, whatever runs the model.

    numbered   one answer with a numbered list of prompts (the paper's mode)
    samples    as many answers as prompts are wanted, each with a single prompt
    json       one answer in JSON, which is held to a schema where the model is sampled (structured output)

Invariant: message and seeds are functions of instruction, mode and request, so that the run's seed decides them all.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from actors.messages import ProposalRequest, Proposals
from actors.proposers.chat.instruction import fill
from actors.proposers.chat.reply_parser import parse_reply, parse_sample

Mode = Literal["numbered", "samples", "json"]

_IN_JSON = """

Do not number the versions. Answer with JSON alone: {"prompts": ["…", "…"]}, whose list holds the {number} prompts."""


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
    text = fill(template, replace(request, count=1) if mode == "samples" else request)
    return text + _IN_JSON.replace("{number}", str(request.count)) if mode == "json" else text


def schema(count: int) -> dict[str, Any]:
    """The JSON schema of an answer in mode `json`."""
    prompts = {"type": "array", "items": {"type": "string"}, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "properties": {"prompts": prompts},
        "required": ["prompts"],
        "additionalProperties": False,
    }


def answer_seeds(request: ProposalRequest, mode: Mode) -> tuple[int, ...]:
    """A seed of 63 bits for each answer; a single answer has the request's own seed."""
    if mode != "samples":
        return (request.seed,)
    digests = (hashlib.sha256(json.dumps([request.seed, number]).encode()).digest() for number in range(request.count))
    return tuple(int.from_bytes(digest[:8], "big") >> 1 for digest in digests)


def read(answers: Sequence[Answer], mode: Mode) -> Proposals:
    """The proposals of all answers, in order, and the counts of what was rejected in them."""
    parse = parse_sample if mode == "samples" else parse_reply
    readings = [parse(answer.text, finished=answer.finished) for answer in answers]
    refused: Counter[str] = Counter()
    for answer, reading in zip(answers, readings, strict=True):
        refused.update(reading.refused)
        if not answer.text.strip():
            refused["empty answer"] += 1
    return Proposals(prompts=tuple(prompt for reading in readings for prompt in reading.prompts), refused=dict(refused))
