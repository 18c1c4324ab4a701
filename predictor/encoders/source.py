"""Sources of encoders: a local folder, or a repository on the hub at one commit.

Invariants: every `Source` has an identity, which depends on its content and not on its place; and weights are only read
from safetensors, so that nothing is unpickled. A missing folder, a gated or missing repository, or an unreachable hub
is an error of one line, before any weights are read.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from predictor.error_messages import first_line, hub_errors

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SETTINGS = ("*config*.json", "modules.json")
_SUFFIXES = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja", ".py"})
"""Of files that vectors depend on: settings, weights, vocabularies, chat templates, the checkpoint's own code."""
_OTHER_RUNTIMES = frozenset({"onnx", "openvino"})


@dataclass(frozen=True)
class Source:
    """A checkpoint's folder with at least its settings; `repository` and `commit` are None for a local folder."""

    name: str
    folder: Path
    repository: str | None = None
    commit: str | None = None

    def json(self, file: str) -> Any:
        """A settings file, or None where there is none.

        Raises
        ------
        ValueError
            It is not JSON.
        """
        path = self.folder / file
        try:
            return json.loads(path.read_text("utf-8")) if path.is_file() else None
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {first_line(error)}; fetch the checkpoint again") from error

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`; empty where there is none, as in static embedding models."""
        return self.json("config.json") or {}

    @property
    def dtype(self) -> str:
        """bfloat16 if the weights were saved so, as those of billions of parameters are; else float32.

        It depends on the checkpoint and not on the device: a predictor trained on a GPU then scores on a CPU, with the
        same vectors up to rounding.
        """
        saved = self.config.get("dtype") or self.config.get("torch_dtype")
        return "bfloat16" if saved == "bfloat16" else "float32"

    @cached_property
    def identity(self) -> str:
        """A short name of the content: id and commit on the hub, or a digest of the files."""
        if self.repository is not None and self.commit is not None:
            return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.repository)[:50].strip('-.')}-{self.commit[:12]}"
        digest = hashlib.sha256()
        for path in self._identity_files():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return digest.hexdigest()[:16]

    def complete(self) -> Path:
        """The folder with all files, also the weights, which are downloaded if it is on the hub."""
        if self.repository is None:
            return self.folder
        patterns = [f"*{suffix}" for suffix in sorted(_SUFFIXES)]
        folder = _download(self.repository, self.commit, patterns)
        _check_weights(self.name, folder)
        return folder

    def _identity_files(self) -> list[Path]:
        """The files that vectors depend on, sorted by path."""
        found = []
        for path in self.folder.rglob("*"):
            folders = path.relative_to(self.folder).parts[:-1]
            foreign = any(part.startswith(".") or part in _OTHER_RUNTIMES for part in folders)
            if path.suffix in _SUFFIXES and not path.name.startswith(".") and not foreign and path.is_file():
                found.append(path)
        return sorted(found, key=lambda path: path.relative_to(self.folder).as_posix())


def find_source(name: str) -> Source:
    """The source of a local folder or of a hub id (`owner/name`, or `owner/name@revision`).

    Only settings are downloaded. If the hub cannot be reached, a commit in its local cache is used.

    Raises
    ------
    ValueError
        There is no such folder, or the repository cannot be downloaded.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("config.json", "modules.json")):
            raise ValueError(f"{name}: not the folder of an encoder: it has no config.json")
        _check_weights(name, folder)
        return Source(str(folder.resolve()), folder.resolve())  # found again from wherever the predictor is loaded
    hub_id = _HUB_ID.fullmatch(name)
    if hub_id is None or name.startswith((".", "~", "/")):
        raise ValueError(f"{name}: no such folder; give the folder of a checkpoint, or its hub id (owner/name)")
    folder = _download(hub_id["repository"], hub_id["revision"], list(_SETTINGS))
    repository, commit = hub_id["repository"], folder.name
    return Source(f"{repository}@{commit}", folder, repository, commit)  # found again as it is now


def _check_weights(name: str, folder: Path) -> None:
    pickled = [path for path in folder.rglob("pytorch_model.bin") if not any(path.parent.glob("*.safetensors"))]
    if pickled or not any(folder.rglob("*.safetensors")):
        raise ValueError(
            f"{name}: no weights as safetensors, the only kind that is read; convert them, or take another"
        )


def _download(repository: str, revision: str | None, patterns: list[str]) -> Path:
    """The snapshot folder in the hub's cache; its name is the commit."""
    from huggingface_hub import snapshot_download

    with hub_errors(repository, revision, "such files"):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
