"""The photographs that can be developed: those that ship with scikit-image and scikit-learn, or a folder of one's own.

Invariant: every photograph of a library can be decoded, and is captioned; what could not be used is named in
`skipped`. The same captions and file contents give the same fingerprint, wherever the files lie. A photograph is
decoded when it is first developed, by the process that develops it: others, such as the driver, need no pixels.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from predictor.data.image_files import IMAGE_SUFFIXES, entries, file_bytes, file_exists, is_image, read_image
from predictor.encoders.cache import FeatureCache, encode_cached, text_content
from predictor.encoders.minilm import MiniLM
from predictor.error_messages import readable

_NO_IMAGE = f"of no kind that is read ({', '.join(sorted(IMAGE_SUFFIXES))})"


@dataclass(frozen=True, slots=True)
class Shot:
    """A file, what it shows, and where in it the subject is, as parts of width and height."""

    file: Path
    caption: str
    focus: tuple[float, float] = (0.5, 0.5)


@dataclass(frozen=True)
class Photograph:
    """A captioned file that can be decoded."""

    caption: str
    file: Path
    focus: tuple[float, float]
    digest: bytes
    """SHA-256 of the file."""
    longest: int
    """Longest side in pixels that is kept of it."""

    @cached_property
    def image(self) -> Image.Image:
        """The photograph, upright and RGB, no larger than prints of the library's size need.

        Raises
        ------
        ValueError
            The file is another one than when the library was opened.
        """
        data = self.file.read_bytes()
        if hashlib.sha256(data).digest() != self.digest:
            raise ValueError(f"{self.file} has changed since the run began; put it back, or start another run")
        return _decode(self.file, data, self.longest)


# Not by skimage.data: that may download, and imports pooch. The other files of these folders are no photographs of
# things that people ask for (page, clock_motion, cell, retina, a horse's silhouette).
_SHIPPED = (
    ("skimage", "data/astronaut.png", "an astronaut in an orange spacesuit, portrait of a smiling woman", (0.44, 0.32)),
    ("skimage", "data/chelsea.png", "a tabby cat, the face of a kitten", (0.53, 0.45)),
    ("skimage", "data/coffee.png", "a cup of coffee, espresso on a wooden table", (0.5, 0.45)),
    ("skimage", "data/rocket.jpg", "a rocket on its launch pad at night", (0.5, 0.6)),
    ("skimage", "data/hubble_deep_field.jpg", "galaxies and stars in deep space", (0.5, 0.5)),
    ("skimage", "data/motorcycle_left.png", "a red motorcycle in a garage", (0.53, 0.52)),
    ("skimage", "data/camera.png", "a cameraman in a coat with his camera on a tripod", (0.45, 0.35)),
    ("skimage", "data/moon.png", "the surface of the moon with craters", (0.5, 0.5)),
    ("skimage", "data/coins.png", "ancient coins in rows", (0.5, 0.5)),
    ("skimage", "data/brick.png", "a brick wall", (0.5, 0.5)),
    ("skimage", "data/grass.png", "grass on a meadow", (0.5, 0.5)),
    ("skimage", "data/gravel.png", "gravel, small stones", (0.5, 0.5)),
    ("sklearn", "datasets/images/china.jpg", "a Chinese temple, a pagoda above a lake", (0.36, 0.45)),
    ("sklearn", "datasets/images/flower.jpg", "an orange flower in a garden, a blooming dahlia", (0.48, 0.46)),
)  # fmt: skip


class PhotographLibrary:
    """Photographs by caption.

    Parameters
    ----------
    folder : Path or None
        A folder of images, captioned by `captions.csv` (columns file, caption) where there is one, else by their
        file names; None for the photographs that ship with the dependencies.
    size : int
        Side of the prints; photographs are kept at three times that at most.

    Raises
    ------
    ValueError
        If the folder does not exist, its captions.csv is not readable, or it holds no usable photograph.
    """

    def __init__(self, folder: Path | None, size: int) -> None:
        longest = 3 * size
        skipped: list[str] = []
        photographs: list[Photograph] = []
        content = hashlib.sha256()
        for shot in _shots(folder, skipped):
            try:
                data = file_bytes(shot.file)
                if folder is not None:  # those that ship are known to be whole
                    _decode(shot.file, data, longest)
            except ValueError as error:
                skipped.append(f"{readable(shot.file.name)}: {str(error).removeprefix(f'{readable(shot.file)}: ')}")
                continue
            digest = hashlib.sha256(data).digest()
            photographs.append(Photograph(shot.caption, shot.file, shot.focus, digest, longest))
            for part in (shot.caption.encode(), repr(shot.focus).encode()):
                content.update(hashlib.sha256(part).digest())
            content.update(digest)
        if not photographs:
            raise ValueError(
                f"no usable photograph in {folder or 'the installed packages'} ({len(skipped)} skipped"
                + (f", first: {skipped[0]}" if skipped else "")
                + f"); put {', '.join(sorted(IMAGE_SUFFIXES))} files there"
            )
        self.photographs = tuple(photographs)
        self.skipped: tuple[str, ...] = tuple(skipped)
        """One line for every file that was not used, and why."""
        self.fingerprint = content.hexdigest()[:16]
        """Of captions and file contents, in order."""
        self._nearest: dict[str, tuple[Photograph, float]] = {}

    def nearest(self, subject: str, embedding: NDArray[np.float32] | None = None) -> tuple[Photograph, float]:
        """Find the photograph whose caption is most similar to a subject, and the cosine; the first of equals.

        `embedding` is MiniLM's of the subject; None: it is made here.
        """
        if subject not in self._nearest:
            similarities = self._captions @ (_encoder().encode([subject])[0] if embedding is None else embedding)
            index = int(np.argmax(similarities))
            self._nearest[subject] = (self.photographs[index], float(similarities[index]))
        return self._nearest[subject]

    def setup(self) -> None:
        """Embed the captions, or take their vectors from the feature cache."""
        _ = self._captions

    @cached_property
    def _captions(self) -> NDArray[np.float32]:
        captions = [photograph.caption for photograph in self.photographs]
        return encode_cached(_encoder(), captions, text_content, FeatureCache(MiniLM.fingerprint))


def caption_from_name(file: Path) -> str:
    """Read a caption from a file name.

    Example:

        caption_from_name(Path("red_boat-2.jpg")) == "red boat"
    """
    words = re.sub(r"[\s_\-.]+", " ", readable(file.stem)).strip()
    return re.sub(r"(?:\s*\(?\d+\)?)+$", "", words).strip() or words


@cache
def _encoder() -> MiniLM:
    """One for all libraries of a process: it is read, never changed."""
    return MiniLM()


def _shots(folder: Path | None, skipped: list[str]) -> Iterator[Shot]:
    if folder is None:
        yield from _shipped()
    elif not folder.is_dir():
        raise ValueError(f"no such folder of photographs: {folder}; give a folder, or leave it out for those that ship")
    elif (folder / "captions.csv").is_file():
        yield from _captioned(folder, skipped)
    else:
        for file in entries(folder):
            if is_image(file):
                yield Shot(file, caption_from_name(file))
            else:
                skipped.append(f"{readable(file.name)}: {_NO_IMAGE}")


def _shipped() -> Iterator[Shot]:
    for package, file, caption, focus in _SHIPPED:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None  # both are dependencies
        yield Shot(Path(spec.origin).parent / file, caption, focus)


def _captioned(folder: Path, skipped: list[str]) -> Iterator[Shot]:
    from predictor.data.tables import read_table  # pyarrow, which those who have no captions.csv do without

    named: set[str] = set()
    for row in read_table(folder / "captions.csv", required=["file", "caption"]).to_pylist():
        name, caption = (row["file"] or "").strip(), (row["caption"] or "").strip()
        named.add(name)
        if not caption:
            skipped.append(f"{name}: no caption in captions.csv")
        elif not file_exists(folder / name):
            skipped.append(f"{name}: in captions.csv, but not in the folder")
        else:
            yield Shot(folder / name, caption)
    unnamed = (file for file in entries(folder) if is_image(file) and file.name not in named)
    skipped += [f"{readable(file.name)}: not in captions.csv" for file in unnamed]


def _decode(file: Path, data: bytes, longest: int) -> Image.Image:
    """Raise ValueError where it is no image, or a very small one."""
    image = read_image(file, data)
    if min(image.size) < 16:
        raise ValueError(f"{readable(file)}: only {image.width}×{image.height} pixels")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image
