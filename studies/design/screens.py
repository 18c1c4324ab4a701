"""The images once more, in the sizes that screens can show: WebP, which every browser of today reads.

The whole images stay beside them, for exports and reports. A file tells as little here as there: it holds nothing but
pixels, and within a prompt and a width all are equally long.
"""

import io
import os
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from studies.design.assets import LARGEST

WIDTHS = (640, 1280, LARGEST)
"""A phone, half of a screen, and all of a large one."""

QUALITY = 90
"""Of WebP, 0 to 100: at 90 the difference to the original is below what side-by-side viewing shows."""


def write_screens(
    assets: Path,
    screens: Path,
    groups: Mapping[str, str],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[int, ...]:
    """Write `screens`/<width>/<item id>.webp of each `assets`/<item id>.png.

    Parameters
    ----------
    groups
        Item id -> name of the images whose files are brought to one length.

    Returns
    -------
    The widths in pixels: those of `WIDTHS` up to the first that shows the largest image whole.
    """
    widest = max(_width(assets / f"{item}.png") for item in groups)
    widths = (*(width for width in WIDTHS if width < widest), widest)
    for width in widths:
        (screens / str(width)).mkdir(parents=True)
    together: dict[str, list[str]] = defaultdict(list)
    for item, group in groups.items():
        together[group].append(item)
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow encodes outside the interpreter's lock
        for items in together.values():
            encoded = list(pool.map(lambda item: _encoded(assets / f"{item}.png", widths), items))
            for number, width in enumerate(widths):
                longest = max(len(files[number]) for files in encoded)
                for item, files in zip(items, encoded, strict=True):
                    (screens / str(width) / f"{item}.webp").write_bytes(padded(files[number], longest))
            done += len(items)
            progress("images for screens", done, len(groups))
    return widths


def padded(webp: bytes, length: int) -> bytes:
    """The file with a chunk at its end that every decoder skips (WebP Container Specification, "Unknown Chunks").

    Parameters
    ----------
    length
        Of the longest file, in bytes; the result is longer by the 8 bytes of the chunk's header.
    """
    filler = length - len(webp)
    body = webp[8:] + b"paDd" + struct.pack("<I", filler) + bytes(filler)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _encoded(source: Path, widths: tuple[int, ...]) -> list[bytes]:
    with Image.open(source) as image:
        return [_webp(image, width) for width in widths]


def _webp(image: Image.Image, width: int) -> bytes:
    if width < image.width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=QUALITY)
    return encoded.getvalue()


def _width(file: Path) -> int:
    with Image.open(file) as image:
        return image.width
