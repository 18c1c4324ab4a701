"""The request and answer formats of image services: OpenAI's, which many others take too, and Google's.

Pure functions: from a prompt to a request's path and body, from an answer to an image's bytes or a refusal. What sends
them is `actors.service_client`.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actors.messages import RefusedError
from actors.service_client import ServiceError, UnusableAnswerError, bearer


class ImageService(Protocol):
    """The formats of one kind of service."""

    def headers(self, key: str) -> dict[str, str]:
        """Those that carry the key."""
        ...

    def path(self, model: str) -> str: ...

    def probe(self, model: str) -> str:
        """Path of a GET that costs nothing, by which address and key are checked."""
        ...

    def body(self, model: str, prompt: str, width: int, height: int) -> dict[str, Any]: ...

    def image(self, answer: Mapping[str, Any]) -> bytes | str:
        """The image, or its URL.

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
class OpenAIImages:
    """`POST /images/generations`."""

    def headers(self, key: str) -> dict[str, str]:
        return bearer(key)

    def path(self, model: str) -> str:
        return "images/generations"

    def probe(self, model: str) -> str:
        return f"models/{model}"

    def body(self, model: str, prompt: str, width: int, height: int) -> dict[str, Any]:
        return {"model": model, "prompt": prompt, "n": 1, "size": f"{width}x{height}"}

    def image(self, answer: Mapping[str, Any]) -> bytes | str:
        data = answer.get("data") or [{}]
        if data[0].get("b64_json"):
            return _decoded(data[0]["b64_json"])
        if data[0].get("url"):
            return str(data[0]["url"])
        raise UnusableAnswerError("the service answered without an image")


@dataclass(frozen=True)
class GeminiImages:
    """`POST /models/MODEL:generateContent`, as of Gemini's image models."""

    def headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def path(self, model: str) -> str:
        return f"models/{model}:generateContent"

    def probe(self, model: str) -> str:
        return f"models/{model}"

    def body(self, model: str, prompt: str, width: int, height: int) -> dict[str, Any]:
        divisor = math.gcd(width, height)
        return {
            "contents": [{"parts": [{"text": prompt}]}],
            "generationConfig": {
                "responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": f"{width // divisor}:{height // divisor}"},
            },
        }

    def image(self, answer: Mapping[str, Any]) -> bytes | str:
        if reason := answer.get("promptFeedback", {}).get("blockReason"):
            raise RefusedError(f"the service refused the prompt ({reason})")
        candidate = (answer.get("candidates") or [{}])[0]
        for part in candidate.get("content", {}).get("parts", []):
            if "inlineData" in part:
                return _decoded(part["inlineData"]["data"])
        reason = candidate.get("finishReason", "")
        if "SAFETY" in reason or "PROHIBITED" in reason or reason in ("RECITATION", "IMAGE_RECITATION", "BLOCKLIST"):
            raise RefusedError(f"the service refused the image ({reason})")
        raise UnusableAnswerError(f"the service answered without an image ({reason or 'no reason given'})")


SERVICES: Mapping[str, ImageService] = {"openai": OpenAIImages(), "gemini": GeminiImages()}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ServiceError("the service's image is not base64, or cut off; ask again") from error
