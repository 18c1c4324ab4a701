"""The images of a run: each distinct render once, under a key that hashes all that decides its pixels.

A file under its final name is always whole: it is written beside, forced to the disk, then renamed. So a
render may be repeated after a crash, and the second write changes nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def image_key(identity: Mapping[str, Any], prompt: str, seed: int) -> str:
    """The key of one render; `identity` is `Renderer.identity()`."""
    decisive = json.dumps([dict(identity), prompt, seed], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(decisive.encode()).hexdigest()[:32]


class ImageStore:
    """The folder images/ of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "images"

    def path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.png"

    def read(self, key: str) -> bytes | None:
        """The PNG, or None where it was never rendered."""
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, key: str, png: bytes) -> None:
        """Keep a PNG; returns once it would survive a power failure.

        Raises
        ------
        OSError
            The disk is full or broken; nothing is left under the final name.
        """
        path = self.path(key)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self._folder)
            sync_folder(self._folder.parent)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, after a rename in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
