"""Tensors as a safetensors file, with `OSError` for a full or unwritable disk, as for any other file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors, which must not share memory.

    Raises
    ------
    OSError
        The disk is full or not writable.
    """
    try:
        save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(f"{path}: {str(error).rpartition('error: ')[2]}") from error
