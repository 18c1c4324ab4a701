"""The way from a prompt to an image: the renderers, with a text encoder of their own before them where they have one.

    render(request) -- no text encoder --> renderer pool --> rendering
            |                                   ^
            +-> embedding kept? else text-encoder pool: a reference, for the embedding itself goes
                straight from the actor that made it to the one that draws

Invariant: which of the two ways an image takes does not change it. Embeddings of the most recent prompts are kept, so
that a prompt drawn with several seeds is encoded once; one that was lost with its node is made again.
"""

import asyncio
from collections import OrderedDict
from typing import Any

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool, ArgumentLostError

LOSSES = 3
"""So often one thing may be lost with its node before the call that needs it has failed."""

_KEPT = 64
"""A gigabyte of FLUX.2's embeddings, which Ray spills to the disk when memory is short."""


class RenderPath:
    """One renderer pool, and maybe one of text encoders. Used from one event loop."""

    def __init__(self, renderer: ActorPool, text_encoder: ActorPool | None = None) -> None:
        self._renderer = renderer
        self._text_encoder = text_encoder
        self._embeddings: OrderedDict[str, asyncio.Task[Any]] = OrderedDict()

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
        CallFailedError, PoolBrokenError
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
        if self._text_encoder is None:
            return await self._renderer.call(method, request, *more)
        lost: ArgumentLostError | None = None
        for _ in range(LOSSES):
            embedding = self._embedding(self._text_encoder, request.prompt)
            reference, _ = await asyncio.shield(embedding)
            try:
                return await self._renderer.call(method, request, *more, reference)
            except ArgumentLostError as error:
                lost = error
                if self._embeddings.get(request.prompt) is embedding:
                    del self._embeddings[request.prompt]
        assert lost is not None
        raise lost

    def _embedding(self, text_encoder: ActorPool, prompt: str) -> asyncio.Task[Any]:
        """The same prompt is never encoded twice at a time."""
        task = self._embeddings.pop(prompt, None)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(text_encoder.call("encode", prompt, by_reference=True))
        self._embeddings[prompt] = task
        if len(self._embeddings) > _KEPT:
            self._embeddings.popitem(last=False)
        return task
