"""The layers of BERT (Devlin et al., 2019) in NumPy, for encoders of a few milliseconds a text.

PyTorch and transformers take seconds to import, in every process that embeds a prompt; this takes a fraction of one.
Inference alone, in float32, a text at a time: there are no masks, no padding and no dropout.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Array = NDArray[np.float32]


class Bert:
    """The encoder of a BERT checkpoint: token ids in, token states out.

    Raises
    ------
    FileNotFoundError
        The folder has no config.json, or no weights.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        assert config["hidden_act"] == "gelu"
        assert config["position_embedding_type"] == "absolute"
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon = np.float32(config["layer_norm_eps"])
        with safe_open(folder / "model.safetensors", framework="numpy") as weights:
            self._weights: dict[str, Array] = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118

    def states(self, ids: Sequence[int]) -> Array:
        """The last hidden state of each token, shape (len(ids), hidden size)."""
        words, places = (self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        states = self._normalised(words[ids] + segment + places[: len(ids)], "embeddings.LayerNorm")  # (T, D)
        for layer in range(self._layers):
            states = self._layer(states, f"encoder.layer.{layer}")
        return states

    def _layer(self, states: Array, name: str) -> Array:
        attended = self._linear(self._attention(states, f"{name}.attention.self"), f"{name}.attention.output.dense")
        states = self._normalised(attended + states, f"{name}.attention.output.LayerNorm")
        widened = _gelu(self._linear(states, f"{name}.intermediate.dense"))  # (T, 4 D)
        return self._normalised(self._linear(widened, f"{name}.output.dense") + states, f"{name}.output.LayerNorm")

    def _attention(self, states: Array, name: str) -> Array:
        length, width = states.shape
        query, key, value = (
            self._linear(states, f"{name}.{part}").reshape(length, self._heads, -1).transpose(1, 0, 2)  # (H, T, D / H)
            for part in ("query", "key", "value")
        )
        logits = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(width // self._heads))  # (H, T, T)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(length, width)

    def _linear(self, states: Array, name: str) -> Array:
        return states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normalised(self, states: Array, name: str) -> Array:
        centred = states - states.mean(-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + self._epsilon)
        return centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(values: Array) -> Array:
    """By the error function, not its approximation by tanh."""
    from scipy.special import erf

    return values * np.float32(0.5) * (1 + erf(values * np.float32(np.sqrt(0.5))))
