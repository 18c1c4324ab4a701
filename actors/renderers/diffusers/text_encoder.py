"""FLUX.2's text encoder in an actor of its own, so that transformer and VAE have a GPU to themselves.

Invariant: an image rendered from an embedding is bit for bit the one that the whole pipeline renders. So prompts are
encoded one at a time: in a batch, rounding depends on the other prompts.
"""

import inspect

from actors.renderers.diffusers.pipeline_loading import library_versions, load_pipeline
from actors.renderers.diffusers.prompt_embedding import PromptEmbedding
from actors.renderers.diffusers.prompt_length import truncation_warning
from actors.renderers.diffusers.renderer import text_encoder_components
from actors.renderers.diffusers.weights.pipeline_source import find_pipeline
from actors.renderers.diffusers.weights.weights_format import AS_STORED, WeightsFormat

_DEFAULT_GUIDANCE = 4.0
"""The default `guidance_scale` of FLUX.2's pipelines."""


class Flux2TextEncoder:
    """Encodes prompts for `DiffusersRenderer`.

    Parameters
    ----------
    model, revision, dtype, guidance_scale, text_encoder_quantization
        As the renderer's.
    device : str
        "cuda" or "cpu".
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        guidance_scale: float | None,
        device: str = "cpu",
        text_encoder_quantization: str = AS_STORED,
    ) -> None:
        self._model = model
        self._revision = revision
        self._format = WeightsFormat(dtype=dtype, text_encoder_quantization=text_encoder_quantization)
        self._guidance_scale = _DEFAULT_GUIDANCE if guidance_scale is None else guidance_scale
        self._device = device

    def setup(self) -> None:
        """Load text encoder and tokenizer.

        Raises
        ------
        ValueError
            They cannot be found, are not those of a FLUX.2, or do not fit into memory.
        """
        library_versions()
        source = find_pipeline(self._model, self._revision)
        self._pipeline = load_pipeline(source, text_encoder_components(source), self._format, device=self._device)
        parameters = inspect.signature(self._pipeline.__call__).parameters
        guided = "negative_prompt_embeds" in parameters and not self._pipeline.config.get("is_distilled")
        self._negative = {"negative_prompt_embeds": self._encode("")} if guided and self._guidance_scale > 1 else {}

    def encode(self, prompt: str) -> tuple[PromptEmbedding, int]:
        """The prompt's embedding, from which renderers start, and its size in bytes.

        A pair for `ActorPool.call(..., by_reference=True)`: the megabytes go from this actor straight to a renderer.
        """
        tensors = {"prompt_embeds": self._encode(prompt), **self._negative}
        embedding = PromptEmbedding.of(tensors, warning=truncation_warning(self._pipeline, prompt))
        return embedding, sum(array.nbytes for array in embedding.arrays.values())

    def _encode(self, prompt: str):
        import torch

        with torch.no_grad():
            return self._pipeline.encode_prompt(prompt, device=torch.device(self._device))[0]
