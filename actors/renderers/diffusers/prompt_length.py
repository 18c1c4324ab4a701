"""Whether a pipeline's text encoders read all of a prompt.

CLIP reads 77 tokens, and the others as many as the pipeline's `max_sequence_length`; what stands after them has no
effect, and diffusers says so in a log at most.
"""

import inspect
from collections.abc import Iterator
from typing import Any

_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_UNLIMITED = 100_000
"""Tokenizers without a limit say a number far above any."""


def truncation_warning(pipeline: Any, prompt: str) -> str | None:
    """A warning that the end of a prompt is not read, the same words for all prompts; None where all of it is read."""
    unread = [f"{name} reads {limit} tokens" for name, tokens, limit in _lengths(pipeline, prompt) if tokens > limit]
    if not unread:
        return None
    return f"a prompt is longer than the text encoder reads, and the rest has no effect: {', '.join(unread)}"


def _lengths(pipeline: Any, prompt: str) -> Iterator[tuple[str, int, int]]:
    """Of each tokenizer: its name, the prompt's tokens, and how many of them its encoder reads."""
    parameters = inspect.signature(pipeline.__call__).parameters
    of_sequence = parameters["max_sequence_length"].default if "max_sequence_length" in parameters else None
    for name in _TOKENIZERS:
        tokenizer: Any = getattr(pipeline, name, None)
        if tokenizer is None:
            continue
        own = getattr(tokenizer, "model_max_length", _UNLIMITED)
        is_clip = "CLIP" in type(tokenizer).__name__
        limit = own if is_clip or not isinstance(of_sequence, int) else of_sequence
        if limit < _UNLIMITED:
            yield name, _tokens(tokenizer, prompt), limit


def _tokens(tokenizer: Any, prompt: str) -> int:
    """With what the tokenizer or its chat template puts around the prompt."""
    if getattr(tokenizer, "chat_template", None):
        content = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        return len(tokenizer.apply_chat_template(content, add_generation_prompt=False, return_dict=True)["input_ids"])
    return len(tokenizer(prompt, truncation=False, verbose=False)["input_ids"])
