"""Stops a FLUX.2 pipeline after some denoising steps, decodes a preview there, and resumes from the saved latents.

FLUX.2's sampler is Euler's method, whose only state is the latents. Saved bit for bit, together with the sigmas of the
remaining steps, they give the image of an uninterrupted run bit for bit. The preview does not decode the noisy latents
x but the clean ones that the model's last velocity v predicts, x0 = x - sigma * v (Lipman et al. 2023,
arXiv:2210.02747).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

RESUMABLE_PIPELINES = frozenset({"Flux2Pipeline", "Flux2KleinPipeline"})
"""Pipelines that resume bit for bit from their arguments `latents` and `sigmas`."""


class PreviewCallback:
    """A pipeline's `callback_on_step_end` that ends denoising early, so that the pipeline decodes the predicted x0.

    Example:

        callback = PreviewCallback(pipeline, after=10)
        with callback.recording_velocity():
            preview = pipeline(..., callback_on_step_end=callback).images[0]
        checkpoint = callback.checkpoint()

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        One of `RESUMABLE_PIPELINES`.
    after : int
        Denoising steps until the preview.
    """

    def __init__(self, pipeline: Any, *, after: int) -> None:
        self._scheduler = pipeline.scheduler
        self._after = after
        self._velocity: Any = None
        self._latents: Any = None

    @contextmanager
    def recording_velocity(self) -> Iterator[None]:
        """Keep the velocity that each step is given: diffusers hands callbacks only the latents."""
        step = self._scheduler.step

        def recorded(velocity: Any, *arguments: Any, **options: Any) -> Any:
            self._velocity = velocity
            return step(velocity, *arguments, **options)

        self._scheduler.step = recorded
        try:
            yield
        finally:
            del self._scheduler.step  # uncovers the method of its class

    def __call__(self, pipeline: Any, step: int, _time: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """After the last step of the preview, keep the latents and have the predicted x0 decoded in their place."""
        latents = tensors["latents"]
        if step + 1 != self._after:
            return {}
        self._latents = latents
        pipeline._interrupt = True
        sigma = self._scheduler.sigmas[step + 1].to(latents.device)
        return {"latents": (latents.float() - sigma * self._velocity.float()).to(latents.dtype)}

    def checkpoint(self) -> bytes:
        """The latents where denoising stopped, bit for bit, as safetensors."""
        from safetensors.torch import save

        return save({"latents": self._latents.cpu().contiguous()})


def resume_arguments(checkpoint: bytes, *, steps: int, after: int, height: int, device: str) -> dict[str, Any]:
    """The arguments with which a pipeline resumes from a checkpoint: its latents, and the remaining sigmas.

    Parameters
    ----------
    steps : int
        Of the whole image. The pipeline's `num_inference_steps` stays this number too, by which it shifts the sigmas.
    after : int
        Steps that are done.
    height : int
        Of the image, in pixels.
    """
    from safetensors.torch import load

    packed = load(checkpoint)["latents"].to(device)  # (1, H * W, C)
    rows = height // 16
    latents = packed.permute(0, 2, 1).reshape(1, packed.shape[2], rows, -1)  # (1, C, H, W), as the pipeline packs it
    return {"latents": latents, "sigmas": np.linspace(1.0, 1 / steps, steps)[after:]}
