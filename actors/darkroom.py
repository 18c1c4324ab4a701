"""The darkroom: a renderer that develops the photograph that fits a prompt best, as the prompt's words say.

Invariant: the PNG depends on prompt, seed and `identity()` alone. It draws nothing that was not photographed; a prompt
that no photograph fits gets the nearest one, and a warning that says so.
"""

import io
import zlib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.development import develop
from actors.messages import Rendering, RenderRequest
from actors.photographs import PhotographLibrary
from actors.vocabulary import development_of, find_terms, subject_of

VERSION = 1
"""Raise it with every change to vocabulary or development that changes pixels."""

FITTING_SIMILARITY = 0.5
"""Cosine between subject and caption above which the photograph is taken to show the subject."""


class Darkroom:
    """Renderer of the embedded preset: milliseconds on a CPU, and nothing to download.

    Parameters
    ----------
    photos : str or None
        Folder of one's own photographs; None for those that ship with the dependencies.
    size : int
        Side of the square prints in pixels.
    """

    def __init__(self, photos: str | None = None, size: int = 256) -> None:
        if not 32 <= size <= 2048:
            raise ValueError(f"size must be between 32 and 2048 pixels, got size={size}")
        self._photos = Path(photos).expanduser() if photos is not None else None
        self._size = size

    @cached_property
    def library(self) -> PhotographLibrary:
        return PhotographLibrary(self._photos, self._size)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.library.skipped

    def identity(self) -> Mapping[str, Any]:
        return {
            "renderer": "darkroom",
            "version": VERSION,
            "photographs": self.library.fingerprint,
            "size": self._size,
            "pillow": version("pillow"),
            "scikit-image": version("scikit-image"),
        }

    def setup(self) -> None:
        self.library.setup()

    def render(self, request: RenderRequest) -> Rendering:
        subject = subject_of(request.prompt) or request.prompt
        photograph, similarity = self.library.nearest(subject)
        controls = development_of(find_terms(request.prompt))
        image = develop(photograph.image, controls, self._size, request.seed, photograph.focus)
        encoded = io.BytesIO()
        # Huffman coding alone: photographs hold few repeats, and looking for them takes longer than it saves.
        image.save(encoded, "PNG", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
        if similarity >= FITTING_SIMILARITY:
            return Rendering(png=encoded.getvalue())
        warning = f'no photograph fits "{subject}"; developed "{photograph.caption}" (similarity {similarity:.2f})'
        return Rendering(png=encoded.getvalue(), warning=warning)
