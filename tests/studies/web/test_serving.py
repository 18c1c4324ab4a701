"""The server itself: who dawdles is hung up on, and who does not is served meanwhile."""

import socket
import time
from collections.abc import Iterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from studies.web import serving as server


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse((await request.body()).decode())


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(server, "ARRIVAL_TIMEOUT_S", 0.5)
    with server.serving(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])) as base:
        host, port = base.removeprefix("http://").split(":")
        yield host, int(port)


def hung_up_after(connection: socket.socket, drip: bytes) -> float:
    """Seconds until the server closes a connection on which a byte comes now and then."""
    started = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - started < 10:
        try:
            connection.sendall(drip)
            if connection.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nx"],
    ids=["nothing", "headers", "body"],
)
def test_who_says_a_byte_now_and_then_is_hung_up_on(address: tuple[str, int], beginning: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(beginning)
        assert 0.3 < hung_up_after(connection, b"X" if beginning else b"") < 5


def test_who_dawdles_on_a_connection_that_was_used_before_is_hung_up_on(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert hung_up_after(connection, b"X") < 5


def test_others_are_served_while_many_dawdle_and_a_quiet_connection_stays_open(address: tuple[str, int]) -> None:
    host, port = address
    slow = [socket.create_connection(address) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nX")
    with httpx2.Client(base_url=f"http://{host}:{port}") as client:
        assert client.post("/", content=b"hello").text == "hello"
        time.sleep(1.0)  # longer than a request may take: nothing is on its way
        assert client.post("/", content=b"again").text == "again"
    for connection in slow:
        connection.close()


def test_an_address_that_is_empty_is_not_all_addresses() -> None:
    with pytest.raises(ValueError, match="--host is empty"):
        server.listen("", 0)
