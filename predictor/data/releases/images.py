"""The image files of a release: whether they are readable, and how they get into the dataset."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from predictor.data.image_files import file_exists, read_image
from predictor.data.releases.release import Reason
from predictor.threads import thread_map

T = TypeVar("T")
R = TypeVar("R")

WORKERS = min(8, os.cpu_count() or 1)

Fault = tuple[Reason, str]


def map_in_threads(work: Callable[[T], R], items: Iterable[T], progress: Callable[[int, int], None]) -> list[R]:
    """Map in a few threads, results in order."""
    items, results = list(items), []
    with warnings.catch_warnings():
        # `read_image` ignores them too, but filters are the process's: another thread's end would bring them back.
        warnings.simplefilter("ignore")
        for result in thread_map(work, items, threads=WORKERS):
            results.append(result)
            progress(len(results), len(items))
    return results


def image_fault(root: Path, file: str) -> Fault | None:
    """Why a file of the source cannot be an image of the dataset; None if it can be decoded completely.

    Decodes by the same function as training does.
    """
    path = path_inside(root, file)
    if isinstance(path, Reason):
        return path, file
    try:
        read_image(path)
    except ValueError as error:
        return Reason.IMAGE_CORRUPT, str(error).replace(str(path), file, 1)
    return None


def path_inside(root: Path, file: str) -> Path | Reason:
    """The file with its links resolved, or why it is refused.

    It has to be inside the source, or inside a folder that is linked to right in the source.
    """
    parts = PurePosixPath(file).parts
    if not parts or PurePosixPath(file).is_absolute() or ".." in parts:
        return Reason.PATH_OUTSIDE
    try:
        if not file_exists(root / file):
            return Reason.IMAGE_MISSING
        path = (root / file).resolve(strict=True)
    except (OSError, ValueError):  # a name that no file can have
        return Reason.IMAGE_MISSING
    bounds = [root.resolve(), *([(root / parts[0]).resolve()] if len(parts) > 1 else [])]
    return path if any(path.is_relative_to(bound) for bound in bounds) else Reason.PATH_OUTSIDE


def stored_paths(files: Iterable[str]) -> dict[str, str]:
    """The path of each file in the dataset: in images/, under its own name."""
    stored: dict[str, str] = {}
    taken: set[str] = set()
    for file in dict.fromkeys(files):
        path = PurePosixPath(file)
        within = path.relative_to(path.parts[0]) if path.parts[0] in ("images", "imgs") else path
        target, number = str("images" / within), len(stored)
        while target in taken:
            target, number = f"images/{number}-{path.name}", number + 1
        taken.add(target)
        stored[file] = target
    return stored


def link_or_copy(path: Path, target: Path) -> bool:
    """Put a file into the dataset, by a hard link if the file system allows it; returns whether it did."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another disk, or no hard links there
        shutil.copyfile(path, target)
        return False
    return True
