"""Tensors as a safetensors file; what the disk refuses is an OSError, as of any other file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors, each with its own memory.

    Raises
    ------
    OSError
        The disk is full or does not let the file be written.
    """
    try:
        save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(f"{path}: {str(error).rpartition('error: ')[2]}") from error
