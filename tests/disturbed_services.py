"""Image API and chat service on one address that disturb requests: a real HTTP server in threads.

Invariants: an answer is a function of the request alone, and so is a refusal. Which requests are disturbed, and how, is
a function of the seed, the request, and how often it was asked before: neither of timing nor of what else is asked.
"""

import base64
import hashlib
import io
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

PROMPTS = ("a cup of coffee", "a pagoda above a lake")
LOOKS = (
    *("fog", "neon", "snow", "dusk", "rain", "gold", "ink", "glass", "moss", "smoke", "dawn", "dust", "copper", "silk"),
    *("frost", "storm", "candles", "linen", "marble", "autumn", "spring", "velvet", "blood", "censored"),
)
"""Images of the last two are refused."""
PROPOSALS = 4
"""In each answer of the chat service."""
KINDS = {
    "429": 1.0,
    "429 with Retry-After": 1.0,
    "500": 1.0,
    "503": 1.0,
    "hang": 0.4,
    "hang-up": 1.0,
    "half an answer": 1.0,
    "half a JSON": 1.0,
    "half an image": 1.0,
    "empty body": 1.0,
}
"""Disturbances, and how often each comes beside the others."""
RETRY_AFTER_S = ("0.2", "0.2", "4")
"""The last is longer than an image may take here, so that the actor does not wait for it."""
HANG_S = 6.0
IMAGE_LIMIT_S = 3.0
ANSWER_LIMIT_S = 3.0
"""Within which the services are expected to answer; less than they hang."""


def proposals(question: str, seed: int) -> list[str]:
    """Variations of the prompt in the question; other words or another seed give others."""
    base = next(prompt for prompt in PROMPTS if prompt in question)
    chance = random.Random(f"{question} {seed}")
    return [f"{base}, {', '.join(chance.sample(LOOKS, 2))}" for _ in range(PROPOSALS)]


def picture(prompt: str) -> bytes:
    """A PNG of coloured clouds. Image APIs take no seed, so that they are the prompt's."""
    chance = np.random.default_rng(int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big"))
    encoded = io.BytesIO()
    clouds = Image.fromarray(chance.integers(0, 256, (6, 6, 3), np.uint8))
    clouds.resize((64, 64), Image.Resampling.BICUBIC).save(encoded, "PNG")
    return encoded.getvalue()


class DisturbedServices(ThreadingHTTPServer):
    """Answers as it should until `disturb` is called.

    Example:

        with disturbed_services() as services:
            services.disturb(seed=1, chance=0.3)
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.disturb(seed=0, chance=0.0)

    def disturb(self, *, seed: int, chance: float) -> None:
        """From now on, disturb a request with this chance, and count anew."""
        self._seed, self._chance = seed, chance
        self._asked: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        """Disturbances, by their kind."""
        self.requests = 0

    def chance_of(self, asked: str) -> tuple[random.Random, str | None]:
        """What is random about this request, and how it is disturbed, if it is."""
        with self._lock:
            self._asked[asked] += 1
            self.requests += 1
            chance = random.Random(f"{self._seed} {asked} {self._asked[asked]}")
            if chance.random() >= self._chance:
                return chance, None
            of_images = '"prompt"' in asked
            kinds = {kind: weight for kind, weight in KINDS.items() if of_images or kind != "half an image"}
            (kind,) = chance.choices(list(kinds), list(kinds.values()))
            self.met[kind] += 1
            return chance, kind


class _Handler(BaseHTTPRequestHandler):
    server: DisturbedServices  # pyrefly: ignore[bad-override-mutable-attribute]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A model's description, by which a renderer finds out whether there is a service."""
        self._disturbed_or(200, b"{}", self.path)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = json.dumps(body, sort_keys=True)
        if "prompt" in body:
            self._disturbed_or(*_image(body["prompt"]), asked)
        else:
            self._disturbed_or(*_completion(body["messages"][0]["content"], body["seed"]), asked)

    def _disturbed_or(self, status: int, content: bytes, asked: str) -> None:
        chance, kind = self.server.chance_of(asked)
        match kind:
            case "429":
                self._answer(429, b'{"error": {"message": "slow down"}}')
            case "429 with Retry-After":
                self._answer(429, b'{"error": {"message": "slow down"}}', {"Retry-After": chance.choice(RETRY_AFTER_S)})
            case "500":
                self._answer(500, b"<html>out of order</html>")
            case "503":
                self._answer(503, b'{"error": {"message": "overloaded"}}')
            case "hang":
                self.server.over.wait(HANG_S)
                self.close_connection = True
            case "hang-up":
                self.close_connection = True
            case "half an answer":
                self._answer(status, content[: chance.randrange(len(content))], length=len(content))
                self.close_connection = True
            case "half a JSON":
                self._answer(200, content[: chance.randrange(1, len(content))])
            case "half an image" if status == 200 and b"b64_json" in content:
                whole = picture(json.loads(asked)["prompt"])
                most = chance.choice((64, len(whole)))  # half of them within the header
                self._answer(200, _encoded(whole[: chance.randrange(1, most)]))
            case "empty body":
                self._answer(200, b"")
            case _:
                self._answer(status, content)

    def _answer(
        self, status: int, content: bytes, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has given up
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


def _image(prompt: str) -> tuple[int, bytes]:
    """Status and body. Blood is against the policy, and what is censored has no image."""
    if "blood" in prompt:
        return 400, b'{"error": {"message": "not this", "code": "content_policy_violation"}}'
    return 200, b'{"data": []}' if "censored" in prompt else _encoded(picture(prompt))


def _encoded(png: bytes) -> bytes:
    return json.dumps({"data": [{"b64_json": base64.b64encode(png).decode()}]}).encode()


def _completion(question: str, seed: int) -> tuple[int, bytes]:
    greeting = "are you there" in question
    lines = ["Yes."] if greeting else [f"{n}. {prompt}" for n, prompt in enumerate(proposals(question, seed), start=1)]
    message = {"role": "assistant", "content": "\n".join(lines)}
    return 200, json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


@contextmanager
def disturbed_services() -> Iterator[DisturbedServices]:
    server = DisturbedServices()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
