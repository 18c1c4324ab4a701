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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.renderers.diffusers.weights.hub import check_available, download_file, download_folder, safetensors_headers

_INDEX = "model_index.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Suffixes of files that decide pixels: configs, weights, vocabularies, chat templates."""
_VARIANT = re.compile(r"\.(?:fp16|bf16|fp8|non_ema|ema)(?=[.-])")
"""In file names of variants of the weights, which are not read."""


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

    @property
    def denoiser(self) -> str:
        """The name of the component that denoises."""
        return "transformer" if "transformer" in self.components else "unet"

    def class_of(self, component: str) -> str | None:
        """The class of a component; None where the pipeline has none of this name."""
        return self.index[component][1] if component in self.components else None

    def library_of(self, component: str) -> str:
        """The library that loads a component: diffusers, transformers, …"""
        return self.index[component][0]

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
            for path, content in zip(paths, threads.map(digest_of, paths), strict=True):
                digest.update(f"{path.relative_to(self.folder).as_posix()} {content}\n".encode())
        return digest.hexdigest()[:32]

    def complete(self, components: Collection[str], *, without_weights: Collection[str] = ()) -> Path:
        """The folder with all files of these components, downloaded if they are on the hub.

        Parameters
        ----------
        without_weights
            Components of which only the configuration is wanted.

        Raises
        ------
        ValueError
            They cannot be downloaded, or a component has no weights as safetensors.
        """
        folder = self.folder
        if self.commit is not None:
            patterns = [f"{component}/config.json" for component in without_weights]
            for component in sorted({*components} - {*without_weights}):
                patterns += [f"{component}/*{suffix}" for suffix in _SUFFIXES]
            folder = download_folder(self.name, self.commit, patterns)
        for component in sorted(components):
            files = [path.suffix for path in (folder / component).glob("*")]
            if ".bin" in files and ".safetensors" not in files:
                raise ValueError(f"{self.name}: {component} has no weights as safetensors, the only kind that is read")
        return folder

    def headers(self, component: str) -> Iterator[Mapping[str, Any]]:
        """The headers of a component's safetensors files: by tensor its dtype, shape and data_offsets.

        Weights that are on the hub only are not downloaded for it.
        """
        files = sorted((self.folder / component).glob("*.safetensors"))
        if files or self.commit is None:
            yield from (read_header(path) for path in files if _is_read(path))
            return
        for name, header in safetensors_headers(self.name, self.commit, component):
            if _is_read(Path(name)):
                yield header


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
        found = download_file(model, _INDEX, revision).parent
        source = PipelineSource(model, found, found.name)
    _ = source.index
    return source


def check_reachable(model: str, revision: str | None) -> None:
    """See, at once, that a pipeline is here or on a hub that answers.

    Raises
    ------
    ValueError
        It is neither; the message says what was found.
    """
    if not Path(model).expanduser().is_dir() and _HUB_ID.fullmatch(model):
        check_available(model, _INDEX, revision)


def read_header(path: Path) -> Mapping[str, Any]:
    """The header of a safetensors file, without its metadata.

    Raises
    ------
    ValueError
        The file is cut off, or no safetensors file.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(size, path.stat().st_size)))
        except ValueError as error:
            raise ValueError(f"{path}: is cut off, or no safetensors file; fetch it again") from error
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_read(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not _VARIANT.search(path.name) and not path.name.startswith(".")
