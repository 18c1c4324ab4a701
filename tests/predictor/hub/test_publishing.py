"""Checkpoints on a hub of this machine: what is pushed to it, and what comes back."""

import base64
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from predictor.checkpoint import FILES
from predictor.encoders.encoding import EncoderNames, Encoders
from predictor.hub.publishing import publishable, push
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Rating
from tests.checkpoints import tiny_siglip2

COMMIT = "c0ffee" + "0" * 34
ID = "me/my-predictor"


class Hub(BaseHTTPRequestHandler):
    """One repository, as the hub's client writes and reads it."""

    files: dict[str, bytes]
    branches: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/api/repos/create":
            self.answer({"url": f"{constants.ENDPOINT}/{ID}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            regular = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": file["path"], **regular} for file in json.loads(body)["files"]]})
        elif "/branch/" in self.path:
            self.branches.append(self.path.rpartition("/")[2])
            self.answer({})
        else:
            assert f"/api/models/{ID}/commit/" in self.path
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{constants.ENDPOINT}/{ID}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in self.files.items()])
            return
        if self.path.startswith(f"/api/models/{ID}"):
            there = [{"rfilename": name} for name in self.files]
            self.answer({"id": ID, "sha": COMMIT, "siblings": there, "private": False, "downloads": 0, "tags": []})
            return
        content = self.files[self.path.rpartition("/")[2]]
        etag = hashlib.sha256(content).hexdigest()
        self.send_response(200)
        for name, value in {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    class Own(Hub):
        files: dict[str, bytes] = {}  # noqa: RUF012
        branches: list[str] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/{{revision}}/{{filename}}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield Own
    server.shutdown()
    server.server_close()


@pytest.fixture
def with_ada(predictor: PamelaPredictor, pictures: list[Image.Image], tmp_path: Path) -> Path:
    """A checkpoint with an enrolled person."""
    images = predictor.encode(pictures)
    predictor.enroll("ada-lovelace", images, [Rating(image=row, rating=row / 5) for row in range(6)]).save_pretrained(
        tmp_path / "with_ada"
    )
    return tmp_path / "with_ada"


def test_what_is_pushed_comes_back_byte_for_byte_and_names_nobody(
    hub: type[Hub], with_ada: Path, predictor: PamelaPredictor, pictures: list[Image.Image], tmp_path: Path
) -> None:
    address = push(with_ada, ID)

    assert address == f"{constants.ENDPOINT}/{ID}/commit/{COMMIT}"
    assert set(hub.files) == set(FILES)
    (tmp_path / "made").mkdir()
    expected = publishable(with_ada, tmp_path / "made", people=False)
    assert {name: (expected / name).read_bytes() for name in FILES} == hub.files
    for name in set(FILES) - {"model.safetensors"}:  # whose numbers may spell anything
        assert not any(user.encode() in hub.files[name] for user in ("ada-lovelace", *predictor.user_ids)), name
    loaded = PamelaPredictor.from_pretrained(f"{ID}@{COMMIT}")
    assert loaded.user_ids == []
    assert len(loaded.model.users.weight) == 0
    np.testing.assert_allclose(loaded.score(pictures), predictor.score(pictures))


def test_new_people_are_met_by_a_checkpoint_without_people_as_by_the_whole(
    hub: type[Hub], with_ada: Path, pictures: list[Image.Image]
) -> None:
    push(with_ada, ID, revision="v2")

    loaded, whole = PamelaPredictor.from_pretrained(ID), PamelaPredictor.from_pretrained(with_ada)
    said = [Rating(image=row, rating=1 - row / 5) for row in range(6)]
    one, other = (p.enroll("bob", p.encode(pictures), said).score(pictures, "bob") for p in (loaded, whole))
    np.testing.assert_allclose(one, other)
    assert hub.branches == ["v2"]


def test_people_go_along_only_where_it_is_asked_for(hub: type[Hub], with_ada: Path, tmp_path: Path) -> None:
    push(with_ada, ID, people=True)

    for name in set(FILES) - {"README.md"}:
        assert hub.files[name] == (with_ada / name).read_bytes()
    assert "7 people are in this checkpoint" in hub.files["README.md"].decode()
    assert pq.ParquetFile(with_ada / "users.parquet").read()["user_id"].to_pylist()[-1] == "ada-lovelace"


def test_a_hub_that_is_out_of_reach_is_one_line(with_ada: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the hub does not take it") as error:
        push(with_ada, ID)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="must be a hub id, owner/name"):
        push(with_ada, "nowhere")


def test_an_encoder_of_the_hub_is_pinned_with_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--acme--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    tiny_siglip2(repository / "snapshots" / COMMIT)

    names = Encoders(EncoderNames(image="acme/tiny", text="acme/tiny")).names

    assert names["image_encoder"] == names["text_encoder"] == f"acme/tiny@{COMMIT}"


def test_warnings_that_name_people_stay_here(with_ada: Path, tmp_path: Path) -> None:
    metrics = json.loads((with_ada / "metrics.json").read_text("utf-8"))
    metrics["warnings"] = ["1 of 6 users had no training rating and are left out: u03"]
    (with_ada / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    (tmp_path / "made").mkdir()

    made = publishable(with_ada, tmp_path / "made", people=False)

    del metrics["warnings"]
    assert json.loads((made / "metrics.json").read_text("utf-8")) == metrics
