"""The PAMELA model (paper, Figure 3): six tokens, a shallow transformer, a linear head.

    [CLS]  image  prompt  metadata  demographics  user   ->   transformer   ->   CLS   ->   rating

Frozen encoders stand outside: what comes in are their vectors. Every token but CLS and image may be
missing, and a learnt null token takes its place, so that one model serves known people, strangers,
groups (a mean of user embeddings) and the population (neither user nor demographics).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOKENS = ("image", "prompt", "metadata", "demographics", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes. `without` names the tokens of Table 3's ablations: they are null in training and after."""

    image_dimensions: int
    text_dimensions: int
    users: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    image_dropout: float = 0.3
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Vectors of B (person, image) pairs; a row of nan stands for what is not known."""

    image: Tensor  # (B, image_dimensions)
    prompt: Tensor  # (B, text_dimensions)
    metadata: Tensor  # (B, text_dimensions)
    demographics: Tensor  # (B, text_dimensions)
    user: Tensor  # (B, width): rows of the user table, or any vector in its space


class PamelaModel(nn.Module):
    """Predicts the rating, scaled to 0..1, that a person gives to an image."""

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
                "image": nn.Sequential(nn.Dropout(config.image_dropout), _mlp(config.image_dimensions, width)),
                "prompt": _mlp(config.text_dimensions, width),
                "metadata": _mlp(config.text_dimensions, width),
                "demographics": _mlp(config.text_dimensions, width),
            }
        )
        self.users = nn.Embedding(config.users, width)
        self.null = nn.Parameter(torch.zeros(len(TOKENS), width))
        self.kind = nn.Parameter(torch.zeros(len(TOKENS) + 1, width))
        self.cls = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.fusion = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        for parameter in (self.null, self.kind, self.cls, self.users.weight):
            nn.init.normal_(parameter, std=0.02 if parameter is not self.users.weight else 0.5)

    def forward(self, inputs: Inputs) -> Tensor:
        """Predicted ratings, shape (B,); 0 to 1 is the scale's range, but nothing is clipped."""
        batch = len(inputs.image)
        tokens = [self.cls.expand(batch, -1)]
        for index, name in enumerate(TOKENS):
            vectors: Tensor = getattr(inputs, name)
            missing = torch.isnan(vectors).any(1) if name not in self.config.without else vectors.new_ones(batch).bool()
            known = torch.where(missing[:, None], 0.0, vectors)
            if name == "image":
                known = (known - self.image_mean) / self.image_scale
            projected = self.project[name](known) if name in self.project else known
            tokens.append(torch.where(missing[:, None], self.null[index], projected))
        sequence = torch.stack(tokens, 1) + self.kind  # (B, 6, width)
        return self.head(self.fusion(sequence)[:, 0]).squeeze(1)


def _mlp(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
