"""The way from a prompt to an image: the renderers, and before them, where they have one, the text encoder.

    render(request) -- no embedding --------------------> renderer pool --> rendering
            |                                                 ^
            +-> text-encoder pool: a reference, for a large --+
            |   embedding goes straight from actor to actor   |
            +-> embed: the embedding itself, where it is small, and others want it too

Invariant: which of these ways an image takes does not change it. Embeddings of the most recent prompts are kept, so
that a prompt drawn with several seeds is encoded once; one that was lost with its node is made again.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool, ArgumentLostError
from actors.pool.single_flight import SingleFlightCache

_KEPT = 64
"""A gigabyte of FLUX.2's embeddings, which Ray spills to the disk when memory is short."""


class RenderPath:
    """One renderer pool, and maybe one of text encoders. Used from one event loop.

    Parameters
    ----------
    text_encoder
        Answers `encode` with an embedding and something small beside it, for `ActorPool.call(by_reference=True)`.
    embed
        Makes of a prompt the embedding that the renderers are given; None: they are given none.
    """

    def __init__(
        self,
        renderer: ActorPool,
        text_encoder: ActorPool | None = None,
        embed: Callable[[str], Awaitable[Any]] | None = None,
    ) -> None:
        assert text_encoder is None or embed is None
        self._renderer = renderer
        self._text_encoder = text_encoder
        self._embed = embed
        self._references = SingleFlightCache[str, Any](capacity=_KEPT)

    @property
    def renderers(self) -> ActorPool:
        return self._renderer

    @property
    def pools(self) -> tuple[ActorPool, ...]:
        """All that take part."""
        return (self._renderer,) if self._text_encoder is None else (self._renderer, self._text_encoder)

    async def render(self, request: RenderRequest) -> tuple[Any, Any]:
        """A reference to the rendering, and the rendering.

        Raises
        ------
        CallRefusedError, RoleUnavailableError, PoolBrokenError
            As `ActorPool.call`.
        """
        return await self._call("render", request)

    async def preview(self, request: RenderRequest) -> tuple[Any, Any]:
        """A reference to the preview, and the preview; errors as `render`."""
        return await self._call("preview", request)

    async def finish(self, request: RenderRequest, preview: Any) -> tuple[Any, Any]:
        """As `render`, from a reference to the preview; ArgumentLostError where that is what was lost."""
        return await self._call("finish", request, preview)

    async def _call(self, method: str, request: RenderRequest, *more: Any) -> tuple[Any, Any]:
        if self._text_encoder is not None:
            return await self._encoded(self._text_encoder, method, request, *more)
        embedding = () if self._embed is None else (await self._embed(request.prompt),)
        return await self._renderer.call(method, request, *more, *embedding)

    async def _encoded(
        self, text_encoder: ActorPool, method: str, request: RenderRequest, *more: Any
    ) -> tuple[Any, Any]:
        async def encode() -> Any:
            reference, _ = await text_encoder.call("encode", request.prompt, by_reference=True)
            return reference

        while True:
            reference = await self._references.get(request.prompt, encode)
            try:
                return await self._renderer.call(method, request, *more, reference)
            except ArgumentLostError as error:
                self._references.forget(request.prompt)
                if error.argument is not reference:
                    raise
