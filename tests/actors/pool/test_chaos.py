"""A service that goes wrong in every way at random: each call ends answered or refused, the same way each time."""

import asyncio
import base64
import hashlib
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool, CallRefusedError
from actors.pool.role import Role
from actors.renderers.services.image_api import ImageApi

pytestmark = pytest.mark.usefixtures("ray")

PROMPTS = [f"a cat, variation {number}" for number in range(12)]
QUICK = (*["fine"] * 9, "429", "500", "hang up", "half an answer", "half an image", "html")
WAYS = (*QUICK, "time out")


def of(prompt: str) -> int:
    return hashlib.sha256(prompt.encode()).digest()[0]


def refuses(prompt: str) -> str:
    """What of the prompt the service refuses, if anything; that never changes."""
    return {0: "policy", 1: "no image"}.get(of(prompt) % 4, "")


def picture(prompt: str) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64), (of(prompt), 90, 30)).save(encoded, "PNG")
    return encoded.getvalue()


class Chaos(ThreadingHTTPServer):
    """What happens to a request depends on the seed and on how many came before it, so on timing."""

    daemon_threads = True

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._first = self._random.sample(sorted(set(WAYS)), len(set(WAYS)))
        self.happened: Counter[str] = Counter()

    def next(self) -> str:
        with self._lock:
            way = self._first.pop() if self._first else self._random.choice(QUICK)
            self.happened[way] += 1
            return way


class Handler(BaseHTTPRequestHandler):
    server: Chaos  # pyrefly: ignore[bad-override-mutable-attribute]

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        image = picture(prompt)
        match self.server.next():
            case "429":
                self._answer(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0.1"})
            case "500":
                self._answer(500, b"out of order")
            case "time out":
                time.sleep(6)
            case "hang up":
                self.close_connection = True
            case "half an answer":
                whole = self._image(image)
                self._answer(200, whole[: len(whole) // 2], length=len(whole))
                self.close_connection = True
            case "half an image":
                self._answer(200, self._image(image[: len(image) * 2 // 3]))
            case "html":
                self._answer(200, b"<html>we will be back soon</html>", {"Content-Type": "text/html"})
            case _ if refuses(prompt) == "policy":
                self._answer(400, b'{"error": {"message": "not this", "code": "content_policy_violation"}}')
            case _ if refuses(prompt) == "no image":
                self._answer(200, b'{"data": []}')
            case _:
                self._answer(200, self._image(image))

    def _image(self, png: bytes) -> bytes:
        return json.dumps({"data": [{"b64_json": base64.b64encode(png).decode()}]}).encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int = -1) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body) if length < 0 else length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has given up
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@contextmanager
def chaos(seed: int) -> Iterator[Chaos]:
    server = Chaos(seed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def render_all(server: Chaos, actors: int) -> dict[str, str]:
    """Prompt -> the image's digest, or the refusal without the port of the server."""
    url = f"http://127.0.0.1:{server.server_port}"
    arguments = {
        "service": "openai",
        "base_url": url,
        "model": "painter-1",
        "api_key_env": None,
        "width": 64,
        "height": 64,
        "give_up_s": 4,
        "retries": 0,
    }
    role = Role(name="renderer", make=ImageApi, arguments=arguments, actors=actors, first_pause_s=0.05)

    async def ended(pool: ActorPool, prompt: str) -> str:
        try:
            _, rendering = await pool.call("render", RenderRequest(prompt=prompt, seed=1))
        except CallRefusedError as error:
            return str(error).replace(url, "URL")
        return hashlib.sha256(rendering.png).hexdigest()

    async def main() -> list[str]:
        pool = ActorPool(role)
        try:
            await pool.start()
            return await asyncio.gather(*(ended(pool, prompt) for prompt in PROMPTS))
        finally:
            pool.stop()

    return dict(zip(PROMPTS, asyncio.run(main()), strict=True))


@pytest.mark.slow
def test_each_call_ends_answered_or_refused_the_same_way_whatever_the_service_does_in_between() -> None:
    runs = []
    for seed, actors in ((1, 1), (2, 2)):
        with chaos(seed) as server:
            runs.append(render_all(server, actors))
            assert set(server.happened) == set(WAYS)
    assert runs[0] == runs[1]
    assert {prompt for prompt, said in runs[0].items() if "RefusedError" in said} == set(filter(refuses, PROMPTS))
    assert {"policy", "no image", ""} == {refuses(prompt) for prompt in PROMPTS}
