"""The settings of each kind of proposer: the lexicon, and chat models by transformers, vLLM or a service."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipelines.settings.placement import Placement
from pipelines.settings.service import secretless, variable_name


class LexiconSettings(Placement):
    kind: Literal["lexicon"] = "lexicon"


class ChatSettings(Placement):
    """The settings of every chat model."""

    model: str = Field(min_length=1, description="folder or Hugging Face name of an instruction-tuned language model")
    mode: Literal["numbered", "samples", "json"] = Field(
        default="numbered",
        description="one reply with a numbered list, as in the paper; so many replies of one prompt; or one in JSON, "
        "held to a schema by vLLM or the service",
    )
    instruction: str | None = Field(default=None, description="a file that replaces the shipped instruction.txt")
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=2048, ge=1)


class LocalChatSettings(ChatSettings):
    """The settings of every chat model whose weights an actor loads."""

    revision: str | None = Field(default=None, description="branch, tag or commit of the model on Hugging Face")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class TransformersSettings(LocalChatSettings):
    kind: Literal["transformers"] = "transformers"
    gguf_file: str | None = Field(default=None, description="the weights, where the model's folder holds them as GGUF")

    @model_validator(mode="after")
    def _holds_no_model_to_a_schema(self) -> Self:
        if self.mode == "json":
            raise ValueError(
                "mode: transformers holds no reply to a schema; take kind vllm or openai, or mode numbered"
            )
        return self


class VLLMSettings(LocalChatSettings):
    """vLLM, which needs an environment of its own; see constraints-vllm.txt."""

    where: ClassVar = frozenset({"tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "enforce_eager"})

    kind: Literal["vllm"] = "vllm"
    in_flight: int = Field(default=64, ge=1, description="questions to one engine at a time, which it answers together")
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that share the weights; num_gpus is the same")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="part of a GPU's memory it takes")
    max_model_len: int | None = Field(default=None, ge=1, description="tokens of question and answer together")
    enforce_eager: bool = Field(default=False, description="start without compiling: sooner up, slower after")

    @model_validator(mode="after")
    def _has_its_gpus(self) -> Self:
        if self.tensor_parallel_size > max(self.num_gpus, 1):
            raise ValueError(
                f"tensor_parallel_size wants {self.tensor_parallel_size} GPUs and num_gpus gives {self.num_gpus:g}; "
                "set both to the same number"
            )
        return self


class OpenAISettings(ChatSettings):
    """Any service with an OpenAI-compatible chat endpoint."""

    where: ClassVar = frozenset({"base_url", "api_key_env", "request_timeout_s", "retries", "at_once"})

    kind: Literal["openai"] = "openai"
    model: str = Field(min_length=1, description="as the service calls it")
    base_url: str = Field(description="such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1")
    api_key_env: str | None = Field(
        default=None, description="name of the environment variable that holds the key, where the proposer's actor runs"
    )
    request_timeout_s: float = Field(default=120, gt=0, description="one request may take so long")
    retries: int = Field(
        default=2, ge=0, description="of a request that met 429 or 5xx, after seconds; for longer the run itself waits"
    )
    at_once: int = Field(default=8, ge=1, description="requests of one actor at a time")
    in_flight: int = Field(default=8, ge=1, description="questions to one actor at a time")
    extra: dict[str, Any] = Field(default={}, description="more fields of a request's body; null takes one out")

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        return secretless(url, variable="proposer.api_key_env")

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        return variable_name(name)

    @model_validator(mode="after")
    def _gives_up_before_the_pool(self) -> Self:
        if self.request_timeout_s >= self.timeout_s:
            raise ValueError(
                f"request_timeout_s must be less than timeout_s, after which the actor is replaced, "
                f"got {self.request_timeout_s:g} and {self.timeout_s:g}"
            )
        return self


def _lexicon_unless_said(value: Any) -> Any:
    return {"kind": "lexicon", **value} if isinstance(value, Mapping) else value


ProposerSettings = Annotated[
    LexiconSettings | TransformersSettings | VLLMSettings | OpenAISettings,
    Field(discriminator="kind"),
    BeforeValidator(_lexicon_unless_said),
]
