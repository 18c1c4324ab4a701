"""A file of weights beside a pipeline's own, a LoRA or a denoiser in GGUF: on this machine, or on the hub at a commit.

Invariant: a file is identified by its content, never by its path.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from actors.renderers.diffusers.weights.hub import commit_and_size, download_file
from actors.renderers.diffusers.weights.pipeline_source import digest_of

_ON_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>[^@]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights; `repository` and `commit` are None for one on this machine.

    Example:

        WeightsFile("watercolour.safetensors", 76_000_000, "someone/loras", "c0ffee...")
    """

    file: str
    nbytes: int
    repository: str | None = None
    commit: str | None = None

    @property
    def reference(self) -> str:
        """By which `find_weights_file` finds the same content again."""
        return self.file if self.repository is None else f"{self.repository}/{self.file}@{self.commit}"

    @cached_property
    def fingerprint(self) -> str:
        """The reference with the commit on the hub, or a digest of the file."""
        return digest_of(Path(self.file))[:32] if self.repository is None else self.reference

    def path(self) -> Path:
        """The file, downloaded if it is on the hub."""
        return Path(self.file) if self.repository is None else download_file(self.repository, self.file, self.commit)


def find_weights_file(reference: str, suffix: str) -> WeightsFile:
    """The file that a setting names: a path, or `owner/name/file` on the hub, with `@revision` or without.

    Nothing is downloaded.

    Raises
    ------
    ValueError
        There is no such file, the hub has none or is out of reach, or the file is of another kind.
    """
    path = Path(reference).expanduser()
    on_hub = _ON_HUB.fullmatch(reference)
    if (path.suffix if path.is_file() or on_hub is None else Path(on_hub["file"]).suffix) != suffix:
        raise ValueError(f"{reference}: must be a {suffix} file; other kinds are not read")
    if path.is_file():
        return WeightsFile(str(path), path.stat().st_size)
    if on_hub is None or reference.startswith("."):
        raise ValueError(f"{reference}: no such file; give a path, or a file on the hub (owner/name/file{suffix})")
    commit, nbytes = commit_and_size(on_hub["repository"], on_hub["file"], on_hub["revision"])
    return WeightsFile(on_hub["file"], nbytes, on_hub["repository"], commit)
