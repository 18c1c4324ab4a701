"""A proposer on any instruction-tuned language model that transformers loads.

Invariant: the reply is decided by the model, the settings and the request; sampling leaves no trace in the global state
of random numbers.
"""

from typing import Any

from actors.instruction import fill, load_instruction
from actors.messages import ProposalRequest, Proposals
from actors.replies import parse_reply


class TransformersProposer:
    """Asks a language model for variations, once for each request, on a GPU where there is one.

    Parameters
    ----------
    model : str
        A folder, or a name on the Hugging Face hub. Its own code is never run.
    instruction : str or None
        A file that replaces the instruction that ships; see `actors.instruction`.
    temperature, top_p : float
        How the reply is sampled.
    max_new_tokens : int
        A reply that is longer is cut off there.
    dtype : str
        Of the weights, such as "bfloat16"; "auto": as they are stored.
    revision : str or None
        Branch, tag or commit on the hub; None: the newest.
    """

    def __init__(
        self,
        model: str,
        instruction: str | None = None,
        temperature: float = 1.0,
        top_p: float = 0.95,
        max_new_tokens: int = 2048,
        dtype: str = "auto",
        revision: str | None = None,
    ) -> None:
        self._model = model
        self._instruction = instruction
        self._sampling = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
        self._dtype = dtype
        self._revision = revision

    def setup(self) -> None:
        """Load instruction, tokenizer and weights.

        Raises
        ------
        ValueError
            The instruction cannot be used, the model has no chat template, or it needs code of its own.
        OSError
            There is no such model.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._template = load_instruction(self._instruction)
        source: dict[str, Any] = {"revision": self._revision, "trust_remote_code": False}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(self._model, **source)
        if not self._tokenizer.chat_template:
            raise ValueError(
                f"model {self._model!r} has no chat template; take an instruction-tuned one (-Instruct, -it)"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        weights: Any = AutoModelForCausalLM.from_pretrained(self._model, dtype=self._dtype, **source)
        self._language_model = weights.to(device).eval()

    def propose(self, request: ProposalRequest) -> Proposals:
        return parse_reply(self.reply(request))

    def reply(self, request: ProposalRequest) -> str:
        """What the model answers, as it stands."""
        import torch

        inputs = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": fill(self._template, request)}],
            add_generation_prompt=True,
            enable_thinking=False,  # templates that know it leave the reasoning out, others ignore it
            return_dict=True,
            return_tensors="pt",
        ).to(self._language_model.device)
        # Generation takes no generator of its own.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(request.seed)
            output = self._language_model.generate(**inputs, do_sample=True, top_k=0, **self._sampling)
        new_tokens = output[0, inputs["input_ids"].shape[1] :]
        return self._tokenizer.decode(new_tokens, skip_special_tokens=True)
