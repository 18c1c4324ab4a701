"""The studio on a port: one process and one event loop, in which the pools' calls are made too."""

from contextlib import suppress
from socket import socket

import uvicorn
from starlette.types import ASGIApp

from pipelines.live.studio import Studio
from studies.web.serving import server_config


class _Server(uvicorn.Server):
    """A server whose streams of events end when it is told to stop; it would wait for them otherwise."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._studio.let_listeners_go()
        await super().shutdown(sockets)


def serve_until_stopped(app: ASGIApp, listening: socket, studio: Studio) -> None:
    """Serve until Ctrl-C or SIGTERM, and let everybody go."""
    with suppress(KeyboardInterrupt):  # uvicorn has ended in good order, and passes the signal on
        _Server(server_config(app), studio).run(sockets=[listening])
