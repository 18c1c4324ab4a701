"""One run's folder: what the run was started with (run.json), where its files are, and the lock of its only writer.

Only one process writes to it, and run.json is readable at every moment. What the other files hold is left to the
modules beside.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from pipelines.records.image_store import ImageStore
from pipelines.settings.settings import differences
from predictor.data.folders import FolderLock, FolderLockedError, write_atomically

_SCRATCH = frozenset({".lock", ".run.json.tmp", "truth.parquet"})
"""What a process that was killed before it wrote run.json may leave: no run yet."""


class FolderError(ValueError):
    """A folder that cannot be a run's: in use, not empty, not writable, or not a run."""


class RunFolder:
    """A run folder that this process holds."""

    def __init__(self, path: Path, about: dict[str, Any], lock: FolderLock) -> None:
        self.path = path
        self.about = about
        self.images = ImageStore(path)
        self._lock = lock
        self._turn = RLock()

    @classmethod
    def create(cls, path: Path, about: dict[str, Any], truth: Path | None = None) -> "RunFolder":
        """Take an empty or new folder for a new run; `truth` is copied there before run.json says that it is one.

        Raises
        ------
        FolderError
            The folder holds something, or cannot be made.
        """
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path, about, _acquire(path))
            try:
                if truth is not None:
                    shutil.copyfile(truth, folder.truth)
                folder.save()
            except OSError:
                folder._lock.release(remove=True)
                raise
        except OSError as error:
            raise FolderError(f"--out {path}: cannot be written: {error.strerror}; name another folder") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Take the folder of a run that was started before.

        Raises
        ------
        FolderError
            It is not a run's folder, or another process is at it.
        """
        read_about(path)  # a folder that holds no run gets no lock file
        lock = _acquire(path)
        try:
            return cls(path, read_about(path), lock)  # as whoever had it before has left it
        except BaseException:
            lock.release()
            raise

    def save(self) -> None:
        """Write run.json as `about` stands; from any thread."""
        with self._turn:
            write_atomically(self.path / "run.json", json.dumps(self.about, indent=2, ensure_ascii=False) + "\n")

    def record_metadata(self, prompt_id: str, metadata: Mapping[str, str]) -> None:
        """Record the metadata found zero-shot in a base prompt's image, before anything is scored by them.

        From any thread, for several prompts at once.
        """
        with self._turn:
            self.about.setdefault("zero_shot", {})[prompt_id] = dict(metadata)
            self.save()

    def check_same(self, key: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the run was started with.

        Raises
        ------
        FolderError
            Something that decides the records differs; the message says what.
        """
        changed = differences(self.about["reproducibility_key"], key)
        if changed:
            raise FolderError(
                f"--resume {self.path}: other settings than the run was started with: {'; '.join(changed)}; "
                "leave them out or start a new run with another --out"
            )

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def truth(self) -> Path:
        """The true taste of simulated raters, where the run has any."""
        return self.path / "truth.parquet"

    def release(self) -> None:
        """Let others have the folder."""
        self._lock.release()


def folder_by_date() -> Path:
    """Where a run goes that nobody has named a folder for."""
    return Path("runs") / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")


def check_free(path: Path) -> None:
    """Refuse a folder that cannot take a new run.

    Raises
    ------
    FolderError
        It is a file, holds something, or cannot be written to.
    """
    if path.exists() and not path.is_dir():
        raise FolderError(f"--out {path}: is a file; name a folder")
    if path.exists() and any(entry.name not in _SCRATCH for entry in path.iterdir()):
        what = "holds another run; continue it with --resume, or" if is_run(path) else "is not empty;"
        raise FolderError(f"--out {path}: {what} name another folder")
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    try:
        tempfile.TemporaryDirectory(prefix=".steer-", dir=nearest).cleanup()
    except OSError as error:
        raise FolderError(f"--out {path}: cannot be written: {error.strerror}; name another folder") from error


def is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def read_about(path: Path) -> dict[str, Any]:
    """What run.json says.

    Raises
    ------
    FolderError
        There is no run in this folder, or its run.json does not read.
    """
    if not is_run(path):
        raise FolderError(f"--resume: {path} holds no run (run.json is missing); leave out --resume to start one there")
    try:
        about = json.loads((path / "run.json").read_text("utf-8"))
        outdated = isinstance(about, dict) and "decisive" in about
        _ = outdated or (about["reproducibility_key"], about["settings"], about["users"], about["prompts"])
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{path / 'run.json'}: does not read as a run's description: {error!r}") from error
    if outdated:
        raise FolderError(
            f"--resume {path}: an earlier version of steer-batch started this run; "
            "resume it with that version, or start a new run with another --out"
        )
    return about


def _acquire(path: Path) -> FolderLock:
    try:
        return FolderLock(path)
    except FolderLockedError:
        raise FolderError(f"{path}: another steer-batch is at this run; wait for it or name another --out") from None
    except OSError as error:
        raise FolderError(f"{path}: cannot be written: {error.strerror}; mend its rights") from error


def timestamp() -> str:
    """Now, in UTC, to the second, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
