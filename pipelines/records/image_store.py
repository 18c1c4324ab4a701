"""The images of a run: each distinct render once, under a key that hashes all that decides its pixels.

A file under its final name is always whole. So a render may be repeated after a crash, and the second write changes
nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictor.data.folders import sync_folder, write_atomically


def image_key(identity: Mapping[str, Any], prompt: str, seed: int) -> str:
    """The key of one render; `identity` is `Renderer.identity()`."""
    key_parts = json.dumps([dict(identity), prompt, seed], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(key_parts.encode()).hexdigest()[:32]


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
            The disk is full or broken, or the run's folder is gone; nothing is left under the final name.
        """
        path = self.path(key)
        if not path.parent.is_dir():
            for folder in (self._folder, path.parent):  # not the run's own: one that was deleted stays so
                folder.mkdir(exist_ok=True)
            sync_folder(self._folder)
            sync_folder(self._folder.parent)
        write_atomically(path, png)
