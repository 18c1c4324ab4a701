"""A hub that takes one data set, on loopback, as the hub's own client asks it."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.actors.proposers.chat.service import Asked, Scripted, Service, serve


@contextmanager
def serve_dataset_hub(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[tuple[Service, dict[str, bytes]]]:
    """What was asked, and the files that were pushed to the data set of this name."""
    pushed: dict[str, bytes] = {}

    def answer(asked: Asked, number: int) -> Scripted:
        address = f"http://{asked.headers['host']}/datasets/{name}"
        match asked.path.split("/"):
            case [*_, "repos", "create"]:
                return Scripted(body={"url": address})
            case [*_, "preupload", "main"]:
                modes = {"uploadMode": "regular", "shouldIgnore": False}
                return Scripted(body={"files": [{"path": file["path"], **modes} for file in asked.body["files"]]})
            case [*_, "commit", "main"]:
                files = [line["value"] for line in asked.lines if line["key"] == "file"]
                pushed.update({file["path"]: base64.b64decode(file["content"]) for file in files})
                return Scripted(body={"commitUrl": f"{address}/commit/1", "commitOid": "1", "hookOutput": ""})
            case _:
                return Scripted(body={"id": name, "sha": "1", "warnings": [], "errors": []})

    with serve(answer, files=True) as served:
        point_to(served, monkeypatch)
        yield served, pushed


def point_to(served: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client reads its endpoint when it is imported, which other tests have done."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url.removesuffix("/v1"))
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", served.url.removesuffix("/v1"))
    monkeypatch.setenv("HF_TOKEN", "hf_a_token_of_this_test")
