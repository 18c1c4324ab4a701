"""The pictures of a gallery: as sharp as a screen of double density can show them, in the page or beside it.

A page opens from disk, and should also open when it is sent to somebody without its run folder. So pictures are in the
page, as WebP, while they fit: `MOST_EMBEDDED` bounds what they add to all pages of a run together. They are taken kind
by kind, those that a reader sees first before the others. A kind is embedded whole or not at all; from the first that
does not fit on, the browser loads the PNGs from the run folder as they come into view. Each picture leads to its PNG.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from pipelines.records.image_store import ImageStore
from predictor.data.image_files import read_image
from predictor.threads import thread_map

MOST_EMBEDDED = 24_000_000
"""Characters of all embedded pictures of a run; with its words, a page then stays below 30 MB."""
LARGE_PX, SMALL_PX = 512, 256
"""Longer sides of embedded pictures that are shown at up to 256 and up to 104 CSS pixels: twice that, and to spare."""

_WEBP = {"quality": 85, "method": 2}
"""Method 2 takes a third of the time of the default, for files that are 3% larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """One place in a page where a picture is shown."""

    path: str
    """Of the full-size picture, relative to the page."""
    name: str
    how: Literal["embedded", "again", "linked", "missing"]
    data: str = ""


class Pictures:
    """The pictures of a run by key, those that fit already encoded.

    Parameters
    ----------
    folder
        The run folder.
    kinds
        Keys of images and the longer side at which they are embedded, the most important kind first.
    """

    def __init__(self, folder: Path, kinds: Sequence[tuple[Sequence[str], int]]) -> None:
        self._folder = folder
        self._store = ImageStore(folder)
        self._data = self._embed(kinds)

    def on_page(self) -> "PageOfPictures":
        return PageOfPictures(self)

    def first(self, key: str, name: str) -> Showing:
        """The first showing of a picture in a page."""
        file = self._store.path(key)
        path = file.relative_to(self._folder).as_posix()
        if key in self._data:
            data = self._data[key]
            return Showing(path=path, name=name, how="embedded" if data else "missing", data=data)
        return Showing(path=path, name=name, how="linked" if file.is_file() else "missing")

    def _embed(self, kinds: Sequence[tuple[Sequence[str], int]]) -> Mapping[str, str]:
        """Key -> data URL, empty of a picture that is gone or unreadable, of the kinds that fit."""
        embedded: dict[str, str] = {}
        room = MOST_EMBEDDED
        for every, side in kinds:
            keys = [key for key in dict.fromkeys(every) if key not in embedded]
            kind: dict[str, str] = {}
            for key, data in zip(keys, thread_map(partial(_data_url, side), map(self._store.path, keys)), strict=True):
                kind[key] = data
                room -= len(data)
                if room < 0:
                    return embedded
            embedded |= kind
        return embedded


class PageOfPictures:
    """The pictures of a page, in document order; the bytes of each come with its first showing only."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._shown: dict[str, Showing] = {}

    def show(self, key: str) -> Showing:
        if key not in self._shown:
            self._shown[key] = self._pictures.first(key, f"i{len(self._shown)}")
            return self._shown[key]
        first = self._shown[key]
        return Showing(path=first.path, name=first.name, how="again") if first.how == "embedded" else first


def _data_url(side: int, path: Path) -> str:
    """The picture as WebP, no larger than `side` and than it is; empty where the file is gone or broken."""
    encoded = io.BytesIO()
    try:
        small = read_image(path)
    except ValueError:  # must not cost the whole page
        return ""
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(encoded, "WEBP", **_WEBP)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
