"""The layers of BERT (Devlin et al., 2019) in NumPy, for encoders of a few milliseconds a text.

PyTorch and transformers take seconds to import, in every process that embeds a prompt; this takes a fraction of one.
Inference alone, in float32: there are no masks and no dropout.

The states of a text do not depend, to the last bit, on the texts beside it: BLAS rounds a row by how many rows there
are and at which place it stands, so that each text has products of its own. Texts of the same length are stacked for
them, and all that is done number by number is done for many texts at once.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Array = NDArray[np.float32]

_MULTIPLE = 4
"""Of the rows of a product, filled up with rows of no token: BLAS multiplies four rows in less time than three."""
_MOST_ROWS = 256
"""That go through the layers together, unless one text has more: what becomes of them then fits the caches."""
_GELU_ROWS = 32
"""Whose widened states fit the fastest cache that holds more than a row."""

_ERF = [
    np.float32(c)
    for c in (
        0.797884941462099,
        0.03633308456504122,
        -3.2594964235155364e-05,
        -5.530619914313745e-05,
        3.964745541770671e-06,
        -1.3226343961406961e-07,
        1.7561738309982094e-09,
    )
]
"""P of erf(u / sqrt 2) = tanh(u P(u^2)), the lowest power first: least squares, reweighted until no error of the normal
distribution function is more than 1e-7 (Lawson's way to a minimax fit)."""
_ERF_END = np.float32(5.4)
"""From here on it is 1."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """Texts of the same length, in rows that follow each other."""

    begin: int
    texts: int
    length: int
    rows: int
    """Of one text: its length, filled up."""

    @property
    def end(self) -> int:
        return self.begin + self.texts * self.rows

    def of(self, states: Array) -> Array:
        """A view of these texts, (texts, rows, width)."""
        return states[self.begin : self.end].reshape(self.texts, self.rows, states.shape[1])


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Array  # (inputs, outputs), contiguous
    bias: Array

    def __call__(self, states: Array, stacks: Sequence[_Stack]) -> Array:
        found = np.empty((len(states), len(self.bias)), np.float32)
        for stack in stacks:
            np.matmul(stack.of(states), self.weight, out=stack.of(found))
        found += self.bias
        return found


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Array
    bias: Array
    epsilon: np.float32

    def __call__(self, states: Array) -> Array:
        """In place."""
        states -= states.mean(-1, keepdims=True)
        states /= np.sqrt((states * states).mean(-1, keepdims=True) + self.epsilon)
        states *= self.weight
        states += self.bias
        return states


@dataclass(frozen=True, slots=True)
class _Layer:
    attention: _Linear  # to queries, keys and values, side by side
    attended: _Linear
    attention_norm: _Norm
    widening: _Linear
    narrowing: _Linear
    norm: _Norm


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
        self._heads: int = config["num_attention_heads"]
        epsilon = np.float32(config["layer_norm_eps"])
        with safe_open(folder / "model.safetensors", framework="numpy") as weights:

            def linear(*names: str) -> _Linear:
                matrices = [weights.get_tensor(f"{name}.weight").T for name in names]
                biases = [weights.get_tensor(f"{name}.bias") for name in names]
                return _Linear(np.ascontiguousarray(np.concatenate(matrices, 1)), np.concatenate(biases))

            def norm(name: str) -> _Norm:
                return _Norm(weights.get_tensor(f"{name}.weight"), weights.get_tensor(f"{name}.bias"), epsilon)

            def layer(name: str) -> _Layer:
                return _Layer(
                    attention=linear(*(f"{name}.attention.self.{part}" for part in ("query", "key", "value"))),
                    attended=linear(f"{name}.attention.output.dense"),
                    attention_norm=norm(f"{name}.attention.output.LayerNorm"),
                    widening=linear(f"{name}.intermediate.dense"),
                    narrowing=linear(f"{name}.output.dense"),
                    norm=norm(f"{name}.output.LayerNorm"),
                )

            self._words: Array = weights.get_tensor("embeddings.word_embeddings.weight")
            segment: Array = weights.get_tensor("embeddings.token_type_embeddings.weight")[0]
            self._places: Array = weights.get_tensor("embeddings.position_embeddings.weight") + segment
            self._norm = norm("embeddings.LayerNorm")
            self._layers = [layer(f"encoder.layer.{number}") for number in range(config["num_hidden_layers"])]

    def states(self, texts: Sequence[Sequence[int]]) -> list[Array]:
        """The last hidden states of each text's tokens: for each text, shape (len(ids), hidden size)."""
        found: dict[int, Array] = {}
        for numbers in _batches([len(ids) for ids in texts]):
            found |= zip(numbers, self._states([texts[number] for number in numbers]), strict=True)
        return [found[number] for number in range(len(texts))]

    def _states(self, texts: Sequence[Sequence[int]]) -> Iterator[Array]:
        """Of texts in the order of their lengths."""
        stacks = _stacks([len(ids) for ids in texts])
        states = np.zeros((stacks[-1].end, self._words.shape[1]), np.float32)
        remaining = iter(texts)
        for stack in stacks:
            for rows in stack.of(states):
                rows[: stack.length] = self._words[next(remaining)]
            stack.of(states)[:, : stack.length] += self._places[: stack.length]
        self._norm(states)
        for layer in self._layers:
            states = self._through(layer, states, stacks)
        for stack in stacks:
            yield from stack.of(states)[:, : stack.length]

    def _through(self, layer: _Layer, states: Array, stacks: Sequence[_Stack]) -> Array:
        attended = layer.attended(self._attention(layer.attention(states, stacks), stacks), stacks)
        attended += states
        states = layer.attention_norm(attended)
        narrowed = layer.narrowing(_gelu(layer.widening(states, stacks)), stacks)
        narrowed += states
        return layer.norm(narrowed)

    def _attention(self, projected: Array, stacks: Sequence[_Stack]) -> Array:
        """From queries, keys and values, side by side, to what each token takes from those of its text."""
        found = np.zeros((len(projected), projected.shape[1] // 3), np.float32)
        scale = np.float32(np.sqrt(found.shape[1] // self._heads))
        for stack in stacks:
            of_tokens = stack.of(projected)[:, : stack.length]
            parts = of_tokens.reshape(stack.texts, stack.length, 3, self._heads, -1)
            query, key, value = parts.transpose(2, 0, 3, 1, 4)  # (texts, H, length, D / H)
            weights = query @ key.transpose(0, 1, 3, 2)  # (texts, H, length, length)
            weights /= scale
            weights -= weights.max(-1, keepdims=True)
            np.exp(weights, out=weights)
            weights /= weights.sum(-1, keepdims=True)
            taken = (weights @ value).transpose(0, 2, 1, 3)
            stack.of(found)[:, : stack.length] = taken.reshape(stack.texts, stack.length, -1)
        return found


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of texts that go through the layers together, the shortest first."""
    batch: list[int] = []
    rows = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and rows + lengths[place] > _MOST_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(place)
        rows += lengths[place]
    if batch:
        yield batch


def _stacks(lengths: Sequence[int]) -> list[_Stack]:
    """Of texts in the order of their lengths."""
    stacks: list[_Stack] = []
    for length, texts in groupby(lengths):
        begin, rows = stacks[-1].end if stacks else 0, -(-length // _MULTIPLE) * _MULTIPLE
        stacks.append(_Stack(begin, len(list(texts)), length, rows))
    return stacks


def _gelu(values: Array) -> Array:
    """By the error function, not its usual approximation; in place.

    SciPy's error function takes double precision, and as long as half of the products.
    """
    for begin in range(0, len(values), _GELU_ROWS):
        rows = values[begin : begin + _GELU_ROWS]
        limited = np.clip(rows, -_ERF_END, _ERF_END)
        squares = limited * limited
        erf = squares * _ERF[-1]
        for coefficient in _ERF[-2:0:-1]:
            erf += coefficient
            erf *= squares
        erf += _ERF[0]
        erf *= limited
        np.tanh(erf, out=erf)
        erf += 1
        rows *= np.float32(0.5)
        rows *= erf
    return values
