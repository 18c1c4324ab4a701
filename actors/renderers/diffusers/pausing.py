"""How a FLUX.2 pipeline is stopped at a step, shown as it then expects the image to be, and gone on with.

Its sampler is Euler's, which remembers nothing but the latents: kept to the last bit, with the sigmas that are left,
they give the image that an unbroken run would have given, to the last bit. What is shown at the stop is not the noisy
latents but the clean ones that the last velocity points at, x0 = x - sigma * v (Lipman et al. 2023, arXiv:2210.02747).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

PAUSABLE = frozenset({"Flux2Pipeline", "Flux2KleinPipeline"})
"""Pipelines that go on bit for bit from what `latents` and `sigmas` say."""


class Pause:
    """Stops a pipeline after some steps; `latents` are then where it stopped.

    Example:

        pause = Pause(pipeline, after=10)
        with pause.watching():
            shown = pipeline(..., callback_on_step_end=pause).images[0]
        state = pause.state()
    """

    def __init__(self, pipeline: Any, *, after: int) -> None:
        self._scheduler = pipeline.scheduler
        self._after = after
        self._velocity: Any = None
        self._latents: Any = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See the velocity of each step: callbacks are shown the latents alone."""
        step = self._scheduler.step

        def watched(velocity: Any, *arguments: Any, **options: Any) -> Any:
            self._velocity = velocity
            return step(velocity, *arguments, **options)

        self._scheduler.step = watched
        try:
            yield
        finally:
            del self._scheduler.step  # the class's own is there again

    def __call__(self, pipeline: Any, step: int, _time: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """`callback_on_step_end`: at the last step, keep the latents and put the expected clean ones in their place."""
        latents = tensors["latents"]
        if step + 1 != self._after:
            return {}
        self._latents = latents
        pipeline._interrupt = True
        sigma = self._scheduler.sigmas[step + 1].to(latents.device)
        return {"latents": (latents.float() - sigma * self._velocity.float()).to(latents.dtype)}

    def state(self) -> bytes:
        """The latents, bit for bit, as safetensors."""
        from safetensors.torch import save

        return save({"latents": self._latents.cpu().contiguous()})


def going_on(state: bytes, *, steps: int, after: int, height: int, device: str) -> dict[str, Any]:
    """What a pipeline is called with to go on from a pause: latents, and the sigmas that are left.

    `num_inference_steps` stays that of the whole, by which the sigmas are shifted.
    """
    from safetensors.torch import load

    packed = load(state)["latents"].to(device)  # (1, H * W, C)
    rows = height // 16
    latents = packed.permute(0, 2, 1).reshape(1, packed.shape[2], rows, -1)  # (1, C, H, W), as the pipeline packs it
    return {"latents": latents, "sigmas": np.linspace(1.0, 1 / steps, steps)[after:]}
