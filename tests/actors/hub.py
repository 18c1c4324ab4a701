"""A model hub on loopback, as the hub's own client asks it: a gated repository, one that is no pipeline, folders."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


@contextmanager
def serve_hub(folders: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Its address, for HF_ENDPOINT; `folders` are its repositories, by owner/name."""

    class Hub(_Hub):
        repositories = folders or {}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    repositories: Mapping[str, Path] = {}

    def do_GET(self) -> None:
        found = next((name for name in self.repositories if f"/{name}/" in self.path), None)
        if found is not None:
            self._of_repository(self.repositories[found], self.path.partition(f"/{found}/")[2].partition("?")[0])
        elif "/gated/" in self.path:
            self._answer(403, {"X-Error-Code": "GatedRepo"}, {"error": "Access to model is restricted"})
        elif "/someone/text" in self.path:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, {"error": "Entry not found"})
        elif "/unknown/" in self.path:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"}, {"error": "Invalid rev id"})
        else:
            self._answer(404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"})

    do_HEAD = do_GET  # noqa: N815

    def _of_repository(self, folder: Path, asked: str) -> None:
        """The list of its files, or one of them, or a range of its bytes."""
        kind, _, rest = asked.partition("/")
        if kind == "tree":
            files = [path for path in folder.rglob("*") if path.is_file()]
            listed = [
                {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size} for path in files
            ]
            self._answer(200, {}, [{**file, "oid": "0" * 40} for file in listed])
            return
        path = folder / rest.partition("/")[2]  # resolve/REVISION/path
        if not path.is_file():
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, {"error": "Entry not found"})
            return
        content, asked_range = path.read_bytes(), self.headers.get("Range", "").removeprefix("bytes=")
        begin, _, end = asked_range.partition("-")
        part = content[int(begin or 0) : int(end) + 1] if asked_range else content
        self.send_response(206 if asked_range else 200)
        etag = hashlib.sha256(content).hexdigest()
        for name, value in {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Length": len(part)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

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
