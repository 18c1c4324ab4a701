"""A layer of the transformer that drops the same on a GPU as on a CPU: what is dropped is drawn on the CPU.

On a CPU all of it is PyTorch's own layer. A GPU would draw other numbers, fused into its attention: there attention is
computed in training as written in Vaswani et al. 2017, equation 1. Its fused layer for inference has another GELU, by
tanh, and is not used.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class CpuDrawnDropout(nn.Dropout):
    """Dropout by PyTorch's random numbers of the CPU, wherever the input is."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  PyTorch calls it so
        if not self.training or input.device.type == "cpu" or self.p in (0, 1):  # of which nothing is drawn
            return super().forward(input)
        kept = torch.empty_like(input, device="cpu").bernoulli_(1 - self.p).div_(1 - self.p)  # in order of memory
        return input * kept.to(input.device, non_blocking=True)


class EncoderLayer(nn.TransformerEncoderLayer):
    """A layer that normalises first, with GELU; sequences are (B, L, width)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, heads, hidden, dropout, "gelu", batch_first=True, norm_first=True)
        for each in ("dropout", "dropout1", "dropout2"):
            setattr(self, each, CpuDrawnDropout(dropout))
        self.drop_attention = CpuDrawnDropout(dropout)

    def forward(self, src: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if src.device.type == "cpu":
            return super().forward(src, *args, **kwargs)
        src = src + self._sa_block(self.norm1(src), None, None)
        return src + self._ff_block(self.norm2(src))

    def first_token(self, sequence: Tensor) -> Tensor:
        """The output for the first token alone, (B, width), without the work for the others."""
        normed = self.norm1(sequence)
        first = sequence[:, :1] + self.dropout1(self._attended(normed[:, :1], normed))
        return (first + self._ff_block(self.norm2(first)))[:, 0]

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        return self.dropout1(self._attended(x, x))  # there are no masks: every token attends to all

    def _attended(self, query: Tensor, sequence: Tensor) -> Tensor:
        """What some tokens gather from the whole sequence; both are normalised."""
        attention = self.self_attn
        if not self.training or query.device.type == "cpu":
            return attention(query, sequence, sequence, need_weights=False)[0]
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        heads = [
            functional.linear(tokens, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, sequence, sequence), weights, biases, strict=True)
        ]  # three of (B, heads, tokens, width / heads)
        queries, keys, values = heads
        attended = torch.softmax(queries @ keys.mT / math.sqrt(queries.shape[-1]), -1)
        gathered = self.drop_attention(attended) @ values
        # Tokens first in memory, as PyTorch's attention leaves them: the next dropout draws in that order.
        return attention.out_proj(gathered.permute(2, 0, 1, 3).flatten(2)).transpose(0, 1)
