"""Where a diffusers pipeline's files come from: a folder, or a repository on the hub at one commit.

Invariants: sources are identified by content, never by path. A missing folder, a gated or missing repository, and a hub
that is out of reach are errors of one line, raised before any weights are read. Weights are read from safetensors only,
so that nothing is unpickled.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_INDEX = "model_index.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Suffixes of files that decide pixels: configs, weights, vocabularies, chat templates."""
_VARIANT = re.compile(r"\.(?:fp16|bf16|fp8|non_ema|ema)(?=[.-])")
"""In file names of variants of the weights, which are not read."""
_OFFLINE = "give the folder of a copy, or try again with a connection"
_BYTES_BY_DTYPE = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class PipelineSource:
    """A pipeline of which at least the index is on this machine; `commit` is None for a user's own folder.

    Example:

        PipelineSource("black-forest-labs/FLUX.2-dev", folder, commit="0cdb...")
    """

    name: str
    folder: Path
    commit: str | None = None

    @cached_property
    def index(self) -> Mapping[str, Any]:
        """`model_index.json`: the class of the pipeline and of each of its components."""
        path = self.folder / _INDEX
        try:
            index = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}; fetch the pipeline again") from error
        if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
            raise ValueError(f"{self.name}: not a pipeline of diffusers itself; one with code of its own is not run")
        return index

    @property
    def class_name(self) -> str:
        return self.index["_class_name"]

    @property
    def components(self) -> frozenset[str]:
        """Names of the components that the pipeline has: transformer, vae, text_encoder, …"""
        return frozenset(
            name
            for name, value in self.index.items()
            if not name.startswith("_") and isinstance(value, list) and value[0] is not None
        )

    def class_of(self, component: str) -> str | None:
        """The class of a component; None where the pipeline has none of this name."""
        return self.index[component][1] if component in self.components else None

    @cached_property
    def fingerprint(self) -> str:
        """The id and commit on the hub, or a digest of all files that decide pixels."""
        if self.commit is not None:
            return f"{self.name}@{self.commit}"
        paths = [self.folder / _INDEX]
        for component in self.components:
            paths += [path for path in (self.folder / component).rglob("*") if _is_read(path)]
        paths.sort(key=lambda path: path.relative_to(self.folder).as_posix())
        digest = hashlib.sha256()
        # Up to 100 GB of weights, hashed in parallel: hashlib releases the GIL.
        with ThreadPoolExecutor() as threads:
            for path, content in zip(paths, threads.map(_digest, paths), strict=True):
                digest.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return digest.hexdigest()[:32]

    def complete(self, components: Collection[str]) -> Path:
        """The folder with all files of these components, downloaded if they are on the hub.

        Raises
        ------
        ValueError
            They cannot be downloaded, or a component has no weights as safetensors.
        """
        folder = self.folder
        if self.commit is not None:
            patterns = [f"{component}/*{suffix}" for component in sorted(components) for suffix in _SUFFIXES]
            folder = _download(self.name, self.commit, patterns)
        for component in sorted(components):
            files = [path.suffix for path in (folder / component).glob("*")]
            if ".bin" in files and ".safetensors" not in files:
                raise ValueError(f"{self.name}: {component} has no weights as safetensors, the only kind that is read")
        return folder


def find_pipeline(model: str, revision: str | None) -> PipelineSource:
    """The source of a local folder or of a hub id, of which only the index is downloaded.

    A commit in the hub's local cache is found even if the hub is out of reach.

    Raises
    ------
    ValueError
        There is no such folder or repository, it may not be downloaded, or it is not a pipeline.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / _INDEX).is_file():
            raise ValueError(f"{model}: not the folder of a diffusers pipeline: it has no {_INDEX}")
        source = PipelineSource(model, folder)
    elif _HUB_ID.fullmatch(model) is None or model.startswith("."):
        raise ValueError(f"{model}: no such folder; give the folder of a pipeline, or its hub id (owner/name)")
    else:
        found = _download_index(model, revision)
        source = PipelineSource(model, found, found.name)
    _ = source.index
    return source


def weight_bytes(folder: Path, components: Collection[str], bytes_each: int | None) -> dict[str, int]:
    """Bytes that each component's weights take in memory, from the headers of its safetensors files.

    Parameters
    ----------
    bytes_each : int or None
        Size of a floating-point number after loading; None: as it is stored.
    """
    sizes = {}
    for component in sorted(components):
        files = [path for path in (folder / component).glob("*.safetensors") if _is_read(path)]
        if files:
            sizes[component] = sum(_weights(path, bytes_each) for path in files)
    return sizes


def _weights(path: Path, bytes_each: int | None) -> int:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            stored = _BYTES_BY_DTYPE.get(tensor["dtype"])
            floating = stored is not None and "F" in tensor["dtype"]
            total += (end - begin) // stored * bytes_each if floating and stored and bytes_each else end - begin
    return total


def _is_read(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not _VARIANT.search(path.name) and not path.name.startswith(".")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download_index(repository: str, revision: str | None) -> Path:
    """The snapshot folder in the hub's cache; its name is the commit."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # no warning for each retry: the error below says what came of them
    with _one_line_errors(repository, revision):
        return Path(hf_hub_download(repository, _INDEX, revision=revision)).parent


def _download(repository: str, commit: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    ignored = ["*.fp16.*", "*.bf16.*", "*.fp8.*", "*.non_ema.*", "*.ema.*"]
    with _one_line_errors(repository, commit):
        return Path(snapshot_download(repository, revision=commit, allow_patterns=patterns, ignore_patterns=ignored))


@contextmanager
def _one_line_errors(repository: str, revision: str | None) -> Iterator[None]:
    """Turn the hub client's errors into one line with the remedy."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{repository}"
    try:
        yield
    except GatedRepoError as error:
        raise ValueError(
            f"{repository}: gated; accept its licence on {page}, then log in by `hf auth login` (or set HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"{repository}: neither a folder nor on the hub; if it is private, `hf auth login` first"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{repository}: the hub has no revision {revision!r}; see {page}/commits") from error
    except RemoteEntryNotFoundError as error:
        raise ValueError(f"{repository}: not a diffusers pipeline: the repository has no {_INDEX}") from error
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{repository}: not in the hub's cache, and the hub is out of reach; {_OFFLINE}") from error
    except Exception as error:  # the hub's client raises a dozen more kinds, all of which mean: out of reach
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{repository}: the hub is out of reach ({reason}); {_OFFLINE}") from error
