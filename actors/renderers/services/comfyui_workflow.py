"""A ComfyUI workflow in the API format, and the nodes in it that say what is drawn.

A node is marked by its title, which ComfyUI's editor lets one change:

    prompt   its texts become the prompt: inputs text, prompt, value, string, or the only text that it has
    seed     its seed: inputs seed, noise_seed, value
    size     its inputs width and height
    image    the node whose image is taken; without one, the only node that saves an image

Invariant: an image depends on the workflow, prompt, seed and size alone; titles and places on the canvas are no part of
the workflow.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.renderers.services.setting_file import read_setting_file

_TEXTS = ("text", "prompt", "text_g", "text_l", "clip_l", "t5xxl", "value", "string")
_SEEDS = ("seed", "noise_seed", "value")
_MARKS = ("prompt", "seed", "size")


class Workflow:
    """A workflow whose marked nodes are known.

    Parameters
    ----------
    nodes : mapping
        By id, as ComfyUI exports them: class_type, inputs, and the title in _meta.

    Raises
    ------
    ValueError
        It is in another format, a mark is missing, or a marked node lacks the input for it.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        if isinstance(nodes.get("nodes"), list):
            raise ValueError("is in the editor's format; export it again by File > Export (API)")
        if not nodes or not all(map(_is_node, nodes.values())):
            raise ValueError("is no ComfyUI workflow in API format: nodes by id, each with class_type and inputs")
        self._nodes = {
            name: {"class_type": n["class_type"], "inputs": n.get("inputs", {})} for name, n in nodes.items()
        }
        marked = {mark: _titled(nodes, mark) for mark in _MARKS}
        if missing := [mark for mark, there in marked.items() if not there]:
            raise ValueError(
                f"has no node titled {missing[0]!r}; title the node that takes the {missing[0]} so in ComfyUI's editor"
            )
        self._prompts = [(node, name) for node in marked["prompt"] for name in self._texts(node)]
        self._seeds = [(node, self._only(node, _SEEDS, "seed")) for node in marked["seed"]]
        self._sizes = marked["size"]
        for node in self._sizes:
            self._only(node, ("width",), "size")
            self._only(node, ("height",), "size")
        self._image = next(iter(_titled(nodes, "image")), None)

    @property
    def digest(self) -> str:
        """Of all that decides the images, beside prompt, seed and size."""
        blank = self.filled(prompt="", seed=0, width=0, height=0)
        return hashlib.sha256(json.dumps([blank, self._image], sort_keys=True).encode()).hexdigest()

    def filled(self, *, prompt: str, seed: int, width: int, height: int) -> dict[str, Any]:
        """The nodes with prompt, seed and size in their places."""
        nodes = copy.deepcopy(self._nodes)
        for node, name in self._prompts:
            nodes[node]["inputs"][name] = prompt
        for node, name in self._seeds:
            nodes[node]["inputs"][name] = seed
        for node in self._sizes:
            nodes[node]["inputs"] |= {"width": width, "height": height}
        return nodes

    def image_among(self, outputs: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The file that the workflow has made, of the outputs by node; None where it has made none.

        Raises
        ------
        ValueError
            Several nodes have made one, and none is titled "image".
        """
        made = {node: output["images"][0] for node, output in outputs.items() if output.get("images")}
        if self._image is not None:
            return made.get(self._image)
        saved = {node: file for node, file in made.items() if file.get("type") != "temp"} or made
        if len(saved) > 1:
            raise ValueError(f"nodes {', '.join(sorted(saved))} all make an image; title the one to take 'image'")
        return next(iter(saved.values()), None)

    def title_of(self, node: str) -> str:
        """A node in words."""
        return f"{self._nodes[node]['class_type']} {node}" if node in self._nodes else f"node {node}"

    def _texts(self, node: str) -> list[str]:
        literals = self._literals(node, lambda value: isinstance(value, str))
        known = [name for name in _TEXTS if name in literals]
        if not known and len(literals) != 1:
            raise ValueError(
                f"node {node}, titled 'prompt', has no text to replace; its own are: {', '.join(literals) or 'none'}"
            )
        return known or literals

    def _only(self, node: str, names: tuple[str, ...], mark: str) -> str:
        literals = self._literals(node, lambda value: isinstance(value, int | float))
        found = next((name for name in names if name in literals), None)
        if found is None:
            raise ValueError(f"node {node}, titled {mark!r}, has no number {' or '.join(names)} to replace")
        return found

    def _literals(self, node: str, fits: Callable[[Any], bool]) -> list[str]:
        """Inputs with a value of their own; others are links to nodes."""
        return [name for name, value in self._nodes[node]["inputs"].items() if fits(value)]


def read_workflow(file: Path) -> dict[str, Any]:
    """The nodes of a workflow's file, which `Workflow` accepts on any machine.

    Raises
    ------
    ValueError
        The file is missing, no JSON, or no workflow that can be used; the message says what to change.
    """
    return read_setting_file(
        file,
        setting="renderer.workflow",
        parse=json.loads,
        check=lambda nodes: Workflow(nodes if isinstance(nodes, dict) else {}),
    )


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "class_type" in value and isinstance(value.get("inputs", {}), dict)


def _titled(nodes: Mapping[str, Any], mark: str) -> list[str]:
    def title(node: Any) -> str:
        return str((node.get("_meta") or {}).get("title", "")).strip().lower() if isinstance(node, dict) else ""

    return [name for name, node in nodes.items() if title(node) == mark]
