"""Decoding of image files: upright, 8-bit RGB.

Every image file of the project is decoded here, so that it looks the same to people and to encoders.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from predictor.error_messages import first_line


def file_bytes(path: Path) -> bytes:
    """The file's content.

    Raises
    ------
    ValueError
        There is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: not an image that can be read: {error.strerror or error}") from error


def read_image(path: Path, data: bytes | None = None) -> Image.Image:
    """Decode an image file (or its `data`, read before), turned as its EXIF orientation says; mode RGB.

    Of several frames the first is taken. Transparency is dropped, and 16-bit grey is cut to its upper 8 bits.

    Raises
    ------
    ValueError
        It is no image, is truncated, or has more pixels than Pillow considers safe.
    """
    data = file_bytes(path) if data is None else data
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return _eight_bits(upright).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not an image that can be read: no format that is known") from error
    except Exception as error:  # Pillow raises a dozen kinds for files that are broken
        raise ValueError(f"{path}: not an image that can be read: {first_line(error)}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey; Pillow itself would turn every value above 255 into white."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
