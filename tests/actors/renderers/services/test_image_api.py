"""Image services played by a real HTTP server: what they answer, how often they are asked, what becomes of refusals."""

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from actors.messages import DeniedError, DisturbedError, RefusedError, Rendering, RenderRequest
from actors.renderers.services.image_api import ImageApi
from actors.renderers.services.mapped_service import read_mapping
from actors.service_client import ServiceClient

KEY = "sk-secret-0815"


def picture(size: tuple[int, int] = (96, 64), kind: str = "JPEG") -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", size, "orange").save(encoded, kind)
    return encoded.getvalue()


class Service(ThreadingHTTPServer):
    """Answers what its script says, in order; the last of it for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.times: list[float] = []
        self.polled: list[bool] = []
        """Of each question how far a prediction is, whether it had the key."""

    @property
    def urls(self) -> dict[str, str]:
        return {"get": f"{self.url}/predictions/1"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Service  # pyrefly: ignore[bad-override-mutable-attribute]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.server.times.append(time.monotonic())
        script = self.server.script
        status, headers, answer = script.pop(0) if len(script) > 1 else script[0]
        if answer == "hang":
            time.sleep(3)
        if answer == "drip":
            self._drip()
        else:
            self._answer(status, headers, json.dumps(answer).encode())

    def do_GET(self) -> None:
        if self.path.startswith("/predictions/"):
            self.server.polled.append(KEY in str(self.headers))
            state = "succeeded" if len(self.server.polled) > 1 else "processing"
            output = [f"{self.server.url}/image.png"] if state == "succeeded" else None
            self._answer(200, {}, json.dumps({"status": state, "output": output, "urls": self.server.urls}).encode())
        elif self.path == "/image.png":
            self._answer(200, {}, picture(kind="PNG"))
        elif KEY in str(self.headers):
            self._answer(200, {}, b"{}")
        else:
            self._answer(401, {}, json.dumps({"error": {"message": "bad key"}}).encode())

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with suppress(OSError):
            for _ in range(50):
                self.wfile.write(b" ")
                time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("IMAGE_KEY", KEY)
    server = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def openai_answer(data: bytes) -> dict[str, Any]:
    return {"data": [{"b64_json": base64.b64encode(data).decode()}]}


def gemini_answer(data: bytes) -> dict[str, Any]:
    inline = {"mimeType": "image/png", "data": base64.b64encode(data).decode()}
    return {"candidates": [{"content": {"parts": [{"text": "Here it is"}, {"inlineData": inline}]}}]}


def make(service: Service, kind: str = "openai", **settings: Any) -> ImageApi:
    small: dict[str, Any] = {"width": 64, "height": 64}
    return ImageApi(kind, service.url, "painter-1", "IMAGE_KEY", **small | settings)


def draw(api: ImageApi) -> Rendering:
    return api.render(RenderRequest(prompt="a cat", seed=7))


def size_of(rendering: Rendering) -> tuple[int, int]:
    with Image.open(io.BytesIO(rendering.png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return image.size


def test_openais_way(service: Service) -> None:
    service.script = [(200, {}, openai_answer(picture()))]
    assert size_of(draw(make(service, extra={"quality": "high"}))) == (64, 64)
    path, headers, body = service.asked[0]
    assert (path, headers["authorization"]) == ("/images/generations", f"Bearer {KEY}")
    assert body == {"model": "painter-1", "prompt": "a cat", "n": 1, "size": "64x64", "quality": "high"}
    service.script = [(200, {}, {"data": [{"url": f"{service.url}/image.png"}]})]
    assert size_of(draw(make(service))) == (64, 64)


def test_googles_way(service: Service) -> None:
    service.script = [(200, {}, gemini_answer(picture(kind="PNG")))]
    assert size_of(draw(make(service, "gemini", width=96))) == (96, 64)
    path, headers, body = service.asked[0]
    assert (path, headers["x-goog-api-key"]) == ("/models/painter-1:generateContent", KEY)
    assert body["contents"] == [{"parts": [{"text": "a cat"}]}]
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "3:2"}


def test_a_service_that_is_busy_is_asked_again_when_it_says(service: Service) -> None:
    busy = (429, {"Retry-After": "0.2"}, {"error": {"message": "slow down"}})
    service.script = [busy, (503, {"Retry-After": "0.1"}, {}), (200, {}, openai_answer(picture()))]
    assert size_of(draw(make(service))) == (64, 64)
    assert len(service.asked) == 3
    assert service.times[1] - service.times[0] >= 0.2


def test_no_more_is_asked_than_the_rate_allows(service: Service) -> None:
    service.script = [(200, {}, openai_answer(picture()))]
    api = make(service, requests_per_minute=300)
    began = time.monotonic()
    for _ in range(3):
        draw(api)
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("kind", "status", "answer", "said"),
    [
        ("openai", 400, {"error": {"message": "rejected by the safety system"}}, "400 rejected by the safety system"),
        ("gemini", 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, r"\(PROHIBITED_CONTENT\)"),
        ("gemini", 200, {"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, r"\(IMAGE_SAFETY\)"),
    ],
)
def test_a_refusal_is_said_in_the_services_words_and_not_asked_for_again(
    service: Service, kind: str, status: int, answer: Any, said: str
) -> None:
    service.script = [(status, {}, answer)]
    with pytest.raises(RefusedError, match=said) as refused:
        draw(make(service, kind))
    assert len(service.asked) == 1
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [{"data": []}, {"data": [{"b64_json": base64.b64encode(b"<html>not an image</html>").decode()}]}],
    ids=["nothing", "no image"],
)
def test_an_answer_that_holds_no_image_is_a_refusal_the_second_time(service: Service, answer: Any) -> None:
    service.script = [(200, {}, answer), (200, {}, openai_answer(picture()))]
    assert size_of(draw(make(service))) == (64, 64)
    service.script, service.asked = [(200, {}, answer)], []
    with pytest.raises(
        RefusedError, match=r"answered with(out an image| what is no image), 2 times; change the prompt"
    ):
        draw(make(service))
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, "drip"), r"no answer within [01](\.\d)? s; raise renderer.timeout_s"),
        ((200, {}, "hang"), r"no answer within [01](\.\d)? s; raise renderer.timeout_s"),
        ((500, {"Retry-After": "0.1"}, {"error": {"message": "out of order"}}), "500 out of order"),
        ((200, {}, openai_answer(picture()[:400])), "cut off"),
        ((200, {}, openai_answer(picture(kind="PNG")[:120])), "cut off"),
        ((200, {}, {"data": [{"b64_json": openai_answer(picture())["data"][0]["b64_json"][:401]}]}), "cut off"),
        ((200, {}, openai_answer(picture()[:5])), "cut off"),
        ((200, {}, openai_answer(picture(kind="PNG")[:12])), "cut off"),
        ((404, {}, {"error": "no such model"}), "404 no such model"),
    ],
)
def test_what_does_not_come_now_is_a_disturbance_with_what_was_said_last(
    service: Service, answer: tuple[int, dict[str, str], Any], said: str
) -> None:
    service.script = [answer]
    began = time.monotonic()
    with pytest.raises(DisturbedError, match=said) as disturbed:
        draw(make(service, give_up_s=1))
    assert not isinstance(disturbed.value, DeniedError)
    assert time.monotonic() - began < 3


def test_the_time_that_is_left_for_the_last_attempt_does_not_hide_what_was_said_before(service: Service) -> None:
    busy = (500, {"Retry-After": "0.1"}, {"error": {"message": "out of order"}})
    service.script = [busy, (200, {}, "hang")]
    with pytest.raises(DisturbedError, match=r"500 out of order, then no answer within [01](\.\d)? s; raise renderer"):
        draw(make(service, give_up_s=1))


def test_a_key_that_is_not_accepted_any_more_is_told_apart_and_not_shown(service: Service) -> None:
    service.script = [(401, {}, {"error": {"message": f"Incorrect API key {KEY}"}})]
    with pytest.raises(DeniedError, match=r"401 Incorrect API key \*\*\*"):
        draw(make(service))


def test_credit_that_is_used_up_stops_whoever_asks(service: Service) -> None:
    service.script = [(402, {}, {"error": "no credit"})]
    with pytest.raises(DeniedError, match=r"used up \(402 no credit\); top it up"):
        draw(make(service))


def test_a_pause_longer_than_seconds_is_passed_on_and_not_kept(service: Service) -> None:
    service.script = [(429, {"Retry-After": "40"}, {"error": {"message": "slow down"}})]
    began = time.monotonic()
    with pytest.raises(DisturbedError, match="asks for a pause of 40 s") as disturbed:
        draw(make(service))
    assert disturbed.value.retry_after_s == 40
    assert time.monotonic() - began < 5


def test_a_missing_or_wrong_key_or_address_is_refused_at_the_start(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(service).setup()
    with pytest.raises(ValueError, match=r"^http://127.0.0.1:1/models/painter-1: cannot be reached: ConnectError"):
        ImageApi("openai", "http://127.0.0.1:1", "painter-1", None).setup()
    monkeypatch.setenv("IMAGE_KEY", "other")
    with pytest.raises(ValueError, match=r"refuses the key in IMAGE_KEY \(401 bad key\); check it"):
        make(service).setup()
    monkeypatch.delenv("IMAGE_KEY")
    with pytest.raises(ValueError, match="api_key_env: IMAGE_KEY is not set"):
        make(service).setup()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nhalf", None])
def test_a_service_that_hangs_up_or_says_nothing_at_the_start_is_a_disturbance(answer: bytes | None) -> None:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await asyncio.sleep(1)
        writer.write(answer or b"")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, ServiceClient(url) as client:
            await client.check_access("models/painter-1", timeout_s=0.5)

    with pytest.raises(DisturbedError, match="models/painter-1: cannot be reached: "):
        asyncio.run(main())


@pytest.mark.parametrize("kind", ["vllm-omni", "sglang"])
def test_what_diffusion_services_take_is_sent_and_decides_the_key(service: Service, kind: str) -> None:
    service.script = [(200, {}, openai_answer(picture()))]
    settings = {"num_inference_steps": 30, "guidance_scale": 3.5, "negative_prompt": "text"}
    api = make(service, kind, **settings)
    draw(api)
    _, _, body = service.asked[0]
    assert {name: body[name] for name in settings} == settings
    assert (body["seed"], body["size"]) == (7, "64x64")
    assert api.identity()["deterministic"] is True
    assert api.identity() != make(service, kind, **settings | {"guidance_scale": 4.0}).identity()
    assert "num_inference_steps" not in (draw(make(service, kind)), service.asked[1])[1][2]


def test_a_setting_that_a_service_does_not_take_is_refused_and_never_dropped(service: Service) -> None:
    with pytest.raises(ValueError, match=r"^renderer.guidance_scale: service 'openai' takes none; leave it out"):
        make(service, guidance_scale=4.0)


def test_a_seed_is_sent_in_as_many_bits_as_services_accept(service: Service) -> None:
    service.script = [(200, {}, openai_answer(picture()))]
    make(service, "vllm-omni").render(RenderRequest(prompt="a cat", seed=2**40 + 5))
    assert service.asked[0][2]["seed"] == 5


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (96, 64)])
def test_an_image_of_another_size_is_cropped_and_scaled_with_a_warning(service: Service, size: tuple[int, int]) -> None:
    service.script = [(200, {}, openai_answer(picture(size)))]
    rendering = draw(make(service))
    assert size_of(rendering) == (64, 64)
    how = {(128, 128): "its images are scaled", (96, 64): "its images are cropped at the middle and scaled"}
    assert rendering.warning is None if size == (64, 64) else how[size] in str(rendering.warning)


BASE64 = base64.b64encode(picture()).decode()


@pytest.mark.parametrize(
    "item",
    [
        {"url": f"data:image/jpeg;base64,{BASE64}"},
        {"b64_json": f"data:image/jpeg;base64,{BASE64}"},
        {"b64_json": "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76))},
        {"b64_json": BASE64.rstrip("=").translate(str.maketrans("+/", "-_"))},
        {"b64_json": None, "url": "{url}/image.png"},
    ],
    ids=["data URL", "data URL as base64", "wrapped", "for URLs, unpadded", "url only"],
)
def test_an_image_is_understood_however_it_is_written(service: Service, item: dict[str, Any]) -> None:
    text = json.dumps({"data": [item]}).replace("{url}", service.url)
    service.script = [(200, {}, json.loads(text))]
    assert size_of(draw(make(service))) == (64, 64)


FAL = {
    "path": "fal-ai/flux/dev",
    "key_header": {"name": "Authorization", "value": "Key {key}"},
    "body": {
        "prompt": "{prompt}",
        "seed": "{seed}",
        "image_size": {"width": "{width}", "height": "{height}"},
        "num_inference_steps": "{num_inference_steps}",
        "guidance_scale": "{guidance_scale}",
    },
    "image": "images.0.url",
    "refused": "has_nsfw_concepts.0",
}
REPLICATE = {
    "path": "models/{model}/predictions",
    "headers": {"Prefer": "wait"},
    "body": {"input": {"prompt": "{prompt}", "seed": "{seed}", "aspect_ratio": "{width}:{height}"}},
    "image": "output",
    "poll": {"url": "urls.get", "state": "status", "every_s": 0.05},
}


def test_a_service_by_a_mapping_file(service: Service) -> None:
    service.script = [(200, {}, {"images": [{"url": f"{service.url}/image.png"}], "has_nsfw_concepts": [False]})]
    api = make(service, "mapped", mapping=FAL, num_inference_steps=30)
    assert size_of(draw(api)) == (64, 64)
    path, headers, body = service.asked[0]
    assert (path, headers["authorization"]) == ("/fal-ai/flux/dev", f"Key {KEY}")
    size = {"width": 64, "height": 64}
    assert body == {"prompt": "a cat", "seed": 7, "image_size": size, "num_inference_steps": 30}
    assert api.identity()["mapping"] == FAL
    service.script = [(200, {}, {"images": [{"url": "x"}], "has_nsfw_concepts": [True]})]
    with pytest.raises(RefusedError, match="refused the image"):
        draw(api)
    with pytest.raises(ValueError, match=r"renderer.negative_prompt: service 'mapped' takes none"):
        make(service, "mapped", mapping=FAL, negative_prompt="text")


def test_a_mapped_service_that_answers_later_is_asked_again_with_the_key(service: Service) -> None:
    service.script = [(201, {}, {"status": "starting", "output": None, "urls": service.urls})]
    assert size_of(draw(make(service, "mapped", mapping=REPLICATE))) == (64, 64)
    path, headers, body = service.asked[0]
    assert (path, headers["prefer"], body["input"]["aspect_ratio"]) == (
        "/models/painter-1/predictions",
        "wait",
        "64:64",
    )
    assert service.polled == [True, True]
    service.script = [(201, {}, {"status": "failed", "error": "NSFW content"})]
    with pytest.raises(RefusedError, match=r"the service failed \(NSFW content\)"):
        draw(make(service, "mapped", mapping=REPLICATE))
    service.script = [(201, {}, {"status": "starting", "urls": {"get": "http://elsewhere.example/1"}})]
    with pytest.raises(DisturbedError, match=r"points to another service, http://elsewhere.example"):
        draw(make(service, "mapped", mapping=REPLICATE))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"body": {"prompt": "{prompt}", "x": "{sed}"}},
            r"body: unknown placeholder \{sed\}; there are guidance",
        ),
        ({"body": {"x": 1}}, r'body: lacks "\{prompt\}"; write it where the prompt belongs'),
        ({"imag": "a"}, "imag: extra inputs are not permitted; see docs/models.md"),
    ],
)
def test_a_mapping_file_that_cannot_be_used_says_what_to_change(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "fal.yaml"
    file.write_text(yaml.safe_dump({**FAL, **change}), "utf-8")
    with pytest.raises(ValueError, match=rf"^renderer.mapping .*fal.yaml: {said}"):
        read_mapping(file)


def test_the_identity_says_that_images_differ_and_holds_no_key(service: Service) -> None:
    identity = make(service).identity()
    assert identity["deterministic"] is False
    assert KEY not in json.dumps(identity)
