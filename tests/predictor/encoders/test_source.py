import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants
from PIL import Image

from predictor.encoders.siglip import SiglipImages
from predictor.encoders.source import find_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {
    "acme/gated": (403, "GatedRepo"),
    "acme/missing": (404, "RepoNotFound"),
    "acme/present": (404, "RevisionNotFound"),
    "acme/broken": (500, ""),
}


class Hub(BaseHTTPRequestHandler):
    """A hub that refuses everything, each repository for a reason of its own."""

    def do_GET(self) -> None:
        status, code = next(refusal for name, refusal in REFUSALS.items() if name in self.path)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, siglip: Path) -> Path:
    """The hub's cache with one repository in it, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--acme--tiny-siglip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(siglip, repository / "snapshots" / COMMIT))


@pytest.mark.parametrize(
    "name, message",
    [
        ("acme/gated", "acme/gated: gated; accept its licence on https://huggingface.co/acme/gated, then log in by"),
        ("acme/missing", "acme/missing: neither a folder nor on the hub; if it is private, `hf auth login` first"),
        ("acme/present@v9", "acme/present: the hub has no revision 'v9'; see https://huggingface.co/acme/present/"),
        (
            "acme/broken",
            "acme/broken: neither a folder nor in the hub's cache, and the hub is out of reach; give the folder of a",
        ),
    ],
)
def test_a_repository_that_cannot_be_had_is_an_error_of_one_line(hub: None, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        find_source(name)
    assert "\n" not in str(error.value)


def test_what_is_not_in_the_cache_is_an_error_without_a_connection(cached: Path) -> None:
    with pytest.raises(
        ValueError, match="acme/other: neither a folder nor in the hub's cache, and the hub is out of reach"
    ):
        find_source("acme/other")


def test_a_cached_repository_is_known_by_its_commit_and_encodes_without_a_connection(cached: Path) -> None:
    encoder = SiglipImages(find_source("acme/tiny-siglip"))
    assert encoder.name == f"acme/tiny-siglip@{COMMIT}"
    assert encoder.fingerprint == "siglip-images-acme-tiny-siglip-0123456789ab-float32-v1"
    assert encoder.encode([Image.new("RGB", (9, 5))]).shape == (1, 32)
    assert find_source(f"acme/tiny-siglip@{COMMIT}").identity == encoder.source.identity


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "a b/c", "~nobody/x", "../up"])
def test_a_folder_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(name)}: no such folder; give the folder of a checkpoint"):
        find_source(name)


def test_a_folder_without_settings_or_weights_is_no_encoders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not the folder of an encoder: it has no config.json"):
        find_source(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match="no weights as safetensors"):
        find_source(str(tmp_path))


def test_a_module_whose_weights_are_a_pickle_is_refused(embedding_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedding_model, tmp_path / "dense"))
    (folder / "3_Dense").mkdir()
    (folder / "3_Dense" / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match="no weights as safetensors, the only kind that is read"):
        find_source(str(folder))


def test_settings_that_are_not_json_are_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"config.json: not JSON: .*; fetch the checkpoint again"):
        _ = find_source(str(tmp_path)).config


def test_a_folder_is_known_by_its_content_and_not_by_its_place(siglip: Path, tmp_path: Path) -> None:
    first = find_source(str(siglip)).identity
    moved = Path(shutil.copytree(siglip, tmp_path / "moved"))
    assert find_source(str(moved)).identity == first
    for harmless in ("README.md", ".cache/download.json", "onnx/config.json", "metrics.parquet"):
        (moved / harmless).parent.mkdir(exist_ok=True)
        (moved / harmless).write_text("harmless")
    assert find_source(str(moved)).identity == first


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"])
def test_any_file_that_decides_a_vector_changes_the_identity(siglip: Path, tmp_path: Path, file: str) -> None:
    changed = Path(shutil.copytree(siglip, tmp_path / "changed"))
    content = bytearray((changed / file).read_bytes())
    content[-1:] = bytes([content[-1] ^ 1])
    (changed / file).write_bytes(content)
    assert find_source(str(changed)).identity != find_source(str(siglip)).identity


def test_an_identity_can_be_the_name_of_a_folder(siglip: Path, cached: Path) -> None:
    long = find_source("acme/tiny-siglip")
    long = type(long)(long.name, long.folder, f"{'o' * 60}/{'..n_ame' * 20}", COMMIT)
    for source in (find_source(str(siglip)), long):
        fingerprint = SiglipImages(source).fingerprint
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}", fingerprint)
