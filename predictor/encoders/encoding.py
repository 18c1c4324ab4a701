"""The three frozen encoders of a predictor with their caches: they make the vectors that the models take as input.

    image     a picture
    text      the prompt it was made for
    profile   demographics and image metadata, put into words by `profiles`

A missing input gives a row of nan, which the transformer replaces by a null token (or zeros, `ModelConfig.zeroed`), and
the taste model by the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from predictor.data.profiles import describe_image, describe_person
from predictor.encoders.cache import FeatureCache, encode_cached, encode_files, image_content, text_content
from predictor.encoders.registry import TextEncoder, image_encoder, text_encoder
from predictor.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderNames:
    """What `registry` finds the encoders by; code that comes with a checkpoint runs only when trusted."""

    image: str = "efficientnet-lite0"
    text: str = "minilm"
    profile: str = "minilm"
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The vectors of N images. Large arrays are mapped from the disk, to be read row by row."""

    image: Tensor  # (N, image dimensions)
    prompt: Tensor  # (N, text dimensions), nan where there is none
    metadata: Tensor  # (N, profile dimensions), nan where there is none

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Any) -> "Images":
        return Images(image=self.image[rows], prompt=self.prompt[rows], metadata=self.metadata[rows])


class Encoders:
    """Vectors for pictures, prompts and profiles, computed once.

    Raises
    ------
    ValueError
        An encoder is unknown, or cannot be had.
    """

    def __init__(self, names: EncoderNames, cache: Path | None = None) -> None:
        trust = names.trust_remote_code
        self.image = image_encoder(names.image, trust_remote_code=trust)
        self.text: TextEncoder = text_encoder(names.text, trust_remote_code=trust)
        self.profile: TextEncoder = (
            self.text if names.profile == names.text else text_encoder(names.profile, trust_remote_code=trust)
        )
        self._cache = cache

    @property
    def names(self) -> dict[str, str]:
        return {"image_encoder": self.image.name, "text_encoder": self.text.name, "profile_encoder": self.profile.name}

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the vectors depend on, by role."""
        return {
            "image_encoder": self.image.fingerprint,
            "text_encoder": self.text.fingerprint,
            "profile_encoder": self.profile.fingerprint,
        }

    def encode_images(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
    ) -> Images:
        """Vectors of pictures in memory."""
        vectors = encode_cached(self.image, images, image_content, self._image_cache)
        return self._described(vectors, prompts, metadata)

    def encode_files(
        self,
        paths: Sequence[Path],
        prompts: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
        progress: Progress = lambda what, done, total: None,
    ) -> Images:
        """Vectors of image files.

        Raises
        ------
        ValueError
            A file cannot be read as an image.
        """
        vectors = encode_files(
            self.image,
            paths,
            self._image_cache,
            threads=self.image.threads,
            progress=lambda done, total: progress("encoding images", done, total),
        )
        return self._described(vectors, prompts, metadata)

    def encode_people(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Vectors of people's demographics, shape (len(rows), profile dimensions)."""
        return _texts(self.profile, [describe_person(row) for row in rows], self._profile_cache)

    def _described(
        self,
        vectors: NDArray[np.float32],
        prompts: Sequence[str | None],
        metadata: Sequence[Mapping[str, Any]],
    ) -> Images:
        return Images(
            image=torch.from_numpy(vectors),
            prompt=_texts(self.text, prompts, self._text_cache),
            metadata=_texts(self.profile, [describe_image(row) for row in metadata], self._profile_cache),
        )

    @cached_property
    def _image_cache(self) -> FeatureCache:
        return FeatureCache(self.image.fingerprint, self._cache)

    @cached_property
    def _text_cache(self) -> FeatureCache:
        return FeatureCache(self.text.fingerprint, self._cache)

    @cached_property
    def _profile_cache(self) -> FeatureCache:
        return FeatureCache(self.profile.fingerprint, self._cache)


def _texts(encoder: TextEncoder, texts: Sequence[str | None], cache: FeatureCache) -> Tensor:
    known = [row for row, text in enumerate(texts) if text is not None]
    if not known:
        return unknown_vectors(len(texts), encoder.dimensions)
    encoded = encode_cached(encoder, [str(texts[row]) for row in known], text_content, cache)
    if len(known) == len(texts):
        return torch.from_numpy(encoded)
    vectors = cache.empty(len(texts), encoder.dimensions)
    vectors[:] = np.nan
    vectors[known] = encoded
    return torch.from_numpy(vectors)


def unknown_vectors(rows: int, dimensions: int) -> Tensor:
    """Vectors (rows, dimensions) none of which is known: one row of nan, which is not copied."""
    return torch.full((1, dimensions), torch.nan).expand(rows, -1)


class KeptFeatures:
    """Reads vectors from this machine's feature caches, without loading any encoder.

    Parameters
    ----------
    fingerprints
        Of the encoders by role, as `Encoders.fingerprints` and a checkpoint's config.json have them.
    dimensions
        Lengths of the vectors by the same roles.
    """

    def __init__(
        self, fingerprints: Mapping[str, str], dimensions: Mapping[str, int], cache: Path | None = None
    ) -> None:
        self._caches = {role: FeatureCache(fingerprint, cache) for role, fingerprint in fingerprints.items()}
        self._dimensions = dimensions

    def of(self, image: Image.Image, prompt: str | None, metadata: Mapping[str, Any]) -> Images | None:
        """The vectors of one image, or None where one of them is not kept."""
        described = describe_image(metadata)
        digests = {
            "image_encoder": image_content(image),
            "text_encoder": None if prompt is None else text_content(prompt),
            "profile_encoder": None if described is None else text_content(described),
        }
        found = {role: self._vector(role, digest) for role, digest in digests.items()}
        if any(vector is None for vector in found.values()):
            return None
        parts = [torch.from_numpy(found[role])[None] for role in digests]
        return Images(image=parts[0], prompt=parts[1], metadata=parts[2])

    def _vector(self, role: str, digest: bytes | None) -> NDArray[np.float32] | None:
        if digest is None:
            return np.full(self._dimensions[role], np.nan, np.float32)
        return self._caches[role].get(digest, self._dimensions[role])
