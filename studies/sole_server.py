"""One server at a study: what is handed out to whom is decided in one process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".server.lock"


@contextmanager
def sole_server(folder: Path) -> Iterator[None]:
    """Keep other servers from this study while the block runs; one that was killed leaves it free.

    Raises
    ------
    ValueError
        Another process serves this study, or the folder cannot be written to.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written to: {error.strerror}; votes need a folder that can") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(f"{folder}: is served already; stop that server first, or copy the study") from None
    try:
        yield
    finally:
        os.close(descriptor)
