"""Zero-shot classification of images into the categories of a dataset's metadata.

Each category of a column is put into a sentence, and the one nearest to the image wins. This needs an encoder of images
and texts: SigLIP or SigLIP2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image

from predictor.data.profiles import IDENTIFIERS
from predictor.encoders.siglip import SiglipImages, SiglipTexts

MAX_CATEGORIES = 100
"""A column with more different values is no classification."""

_SENTENCES = {
    "content": "a photo of {}",
    "style": "an image in the style of {}",
    "emotion": "an image that evokes {}",
}


def categories(images: pa.Table) -> dict[str, list[str]]:
    """The categorical text columns of an images' table, such as content or style, each with its sorted values."""
    found = {}
    for name in images.column_names:
        column = images[name]
        if name not in IDENTIFIERS and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            values = sorted({value for value in column.to_pylist() if value})
            if 2 <= len(values) <= MAX_CATEGORIES:
                found[name] = values
    return found


def text_half(encoder: SiglipImages) -> SiglipTexts:
    """The text encoder whose vectors can be compared with an image encoder's.

    Raises
    ------
    ValueError
        The two halves of the checkpoint have vectors of different lengths, so that they cannot be compared.
    """
    texts = SiglipTexts(encoder.source)
    if texts.dimensions != encoder.dimensions:
        raise ValueError(
            f"{encoder.name}: images have {encoder.dimensions} dimensions and texts {texts.dimensions}: not of one "
            "space; name the categories in the prompts file, and turn the image guard off"
        )
    return texts


def classify(encoder: SiglipImages, image: Image.Image, categories: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The nearest category of each column, by the cosine of the image and the category's sentence.

    Raises
    ------
    ValueError
        The two halves of the checkpoint have vectors of different lengths, so that they cannot be compared.
    """
    texts = text_half(encoder)
    (image_vector,) = encoder.encode([image])
    found = {}
    for column, values in categories.items():
        sentence = _SENTENCES.get(column, f"an image, {column.replace('_', ' ')}: {{}}")
        text_vectors = texts.encode([sentence.format(value) for value in values])  # (V, dimensions), unit length
        found[column] = values[int(np.argmax(text_vectors @ image_vector))]
    return found
