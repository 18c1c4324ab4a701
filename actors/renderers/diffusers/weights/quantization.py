"""Quantisations, by name: how a component's linear layers are stored in fewer bits while it is loaded, and their bytes.

The weights themselves are read as they are, in full precision. Weights that come quantised need none of these: a
pipeline whose configuration says so, or a GGUF file, is loaded in its own format.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How the weight of a linear layer is stored.

    Example:

        QUANTIZATIONS["torchao-int8"].nbytes(5120, 5120)
    """

    library: str
    nbytes: Callable[[int, int], int]
    """Bytes of a weight of so many rows (output features) and columns, with its scales."""
    config: Callable[[Any, str], Any]
    """The configuration, of the module `diffusers` or `transformers` that will load the component, for a dtype."""


def _torchao_int8(loader: Any, _dtype: str) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return loader.TorchAoConfig(Int8WeightOnlyConfig())


def _torchao_fp8(loader: Any, _dtype: str) -> Any:
    from torchao.quantization import Float8WeightOnlyConfig

    return loader.TorchAoConfig(Float8WeightOnlyConfig())


def _bitsandbytes_int8(loader: Any, _dtype: str) -> Any:
    return loader.BitsAndBytesConfig(load_in_8bit=True)


def _bitsandbytes_nf4(loader: Any, dtype: str) -> Any:
    return loader.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


QUANTIZATIONS: Mapping[str, Quantization] = {
    "torchao-int8": Quantization(
        library="torchao", nbytes=lambda rows, columns: rows * columns + 5 * rows, config=_torchao_int8
    ),
    "torchao-fp8": Quantization(
        library="torchao", nbytes=lambda rows, columns: rows * columns + 4 * rows, config=_torchao_fp8
    ),
    "bitsandbytes-int8": Quantization(
        library="bitsandbytes", nbytes=lambda rows, columns: rows * columns + 4 * rows, config=_bitsandbytes_int8
    ),
    "bitsandbytes-nf4": Quantization(
        library="bitsandbytes",
        nbytes=lambda rows, columns: ceil(rows * columns / 2) + 4 * ceil(rows * columns / 64),
        config=_bitsandbytes_nf4,
    ),
}


def check_quantization(name: str, loader: str, device: str) -> None:
    """See that a component of this loader, `diffusers` or `transformers`, can be quantised so.

    Raises
    ------
    ValueError
        The library is not installed, or needs a GPU.
    """
    library = QUANTIZATIONS[name].library
    if find_spec(library) is None:
        raise ValueError(f"quantization {name}: {library} is not installed; pip install 'pamela-steer[quantization]'")
    if library == "bitsandbytes" and loader == "diffusers" and device != "cuda":
        raise ValueError(f"quantization {name}: diffusers has it on GPUs only; take torchao-int8, or set num_gpus")


def is_quantized(library: str, name: str, shape: list[int]) -> bool:
    """Whether a tensor of a component is the weight of a linear layer that is quantised.

    Libraries leave out embeddings and the output head of language models, whose tensors have two axes, too.
    """
    if len(shape) != 2 or not name.endswith(".weight"):
        return False
    return library == "diffusers" or not any(part in name for part in _NOT_LINEAR)


_NOT_LINEAR = ("embed", "lm_head", "shared.", "relative_attention_bias")
