"""Simulated voters with strengths of their own: what a study's intervals have to cover is known.

What a fit to all votes estimates is not the mean strength but the strengths that best explain the mean chance of
winning over people and prompts; `pooled_strength` is that.
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
    """People and prompts that differ by a normal deviation in every condition's Elo; people vote differently often."""

    elo: tuple[float, ...] = PAPER_ELO
    spread_elo: float = 35.0
    prompt_spread_elo: float = 0.0
    votes_each: int = 100
    unequal: bool = False
    """People give from 0.2 to 1.8 times `votes_each` votes."""
    prompts_each: int | None = None
    """On how many prompts each person votes, drawn by chance; None: on all."""
    tie_share: float = 0.0

    def study(self, participants: int, rng: np.random.Generator, prompts: int = 18) -> Votes:
        """One study of as many people and prompts."""
        count = len(self.elo)
        strength = self.strengths(participants, rng)
        by_prompt = rng.normal(0, self.prompt_spread_elo, (prompts, count)) / ELO_PER_LOG_STRENGTH
        shares = rng.uniform(0.2, 1.8, participants) if self.unequal else np.ones(participants)
        votes = np.maximum(1, np.round(shares * self.votes_each).astype(int))
        person = np.repeat(np.arange(participants), votes)
        order = rng.permuted(np.tile(np.arange(prompts), (participants, 1)), axis=1)
        turn = np.arange(len(person)) - np.repeat(np.cumsum(votes) - votes, votes)
        prompt = order[person, turn % (self.prompts_each or prompts)]
        left = rng.integers(0, count, len(person))
        right = (left + rng.integers(1, count, len(person))) % count
        odds = strength[person, left] - strength[person, right] + by_prompt[prompt, left] - by_prompt[prompt, right]
        outcome = np.where(rng.random(len(person)) < 1 / (1 + np.exp(-odds)), LEFT, RIGHT)
        return Votes(
            participants=tuple(f"u{n:03}" for n in range(participants)),
            prompts=tuple(f"p{n:02}" for n in range(prompts)),
            conditions=tuple(f"c{n}" for n in range(count)),
            participant=person,
            prompt=prompt,
            left=left,
            right=right,
            outcome=np.where(rng.random(len(person)) < self.tie_share, TIE, outcome),
            repeat=np.zeros(len(person), bool),
        )

    def strengths(self, participants: int, rng: np.random.Generator) -> Numbers:
        """Log strengths of people, (participants, C)."""
        elo = np.asarray(self.elo) + rng.normal(0, self.spread_elo, (participants, len(self.elo)))
        return elo / ELO_PER_LOG_STRENGTH

    def pooled_strength(self, draws: int = 400_000) -> Numbers:
        """Log strengths (C,) that explain the chances of winning over all people and prompts together."""
        count, rng = len(self.elo), np.random.default_rng(987)
        first, second = members(count)
        strength = self.strengths(draws, rng)
        strength += rng.normal(0, self.prompt_spread_elo, strength.shape) / ELO_PER_LOG_STRENGTH
        chance = (1 / (1 + np.exp(strength[:, second] - strength[:, first]))).mean(0)
        decided = (1 - self.tie_share) * np.stack([chance, 1 - chance, 0 * chance], 1)
        counts = decided + np.array([0, 0, self.tie_share])
        return fit_replicates(counts[None], count)[0][0]


def even_votes(participants: int, prompts: int, votes: int) -> Votes:
    """Votes on five conditions that are the same on every machine, for numbers that others computed from them."""
    number = np.arange(votes)
    mixed = (number * 2654435761 + 12345) % 2**32
    person, prompt, left = number * 7 % participants, (mixed >> 8) % prompts, (mixed >> 13) % 5
    right = (left + 1 + (mixed >> 19) % 4) % 5
    level, lean = (mixed >> 3) % 97, 40 + 8 * (right - left) + 3 * (person % 4) - 2 * (prompt % 5) * (left % 2)
    return Votes(
        participants=tuple(f"u{n}" for n in range(participants)),
        prompts=tuple(f"p{n}" for n in range(prompts)),
        conditions=tuple("abcde"),
        participant=person,
        prompt=prompt,
        left=left,
        right=right,
        outcome=np.where(level < 12, TIE, np.where(level < lean, LEFT, RIGHT)),
        repeat=np.zeros(votes, bool),
    )
