"""A server that speaks ComfyUI's protocol: a real HTTP and websocket server in a thread, whose workflow is one colour.

What it draws is a function of prompt, seed and size. Words in the prompt make it do what servers do: "fails" raises in
a node, "memory" runs out of it, "slow" takes seconds, "hangs up" loses the socket and goes on, "silent" sends no
messages, "nothing" saves no image, "small" draws half the size.
"""

import asyncio
import hashlib
import io
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

WORKFLOW: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 4,
            "cfg": 1.0,
            "model": ["4", 0],
            "positive": ["6", 0],
            "latent_image": ["5", 0],
        },
        "_meta": {"title": "Seed"},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 1},
        "_meta": {"title": "size"},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}, "_meta": {"title": "Prompt"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "steer", "images": ["8", 0]}},
}


def drawn(nodes: dict[str, Any]) -> bytes:
    """The PNG that the workflow's nodes make."""
    prompt, seed = nodes["6"]["inputs"]["text"], nodes["3"]["inputs"]["seed"]
    width, height = nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]
    if "small" in prompt:
        width, height = width // 2, height // 2
    colour = hashlib.sha256(f"{prompt} {seed}".encode()).hexdigest()[:6]
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), f"#{colour}").save(encoded, "PNG")
    return encoded.getvalue()


class ComfyUIServer:
    """Its queue, its history, and what it was asked to do."""

    def __init__(self) -> None:
        self.url = ""
        self.prompts: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.interrupted: list[str] = []
        self.sent: list[str] = []
        """Types of messages."""
        self._sockets: dict[str, WebSocket] = {}
        self._history: dict[str, Any] = {}
        self._files: dict[str, bytes] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self.app = Starlette(
            routes=[
                WebSocketRoute("/ws", self._ws),
                Route("/prompt", self._post_prompt, methods=["POST"]),
                Route("/history/{prompt_id}", self._get_history),
                Route("/view", self._view),
                Route("/queue", self._queue, methods=["GET", "POST"]),
                Route("/interrupt", self._interrupt, methods=["POST"]),
                Route("/system_stats", lambda _: JSONResponse({"system": {}})),
            ]
        )

    async def _ws(self, socket: WebSocket) -> None:
        await socket.accept()
        client = socket.query_params["clientId"]
        self._sockets[client] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            self._sockets.pop(client, None)

    async def _post_prompt(self, request: Request) -> JSONResponse:
        asked = await request.json()
        self.prompts.append(asked)
        nodes = asked["prompt"]
        if nodes["4"]["inputs"]["ckpt_name"] != "tiny.safetensors":
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return JSONResponse({"error": error, "node_errors": {"4": {"errors": []}}}, 400)
        prompt_id = str(uuid.uuid4())
        self._running[prompt_id] = asyncio.create_task(self._execute(prompt_id, asked["client_id"], nodes))
        return JSONResponse({"prompt_id": prompt_id, "number": len(self.prompts), "node_errors": {}})

    async def _execute(self, prompt_id: str, client: str, nodes: dict[str, Any]) -> None:
        text = nodes["6"]["inputs"]["text"]
        silent = "silent" in text

        async def say(kind: str, **data: Any) -> None:
            if not silent and client in self._sockets:
                self.sent.append(kind)
                await self._sockets[client].send_json({"type": kind, "data": data | {"prompt_id": prompt_id}})

        await say("execution_start")
        await say("execution_cached", nodes=["4"])
        await say("executing", node="3")
        if client in self._sockets and not silent:
            await self._sockets[client].send_bytes(b"\x00\x00\x00\x01\x00\x00\x00\x02" + b"preview" * 20_000)
        if "hangs up" in text and client in self._sockets:
            await self._sockets.pop(client).close()
        for step in range(1, 5):
            await say("progress", value=step, max=4, node="3")
            await asyncio.sleep(1.0 if "slow" in text else 0.01)
        if "fails" in text or "memory" in text:
            type_, said = (
                ("torch.OutOfMemoryError", "CUDA out of memory") if "memory" in text else ("ValueError", "odd size")
            )
            error = {"node_id": "3", "node_type": "KSampler", "exception_type": type_, "exception_message": said}
            self._history[prompt_id] = _entry({}, "error", [["execution_error", error | {"prompt_id": prompt_id}]])
            await say("execution_error", **error)
            return
        name = f"{prompt_id}.png"
        self._files[name] = drawn(nodes)
        images = [] if "nothing" in text else [{"filename": name, "subfolder": "", "type": "output"}]
        await say("executed", node="9", output={"images": images})
        await say("execution_success")
        await asyncio.sleep(0.05)  # the real one writes its history after that message
        self._history[prompt_id] = _entry({"9": {"images": images}}, "success", [])
        await say("executing", node=None)

    async def _get_history(self, request: Request) -> JSONResponse:
        prompt_id = request.path_params["prompt_id"]
        return JSONResponse({prompt_id: self._history[prompt_id]} if prompt_id in self._history else {})

    async def _view(self, request: Request) -> Response:
        return Response(self._files[request.query_params["filename"]], media_type="image/png")

    async def _queue(self, request: Request) -> JSONResponse:
        if request.method == "POST":
            self.deleted += (await request.json())["delete"]
            return JSONResponse(None)
        running = [[0, prompt_id] for prompt_id, task in self._running.items() if not task.done()]
        return JSONResponse({"queue_running": running, "queue_pending": []})

    async def _interrupt(self, request: Request) -> Response:
        prompt_id = (await request.json())["prompt_id"]
        self.interrupted.append(prompt_id)
        self._running[prompt_id].cancel()
        return Response()


def _entry(outputs: dict[str, Any], status: str, messages: list[Any]) -> dict[str, Any]:
    told = {"status_str": status, "completed": status == "success", "messages": messages}
    return {"prompt": [], "outputs": outputs, "status": told}


@contextmanager
def comfyui() -> Iterator[ComfyUIServer]:
    server = ComfyUIServer()
    config = uvicorn.Config(server.app, host="127.0.0.1", port=0, log_level="error", ws="wsproto", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            threading.Event().wait(0.01)
        server.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
        yield server
    finally:
        running.should_exit = True
        thread.join()
