"""SigLIP and SigLIP2 checkpoints: of fixed resolution (model type `siglip`) or of any aspect ratio (`siglip2`, NaFlex).

Each class loads only its own half of the checkpoint. The halves share no weights, and most users need only the image
half, a quarter of the whole (93 of 375 million parameters in SigLIP2 base, whose text half has 256,000 tokens).

Vectors have unit length: the two halves were trained to be compared by their cosine, and in a profile, a weighted mean
of image vectors (paper, section 3.2), each image then has the weight of its rating alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from predictor.data.image_files import as_shown
from predictor.encoders.loading import device, loading
from predictor.encoders.source import Source
from predictor.encoders.truncation import Truncation

MODEL_TYPES = ("siglip", "siglip2")
_VERSION = 1
"""Raise it whenever the same checkpoint and input would give another vector."""


@dataclass(frozen=True)
class SiglipImages:
    """The vision half: the pooled output of its attention head."""

    source: Source
    threads: ClassVar[int] = 1
    """That may encode at once: the model uses all cores itself, or a GPU."""

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def fingerprint(self) -> str:
        return f"siglip-images-{self.source.identity}-{self.source.dtype}-v{_VERSION}"

    @property
    def dimensions(self) -> int:
        return self._config.vision_config.hidden_size

    @property
    def parts(self) -> tuple[int]:
        """The vector has one part."""
        return (self.dimensions,)

    def encode(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed images with their whole frame; unit length, shape (len(images), dimensions)."""
        import torch

        vectors = np.empty((len(images), self.dimensions), np.float32)
        # The patches are made by a convolution, whose inputs cuDNN would round to the ten bits of TF32.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for row, image in enumerate(images):
                (vectors[row],) = _unit(self._loaded[1](**self._pixels(image)).pooler_output)
        return vectors

    def _pixels(self, image: Image.Image) -> Any:
        processor, model = self._loaded
        # Without it the processor guesses which axis the channels are, and is wrong for images 3 pixels high.
        settings: dict[str, Any] = {"input_data_format": "channels_last", "return_tensors": "pt"}
        if self._config.model_type == "siglip2":
            # Siglip2Processor would override these by 16 and 256, whatever the checkpoint says.
            settings["patch_size"] = self._config.vision_config.patch_size
            settings["max_num_patches"] = processor.max_num_patches
        return processor([as_shown(image)], **settings).to(model.device, model.dtype)

    @cached_property
    def _config(self) -> Any:
        return _config(self.source)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        folder = self.source.complete()
        with loading(self.name):
            from transformers import AutoImageProcessor, Siglip2VisionModel, SiglipVisionModel

            kind = Siglip2VisionModel if self._config.model_type == "siglip2" else SiglipVisionModel
            # Pillow's, which is always there: torchvision's resizes to other pixels.
            return AutoImageProcessor.from_pretrained(folder, backend="pil"), _weights(kind, folder, self.source.dtype)


@dataclass(frozen=True)
class SiglipTexts:
    """The text half: the projected state of the last token."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def fingerprint(self) -> str:
        return f"siglip-texts-{self.source.identity}-{self.source.dtype}-v{_VERSION}"

    @property
    def dimensions(self) -> int:
        return self._config.text_config.projection_size

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts by their first 64 tokens; unit length, shape (len(texts), dimensions)."""
        import torch

        vectors = np.empty((len(texts), self.dimensions), np.float32)
        with torch.inference_mode():
            for row, text in enumerate(texts):
                (vectors[row],) = _unit(self._loaded[1](input_ids=self._tokens(text)).pooler_output)
        return vectors

    @cached_property
    def truncation(self) -> Truncation:
        """How many texts were longer than it reads."""
        return Truncation(self.name, self._config.text_config.max_position_embeddings)

    def _tokens(self, text: str) -> Any:
        """Lower case, and padded on the right to full length without a mask: how both versions were trained."""
        tokenizer, model = self._loaded
        self.truncation.note(len(tokenizer(text.lower(), verbose=False)["input_ids"]))
        tokens = tokenizer(
            [text.lower()],
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=self._config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        return tokens["input_ids"].to(model.device)

    @cached_property
    def _config(self) -> Any:
        return _config(self.source)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        folder = self.source.complete()
        with loading(self.name):
            from transformers import AutoTokenizer, Siglip2TextModel, SiglipTextModel

            kind = Siglip2TextModel if self._config.model_type == "siglip2" else SiglipTextModel
            return AutoTokenizer.from_pretrained(folder), _weights(kind, folder, self.source.dtype)


def _config(source: Source) -> Any:
    with loading(source.name):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(source.folder)


def _weights(kind: Any, folder: Path, dtype: str) -> Any:
    """One half of the checkpoint, on the device; a missing weight is an error and not initialised at random."""
    import torch

    model, report = kind.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} weights, {missing[0]} among them")
    return model.eval().to(device())


def _unit(pooled: Any) -> NDArray[np.float32]:
    import torch

    return torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy()
