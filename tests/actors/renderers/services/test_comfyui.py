"""ComfyUI's protocol against a server that speaks it."""

import copy
import inspect
import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actors.messages import DisturbedError, RefusedError, Rendering, RenderRequest
from actors.renderers.services.comfyui import ComfyUI, WorkflowError
from actors.renderers.services.comfyui_workflow import Workflow, read_workflow
from actors.renderers.services.image_api import ImageApi
from tests.actors.renderers.services.comfyui_server import WORKFLOW, ComfyUIServer, comfyui, drawn


@pytest.fixture(scope="module")
def server() -> Iterator[ComfyUIServer]:
    with comfyui() as served:
        yield served


def draw(
    server: ComfyUIServer, prompt: str, *, workflow: dict[str, Any] = WORKFLOW, give_up_s: float = 30
) -> Rendering:
    renderer = ComfyUI(server.url, workflow, width=64, height=48, give_up_s=give_up_s)
    return renderer.render(RenderRequest(prompt=prompt, seed=7))


def pixels(png: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size, image.convert("RGB").tobytes()


def test_the_workflow_draws_the_prompt_with_its_seed_at_the_size_that_is_set(server: ComfyUIServer) -> None:
    rendering = draw(server, "a cat")
    nodes = server.prompts[-1]["prompt"]
    assert nodes["6"]["inputs"]["text"] == "a cat"
    assert nodes["3"]["inputs"] | {"seed": 7} == nodes["3"]["inputs"]
    assert (nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) == (64, 48)
    assert pixels(rendering.png) == pixels(drawn(nodes))
    assert rendering.warning is None
    assert pixels(draw(server, "a cat").png) == pixels(rendering.png)
    assert {"execution_start", "progress", "execution_success"} <= set(server.sent)


@pytest.mark.parametrize("prompt", ["a silent cat", "a cat that hangs up"])
def test_a_socket_that_is_silent_or_breaks_loses_no_image(prompt: str, server: ComfyUIServer) -> None:
    assert pixels(draw(server, prompt).png)[0] == (64, 48)
    assert server.interrupted == []


def test_an_image_of_another_size_is_scaled_with_a_warning(server: ComfyUIServer) -> None:
    rendering = draw(server, "a small cat")
    assert pixels(rendering.png)[0] == (64, 48)
    assert rendering.warning is not None
    assert rendering.warning.startswith(
        "the service draws 32 x 24 pixels where 64 x 48 are wanted; its images are scaled"
    )


def test_a_node_that_fails_is_named_in_its_own_words(server: ComfyUIServer) -> None:
    with pytest.raises(WorkflowError, match=r"KSampler 3 failed on the ComfyUI server \(ValueError: odd size\)"):
        draw(server, "a cat that fails")


def test_memory_that_is_lacking_is_of_the_moment(server: ComfyUIServer) -> None:
    with pytest.raises(DisturbedError, match="ran out of memory at KSampler 3"):
        draw(server, "a cat of memory")


def test_a_workflow_that_saves_nothing_or_is_not_accepted_is_a_refusal(server: ComfyUIServer) -> None:
    with pytest.raises(RefusedError, match="made no image; it needs a node that saves one"):
        draw(server, "nothing")
    other = copy.deepcopy(WORKFLOW)
    other["4"]["inputs"]["ckpt_name"] = "other.safetensors"
    with pytest.raises(RefusedError, match="400 Prompt outputs failed validation"):
        draw(server, "a cat", workflow=other)


def test_a_call_ends_within_its_time_and_what_it_began_is_interrupted(server: ComfyUIServer) -> None:
    began = time.monotonic()
    with pytest.raises(DisturbedError, match=r"no image in time: step [12] of 4 of KSampler 3; raise"):
        draw(server, "a slow cat", give_up_s=1.5)
    assert time.monotonic() - began < 4
    assert len(server.interrupted) == 1
    assert server.deleted[-1:] == server.interrupted
    server.interrupted.clear()


@pytest.mark.parametrize("renderer", [ComfyUI, ImageApi])
def test_a_renderer_has_no_coroutine_methods_which_would_make_ray_run_its_calls_in_a_loop(renderer: type) -> None:
    assert not [name for name, member in vars(renderer).items() if inspect.iscoroutinefunction(member)]


def test_nobody_listening_is_refused_at_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RefusedError, match=r"system_stats: cannot be reached: ConnectError"):
            ComfyUI(url, WORKFLOW).setup()


def test_the_identity_is_the_workflows_without_what_is_asked_of_it() -> None:
    def identity(change: Any = lambda nodes: None) -> object:
        nodes = copy.deepcopy(WORKFLOW)
        change(nodes)
        return ComfyUI("http://here", nodes).identity()

    same = identity()
    assert identity(lambda nodes: nodes["6"]["inputs"].update(text="a dog")) == same
    assert identity(lambda nodes: nodes["3"]["inputs"].update(seed=5)) == same
    assert identity(lambda nodes: nodes["9"].update(_meta={"title": "Save"})) == same
    assert identity(lambda nodes: nodes["3"]["inputs"].update(steps=5)) != same
    assert json.dumps(same)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"nodes": [], "links": []}, r"is in the editor's format; export it again by File > Export \(API\)"),
        ({}, "is no ComfyUI workflow in API format"),
        ({"3": {"class_type": "KSampler", "inputs": None}}, "is no ComfyUI workflow in API format"),
        ({name: node for name, node in WORKFLOW.items() if name != "3"}, "has no node titled 'seed'"),
        (
            {**WORKFLOW, "6": {"class_type": "Concat", "inputs": {"a": "x", "b": "y"}, "_meta": {"title": "prompt"}}},
            "node 6, titled 'prompt', has no text to replace; its own are: a, b",
        ),
        (
            {**WORKFLOW, "5": {"class_type": "Empty", "inputs": {"width": ["1", 0]}, "_meta": {"title": "size"}}},
            "node 5, titled 'size', has no number width to replace",
        ),
    ],
)
def test_a_workflow_that_cannot_be_used_says_what_to_change(nodes: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(nodes), "utf-8")
    with pytest.raises(ValueError, match=rf"^renderer.workflow .*workflow.json: {said}"):
        read_workflow(file)


def test_a_workflow_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW), "utf-8-sig")
    assert read_workflow(tmp_path / "workflow.json") == WORKFLOW


def test_of_several_images_the_titled_one_is_taken_or_the_only_one_that_is_saved() -> None:
    one, two = {"filename": "a.png", "type": "output"}, {"filename": "b.png", "type": "output"}
    temporary = {"filename": "c.png", "type": "temp"}
    plain = Workflow(WORKFLOW)
    assert plain.image_among({"9": {"images": [one]}, "12": {"images": [temporary]}}) == one
    with pytest.raises(ValueError, match="nodes 12, 9 all make an image; title the one to take 'image'"):
        plain.image_among({"9": {"images": [one]}, "12": {"images": [two]}})
    titled = Workflow({**WORKFLOW, "12": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": "Image"}}})
    assert titled.image_among({"9": {"images": [one]}, "12": {"images": [two]}}) == two
