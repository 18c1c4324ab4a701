"""Ways to render faster, by name. Each may change pixels, so all of it is in every image's key; `exact` does nothing.

A profile is applied once, when the pipeline is loaded; what it caches within one image is forgotten before the next,
so that an image does not depend on those before it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderProfile:
    """What is done to the denoiser.

    Example:

        RenderProfile(attention="_native_cudnn", compiled=True)
    """

    compiled: bool = False
    """By torch.compile, as a whole: compiling the repeated blocks alone takes half as long, and gains nothing later."""
    attention: str | None = None
    """A backend of `diffusers.models.attention_dispatch`."""
    taylorseer: Mapping[str, Any] | None = None
    """TaylorSeer (Liu et al. 2025): most steps are extrapolated from earlier ones, in these intervals and orders."""

    def apply(self, denoiser: Any, device: str) -> None:
        """Prepare a denoiser that works on the device, wherever its weights wait now.

        Raises
        ------
        ValueError
            The pipeline's denoiser, or this machine, cannot do it.
        """
        if self.attention is not None:
            try:
                denoiser.set_attention_backend(self.attention)
                _attend(denoiser.dtype, device)  # some refuse a device or a dtype only when they are used
            except (AttributeError, ImportError, RuntimeError, ValueError) as error:
                raise ValueError(f"attention backend {self.attention!r} cannot be used here: {error}") from error
        if self.taylorseer is not None and not hasattr(denoiser, "enable_cache"):
            raise ValueError(f"a {type(denoiser).__name__} cannot cache; take another renderer.profile")
        if self.compiled:
            denoiser.compile()

    @contextmanager
    def one_image(self, denoiser: Any) -> Iterator[None]:
        """What is cached within is for one image only."""
        if self.taylorseer is None:
            yield
            return
        from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

        denoiser.enable_cache(TaylorSeerCacheConfig(**self.taylorseer))
        try:
            with denoiser.cache_context("cond"):  # FLUX.2's pipeline opens none itself
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
