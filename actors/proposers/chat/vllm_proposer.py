"""A proposer on vLLM, whose engine answers many requests at a time.

The engine is a child process of the actor. Invariant: `close` ends the engine, and one that died is replaced at the
next request, so that the actor itself goes on.

vLLM pins its own versions of torch and transformers, so it is an optional extra; this module imports without it.
"""

import asyncio
import itertools
import os
from collections.abc import Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from actors.messages import BrokenError, ProposalRequest, Proposals
from actors.proposers.chat.conversation import Answer, Mode, answer_seeds, read, schema, wording
from actors.proposers.chat.instruction import load_instruction
from actors.proposers.chat.tokenizer import check_context, encode, load_tokenizer

T = TypeVar("T")

_HEALTH_CHECK_S = 1.0


class EngineDiedError(BrokenError):
    """The engine's process ended; the next request gets another."""


class VLLMProposer:
    """Asks a language model for variations, all requests that the pool sends at once.

    Parameters
    ----------
    model : str
        A folder, or a name on the Hugging Face hub. Its own code is never run.
    instruction : str or None
        A file that replaces the instruction that ships; see `actors.proposers.chat.instruction`.
    mode : {"numbered", "samples", "json"}
        See `actors.proposers.chat.conversation`. Each sample has a seed of its own.
    temperature, top_p : float
        How answers are sampled. The same seed may give different answers under different load.
    max_new_tokens : int
        An answer that is longer is cut off there.
    dtype, revision
        As in `actors.proposers.chat.transformers_proposer`.
    tensor_parallel_size : int
        GPUs of one node that share the weights.
    gpu_memory_utilization : float
        Fraction of a GPU's memory that the engine reserves.
    max_model_len : int or None
        Tokens of prompt and answer together; None: the model's own limit.
    enforce_eager : bool
        Do not compile the model: a faster start, slower answers.
    """

    def __init__(
        self,
        model: str,
        instruction: str | None = None,
        mode: Mode = "numbered",
        temperature: float = 1.0,
        top_p: float = 0.95,
        max_new_tokens: int = 2048,
        dtype: str = "auto",
        revision: str | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        enforce_eager: bool = False,
    ) -> None:
        self._model = model
        self._revision = revision
        self._instruction = instruction
        self._mode: Mode = mode
        self._sampling: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "max_tokens": max_new_tokens}
        self._options: dict[str, Any] = {
            "model": model,
            "revision": revision,
            "tokenizer_revision": revision,
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_model_len": max_model_len,
            "enforce_eager": enforce_eager,
            "trust_remote_code": False,
            "disable_log_stats": True,
        }
        if tensor_parallel_size > 1:
            # Else vLLM asks Ray for GPUs of its own, beside those that the actor has reserved.
            self._options["distributed_executor_backend"] = "mp"
        self._engine: Any = None

    async def setup(self) -> None:
        """Load the instruction and bring up the engine.

        Raises
        ------
        ValueError
            The instruction cannot be used, vLLM is not installed, there is no such model, it has no chat template, or
            the engine does not start.
        """
        self._template = load_instruction(self._instruction)
        if find_spec("vllm") is None:
            raise ValueError(
                "proposer.kind=vllm: vLLM is not installed here; see constraints-vllm.txt, or take another"
            )
        self._tokenizer = load_tokenizer(self._model, revision=self._revision)
        self._numbers = itertools.count()
        self._turn = asyncio.Lock()
        await self._living_engine()

    async def propose(self, request: ProposalRequest) -> Proposals:
        return read(await self.answers(request), self._mode)

    async def answers(self, request: ProposalRequest) -> list[Answer]:
        """The model's answers, unparsed."""
        engine = await self._living_engine()
        tokens = encode(self._tokenizer, wording(self._template, request, self._mode))
        check_context(tokens, engine.model_config.max_model_len)
        seeds = answer_seeds(request, self._mode)
        held = schema(request.count) if self._mode == "json" else None
        return await asyncio.gather(*(self._answer(engine, tokens, seed, held) for seed in seeds))

    async def close(self) -> None:
        """End the engine and its processes."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    async def _answer(self, engine: Any, tokens: list[int], seed: int, held: dict[str, Any] | None) -> Answer:
        from vllm import SamplingParams
        from vllm.sampling_params import (
            RequestOutputKind,
            StructuredOutputsParams,
        )

        sampling = SamplingParams(
            seed=seed,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=None if held is None else StructuredOutputsParams(json=held),
            **self._sampling,
        )
        # Tokens, not text: the chat template has added the begin-of-sequence token, and vLLM would add a second.
        stream = engine.generate({"prompt_token_ids": tokens}, sampling, request_id=str(next(self._numbers)))
        (output,) = await _while_alive(engine, _outputs(stream))
        return Answer(text=output.text, finished=output.finish_reason != "length")

    async def _living_engine(self) -> Any:
        async with self._turn:
            if self._engine is None or self._engine.errored:
                await self.close()
                self._engine = self._start()
        return self._engine

    def _start(self) -> Any:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # before the import: it reports to nobody
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        try:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**self._options))
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"vLLM's engine does not start for model {self._model!r}: {reason}; "
                f"its log {_log_file()} has the cause; for memory, lower proposer.max_model_len or add GPUs"
            ) from error


async def _outputs(stream: Any) -> list[Any]:
    return [completion async for answer in stream for completion in answer.outputs]


async def _while_alive(engine: Any, answering: Coroutine[Any, Any, T]) -> T:
    """The answer, or an error if the engine dies, for which vLLM itself would wait for ever."""
    task = asyncio.ensure_future(answering)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_HEALTH_CHECK_S)
            if engine.errored and not task.done():
                raise EngineDiedError(f"vLLM's engine died while it answered; its log {_log_file()} has the cause")
        return task.result()
    finally:
        task.cancel()


def _log_file() -> str:
    """The file to which this process and its engine write their errors."""
    try:
        return str(Path("/proc/self/fd/2").readlink())
    except OSError:
        return "on standard error"
