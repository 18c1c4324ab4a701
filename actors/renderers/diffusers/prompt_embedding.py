"""The embedding of a prompt as NumPy arrays, which Ray shares between processes without a copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEmbedding:
    """The tensors that a pipeline takes in place of a prompt, by argument name, bit for bit.

    Example:

        PromptEmbedding.of({"prompt_embeds": torch.zeros(1, 512, 15360, dtype=torch.bfloat16)})
    """

    arrays: Mapping[str, NDArray[Any]]
    """Each tensor's bytes as uint8: NumPy has no bfloat16. The last axis is longer by the size of a number."""
    dtypes: Mapping[str, str]
    warning: str | None = None
    """What of the prompt was not read."""

    @classmethod
    def of(cls, tensors: "Mapping[str, torch.Tensor]", *, warning: str | None = None) -> "PromptEmbedding":
        import torch

        return cls(
            arrays={name: tensor.cpu().contiguous().view(torch.uint8).numpy() for name, tensor in tensors.items()},
            dtypes={name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
            warning=warning,
        )

    def tensors(self, device: str) -> "dict[str, torch.Tensor]":
        """Copies on a device. Not views: Ray's shared memory is read-only, and pipelines may write."""
        import torch

        return {
            name: torch.from_numpy(np.array(array)).view(getattr(torch, self.dtypes[name])).to(device)
            for name, array in self.arrays.items()
        }
