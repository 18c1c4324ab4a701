"""The tokenizer of a chat model and its chat template; what cannot be loaded is an error of one line.

Invariant: the tokens of a text are the same on every day. Some templates tell the model today's date; they are told
`TODAY`.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from actors.messages import RefusedError
from predictor.error_messages import first_line

TODAY = date(2026, 1, 1)


def load_tokenizer(model: str, **source: Any) -> Any:
    """Load the tokenizer of a folder or of a name on the Hugging Face hub, never running code that comes with it.

    Parameters
    ----------
    source
        Further arguments of `from_pretrained`, such as `revision`.

    Raises
    ------
    ValueError
        There is no such model, it may not be downloaded, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False, **source)
    except (OSError, ValueError) as error:
        raise ValueError(f"model {model!r} cannot be loaded: {_remedy(model, error)}") from error
    if not tokenizer.chat_template:
        raise ValueError(f"model {model!r} has no chat template; take an instruction-tuned one (-Instruct, -it)")
    return tokenizer


def encode(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a conversation with one user message, ready for the model to answer."""
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True,
        enable_thinking=False,  # templates without this switch ignore it
        strftime_now=TODAY.strftime,
        return_dict=True,
    )["input_ids"]


def check_context(tokens: Sequence[int], most: int | None) -> None:
    """See that a model can read a question, and has room for an answer.

    Raises
    ------
    RefusedError
        The question is as long as all that the model can hold, or longer.
    """
    if most is not None and len(tokens) >= most:
        raise RefusedError(
            f"the question has {len(tokens)} tokens, and the model holds {most} with its answer; "
            "shorten the prompt or the instruction, or raise proposer.max_model_len"
        )


def _remedy(model: str, error: BaseException) -> str:
    """What is wrong and what helps; a gated repository shows only in the chain of causes."""
    from huggingface_hub.errors import GatedRepoError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatedRepoError):
            return f"it is gated; accept its licence at https://huggingface.co/{model} and set HF_TOKEN where it loads"
        cause = cause.__cause__ or cause.__context__
    return f"{first_line(error)}; give a folder, or the name of a public model on Hugging Face"
