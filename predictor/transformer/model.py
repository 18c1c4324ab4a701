"""The PAMELA model (paper, Figure 3): six tokens, a shallow transformer, a linear head.

    [CLS]  image  prompt  metadata  demographics  user   ->   transformer   ->   CLS   ->   rating

Inputs are vectors of frozen encoders, which are left to `encoders`. What is missing is replaced, but for CLS and image,
which never are: by a learnt null token, or, where training shows the model no null tokens, by zeros (`zeroed`). So one
model serves seen users, unseen users, groups (the mean of their user embeddings) and the population (neither user nor
demographics).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from predictor.transformer.encoder_layer import CpuDrawnDropout, EncoderLayer

TOKENS = ("image", "prompt", "metadata", "demographics", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes; tokens named in `without` are always null (the ablations of Table 3)."""

    image_dimensions: int
    text_dimensions: int
    profile_dimensions: int
    users: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    image_dropout: float = 0.3
    without: tuple[str, ...] = ()
    zeroed: bool = False
    """A missing vector is zero before it is projected, and a missing user a token of zeros, as the paper's population
    is (section 4); False: what is missing has a learnt null token, which training has to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Vectors of B pairs of person and image; a row of nan is a missing token."""

    image: Tensor  # (B, image_dimensions)
    prompt: Tensor  # (B, text_dimensions)
    metadata: Tensor  # (B, profile_dimensions)
    demographics: Tensor  # (B, profile_dimensions)
    user: Tensor  # (B, width): rows of the user table, or any vector in its space

    def to(self, device: str | torch.device) -> "Inputs":
        """The same on another device."""
        return Inputs(**{name: getattr(self, name).to(device, non_blocking=True) for name in TOKENS})


class PamelaModel(nn.Module):
    """Predicts the rating that a person gives to an image, on a scale from 0 to 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if unknown := set(config.without) - {*TOKENS[1:]}:
            raise ValueError(f"without: unknown token {', '.join(sorted(unknown))}; known are {', '.join(TOKENS[1:])}")
        self.config = config
        width = config.width
        self.image_mean: Tensor
        self.image_scale: Tensor
        self.register_buffer("image_mean", torch.zeros(config.image_dimensions))
        self.register_buffer("image_scale", torch.ones(config.image_dimensions))
        self.project = nn.ModuleDict(
            {
                "image": nn.Sequential(CpuDrawnDropout(config.image_dropout), _mlp(config.image_dimensions, width)),
                "prompt": _mlp(config.text_dimensions, width),
                "metadata": _mlp(config.profile_dimensions, width),
                "demographics": _mlp(config.profile_dimensions, width),
            }
        )
        self.users = nn.Embedding(config.users, width)
        self.null = nn.Parameter(torch.zeros(len(TOKENS), width))
        self.kind = nn.Parameter(torch.zeros(len(TOKENS) + 1, width))
        self.cls = nn.Parameter(torch.zeros(width))
        layer = EncoderLayer(width, config.heads, 2 * width, config.dropout)
        self.fusion = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        for parameter in (self.null, self.kind, self.cls, self.users.weight):
            nn.init.normal_(parameter, std=0.02 if parameter is not self.users.weight else 0.5)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.cls.device

    def forward(self, inputs: Inputs) -> Tensor:
        """Predicted ratings, shape (B,); they are not clipped to the scale."""
        return self.fuse([self.token(name, getattr(inputs, name)) for name in TOKENS])

    def token(self, name: str, vectors: Tensor) -> Tensor:
        """One kind of token for B vectors, shape (B, width); what stands for a missing one for a row of nan."""
        index = TOKENS.index(name)
        if name in self.config.without:
            return self.null[index].expand(len(vectors), -1)
        missing = torch.isnan(vectors).any(1)
        known = torch.where(missing[:, None], 0.0, vectors)
        if name == "image":
            known = (known - self.image_mean) / self.image_scale
        projected = self.project[name](known) if name in self.project else known
        return projected if self.config.zeroed else torch.where(missing[:, None], self.null[index], projected)

    def fuse(self, tokens: Sequence[Tensor]) -> Tensor:
        """Predicted ratings, shape (B,), from the tokens in the order of TOKENS, each (B, width)."""
        sequence = torch.stack([self.cls.expand(len(tokens[0]), -1), *tokens], 1) + self.kind  # (B, 6, width)
        *before, last = self.fusion.layers
        for layer in before:
            sequence = layer(sequence)
        assert isinstance(last, EncoderLayer)
        return self.head(last.first_token(sequence)).squeeze(1)  # of the last layer the head reads no other token


def _mlp(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
