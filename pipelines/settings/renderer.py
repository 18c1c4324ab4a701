"""The settings of each kind of renderer: the darkroom, diffusers pipelines, image services, and ComfyUI."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipelines.settings.placement import Closed, Placement
from pipelines.settings.service import secretless, variable_name

Profile = Literal["exact", "compile", "cudnn", "flash", "sage", "math", "taylorseer"]
"""Names of `actors.renderers.diffusers.render_profiles.PROFILES`, which a test compares."""

Quantization = Literal["none", "torchao-int8", "torchao-fp8", "bitsandbytes-int8", "bitsandbytes-nf4"]
"""`none`, and names of `actors.renderers.diffusers.weights.quantization.QUANTIZATIONS`, which a test compares."""


class LoraSettings(Closed):
    """A LoRA that is put on the renderer's model."""

    file: str = Field(min_length=1, description="path, or owner/name/file.safetensors on the hub, with @revision")
    weight: float = Field(default=1.0, description="scale of its weights; negative inverts the effect")


class DarkroomSettings(Placement):
    kind: Literal["darkroom"] = "darkroom"
    photos: str | None = Field(default=None, description="a folder of your own photographs; none: those that ship")
    size: int = Field(default=256, ge=32, le=2048, description="side of an image in pixels")
    preview_size: int = Field(default=64, ge=16, description="side of a preview; from size on there are none")

    @property
    def width(self) -> int:
        return self.size

    @property
    def height(self) -> int:
        return self.size


class DiffusersSettings(Placement):
    # These say where the weights are; the renderer's identity says which they are.
    where: ClassVar[frozenset[str]] = frozenset({"model", "revision", "gguf", "loras", "offload"})

    kind: Literal["diffusers"] = "diffusers"
    model: str = Field(min_length=1, description="folder or Hugging Face name of a text-to-image pipeline")
    revision: str | None = Field(default=None, description="branch, tag or commit; a new run pins it to the commit")
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    num_inference_steps: int = Field(default=50, ge=1)
    preview_steps: int = Field(
        default=10, ge=1, description="steps of a preview; from num_inference_steps on there are none"
    )
    guidance_scale: float | None = Field(default=None, ge=0, description="none: the pipeline's own")
    width: int = Field(default=512, ge=32, le=4096, multiple_of=16)
    height: int = Field(default=512, ge=32, le=4096, multiple_of=16)
    quantization: Quantization = Field(
        default="none", description="store the denoiser's linear layers in fewer bits, which changes pixels"
    )
    text_encoder_quantization: Quantization = Field(default="none", description="the same of the text encoders")
    gguf: str | None = Field(
        default=None, description="the denoiser's weights: a path, or owner/name/file.gguf on the hub, with @revision"
    )
    loras: tuple[LoraSettings, ...] = Field(default=(), description="LoRAs: the file and the weight of each")
    profile: Profile = Field(default="exact", description="a faster way to render, which changes pixels")
    offload: Literal["none", "model", "sequential"] = Field(
        default="none", description="keep in the machine's memory what the GPU does not need at the moment"
    )
    seconds_per_call: float = Field(default=10, gt=0, description="an estimate, for the plan of --dry-run")

    @property
    def device(self) -> str:
        """An actor that reserves no GPU must not use one, even where it sees one."""
        return "cuda" if self.num_gpus else "cpu"

    @model_validator(mode="after")
    def _is_quantised_once_and_can_be_computed(self) -> Self:
        if self.gguf is not None and self.quantization != "none":
            raise ValueError(
                f"quantization: a GGUF file is quantised already, got {self.quantization!r}; set quantization=none"
            )
        if (self.quantization, self.profile, self.device) == ("torchao-int8", "compile", "cpu"):
            raise ValueError(
                "profile: torch 2.13 compiles no torchao-int8 for CPUs; take torchao-fp8, or profile=exact"
            )
        return self

    @model_validator(mode="after")
    def _offloads_from_a_gpu(self) -> Self:
        if self.offload != "none" and not self.num_gpus:
            raise ValueError(f"offload {self.offload!r} wants a GPU to offload from; set num_gpus")
        return self


_ADDRESSES = {
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}


class ImageApiSettings(Placement):
    """An image service. Its images are reproducible only where it takes a seed; its actors need no GPU."""

    # What a mapping file says is in the renderer's identity.
    where: ClassVar[frozenset[str]] = frozenset({"api_key_env", "requests_per_minute", "mapping"})

    kind: Literal["image-api"] = "image-api"
    service: Literal["openai", "vllm-omni", "sglang", "gemini", "mapped"] = Field(
        default="openai", description="which API it speaks; mapped: the one renderer.mapping describes"
    )
    mapping: str | None = Field(
        default=None, description="a file that says how the service is asked, for service mapped"
    )
    model: str = Field(min_length=1, description="as the service calls it, such as gemini-2.5-flash-image")
    base_url: str | None = Field(default=None, description="up to the version; none: the service's own")
    api_key_env: str | None = Field(
        default=None, description="name of the environment variable that holds the key, where the renderers run"
    )
    requests_per_minute: float | None = Field(default=None, gt=0, description="of all actors together")
    width: int = Field(default=1024, ge=32, le=4096)
    height: int = Field(default=1024, ge=32, le=4096)
    num_inference_steps: int | None = Field(default=None, ge=1, description="denoising steps; none: the service's own")
    guidance_scale: float | None = Field(default=None, ge=0, description="none: the service's own")
    negative_prompt: str | None = Field(default=None, description="what not to draw; none: nothing is said")
    extra: dict[str, Any] = Field(default={}, description="more fields of a request's body")
    seconds_per_call: float = Field(default=10, gt=0, description="an estimate, for the plan of --dry-run")

    @property
    def address(self) -> str:
        return self.base_url or _ADDRESSES[self.service]

    @model_validator(mode="after")
    def _says_where_and_how(self) -> Self:
        if (self.service == "mapped") != (self.mapping is not None):
            raise ValueError(
                f"mapping: service 'mapped' needs a mapping file, no other has one; service is {self.service!r}"
            )
        if self.base_url is None and self.service not in _ADDRESSES:
            raise ValueError(f"base_url: is missing; service {self.service!r} has no address of its own")
        return self

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        return None if url is None else secretless(url, variable="renderer.api_key_env")

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        return variable_name(name)


class ComfyUISettings(Placement):
    """A ComfyUI server with a workflow of one's own."""

    # What the workflow says is in the renderer's identity.
    where: ClassVar[frozenset[str]] = frozenset({"base_url", "api_key_env", "workflow"})

    kind: Literal["comfyui"] = "comfyui"
    workflow: str = Field(
        min_length=1, description="a workflow in ComfyUI's API format, whose nodes are titled prompt, seed and size"
    )
    base_url: str = Field(default="http://127.0.0.1:8188", description="of the ComfyUI server")
    api_key_env: str | None = Field(
        default=None, description="name of the environment variable that holds the key, where the server wants one"
    )
    width: int = Field(default=1024, ge=32, le=4096, multiple_of=8)
    height: int = Field(default=1024, ge=32, le=4096, multiple_of=8)
    seconds_per_call: float = Field(default=10, gt=0, description="an estimate, for the plan of --dry-run")

    @property
    def model(self) -> str:
        return f"the ComfyUI workflow {Path(self.workflow).name}"

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        return secretless(url, variable="renderer.api_key_env")

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        return variable_name(name)


class TextEncoderSettings(Placement):
    actors: int = Field(default=0, ge=0, description="none: each renderer encodes its own text")

    @property
    def device(self) -> str:
        return "cuda" if self.num_gpus else "cpu"


def _darkroom_unless_said(value: Any) -> Any:
    return {"kind": "darkroom", **value} if isinstance(value, Mapping) else value


RendererSettings = Annotated[
    DarkroomSettings | DiffusersSettings | ImageApiSettings | ComfyUISettings,
    Field(discriminator="kind"),
    BeforeValidator(_darkroom_unless_said),
]
