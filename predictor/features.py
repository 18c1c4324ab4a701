"""Features of frozen encoders, kept by content: the same pixels or the same text are encoded once.

One LMDB environment for each encoder: memory-mapped, safe when a process is killed in the middle,
and open to several processes at once, so that scorers on one machine share it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image

_MAP_SIZE = 32 * 2**30
"""An upper limit of the address space, not of the disk: the file grows with what it holds."""

_ENVIRONMENTS: WeakValueDictionary[Path, lmdb.Environment] = WeakValueDictionary()
"""By folder: LMDB opens one only once in a process, and two predictors may use the same encoder."""

Item = TypeVar("Item", contravariant=True)


class Encoder(Protocol[Item]):
    """A frozen encoder. `fingerprint` changes whenever the same input would give another vector."""

    name: str
    dimensions: int

    @property
    def fingerprint(self) -> str: ...

    def encode(self, items: Sequence[Item], /) -> NDArray[np.float32]: ...


def cache_folder() -> Path:
    """Where features and self-made checkpoints are kept: $PAMELA_CACHE, else the user's cache folder."""
    return Path(os.environ.get("PAMELA_CACHE") or platformdirs.user_cache_dir("pamela-steer"))


def image_content(image: Image.Image) -> bytes:
    """A digest of the pixels; the same for the same picture in another lossless file."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).digest()


def text_content(text: str) -> bytes:
    """A digest of the text."""
    return hashlib.sha256(text.encode()).digest()


class FeatureCache:
    """Content digest -> vector, for one encoder, on disk.

    A killed process loses nothing; a power failure may lose the newest commit, and its vectors are computed
    again. The folder has to be on a local disk: LMDB does not work over a network file system.
    """

    def __init__(self, fingerprint: str, folder: Path | None = None) -> None:
        path = (folder or cache_folder()) / "features" / fingerprint
        path.mkdir(parents=True, exist_ok=True)
        self._environment = _opened(path.resolve())

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The vector, as a copy, or None."""
        with self._environment.begin(buffers=True) as transaction:
            found = transaction.get(digest)
            return None if found is None else np.frombuffer(found, np.float32).copy()

    def put(self, entries: Iterable[tuple[bytes, NDArray[np.float32]]]) -> None:
        """Keep vectors; what is there already stays. A full disk costs speed, never the result."""
        with suppress(lmdb.DiskError, lmdb.MapFullError), self._environment.begin(write=True) as transaction:
            for digest, vector in entries:
                transaction.put(digest, np.ascontiguousarray(vector, np.float32).tobytes(), overwrite=False)

    def close(self) -> None:
        """Let go of the folder; who else has it open keeps it."""
        self._environment.sync()
        del self._environment


def _opened(path: Path) -> lmdb.Environment:
    environment = _ENVIRONMENTS.get(path)
    if environment is None:
        environment = lmdb.open(str(path), map_size=_MAP_SIZE, metasync=False, max_readers=1024)
        environment.reader_check()  # frees the places of readers that were killed
        _ENVIRONMENTS[path] = environment
    return environment


def encode_cached(
    encoder: Encoder[Item],
    items: Sequence[Item],
    content: Callable[[Item], bytes],
    cache: FeatureCache,
    *,
    commit_every: int = 64,
) -> NDArray[np.float32]:
    """Encode what the cache does not hold, committing as it goes; shape (len(items), encoder.dimensions)."""
    vectors = np.empty((len(items), encoder.dimensions), np.float32)
    fresh: list[tuple[bytes, NDArray[np.float32]]] = []
    for row, item in enumerate(items):
        digest = content(item)
        found = cache.get(digest)
        if found is None:
            found = encoder.encode([item])[0]
            fresh.append((digest, found))
        vectors[row] = found
        if len(fresh) >= commit_every:
            cache.put(fresh)
            fresh.clear()
    if fresh:
        cache.put(fresh)
    return vectors
