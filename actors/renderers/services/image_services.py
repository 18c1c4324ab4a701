"""The request and answer formats of image services: OpenAI's, which many others take too, and Google's.

    openai       POST /images/generations: prompt and size, nothing else
    vllm-omni    the same with seed, steps, guidance and negative prompt
    sglang       as vllm-omni
    gemini       POST /models/MODEL:generateContent: prompt, aspect ratio and a seed
    mapped       what a mapping file says (`actors.renderers.services.mapped_service`)

Pure functions: from a drawing to a request's path and body, from an answer to an image or a refusal. What sends them is
`actors.service_client`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.messages import RefusedError
from actors.renderers.services.service_images import image_of
from actors.service_client import SEEDS, UnusableAnswerError, bearer

SETTINGS = frozenset({"num_inference_steps", "guidance_scale", "negative_prompt"})
"""What may be set of a drawing, and not every service takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is asked of a service; None: its own default.

    Example:

        Drawing(prompt="a cat", seed=1712, width=1024, height=1024, num_inference_steps=30)
    """

    prompt: str
    seed: int
    width: int
    height: int
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None

    @property
    def short_seed(self) -> int:
        """The seed in as many bits as every service accepts."""
        return self.seed % SEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The image is not there yet: ask this address again after so many seconds."""

    url: str
    every_s: float


Found = bytes | str | Pending
"""The image, its URL, or where it will be."""


class ImageService(Protocol):
    """The formats of one kind of service."""

    @property
    def takes(self) -> frozenset[str]:
        """Of `SETTINGS` and "seed", those that it takes."""
        ...

    @property
    def fixed_headers(self) -> Mapping[str, str]:
        """Of every request."""
        ...

    @property
    def wraps_errors(self) -> bool:
        """As `ServiceClient`'s."""
        ...

    def headers(self, key: str) -> Mapping[str, str]:
        """Those that carry the key."""
        ...

    def path(self, model: str) -> str: ...

    def probe(self, model: str) -> str:
        """Path of a GET that costs nothing, by which address and key are checked."""
        ...

    def body(self, model: str, drawing: Drawing) -> dict[str, Any]: ...

    def image(self, answer: Mapping[str, Any]) -> Found:
        """The image of an answer.

        Raises
        ------
        RefusedError
            The service refuses to render this.
        UnusableAnswerError
            There is no image in the answer.
        ServiceError
            There is half of one.
        """
        ...


@dataclass(frozen=True)
class _Service:
    """What services have in common."""

    takes: frozenset[str] = frozenset()
    fixed_headers: Mapping[str, str] = field(default_factory=dict)
    wraps_errors: bool = True


@dataclass(frozen=True)
class OpenAIImages(_Service):
    """`POST /images/generations`."""

    def headers(self, key: str) -> dict[str, str]:
        return bearer(key)

    def path(self, model: str) -> str:
        return "images/generations"

    def probe(self, model: str) -> str:
        return f"models/{model}"

    def body(self, model: str, drawing: Drawing) -> dict[str, Any]:
        return {"model": model, "prompt": drawing.prompt, "n": 1, "size": f"{drawing.width}x{drawing.height}"}

    def image(self, answer: Mapping[str, Any]) -> Found:
        first = next(iter(answer.get("data") or ()), {})
        if found := first.get("b64_json") or first.get("url"):
            return image_of(found)
        raise UnusableAnswerError("the service answered without an image")


@dataclass(frozen=True)
class DiffusionImages(OpenAIImages):
    """OpenAI's way with the settings of diffusion models, as vLLM-Omni and SGLang take them."""

    takes: frozenset[str] = SETTINGS | {"seed"}

    def body(self, model: str, drawing: Drawing) -> dict[str, Any]:
        settings = {name: getattr(drawing, name) for name in sorted(SETTINGS)}
        chosen = {name: value for name, value in settings.items() if value is not None}
        known = {"seed": drawing.short_seed, "response_format": "b64_json"}
        return super().body(model, drawing) | known | chosen


@dataclass(frozen=True)
class GeminiImages(_Service):
    """`POST /models/MODEL:generateContent`, as of Gemini's image models."""

    takes: frozenset[str] = frozenset({"seed"})

    def headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def path(self, model: str) -> str:
        return f"models/{model}:generateContent"

    def probe(self, model: str) -> str:
        return f"models/{model}"

    def body(self, model: str, drawing: Drawing) -> dict[str, Any]:
        divisor = math.gcd(drawing.width, drawing.height)
        return {
            "contents": [{"parts": [{"text": drawing.prompt}]}],
            "generationConfig": {
                "seed": drawing.short_seed,
                "responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": f"{drawing.width // divisor}:{drawing.height // divisor}"},
            },
        }

    def image(self, answer: Mapping[str, Any]) -> Found:
        if reason := (answer.get("promptFeedback") or {}).get("blockReason"):
            raise RefusedError(f"the service refused the prompt ({reason})")
        candidate = next(iter(answer.get("candidates") or ()), {})
        for part in (candidate.get("content") or {}).get("parts") or ():
            if "inlineData" in part:
                return image_of(part["inlineData"]["data"])
        reason = candidate.get("finishReason") or ""
        if "SAFETY" in reason or "PROHIBITED" in reason or reason in ("RECITATION", "IMAGE_RECITATION", "BLOCKLIST"):
            raise RefusedError(f"the service refused the image ({reason})")
        raise UnusableAnswerError(f"the service answered without an image ({reason or 'no reason given'})")


SERVICES: Mapping[str, ImageService] = {
    "openai": OpenAIImages(),
    "vllm-omni": DiffusionImages(),
    "sglang": DiffusionImages(),
    "gemini": GeminiImages(),
}
