"""A study's folders: one server at a time, and new ones that appear whole or not at all.

Words the errors of `predictor.data.folders` for whoever runs a study.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictor.data.folders import FolderLock, FolderLockedError, FolderTakenError, new_folder


@contextmanager
def server_lock(folder: Path) -> Iterator[None]:
    """Keep other servers from this study while the block runs; one that was killed leaves it free.

    What is handed out to whom is decided in one process.

    Raises
    ------
    ValueError
        Another process serves this study, or the folder cannot be written to.
    """
    try:
        lock = FolderLock(folder, ".server.lock")
    except FolderLockedError:
        raise ValueError(f"{folder}: is served already; stop that server first, or copy the study") from None
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written to: {error.strerror}; votes need a folder that can") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_output_folder(out: Path, *, option: str = "--out") -> Iterator[Path]:
    """Give a scratch folder to fill, which becomes `out` when the block ends well, and is removed when not.

    Raises
    ------
    ValueError
        There is something at `out` already, or nothing can be written there; `option` is what the user named it by.
    """
    entered = False
    try:
        with new_folder(out) as scratch:
            entered = True
            yield scratch
    except FolderTakenError as error:
        raise ValueError(
            f"{option} {out}: is there already, and may hold people's answers; name another folder"
        ) from error
    except OSError as error:
        remedy = "mend that, and try again" if entered else "name another folder"
        raise ValueError(f"{option} {out}: cannot be written: {error.strerror or error}; {remedy}") from error
