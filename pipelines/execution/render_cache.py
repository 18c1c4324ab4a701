"""The images of a run while it goes on: each on the disk before anybody is shown it, none drawn twice at a time.

    image    on the disk? else drawn whole                        -> a reference for other actors
    preview  on the disk? else drawn until it can be judged       -> the same, and with it where the drawing stopped
    finish   on the disk? else drawn on from where it stopped     -> as `image`, and the same pixels

A preview that is only on the disk, or was lost with its node, has nothing to go on from: its image is drawn whole.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from actors.messages import Preview, Rendering, RenderRequest
from actors.pool.actor_pool import ArgumentLostError
from actors.pool.cluster import put
from actors.pool.render_path import RenderPath
from pipelines.execution.costs import Images
from pipelines.execution.wait_accounting import WaitAccounting
from pipelines.records.image_store import ImageStore, image_key

_RECENT = 256
"""So many references are kept, that what is looked at again is not read from the disk again: 100 MB at 512 x 512."""


class RenderCache:
    """The images of one run by what they are asked for. Used from one event loop."""

    def __init__(
        self,
        path: RenderPath,
        identity: Mapping[str, Any],
        preview_identity: Mapping[str, Any] | None,
        images: ImageStore,
        waits: WaitAccounting,
        *,
        rendered: Callable[[], None],
        warned: Callable[[str], None],
    ) -> None:
        self._path = path
        self._identity = identity
        self._preview_identity = preview_identity
        self._images = images
        self._waits = waits
        self._rendered = rendered
        self._warned = warned
        self._drawing: dict[str, asyncio.Task[Any]] = {}
        self._paused: set[str] = set()
        """Keys of the previews that were drawn in this start of the run, so that their images can be gone on with."""
        self._recent: OrderedDict[str, Any] = OrderedDict()
        self.made = Images()

    def key(self, request: RenderRequest) -> str:
        return image_key(self._identity, request.prompt, request.seed)

    def preview_key(self, request: RenderRequest) -> str:
        assert self._preview_identity is not None
        return image_key(self._preview_identity, request.prompt, request.seed)

    async def image(self, request: RenderRequest, *, lost: Any = None) -> Any:
        """A reference to the rendering, another one than `lost`.

        Raises
        ------
        CallFailedError, PoolBrokenError
            As `ActorPool.call`.
        """
        key = self.key(request)
        if lost is None and key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        self._recent.pop(key, None)
        return await self._once(key, lambda key: self._draw(key, request))

    async def preview(self, request: RenderRequest) -> Any:
        """A reference to the preview; errors as `image`."""
        return await self._once(self.preview_key(request), lambda key: self._begin(key, request))

    async def finish(self, request: RenderRequest, preview: Any) -> Any:
        """A reference to the rendering, `preview` being one to its preview; errors as `image`."""
        return await self._once(self.key(request), lambda key: self._go_on(key, request, preview))

    async def _once(self, key: str, draw: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
        task = self._drawing.get(key)
        if task is None:
            task = self._drawing[key] = asyncio.create_task(draw(key))
            task.add_done_callback(lambda _: self._drawing.pop(key, None))
        return await asyncio.shield(task)

    async def _draw(self, key: str, request: RenderRequest) -> Any:
        if (png := self._images.read(key)) is not None:
            return self._remembered(key, put(Rendering(png=png)))
        return await self._keep(key, *await self._path.render(request))

    async def _begin(self, key: str, request: RenderRequest) -> Any:
        if (png := self._images.read(key)) is not None:
            return put(Preview(png=png))
        reference, preview = await self._path.preview(request)
        assert isinstance(preview, Preview)
        await self._write(key, preview.png, preview.warning)
        self.made.previews += 1
        self._paused.add(key)
        return reference

    async def _go_on(self, key: str, request: RenderRequest, preview: Any) -> Any:
        if (png := self._images.read(key)) is not None:
            return put(Rendering(png=png))
        try:
            drawn = await self._path.finish(request, preview)
        except ArgumentLostError:
            drawn = await self._path.render(request)
        else:
            self.made.finished += self.preview_key(request) in self._paused
        return await self._keep(key, *drawn)

    async def _keep(self, key: str, reference: Any, rendering: Any) -> Any:
        assert isinstance(rendering, Rendering)
        await self._write(key, rendering.png, rendering.warning)
        self.made.rendered += 1
        self._rendered()
        return self._remembered(key, reference)

    def _remembered(self, key: str, reference: Any) -> Any:
        self._recent[key] = reference
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return reference

    async def _write(self, key: str, png: bytes, warning: str | None) -> None:
        if warning:
            self._warned(warning)
        with self._waits.during("disk"):
            await asyncio.to_thread(self._images.write, key, png)
