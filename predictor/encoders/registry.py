"""Encoders by name: one that ships with its weights, a checkpoint's folder, or a hub id.

A predictor's `config.json` keeps these names; loading it finds the encoders here.
"""

from pathlib import Path

from predictor.encoders.efficientnet import EfficientNetLite0
from predictor.encoders.minilm import MiniLM
from predictor.encoders.sentence_transformer import EmbeddingModel
from predictor.encoders.siglip import MODEL_TYPES, SiglipImages, SiglipTexts
from predictor.encoders.source import Source, find_source

IMAGE_ENCODERS = {EfficientNetLite0.name: EfficientNetLite0}
TEXT_ENCODERS = {MiniLM.name: MiniLM}

ImageEncoder = EfficientNetLite0 | SiglipImages
TextEncoder = MiniLM | SiglipTexts | EmbeddingModel


def image_encoder(name: str, *, trust_remote_code: bool = False) -> ImageEncoder:
    """The image encoder of a name; its weights are loaded when it first encodes.

    `trust_remote_code` has no effect: no image encoder brings code of its own.

    Raises
    ------
    ValueError
        The name is unknown, its files cannot be downloaded, or it is no image encoder.
    """
    if name in IMAGE_ENCODERS:
        return IMAGE_ENCODERS[name]()
    source = _source(name, list(IMAGE_ENCODERS), "a SigLIP checkpoint")
    if (kind := source.config.get("model_type")) not in MODEL_TYPES:
        raise ValueError(f"{name}: of type {kind}; an image encoder is a SigLIP or SigLIP2 checkpoint")
    return SiglipImages(source)


def text_encoder(name: str, *, trust_remote_code: bool = False) -> TextEncoder:
    """The text encoder of a name: the text half of a SigLIP checkpoint, or an embedding model.

    Raises
    ------
    ValueError
        The name is unknown, its files cannot be downloaded, or it needs `trust_remote_code`.
    """
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]()
    source = _source(name, list(TEXT_ENCODERS), "a SigLIP checkpoint or a text embedding model")
    if source.config.get("model_type") in MODEL_TYPES:
        return SiglipTexts(source)
    return EmbeddingModel(source, trust_remote_code=trust_remote_code)


def _source(name: str, known: list[str], kind: str) -> Source:
    try:
        return find_source(name)
    except ValueError as error:
        if "/" in name or Path(name).exists():
            raise
        raise ValueError(
            f"unknown encoder {name!r}; known are {', '.join(known)}, the folder of {kind}, or its hub id (owner/name)"
        ) from error
