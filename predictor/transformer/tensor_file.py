"""Tensors as a safetensors file, with `OSError` for a full or unwritable disk, as for any other file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn


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


def load_strictly(module: nn.Module, section: str, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of one section of a checkpoint.

    Raises
    ------
    ValueError
        A weight is missing, unknown, of another shape or type, or not finite.
    """
    expected = module.state_dict()
    own = {name.removeprefix(f"{section}."): value for name, value in weights.items() if name.startswith(f"{section}.")}
    for name in sorted(expected.keys() | own.keys()):
        have, want = own.get(name), expected.get(name)
        if have is None or want is None or have.shape != want.shape or have.dtype != want.dtype:
            described = [f"{tuple(t.shape)} {t.dtype}" if t is not None else "nothing" for t in (have, want)]
            raise ValueError(
                f"{section}.{name}: config.json asks for {described[1]}, model.safetensors has {described[0]}"
            )
        if not bool(have.isfinite().all()):
            raise ValueError(f"{section}.{name}: model.safetensors has numbers that are not finite")
    module.load_state_dict(own)
