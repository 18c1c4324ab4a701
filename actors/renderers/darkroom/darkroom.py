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

import numpy as np
from numpy.typing import NDArray

from actors.messages import Preview, Rendering, RenderRequest
from actors.renderers.darkroom.development import develop
from actors.renderers.darkroom.photographs import PhotographLibrary
from actors.renderers.darkroom.vocabulary import development_of, find_terms, subject_of

VERSION = 2
"""Raise it with every change to vocabulary or development that changes pixels."""

FITTING_SIMILARITY = 0.5
"""Cosine between subject and caption above which the photograph is taken to show the subject."""


def photographed(prompt: str) -> str:
    """What of a prompt decides the photograph: its subject, or all of it where it names none."""
    return subject_of(prompt) or prompt


class Darkroom:
    """Renderer of the embedded preset: milliseconds on a CPU, and nothing to download.

    Parameters
    ----------
    photos : str or None
        Folder of one's own photographs; None for those that ship with the dependencies.
    size : int
        Side of the square prints in pixels.
    preview_size : int
        Side of previews; from `size` on there are none.
    """

    finish_cost = 1.0

    def __init__(self, photos: str | None = None, size: int = 256, preview_size: int = 64) -> None:
        if not 32 <= size <= 2048:
            raise ValueError(f"size must be between 32 and 2048 pixels, got size={size}")
        self._photos = Path(photos).expanduser() if photos is not None else None
        self._size = size
        self._preview_size = preview_size

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

    def preview_identity(self) -> Mapping[str, Any] | None:
        if self._preview_size >= self._size:
            return None
        return {**self.identity(), "preview": {"size": self._preview_size}}

    @property
    def preview_cost(self) -> float:
        """By pixels."""
        return (self._preview_size / self._size) ** 2

    def setup(self) -> None:
        self.library.setup()

    def render(self, request: RenderRequest, embedding: NDArray[np.float32] | None = None) -> Rendering:
        """`embedding` is MiniLM's of `photographed(request.prompt)`; None: it is made here. The pixels are the same."""
        return self._print(request, embedding, self._size)

    def preview(self, request: RenderRequest, embedding: NDArray[np.float32] | None = None) -> Preview:
        """A small print, from which nothing can be gone on with."""
        small = self._print(request, embedding, self._preview_size)
        return Preview(png=small.png, warning=small.warning)

    def finish(
        self, request: RenderRequest, preview: Preview, embedding: NDArray[np.float32] | None = None
    ) -> Rendering:
        return self.render(request, embedding)

    def _print(self, request: RenderRequest, embedding: NDArray[np.float32] | None, size: int) -> Rendering:
        subject = photographed(request.prompt)
        photograph, similarity = self.library.nearest(subject, embedding)
        controls = development_of(find_terms(request.prompt))
        image = develop(photograph.image, controls, size, request.seed, photograph.focus)
        encoded = io.BytesIO()
        # Huffman coding alone: photographs hold few repeats, and looking for them takes longer than it saves.
        image.save(encoded, "PNG", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
        if similarity >= FITTING_SIMILARITY:
            return Rendering(png=encoded.getvalue())
        warning = f'no photograph fits "{subject}"; developed "{photograph.caption}" (similarity {similarity:.2f})'
        return Rendering(png=encoded.getvalue(), warning=warning)
