"""A study on a port: one process, until it is told to stop."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

START_TIMEOUT_S = 30.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything is promised to anybody.

    Raises
    ------
    ValueError
        The port cannot be taken, or there is no such address here.
    """
    try:
        return socket.create_server((host, port), backlog=2048, family=_family(host))
    except OSError as error:
        raise ValueError(f"port {port} on {host} cannot be taken: {error.strerror or error}; name another") from error


def serve(app: ASGIApp, listening: socket.socket, *, behind_proxy: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM; requests under way are answered first.

    Parameters
    ----------
    behind_proxy
        Whether a proxy on this machine says who asks (X-Forwarded-For, X-Forwarded-Proto), and is believed.
    """
    with suppress(KeyboardInterrupt):  # uvicorn has ended in good order, and passes the signal on
        uvicorn.Server(_config(app, behind_proxy=behind_proxy)).run(sockets=[listening])


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve on a free port of this machine while the block runs; gives the address.

    Raises
    ------
    RuntimeError
        The server did not start in time.
    """
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(_config(app))
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


def _config(app: ASGIApp, *, behind_proxy: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=behind_proxy,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=30,
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
