"""How certain a checkpoint is of each person's taste; read without loading its encoders.

It answers two questions: the standard error of the difference between two images' scores for a person, and how many
more ratings would halve it. Both come from the taste model alone; the transformer has no measure of its uncertainty.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import Tensor

from predictor.checkpoint import config_section, parquet
from predictor.encoders.encoding import KeptFeatures
from predictor.people.users import unpacked
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig
from predictor.taste.posterior import Posterior, prior
from predictor.threads import one_thread
from predictor.transformer.tensor_file import load_strictly

_DIMENSIONS = {"image_encoder": "image", "text_encoder": "text", "profile_encoder": "profile"}
_MOST_ANSWERS = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How well a person is known; standard deviations on the scale from 0 to 1.

    Example:

        Certainty(error=0.08, unknown_error=0.15, answers_to_halve=45)
    """

    error: float
    """Standard error of the predicted difference in liking between two typical images."""
    unknown_error: float
    """The same for a person who has answered nothing."""
    answers_to_halve: int
    """Ratings of further typical images that would halve the error."""

    def __str__(self) -> str:
        return self.words(f"{self.answers_to_halve:,}")

    def words(self, ratings: str) -> str:
        """In a sentence; `ratings` says how many would halve the error."""
        return (
            f"±{self.error:.2f} (before any answer: ±{self.unknown_error:.2f}); {ratings} more ratings would halve it"
        )


class Tastes:
    """The taste model and the posterior tastes of a checkpoint's people, and of others where they are given."""

    def __init__(
        self, taste: Taste, users: pa.Table, kept: KeptFeatures, others: Mapping[str, Posterior] | None = None
    ) -> None:
        self.taste = taste
        self.kept = kept
        self._others = others or {}
        self._factors = users["factor"]
        self._row = {user: row for row, user in enumerate(users["user_id"].to_pylist())}

    @classmethod
    def read(cls, folder: Path, others: Mapping[str, Posterior] | None = None) -> "Tastes":
        """Read a checkpoint folder that is known to be whole."""
        config = json.loads((folder / "config.json").read_text("utf-8"))
        taste = Taste(config_section(TasteConfig, config, "taste"))
        load_strictly(taste, "taste", load_file(folder / "model.safetensors"))
        users = parquet(folder / "users.parquet", ["user_id", "factor"])
        sizes = {role: config["model"][f"{kind}_dimensions"] for role, kind in _DIMENSIONS.items()}
        return cls(taste, users, KeptFeatures(config["fingerprints"], sizes), others)

    def certainty(self, user: str) -> Certainty:
        """How well a person is known.

        Raises
        ------
        KeyError
            Neither the checkpoint knows this user, nor is one of the others.
        """
        variances = self._variances(self._factor(user))
        return Certainty(
            error=_error(variances, 0, self._noise),
            unknown_error=self._unknown_error,
            answers_to_halve=_answers_to_halve(variances, self._noise),
        )

    def gain_error(self, users: Sequence[str], initial: ImageFeatures, final: ImageFeatures) -> float:
        """Standard deviation of what the mean of these users likes one image more than the other.

        Beside what is not known of their tastes, it has both images' own errors of what everybody likes.

        Parameters
        ----------
        initial, final
            Of one image each.
        """
        change = (final.values - initial.values)[0]
        unknown = [float((change @ self._factor(user)[:-1, :-1]).square().sum()) for user in users]
        return (sum(unknown) / len(users) ** 2 + 2 * self.taste.config.generic_error) ** 0.5

    def _factor(self, user: str) -> Tensor:
        """Factor of the covariance of taste and level, the level last; the prior's where nothing is known."""
        if user in self._others:
            return self._others[user].factor
        factor = self._factors[self._row[user]]
        return unpacked(factor.values.to_numpy(), self.taste.config.rank) if factor.is_valid else self._prior

    @cached_property
    def _prior(self) -> Tensor:
        return prior(self.taste).factor

    @cached_property
    def _unknown_error(self) -> float:
        return _error(self._variances(self._prior), 0, self._noise)

    @property
    def _noise(self) -> float:
        return self.taste.config.perceived_noise

    @cached_property
    def _moments(self) -> Tensor:
        """Second central moments of the features of typical images, (rank, rank)."""
        values = self.taste.typical.values
        centred = values - values.mean(0)
        return centred.T @ centred / len(centred)

    def _variances(self, factor: Tensor) -> Tensor:
        """Variances of the person's liking of typical images, along independent directions of taste; (rank,)."""
        with one_thread(), torch.inference_mode():
            taste = factor[:-1, :-1]  # the level says nothing of differences
            return torch.linalg.eigvalsh(taste.T @ self._moments @ taste).clamp_min(0)


def _error(variances: Tensor, answers: float, noise: float) -> float:
    """Standard deviation of the difference of two images after so many further ratings of typical images.

    In the basis of `variances` prior and answers are both diagonal: precisions of 1/v and of answers/noise add up.
    """
    return float((2 * variances / (1 + answers * variances / noise)).sum().sqrt())


def _answers_to_halve(variances: Tensor, noise: float) -> int:
    """The least number of ratings that halve the error, by bisection."""
    aim, low, high = _error(variances, 0, noise) / 2, 0, _MOST_ANSWERS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _error(variances, middle, noise) > aim else (low, middle)
    return high
