"""A renderer on a ComfyUI server, which runs a workflow of one's own.

    /ws?clientId=   opened first, so that nothing of what follows is missed
    POST /prompt    the workflow with prompt, seed and size  -> prompt_id
    /ws             executing, progress, execution_success or execution_error, of this prompt_id
    GET /history    the files that the workflow has made; asked too where the socket falls silent or breaks
    GET /view       the file

Invariant: a call ends within its time. What it has begun and cannot wait for is taken out of the server's queue, or
interrupted there where it runs already: the GPU works for nobody who has left.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import wsproto.events
from httpx2.websockets import AsyncWebSocketSession, HTTPXWSException

from actors.messages import RefusedError, Rendering, RenderRequest
from actors.renderers.services.comfyui_workflow import Workflow
from actors.renderers.services.service_images import fitted
from actors.renderers.services.service_renderer import ServiceRenderer, check_access
from actors.service_client import ServiceClient, ServiceError, UnusableAnswerError

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change of this file that changes pixels."""
_MOST_BYTES = 64 * 2**20
"""Of a message; previews come by the socket too, and are passed over."""
_SILENT_S = 5.0
"""After so long without a message the history is asked."""
_WRITTEN_S = 0.2
"""The history has an image so long after the socket says that it is made, or a little later."""
_CANCEL_S = 5.0


class WorkflowError(RuntimeError):
    """A node of the workflow raised an error."""


class ComfyUI(ServiceRenderer):
    """Has one image at a time drawn by a workflow.

    Parameters
    ----------
    base_url : str
        Of the server, such as http://127.0.0.1:8188.
    workflow : mapping
        Nodes by id; see `actors.renderers.services.comfyui_workflow`.
    api_key_env : str or None
        Environment variable that holds the key; None for a server that wants none.
    width, height : int
        Asked of the workflow; an image of another size is cropped and scaled.
    give_up_s : float
        A call ends after so long.
    """

    def __init__(
        self,
        base_url: str,
        workflow: Mapping[str, Any],
        api_key_env: str | None = None,
        width: int = 1024,
        height: int = 1024,
        give_up_s: float = 270,
    ) -> None:
        self._base_url = base_url
        self._workflow = Workflow(workflow)
        self._api_key_env = api_key_env
        self._size = (width, height)
        self._give_up_s = give_up_s

    def identity(self) -> Mapping[str, Any]:
        return {
            "renderer": "comfyui",
            "version": VERSION,
            "deterministic": True,
            "workflow": self._workflow.digest,
            "width": self._size[0],
            "height": self._size[1],
        }

    def setup(self) -> None:
        """See that a ComfyUI answers.

        Raises
        ------
        RefusedError
            Nobody listens at the address, or the key is not accepted.
        """

        asyncio.run(check_access(self._client(), "system_stats"))

    def render(self, request: RenderRequest) -> Rendering:
        """One image.

        Raises
        ------
        RefusedError
            The server does not accept the workflow, or it makes no image.
        WorkflowError
            A node failed.
        ServiceError
            No image came in time, or somebody interrupted it.
        """
        width, height = self._size
        nodes = self._workflow.filled(prompt=request.prompt, seed=request.seed, width=width, height=height)
        deadline = time.monotonic() + self._give_up_s
        return asyncio.run(_render(self._client(), self._workflow, nodes, size=self._size, deadline=deadline))

    def _client(self) -> ServiceClient:
        return ServiceClient(
            self._base_url,
            self._api_key_env,
            timeout_s=self._give_up_s,
            timeout_remedy="raise renderer.timeout_s, or start more servers",
            retries=0,  # an attempt is a render; the pool asks again
        )


async def _render(
    client: ServiceClient,
    workflow: Workflow,
    nodes: Mapping[str, Any],
    *,
    size: tuple[int, int],
    deadline: float,
) -> Rendering:
    async with client:
        file = await _Execution(client, workflow, deadline).of(nodes)
        place = urlencode({name: file.get(name, "") for name in ("filename", "subfolder", "type")})
        return await client.get(f"view?{place}", lambda content: _rendering(content, size), deadline=deadline)


class _Execution:
    """One run of the workflow on the server."""

    def __init__(self, client: ServiceClient, workflow: Workflow, deadline: float) -> None:
        self._client = client
        self._workflow = workflow
        self._deadline = deadline
        self._prompt_id: str | None = None
        self._began = False
        self._progress = "it waits in the server's queue"

    async def of(self, nodes: Mapping[str, Any]) -> Mapping[str, str]:
        """The file that the workflow makes of the nodes."""
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                outputs = await self._outputs(nodes)
        except (TimeoutError, asyncio.CancelledError) as error:
            await self._cancel()
            if isinstance(error, TimeoutError):
                raise ServiceError(f"no image in time: {self._progress}; raise renderer.timeout_s") from error
            raise
        try:
            file = self._workflow.image_among(outputs)
        except ValueError as error:
            raise RefusedError(f"the workflow: {error}") from error
        if file is None:
            raise RefusedError("the workflow made no image; it needs a node that saves one, such as Save Image")
        return file

    async def _outputs(self, nodes: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the nodes have made, by node."""
        client_id = uuid.uuid4().hex
        found: Mapping[str, Any] | None = None
        problem: Exception | None = None
        try:
            async with self._client.socket(f"ws?clientId={client_id}", most_bytes=_MOST_BYTES) as socket:
                try:  # the socket would wrap what is raised within it
                    asked = {"prompt": nodes, "client_id": client_id}
                    self._prompt_id = await self._client.post("prompt", asked, _prompt_id, deadline=self._deadline)
                    found = await self._followed(socket)
                except Exception as error:  # noqa: BLE001 - raised again below
                    problem = error
        except HTTPXWSException as error:
            problem = problem or ServiceError(f"the socket to ComfyUI cannot be opened: {error}; ask again")
        if problem is not None:
            raise problem
        assert found is not None
        return found

    async def _followed(self, socket: AsyncWebSocketSession) -> Mapping[str, Any]:
        """Wait for the end by the socket's messages, and by the history where there are none."""
        connected, ended = True, False
        while True:
            message: Mapping[str, Any] = {}
            patience_s = _WRITTEN_S if ended else _SILENT_S
            try:
                message = await (_next(socket, patience_s) if connected else asyncio.sleep(patience_s, {}))
            except HTTPXWSException:  # the connection is lost, and the server may go on
                connected = False
            except TimeoutError:
                pass
            if message and not self._ends(message):
                continue
            ended = ended or bool(message)
            if (outputs := await self._history()) is not None:
                return outputs
            if not connected:
                await self._check_queued()

    def _ends(self, message: Mapping[str, Any]) -> bool:
        """Whether a message says that the workflow has ended, or may have.

        Raises
        ------
        WorkflowError, ServiceError
            It has ended without an image.
        """
        kind, data = message.get("type"), message.get("data") or {}
        if data.get("prompt_id", self._prompt_id) != self._prompt_id:
            return False
        match kind:
            case "execution_start":
                self._began = True
                self._progress = "it has begun"
            case "executing" if data.get("node") is not None:
                self._began = True
                self._progress = f"it is at {self._workflow.title_of(str(data['node']))}"
            case "progress":
                self._progress = f"step {data.get('value')} of {data.get('max')} of {self._at(data)}"
                logger.debug("ComfyUI: %s", self._progress)
            case "execution_error":
                _raise_of_node(data)
            case "execution_interrupted":
                raise ServiceError("somebody interrupted the workflow on the ComfyUI server; ask again")
        return kind in ("execution_success", "executing") and data.get("node") is None

    def _at(self, data: Mapping[str, Any]) -> str:
        return self._workflow.title_of(str(data.get("node", "")))

    async def _history(self) -> Mapping[str, Any] | None:
        """What the workflow has made, once it has ended; None before."""
        history = await self._client.get(f"history/{self._prompt_id}", deadline=self._deadline)
        if not isinstance(entry := (history or {}).get(self._prompt_id), dict):
            return None
        status = entry.get("status") or {}
        if status.get("status_str") == "error":
            for kind, data in status.get("messages") or ():
                if kind in ("execution_error", "execution_interrupted"):
                    self._ends({"type": kind, "data": data})
            raise WorkflowError("the workflow failed on the ComfyUI server, whose log says why")
        return entry.get("outputs") or {}

    async def _check_queued(self) -> None:
        """
        Raises
        ------
        ServiceError
            The server has neither made nor queued it: it was started anew.
        """
        queue = await self._client.get("queue", deadline=self._deadline)
        if str(self._prompt_id) not in json.dumps(queue) and await self._history() is None:
            raise ServiceError("the ComfyUI server has lost what it was asked for; ask again")

    async def _cancel(self) -> None:
        """Take it out of the queue, or interrupt it: nobody waits for it any more."""
        if self._prompt_id is None:
            return
        calls: list[tuple[str, Mapping[str, Any]]] = [("queue", {"delete": [self._prompt_id]})]
        if self._began:  # servers of earlier versions interrupt whatever runs
            calls.append(("interrupt", {"prompt_id": self._prompt_id}))
        until = time.monotonic() + _CANCEL_S
        for path, body in calls:
            try:
                await self._client.tell(path, body, deadline=until)
            except (ServiceError, RefusedError) as error:
                logger.warning("ComfyUI goes on with what nobody waits for: %s", error)


async def _next(socket: AsyncWebSocketSession, patience_s: float) -> Mapping[str, Any]:
    """The next message in JSON; images that come by the socket are passed over."""
    while True:
        event = await socket.receive(timeout=patience_s)
        if isinstance(event, wsproto.events.TextMessage):
            try:
                message = json.loads(event.data)
            except ValueError:
                continue
            if isinstance(message, dict):
                return message


def _prompt_id(answer: Any) -> str:
    if not isinstance(answer, dict) or "prompt_id" not in answer:
        raise UnusableAnswerError("ComfyUI accepted the workflow without a prompt_id")
    return str(answer["prompt_id"])


def _raise_of_node(data: Mapping[str, Any]) -> None:
    said = " ".join(f"{data.get('exception_type', '')}: {data.get('exception_message', '')}".split())[:300]
    where = f"{data.get('node_type', 'node')} {data.get('node_id', '')}".strip()
    if "out of memory" in said.lower() or "outofmemory" in said.lower():
        raise ServiceError(f"the ComfyUI server ran out of memory at {where} ({said}); ask again")
    raise WorkflowError(f"{where} failed on the ComfyUI server ({said})")


def _rendering(content: Any, size: tuple[int, int]) -> Rendering:
    if not isinstance(content, bytes):
        raise UnusableAnswerError("ComfyUI's file is no image")
    return fitted(content, size=size)
