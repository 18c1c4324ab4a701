"""Checks that a model's weights fit into memory before any are read; if not, the error gives both numbers."""

import os
from collections.abc import Mapping

HEADROOM = 1.08
"""Factor over the weights for activations at batch size 1, the CUDA context and fragmentation."""


def needed_bytes(weights: Mapping[str, int], offload: str) -> int:
    """Device memory that a pipeline needs.

    Parameters
    ----------
    weights : mapping
        Bytes by component.
    offload : str
        What is on the device at a time: everything ("none"), one component ("model"), or one layer ("sequential",
        taken as 0 bytes).
    """
    sizes = list(weights.values()) or [0]
    at_once = {"none": sum(sizes), "model": max(sizes), "sequential": 0}[offload]
    return int(at_once * HEADROOM)


def check_memory(model: str, weights: Mapping[str, int], offload: str, device: str) -> None:
    """See that the device can hold the weights.

    Raises
    ------
    ValueError
        It cannot; the message says what is needed and what is there, in gigabytes, and what to change.
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
    """Total memory of this process's first GPU, or of this machine."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
