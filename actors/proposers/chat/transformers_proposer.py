"""A proposer on any instruction-tuned language model that transformers can load.

Invariant: answers depend on model, settings and request alone, and torch's global random state is left as it was.
"""

from typing import Any

from actors.messages import ProposalRequest, Proposals
from actors.proposers.chat.conversation import Answer, Mode, answer_seeds, read, wording
from actors.proposers.chat.instruction import load_instruction
from actors.proposers.chat.tokenizer import check_context, encode, load_tokenizer
from predictor.error_messages import first_line


class TransformersProposer:
    """Asks a language model for variations, one request at a time, on a GPU where there is one.

    Parameters
    ----------
    model : str
        A folder, or a name on the Hugging Face hub. Its own code is never run.
    instruction : str or None
        A file that replaces the instruction that ships; see `actors.proposers.chat.instruction`.
    mode : {"numbered", "samples"}
        See `actors.proposers.chat.conversation`. Samples are generated in one batch, from the request's one seed.
    temperature, top_p : float
        How answers are sampled.
    max_new_tokens : int
        An answer that is longer is cut off there.
    dtype : str
        Of the weights, such as "bfloat16"; "auto": as they are stored.
    revision : str or None
        Branch, tag or commit on the hub; None: the newest.
    gguf_file : str or None
        The weights, where the folder holds them as GGUF; they are unpacked to `dtype`.
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
        gguf_file: str | None = None,
    ) -> None:
        self._model = model
        self._instruction = instruction
        self._mode: Mode = mode
        self._sampling = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
        self._dtype = dtype
        self._source: dict[str, Any] = {"revision": revision} | ({"gguf_file": gguf_file} if gguf_file else {})

    def setup(self) -> None:
        """Load instruction, tokenizer and weights.

        Raises
        ------
        ValueError
            The instruction cannot be used, there is no such model, or it has no weights or no chat template.
        """
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

        self._template = load_instruction(self._instruction)
        self._tokenizer = load_tokenizer(self._model, **self._source)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        options: dict[str, Any] = {"dtype": self._dtype, "trust_remote_code": False, **self._source}
        if "gguf_file" in options:
            options["quantization_config"] = GgufConfig(dequantize=True)  # else it fetches kernels from the hub
        try:
            weights: Any = AutoModelForCausalLM.from_pretrained(self._model, **options)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"model {self._model!r} cannot be loaded: {first_line(error)}; name another") from error
        self._language_model = weights.to(device).eval()

    def propose(self, request: ProposalRequest) -> Proposals:
        return read(self.answers(request), self._mode)

    def answers(self, request: ProposalRequest) -> list[Answer]:
        """The model's answers, unparsed."""
        import torch

        tokens = encode(self._tokenizer, wording(self._template, request, self._mode))
        check_context(tokens, getattr(self._language_model.config, "max_position_embeddings", None))
        question = torch.tensor([tokens], device=self._language_model.device)
        # `generate` takes no generator of its own.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(request.seed)
            output = self._language_model.generate(
                input_ids=question,
                attention_mask=torch.ones_like(question),
                do_sample=True,
                top_k=0,
                num_return_sequences=len(answer_seeds(request, self._mode)),
                **self._sampling,
            )
        return [self._answer(new_tokens) for new_tokens in output[:, len(tokens) :].tolist()]

    def _answer(self, tokens: list[int]) -> Answer:
        """An answer of full length without an end-of-sequence token was cut off; after that token is only padding."""
        finished = len(tokens) < self._sampling["max_new_tokens"] or not self._ends.isdisjoint(tokens)
        return Answer(text=self._tokenizer.decode(tokens, skip_special_tokens=True), finished=finished)

    @property
    def _ends(self) -> frozenset[int]:
        """The model's end-of-sequence tokens."""
        ends = self._language_model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends])  # with None, length alone ends an answer
