"""The one reader of pictures: people, renderers and encoders get the same pixels of a file, those that a browser shows.

orientation      turned as EXIF says
colours          from the embedded ICC profile to sRGB; without one, or with one that is broken or of another colour
                 space than the pixels, they are taken for sRGB
transparency     over white
16 bits          the upper eight of them; 32-bit integers up to 65535 are 16 bits, others the upper eight of 31
floats           0 to 1 is black to white, or 0 to 255 where any is above 1; not-a-number is black
frames           the first one
JPEG             above 50 megapixels at a half, a quarter or an eighth of its size
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, UnidentifiedImageError

from predictor.error_messages import first_line, readable

IMAGE_SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".pgm", ".ppm"),
        *(".heic", ".heif", ".avif", ".jxl"),
    }
)
"""Of files that are taken from a folder of images."""

_MOST_JPEG_PIXELS = 50_000_000
_COLOUR_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Mode of the pixels -> colour space of an ICC profile that is meant for them."""
_LIKE_SRGB = 2
"""Steps of 255 by which a profile's colours may differ from sRGB's before they are converted: rounding, no more."""


def entries(folder: Path, *, deep: bool = False) -> list[Path]:
    """What a folder holds that is not hidden, in order; `deep`: the files in it and in its folders."""
    found = (path for path in folder.rglob("*") if path.is_file()) if deep else folder.iterdir()
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image, by its ending."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def file_exists(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have, such as one that is too long, is of none."""
    try:
        return path.is_file()
    except OSError:
        return False


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
        raise ValueError(f"{readable(path)}: not an image that can be read: {error.strerror or error}") from error


def read_image(path: Path, data: bytes | None = None) -> Image.Image:
    """Decode an image file, or its `data`, read before, as the module's docstring says; mode RGB.

    Raises
    ------
    ValueError
        It is no image, is truncated, or has more pixels than Pillow considers safe.
    """
    data = file_bytes(path) if data is None else data
    try:
        with _opened(data) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                _reduce(image)
            return as_shown(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{readable(path)}: not an image that can be read: no format that is known") from error
    except Exception as error:  # Pillow raises a dozen kinds for files that are broken
        raise ValueError(f"{readable(path)}: not an image that can be read: {first_line(error)}") from error


def as_shown(image: Image.Image) -> Image.Image:
    """A picture of any mode, as the module's docstring says; one that is plain RGB already is returned as it is."""
    if image.mode == "RGB" and not image.info and type(image) is Image.Image:
        return image
    upright = ImageOps.exif_transpose(image)
    profile = upright.info.get("icc_profile")
    pixels = _eight_bits(upright)
    if pixels.mode == "LAB":
        return ImageCms.profileToProfile(pixels, ImageCms.createProfile("LAB"), _srgb(), outputMode="RGB")  # pyrefly: ignore[bad-return]
    if not pixels.has_transparency_data:
        return _in_srgb(pixels if pixels.mode in _COLOUR_SPACES else pixels.convert("RGB"), profile)
    rgba = pixels.convert("RGBA")
    opaque = _in_srgb(pixels.convert("LA").getchannel(0) if _is_grey(pixels) else rgba.convert("RGB"), profile)
    white = Image.new("RGB", opaque.size, "white")
    return Image.composite(opaque, white, rgba.getchannel("A"))


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    _register_formats()
    with catch_warnings():
        simplefilter("ignore")  # of odd metadata, and of many pixels: up to twice as many are read, more are an error
        with Image.open(io.BytesIO(data)) as image:
            yield image


@cache
def _register_formats() -> None:
    """HEIC and JPEG XL, which Pillow reads by plugins."""
    pillow_heif.register_heif_opener()
    import_module("pillow_jxl")  # registers itself


def _reduce(image: JpegImagePlugin.JpegImageFile) -> None:
    """Have a large JPEG decoded at a fraction of its size."""
    width, height = image.size
    for factor in (2, 4, 8):
        if image.width * image.height > _MOST_JPEG_PIXELS:
            image.draft(None, (width // factor, height // factor))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pixels of more bits as bytes, of one channel or with the transparency of one value; others as they are."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        wide = image.mode == "I" and values.max(initial=0) > 0xFFFF
        grey = np.clip(values, 0, None) >> (23 if wide else 8)
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=np.inf, neginf=0.0)
        grey = np.clip(values, 0, 255) if values.max(initial=0) > 1 else 255 * np.clip(values, 0, 1) + 0.5
    else:
        return image
    made = Image.fromarray(grey.astype(np.uint8))
    clear: Any = image.info.get("transparency")
    if isinstance(clear, int):
        made.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return made


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Mode RGB, by the profile that is meant for the picture's mode."""
    transform = _to_srgb(profile, image.mode) if profile else None
    return image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)  # pyrefly: ignore[bad-return]


@lru_cache(maxsize=32)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where nothing is to be done: the profile is sRGB, of another colour space than the pixels, or broken."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space: Any = source.profile
        if space.xcolor_space != _COLOUR_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode != "CMYK":
        colours = _all_colours().convert(mode)
        shown = ImageCms.applyTransform(colours, transform)
        assert shown is not None
        difference = np.asarray(shown, int) - np.asarray(colours.convert("RGB"), int)
        if np.abs(difference).max() <= _LIKE_SRGB:
            return None
    return transform


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _all_colours() -> Image.Image:
    """A grid of 17 steps a channel."""
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17 * 17, 17, 3))
