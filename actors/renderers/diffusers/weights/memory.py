"""The memory that a pipeline's weights take, from the headers of their files: predicted, and held against a device's.

Nothing is loaded for it. Predicted bytes are those of the tensors as they will lie in memory, quantised or not.
"""

import os
from collections.abc import Collection, Mapping
from typing import Any

from actors.renderers.diffusers.weights.pipeline_source import PipelineSource
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS, Quantization, is_quantized

HEADROOM = 1.08
"""Factor over the weights for activations at batch size 1, the CUDA context and fragmentation."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_STORED_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}


def weight_bytes(
    source: PipelineSource, components: Collection[str], dtype: str | None, quantized: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Bytes that each component's weights take in memory.

    Parameters
    ----------
    dtype : str or None
        Of floating-point numbers after loading; None: as they are stored.
    quantized : mapping or None
        Component -> name of its quantisation.

    Raises
    ------
    ValueError
        The weights are on the hub only, and it does not tell of them.
    """
    sizes = {}
    for component in sorted(components):
        scheme = QUANTIZATIONS.get((quantized or {}).get(component, ""))
        library = source.library_of(component)
        headers = [_loaded(header, library, dtype, scheme) for header in source.headers(component)]
        if headers:
            sizes[component] = sum(headers)
    return sizes


def _loaded(header: Mapping[str, Any], library: str, dtype: str | None, scheme: Quantization | None) -> int:
    """Bytes of one file's tensors in memory."""
    each = None if dtype is None else DTYPE_BYTES[dtype]
    total = 0
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        stored = _STORED_BYTES.get(tensor["dtype"])
        if stored is None or "F" not in tensor["dtype"] or each is None:
            total += end - begin
        elif scheme is not None and is_quantized(library, name, tensor["shape"]):
            total += scheme.nbytes(*tensor["shape"])
        else:
            total += (end - begin) // stored * each
    return total


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
        "take a larger GPU, give the text encoder an actor of its own, or set renderer.quantization or "
        "renderer.offload=model"
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
