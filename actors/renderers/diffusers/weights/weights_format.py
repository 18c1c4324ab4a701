"""In what form a pipeline's weights are loaded: dtype, quantisation, GGUF, and the LoRAs on top."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actors.renderers.diffusers.weights.memory import weight_bytes
from actors.renderers.diffusers.weights.pipeline_source import PipelineSource
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS
from actors.renderers.diffusers.weights.weights_file import WeightsFile

AS_STORED = "none"
"""The name of no quantisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFormat:
    """Everything of it may change pixels, so it is part of every key.

    Example:

        WeightsFormat(dtype="bfloat16", quantization="torchao-int8", loras=((watercolour, 0.8),))
    """

    dtype: str
    quantization: str = AS_STORED
    """Of the denoiser."""
    text_encoder_quantization: str = AS_STORED
    """Of all text encoders."""
    gguf: WeightsFile | None = None
    """In place of the denoiser's own weights."""
    loras: tuple[tuple[WeightsFile, float], ...] = ()
    """Each with its weight."""

    def identity(self) -> dict[str, Any]:
        """What decides pixels beside the dtype; nothing where nothing is set, so that earlier keys stay."""
        said = {
            "quantization": self.quantization,
            "text_encoder_quantization": self.text_encoder_quantization,
            "gguf": None if self.gguf is None else self.gguf.fingerprint,
            "loras": [{"file": file.fingerprint, "weight": weight} for file, weight in self.loras],
        }
        return {name: value for name, value in said.items() if value not in (AS_STORED, None, [])}

    def quantized(self, source: PipelineSource, components: Collection[str]) -> dict[str, str]:
        """Component -> name of its quantisation, for those that are quantised while they are loaded."""
        named = {name: self.text_encoder_quantization for name in components if is_text_encoder(name)}
        named[source.denoiser] = self.quantization
        return {name: how for name, how in named.items() if name in components and how != AS_STORED}

    def bytes_of(self, source: PipelineSource, components: Collection[str]) -> dict[str, int]:
        """Bytes that each component takes in memory, LoRAs with the denoiser.

        Raises
        ------
        ValueError
            The weights are on the hub only, and it does not tell of them.
        """
        denoiser = source.denoiser
        read = {*components} - ({denoiser} if self.gguf is not None else set())
        sizes = weight_bytes(source, read, self.dtype, self.quantized(source, read))
        if denoiser in components:
            gguf = 0 if self.gguf is None else self.gguf.nbytes
            sizes[denoiser] = sizes.get(denoiser, gguf) + sum(file.nbytes for file, _ in self.loras)
        return sizes

    def alternatives(self) -> Mapping[str, "WeightsFormat"]:
        """The same with each quantisation of the denoiser, by name, the one that is set among them."""
        if self.gguf is not None:
            return {"gguf": self}
        return {name: replace(self, quantization=name) for name in (AS_STORED, *QUANTIZATIONS)}


def is_text_encoder(component: str) -> bool:
    return component.startswith("text_encoder")
