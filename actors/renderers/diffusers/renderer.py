"""A renderer on any text-to-image pipeline of diffusers.

Invariant: the pixels depend on prompt, seed and `identity()` alone: not on earlier images, nor on which actor renders,
nor on whether the prompt was encoded here or in an actor of its own. So images are rendered one at a time, and their
noise comes from a generator on the CPU, which is the same on every machine. GPU models may still round differently.
"""

import inspect
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from actors.messages import Preview, Rendering, RenderRequest
from actors.renderers.diffusers.pipeline_loading import TEXT_ENCODER_COMPONENTS, library_versions, load_pipeline
from actors.renderers.diffusers.prompt_embedding import PromptEmbedding
from actors.renderers.diffusers.prompt_length import truncation_warning
from actors.renderers.diffusers.render_profiles import PROFILES
from actors.renderers.diffusers.resumable_denoising import RESUMABLE_PIPELINES, PreviewCallback, resume_arguments
from actors.renderers.diffusers.weights.pipeline_source import PipelineSource, find_pipeline
from actors.renderers.diffusers.weights.weights_file import find_weights_file
from actors.renderers.diffusers.weights.weights_format import AS_STORED, WeightsFormat

VERSION = 1
"""Raise it with every change of this file that changes pixels."""


class DiffusersRenderer:
    """Renders with a pipeline such as FLUX.2, Stable Diffusion 3.5 or SDXL.

    Parameters
    ----------
    model : str
        A folder, or a name on the Hugging Face hub. Its own code is never run.
    revision : str or None
        Branch, tag or commit on the hub; None: the newest.
    dtype : str
        Of the weights: "bfloat16", "float16" or "float32".
    num_inference_steps : int
        Denoising steps.
    guidance_scale : float or None
        None: the pipeline's own default.
    width, height : int
        In pixels, multiples of 16.
    quantization, text_encoder_quantization : str
        Of the denoiser and of the text encoders, by name (`weights.quantization.QUANTIZATIONS`), or "none".
    gguf : str or None
        A file with the denoiser's weights, a path or on the hub (owner/name/file); None: the pipeline's own.
    loras : sequence of mappings
        `file` and `weight` of each LoRA, which are put on together.
    profile : str
        One of `actors.renderers.diffusers.render_profiles.PROFILES`.
    offload : str
        What stays in CPU memory until it is needed: "none", whole models ("model"), or layers ("sequential"). Pixels
        stay the same.
    device : str
        "cuda" or "cpu".
    preview_steps : int
        Denoising steps of a preview.
    text_encoder_device : str or None
        The device of the text encoder's own actor; None: prompts are encoded here.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: str = "bfloat16",
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        width: int = 512,
        height: int = 512,
        quantization: str = AS_STORED,
        text_encoder_quantization: str = AS_STORED,
        gguf: str | None = None,
        loras: Sequence[Mapping[str, Any]] = (),
        profile: str = "exact",
        offload: str = "none",
        device: str = "cpu",
        preview_steps: int = 10,
        text_encoder_device: str | None = None,
    ) -> None:
        self._model = model
        self._revision = revision
        self._dtype = dtype
        self._steps = num_inference_steps
        self._guidance_scale = guidance_scale
        self._size = (width, height)
        self._quantizations = {
            "quantization": quantization,
            "text_encoder_quantization": text_encoder_quantization,
        }
        self._gguf = gguf
        self._loras = loras
        self._profile = PROFILES[profile]
        self._offload = offload
        self._device = device
        self._preview_steps = preview_steps
        self._text_encoder_device = text_encoder_device

    @cached_property
    def source(self) -> PipelineSource:
        return find_pipeline(self._model, self._revision)

    @cached_property
    def weights_format(self) -> WeightsFormat:
        """In what form the weights are loaded.

        Raises
        ------
        ValueError
            A LoRA or a GGUF file cannot be found.
        """
        return WeightsFormat(
            dtype=self._dtype,
            **self._quantizations,
            gguf=None if self._gguf is None else find_weights_file(self._gguf, ".gguf"),
            loras=tuple((find_weights_file(lora["file"], ".safetensors"), lora["weight"]) for lora in self._loras),
        )

    @property
    def components(self) -> frozenset[str]:
        """Of the pipeline, those that are loaded here: not the text encoder's where that has actors of its own."""
        apart = self._text_encoder_device is not None
        return self.source.components - (text_encoder_components(self.source) if apart else frozenset())

    @property
    def skipped(self) -> tuple[str, ...]:
        return ()

    def identity(self) -> Mapping[str, Any]:
        return {
            "renderer": "diffusers",
            "version": VERSION,
            "model": self.source.fingerprint,
            "pipeline": self.source.class_name,
            "dtype": self._dtype,
            **self.weights_format.identity(),
            "num_inference_steps": self._steps,
            "guidance_scale": self._guidance_scale,
            "width": self._size[0],
            "height": self._size[1],
            "profile": asdict(self._profile),
            "device": self._device,
            "text_encoder_device": self._text_encoder_device or self._device,
            **library_versions(),
        }

    def preview_identity(self) -> Mapping[str, Any] | None:
        """None where a preview would cost as much as the image, or denoising cannot be resumed bit for bit."""
        resumable = self.source.class_name in RESUMABLE_PIPELINES and self._profile.taylorseer is None
        if not resumable or self._preview_steps >= self._steps:
            return None
        return {**self.identity(), "preview": {"version": VERSION, "num_inference_steps": self._preview_steps}}

    @property
    def preview_cost(self) -> float:
        """The fraction of the denoising steps."""
        return self._preview_steps / self._steps

    @property
    def finish_cost(self) -> float:
        return 1 - self.preview_cost

    def setup(self) -> None:
        """Load the weights, without the text encoder's where that has actors of its own.

        Raises
        ------
        ValueError
            The pipeline cannot be found, lacks an argument that is set, or does not fit into memory.
        """
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts, or sums vary
        library_versions()
        import torch

        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._pipeline = load_pipeline(
            self.source, self.components, self.weights_format, device=self._device, offload=self._offload
        )
        parameters = inspect.signature(self._pipeline.__call__).parameters
        if self._guidance_scale is not None and "guidance_scale" not in parameters:
            raise ValueError(f"{self._model}: {self.source.class_name} takes no guidance; set guidance_scale=null")
        self._denoiser = getattr(self._pipeline, "transformer", None) or self._pipeline.unet
        self._profile.apply(self._denoiser, self._device)

    def render(self, request: RenderRequest, embedding: PromptEmbedding | None = None) -> Rendering:
        """Render one image, from the prompt or from its embedding."""
        return self._render(request, embedding)

    def preview(self, request: RenderRequest, embedding: PromptEmbedding | None = None) -> Preview:
        """The image that the first steps predict, and a checkpoint of the latents after them."""
        callback = PreviewCallback(self._pipeline, after=self._preview_steps)
        with callback.recording_velocity():
            predicted = self._render(request, embedding, callback_on_step_end=callback)
        return Preview(png=predicted.png, state=callback.checkpoint(), warning=predicted.warning)

    def finish(self, request: RenderRequest, preview: Preview, embedding: PromptEmbedding | None = None) -> Rendering:
        """The image of `render`, by the denoising steps that its preview has not done."""
        if preview.state is None:
            return self._render(request, embedding)
        resume = resume_arguments(
            preview.state, steps=self._steps, after=self._preview_steps, height=self._size[1], device=self._device
        )
        return self._render(request, embedding, **resume)

    def _render(self, request: RenderRequest, embedding: PromptEmbedding | None, **options: Any) -> Rendering:
        import torch

        text = {"prompt": request.prompt} if embedding is None else embedding.tensors(self._device)
        guidance = {} if self._guidance_scale is None else {"guidance_scale": self._guidance_scale}
        gpus = range(torch.cuda.device_count() if self._device == "cuda" else 0)
        # Some schedulers take random numbers from the global generator too.
        with torch.random.fork_rng(devices=gpus), self._profile.one_image(self._denoiser):
            torch.manual_seed(request.seed)
            output = self._pipeline(
                **text,
                **guidance,
                width=self._size[0],
                height=self._size[1],
                num_inference_steps=self._steps,
                generator=torch.Generator("cpu").manual_seed(request.seed),
                **options,
            )
        image = output.images[0].convert("RGB")
        if image.size != self._size:
            raise ValueError(f"{self._model} rendered {image.width} x {image.height} pixels, not {self._size}")
        encoded = io.BytesIO()
        image.save(encoded, "PNG", compress_level=1)
        blanked = any(getattr(output, "nsfw_content_detected", None) or ())
        unread = truncation_warning(self._pipeline, request.prompt) if embedding is None else embedding.warning
        warning = f'the safety checker blanked the image of "{request.prompt}"' if blanked else unread
        return Rendering(png=encoded.getvalue(), warning=warning)


def text_encoder_components(source: PipelineSource) -> frozenset[str]:
    """The components of a pipeline that a text encoder's own actor loads.

    Raises
    ------
    ValueError
        This kind of pipeline cannot render from embeddings made elsewhere.
    """
    if source.class_name not in TEXT_ENCODER_COMPONENTS:
        raise ValueError(
            f"{source.name}: the text encoder of a {source.class_name} stays with its renderer "
            f"(apart: {', '.join(TEXT_ENCODER_COMPONENTS)}); set text_encoder.actors=0"
        )
    return TEXT_ENCODER_COMPONENTS[source.class_name]
