"""The folder that a `steer-predictor` command writes to, and that of a file which any command writes at its end.

One process at a time writes to a folder, and where nothing came of the command no trace of it stays.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from predictor.data.folders import FolderLock, FolderLockedError


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Make the folder and hold its lock while the block runs.

    Folders that were made for it and are still empty at the end are removed.

    Raises
    ------
    ValueError
        The folder cannot be made or written to, or another process writes to it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(out)
    except FolderLockedError as error:
        raise ValueError(
            f"--out {out}: another steer-predictor is writing to it; wait for it, or name another folder"
        ) from error
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written to: {error.strerror}; name another folder") from error
    try:
        yield out
    finally:
        lock.release(remove=True)
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def prepare_output_file(path: Path, *, option: str) -> None:
    """Make the folder of a file that is to be written later, so that no work is lost when it is.

    Raises
    ------
    ValueError
        The file is a folder, or its folder cannot be made; `option` is what the user named it by.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option} {path}: cannot be written: {error.strerror}; name another place") from error


def holds_something(folder: Path) -> bool:
    """Whether there is a file at this path, or a folder with anything but hidden files: a killed process's scratch."""
    if not folder.is_dir():
        return folder.exists()
    return any(not path.name.startswith(".") for path in folder.iterdir())
