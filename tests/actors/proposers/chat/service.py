"""A chat service on loopback that answers as a script says: a real HTTP server in a thread."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One HTTP answer."""

    status: int = 200
    body: Any = None
    """A string as it stands, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    """Of JSON lines, the first."""
    lines: Sequence[Any] = ()
    """Of JSON lines, all."""

    @property
    def greeting(self) -> bool:
        """The question with which a proposer finds out whether the service works."""
        return "are you there" in self.body["messages"][0]["content"]


@dataclass(kw_only=True)
class Service:
    url: str
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def questions(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.greeting]


def completion(text: str | None, finish_reason: str = "stop") -> Scripted:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return Scripted(body={"id": "1", "object": "chat.completion", "choices": [choice]})


@contextmanager
def serve(answer: Callable[[Asked, int], Scripted], *, files: bool = False) -> Iterator[Service]:
    """`answer` gets what was asked and how many requests came before it; GET is answered where there are `files`."""
    lock = threading.Lock()
    open_requests = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if files:
                self.do_POST()
            else:
                self.send_error(501)

        def do_POST(self) -> None:
            nonlocal open_requests
            raw = self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}"
            is_lines = "ndjson" in self.headers.get("content-type", "")
            lines = [json.loads(line) for line in (raw.splitlines() if is_lines else [raw])]
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(path=self.path, headers=headers, body=lines[0], lines=lines)
            with lock:
                number = len(service.asked)
                service.asked.append(asked)
                open_requests += 1
                service.most_at_once = max(service.most_at_once, open_requests)
            said = answer(asked, number)
            time.sleep(said.delay_s)
            with lock:
                open_requests -= 1
            content = said.body if isinstance(said.body, str) else json.dumps(said.body)
            self.send_response(said.status)
            for name, value in {"content-type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client has given up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Service(url=f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
