"""The images that participants get: decoded and encoded anew, and brought to one length, so that a file tells nothing.

No metadata, encoder's habit, time stamp or name of the source is left. Images of one prompt are brought to one size,
since a condition could else be told by its dimensions.
"""

import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from predictor.data.image_files import read_image

LARGEST = 2048
"""Longest edge in pixels of what is sent to a participant's browser."""

_END = 12
"""Bytes of the last chunk of a PNG, IEND."""


def write_assets(
    folder: Path,
    sources: Mapping[str, Path],
    groups: Mapping[str, str],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> int:
    """Write `folder`/<item id>.png for each source file.

    Parameters
    ----------
    sources
        By item id.
    groups
        Item id -> name of the images that may be told apart by size; those are brought to the smallest size among
        them, and their files to the longest length.

    Returns
    -------
    How many images had to be made smaller.

    Raises
    ------
    ValueError
        An image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for item, source in sources.items():
        sizes[groups[item]].append(_size(source))
    target = {group: _common(found) for group, found in sizes.items()}
    resized = done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # zlib and Pillow's resampling run outside the interpreter's lock
        jobs = [
            pool.submit(_write, folder / f"{item}.png", source, target[groups[item]])
            for item, source in sources.items()
        ]
        for job in jobs:
            resized += job.result()
            done += 1
            progress("images for participants", done, len(jobs))
    _pad(folder, groups)
    return resized


def _pad(folder: Path, groups: Mapping[str, str]) -> None:
    """Bring the files of each group to one length, by a chunk that every decoder skips (PNG, section 4.7.2)."""
    files: dict[str, list[Path]] = defaultdict(list)
    for item, group in groups.items():
        files[group].append(folder / f"{item}.png")
    for together in files.values():
        lengths = [file.stat().st_size for file in together]
        for file, length in zip(together, lengths, strict=True):
            content = file.read_bytes()
            filler = b"paDd" + bytes(max(lengths) - length)
            chunk = struct.pack(">I", len(filler) - 4) + filler + struct.pack(">I", zlib.crc32(filler))
            file.write_bytes(content[:-_END] + chunk + content[-_END:])


def _size(source: Path) -> tuple[int, int]:
    return read_image(source).size


def _common(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    width, height = min(width for width, _ in sizes), min(height for _, height in sizes)
    scale = min(1.0, LARGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _write(target: Path, source: Path, size: tuple[int, int]) -> bool:
    """Cover the size, cut what is over: bars at the edges would tell an image of another shape."""
    image = read_image(source)
    shrunk = image.size != size
    if shrunk:
        scale = max(size[0] / image.width, size[1] / image.height)
        wide, high = max(size[0], round(image.width * scale)), max(size[1], round(image.height * scale))
        image = image.resize((wide, high), Image.Resampling.LANCZOS)
        left, top = (wide - size[0]) // 2, (high - size[1]) // 2
        image = image.crop((left, top, left + size[0], top + size[1]))
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    bare.save(target, "PNG")
    return shrunk
