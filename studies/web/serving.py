"""A study on a port: one process, until it is told to stop."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

START_TIMEOUT_S = 30.0


def serve(app: Starlette, *, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; requests under way are answered first.

    Raises
    ------
    ValueError
        The port cannot be taken.
    """
    server = uvicorn.Server(_config(app, host, port))
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn has answered what was under way, and passes the signal on
        return
    except SystemExit as error:  # uvicorn's way of saying that the address is taken
        raise ValueError(f"port {port} on {host} cannot be taken; name another by --port") from error
    if not server.started:
        raise ValueError(f"port {port} on {host} cannot be taken; name another by --port")


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve on a free port of this machine while the block runs; gives the address.

    Raises
    ------
    RuntimeError
        The server did not start in time.
    """
    server = uvicorn.Server(_config(app, "127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="study-server", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the study's server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)


def _config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app, host=host, port=port, access_log=False, log_level="warning", server_header=False, timeout_keep_alive=60
    )
