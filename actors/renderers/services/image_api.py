"""A renderer behind a web API. Services draw as they like: another call, another image, whatever the seed.

Invariant: a key is read from the environment of the actor's process and appears nowhere else, in no error either. A
call ends within its time: with an image, or with one line that says what the service said last.
"""

import io
import os
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx2 as httpx
from PIL import Image, ImageOps, UnidentifiedImageError

from actors.messages import Preview, RefusedError, Rendering, RenderRequest
from actors.renderers.services.image_services import SERVICES, UnusableAnswerError

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class ImageApi:
    """Asks a service for one image at a time.

    Parameters
    ----------
    service : str
        "openai" (and all that speak its way) or "gemini".
    base_url : str
        Up to the version, such as https://api.openai.com/v1.
    model : str
        As the service calls it.
    key_variable : str or None
        Environment variable that holds the key; None for a service that wants none.
    width, height : int
        Images of another size are cropped and scaled to it.
    requests_per_minute : float or None
        Of this actor.
    give_up_s : float
        No attempt begins, and none goes on, after so long.
    extra : mapping
        More fields for the request's body, such as {"quality": "high"}.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        model: str,
        key_variable: str | None,
        width: int = 1024,
        height: int = 1024,
        requests_per_minute: float | None = None,
        give_up_s: float = 120,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._service = SERVICES[service]
        self._name = service
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._key_variable = key_variable
        self._size = (width, height)
        self._pause_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._give_up_s = give_up_s
        self._extra = dict(extra or {})
        self._next = 0.0

    @property
    def skipped(self) -> tuple[str, ...]:
        return ()

    def identity(self) -> Mapping[str, Any]:
        return {
            "renderer": "image-api",
            "deterministic": False,
            "service": self._name,
            "base_url": self._base_url,
            "model": self._model,
            "width": self._size[0],
            "height": self._size[1],
            "extra": self._extra,
        }

    def preview_identity(self) -> None:
        """A service draws whole images only."""

    preview_cost = finish_cost = 1.0

    def preview(self, request: RenderRequest) -> Preview:
        raise NotImplementedError("an image service has no previews")

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        return self.render(request)

    def setup(self) -> None:
        """Ask for the model's description, which costs nothing.

        Raises
        ------
        ValueError
            No key, a key that is not accepted, or no service at the address.
        """
        if self._key_variable and not os.environ.get(self._key_variable):
            raise ValueError(f"no key for {self._base_url}: set the environment variable {self._key_variable}")
        try:
            answer = self._client.get(self._service.probe(self._model), timeout=30)
        except httpx.HTTPError as error:
            raise ValueError(f"no answer from {self._base_url}: {_gist(error)}; see renderer.base_url") from error
        if answer.status_code in (401, 403):
            raise ValueError(
                f"{self._base_url} does not accept the key in {self._key_variable}: {self._said(answer)}; renew it"
            )

    def render(self, request: RenderRequest) -> Rendering:
        """One image, after as many attempts as there is time for.

        Raises
        ------
        RefusedError
            The service will not draw this, or does not understand the request.
        RuntimeError
            No image came in time.
        """
        body = self._service.body(self._model, request.prompt, *self._size) | self._extra
        deadline = time.monotonic() + self._give_up_s
        pause, said = _FIRST_PAUSE_S, "too little time for one request"
        while (wait := max(0.0, self._next - time.monotonic())) < deadline - time.monotonic():
            time.sleep(wait)
            self._next = time.monotonic() + self._pause_s
            try:
                answer = self._client.post(
                    self._service.path(self._model), json=body, timeout=max(0.01, deadline - time.monotonic())
                )
                if answer.is_success:
                    return self._rendering(answer.json(), deadline)
                said = self._said(answer)
                if answer.status_code not in _AGAIN:
                    raise RefusedError(f"the service refused: {said}")
                told = answer.headers.get("retry-after", "")
                pause = float(told) if told.replace(".", "", 1).isdigit() else pause
            except (httpx.HTTPError, UnusableAnswerError, ValueError) as error:
                if isinstance(error, RefusedError):
                    raise
                said = _gist(error)
            self._next = max(self._next, time.monotonic() + pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise RuntimeError(f"no image from {self._base_url} within {self._give_up_s:g} s: {said}")

    @cached_property
    def _client(self) -> httpx.Client:
        key = os.environ.get(self._key_variable) if self._key_variable else None
        return httpx.Client(base_url=f"{self._base_url}/", headers=self._service.headers(key))

    def _rendering(self, answer: Mapping[str, Any], deadline: float) -> Rendering:
        found = self._service.image(answer)
        if isinstance(found, str):  # without the key: it lies on another host
            fetched = httpx.get(found, timeout=max(1.0, deadline - time.monotonic()), follow_redirects=True)
            found = fetched.raise_for_status().content
        try:
            with Image.open(io.BytesIO(found)) as image:
                fitted = ImageOps.fit(image.convert("RGB"), self._size, Image.Resampling.LANCZOS)
        except UnidentifiedImageError as error:
            raise UnusableAnswerError("the service's image cannot be read") from error
        encoded = io.BytesIO()
        fitted.save(encoded, "PNG", compress_level=1)
        return Rendering(png=encoded.getvalue())

    def _said(self, answer: httpx.Response) -> str:
        """Status and the service's own words, without the key should it repeat it."""
        try:
            error = answer.json().get("error", {})
            words = error.get("message", "") if isinstance(error, dict) else str(error)
        except (ValueError, AttributeError):
            words = answer.text[:200]
        key = os.environ.get(self._key_variable or "", "")
        words = " ".join(words.split())
        return f"{answer.status_code} {words.replace(key, '…') if key else words}".strip()


def _gist(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
