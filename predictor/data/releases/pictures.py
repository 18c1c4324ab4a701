"""The image files of a release: which of them can be read to the end, and their place in the dataset."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from predictor.data.image_files import read_image
from predictor.data.releases.release import Reason

T = TypeVar("T")
R = TypeVar("R")

WORKERS = min(8, os.cpu_count() or 1)

Fault = tuple[Reason, str]


def side_by_side(work: Callable[[T], R], items: Iterable[T], progress: Callable[[int, int], None]) -> list[R]:
    """Do the work on all items in a few threads, results in order: decoding and disks leave Python's lock free."""
    items, results = list(items), []
    pool = ThreadPoolExecutor(WORKERS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd, but readable images
            for result in pool.map(work, items):
                results.append(result)
                progress(len(results), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def fault(root: Path, file: str) -> Fault | None:
    """Why a file of the source cannot be an image of the dataset; None where it is decoded to its last row.

    What training can read, and nothing else, is an image: one function decides for both.
    """
    path = inside(root, file)
    if isinstance(path, Reason):
        return path, file
    try:
        read_image(path)
    except ValueError as error:
        return Reason.IMAGE_CORRUPT, str(error).replace(str(path), file, 1)
    return None


def inside(root: Path, file: str) -> Path | Reason:
    """The file with its links followed. It has to stay in the source; only a folder right in it may be a link away."""
    parts = PurePosixPath(file).parts
    if not parts or PurePosixPath(file).is_absolute() or ".." in parts:
        return Reason.PATH_OUTSIDE
    try:
        if not (root / file).is_file():
            return Reason.IMAGE_MISSING
        path = (root / file).resolve(strict=True)
    except (OSError, ValueError):  # a name that no file can have
        return Reason.IMAGE_MISSING
    bounds = [root.resolve(), *([(root / parts[0]).resolve()] if len(parts) > 1 else [])]
    return path if any(path.is_relative_to(bound) for bound in bounds) else Reason.PATH_OUTSIDE


def stored_as(files: Iterable[str]) -> dict[str, str]:
    """Where each file of the source goes in the dataset: in images/, under the name that it has."""
    stored: dict[str, str] = {}
    taken: set[str] = set()
    for file in dict.fromkeys(files):
        path = PurePosixPath(file)
        within = path.relative_to(path.parts[0]) if path.parts[0] in ("images", "imgs") else path
        target = str("images" / within)
        if target in taken:
            target = f"images/{len(stored)}-{path.name}"
        taken.add(target)
        stored[file] = target
    return stored


def store(path: Path, target: Path) -> bool:
    """Put a file into the dataset, by a hard link where the file system can; whether it was one, and no copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another disk, or no hard links there
        shutil.copyfile(path, target)
        return False
    return True
