"""A model hub on loopback, as the hub's own client asks it: one gated repository, one that is no pipeline, no other."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


@contextmanager
def serve_hub() -> Iterator[str]:
    """Its address, for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "/gated/" in self.path:
            self._answer(403, {"X-Error-Code": "GatedRepo"}, {"error": "Access to model is restricted"})
        elif "/someone/text" in self.path:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, {"error": "Entry not found"})
        elif "/unknown/" in self.path:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"}, {"error": "Invalid rev id"})
        else:
            self._answer(404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"})

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""
