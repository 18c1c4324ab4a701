"""Optimisations of the denoiser, by name; `exact` is none. They may change pixels, so a profile is part of every key.

A profile is applied once, when the pipeline is loaded. What it caches while one image is rendered is dropped before the
next, so that no image depends on earlier ones.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderProfile:
    """What is changed in the denoiser.

    Example:

        RenderProfile(attention="_native_cudnn", compiled=True)
    """

    compiled: bool = False
    """By torch.compile, as a whole: compiling only the repeated blocks takes half as long, with no gain afterwards."""
    attention: str | None = None
    """A backend of `diffusers.models.attention_dispatch`."""
    taylorseer: Mapping[str, Any] | None = None
    """Options of TaylorSeer (Liu et al. 2025), which extrapolates most steps from earlier ones."""

    def apply(self, denoiser: Any, device: str) -> None:
        """Change a denoiser that will run on the device, whether or not its weights are there yet.

        Raises
        ------
        ValueError
            This denoiser or this machine does not support the profile.
        """
        if self.attention is not None:
            try:
                denoiser.set_attention_backend(self.attention)
                _attend(denoiser.dtype, device)  # some backends refuse a device or dtype only when called
            except (AttributeError, ImportError, RuntimeError, ValueError) as error:
                raise ValueError(f"attention backend {self.attention!r} cannot be used here: {error}") from error
        if self.taylorseer is not None and not hasattr(denoiser, "enable_cache"):
            raise ValueError(f"a {type(denoiser).__name__} cannot cache; take another renderer.profile")
        if self.compiled:
            denoiser.compile()

    @contextmanager
    def one_image(self, denoiser: Any) -> Iterator[None]:
        """Render one image inside: what is cached is dropped afterwards."""
        if self.taylorseer is None:
            yield
            return
        from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

        denoiser.enable_cache(TaylorSeerCacheConfig(**self.taylorseer))
        try:
            with denoiser.cache_context("cond"):  # FLUX.2's pipeline opens no context itself
                yield
        finally:
            denoiser.disable_cache()


def _attend(dtype: Any, device: str) -> None:
    import torch
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    query = torch.zeros(1, 16, 1, 64, dtype=dtype, device=device)
    dispatch_attention_fn(query, query, query)


PROFILES: Mapping[str, RenderProfile] = {
    "exact": RenderProfile(),
    "compile": RenderProfile(compiled=True),
    "cudnn": RenderProfile(attention="_native_cudnn"),
    "flash": RenderProfile(attention="flash"),
    "sage": RenderProfile(attention="sage"),
    "math": RenderProfile(attention="_native_math"),
    "taylorseer": RenderProfile(taylorseer={"cache_interval": 5, "disable_cache_before_step": 10, "max_order": 1}),
}
