"""What renderers on services have in common: they draw whole images only, one at a time.

Ray runs the calls of an actor one after the other only if its class has no coroutine methods, so that the coroutines
which such a renderer needs are functions beside its class.
"""

from abc import ABC, abstractmethod

from actors.messages import Preview, Rendering, RenderRequest
from actors.service_client import ServiceClient


class ServiceRenderer(ABC):
    """A renderer without previews, and with no files of its own that it could skip."""

    preview_cost = finish_cost = 1.0

    @property
    def skipped(self) -> tuple[str, ...]:
        return ()

    def preview_identity(self) -> None:  # noqa: B027 - it answers None
        """A service renders whole images only."""

    def preview(self, request: RenderRequest) -> Preview:
        raise NotImplementedError("a service has no previews")

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        return self.render(request)

    @abstractmethod
    def render(self, request: RenderRequest) -> Rendering:
        """One image."""


async def check_access(client: ServiceClient, path: str) -> None:
    """See that the service answers, and accepts the key; errors as `ServiceClient.check_access`."""
    async with client:
        await client.check_access(path)
