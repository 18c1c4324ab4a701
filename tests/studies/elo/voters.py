"""Simulated voters with strengths of their own: what a study's intervals have to cover is known.

What a fit to all votes estimates is not the mean strength but the strengths that best explain the mean chance of
winning over people; `pooled_strength` is that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, fit_replicates
from studies.elo.pair_counts import members
from studies.elo.votes import LEFT, RIGHT, TIE, Votes

Numbers = NDArray[np.float64]

PAPER_ELO = (1065.0, 1038.0, 1016.0, 959.0, 922.0)
"""Own, other, initial, HPSv3, Q-Align (paper, figure 8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """People who differ by a normal deviation in every condition's Elo, and vote differently often."""

    elo: tuple[float, ...] = PAPER_ELO
    spread_elo: float = 35.0
    votes_each: int = 100
    unequal: bool = False
    """People give from 0.2 to 1.8 times `votes_each` votes."""
    tie_share: float = 0.0

    def study(self, participants: int, rng: np.random.Generator, prompts: int = 18) -> Votes:
        """One study of as many people."""
        count = len(self.elo)
        strength = self.strengths(participants, rng)
        shares = rng.uniform(0.2, 1.8, participants) if self.unequal else np.ones(participants)
        person = np.repeat(np.arange(participants), np.maximum(1, np.round(shares * self.votes_each).astype(int)))
        left = rng.integers(0, count, len(person))
        right = (left + rng.integers(1, count, len(person))) % count
        odds = strength[person, left] - strength[person, right]
        outcome = np.where(rng.random(len(person)) < 1 / (1 + np.exp(-odds)), LEFT, RIGHT)
        return Votes(
            participants=tuple(f"u{n:03}" for n in range(participants)),
            prompts=tuple(f"p{n:02}" for n in range(prompts)),
            conditions=tuple(f"c{n}" for n in range(count)),
            participant=person,
            prompt=rng.integers(0, prompts, len(person)),
            left=left,
            right=right,
            outcome=np.where(rng.random(len(person)) < self.tie_share, TIE, outcome),
            repeat=np.zeros(len(person), bool),
        )

    def strengths(self, participants: int, rng: np.random.Generator) -> Numbers:
        """Log strengths of people, (participants, C)."""
        elo = np.asarray(self.elo) + rng.normal(0, self.spread_elo, (participants, len(self.elo)))
        return elo / ELO_PER_LOG_STRENGTH

    def pooled_strength(self, people: int = 400_000) -> Numbers:
        """Log strengths (C,) that explain the chances of winning of everybody together."""
        first, second = members(len(self.elo))
        strength = self.strengths(people, np.random.default_rng(987))
        chance = (1 / (1 + np.exp(strength[:, second] - strength[:, first]))).mean(0)
        decided = (1 - self.tie_share) * np.stack([chance, 1 - chance, 0 * chance], 1)
        counts = decided + np.array([0, 0, self.tie_share])
        return fit_replicates(counts[None], len(self.elo))[0][0]
