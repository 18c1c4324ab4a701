"""The images of a run: each is rendered once, and is on the disk before anybody is given a reference to it.

    image    the whole image             on the disk? else rendered
    preview  what a few steps give       on the disk? else rendered so far
    finish   the image of a preview      on the disk? else rendered on from the preview's state: the same pixels

All three give a reference that other actors can be handed. A preview that was read from the disk, or lost with its
node, has no state to go on from; its image is rendered whole.

Invariant: of those who want the same image at the same time, one has it rendered and all get the same reference.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.messages import Preview, Rendering, RenderRequest
from actors.pool.actor_pool import ArgumentLostError, CallRefusedError
from actors.pool.cluster import put
from actors.pool.render_path import RenderPath
from actors.pool.single_flight import SingleFlightCache
from pipelines.execution.costs import ImageCounts
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.image_store import ImageStore, image_key

_RECENT_BYTES = 100_000_000
"""Of PNGs that are kept in Ray's object store, so that images used again soon are not read from the disk again."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A reference, and the bytes of the PNG that it holds on to."""

    reference: Any
    size: int


class RenderCache:
    """The images of one run, by render request. Used from one event loop."""

    def __init__(
        self,
        path: RenderPath,
        identity: Mapping[str, Any],
        preview_identity: Mapping[str, Any] | None,
        images: ImageStore,
        waits: WaitAccounting,
        *,
        rendered: Callable[[str], None],
        warned: Callable[[str], None],
    ) -> None:
        self._path = path
        self._identity = identity
        self._preview_identity = preview_identity
        self._images = images
        self._waits = waits
        self._rendered = rendered
        self._warned = warned
        self._references = SingleFlightCache[str, _Held](_RECENT_BYTES, lambda held: held.size)
        self._previews = SingleFlightCache[str, Any]()
        self._resumable: set[str] = set()
        """Keys of the previews that this start of the run has rendered; the state of others is lost."""
        self._refused: dict[str, str] = {}
        """Why an image cannot be rendered, by its key: it is not asked for again."""
        self.made = ImageCounts()

    def refuse(self, request: RenderRequest, reason: str) -> None:
        """Do not ask for an image that was refused before."""
        self._refused[self.key(request)] = reason

    def key(self, request: RenderRequest) -> str:
        return image_key(self._identity, request.prompt, request.seed)

    def preview_key(self, request: RenderRequest) -> str:
        assert self._preview_identity is not None
        return image_key(self._preview_identity, request.prompt, request.seed)

    async def image(self, request: RenderRequest, *, lost: Any = None) -> Any:
        """A reference to the rendering; where `lost` is one that has been lost with its node, another one.

        Raises
        ------
        CallRefusedError, PoolBrokenError
            As `ActorPool.call`.
        """
        key = self.key(request)
        if lost is not None:
            self._references.forget(key)
        return (await self._references.get(key, lambda: self._read_or_render(key, request))).reference

    async def preview(self, request: RenderRequest) -> Any:
        """A reference to the preview; errors as `image`."""
        key = self.preview_key(request)
        return await self._previews.get(key, lambda: self._read_or_preview(key, request))

    async def finish(self, request: RenderRequest, preview: Any) -> Any:
        """A reference to the rendering, given one to its preview; errors as `image`."""
        key = self.key(request)
        return (await self._references.get(key, lambda: self._read_or_finish(key, request, preview))).reference

    async def _read_or_render(self, key: str, request: RenderRequest) -> _Held:
        if (png := await asyncio.to_thread(self._images.read, key)) is not None:
            return _Held(put(Rendering(png=png)), len(png))
        return await self._keep(key, *await self._unless_refused(key, self._path.render, request))

    async def _read_or_preview(self, key: str, request: RenderRequest) -> Any:
        if (png := await asyncio.to_thread(self._images.read, key)) is not None:
            return put(Preview(png=png))
        reference, preview = await self._unless_refused(key, self._path.preview, request)
        assert isinstance(preview, Preview)
        await self._write(key, preview.png, preview.warning)
        self.made.previews += 1
        self._resumable.add(key)
        return reference

    async def _read_or_finish(self, key: str, request: RenderRequest, preview: Any) -> _Held:
        if (png := await asyncio.to_thread(self._images.read, key)) is not None:
            return _Held(put(Rendering(png=png)), len(png))
        try:
            rendered = await self._unless_refused(key, self._path.finish, request, preview)
        except ArgumentLostError:
            rendered = await self._unless_refused(key, self._path.render, request)
        else:
            self.made.finished += self.preview_key(request) in self._resumable
        return await self._keep(key, *rendered)

    async def _unless_refused(self, key: str, render: Callable[..., Awaitable[tuple[Any, Any]]], *asked: Any) -> Any:
        if key in self._refused:
            raise CallRefusedError(self._refused[key])
        try:
            return await render(*asked)
        except CallRefusedError as error:
            self._refused[key] = str(error)
            raise

    async def _keep(self, key: str, reference: Any, rendering: Any) -> _Held:
        assert isinstance(rendering, Rendering)
        await self._write(key, rendering.png, rendering.warning)
        self.made.rendered += 1
        self._rendered(key)
        return _Held(reference, len(rendering.png))

    async def _write(self, key: str, png: bytes, warning: str | None) -> None:
        if warning:
            self._warned(warning)
        with self._waits.during("disk"):
            await asyncio.to_thread(self._images.write, key, png)
