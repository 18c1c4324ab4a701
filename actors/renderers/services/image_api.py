"""A renderer behind a web API. Services render as they like: another call gives another image, whatever the seed.

Invariant: a call ends within its time: with an image, or with an error that says whether to ask again. Half an image
depends on the moment; what is no image at all depends on the prompt.
"""

import asyncio
import io
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from actors.messages import Preview, Rendering, RenderRequest
from actors.renderers.services.image_services import SERVICES, ImageService
from actors.service_client import RateLimit, ServiceClient, ServiceError, UnusableAnswerError
from predictor.data.image_files import as_shown


class ImageApi:
    """Asks a service for one image at a time.

    Ray runs the calls of an actor one after the other only if its class has no coroutine methods, so that the
    coroutines that this one needs are functions beside it.

    Parameters
    ----------
    service : str
        "openai" (and all that speak its way) or "gemini".
    base_url : str
        Up to the version, such as https://api.openai.com/v1.
    model : str
        As the service calls it.
    api_key_env : str or None
        Environment variable that holds the key; None for a service that wants none.
    width, height : int
        Images of another size are cropped and scaled to it.
    requests_per_minute : float or None
        Of this actor.
    give_up_s : float
        No attempt begins, and none goes on, after so long.
    retries : int
        Attempts after the first, with short pauses.
    extra : mapping
        More fields for the request's body, such as {"quality": "high"}.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        model: str,
        api_key_env: str | None,
        width: int = 1024,
        height: int = 1024,
        requests_per_minute: float | None = None,
        give_up_s: float = 120,
        retries: int = 2,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._service = SERVICES[service]
        self._name = service
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._api_key_env = api_key_env
        self._size = (width, height)
        self._rate = RateLimit(requests_per_minute)
        self._give_up_s = give_up_s
        self._retries = retries
        self._extra = dict(extra or {})

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
        """A service renders whole images only."""

    preview_cost = finish_cost = 1.0

    def preview(self, request: RenderRequest) -> Preview:
        raise NotImplementedError("an image service has no previews")

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        return self.render(request)

    def setup(self) -> None:
        """Ask for the model's description, which costs nothing.

        Raises
        ------
        RefusedError
            No key, a key that is not accepted, or no service at the address.
        """
        asyncio.run(_check_access(self._client(), self._service.probe(self._model)))

    def render(self, request: RenderRequest) -> Rendering:
        """One image.

        Raises
        ------
        RefusedError
            The service refuses to render this, answers without an image, or does not understand the request.
        DeniedError
            The key is not accepted.
        ServiceError
            No image came in time.
        """
        body = self._service.body(self._model, request.prompt, *self._size) | self._extra
        path, client = self._service.path(self._model), self._client()
        deadline = time.monotonic() + self._give_up_s
        return asyncio.run(_render(client, self._service, path, body, size=self._size, deadline=deadline))

    def _client(self) -> ServiceClient:
        return ServiceClient(
            self._base_url,
            self._api_key_env,
            key_headers=self._service.headers,
            timeout_s=self._give_up_s,
            timeout_remedy="raise renderer.timeout_s",
            retries=self._retries,
            rate=self._rate,
        )


async def _check_access(client: ServiceClient, path: str) -> None:
    async with client:
        await client.check_access(path)


async def _render(
    client: ServiceClient,
    service: ImageService,
    path: str,
    body: Mapping[str, Any],
    *,
    size: tuple[int, int],
    deadline: float,
) -> Rendering:
    def read(answer: Any) -> Rendering | str:
        found = service.image(answer)
        return found if isinstance(found, str) else _fitted(found, size=size)

    async with client:
        found = await client.post(path, body, read, deadline=deadline)
        if isinstance(found, Rendering):
            return found
        return await client.download(found, partial(_fitted, size=size), deadline=deadline)


def _fitted(encoded: bytes, *, size: tuple[int, int]) -> Rendering:
    """The service's image as PNG of the size that is wanted."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            fitted = ImageOps.fit(as_shown(image), size, Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:  # so Pillow says that a file is cut off
        if isinstance(error, UnidentifiedImageError) and not _begins_as_image(encoded):
            raise UnusableAnswerError("the service answered with what is no image") from error
        raise ServiceError("the service's image is cut off; ask again") from error
    png = io.BytesIO()
    fitted.save(png, "PNG", compress_level=1)
    return Rendering(png=png.getvalue())


def _begins_as_image(encoded: bytes) -> bool:
    """Whether these are the first bytes of an image, perhaps too few for Pillow to know it by."""
    return any(encoded.startswith(sign) or (encoded and sign.startswith(encoded)) for sign in _SIGNATURES)


_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF8")
