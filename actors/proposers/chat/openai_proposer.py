"""A proposer on any service with an OpenAI-compatible chat endpoint.

Invariant: the service is sent the instruction, the best prompt and its score, and nothing else.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from actors.messages import ProposalRequest, Proposals, RefusedError
from actors.proposers.chat.conversation import Answer, Mode, answer_seeds, read, schema, wording
from actors.proposers.chat.instruction import load_instruction
from actors.service_client import SEEDS, ServiceClient, ServiceError


class ModelRefusedError(RefusedError):
    """The service works, and the model declines to answer."""


class OpenAIProposer:
    """Asks a service for variations, several requests at a time.

    Parameters
    ----------
    base_url, api_key_env, request_timeout_s, retries, at_once
        The service; see `actors.service_client.ServiceClient`.
    model : str
        As the service calls it.
    instruction : str or None
        A file that replaces the instruction that ships; see `actors.proposers.chat.instruction`.
    mode : {"numbered", "samples", "json"}
        See `actors.proposers.chat.conversation`. Each sample is a request with a seed of its own.
    temperature, top_p : float
        How answers are sampled.
    max_new_tokens : int
        An answer that is longer is cut off there.
    extra : mapping
        Further fields of a request's body; None removes one. For a service that wants `max_completion_tokens`:
        {"max_completion_tokens": 2048, "max_tokens": None}.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        instruction: str | None = None,
        mode: Mode = "numbered",
        temperature: float = 1.0,
        top_p: float = 0.95,
        max_new_tokens: int = 2048,
        request_timeout_s: float = 120,
        retries: int = 2,
        at_once: int = 8,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._base_url = base_url
        self._service: dict[str, Any] = {
            "api_key_env": api_key_env,
            "timeout_s": request_timeout_s,
            "timeout_remedy": "raise request_timeout_s or lower max_new_tokens",
            "retries": retries,
            "at_once": at_once,
        }
        self._instruction = instruction
        self._mode: Mode = mode
        settings = {"model": model, "temperature": temperature, "top_p": top_p, "max_tokens": max_new_tokens}
        self._body: dict[str, Any] = {**settings, **(extra or {})}

    async def setup(self) -> None:
        """Load the instruction, and send one short request, so that a wrong key or model fails before the run.

        Raises
        ------
        ValueError
            The instruction cannot be used; or, as RefusedError, the service refuses key, model or request.
        ServiceError
            The service does not answer as it should.
        """
        self._template = load_instruction(self._instruction)
        self._client = ServiceClient(self._base_url, **self._service)
        with suppress(ModelRefusedError):  # what it says of prompts is seen when it is asked about them
            await self._answer("Answer with one word: are you there?", seed=0)

    async def propose(self, request: ProposalRequest) -> Proposals:
        """The proposals.

        Raises
        ------
        RefusedError
            The service refuses the request, or to answer it.
        DeniedError
            The key is not accepted.
        ServiceError
            There is no answer now.
        """
        return read(await self.answers(request), self._mode)

    async def answers(self, request: ProposalRequest) -> list[Answer]:
        """The model's answers, unparsed."""
        text = wording(self._template, request, self._mode)
        held = self._held_to(request.count) if self._mode == "json" else {}
        return await asyncio.gather(*(self._answer(text, seed, held) for seed in answer_seeds(request, self._mode)))

    @staticmethod
    def _held_to(count: int) -> dict[str, Any]:
        """What has the service sample by the schema."""
        named = {"name": "prompts", "strict": True, "schema": schema(count)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    async def close(self) -> None:
        await self._client.close()

    async def _answer(self, text: str, seed: int, held: Mapping[str, Any] = {}) -> Answer:
        body = {"messages": [{"role": "user", "content": text}], "seed": seed % SEEDS, **held, **self._body}
        sent = {key: value for key, value in body.items() if value is not None}
        return await self._client.post("chat/completions", sent, self._read)

    def _read(self, reply: Any) -> Answer:
        try:
            choice = reply["choices"][0]
            if error := choice.get("error"):
                raise ServiceError(f"{self._base_url}: the answer broke off: {_one_line(error)}; ask again")
            message, reason = choice["message"], choice.get("finish_reason")
            content, refusal = _said(message.get("content")), message.get("refusal") or _refusal(message.get("content"))
            thought = message.get("reasoning_content") or message.get("reasoning")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ServiceError(
                f"{self._base_url}: the answer holds no choices[0].message.content; "
                "base_url must be that of an OpenAI-compatible service"
            ) from error
        if reason == "content_filter" or (refusal and not content):
            said = _one_line(refusal or reason)
            raise ModelRefusedError(f"{self._base_url}: the model refuses to answer ({said}); change the prompt")
        if not content and isinstance(thought, str):
            content = f"<think>{thought}</think>"  # so that it is counted
        return Answer(text=content, finished=reason != "length")


def _one_line(said: Any) -> str:
    text = said.get("message", said) if isinstance(said, Mapping) else said
    return " ".join(str(text).split())[:300]


def _said(content: Any) -> str:
    """The text of a message: services send a text, parts of one, or none."""
    match content:
        case str():
            return content
        case list():
            return "".join(part["text"] for part in content if part.get("type") in ("text", "output_text"))
        case None:
            return ""
        case _:
            raise TypeError(content)


def _refusal(content: Any) -> str | None:
    """A refusal among the parts of a message."""
    parts = content if isinstance(content, list) else []
    return next((part["refusal"] for part in parts if part.get("type") == "refusal"), None)
