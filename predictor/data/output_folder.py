"""The folder that a command writes to: one process at a time, and no trace of it where nothing came of it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Make the folder, and keep other processes from writing to it; a killed one leaves it free.

    Folders that were made for it and stay empty are removed in the end.

    Raises
    ------
    ValueError
        It cannot be made or written to, or another process is at it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(out)
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written to: {error.strerror}; name another folder") from error
    try:
        yield out
    finally:
        (out / _LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def holds_something(folder: Path) -> bool:
    """Whether anything is in a folder, or it is none; hidden files are scratch that a killed process left."""
    if not folder.is_dir():
        return folder.exists()
    return any(not path.name.startswith(".") for path in folder.iterdir())


def _locked(out: Path) -> int:
    """An open, locked file in the folder. One that its owner removed meanwhile does not count."""
    while True:
        descriptor = os.open(out / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (out / _LOCK).stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise ValueError(
                f"--out {out}: another steer-predictor is writing to it; wait for it, or name another folder"
            ) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)
