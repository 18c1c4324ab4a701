"""Features of frozen encoders, kept by content: the same pixels or the same text are encoded once.

One LMDB environment for each encoder: memory-mapped, safe when a process is killed in the middle,
and open to several processes at once, so that scorers on one machine share it.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image

from predictor.data.image_files import as_shown, file_bytes, read_image
from predictor.error_messages import first_line
from predictor.threads import one_thread, thread_map

_MAP_SIZE = 32 * 2**30
"""An upper limit of the address space, not of the disk: the file grows with what it holds."""

_ENVIRONMENTS: WeakValueDictionary[Path, lmdb.Environment] = WeakValueDictionary()
"""By folder: LMDB opens one only once in a process, and two predictors may use the same encoder."""
_OPENING = threading.Lock()

_COMMIT_S = 2.0
"""A commit costs milliseconds, a vector of a large encoder seconds: this is how much work a killed process loses."""

_DECODERS = min(4, os.cpu_count() or 1)
"""Threads that decode files while another encodes. More would hold more pictures in memory, and win nothing."""

_MOST_IN_MEMORY = 64 * 2**20
"""Bytes; a larger array of vectors is mapped from a file, so that it need not fit into memory."""

_FILES = b"file 2 "
"""Before the digest of a file's bytes; raise the number when `read_image` would make other pixels of them."""

Item = TypeVar("Item", contravariant=True)
Thing = TypeVar("Thing")

RowProgress = Callable[[int, int], None]
"""Called with how many rows are done, and of how many."""


class Encoder(Protocol[Item]):
    """A frozen encoder. `fingerprint` changes whenever the same input would give another vector, by more than 1e-6:
    as much lies between two kinds of CPU."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, items: Sequence[Item], /) -> NDArray[np.float32]: ...


def cache_folder() -> Path:
    """Where features and self-made checkpoints are kept: $PAMELA_CACHE, else the user's cache folder."""
    return Path(os.environ.get("PAMELA_CACHE") or platformdirs.user_cache_dir("pamela-steer"))


def image_content(image: Image.Image) -> bytes:
    """A digest of the pixels as they are shown; the same for the same picture in another lossless file."""
    rgb = as_shown(image)
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).digest()


def file_content(data: bytes) -> bytes:
    """A digest of the bytes of an image file."""
    return _FILES + hashlib.sha256(data).digest()


def text_content(text: str) -> bytes:
    """A digest of the text."""
    return hashlib.sha256(text.encode()).digest()


class FeatureCache:
    """Content digest -> vector, for one encoder, on disk.

    A killed process loses nothing; a power failure may lose the newest commit, and its vectors are computed
    again. The folder has to be on a local disk: LMDB does not work over a network file system.

    Raises
    ------
    OSError, ValueError
        The folder cannot be made, or what is in it cannot be opened.
    """

    def __init__(self, fingerprint: str, folder: Path | None = None) -> None:
        path = (folder or cache_folder()) / "features" / fingerprint
        path.mkdir(parents=True, exist_ok=True)
        self._folder = path
        self._environment = _opened(path.resolve())

    def get(self, digest: bytes, dimensions: int | None = None) -> NDArray[np.float32] | None:
        """The vector, as a copy, or None; an entry that is not of `dimensions` numbers, where given, is none."""
        with self._environment.begin(buffers=True) as transaction:
            found = transaction.get(digest)
            if found is None or (dimensions is not None and len(found) != 4 * dimensions):
                return None
            return np.frombuffer(found, np.float32).copy()

    def put(self, entries: Iterable[tuple[bytes, NDArray[np.float32]]]) -> None:
        """Keep vectors; what is there already stays, unless it is of another length, and so no vector of this encoder.

        A full disk, or a quota that is used up, costs speed, never the result.
        """
        with suppress(lmdb.Error), self._environment.begin(write=True) as transaction:
            for digest, vector in entries:
                kept = transaction.get(digest)
                if kept is None or len(kept) != 4 * vector.size:
                    transaction.put(digest, np.ascontiguousarray(vector, np.float32).tobytes())

    def empty(self, rows: int, dimensions: int) -> NDArray[np.float32]:
        """An array (rows, dimensions) to be filled with vectors.

        A large one is mapped from a file on the cache's disk, which has no name and is gone with the array, however the
        process ends.

        Raises
        ------
        OSError
            The disk has no room for it.
        """
        size = 4 * rows * dimensions
        if size <= _MOST_IN_MEMORY:
            return np.empty((rows, dimensions), np.float32)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a write to a mapped page that has no room ends the process
            return np.asarray(np.memmap(file, np.float32, "r+", shape=(rows, dimensions)))

    def close(self) -> None:
        """Let go of the folder; who else has it open keeps it."""
        self._environment.sync()
        del self._environment


def _opened(path: Path) -> lmdb.Environment:
    with _OPENING:
        environment = _ENVIRONMENTS.get(path)
        if environment is None:
            try:
                environment = lmdb.open(str(path), map_size=_MAP_SIZE, metasync=False, max_readers=1024)
                environment.reader_check()  # frees the places of readers that were killed
            except lmdb.Error as error:
                raise ValueError(
                    f"{path}: the feature cache cannot be opened ({first_line(error).rpartition(': ')[2]}); "
                    "remove this folder, or name another cache by PAMELA_CACHE"
                ) from error
            _ENVIRONMENTS[path] = environment
        return environment


def encode_cached(
    encoder: Encoder[Item],
    items: Sequence[Item],
    content: Callable[[Item], bytes],
    cache: FeatureCache,
    *,
    commit_every: int = 64,
    progress: RowProgress = lambda done, total: None,
) -> NDArray[np.float32]:
    """Encode what the cache does not hold, each content once, committing as it goes.

    Returns
    -------
    Shape (len(items), encoder.dimensions), float32.
    """
    rows = _Rows(encoder, len(items), cache, commit_every, progress)
    with rows.committing():
        for row, item in enumerate(items):
            if not rows.known(row, key := content(item)):
                rows.settle(row, (key,), rows.encode(item))
    return rows.vectors


def encode_files(
    encoder: Encoder[Image.Image],
    paths: Sequence[Path],
    cache: FeatureCache,
    *,
    threads: int = 1,
    commit_every: int = 64,
    progress: RowProgress = lambda done, total: None,
) -> NDArray[np.float32]:
    """Encode image files, known by their bytes: a second pass neither decodes nor encodes.

    A vector is kept under the file's bytes and under its pixels as well, so that the same picture is not
    encoded again when it comes as another file, or from memory. The next files are decoded meanwhile; no more than
    `2 * max(threads, _DECODERS)` pictures are in memory at once.

    Parameters
    ----------
    threads
        How many images are encoded at once, each on a thread of its own. More than one need PyTorch's operators to
        keep to their thread, which they do meanwhile.

    Returns
    -------
    Shape (len(paths), encoder.dimensions), float32.

    Raises
    ------
    ValueError
        A file cannot be read as an image.
    """
    rows = _Rows(encoder, len(paths), cache, commit_every, progress)

    def vector_of(image: Image.Image, of_pixels: bytes) -> NDArray[np.float32]:
        found = cache.get(of_pixels, encoder.dimensions)
        return rows.encode(image) if found is None else found

    def read(path: Path) -> tuple[bytes, bytes, Image.Image | NDArray[np.float32] | None]:
        """The file's key, its picture's key, and the picture or its vector; None where the file is known already."""
        data = file_bytes(path)
        of_file = file_content(data)
        if cache.get(of_file, encoder.dimensions) is not None:
            return of_file, b"", None
        image = read_image(path, data)
        of_pixels = image_content(image)
        return of_file, of_pixels, vector_of(image, of_pixels) if threads > 1 else image

    with one_thread() if threads > 1 else nullcontext(), rows.committing():
        for row, (of_file, of_pixels, found) in enumerate(thread_map(read, paths, threads=max(threads, _DECODERS))):
            if rows.known(row, of_file):
                continue
            assert found is not None  # what the cache holds, it keeps
            vector = vector_of(found, of_pixels) if isinstance(found, Image.Image) else found
            rows.settle(row, (of_file, of_pixels), vector)
    return rows.vectors


@dataclass
class _Rows(Generic[Thing]):
    """The vectors of one call, filled row by row from the cache or the encoder.

    Items are encoded one at a time, on a GPU too: beside others a vector would be rounded otherwise.

    Committed at the latest after `commit_every` vectors or `_COMMIT_S`, and when an error or Ctrl-C ends
    it: that much is lost when the process is killed, and no more.
    """

    encoder: Encoder[Thing]
    total: int
    cache: FeatureCache
    commit_every: int
    progress: RowProgress

    def __post_init__(self) -> None:
        self.vectors = self.cache.empty(self.total, self.encoder.dimensions)
        self._first: dict[bytes, int] = {}
        self._fresh: list[tuple[bytes, NDArray[np.float32]]] = []
        self._done = 0
        self._committed = monotonic()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Fill the rows inside; at its end everything is committed, come what may."""
        try:
            yield
        finally:
            self._commit()

    def known(self, row: int, key: bytes) -> bool:
        """Whether the row is settled without its item: the key came before in this call, or is in the cache."""
        if key in self._first:
            self.settle(row, (), self.vectors[self._first[key]])
            return True
        self._first[key] = row
        found = self.cache.get(key, self.encoder.dimensions)
        if found is not None:
            self.settle(row, (), found)
        return found is not None

    def encode(self, item: Thing) -> NDArray[np.float32]:
        """The vector of an item."""
        (vector,) = self.encoder.encode([item])
        if not np.isfinite(vector).all():
            raise ValueError(f"{self.encoder.name}: gave a vector that is not finite; take another encoder")
        return vector

    def settle(self, row: int, keys: tuple[bytes, ...], vector: NDArray[np.float32]) -> None:
        """Give the row its vector, to be committed under the keys."""
        self.vectors[row] = vector
        self._fresh += [(key, vector) for key in keys]
        if len(self._fresh) >= self.commit_every or monotonic() - self._committed > _COMMIT_S:
            self._commit()
        self._done += 1
        self.progress(self._done, self.total)

    def _commit(self) -> None:
        if self._fresh:
            self.cache.put(self._fresh)
            self._fresh.clear()
        self._committed = monotonic()
