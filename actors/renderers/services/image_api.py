"""A renderer behind a web API. A service that takes no seed gives another image for the same prompt at every call.

Invariant: a call ends within its time: with an image, or with an error that says whether to ask again.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from actors.messages import Rendering, RenderRequest
from actors.renderers.services.image_services import SERVICES, SETTINGS, Drawing, ImageService, Pending
from actors.renderers.services.mapped_service import mapped
from actors.renderers.services.service_images import fitted
from actors.renderers.services.service_renderer import ServiceRenderer, check_access
from actors.service_client import RateLimit, ServiceClient


class ImageApi(ServiceRenderer):
    """Asks a service for one image at a time.

    Parameters
    ----------
    service : str
        Of `image_services.SERVICES`, or "mapped".
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
    num_inference_steps, guidance_scale, negative_prompt
        None: the service's own.
    mapping : mapping or None
        The content of a mapping file, for the service "mapped".
    extra : mapping
        More fields for the request's body, such as {"quality": "high"}.

    Raises
    ------
    ValueError
        Something is set that the service does not take.
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
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        mapping: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._service: ImageService = mapped(mapping) if service == "mapped" else SERVICES[service]
        self._name = service
        self._mapping = mapping
        self._settings: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt,
        }
        assert self._settings.keys() == SETTINGS
        for name, value in self._settings.items():
            if value is not None and name not in self._service.takes:
                raise ValueError(
                    f"renderer.{name}: service {service!r} takes none; leave it out, or give it by renderer.extra "
                    "under the name that the service has for it"
                )
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._api_key_env = api_key_env
        self._size = (width, height)
        self._rate = RateLimit(requests_per_minute)
        self._give_up_s = give_up_s
        self._retries = retries
        self._extra = dict(extra or {})

    def identity(self) -> Mapping[str, Any]:
        return {
            "renderer": "image-api",
            "deterministic": self.seeded,
            "service": self._name,
            "mapping": self._mapping,
            "base_url": self._base_url,
            "model": self._model,
            "width": self._size[0],
            "height": self._size[1],
            **self._settings,
            "extra": self._extra,
        }

    @property
    def seeded(self) -> bool:
        """Whether the service takes a seed, so that the same request gives the same image again."""
        return "seed" in self._service.takes

    def setup(self) -> None:
        """Ask for the model's description, which costs nothing.

        Raises
        ------
        RefusedError
            No key, a key that is not accepted, or no service at the address.
        """
        asyncio.run(check_access(self._client(), self._service.probe(self._model)))

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
        width, height = self._size
        drawing = Drawing(prompt=request.prompt, seed=request.seed, width=width, height=height, **self._settings)
        body = self._service.body(self._model, drawing) | self._extra
        path, client = self._service.path(self._model), self._client()
        deadline = time.monotonic() + self._give_up_s
        return asyncio.run(_render(client, self._service, path, body, size=self._size, deadline=deadline))

    def _client(self) -> ServiceClient:
        return ServiceClient(
            self._base_url,
            self._api_key_env,
            key_headers=self._service.headers,
            headers=self._service.fixed_headers,
            wraps_errors=self._service.wraps_errors,
            timeout_s=self._give_up_s,
            timeout_remedy="raise renderer.timeout_s",
            retries=self._retries,
            rate=self._rate,
        )


async def _render(
    client: ServiceClient,
    service: ImageService,
    path: str,
    body: Mapping[str, Any],
    *,
    size: tuple[int, int],
    deadline: float,
) -> Rendering:
    def read(answer: Any) -> Rendering | Pending | str:
        found = answer if isinstance(answer, bytes) else service.image(answer)
        return fitted(found, size=size) if isinstance(found, bytes) else found

    async with client:
        found = await client.post(path, body, read, deadline=deadline)
        while isinstance(found, Pending):
            await asyncio.sleep(found.every_s)
            found = await client.get(found.url, read, deadline=deadline)
        if isinstance(found, Rendering):
            return found
        return await client.download(found, partial(fitted, size=size), deadline=deadline)
