"""Whether a model's weights fit, asked before any are read: what is needed and what is there, in one line."""

import os
from collections.abc import Mapping

HEADROOM = 1.08
"""Over the weights: activations at batch 1, the CUDA context, and what the allocator cannot use."""


def needed_bytes(weights: Mapping[str, int], offload: str) -> int:
    """Device memory that parts of these sizes want.

    Parameters
    ----------
    weights : mapping
        Bytes by part.
    offload : str
        "none": all at once; "model": one part at a time; "sequential": one layer at a time, next to nothing.
    """
    sizes = list(weights.values()) or [0]
    at_once = {"none": sum(sizes), "model": max(sizes), "sequential": 0}[offload]
    return int(at_once * HEADROOM)


def check_memory(model: str, weights: Mapping[str, int], offload: str, device: str) -> None:
    """Refuse what the device cannot hold.

    Raises
    ------
    ValueError
        With what is needed and what is there, in gigabytes.
    """
    needed, there = needed_bytes(weights, offload), device_bytes(device)
    if needed <= there:
        return
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in weights.items())
    kind = "GPU memory" if device == "cuda" else "memory"
    remedy = (
        "take a larger GPU, give the text encoder an actor of its own, or set renderer.offload=model"
        if device == "cuda"
        else "take a larger machine or a smaller model"
    )
    raise ValueError(f"{model}: {needed / 1e9:.1f} GB of {kind} needed ({parts}), {there / 1e9:.1f} GB there; {remedy}")


def device_bytes(device: str) -> int:
    """All memory of this process's first GPU, or of this machine."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
