"""A study on a port: one process, until it is told to stop.

uvicorn waits for ever for a request that does not come to its end. So a client that sends a byte now and then could
hold as many connections as the machine has, and nobody else would get in. `DeadlineProtocol` gives it a limit. Servers
that have one (granian, hypercorn) were not taken for it: they start the application in processes of their own, from its
name, where this one serves an object that exists, on a socket that is open already, also inside a test.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

START_TIMEOUT_S = 30.0
ARRIVAL_TIMEOUT_S = 20.0
"""How long a request may take to arrive, its headers and body, from the connection or its first byte on."""


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on whoever takes too long to say what they want."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(arriving=True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        headers = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        self._watch(arriving=headers or self.conn.their_state is h11.SEND_BODY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(arriving=False)
        super().connection_lost(exc)

    def _watch(self, *, arriving: bool) -> None:
        if arriving and self._deadline is None:
            self._deadline = self.loop.call_later(ARRIVAL_TIMEOUT_S, self.transport.close)
        elif not arriving and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything is promised to anybody.

    Raises
    ------
    ValueError
        The port cannot be taken, the address is empty, or there is no such address here.
    """
    if not host:  # which the system would take for all addresses
        raise ValueError("--host is empty; 127.0.0.1 is this machine alone, 0.0.0.0 lets other devices in")
    # Named as TCP, because asyncio turns Nagle's delay (40 ms an answer) off only where it knows that it is.
    listening = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
        return listening
    except OSError as error:
        listening.close()
        raise ValueError(f"port {port} on {host} cannot be taken: {error.strerror or error}; name another") from error


def serve(app: ASGIApp, listening: socket.socket, *, behind_proxy: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM; requests under way are answered first.

    Parameters
    ----------
    behind_proxy
        Whether a proxy on this machine says who asks (X-Forwarded-For, X-Forwarded-Proto), and is believed.
    """
    with suppress(KeyboardInterrupt):  # uvicorn has ended in good order, and passes the signal on
        uvicorn.Server(server_config(app, behind_proxy=behind_proxy)).run(sockets=[listening])


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve on a free port of this machine while the block runs; gives the address.

    Raises
    ------
    RuntimeError
        The server did not start in time.
    """
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(app))
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listening])), name="study-server", daemon=True
    )
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the study's server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)


def server_config(app: ASGIApp, *, behind_proxy: bool = False) -> uvicorn.Config:
    """How this project's pages are served."""
    return uvicorn.Config(
        app,
        http=DeadlineProtocol,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=behind_proxy,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=30,
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
