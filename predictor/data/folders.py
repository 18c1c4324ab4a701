"""Folders and files that several processes share: locked, and replaced as a whole.

The one place where this project locks a folder, replaces a file, adds lines to one for good or publishes a folder. Four
invariants:

- one process at a time holds a `FolderLock`, and the operating system frees it however that process ends;
- a file written by `write_atomically` or `replacing` is, under its name, either the old one or the new one, whole,
  and once the call has returned the new one survives a power failure;
- a folder made by `new_folder` is under its name either whole or not there, after a power failure too;
- a line that `AppendOnlyLines.append` has returned from survives a power failure.

Errors are the operating system's (`OSError`), `FolderLockedError` or `FolderTakenError`: the callers, who know the
command, word them for people.
"""

import errno
import fcntl
import glob
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

StrPath = str | os.PathLike[str]
"""How those who call name a file or a folder."""

_RETRY_S = 0.5
"""Between two attempts to get a lock that is waited for."""


class FolderLockedError(Exception):
    """Another process, or another `FolderLock` of this one, holds the folder."""


class FolderTakenError(Exception):
    """A folder that is to be new is there already."""


class FolderLock:
    """An exclusive lock on a folder, held until `release` or the end of the process.

    It is a `flock` of a file in the folder, which is left there: an unlocked file means nothing.

    Parameters
    ----------
    folder
        An existing folder.
    name
        The lock file; locks by different names do not exclude each other.

    Raises
    ------
    FolderLockedError
        The lock is held elsewhere.
    OSError
        The lock file cannot be made.
    """

    def __init__(self, folder: Path, name: str = ".lock") -> None:
        self._file = folder / name
        self._descriptor = self._acquire()

    def release(self, *, remove: bool = False) -> None:
        """Let others have the folder; `remove` takes the lock file away as well."""
        if remove:
            self._file.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _acquire(self) -> int:
        """An open and locked descriptor of the file that is in the folder now: its last owner may have removed it."""
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), self._file.stat()):
                    return descriptor
            except BlockingIOError as error:
                os.close(descriptor)
                raise FolderLockedError(f"{self._file.parent}: is locked by another process") from error
            except FileNotFoundError:
                pass
            os.close(descriptor)


def names_of(named: StrPath | Sequence[StrPath], what: str = "folder") -> list[str]:
    """One name or several, as they were given.

    Raises
    ------
    ValueError
        There is none.
    """
    names = [os.fspath(name) for name in ([named] if isinstance(named, str | os.PathLike) else named)]
    if not names:
        raise ValueError(f"no {what} was named; name one at least")
    return names


def paths_of(named: StrPath | Sequence[StrPath]) -> list[Path]:
    """The paths of one folder's name or of several; errors as `names_of`."""
    return [Path(name) for name in names_of(named)]


@contextmanager
def waiting_for_lock(folder: Path, name: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock inside the block, once nobody else does; `on_wait` is called if that is not at once.

    The lock file is removed afterwards.

    Raises
    ------
    OSError
        The lock file cannot be made.
    """
    waited = False
    while True:
        try:
            lock = FolderLock(folder, name)
            break
        except FolderLockedError:
            if not waited:
                on_wait()
            waited = True
            time.sleep(_RETRY_S)
    try:
        yield
    finally:
        lock.release(remove=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a scratch file to write, which takes the place of `path` when the block ends well.

    The scratch file is hidden and lies beside `path`, always under the same name: one that a killed process left is
    written over. Two processes must not replace the same file at once.

    Raises
    ------
    OSError
        The disk is full or broken, or the folder is not there; `path` is then as it was.
    """
    scratch = path.with_name(f".{path.name}.tmp")
    try:
        yield scratch
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of what is there.

    Raises
    ------
    OSError
        As `replacing`.
    """
    with replacing(path) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


class AppendOnlyLines:
    """A file of lines that only grows; a line is on the disk before `append` returns. For several threads.

    A process that is killed while it writes leaves a torn last line, which was never confirmed: opening the file drops
    it for good.

    Raises
    ------
    OSError
        The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._turn = threading.Lock()
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            self._whole = sum(len(line) for line in file if line.endswith(b"\n"))
            """Bytes of whole lines."""
        self._file.truncate(self._whole)
        sync_folder(path.parent)

    def append(self, line: bytes) -> None:
        """Write a line, its newline included.

        Raises
        ------
        OSError
            The disk is full or broken; nothing of the line is then in the file.
        """
        with self._turn:
            try:
                rest = memoryview(line)
                while rest:  # a disk that is nearly full takes a part of it without an error
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                os.ftruncate(self._file.fileno(), self._whole)
                raise
            self._whole += len(line)

    def close(self) -> None:
        """After a line that is being written: a thread may outlive the task that waited for it."""
        with self._turn:
            self._file.close()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a scratch folder to fill, which becomes `path` when the block ends well, and is removed when not.

    Raises
    ------
    FolderTakenError
        There is something at `path`, other than an empty folder: already, or by the time that the block ends.
    OSError
        The scratch folder, or what is above it, cannot be made, or it cannot be renamed.
    """
    taken = FolderTakenError(f"{path}: is there already")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise taken
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True
    ) as private:  # of mode 0700, which the folder itself should not have
        scratch = Path(private) / path.name
        scratch.mkdir()
        yield scratch
        _sync_files(scratch)
        try:
            scratch.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # somebody else was faster
                raise taken from error
            raise
    sync_folder(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what is left of a folder that was not made to its end, or not copied whole, and its scratch folders.

    Only whoever holds a lock on the making of `path` may call it.
    """
    for left in (path, *path.parent.glob(f".{glob.escape(path.name)}.*/")):
        if left.is_dir():
            shutil.rmtree(left)


def _sync_files(folder: Path) -> None:
    """Force the files of a folder and of those in it to the disk, but for links to files that were there before."""
    for parent, _, names in os.walk(folder):
        for file in (Path(parent, name) for name in names):
            if not file.is_symlink() and file.stat().st_nlink == 1:
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk: what was made, renamed or removed in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
